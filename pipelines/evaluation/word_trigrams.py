"""The baseline of language models: a Kneser-Ney trigram over words, and the spelling of the others.

A closed vocabulary predicts a rare word as `[UNK]`, which costs less than the word itself. To be
compared with a model of sub-words, which writes every string, the unknown words are spelt: a
trigram over characters, learnt from the rare words of training, adds the nats of their letters.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipelines.evaluation import kneser_ney
from pipelines.evaluation.kneser_ney import KneserNey
from pipelines.examples import Example
from pipelines.spans import word_units

VOCABULARY = 10_000  # words at most
MIN_FREQUENCY = 2  # rarer words are unknown, so that training has unknown words too
CHARACTERS = 0x110000  # of Unicode: one that training lacks is any of them


@dataclass(frozen=True, slots=True)
class Words:
    """What the words of a text are, and which of them a vocabulary has.

    Attributes:
        vocab_size: words at most, the most frequent ones.
        min_freq: words that are rarer in training are unknown.
        lowercase: whether texts are lower-cased.
        split: `units` (words, numbers and punctuation marks) or `blanks` (what stands between
            blanks).
    """

    vocab_size: int = VOCABULARY
    min_freq: int = MIN_FREQUENCY
    lowercase: bool = False
    split: str = "units"

    def of(self, text: str) -> list[str]:
        """The words of a text, in order."""
        normal = text.lower() if self.lowercase else text
        if self.split == "blanks":
            return normal.split()
        return [normal[start:end] for start, end in word_units(normal)]

    def kept(self, counts: Mapping[str, int]) -> list[str]:
        """The words of the vocabulary, the most frequent first, ties in alphabetical order.

        Args:
            counts: how often each word occurs in training.
        """
        frequent = [word for word, count in counts.items() if count >= self.min_freq]
        return sorted(frequent, key=lambda word: (-counts[word], word))[: self.vocab_size]


class Spelling(NamedTuple):
    """How an unknown word is spelt: a trigram over its characters and its end.

    Attributes:
        symbols: character -> symbol; 0 is the end of a word, 1 a character that training lacks.
        model: over these symbols.
    """

    symbols: Mapping[str, int]
    model: KneserNey

    def nats(self, word: str) -> float:
        """Negative natural log-likelihood of a word, its end included."""
        symbols = [self.symbols.get(character, 1) for character in word]
        new = sum(symbol == 1 for symbol in symbols)
        return float(self.model.nats([*symbols, 0]).sum()) + new * math.log(CHARACTERS)


def fit_spelling(words: Iterable[str]) -> Spelling:
    """Learns how words are spelt, each word once."""
    distinct = sorted(set(words))
    characters = sorted({character for word in distinct for character in word})
    index = {character: symbol for symbol, character in enumerate(characters, start=2)}
    sequences = [[*(index[character] for character in word), 0] for word in distinct]
    return Spelling(index, kneser_ney.fit(sequences, n_symbols=len(index) + 2))


def rare_words(counts: Mapping[str, int], kept: Iterable[str]) -> list[str]:
    """The words that an unknown word is spelt like: those not kept, else those that occur once."""
    known = set(kept)
    return (
        [word for word in counts if word not in known]
        or [word for word, count in counts.items() if count == 1]
        or list(counts)
    )


class WordTrigrams(NamedTuple):
    """A trigram over a closed vocabulary; symbol 0 is the end of a text, 1 an unknown word."""

    words: Words
    symbols: Mapping[str, int]
    model: KneserNey
    spelling: Spelling

    def nats(self, text: str, *, spelt: bool) -> tuple[float, int]:
        """The nats of a text, and the number of its words with the end mark.

        Args:
            spelt: add the letters of unknown words.
        """
        words = self.words.of(text)
        symbols = [self.symbols.get(word, 1) for word in words]
        nats = float(self.model.nats([*symbols, 0]).sum())
        if spelt:
            unknown = [word for word, symbol in zip(words, symbols, strict=True) if symbol == 1]
            nats += sum(map(self.spelling.nats, unknown))
        return nats, len(words) + 1


def fit(train: Sequence[Example], *, words: Words) -> WordTrigrams:
    """Counts the words and trigrams of training texts."""
    texts = [words.of(example.text) for example in train]
    counts = Counter(word for text in texts for word in text)
    kept = words.kept(counts)
    index = {word: symbol for symbol, word in enumerate(kept, start=2)}
    sequences = [[*(index.get(word, 1) for word in text), 0] for text in texts]
    model = kneser_ney.fit(sequences, n_symbols=len(index) + 2)
    return WordTrigrams(words, index, model, fit_spelling(rare_words(counts, kept)))


def trigram_nats(
    train: Sequence[Example], examples: Sequence[Example], *, words: Words, spelt: bool
) -> np.ndarray:
    """(nats, tokens) of each text by the trigrams of the training texts, (n_examples, 2)."""
    trigrams = fit(train, words=words)
    rows = [trigrams.nats(example.text, spelt=spelt) for example in examples]
    return np.array(rows, dtype=float).reshape(-1, 2)
