"""Scores of tags: per tag, accuracy, the confusion of types, and the entity scores that taggers are reported in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pipelines.evaluation.classification import accuracy, class_report, confusion_matrix
from pipelines.evaluation.span_scores import score_spans
from pipelines.examples import Example, Prediction, Span
from pipelines.spans import (
    Offsets,
    looks_like_tag,
    spans_to_token_ranges,
    split_tag,
    tags_to_token_ranges,
    token_ranges_to_tags,
)

SEQEVAL_NOTE = ("default reads an I- tag that continues nothing as the start of a mention (as conlleval does); strict "
                "drops it. They differ only on illegal tags.")


def tags_of(spans: Iterable[Span], tokens: Offsets) -> list[str]:
    """BIO tags of spans over tokens; of spans that share a token the first, then the longest, is kept."""
    ranges, reached = [], 0
    for first, past, label in sorted(spans_to_token_ranges(spans, tokens), key=lambda r: (r[0], -r[1], r[2])):
        if first >= reached:
            ranges.append((first, past, label))
            reached = past
    return token_ranges_to_tags(ranges, len(tokens))


def tagged_pairs(pairs: Sequence[tuple[Example, Prediction]]) -> tuple[list[list[str]], list[list[str]]]:
    """Gold and predicted BIO tags of tokenised examples.

    A prediction whose ``raw`` is one tag a token, with blanks between, is read from there, so that illegal tags are
    seen as the model wrote them.
    """
    gold, predicted = [], []
    for example, prediction in pairs:
        tokens = example.tokens or ()
        gold.append(tags_of(example.spans or (), tokens))
        written = (prediction.raw or "").split()
        if tokens and len(written) == len(tokens) and all(map(looks_like_tag, written)):
            predicted.append(written)
        else:
            predicted.append(tags_of(prediction.spans or (), tokens))
    return gold, predicted


def token_scores(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Scores BIO tags.

    Args:
        gold, predicted: for each sentence its tags, equally many.

    Returns:
        ``tokens``: their number; ``accuracy`` of the tags, and ``accuracy_without_o`` on the tokens whose gold tag is
        not O; ``per_tag``, ``macro`` and ``weighted`` over the tags; ``confusion`` of types without B- and I-, gold
        rows and predicted columns, O last, with ``per_type``, as the CS224n window model reports them;
        ``seqeval_default`` and ``seqeval_strict``: entity scores of the two readings of illegal tags;
        ``weighted_entity_f1``: the mean of the types' default F1, weighted by support, as the course's leaderboard
        computes it.

    Raises:
        ValueError: when a sentence has not as many predicted as gold tags.
    """
    gold_tags = [tag for tags in gold for tag in tags]
    predicted_tags = [tag for tags in predicted for tag in tags]
    if list(map(len, gold)) != list(map(len, predicted)):
        raise ValueError("a sentence has not as many predicted as gold tags")
    tags = sorted({*gold_tags, *predicted_tags}, key=_o_last)
    matrix = confusion_matrix(gold_tags, predicted_tags, tags)
    types = sorted({_type(tag) for tag in tags}, key=_o_last)
    fold = np.array([[_type(tag) == name for name in types] for tag in tags], dtype=np.int64).reshape(-1, len(types))
    type_matrix = fold.T @ matrix @ fold
    spoken = [i for i, tag in enumerate(tags) if tag != "O"]
    by_tag = class_report(matrix, tags)
    default = score_spans(_entities(gold, strict=False), _entities(predicted, strict=False))["strict"]
    strict = score_spans(_entities(gold, strict=True), _entities(predicted, strict=True))["strict"]
    entity_scores = ("precision", "recall", "f1", "support")
    return {
        "tokens": len(gold_tags),
        "accuracy": accuracy(matrix),
        "accuracy_without_o": float(np.diag(matrix)[spoken].sum() / max(matrix[spoken].sum(), 1)),
        "per_tag": by_tag["per_class"],
        "macro": by_tag["macro"],
        "weighted": by_tag["weighted"],
        "confusion": {"labels": types, "matrix": type_matrix.tolist()},
        "per_type": class_report(type_matrix, types)["per_class"],
        "seqeval_default": {name: default[name] for name in entity_scores},
        "seqeval_strict": {name: strict[name] for name in entity_scores},
        "seqeval_note": SEQEVAL_NOTE,
        "weighted_entity_f1": default["weighted"]["f1"],
    }


def _o_last(tag: str) -> tuple[bool, str]:
    return tag == "O", tag


def _type(tag: str) -> str:
    return split_tag(tag)[1] or tag


def _entities(sentences: Iterable[Sequence[str]], *, strict: bool) -> list[list[Span]]:
    """Entities as spans of token numbers."""
    return [[Span(*entity) for entity in tags_to_token_ranges(_legal(tags) if strict else tags)] for tags in sentences]


def _legal(tags: Sequence[str]) -> list[str]:
    """The tags with O in place of each I- that continues no mention of its type."""
    legal, inside = [], ""
    for tag in tags:
        prefix, label = split_tag(tag)
        kept = prefix == "B" or (prefix == "I" and label == inside)
        legal.append(tag if kept else "O")
        inside = label if kept else ""
    return legal
