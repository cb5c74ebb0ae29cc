"""Word vectors: random, read from a text file, or distilled from an encoder; and what the letters of a word tell."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

BUCKETS = 1 << 15
LONGEST_WORD = 20  # letters that the character CNN sees
CHARACTER_FEATURES = ("none", "affixes", "cnn")


class WordVectors(nn.Module):
    """(N,) word numbers to (N, D) vectors, those of the character feature behind those of the words.

    The vector of the padding word is 0 and stays 0.
    """

    def __init__(self, config: Any):
        super().__init__()
        self.words = nn.Embedding(config.vocab_size, config.embedding_dim, padding_idx=config.pad_token_id)
        nn.init.uniform_(self.words.weight, -0.1, 0.1)
        with torch.no_grad():
            self.words.weight[config.pad_token_id] = 0
        self.words.weight.requires_grad_(config.train_embeddings)
        self.word_dropout, self.unknown = config.word_dropout, config.unk_token_id
        self.characters: Affixes | CharacterCNN | None = {
            "none": lambda: None, "affixes": lambda: Affixes(config.character_dim),
            "cnn": lambda: CharacterCNN(config.character_dim)}[config.character_feature]()
        self.dim = config.embedding_dim + (self.characters.dim if self.characters is not None else 0)

    def forward(self, word: Tensor, spelling: Tensor | None = None) -> Tensor:
        if self.training and self.word_dropout:
            word = word.masked_fill(torch.rand(word.shape, device=word.device) < self.word_dropout, self.unknown)
        vectors = self.words(word)                                                          # (N, D)
        if self.characters is None:
            return vectors
        if spelling is None:
            raise ValueError("this network has a character feature, and was not given the letters of its words; "
                             "pass `characters`, from `characters_of`")
        return torch.cat([vectors, self.characters(spelling)], dim=1)                       # (N, D + character D)

    def characters_of(self, words: Sequence[str]) -> list[list[int]]:
        """What the character feature sees of each word: F numbers, 0 for nothing there."""
        return [] if self.characters is None else [self.characters.numbers(word) for word in words]


class Affixes(nn.Module):
    """Vectors of prefixes of 1 to 3 letters, suffixes of 1 to 4 and the shape of a word, hashed and put side by side.

    Hashed as fastText does (Bojanowski et al. 2017, section 3.2), so that new affixes cost nothing; the features are
    those of Lample et al. 2016's predecessors (Ratinov and Roth 2009, section 3).
    """

    kinds = 9

    def __init__(self, dim: int):
        super().__init__()
        self.hashed = nn.Embedding(BUCKETS, dim, padding_idx=0)
        nn.init.uniform_(self.hashed.weight, -0.1, 0.1)
        with torch.no_grad():
            self.hashed.weight[0] = 0
        self.dim = self.kinds * dim

    def forward(self, spelling: Tensor) -> Tensor:
        return self.hashed(spelling).flatten(1)                                             # (N, kinds * D)

    @staticmethod
    def numbers(word: str) -> list[int]:
        lower = word.lower()
        parts = [*(f"p{lower[:n]}" for n in (1, 2, 3)), *(f"s{lower[-n:]}" for n in (1, 2, 3, 4)),
                 f"x{shape(word)}", f"w{lower}"]
        return [1 + zlib.crc32(part.encode("utf-8", "replace")) % (BUCKETS - 1) for part in parts]


def shape(word: str) -> str:
    """Letters as X, x, digits as d, the rest as it is, runs cut to two: ``Warsaw-2004`` is ``Xxx-dd``."""
    kinds = "".join("X" if c.isupper() else "x" if c.isalpha() else "d" if c.isdigit() else c for c in word)
    return re.sub(r"(.)\1{2,}", r"\1\1", kinds)


class CharacterCNN(nn.Module):
    """A convolution over the letters of a word and the maximum over its places (Ma and Hovy 2016, section 2.1)."""

    alphabet = 512

    def __init__(self, dim: int, *, width: int = 3):
        super().__init__()
        self.letters = nn.Embedding(self.alphabet, 32, padding_idx=0)
        self.convolution = nn.Conv1d(32, dim, width, padding=width // 2)
        self.dim = dim

    def forward(self, spelling: Tensor) -> Tensor:
        # A word that stands twice in the batch is read once.
        spelling, which = spelling.unique(dim=0, return_inverse=True)                       # (U, F), (N,)
        letters = self.letters(spelling).transpose(1, 2)                                    # (U, 32, F)
        found = self.convolution(letters).masked_fill(spelling[:, None] == 0, float("-inf"))
        return torch.tanh(found.amax(dim=2))[which]                                         # (N, D)

    @staticmethod
    def numbers(word: str) -> list[int]:
        # Both ends of a longer word are kept; letters beyond Latin-1 share numbers.
        kept = word if len(word) <= LONGEST_WORD else word[:LONGEST_WORD // 2] + word[-(LONGEST_WORD // 2):]
        numbers = [ord(c) if 0 < ord(c) < 256 else 256 + ord(c) % 256 for c in kept]
        return numbers + [0] * (LONGEST_WORD - len(numbers))
