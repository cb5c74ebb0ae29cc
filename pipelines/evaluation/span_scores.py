"""Span scores: strict, exact, partial and type, and the two string scores that LLM papers report.

Counts are summed over the corpus and divided once. Every score is a one-to-one matching of gold and
predicted spans within an example; the matching takes identical spans first and is then as large as
possible, so it does not depend on the order of the spans. Definitions and worked cases are in
docs/metrics.md.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import attrgetter

import numpy as np

from pipelines.evaluation import Report
from pipelines.examples import Fields, Span

SCHEMES = ("strict", "exact", "partial", "type")
FIELDS = ("example", "start", "end", "label")


@dataclass(frozen=True, slots=True)
class SpanArrays:
    """Spans of a corpus as integer arrays of shape (n_spans,), in the order they were given."""

    example: np.ndarray
    start: np.ndarray
    end: np.ndarray
    label: np.ndarray

    def take(self, rows: np.ndarray) -> SpanArrays:
        """The spans of some rows."""
        return SpanArrays(self.example[rows], self.start[rows], self.end[rows], self.label[rows])

    def followed_by(self, other: SpanArrays) -> SpanArrays:
        """These spans and then the others."""
        pairs = [(getattr(self, name), getattr(other, name)) for name in FIELDS]
        return SpanArrays(*map(np.concatenate, pairs))


@dataclass(frozen=True, slots=True)
class Matching:
    """A one-to-one matching: row `gold[i]` is paired with row `predicted[i]`.

    All arrays are of shape (n_pairs,). `same` says which pairs have the same offsets; the others
    only overlap.
    """

    gold: np.ndarray
    predicted: np.ndarray
    same: np.ndarray


def span_arrays(spans: Sequence[Sequence[Span]], labels: Sequence[str]) -> SpanArrays:
    """Puts the spans of each example into arrays, with a label's index in `labels`."""
    index = {label: i for i, label in enumerate(labels)}
    flat = list(chain.from_iterable(spans))
    counts = np.fromiter(map(len, spans), dtype=np.int64, count=len(spans))

    def array(values: Iterable[int]) -> np.ndarray:
        return np.fromiter(values, dtype=np.int64, count=len(flat))

    return SpanArrays(
        example=np.repeat(np.arange(len(spans)), counts),
        start=array(map(attrgetter("start"), flat)),
        end=array(map(attrgetter("end"), flat)),
        label=array(map(index.__getitem__, map(attrgetter("label"), flat))),
    )


def all_labels(*corpora: Sequence[Sequence[Span]]) -> list[str]:
    """The labels that occur, sorted."""
    spans = chain.from_iterable(chain.from_iterable(corpora))
    return sorted(set(map(attrgetter("label"), spans)))


def match_identical(gold: SpanArrays, predicted: SpanArrays, *, by_label: bool) -> Matching:
    """Pairs spans of one example that have the same offsets (and label, if `by_label`).

    Equal spans are paired in their order: a duplicate prediction has only one gold span.
    """
    n_gold = len(gold.start)
    both = gold.followed_by(predicted)
    names = FIELDS if by_label else FIELDS[:3]
    order, run = _runs_of_equals([getattr(both, name) for name in names])
    is_gold = order < n_gold  # within a run gold spans come first
    gold_in_run = np.bincount(run, weights=is_gold).astype(np.int64)
    size = np.bincount(run)
    rank = np.arange(len(order)) - (np.cumsum(size) - size)[run]  # within its run
    rank -= np.where(is_gold, 0, gold_in_run[run])  # … among those of its own side
    is_paired = rank < np.minimum(gold_in_run, size - gold_in_run)[run]
    gold_rows = order[is_paired & is_gold]
    predicted_rows = order[is_paired & ~is_gold] - n_gold
    return Matching(gold_rows, predicted_rows, np.ones(len(gold_rows), dtype=bool))


def _runs_of_equals(fields: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A stable order of rows by several fields, and the index of the run of equals of each.

    Fields are packed into one number while it fits into 64 bits: one sort costs a quarter of four.
    """
    keys = [fields[0]]
    for values in fields[1:]:
        low = int(values.min(initial=0))
        size = int(np.ptp(values)) + 1 if len(values) else 1
        if (int(keys[-1].max(initial=0)) + 1) * size < 2**63:
            keys[-1] = keys[-1] * size + (values - low)
        else:
            keys.append(values)
    order = np.lexsort(keys[::-1])
    changes = np.zeros(len(order), dtype=bool)
    for key in keys:
        ordered = key[order]
        changes[1:] |= ordered[1:] != ordered[:-1]
    return order, np.cumsum(changes)


def match_overlapping(
    gold: SpanArrays, predicted: SpanArrays, same: Matching, *, by_label: bool
) -> Matching:
    """Adds to the pairs of identical spans as many overlapping pairs of the others as possible.

    Args:
        gold: the gold spans.
        predicted: the predicted spans.
        same: what `match_identical` gives for these spans with the same `by_label`.
        by_label: pair only spans of the same label.
    """
    gold_rest = _unmatched(same.gold, len(gold.start))
    predicted_rest = _unmatched(same.predicted, len(predicted.start))
    left, right = _maximum_matching(
        gold.take(gold_rest), predicted.take(predicted_rest), by_label=by_label
    )
    return Matching(
        np.concatenate([same.gold, gold_rest[left]]),
        np.concatenate([same.predicted, predicted_rest[right]]),
        np.concatenate([same.same, np.zeros(len(left), dtype=bool)]),
    )


def _unmatched(rows: np.ndarray, count: int) -> np.ndarray:
    return np.flatnonzero(np.bincount(rows, minlength=count) == 0)


def _maximum_matching(
    gold: SpanArrays, predicted: SpanArrays, *, by_label: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of gold and predicted spans in a largest matching by overlap."""
    edges = _overlaps(gold, predicted, by_label=by_label)
    gold_degree = np.bincount(edges[0], minlength=len(gold.start))
    predicted_degree = np.bincount(edges[1], minlength=len(predicted.start))
    # An edge whose ends have no other edge is in every largest matching; nearly all are like that.
    is_isolated = (gold_degree[edges[0]] == 1) & (predicted_degree[edges[1]] == 1)
    chosen = edges[:, is_isolated]
    contested = edges[:, ~is_isolated]
    if contested.shape[1]:
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import maximum_bipartite_matching

        rows, row = np.unique(contested[0], return_inverse=True)
        cols, col = np.unique(contested[1], return_inverse=True)
        ones = np.ones(len(row), dtype=np.int8)
        graph = csr_array((ones, (row, col)), shape=(len(rows), len(cols)))
        mate = maximum_bipartite_matching(graph, perm_type="column")  # (n_rows,), -1 for none
        matched = np.stack([rows[mate >= 0], cols[mate[mate >= 0]]])
        chosen = np.hstack([chosen, matched])
    return chosen[0], chosen[1]


def _overlaps(gold: SpanArrays, predicted: SpanArrays, *, by_label: bool) -> np.ndarray:
    """All overlapping pairs of one example: gold and predicted rows, of shape (2, n_pairs).

    Only spans within a run of overlapping spans are compared, so the cost grows with the number of
    overlaps and not with the square of the spans of a long text.
    """
    n_gold = len(gold.start)
    both = gold.followed_by(predicted)
    order = np.lexsort((np.arange(len(both.start)), both.label, both.end, both.start, both.example))
    order = order[both.start[order] < both.end[order]]  # an empty span overlaps nothing
    if not len(order):
        return np.zeros((2, 0), dtype=np.int64)
    spans = both.take(order)
    # With the examples laid end to end, a run begins where a span starts behind all earlier ends.
    room = int(spans.end.max()) + 1
    start, end = spans.example * room + spans.start, spans.example * room + spans.end
    begins = np.ones(len(order), dtype=bool)
    begins[1:] = start[1:] >= np.maximum.accumulate(end)[:-1]
    left, right = _pairs_within_runs(np.cumsum(begins) - 1, order < n_gold)
    overlap = (start[left] < end[right]) & (start[right] < end[left])
    if by_label:
        overlap &= spans.label[left] == spans.label[right]
    return np.stack([order[left[overlap]], order[right[overlap]] - n_gold])


def _pairs_within_runs(run: np.ndarray, is_gold: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs each gold row with every predicted row of its run.

    Args:
        run: the index of the run of each row, ascending, of shape (n_rows,).
        is_gold: which rows are gold, of shape (n_rows,).

    Returns:
        Gold rows and predicted rows, each of shape (n_pairs,).
    """
    gold_rows, predicted_rows = np.flatnonzero(is_gold), np.flatnonzero(~is_gold)
    in_run = np.bincount(run, weights=~is_gold).astype(np.int64)  # predicted rows of each run
    first_in_run = np.cumsum(in_run) - in_run
    repeats = in_run[run[gold_rows]]
    left = np.repeat(gold_rows, repeats)
    offset = np.arange(len(left)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    right = predicted_rows[np.repeat(first_in_run[run[gold_rows]], repeats) + offset]
    return left, right


def precision_recall_f1(credit: float, gold: int, predicted: int) -> Report:
    """One score from corpus sums.

    With neither gold nor predictions it is 1.0; else with nothing correct it is 0.0.
    """
    # numpy's own numbers are not JSON.
    credit, gold, predicted = float(credit), int(gold), int(predicted)
    if gold == predicted == 0:
        return {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 0, "predicted": 0}
    return {
        "precision": credit / predicted if predicted else 0.0,
        "recall": credit / gold if gold else 0.0,
        "f1": 2 * credit / (gold + predicted),
        "support": gold,
        "predicted": predicted,
    }


def scores_by_label(
    labels: Sequence[str], credit: np.ndarray, gold: np.ndarray, predicted: np.ndarray
) -> dict[str, Report]:
    """The scores of each label, from sums of shape (n_labels,)."""
    rows = zip(labels, credit, gold, predicted, strict=True)
    return {label: precision_recall_f1(*sums) for label, *sums in rows}


def averages(per_type: Mapping[str, Fields]) -> dict[str, dict[str, float]]:
    """Macro (each type alike) and weighted (by support) means of the scores of the types.

    A type that is only predicted has support 0: it lowers the macro mean, but not the weighted one.
    """
    names = ("precision", "recall", "f1")
    rows = np.array([[row[name] for name in names] for row in per_type.values()]).reshape(-1, 3)
    support = np.array([row["support"] for row in per_type.values()], dtype=float)
    if not len(rows):
        rows, support = np.ones((1, 3)), np.ones(1)
    macro, weighted = rows.mean(axis=0), support @ rows / max(support.sum(), 1.0)
    return {
        "macro": dict(zip(names, macro.tolist(), strict=True)),
        "weighted": dict(zip(names, weighted.tolist(), strict=True)),
    }


@dataclass(frozen=True, slots=True)
class MatchedSpans:
    """The spans of a corpus and their matching under each scheme.

    Attributes:
        examples: their number.
        labels: the labels that occur, sorted.
        gold: the gold spans.
        predicted: the predicted spans.
        pairs: scheme -> its matching.
        credit: scheme -> the credit of each pair, of shape (n_pairs,).
    """

    examples: int
    labels: list[str]
    gold: SpanArrays
    predicted: SpanArrays
    pairs: dict[str, Matching]
    credit: dict[str, np.ndarray]


def match_spans(
    gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]
) -> MatchedSpans:
    """Matches predicted to gold spans under each scheme.

    The schemes are those of SemEval-2013 task 9 (Segura-Bedmar et al., section 4).

    Args:
        gold: the gold spans of each example.
        predicted: the predicted spans of each example, in the same order of examples.

    Raises:
        ValueError: when the two differ in length.
    """
    if len(gold) != len(predicted):
        raise ValueError(
            f"got {len(gold)} gold and {len(predicted)} predicted examples; wanted one for one"
        )
    labels = all_labels(gold, predicted)
    left, right = span_arrays(gold, labels), span_arrays(predicted, labels)
    strict = match_identical(left, right, by_label=True)
    exact = match_identical(left, right, by_label=False)
    pairs = {
        "strict": strict,
        "exact": exact,
        "partial": match_overlapping(left, right, exact, by_label=False),
        "type": match_overlapping(left, right, strict, by_label=True),
    }
    credit = {scheme: np.ones(len(pairs[scheme].gold)) for scheme in SCHEMES}
    credit["partial"][~pairs["partial"].same] = 0.5
    return MatchedSpans(len(gold), labels, left, right, pairs, credit)


def span_counts(matched: MatchedSpans, scheme: str) -> np.ndarray:
    """What each example adds to a score: (credit, gold, predicted), of shape (n_examples, 3)."""
    n_examples = matched.examples
    rows = matched.gold.example[matched.pairs[scheme].gold]
    credit = np.bincount(rows, weights=matched.credit[scheme], minlength=n_examples)
    gold = np.bincount(matched.gold.example, minlength=n_examples)
    predicted = np.bincount(matched.predicted.example, minlength=n_examples)
    return np.stack([credit, gold, predicted], axis=1)


def span_report(matched: MatchedSpans) -> dict[str, Report]:
    """The four scores of a matching; see `score_spans`."""
    n_labels = len(matched.labels)
    gold_labels = matched.gold.label
    n_gold = np.bincount(gold_labels, minlength=n_labels)
    n_predicted = np.bincount(matched.predicted.label, minlength=n_labels)
    same = np.bincount(gold_labels[matched.pairs["strict"].gold], minlength=n_labels)
    touched = np.bincount(gold_labels[matched.pairs["type"].gold], minlength=n_labels)
    # With the spans of one type alone, same offsets match strictly and any overlap by type.
    per_label = {"strict": same, "exact": same, "partial": (same + touched) / 2, "type": touched}
    report = {}
    for scheme in SCHEMES:
        per_type = scores_by_label(matched.labels, per_label[scheme], n_gold, n_predicted)
        credit = matched.credit[scheme].sum()
        overall = precision_recall_f1(credit, n_gold.sum(), n_predicted.sum())
        report[scheme] = overall | averages(per_type) | {"per_type": per_type}
    return report


def score_spans(
    gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]
) -> dict[str, Report]:
    """Scores predicted spans against gold spans, example by example.

    Args:
        gold: the gold spans of each example.
        predicted: the predicted spans of each example, in the same order of examples.

    Returns:
        `{"strict": …, "exact": …, "partial": …, "type": …}`, each with `precision`, `recall`, `f1`,
        `support` (gold spans) and `predicted` (predicted spans) over the corpus, `macro` and
        `weighted` means over the types, and `per_type`, where each type is scored as if its spans
        were the only ones.

    Raises:
        ValueError: when the two differ in length.
    """
    return span_report(match_spans(gold, predicted))


@lru_cache(maxsize=2**16)
def normalised(text: str) -> str:
    """Lower case without ASCII punctuation, English articles and extra blanks (UniversalNER)."""
    text = text.lower().translate(_NO_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", text).split())


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def string_counts(
    gold: Iterable[Sequence[tuple[str, str]]], predicted: Iterable[Sequence[tuple[str, str]]]
) -> dict[str, np.ndarray]:
    """Compares mentions as (string, label) without offsets, as papers on generative models do.

    Args:
        gold: the mentions of each example.
        predicted: the predicted mentions of each example.

    Returns:
        What each example adds, (correct, gold, predicted) in an array of shape (n_examples, 3), for
        `string_set`: distinct normalised strings (UniversalNER, Zhou et al. 2023, its
        `evaluate.py`), and `string_multiset`: strings with their repeats, lower-cased (GoLLIE,
        Sainz et al. 2023, its `SpanScorer`).
    """
    rows: dict[str, list[tuple[int, int, int]]] = {"string_set": [], "string_multiset": []}
    for gold_row, predicted_row in zip(gold, predicted, strict=True):
        gold_set = {(normalised(text), label) for text, label in gold_row}
        predicted_set = {(normalised(text), label) for text, label in predicted_row}
        correct = len(gold_set & predicted_set)
        rows["string_set"].append((correct, len(gold_set), len(predicted_set)))
        gold_bag = Counter((text.lower(), label) for text, label in gold_row)
        predicted_bag = Counter((text.lower(), label) for text, label in predicted_row)
        correct = (gold_bag & predicted_bag).total()
        rows["string_multiset"].append((correct, len(gold_row), len(predicted_row)))
    arrays = {name: np.array(counts, dtype=np.int64) for name, counts in rows.items()}
    return {name: array.reshape(-1, 3) for name, array in arrays.items()}
