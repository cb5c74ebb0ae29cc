"""Word vectors: random, or distilled from an encoder; and word spelling."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

BUCKETS = 1 << 15
LONGEST_WORD = 20  # letters that the character CNN sees
CHARACTER_FEATURES = ("none", "affixes", "cnn")


class WordVectors(nn.Module):
    """(N,) word ids to (N, D) vectors, followed by those of the character feature.

    The vector of the padding word is 0 and stays 0.
    """

    def __init__(self, config: Any):
        super().__init__()
        padding = config.pad_token_id
        self.words = nn.Embedding(config.vocab_size, config.embedding_dim, padding_idx=padding)
        nn.init.uniform_(self.words.weight, -0.1, 0.1)
        with torch.no_grad():
            self.words.weight[padding] = 0
        self.words.weight.requires_grad_(config.train_embeddings)
        self.word_dropout, self.unknown = config.word_dropout, config.unk_token_id
        self.characters: Affixes | CharacterCNN | None = None
        if config.character_feature == "affixes":
            self.characters = Affixes(config.character_dim)
        elif config.character_feature == "cnn":
            self.characters = CharacterCNN(config.character_dim)
        self.dim = config.embedding_dim
        if self.characters is not None:
            self.dim += self.characters.dim

    def forward(self, word: Tensor, spelling: Tensor | None = None) -> Tensor:
        """word (N,) and spelling (N, F) to (N, D)."""
        if self.training and self.word_dropout:
            dropped = torch.rand(word.shape, device=word.device) < self.word_dropout  # (N,)
            word = word.masked_fill(dropped, self.unknown)
        vectors = self.words(word)  # (N, D)
        if self.characters is None:
            return vectors
        if spelling is None:
            raise ValueError(
                "this network has a character feature, and was not given the letters "
                "of its words; pass `characters`, from `characters_of`"
            )
        return torch.cat([vectors, self.characters(spelling)], dim=1)  # (N, D + character D)

    def characters_of(self, words: Sequence[str]) -> list[list[int]]:
        """What the character feature sees of each word: F ids, 0 where there is nothing."""
        if self.characters is None:
            return []
        return [list(self.characters.ids_of(word)) for word in words]


class Affixes(nn.Module):
    """Vectors of prefixes of 1 to 3 letters, suffixes of 1 to 4, shape and word, side by side.

    They are hashed as in fastText (Bojanowski et al. 2017, section 3.2), so new affixes cost
    nothing; the features are those of Ratinov and Roth (2009, section 3).
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
        """(N, kinds) to (N, kinds · D)."""
        return self.hashed(spelling).flatten(1)

    @staticmethod
    @lru_cache(1 << 18)
    def ids_of(word: str) -> tuple[int, ...]:
        """The bucket of each feature of a word."""
        lower = word.lower()
        prefixes = [f"p{lower[:length]}" for length in (1, 2, 3)]
        suffixes = [f"s{lower[-length:]}" for length in (1, 2, 3, 4)]
        features = [*prefixes, *suffixes, f"x{shape(word)}", f"w{lower}"]
        hashes = (zlib.crc32(feature.encode("utf-8", "replace")) for feature in features)
        return tuple(1 + value % (BUCKETS - 1) for value in hashes)


def shape(word: str) -> str:
    """The shape of a word: `Xxx-dd` for `Warsaw-2004`; runs are cut to two."""
    return re.sub(r"(.)\1{2,}", r"\1\1", "".join(map(_kind, word)))


def _kind(character: str) -> str:
    if character.isalpha():
        return "X" if character.isupper() else "x"
    return "d" if character.isdigit() else character


class CharacterCNN(nn.Module):
    """A convolution over the letters of a word and the maximum over positions.

    Ma and Hovy (2016), section 2.1.
    """

    alphabet = 512

    def __init__(self, dim: int, *, width: int = 3):
        super().__init__()
        self.letters = nn.Embedding(self.alphabet, 32, padding_idx=0)
        self.convolution = nn.Conv1d(32, dim, width, padding=width // 2)
        self.dim = dim

    def forward(self, spelling: Tensor) -> Tensor:
        """(N, F) to (N, D)."""
        # A word that occurs twice in the batch is read once.
        spelling, inverse = spelling.unique(dim=0, return_inverse=True)  # (U, F), (N,)
        letters = self.letters(spelling).transpose(1, 2)  # (U, 32, F)
        padding = spelling[:, None] == 0  # (U, 1, F)
        features = self.convolution(letters).masked_fill(padding, float("-inf"))  # (U, D, F)
        return torch.tanh(features.amax(dim=2))[inverse]  # (N, D)

    @staticmethod
    @lru_cache(1 << 18)
    def ids_of(word: str) -> tuple[int, ...]:
        """An id for each letter, then zeros."""
        kept = word
        if len(word) > LONGEST_WORD:  # both ends
            half = LONGEST_WORD // 2
            kept = word[:half] + word[-half:]
        codes = map(ord, kept)
        # Letters beyond Latin-1 share ids.
        ids = [code if 0 < code < 256 else 256 + code % 256 for code in codes]
        return (*ids, *[0] * (LONGEST_WORD - len(ids)))


@torch.no_grad()
def distilled_vectors(
    words: Sequence[str],
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    dim: int | None = None,
    batch_words: int = 512,
    progress: bool = True,
) -> Tensor:
    """(V, D) vectors of words: each read alone by an encoder, averaged, then principal components.

    This is the distillation of model2vec (Tulkens and van Dongen 2024) without its last step, which
    makes frequent words short: that helps sums of vectors over a text, and a tagger needs to
    recognise an "of".

    Args:
        words: V of them.
        encoder: such as BERT's `AutoModel`; it gets special tokens as its tokenizer adds them.
        tokenizer: the encoder's.
        dim: principal components kept, in order of variance; by default as many as the encoder is
            wide.
        batch_words: words of a batch; words of one length are read together.
        progress: show a bar.
    """
    pieces = tokenizer(list(words), truncation=True, max_length=64, split_special_tokens=True)[
        "input_ids"
    ]
    order = sorted(range(len(words)), key=lambda index: len(pieces[index]))
    vectors = torch.empty(len(words), encoder.config.hidden_size)  # (V, H)
    starts = range(0, len(order), batch_words)
    for start in tqdm(starts, desc="distilling", unit=" batches", disable=not progress):
        batch = order[start : start + batch_words]
        inputs = tokenizer.pad(
            {"input_ids": [pieces[index] for index in batch]}, return_tensors="pt"
        )
        states = encoder(**inputs.to(encoder.device)).last_hidden_state.float()  # (B, T, H)
        mask = inputs["attention_mask"][..., None]  # (B, T, 1)
        vectors[batch] = ((states * mask).sum(1) / mask.sum(1)).cpu()
    vectors -= vectors.mean(0)
    _, components = torch.linalg.eigh(vectors.T @ vectors)  # from the least variance to the most
    return vectors @ components.flip(1)[:, :dim]  # (V, D)


def unit_variance(vectors: Tensor) -> Tensor:
    """Vectors, centred and scaled together to variance 1, which layers are initialised for."""
    vectors = vectors - vectors.mean(0)
    return vectors / vectors.std().clamp(min=1e-8)
