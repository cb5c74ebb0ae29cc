"""Classifying texts word by word: vocabulary, length and network of a text.

Rows, training, prediction, saving and loading are those of every sequence classifier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tokenizers.processors import TemplateProcessing

from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject
from pipelines.families.class_answers import ClassifierSettings
from pipelines.families.sequence_classifier import encode, head_config
from pipelines.families.token_tagger.word_tagging import Words, fit_words, put_vectors
from pipelines.networks.text_classifier import TextClassifier, TextClassifierConfig

SEPARATOR = "[SEP]"  # between the two texts of a pair
AUTO, AUTO_SHARE, AUTO_MOST = "auto", 0.95, 512


def fit_text_words(
    train: Sequence[Example], others: Sequence[Example] = (), **options: Any
) -> Words:
    """Makes the vocabulary of training texts and pairs, with its vectors; see `fit_words`.

    Where there are pairs, the tokenizer puts `[SEP]` between their texts.
    """
    words = fit_words(_whole_texts(train), _whole_texts(others), **options)
    if any(example.pair is not None for example in train):
        tokenizer: Any = words.tokenizer
        tokenizer.add_special_tokens({"sep_token": SEPARATOR})
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single="$A",
            pair=f"$A {SEPARATOR} $B",
            special_tokens=[(SEPARATOR, tokenizer.sep_token_id)],
        )
    return words


def _whole_texts(examples: Sequence[Example]) -> list[Example]:
    """Examples whose text includes the second text of a pair."""
    whole = []
    for example in examples:
        if example.pair is not None:
            example = Example(example.id, f"{example.text} {example.pair}")
        whole.append(example)
    return whole


def length_of(max_length: str | int, train: Sequence[Example], tokenizer: Any) -> int:
    """Words of a text at most: as asked, or for `auto` enough for 95 % of the training texts.

    `auto` is never more than 512.

    Raises:
        UserError: for anything but a positive number and `auto`.
    """
    if max_length == AUTO:
        rows = encode(train, tokenizer, max_length=AUTO_MOST).rows
        lengths = sorted(len(row["input_ids"]) for row in rows)
        return max(1, lengths[math.ceil(AUTO_SHARE * len(lengths)) - 1])
    if not str(max_length).isdecimal() or int(max_length) < 1:
        raise UserError(f"got --max_length {max_length}; wanted a number of words, or {AUTO}")
    return int(max_length)


def new_network(words: Words, settings: ClassifierSettings, **options: Any) -> TextClassifier:
    """A network with random weights, and the word vectors that come from elsewhere.

    Args:
        options: of `TextClassifierConfig`.

    Raises:
        UserError: for options that do not fit together.
    """
    shape: JsonObject = {"vocab_size": len(words.tokenizer), "embedding_dim": words.dim}
    try:
        config = TextClassifierConfig(**shape, **head_config(settings), **options)
        model = TextClassifier(config)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the options do not fit together: {reason}") from error
    put_vectors(model, words)
    return model
