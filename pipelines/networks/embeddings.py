"""Word vectors: random, read from a text file, or distilled from an encoder; and what the letters of a word tell."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.errors import DataError, UserError

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
        return [] if self.characters is None else [list(self.characters.numbers(word)) for word in words]


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
    @lru_cache(1 << 18)
    def numbers(word: str) -> tuple[int, ...]:
        lower = word.lower()
        parts = [*(f"p{lower[:n]}" for n in (1, 2, 3)), *(f"s{lower[-n:]}" for n in (1, 2, 3, 4)),
                 f"x{shape(word)}", f"w{lower}"]
        return tuple(1 + zlib.crc32(part.encode("utf-8", "replace")) % (BUCKETS - 1) for part in parts)


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
    @lru_cache(1 << 18)
    def numbers(word: str) -> tuple[int, ...]:
        # Both ends of a longer word are kept; letters beyond Latin-1 share numbers.
        kept = word if len(word) <= LONGEST_WORD else word[:LONGEST_WORD // 2] + word[-(LONGEST_WORD // 2):]
        numbers = [ord(c) if 0 < ord(c) < 256 else 256 + ord(c) % 256 for c in kept]
        return (*numbers, *[0] * (LONGEST_WORD - len(numbers)))


def read_vectors(path: str | Path, words: Iterable[str]) -> dict[str, list[float]]:
    """Reads the vectors of given words from a text file of GloVe, word2vec or fastText: ``word 0.1 -0.2 …``.

    A first line of two whole numbers (rows and width) is passed over. A word that the file lacks gets the vector of
    its lower-cased form, where the file has that.

    Raises:
        DataError: naming every row whose length is not that of the first.
        UserError: when there is no such file, or nothing in it.
    """
    path, wanted = Path(path), set(words)
    if not path.is_file():
        raise UserError(f"{path}: no such file of word vectors; give one with lines such as `the 0.1 -0.2 …`")
    wanted |= {word.lower() for word in wanted}
    found: dict[str, list[float]] = {}
    faults, dim = [], 0
    with open(path, encoding="utf-8", errors="replace") as f:
        for number, line in enumerate(f, start=1):
            parts = line.rstrip().split(" ")
            if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
                continue
            dim = dim or len(parts) - 1
            # A few words of GloVe's largest file hold blanks: what stands before the last D numbers.
            word = " ".join(parts[:-dim]) if dim else ""
            try:
                if len(parts) != dim + 1 and (not word or _is_number(parts[1])):
                    raise ValueError(f"{len(parts) - 1} numbers")
                if word in wanted:
                    found[word] = [float(part) for part in parts[-dim:]]
                else:
                    float(parts[-1])
            except ValueError as error:
                faults.append(f"{path}:{number}: {error}; the first row has {dim}")
    if faults:
        more = f"\n… and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise DataError("\n".join(faults[:20]) + more + "\nmend these rows of the file of word vectors, or delete them")
    if not dim:
        raise UserError(f"{path}: no word vectors in it; wanted lines such as `the 0.1 -0.2 …`")
    return {word: found[word if word in found else word.lower()] for word in words
            if word in found or word.lower() in found}


def _is_number(part: str) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True


@torch.no_grad()
def distilled_vectors(words: Sequence[str], encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, *,
                      dim: int | None = None, batch_words: int = 512, progress: bool = True) -> Tensor:
    """(V, D) vectors of words, each read alone by an encoder, mean over its pieces, then principal components.

    This is the distillation of model2vec (Tulkens and van Dongen 2024) but for its last step, which makes frequent
    words short: that serves sums of vectors over a text, and a tagger needs to know an "of" when it sees one.

    Args:
        encoder: such as BERT's `AutoModel`; it takes special tokens as its tokenizer writes them.
        dim: principal components kept, in order of variance; by default as many as the encoder is wide.
        batch_words: words of a batch; words of one length go together.
    """
    pieces = tokenizer(list(words), truncation=True, max_length=64, split_special_tokens=True)["input_ids"]
    order = sorted(range(len(words)), key=lambda number: len(pieces[number]))
    vectors = torch.empty(len(words), encoder.config.hidden_size)
    for start in tqdm(range(0, len(order), batch_words), desc="distilling", unit=" batches", disable=not progress):
        batch = order[start:start + batch_words]
        inputs = tokenizer.pad({"input_ids": [pieces[number] for number in batch]}, return_tensors="pt")
        states = encoder(**inputs.to(encoder.device)).last_hidden_state.float()             # (B, T, D)
        mask = inputs["attention_mask"][..., None]
        vectors[batch] = ((states * mask).sum(1) / mask.sum(1)).cpu()
    vectors -= vectors.mean(0)
    _, components = torch.linalg.eigh(vectors.T @ vectors)  # from the least variance to the most
    return vectors @ components.flip(1)[:, :dim]


def unit_variance(vectors: Tensor) -> Tensor:
    """Vectors, centred and scaled as one, so that their numbers have variance 1: what layers are initialised for."""
    vectors = vectors - vectors.mean(0)
    return vectors / vectors.std().clamp(min=1e-8)
