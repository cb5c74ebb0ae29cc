"""Where the lost F1 goes: every missed gold mention and every wrong prediction belongs to one class of mistake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from operator import attrgetter
from typing import Any

import numpy as np

from pipelines.evaluation.span_scores import Columns, all_labels, columns, match_identical, match_overlapping
from pipelines.examples import Example, Prediction, Span

KINDS = {
    "type": "right offsets, wrong type",
    "boundary": "right type, offsets that only overlap",
    "boundary_and_type": "overlaps a gold mention of another type",
    "wrong_occurrence": "right string and type at another place of the text",
    "missed": "no prediction answers the gold mention",
    "spurious": "the prediction answers no gold mention",
    "unparsable": "missed in an answer that could not be read",
    "cut_off": "missed behind the place where an answer reached its length limit",
    "not_in_text": "missed, but a similar string that the text does not have was generated",
}
OF_GENERATORS = ("unparsable", "cut_off", "not_in_text")
SIMILAR = 0.6  # difflib ratio from which a generated string counts as a garbled gold mention


@dataclass(frozen=True, slots=True)
class Mistake:
    """A gold mention that was lost, a prediction that was wrong, or a pair of these.

    Attributes:
        id: the example's id.
        kind: a key of ``KINDS``.
        gold: the gold span, ``None`` for a spurious prediction.
        predicted: the predicted span, ``None`` for a missed mention.
        string: the generated string, for ``not_in_text``.
    """

    id: str
    kind: str
    gold: Span | None
    predicted: Span | None
    string: str | None = None


def ordered(spans: Sequence[Span] | None) -> list[Span]:
    """Spans in an order that does not depend on how they were given; of equal ones the surest first."""
    by_score = sorted(spans or (), key=lambda span: float("inf") if span.score is None else -span.score)
    return sorted(by_score, key=attrgetter("start", "end", "label"))


def find_mistakes(pairs: Sequence[tuple[Example, Prediction]]) -> list[Mistake]:
    """Sorts what strict scoring counts as wrong into ``KINDS``, each span once.

    Spans are paired class by class, each class with as many pairs as there can be, in this order: same offsets, overlap
    with the same type, any other overlap, same string elsewhere. What is left is missed or spurious.

    Args:
        pairs: examples with their predictions, as ``joined_by_id`` gives them.

    Returns:
        Mistakes in the order of the examples and their offsets.
    """
    gold = [ordered(example.spans) for example, _ in pairs]
    predicted = [ordered(prediction.spans) for _, prediction in pairs]
    labels = all_labels(gold, predicted)
    gold_columns, predicted_columns = columns(gold, labels), columns(predicted, labels)
    gold_spans = [span for row in gold for span in row]
    predicted_spans = [span for row in predicted for span in row]
    strict = match_identical(gold_columns, predicted_columns, by_label=True)
    gold_rest = _without(np.arange(len(gold_spans)), strict.gold)
    predicted_rest = _without(np.arange(len(predicted_spans)), strict.predicted)
    found: list[tuple[int, Mistake]] = []
    for kind in ("type", "boundary", "boundary_and_type", "wrong_occurrence"):
        left, right = gold_columns.take(gold_rest), predicted_columns.take(predicted_rest)
        if kind == "wrong_occurrence":
            texts = [example.text for example, _ in pairs]
            left, right = _by_string(left, right, texts)
        same = match_identical(left, right, by_label=kind in ("boundary", "wrong_occurrence"))
        if kind.startswith("boundary"):
            same = match_overlapping(left, right, same, by_label=kind == "boundary")
        gold_rows, predicted_rows = gold_rest[same.gold], predicted_rest[same.predicted]
        for row, other in zip(gold_rows.tolist(), predicted_rows.tolist(), strict=True):
            at = int(gold_columns.example[row])
            found.append((at, Mistake(pairs[at][0].id, kind, gold_spans[row], predicted_spans[other])))
        gold_rest, predicted_rest = _without(gold_rest, gold_rows), _without(predicted_rest, predicted_rows)
    missed: dict[int, list[Span]] = {}
    for row in gold_rest.tolist():
        missed.setdefault(int(gold_columns.example[row]), []).append(gold_spans[row])
    found += [(at, mistake) for at, spans in missed.items() for mistake in _missed(*pairs[at], spans)]
    for row in predicted_rest.tolist():
        at = int(predicted_columns.example[row])
        found.append((at, Mistake(pairs[at][0].id, "spurious", None, predicted_spans[row])))
    found.sort(key=lambda item: (item[0], item[1].gold or item[1].predicted, item[1].kind))
    return [mistake for _, mistake in found]


def _without(rows: np.ndarray, taken: np.ndarray) -> np.ndarray:
    return np.setdiff1d(rows, taken, assume_unique=True)


def _by_string(gold: Columns, predicted: Columns, texts: Sequence[str]) -> tuple[Columns, Columns]:
    """Columns that hold the number of a span's string in place of its offsets."""
    number: dict[str, int] = {}

    def numbered(spans: Columns) -> Columns:
        strings = [texts[at][start:end] for at, start, end in zip(
            spans.example.tolist(), spans.start.tolist(), spans.end.tolist(), strict=True)]
        codes = np.array([number.setdefault(string, len(number)) for string in strings], dtype=np.int64)
        return Columns(spans.example, codes, np.zeros_like(codes), spans.label)

    return numbered(gold), numbered(predicted)


def _missed(example: Example, prediction: Prediction, spans: Sequence[Span]) -> Iterator[Mistake]:
    """Gold mentions of one example that no prediction answers, by what the generator's status says of them."""
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
    """Pairs missed mentions with generated strings of their type that the text does not have, most similar first."""
    strings = [mention for mention in prediction.mentions or () if mention.get("status") == "not_in_text"]
    likeness = sorted(
        (-SequenceMatcher(None, example.text[span.start:span.end].lower(), str(mention["string"]).lower()).ratio(),
         span, i)
        for span in set(spans) for i, mention in enumerate(strings) if mention.get("label", span.label) == span.label)
    taken: dict[Span, int] = {}
    for ratio, span, i in likeness:
        if -ratio >= SIMILAR and span not in taken and i not in taken.values():
            taken[span] = i
    return {span: str(strings[i]["string"]) for span, i in taken.items()}


def error_budget(mistakes: Sequence[Mistake], strict: dict[str, Any], *, generator: bool) -> dict[str, dict[str, Any]]:
    """What each class of mistake costs.

    Every lost gold mention and every wrong prediction takes ``1 / (gold + predicted)`` from F1 = 2·TP / (gold +
    predicted), so that the classes' losses add up to what F1 lacks to 1.

    Args:
        strict: the strict score, with its ``support`` and ``predicted``.
        generator: list the classes that only a generator can have.

    Returns:
        For each class: ``gold`` mentions lost, ``predicted`` spans wrong, ``lost`` F1, and ``f1_if_mended``: strict F1
        if the pairs were right, the missed were found or the spurious were not there, and all else stayed.
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
            "f1_if_mended": 2 * (correct + lost_gold[kind]) / total if total else 1.0,
        }
    return budget
