"""Scores of parts of the corpus: which mentions a model finds, and where it raises false alarms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from pipelines.evaluation.significance import Units
from pipelines.evaluation.span_scores import Matched, precision_recall_f1
from pipelines.examples import Example, Span

Place = Callable[[Example, Span], str]


def is_abbreviation(string: str) -> bool:
    """Whether a string is one word of 2 to 10 characters that has two capitals, at least half of its letters."""
    if not 2 <= len(string) <= 10 or any(map(str.isspace, string)):
        return False
    capitals, letters = sum(map(str.isupper, string)), sum(map(str.isalpha, string))
    return capitals >= 2 and 2 * capitals >= letters


def _length(example: Example, span: Span) -> str:
    words = len(example.text[span.start:span.end].split())
    return "1 word" if words <= 1 else f"{words} words" if words < 4 else "4 or more words"


def _abbreviation(example: Example, span: Span) -> str:
    return "abbreviation" if is_abbreviation(example.text[span.start:span.end]) else "no abbreviation"


def _third(example: Example, span: Span) -> str:
    return ("first third", "middle third", "last third")[min(2, 3 * span.start // max(len(example.text), 1))]


def mention_slices(examples: Sequence[Example], gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]],
                   matched: Matched, *, units: Units, train: Iterable[Example] | None = None) -> dict[str, Any]:
    """Strict scores by what a mention is like.

    Gold and predicted spans are sorted into slices by the same rule, so that each slice has a precision and a recall;
    a correct prediction is in the slice of its gold mention.

    Args:
        gold, predicted: the spans that were matched.
        units: documents, where the ids carry them: sentences are then sliced by their number in the document.
        train: adds slices by whether, and how often, training has the mention's lower-cased string.

    Returns:
        ``{slice: {value: {"precision", "recall", "f1", "support", "predicted"}}}``.
    """
    rules: dict[str, tuple[Place, Sequence[str]]] = {
        "length": (_length, ("1 word", "2 words", "3 words", "4 or more words")),
        "abbreviation": (_abbreviation, ("abbreviation", "no abbreviation")),
        "place_in_text": (_third, ("first third", "middle third", "last third")),
    }
    if units.kind == "document":
        rules["sentence_of_document"] = _sentence_rule(examples, units)
    if train is not None:
        seen = Counter(example.text[span.start:span.end].lower() for example in train for span in example.spans or ())
        rules["seen_in_train"] = _seen_rule(seen)
        rules["train_frequency"] = _frequency_rule(seen)
    found = np.zeros(len(matched.gold.start), dtype=bool)
    found[matched.pairs["strict"].gold] = True
    return {name: _slice(rule, values, examples, gold, predicted, found) for name, (rule, values) in rules.items()}


def _slice(rule: Place, values: Sequence[str], examples: Sequence[Example], gold: Sequence[Sequence[Span]],
           predicted: Sequence[Sequence[Span]], found: np.ndarray) -> dict[str, Any]:
    wanted = [rule(example, span) for example, spans in zip(examples, gold, strict=True) for span in spans]
    given = Counter(rule(example, span) for example, spans in zip(examples, predicted, strict=True) for span in spans)
    correct = Counter(value for value, right in zip(wanted, found.tolist(), strict=True) if right)
    support = Counter(wanted)
    return {value: precision_recall_f1(correct[value], support[value], given[value])
            for value in values if support[value] or given[value]}


def _sentence_rule(examples: Sequence[Example], units: Units) -> tuple[Place, Sequence[str]]:
    number: dict[str, int] = {}
    met: Counter[int] = Counter()
    for example, unit in zip(examples, units.index.tolist(), strict=True):
        number[example.id] = met[unit]
        met[unit] += 1
    values = ("first", "second to fifth", "later")
    return lambda example, span: values[0 if number[example.id] == 0 else 1 if number[example.id] < 5 else 2], values


def _seen_rule(seen: Counter[str]) -> tuple[Place, Sequence[str]]:
    return (lambda example, span: "seen" if example.text[span.start:span.end].lower() in seen else "new"), \
        ("seen", "new")


def _frequency_rule(seen: Counter[str]) -> tuple[Place, Sequence[str]]:
    values = ("0", "1", "2 to 9", "10 or more")

    def rule(example: Example, span: Span) -> str:
        times = seen[example.text[span.start:span.end].lower()]
        return values[min(times, 1) + (times >= 2) + (times >= 10)]

    return rule, values


def false_alarms(gold: Sequence[Sequence[Span]], predicted: Sequence[Sequence[Span]]) -> dict[str, Any]:
    """How many of the examples without a mention got a prediction all the same."""
    alarms = [len(given) for wanted, given in zip(gold, predicted, strict=True) if not wanted]
    return {"examples": len(alarms), "with_false_alarm": sum(map(bool, alarms)), "predicted": sum(alarms),
            "rate": sum(map(bool, alarms)) / len(alarms) if alarms else 0.0}
