"""Scores of parts of the corpus: which mentions a model finds, and where it raises false alarms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from pipelines.evaluation import Report
from pipelines.evaluation.significance import Units
from pipelines.evaluation.span_scores import MatchedSpans, SpanArrays, scores_by_label
from pipelines.examples import Example, Span
from pipelines.spans import longest_without_overlaps, overlapping_pairs

# The names of the slices of each slicing, in the order in which they are shown.
SLICES = {
    "length": ("1 word", "2 words", "3 words", "4 or more words"),
    "abbreviation": ("abbreviation", "no abbreviation"),
    "place_in_text": ("first third", "middle third", "last third"),
    "sentence_of_document": ("first", "second to fifth", "later"),
    "seen_in_train": ("seen", "new"),
    "train_frequency": ("0", "1", "2 to 9", "10 or more"),
    "nested": ("among overlapping mentions", "elsewhere"),
}


def is_abbreviation(string: str) -> bool:
    """Whether a string is one word of 2 to 10 characters with two capitals or more.

    At least half of its letters are capitals.
    """
    if not 2 <= len(string) <= 10 or any(map(str.isspace, string)):
        return False
    capitals, letters = sum(map(str.isupper, string)), sum(map(str.isalpha, string))
    return capitals >= 2 and 2 * capitals >= letters


def mention_slices(
    examples: Sequence[Example],
    matched: MatchedSpans,
    *,
    units: Units,
    train: Iterable[Example] | None = None,
) -> Report:
    """Strict scores by what a mention is like.

    Gold and predicted spans are sorted by the same rule, so that each slice has a precision and a
    recall; a correct prediction is in the slice of its gold mention. Where gold mentions overlap,
    a slice holds all spans that touch such mentions.

    Args:
        examples: the examples.
        matched: their spans.
        units: documents, where the ids have them: adds slices by the position of the sentence.
        train: adds slices by whether, and how often, training has the lower-cased string.

    Returns:
        `{slicing: {slice: {"precision", "recall", "f1", "support", "predicted"}}}`.
    """
    positions = _sentence_positions(units) if units.kind == "document" else None
    train_counts = None if train is None else _mention_counts(train)
    regions = overlapping_regions(matched.gold)
    gold, predicted = (
        _slice_indices(examples, spans, positions, train_counts, regions)
        for spans in (matched.gold, matched.predicted)
    )
    correct = matched.pairs["strict"].gold
    return {
        name: _scores_by_slice(SLICES[name], gold[name][correct], gold[name], predicted[name])
        for name in gold
    }


def _slice_indices(
    examples: Sequence[Example],
    spans: SpanArrays,
    positions: np.ndarray | None,
    train_counts: Counter[str] | None,
    regions: SpanArrays,
) -> dict[str, np.ndarray]:
    """For each slicing, the index in `SLICES` of each span, of shape (n_spans,)."""
    strings = _strings(examples, spans)
    distinct = set(strings)  # a corpus repeats its strings: each is looked at once

    def by_string(rule: Callable[[str], int]) -> np.ndarray:
        values = {string: rule(string) for string in distinct}
        return np.fromiter(map(values.__getitem__, strings), dtype=np.int64, count=len(strings))

    sizes = np.array([max(len(example.text), 1) for example in examples], dtype=np.int64)
    indices = {
        "length": by_string(lambda string: min(max(len(string.split()), 1), 4) - 1),
        "abbreviation": by_string(lambda string: not is_abbreviation(string)),
        "place_in_text": np.minimum(2, 3 * spans.start // sizes[spans.example]),
    }
    if positions is not None:
        indices["sentence_of_document"] = np.digitize(positions[spans.example], (1, 5))
    if train_counts is not None:
        counts = by_string(lambda string: train_counts[string.lower()])
        indices["seen_in_train"] = np.where(counts, 0, 1)
        indices["train_frequency"] = np.digitize(counts, (1, 2, 10))
    if len(regions.start):
        indices["nested"] = np.where(_touch(spans, regions), 0, 1)
    return indices


def overlapping_regions(spans: SpanArrays) -> SpanArrays:
    """What two or more overlapping spans cover together, in order, without overlap."""
    order = np.lexsort((spans.end, spans.start, spans.example))
    ordered = spans.take(order[spans.start[order] < spans.end[order]])
    start, end = _on_one_line(ordered, ordered)
    reach = np.maximum.accumulate(end)
    opens = np.ones(len(start), dtype=bool)
    opens[1:] = start[1:] >= reach[:-1]
    first = np.flatnonzero(opens)
    last = np.append(first[1:], len(start))[: len(first)] - 1
    several = first < last
    first, last = first[several], last[several]
    # The reach of a run ends with that of its last span.
    length = reach[last] - start[first]
    opening = ordered.take(first)
    return SpanArrays(opening.example, opening.start, opening.start + length, opening.label)


def _touch(spans: SpanArrays, regions: SpanArrays) -> np.ndarray:
    """Whether each span has a character in common with a region, of shape (n_spans,)."""
    start, end = _on_one_line(spans, regions)
    region_start, region_end = _on_one_line(regions, spans)
    following = np.searchsorted(region_end, start, side="right")
    is_there = following < len(region_end)
    return is_there & (region_start[following * is_there] < end)


def _on_one_line(spans: SpanArrays, others: SpanArrays) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends as if the texts of all examples stood behind one another."""
    length = 1 + max(int(spans.end.max(initial=0)), int(others.end.max(initial=0)))
    return spans.example * length + spans.start, spans.example * length + spans.end


def overlaps(examples: Sequence[Example]) -> Report:
    """How many gold mentions overlap another, and how many at most an answer without overlaps has.

    Returns:
        `{"mentions", "overlapping", "without_overlaps"}`; empty where no mention overlaps another.
        The last is the number of mentions that `spans.spans_to_tags` keeps, which is the rule of
        all taggers: of those that overlap the longest.
    """
    mentions = overlapping = kept = 0
    for example in examples:
        spans = example.spans or ()
        mentions += len(spans)
        pairs = overlapping_pairs(spans)
        overlapping += len({span for pair in pairs for span in pair})
        kept += len(longest_without_overlaps(spans) if pairs else spans)
    if not overlapping:
        return {}
    return {"mentions": mentions, "overlapping": overlapping, "without_overlaps": kept}


def _sentence_positions(units: Units) -> np.ndarray:
    """The position of each example within its document, from 0, of shape (n_examples,)."""
    seen: Counter[int] = Counter()
    positions = []
    for unit in units.index.tolist():
        positions.append(seen[unit])
        seen[unit] += 1
    return np.array(positions, dtype=np.int64)


def _mention_counts(train: Iterable[Example]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for example in train:
        spans = example.spans or ()
        counts.update(example.text[span.start : span.end].lower() for span in spans)
    return counts


def _strings(examples: Sequence[Example], spans: SpanArrays) -> list[str]:
    rows = zip(spans.example.tolist(), spans.start.tolist(), spans.end.tolist(), strict=True)
    return [examples[example].text[start:end] for example, start, end in rows]


def _scores_by_slice(names: Sequence[str], *indices: np.ndarray) -> Report:
    """Scores each slice, from the slice of each correct, gold and predicted span."""
    counts = [np.bincount(index, minlength=len(names)) for index in indices]
    scores = scores_by_label(names, *counts)
    return {name: row for name, row in scores.items() if row["support"] or row["predicted"]}


def false_alarms(gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> Report:
    """How many of the examples without a mention have a prediction all the same."""
    pairs = zip(gold, predicted, strict=True)
    counts = [len(spans) for gold_spans, spans in pairs if not gold_spans]
    alarms = sum(map(bool, counts))
    return {
        "examples": len(counts),
        "with_false_alarm": alarms,
        "predicted": sum(counts),
        "rate": alarms / len(counts) if counts else 0.0,
    }
