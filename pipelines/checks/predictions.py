"""Whether a predictions file fits its gold file: every fault at once, with file, line and id."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache, cached_property, partial
from pathlib import Path

from pipelines.errors import DataError
from pipelines.examples import Example, Prediction, Span
from pipelines.formatting import some

MOST_FAULTS = 50


def check_predictions(
    predictions: Sequence[Prediction],
    examples: Sequence[Example],
    *,
    path: str | Path,
    labels: Collection[str] | None = None,
    allow_missing: bool = False,
) -> None:
    """Checks that predictions can be scored against these examples.

    Args:
        predictions: as read.
        examples: what they are about.
        path: the file they were read from, which the message names with the line.
        labels: the known labels; another one that is predicted is a fault. None = any will do.
        allow_missing: an example without a prediction is not a fault.

    Raises:
        DataError: naming ids that are missing, extra or duplicate, lines without an answer, spans
            outside the text, unknown labels, and numbers that are not finite.
    """
    texts = {example.id: example.text for example in examples}
    lines = cache(partial(_line_numbers, path, len(predictions)))
    faults: list[tuple[int, str]] = []
    first: dict[str, int] = {}
    known = None if labels is None else _KnownLabels(labels)
    for row, prediction in enumerate(predictions):
        if first.setdefault(prediction.id, row) != row:
            earlier = lines()[first[prediction.id]]
            faults.append((row, f"this id is in line {earlier} too"))
        text = texts.get(prediction.id)
        faults += [(row, fault) for fault in _faults(prediction, text, known)]
    missing = [id for id in texts if id not in first and not allow_missing]
    if not faults and not missing:
        return
    messages = [
        f"{path}:{lines()[row]}: id {predictions[row].id}: {fault}"
        for row, fault in faults[:MOST_FAULTS]
    ]
    if len(faults) > MOST_FAULTS:
        messages.append(f"{path}: and {len(faults) - MOST_FAULTS} more faults")
    if missing:
        messages.append(
            f"{path}: no prediction for {len(missing)} of {len(texts)} ids: {some(missing)}; "
            "--allow_missing counts them as empty"
        )
    raise DataError("\n".join(messages))


def known_labels(examples: Iterable[Example]) -> set[str]:
    """The types of the spans and the classes that labelled examples have."""
    labels: set[str] = set()
    for example in examples:
        labels.update(span.label for span in example.spans or ())
        if example.label is not None:
            classes = example.label if isinstance(example.label, tuple) else (example.label,)
            labels.update(map(str, classes))
    return labels


def _line_numbers(path: str | Path, count: int) -> list[int]:
    """The line of each prediction, blank ones skipped; its own number from 1 in other files."""
    numbers: list[int] = []
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as f:
        numbers = [number for number, line in enumerate(f, start=1) if line.strip()]
    return numbers if len(numbers) == count else [*range(1, count + 1)]


class _KnownLabels(frozenset[str]):
    """The known labels, and the fault of another one."""

    @cached_property
    def message(self) -> str:
        """What is wrong with another label."""
        return (
            f"which the gold file does not have (it has {some(sorted(self)) or 'none'}); "
            "--allow_new_labels counts it as wrong"
        )


def _faults(prediction: Prediction, text: str | None, known: _KnownLabels | None) -> Iterator[str]:
    if text is None:
        yield "not an id of the gold file"
        return
    if prediction.spans is None and prediction.label is None and prediction.value is None:
        yield 'its "spans", "label" or "value" is null'
    for span in prediction.spans or ():
        yield from _span_faults(span, text, known)
    classes = prediction.label if isinstance(prediction.label, tuple) else (prediction.label,)
    for label in classes:
        if known is not None and label is not None and label not in known:
            yield f"label {label!r}, {known.message}"
    yield from _score_faults(prediction, known)
    if prediction.value is not None and not math.isfinite(prediction.value):
        yield f"the value is {prediction.value}"


def _span_faults(span: Span, text: str, known: _KnownLabels | None) -> Iterator[str]:
    where = f"span {span.start}-{span.end}"
    if not 0 <= span.start < span.end <= len(text):
        yield f"{where} is empty or not within the text, which has {len(text)} characters"
    if span.score is not None and not math.isfinite(span.score):
        yield f"{where} has the score {span.score}"
    if known is not None and span.label not in known:
        yield f"{where} has the label {span.label!r}, {known.message}"


def _score_faults(prediction: Prediction, known: _KnownLabels | None) -> Iterator[str]:
    if not isinstance(prediction.scores, dict | None):
        yield f'"scores" is {prediction.scores!r:.60}; wanted a number for each class'
        return
    for name, score in (prediction.scores or {}).items():
        if known is not None and prediction.label is not None and name not in known:
            yield f"a score for {name!r}, {known.message}"
        is_number = isinstance(score, int | float) and not isinstance(score, bool)
        if not is_number or not math.isfinite(score):
            yield f"the score of {name!r} is {score!r}, not a finite number"
