"""Scores of tags: per tag, accuracy, confusion of types, and the entity scores of taggers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from pipelines.evaluation import Report
from pipelines.evaluation.classification import accuracy, class_report, confusion_matrix
from pipelines.evaluation.span_scores import score_spans
from pipelines.examples import Example, Prediction, Span
from pipelines.spans import looks_like_tag, spans_to_tags, split_tag, tags_to_token_ranges

SEQEVAL_NOTE = (
    "default reads an I- tag that continues nothing as the start of a mention (as conlleval does); "
    "strict drops it. They differ only on illegal tags."
)
ENTITY_SCORES = ("precision", "recall", "f1", "support")

Tags = Sequence[Sequence[str]]


def tagged_pairs(
    pairs: Sequence[tuple[Example, Prediction]],
) -> tuple[list[list[str]], list[list[str]]]:
    """Gold and predicted BIO tags of tokenised examples.

    A prediction whose `raw` is one tag a token, with blanks between, is read from there, so that
    illegal tags are seen as the model wrote them.
    """
    gold, predicted = [], []
    for example, prediction in pairs:
        tokens = example.tokens or ()
        gold.append(spans_to_tags(example.spans or (), tokens))
        written = (prediction.raw or "").split()
        if tokens and len(written) == len(tokens) and all(map(looks_like_tag, written)):
            predicted.append(written)
        else:
            predicted.append(spans_to_tags(prediction.spans or (), tokens))
    return gold, predicted


def token_scores(gold: Tags, predicted: Tags) -> Report:
    """Scores BIO tags.

    Args:
        gold: the tags of each sentence.
        predicted: the predicted tags of each sentence, as many as gold ones.

    Returns:
        `tokens`: their number; `accuracy` of the tags, and `accuracy_without_o` on the tokens whose
        gold tag is not O; `per_tag`, `macro` and `weighted` over the tags; `confusion` of types
        without B- and I-, gold rows and predicted columns, O last, with `per_type`, as the CS224n
        window model reports them; `seqeval_default` and `seqeval_strict`: entity scores of the two
        readings of illegal tags; `weighted_entity_f1`: the mean of the types' default F1, weighted
        by support, as the course's leaderboard computes it.

    Raises:
        ValueError: when a sentence has not as many predicted as gold tags.
    """
    if list(map(len, gold)) != list(map(len, predicted)):
        raise ValueError("a sentence has not as many predicted as gold tags")
    gold_tags, predicted_tags = list(chain(*gold)), list(chain(*predicted))
    tags = sorted({*gold_tags, *predicted_tags}, key=_o_last)
    matrix = confusion_matrix(gold_tags, predicted_tags, tags)
    mentioned = [i for i, tag in enumerate(tags) if tag != "O"]
    correct = np.diag(matrix)[mentioned].sum()
    by_tag = class_report(matrix, tags)
    types, type_matrix = _fold_types(matrix, tags)
    default = _entity_scores(gold, predicted, strict=False)
    strict = _entity_scores(gold, predicted, strict=True)
    return {
        "tokens": len(gold_tags),
        "accuracy": accuracy(matrix),
        "accuracy_without_o": float(correct / max(matrix[mentioned].sum(), 1)),
        "per_tag": by_tag["per_class"],
        "macro": by_tag["macro"],
        "weighted": by_tag["weighted"],
        "confusion": {"labels": types, "matrix": type_matrix.tolist()},
        "per_type": class_report(type_matrix, types)["per_class"],
        "seqeval_default": {name: default[name] for name in ENTITY_SCORES},
        "seqeval_strict": {name: strict[name] for name in ENTITY_SCORES},
        "seqeval_note": SEQEVAL_NOTE,
        "weighted_entity_f1": default["weighted"]["f1"],
    }


def _fold_types(matrix: np.ndarray, tags: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """The types of tags, and the confusion matrix of tags summed by type."""
    type_of = [split_tag(tag)[1] or tag for tag in tags]
    types = sorted(set(type_of), key=_o_last)
    fold = np.array([[name == other for other in types] for name in type_of], dtype=np.int64)
    fold = fold.reshape(-1, len(types))  # (n_tags, n_types)
    return types, fold.T @ matrix @ fold


def _o_last(tag: str) -> tuple[bool, str]:
    return tag == "O", tag


def _entity_scores(gold: Tags, predicted: Tags, *, strict: bool) -> Report:
    left, right = _entities(gold, strict=strict), _entities(predicted, strict=strict)
    return score_spans(left, right)["strict"]


def _entities(sentences: Iterable[Sequence[str]], *, strict: bool) -> list[list[Span]]:
    """Entities as spans of token indices."""
    entities = []
    for tags in sentences:
        ranges = tags_to_token_ranges(_legal(tags) if strict else tags)
        entities.append([Span(*entity) for entity in ranges])
    return entities


def _legal(tags: Sequence[str]) -> list[str]:
    """The tags, but O for each I- that continues no mention of its type."""
    legal, inside = [], ""
    for tag in tags:
        prefix, label = split_tag(tag)
        is_legal = prefix == "B" or (prefix == "I" and label == inside)
        legal.append(tag if is_legal else "O")
        inside = label if is_legal else ""
    return legal
