"""Texts as words with a begin and an end mark, and what a closed vocabulary does not know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from pipelines.errors import UserError
from pipelines.evaluation.word_trigrams import Spelling, Words, fit_spelling, rare_words
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


def fit_vocabulary(texts: Sequence[str], words: Words) -> Vocabulary:
    """The words of training texts, after padding, unknown word, begin and end.

    Raises:
        UserError: when no word is left.
    """
    lowercase, punctuation = words.lowercase, words.split == "units"
    counts = word_counts(texts, lowercase=lowercase, punctuation=punctuation)
    for reserved in (BEGIN, END):
        counts.pop(reserved, None)
    kept = words.kept(counts)
    if not kept:
        most = max(counts.values(), default=0)
        raise UserError(
            f"--min_freq {words.min_freq} leaves none of {len(counts)} words (the most frequent "
            f"occurs {most} times); lower it, or give more texts"
        )
    tokenizer = word_tokenizer([BEGIN, END, *kept], lowercase=lowercase, punctuation=punctuation)
    tokenizer.add_special_tokens({"bos_token": BEGIN, "eos_token": END})
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, tokenizer.bos_token_id)]
    )
    unknown = 1 - sum(counts[word] for word in kept) / sum(counts.values())
    return Vocabulary(tokenizer, fit_spelling(rare_words(counts, kept)), unknown)


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
        encoded.append(EncodedText([tokenizer.bos_token_id, *ids, tokenizer.eos_token_id], unknown))
    return encoded
