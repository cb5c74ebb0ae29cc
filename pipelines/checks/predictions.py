"""Whether a predictions file fits its gold file: every fault at once, each with file, line and id."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from pipelines.errors import DataError
from pipelines.examples import Example, Prediction

SHOWN = 50


def check_predictions(predictions: Sequence[Prediction], examples: Sequence[Example], *, path: str | Path,
                      labels: Collection[str] | None = None, allow_missing: bool = False) -> None:
    """Sees to it that predictions can be scored against these examples.

    Args:
        path: the file they were read from, which the message names with the line.
        labels: the labels there are; a predicted one that is not among them is a fault. None = any will do.
        allow_missing: an example without a prediction is no fault.

    Raises:
        DataError: naming ids that are missing, extra or doubled, lines without an answer, spans outside the text,
            unknown labels, and numbers that are not finite.
    """
    texts = {example.id: example.text for example in examples}
    lines = cache(partial(_line_numbers, path))
    faults: list[tuple[int, str]] = []
    first: dict[str, int] = {}
    for row, prediction in enumerate(predictions):
        if first.setdefault(prediction.id, row) != row:
            faults.append((row, f"this id was there before, in line {lines()[first[prediction.id]]}"))
        faults += [(row, fault) for fault in _faults(prediction, texts.get(prediction.id), labels)]
    missing = [] if allow_missing else [example.id for example in examples if example.id not in first]
    if not faults and not missing:
        return
    told = [f"{path}:{lines()[row]}: id {predictions[row].id}: {fault}" for row, fault in faults[:SHOWN]]
    if len(faults) > SHOWN:
        told.append(f"{path}: and {len(faults) - SHOWN} more faults")
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        told.append(f"{path}: no prediction for {len(missing)} of {len(texts)} ids: {', '.join(missing[:10])}{more}"
                    "; --allow_missing counts them as empty")
    raise DataError("\n".join(told))


def known_labels(examples: Iterable[Example]) -> set[str]:
    """The types of the spans and the classes that labelled examples have."""
    labels: set[str] = set()
    for example in examples:
        labels.update(span.label for span in example.spans or ())
        if example.label is not None:
            labels.update(map(str, example.label) if isinstance(example.label, tuple) else [str(example.label)])
    return labels


def _line_numbers(path: str | Path) -> list[int]:
    """The line number of each prediction: blank lines hold none."""
    with open(path, encoding="utf-8", errors="replace") as f:
        return [number for number, line in enumerate(f, start=1) if line.strip()]


def _faults(prediction: Prediction, text: str | None, labels: Collection[str] | None) -> Iterator[str]:
    if text is None:
        yield "not an id of the gold file"
        return
    if prediction.spans is None and prediction.label is None and prediction.value is None:
        yield 'its "spans", "label" or "value" is null'
    for span in prediction.spans or ():
        place = f"span {span.start}-{span.end}"
        if not 0 <= span.start < span.end <= len(text):
            yield f"{place} is empty or not within the text, which has {len(text)} characters"
        if span.score is not None and not math.isfinite(span.score):
            yield f"{place} has the score {span.score}"
        if labels is not None and span.label not in labels:
            yield f"{place} has the label {span.label!r}, {_unknown(labels)}"
    given = prediction.label if isinstance(prediction.label, tuple) else (prediction.label,)
    for label in given:
        if labels is not None and label is not None and label not in labels:
            yield f"label {label!r}, {_unknown(labels)}"
    if not isinstance(prediction.scores, dict | None):
        yield f'"scores" is {prediction.scores!r:.60}; wanted a number for each class'
        return
    for name, score in (prediction.scores or {}).items():
        if labels is not None and prediction.label is not None and name not in labels:
            yield f"a score for {name!r}, {_unknown(labels)}"
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            yield f"the score of {name!r} is {score!r}, not a finite number"
    if prediction.value is not None and not math.isfinite(prediction.value):
        yield f"the value is {prediction.value}"


def _unknown(labels: Collection[str]) -> str:
    known = ", ".join(sorted(labels)[:10]) or "none"
    return f"which the gold file does not have (it has {known}); --allow_new_labels counts it as wrong"
