"""One cell of a file -> a sequence of vectors, with everything that is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pipelines.corpora.corpus import Finding
from pipelines.examples import Steps
from pipelines.formatting import short_repr, some

LARGEST = float(np.finfo(np.float32).max)  # sequences are kept in float32
NUMBERS = (int, float, np.integer, np.floating)
MOST_NAMED = 3  # steps that a message names


def read_steps(value: object, name: str) -> tuple[Steps | None, list[Finding]]:
    """Reads a list of steps, each a list of numbers, or an array of shape (T, D).

    Args:
        name: of the column.

    Returns:
        The sequence, None where it has a fault, and one finding for each kind of fault.
    """
    if value is None:
        return None, [("missing_value", f"nothing in the column {name!r}", None)]
    if isinstance(value, np.ndarray) and value.dtype != object:
        return _of_array(value)
    if not isinstance(value, list | tuple | np.ndarray):
        return None, [_no_steps(f"got {short_repr(value)}")]
    steps = list(value)
    if not steps:
        return None, [("empty_sequence", "a sequence without a step; wanted one or more", None)]
    rows = [_numbers(step) for step in steps]
    other = [number for number, row in enumerate(rows) if row is None]
    if other:
        first = short_repr(steps[other[0]])
        return None, [_no_steps(f"step {_named(other)}: got {first}")]
    return _of_rows([row for row in rows if row is not None])


def _numbers(step: object) -> list[object] | None:
    """The cells of a step; None where it is no list."""
    if isinstance(step, np.ndarray) and step.ndim == 1:
        cells: list[object] = step.tolist()
        return cells
    return list(step) if isinstance(step, list | tuple) else None


def _of_rows(rows: Sequence[Sequence[object]]) -> tuple[Steps | None, list[Finding]]:
    findings: list[Finding] = []
    widths = Counter(map(len, rows))
    width = min(widths, key=lambda width: (-widths[width], width))
    ragged = [number for number, row in enumerate(rows) if len(row) != width]
    if ragged:
        message = f"step {_named(ragged)} has {len(rows[ragged[0]])} numbers; most have {width}"
        findings.append(("wrong_width", message, None))
    if not width:
        findings.append(("wrong_width", "steps without a number; wanted one or more", None))
    missing = [n for n, row in enumerate(rows) if any(cell is None for cell in row)]
    if missing:
        message = f"a number is missing at step {_named(missing)}"
        findings.append(("missing_value", message, None))
    other = [n for n, row in enumerate(rows) if not all(map(_is_number_or_none, row))]
    if other:
        cells = [cell for cell in rows[other[0]] if not _is_number_or_none(cell)]
        findings.append(_no_steps(f"step {_named(other)} holds {short_repr(cells[0])}"))
    odd = [number for number, row in enumerate(rows) if any(map(_is_odd, row))]
    if odd:
        findings.append(_not_finite(odd))
    if findings:
        return None, findings
    return _of_array(np.array(rows, dtype=np.float64))


def _is_odd(cell: object) -> bool:
    return isinstance(cell, NUMBERS) and not -LARGEST <= cell <= LARGEST


def _of_array(values: np.ndarray) -> tuple[Steps | None, list[Finding]]:
    """A sequence from an array of numbers of shape (T, D)."""
    if values.dtype.kind not in "iuf":
        return None, [_no_steps(f"got an array of {values.dtype}")]
    if not len(values):
        return None, [("empty_sequence", "a sequence without a step; wanted one or more", None)]
    if values.ndim != 2 or not values.shape[1]:
        return None, [_no_steps(f"got an array of shape {values.shape}")]
    odd = np.flatnonzero(~(np.abs(values) <= LARGEST).all(axis=1))
    if len(odd):
        return None, [_not_finite(odd.tolist())]
    return Steps(values.astype("<f4").tobytes(), values.shape[1]), []


def _is_number_or_none(cell: object) -> bool:
    return cell is None or (isinstance(cell, NUMBERS) and not isinstance(cell, bool))


def _not_finite(steps: Sequence[int]) -> Finding:
    message = f"NaN, infinity or a number beyond float32 at step {_named(steps)}"
    return ("not_finite", message, "write the number, or leave the step out")


def _no_steps(got: str) -> Finding:
    return ("wrong_type", f"{got}; wanted a list of steps, each a list of numbers", None)


def _named(steps: Sequence[int]) -> str:
    return some(steps, MOST_NAMED)
