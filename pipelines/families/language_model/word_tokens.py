"""Texts as words with a begin and an end mark, and what a closed vocabulary does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pipelines.errors import UserError
from pipelines.evaluation.word_trigrams import Spelling, fit_spelling, kept_words, rare_words
from pipelines.networks.word_tokenizer import word_counts, word_tokenizer

BEGIN, END = "[BOS]", "[EOS]"
SPLITS = ("units", "blanks")


class Vocabulary(NamedTuple):
    """The tokenizer of a run, and how it spells the words that it does not know.

    Attributes:
        unknown: share of the training words that are unknown.
    """

    tokenizer: PreTrainedTokenizerFast
    spelling: Spelling
    unknown: float


class EncodedText(NamedTuple):
    """A text as ids, from the begin mark to the end mark, and the strings of its unknown words."""

    ids: list[int]
    unknown: list[str]


def fit_vocabulary(
    texts: Sequence[str],
    *,
    vocab_size: int,
    min_freq: int = 1,
    lowercase: bool = False,
    split: str = "units",
) -> Vocabulary:
    """The most frequent words of training texts, after padding, unknown, begin and end.

    Args:
        vocab_size: words at most, the four marks not counted.
        min_freq: rarer words are unknown.
        split: `units` (words, numbers and punctuation marks) or `blanks` (what stands between
            blanks).

    Raises:
        UserError: for a size below 1, an unknown split, or when no word is left.
    """
    if vocab_size < 1:
        raise UserError(f"got --vocab_size {vocab_size}; wanted 1 or more")
    if split not in SPLITS:
        raise UserError(f"got --split {split}; wanted one of {', '.join(SPLITS)}")
    counts = word_counts(texts, lowercase=lowercase, punctuation=split == "units")
    for reserved in (BEGIN, END):
        counts.pop(reserved, None)
    words = kept_words(counts, vocab_size=vocab_size, min_freq=min_freq)
    if not words:
        most = max(counts.values(), default=0)
        raise UserError(
            f"--min_freq {min_freq} leaves none of {len(counts)} words (the most frequent occurs "
            f"{most} times); lower it, or give more texts"
        )
    tokenizer = word_tokenizer(
        [BEGIN, END, *words], lowercase=lowercase, punctuation=split == "units"
    )
    tokenizer.add_special_tokens({"bos_token": BEGIN, "eos_token": END})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokenizer.bos_token_id)]
    )
    known = sum(counts[word] for word in words)
    unknown = 1 - known / sum(counts.values())
    return Vocabulary(tokenizer, fit_spelling(rare_words(counts, words)), unknown)


def encode_words(texts: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[EncodedText]:
    """Begin mark, words, end mark. A word of a text that reads like a mark is unknown."""
    if not texts:
        return []
    encoding = tokenizer(
        list(texts),
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=True,
        return_attention_mask=False,
    )
    marks = {tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}
    unknown_id = tokenizer.unk_token_id
    normalizer = tokenizer.backend_tokenizer.normalizer
    encoded = []
    for text, ids, offsets in zip(
        texts, encoding["input_ids"], encoding["offset_mapping"], strict=True
    ):
        ids = [unknown_id if token in marks else token for token in ids]
        unknown = []
        for token, (start, end) in zip(ids, offsets, strict=True):
            if token == unknown_id:
                word = text[start:end]
                unknown.append(normalizer.normalize_str(word) if normalizer else word)
        encoded.append(
            EncodedText([tokenizer.bos_token_id, *ids, tokenizer.eos_token_id], unknown)
        )
    return encoded
