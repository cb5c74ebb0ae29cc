"""Span scores: strict, exact, partial and type, and the two string scores that LLM papers report.

Counts are summed over the corpus and divided once. Every score is a one-to-one matching of gold and predicted spans
within an example; the matching takes identical spans first and is then as large as it can be, so it does not depend on
the order of the spans. Definitions, with worked cases, are in docs/metrics.md.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy as np

from pipelines.examples import Span

SCHEMES = ("strict", "exact", "partial", "type")


@dataclass(frozen=True, slots=True)
class Columns:
    """Spans of a corpus as columns, each an integer array of shape (n_spans,), in the order they were given."""

    example: np.ndarray
    start: np.ndarray
    end: np.ndarray
    label: np.ndarray

    def take(self, rows: np.ndarray) -> Columns:
        return Columns(self.example[rows], self.start[rows], self.end[rows], self.label[rows])


@dataclass(frozen=True, slots=True)
class Pairs:
    """A one-to-one matching: row ``gold[i]`` is paired with row ``predicted[i]``; each array of shape (n_pairs,).

    ``same`` says which pairs have the same offsets; the others only overlap.
    """

    gold: np.ndarray
    predicted: np.ndarray
    same: np.ndarray


def columns(spans: Sequence[Sequence[Span]], labels: Sequence[str]) -> Columns:
    """Puts spans into columns; ``labels`` gives each label its number."""
    number = {label: i for i, label in enumerate(labels)}
    flat = list(chain.from_iterable(spans))

    def column(values: Iterable[int]) -> np.ndarray:
        return np.fromiter(values, dtype=np.int64, count=len(flat))

    return Columns(
        example=np.repeat(np.arange(len(spans)), np.fromiter(map(len, spans), dtype=np.int64, count=len(spans))),
        start=column(map(attrgetter("start"), flat)),
        end=column(map(attrgetter("end"), flat)),
        label=column(map(number.__getitem__, map(attrgetter("label"), flat))),
    )


def all_labels(*corpora: Sequence[Sequence[Span]]) -> list[str]:
    """The labels that occur, sorted."""
    return sorted(set(map(attrgetter("label"), chain.from_iterable(chain.from_iterable(corpora)))))


def match_identical(gold: Columns, predicted: Columns, *, by_label: bool) -> Pairs:
    """Pairs spans of one example that have the same offsets (and label, with ``by_label``), as many as there are.

    Equal spans are paired in the order they stand: a doubled prediction finds only one gold span.
    """
    n_gold = len(gold.start)
    order, run = _runs_of_equals([np.concatenate([getattr(gold, name), getattr(predicted, name)])
                                  for name in ("example", "start", "end", "label")[:4 if by_label else 3]])
    is_gold = order < n_gold  # within a run gold spans stand first
    gold_in_run = np.bincount(run, weights=is_gold).astype(np.int64)
    size = np.bincount(run)
    place = np.arange(len(order)) - (np.cumsum(size) - size)[run]  # place of the span in its run of equals
    place -= np.where(is_gold, 0, gold_in_run[run])  # … among those of its own side
    paired = place < np.minimum(gold_in_run, size - gold_in_run)[run]
    rows = order[paired & is_gold]
    return Pairs(rows, order[paired & ~is_gold] - n_gold, np.ones(len(rows), dtype=bool))


def _runs_of_equals(fields: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A stable order of rows by several columns, and the number of the run of equal rows each belongs to.

    Columns are packed into one number while it fits into 64 bits: one sort costs a quarter of four.
    """
    keys = [fields[0]]
    for values in fields[1:]:
        low, size = int(values.min(initial=0)), int(np.ptp(values)) + 1 if len(values) else 1
        if (int(keys[-1].max(initial=0)) + 1) * size < 2 ** 63:
            keys[-1] = keys[-1] * size + (values - low)
        else:
            keys.append(values)
    order = np.lexsort(keys[::-1])
    changes = np.zeros(len(order), dtype=bool)
    for key in keys:
        ordered = key[order]
        changes[1:] |= ordered[1:] != ordered[:-1]
    return order, np.cumsum(changes)


def match_overlapping(gold: Columns, predicted: Columns, same: Pairs, *, by_label: bool) -> Pairs:
    """Adds to the pairs of identical spans as many of the others as can be paired with one they overlap.

    Args:
        same: what :func:`match_identical` gives for these spans with the same ``by_label``.
        by_label: pair only spans of the same label.
    """
    gold_rest = np.flatnonzero(np.bincount(same.gold, minlength=len(gold.start)) == 0)
    predicted_rest = np.flatnonzero(np.bincount(same.predicted, minlength=len(predicted.start)) == 0)
    rows = _maximum_matching(gold.take(gold_rest), predicted.take(predicted_rest), by_label=by_label)
    return Pairs(
        np.concatenate([same.gold, gold_rest[rows[0]]]),
        np.concatenate([same.predicted, predicted_rest[rows[1]]]),
        np.concatenate([same.same, np.zeros(len(rows[0]), dtype=bool)]),
    )


def _maximum_matching(gold: Columns, predicted: Columns, *, by_label: bool) -> tuple[np.ndarray, np.ndarray]:
    """Rows of gold and predicted spans in a largest matching by overlap (at least one character in common)."""
    edges = _overlaps(gold, predicted, by_label=by_label)
    gold_degree = np.bincount(edges[0], minlength=len(gold.start))
    predicted_degree = np.bincount(edges[1], minlength=len(predicted.start))
    # An edge whose ends have no other edge is in every largest matching; nearly all are of that kind.
    lonely = (gold_degree[edges[0]] == 1) & (predicted_degree[edges[1]] == 1)
    chosen = edges[:, lonely]
    contested = edges[:, ~lonely]
    if contested.shape[1]:
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import maximum_bipartite_matching

        rows, row = np.unique(contested[0], return_inverse=True)
        cols, col = np.unique(contested[1], return_inverse=True)
        graph = csr_array((np.ones(len(row), dtype=np.int8), (row, col)), shape=(len(rows), len(cols)))
        mate = maximum_bipartite_matching(graph, perm_type="column")  # (n_rows,): a column, or -1
        chosen = np.hstack([chosen, np.stack([rows[mate >= 0], cols[mate[mate >= 0]]])])
    return chosen[0], chosen[1]


def _overlaps(gold: Columns, predicted: Columns, *, by_label: bool) -> np.ndarray:
    """All overlapping pairs of one example, as an array of shape (2, n_edges) of gold and predicted rows.

    Only spans that stand together in a run of overlapping spans are compared, so the cost follows the overlaps there
    are and not the square of a long text's spans.
    """
    n_gold = len(gold.start)
    both = Columns(*(np.concatenate([getattr(gold, name), getattr(predicted, name)])
                     for name in ("example", "start", "end", "label")))
    order = np.lexsort((np.arange(len(both.start)), both.label, both.end, both.start, both.example))
    order = order[both.start[order] < both.end[order]]  # an empty span overlaps nothing
    if not len(order):
        return np.zeros((2, 0), dtype=np.int64)
    spans = both.take(order)
    # Examples laid one after the other on one line: the furthest end so far then tells where a new run begins.
    room = int(spans.end.max()) + 1
    start, end = spans.example * room + spans.start, spans.example * room + spans.end
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = start[1:] >= np.maximum.accumulate(end)[:-1]
    run = np.cumsum(begins) - 1
    first = np.flatnonzero(begins)
    is_gold = order < n_gold
    golds_in_run = np.bincount(run, weights=is_gold).astype(np.int64)
    left = np.flatnonzero(is_gold)
    right = np.flatnonzero(~is_gold)
    # Each gold span meets every predicted span of its run.
    predictions_in_run = np.diff(np.append(first, len(order))) - golds_in_run
    first_prediction = np.cumsum(predictions_in_run) - predictions_in_run
    repeats = predictions_in_run[run[left]]
    pair_left = np.repeat(left, repeats)
    offset = np.arange(len(pair_left)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    pair_right = right[np.repeat(first_prediction[run[left]], repeats) + offset]
    overlap = (start[pair_left] < end[pair_right]) & (start[pair_right] < end[pair_left])
    if by_label:
        overlap &= spans.label[pair_left] == spans.label[pair_right]
    return np.stack([order[pair_left[overlap]], order[pair_right[overlap]] - n_gold])


def precision_recall_f1(credit: float, gold: int, predicted: int) -> dict[str, Any]:
    """One score from corpus sums. Nothing to find and nothing predicted is 1.0; else nothing correct is 0.0."""
    credit, gold, predicted = float(credit), int(gold), int(predicted)  # numpy's own numbers are not JSON
    if gold == predicted == 0:
        return {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 0, "predicted": 0}
    return {
        "precision": credit / predicted if predicted else 0.0,
        "recall": credit / gold if gold else 0.0,
        "f1": 2 * credit / (gold + predicted),
        "support": gold,
        "predicted": predicted,
    }


def averages(per_type: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Macro (each type alike) and weighted (by support) means of the scores of the types.

    A type that is only predicted has support 0: it lowers the macro mean, and the weighted one not at all.
    """
    rows = np.array([[row["precision"], row["recall"], row["f1"]] for row in per_type.values()]).reshape(-1, 3)
    support = np.array([row["support"] for row in per_type.values()], dtype=float)
    if not len(rows):
        rows, support = np.ones((1, 3)), np.ones(1)
    weights = support if support.sum() else np.zeros_like(support)
    means = {"macro": rows.mean(axis=0), "weighted": weights @ rows / max(support.sum(), 1.0)}
    return {name: dict(zip(("precision", "recall", "f1"), map(float, mean), strict=True))
            for name, mean in means.items()}


@dataclass(frozen=True, slots=True)
class Matched:
    """The spans of a corpus and, for each scheme, its matching and the credit of each pair, of shape (n_pairs,)."""

    examples: int
    labels: list[str]
    gold: Columns
    predicted: Columns
    pairs: dict[str, Pairs]
    credit: dict[str, np.ndarray]


def match_spans(gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> Matched:
    """Matches predicted to gold spans under each scheme (SemEval-2013 task 9, Segura-Bedmar et al., section 4).

    Args:
        gold, predicted: the spans of each example, in the same order of examples.

    Raises:
        ValueError: when the two differ in length.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"got {len(gold)} gold and {len(predicted)} predicted examples; wanted one for one")
    labels = all_labels(gold, predicted)
    gold_columns, predicted_columns = columns(gold, labels), columns(predicted, labels)
    strict = match_identical(gold_columns, predicted_columns, by_label=True)
    exact = match_identical(gold_columns, predicted_columns, by_label=False)
    pairs = {
        "strict": strict,
        "exact": exact,
        "partial": match_overlapping(gold_columns, predicted_columns, exact, by_label=False),
        "type": match_overlapping(gold_columns, predicted_columns, strict, by_label=True),
    }
    credit = {scheme: np.ones(len(pairs[scheme].gold)) for scheme in SCHEMES}
    credit["partial"][~pairs["partial"].same] = 0.5
    return Matched(len(gold), labels, gold_columns, predicted_columns, pairs, credit)


def span_counts(matched: Matched, scheme: str) -> np.ndarray:
    """What each example adds to a score: (credit, gold, predicted), of shape (n_examples, 3)."""
    rows = matched.gold.example[matched.pairs[scheme].gold]
    return np.stack([
        np.bincount(rows, weights=matched.credit[scheme], minlength=matched.examples),
        np.bincount(matched.gold.example, minlength=matched.examples),
        np.bincount(matched.predicted.example, minlength=matched.examples),
    ], axis=1)


def span_report(matched: Matched) -> dict[str, dict[str, Any]]:
    """The four scores of a matching; see :func:`score_spans`."""
    n_labels = len(matched.labels)
    n_gold = np.bincount(matched.gold.label, minlength=n_labels)
    n_predicted = np.bincount(matched.predicted.label, minlength=n_labels)
    found = np.bincount(matched.gold.label[matched.pairs["strict"].gold], minlength=n_labels)
    touched = np.bincount(matched.gold.label[matched.pairs["type"].gold], minlength=n_labels)
    # With one type's spans alone, same offsets are a strict match and an overlap is one of the type.
    per_label = {"strict": found, "exact": found, "partial": (found + touched) / 2, "type": touched}
    report = {}
    for scheme in SCHEMES:
        per_type = {label: precision_recall_f1(per_label[scheme][i], n_gold[i], n_predicted[i])
                    for i, label in enumerate(matched.labels)}
        overall = precision_recall_f1(matched.credit[scheme].sum(), n_gold.sum(), n_predicted.sum())
        report[scheme] = overall | averages(per_type) | {"per_type": per_type}
    return report


def score_spans(gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> dict[str, dict[str, Any]]:
    """Scores predicted spans against gold spans, example by example.

    Args:
        gold: the gold spans of each example.
        predicted: the predicted spans of each example, in the same order of examples.

    Returns:
        ``{"strict": …, "exact": …, "partial": …, "type": …}``, each with ``precision``, ``recall``, ``f1``,
        ``support`` (gold spans) and ``predicted`` (their number) over the corpus, ``macro`` and ``weighted`` means over
        the types, and ``per_type``, where a type is scored as if its spans were the only ones.

    Raises:
        ValueError: when the two differ in length.
    """
    return span_report(match_spans(gold, predicted))


@lru_cache(maxsize=2 ** 16)
def normalised(text: str) -> str:
    """Lower case without ASCII punctuation, English articles and extra blanks, as UniversalNER's evaluation does."""
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def string_counts(gold: Iterable[Sequence[tuple[str, str]]],
                  predicted: Iterable[Sequence[tuple[str, str]]]) -> dict[str, np.ndarray]:
    """Compares mentions as (string, label) without offsets, as papers on generative models do.

    Args:
        gold, predicted: for each example, its mentions as (string, label).

    Returns:
        What each example adds, (correct, gold, predicted) in an array of shape (n_examples, 3), for
        ``string_set``: distinct normalised strings (UniversalNER, Zhou et al. 2023, its ``evaluate.py``), and
        ``string_multiset``: strings with their repeats, lower-cased (GoLLIE, Sainz et al. 2023, its ``SpanScorer``).
    """
    rows: dict[str, list[tuple[int, int, int]]] = {"string_set": [], "string_multiset": []}
    for gold_row, predicted_row in zip(gold, predicted, strict=True):
        wanted = {(normalised(text), label) for text, label in gold_row}
        given = {(normalised(text), label) for text, label in predicted_row}
        rows["string_set"].append((len(wanted & given), len(wanted), len(given)))
        wanted_all = Counter((text.lower(), label) for text, label in gold_row)
        given_all = Counter((text.lower(), label) for text, label in predicted_row)
        rows["string_multiset"].append(((wanted_all & given_all).total(), len(gold_row), len(predicted_row)))
    return {name: np.array(counts, dtype=np.int64).reshape(-1, 3) for name, counts in rows.items()}
