"""Rows of the table: what each case measured or checked."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from pipelines.examples import JsonObject
from pipelines.formatting import text_table


@dataclass
class Row:
    """A case.

    Attributes:
        part: the part it belongs to.
        case: what was run.
        status: `measured`, `passed`, `failed`, `skipped` or `error`.
        values: figures by name, with their units in the names.
        goal: what is aimed at on one H100.
        reason: why it was skipped or failed.
    """

    part: str
    case: str
    status: str = "measured"
    values: JsonObject = field(default_factory=dict)
    goal: str = ""
    reason: str = ""


class Recorder:
    """Runs the cases of a part; a case that fails becomes a row, and the next one runs.

    Args:
        part: its name.
        path: the file to which each row is appended as it comes, so that none is lost at a limit.
        limit: seconds of the part; no case starts after them.
    """

    def __init__(self, part: str, path: Path, limit: float) -> None:
        self.part, self.path = part, path
        self.end = time.monotonic() + limit

    def left(self) -> float:
        """Seconds until the limit."""
        return self.end - time.monotonic()

    def case(
        self, name: str, measure: Callable[[], JsonObject], *, goal: str = "", needs: float = 0
    ) -> JsonObject | None:
        """Runs a case and writes its row.

        Args:
            name: of the case.
            measure: returns its figures; an `AssertionError` is a check that failed.
            goal: printed beside.
            needs: seconds that have to be left.

        Returns:
            The figures, where there are any.
        """
        row = Row(self.part, name, goal=goal)
        if self.left() < needs:
            row.status, row.reason = "skipped", "the time of this part is used up"
            return self._write(row)
        print(f"  {self.part}: {name} …", file=sys.stderr, flush=True)
        try:
            row.values = measure()
            row.status = "passed" if row.values.pop("checked", False) else "measured"
        except ImportError as error:
            row.status, row.reason = "skipped", f"needs {error.name or error}"
        except AssertionError as error:
            row.status, row.reason = "failed", str(error)
        except Exception as error:
            row.status = "error"
            row.reason = f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return self._write(row)

    def skip(self, name: str, reason: str) -> None:
        """Writes that a case was not run."""
        self._write(Row(self.part, name, "skipped", reason=reason))

    def _write(self, row: Row) -> JsonObject | None:
        with self.path.open("a", encoding="utf-8") as f:
            f.write(json.dumps(asdict(row)) + "\n")
        return row.values or None


def read_rows(path: Path) -> list[Row]:
    """The rows that a part wrote."""
    if not path.exists():
        return []
    return [Row(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def table(rows: Sequence[Row]) -> list[str]:
    """The lines of the one table."""
    cells = [
        [row.part, row.case, row.status, figures(row.values) or row.reason, row.goal]
        for row in rows
    ]
    heads = ["part", "case", "status", "measured", "goal on one H100"]
    return text_table(heads, cells, prose=heads)


def figures(values: JsonObject) -> str:
    """Figures in one cell: `tokens/s 98,100, peak GiB 11.2`."""
    return ", ".join(f"{name} {figure(value)}" for name, value in values.items())


def figure(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


@contextmanager
def peak_memory(values: JsonObject) -> Iterator[None]:
    """Adds the peak of the GPU's memory within the block; nothing on a CPU."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    yield
    if torch.cuda.is_available():
        values["peak GiB"] = torch.cuda.max_memory_allocated() / 2**30
