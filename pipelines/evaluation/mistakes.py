"""Where the lost F1 goes: each missed mention and wrong prediction is of one kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from operator import attrgetter

import numpy as np

from pipelines.evaluation import Report
from pipelines.evaluation.span_scores import (
    Matching,
    SpanArrays,
    all_labels,
    match_identical,
    match_overlapping,
    span_arrays,
)
from pipelines.examples import Example, Fields, Prediction, Span

KINDS = {
    "type": "right offsets, wrong type",
    "boundary": "right type, offsets that only overlap",
    "boundary_and_type": "overlaps a gold mention of another type",
    "wrong_occurrence": "right string and type at another position in the text",
    "missed": "no prediction answers the gold mention",
    "spurious": "the prediction answers no gold mention",
    "unparsable": "missed in an answer that could not be parsed",
    "cut_off": "missed after the point where an answer reached its length limit",
    "not_in_text": "missed, but a similar string that is not in the text was generated",
}
OF_PAIRS = ("type", "boundary", "boundary_and_type", "wrong_occurrence")
OF_GENERATORS = ("unparsable", "cut_off", "not_in_text")
SIMILAR = 0.6  # difflib ratio from which a generated string counts as a garbled gold mention


@dataclass(frozen=True, slots=True)
class Mistake:
    """A gold mention that was lost, a prediction that was wrong, or a pair of these.

    Attributes:
        id: the example's id.
        kind: a key of `KINDS`.
        gold: the gold span, None for a spurious prediction.
        predicted: the predicted span, None for a missed mention.
        string: the generated string, for `not_in_text`.
    """

    id: str
    kind: str
    gold: Span | None
    predicted: Span | None
    string: str | None = None


def ordered(spans: Sequence[Span] | None) -> list[Span]:
    """Spans by offsets and label, of equal ones the highest score first, however they came."""

    def rank(span: Span) -> float:
        return float("inf") if span.score is None else -span.score

    return sorted(sorted(spans or (), key=rank), key=attrgetter("start", "end", "label"))


def find_mistakes(pairs: Sequence[tuple[Example, Prediction]]) -> list[Mistake]:
    """Sorts what strict scoring counts as wrong into `KINDS`, each span once.

    Spans are paired kind by kind, as many as possible of each kind, in this order: same offsets,
    overlap with the same type, any other overlap, same string elsewhere. What is left is missed or
    spurious.

    Args:
        pairs: examples with their predictions, as `joined_by_id` gives them.

    Returns:
        Mistakes in the order of the examples and their offsets.
    """
    gold = [ordered(example.spans) for example, _ in pairs]
    predicted = [ordered(prediction.spans) for _, prediction in pairs]
    labels = all_labels(gold, predicted)
    left, right = span_arrays(gold, labels), span_arrays(predicted, labels)
    gold_spans = [span for spans in gold for span in spans]
    predicted_spans = [span for spans in predicted for span in spans]
    strict = match_identical(left, right, by_label=True)
    gold_rest = _without(np.arange(len(gold_spans)), strict.gold)
    predicted_rest = _without(np.arange(len(predicted_spans)), strict.predicted)
    texts = [example.text for example, _ in pairs]
    mistakes: list[tuple[int, Mistake]] = []  # with the position of the example

    def add(position: int, kind: str, gold: Span | None, predicted: Span | None) -> None:
        mistakes.append((position, Mistake(pairs[position][0].id, kind, gold, predicted)))

    for kind in OF_PAIRS:
        matching = _match_kind(kind, left.take(gold_rest), right.take(predicted_rest), texts)
        gold_rows, predicted_rows = gold_rest[matching.gold], predicted_rest[matching.predicted]
        for row, other in zip(gold_rows.tolist(), predicted_rows.tolist(), strict=True):
            add(int(left.example[row]), kind, gold_spans[row], predicted_spans[other])
        gold_rest = _without(gold_rest, gold_rows)
        predicted_rest = _without(predicted_rest, predicted_rows)
    missed: dict[int, list[Span]] = {}
    for row in gold_rest.tolist():
        missed.setdefault(int(left.example[row]), []).append(gold_spans[row])
    for position, spans in missed.items():
        example, prediction = pairs[position]
        mistakes += [(position, mistake) for mistake in _missed(example, prediction, spans)]
    for row in predicted_rest.tolist():
        add(int(right.example[row]), "spurious", None, predicted_spans[row])
    mistakes.sort(key=lambda item: (item[0], item[1].gold or item[1].predicted, item[1].kind))
    return [mistake for _, mistake in mistakes]


def _without(rows: np.ndarray, taken: np.ndarray) -> np.ndarray:
    return np.setdiff1d(rows, taken, assume_unique=True)


def _match_kind(
    kind: str, gold: SpanArrays, predicted: SpanArrays, texts: Sequence[str]
) -> Matching:
    """Pairs the remaining spans that are a mistake of this kind."""
    if kind == "wrong_occurrence":
        return match_identical(*_by_string(gold, predicted, texts), by_label=True)
    same = match_identical(gold, predicted, by_label=kind == "boundary")
    if kind == "type":
        return same
    return match_overlapping(gold, predicted, same, by_label=kind == "boundary")


def _by_string(
    gold: SpanArrays, predicted: SpanArrays, texts: Sequence[str]
) -> tuple[SpanArrays, SpanArrays]:
    """Arrays that hold the number of a span's string instead of its offsets."""
    numbers: dict[str, int] = {}

    def numbered(spans: SpanArrays) -> SpanArrays:
        rows = zip(spans.example.tolist(), spans.start.tolist(), spans.end.tolist(), strict=True)
        strings = [texts[example][start:end] for example, start, end in rows]
        codes = [numbers.setdefault(string, len(numbers)) for string in strings]
        array = np.array(codes, dtype=np.int64)
        return SpanArrays(spans.example, array, np.zeros_like(array), spans.label)

    return numbered(gold), numbered(predicted)


def _missed(example: Example, prediction: Prediction, spans: Sequence[Span]) -> Iterator[Mistake]:
    """Gold mentions of one example that no prediction answers, by the generator's status."""
    if prediction.status == "unparsable":
        yield from (Mistake(example.id, "unparsable", span, None) for span in spans)
        return
    garbled = _garbled(example, prediction, spans)
    reached = max((span.end for span in prediction.spans or ()), default=0)
    for span in spans:
        if span in garbled:
            yield Mistake(example.id, "not_in_text", span, None, garbled[span])
        elif prediction.status == "cut_off" and span.start >= reached:
            yield Mistake(example.id, "cut_off", span, None)
        else:
            yield Mistake(example.id, "missed", span, None)


def _garbled(example: Example, prediction: Prediction, spans: Sequence[Span]) -> dict[Span, str]:
    """Pairs missed mentions with generated strings that the text lacks, most similar first."""
    mentions = prediction.mentions or ()
    generated = [mention for mention in mentions if mention.get("status") == "not_in_text"]
    candidates = []
    for span in set(spans):
        string = example.text[span.start : span.end].lower()
        for index, mention in enumerate(generated):
            if mention.get("label", span.label) == span.label:
                other = str(mention["string"]).lower()
                ratio = SequenceMatcher(None, string, other).ratio()
                candidates.append((-ratio, span, index))
    chosen: dict[Span, int] = {}
    for negative_ratio, span, index in sorted(candidates):
        is_free = span not in chosen and index not in chosen.values()
        if -negative_ratio >= SIMILAR and is_free:
            chosen[span] = index
    return {span: str(generated[index]["string"]) for span, index in chosen.items()}


def error_budget(
    mistakes: Sequence[Mistake], strict: Fields, *, generator: bool
) -> dict[str, Report]:
    """What each kind of mistake costs.

    Every lost gold mention and every wrong prediction takes `1 / (gold + predicted)` from
    F1 = 2·TP / (gold + predicted), so that the losses of all kinds add up to what F1 lacks to 1.

    Args:
        mistakes: those of the corpus.
        strict: the strict score, with its `support` and `predicted`.
        generator: list the kinds that only a generator can have.

    Returns:
        For each kind: `gold` mentions lost, `predicted` spans wrong, `lost` F1, and `f1_if_fixed`:
        strict F1 if the pairs were right, the missed mentions found or the spurious predictions
        gone, and everything else stayed.
    """
    gold, predicted = strict["support"], strict["predicted"]
    lost_gold = Counter(mistake.kind for mistake in mistakes if mistake.gold)
    wrong = Counter(mistake.kind for mistake in mistakes if mistake.predicted)
    correct = gold - lost_gold.total()
    budget = {}
    for kind in KINDS:
        if kind in OF_GENERATORS and not generator:
            continue
        total = gold + predicted - wrong[kind] + lost_gold[kind]
        budget[kind] = {
            "gold": lost_gold[kind],
            "predicted": wrong[kind],
            "lost": (lost_gold[kind] + wrong[kind]) / max(gold + predicted, 1),
            "f1_if_fixed": 2 * (correct + lost_gold[kind]) / total if total else 1.0,
        }
    return budget
