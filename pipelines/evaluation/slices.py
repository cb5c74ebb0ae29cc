"""Scores of parts of the corpus: which mentions a model finds, and where it raises false alarms."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from pipelines.evaluation.significance import Units
from pipelines.evaluation.span_scores import Columns, Matched, precision_recall_f1
from pipelines.examples import Example, Span


def is_abbreviation(string: str) -> bool:
    """Whether a string is one word of 2 to 10 characters that has two capitals, at least half of its letters."""
    if not 2 <= len(string) <= 10 or any(map(str.isspace, string)):
        return False
    capitals, letters = sum(map(str.isupper, string)), sum(map(str.isalpha, string))
    return capitals >= 2 and 2 * capitals >= letters


def mention_slices(examples: Sequence[Example], matched: Matched, *, units: Units,
                   train: Iterable[Example] | None = None) -> dict[str, Any]:
    """Strict scores by what a mention is like.

    Gold and predicted spans are sorted into slices by the same rule, so that each slice has a precision and a recall;
    a correct prediction is in the slice of its gold mention.

    Args:
        matched: the spans of these examples.
        units: documents, where the ids carry them: sentences are then sliced by their number in the document.
        train: adds slices by whether, and how often, training has the mention's lower-cased string.

    Returns:
        ``{slice: {value: {"precision", "recall", "f1", "support", "predicted"}}}``.
    """
    sides = matched.gold, matched.predicted
    strings = [_strings(examples, side) for side in sides]
    distinct = set(strings[0]).union(strings[1])  # a corpus says the same again and again

    def by_string(rule: Callable[[str], int]) -> list[np.ndarray]:
        value = {string: rule(string) for string in distinct}
        return [np.fromiter(map(value.__getitem__, side), dtype=np.int64, count=len(side)) for side in strings]

    sizes = np.array([max(len(example.text), 1) for example in examples], dtype=np.int64)
    # name -> (values, the number of its value for each gold and each predicted span)
    slices: dict[str, tuple[Sequence[str], Sequence[np.ndarray]]] = {
        "length": (("1 word", "2 words", "3 words", "4 or more words"),
                   by_string(lambda string: min(max(len(string.split()), 1), 4) - 1)),
        "abbreviation": (("abbreviation", "no abbreviation"), by_string(lambda string: not is_abbreviation(string))),
        "place_in_text": (("first third", "middle third", "last third"),
                          [np.minimum(2, 3 * side.start // sizes[side.example]) for side in sides]),
    }
    if units.kind == "document":
        number = _numbers_in_document(units)
        slices["sentence_of_document"] = ("first", "second to fifth", "later"), [
            np.digitize(number[side.example], (1, 5)) for side in sides]
    if train is not None:
        seen = Counter(example.text[span.start:span.end].lower() for example in train for span in example.spans or ())
        slices["seen_in_train"] = ("seen", "new"), by_string(lambda string: string.lower() not in seen)
        slices["train_frequency"] = ("0", "1", "2 to 9", "10 or more"), by_string(
            lambda string: bisect_right((1, 2, 10), seen[string.lower()]))
    found = matched.pairs["strict"].gold
    return {name: _slice(values, wanted, given, wanted[found]) for name, (values, (wanted, given)) in slices.items()}


def _strings(examples: Sequence[Example], spans: Columns) -> list[str]:
    rows = zip(spans.example.tolist(), spans.start.tolist(), spans.end.tolist(), strict=True)
    return [examples[at].text[start:end] for at, start, end in rows]


def _numbers_in_document(units: Units) -> np.ndarray:
    """The 0-based number of each example among those of its document, of shape (n_examples,)."""
    met: Counter[int] = Counter()
    numbers = []
    for unit in units.index.tolist():
        numbers.append(met[unit])
        met[unit] += 1
    return np.array(numbers, dtype=np.int64)


def _slice(values: Sequence[str], *spans: np.ndarray) -> dict[str, Any]:
    """From the numbers of the values of gold, predicted and correct spans."""
    wanted, given, correct = (np.bincount(numbers, minlength=len(values)) for numbers in spans)
    return {value: precision_recall_f1(correct[i], wanted[i], given[i])
            for i, value in enumerate(values) if wanted[i] or given[i]}


def false_alarms(gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> dict[str, Any]:
    """How many of the examples without a mention got a prediction all the same."""
    alarms = [len(given) for wanted, given in zip(gold, predicted, strict=True) if not wanted]
    return {"examples": len(alarms), "with_false_alarm": sum(map(bool, alarms)), "predicted": sum(alarms),
            "rate": sum(map(bool, alarms)) / len(alarms) if alarms else 0.0}
