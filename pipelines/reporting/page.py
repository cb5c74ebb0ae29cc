"""What a page is made of, and how it becomes one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jinja2

from pipelines.examples import replacing
from pipelines.tasks import TASKS, Task


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table that is more than its text.

    Attributes:
        share: between 0 and 1, the length of the bar that lies under the text.
        heat: between 0 and 1, how deeply the cell is coloured.
        link: an address within the page.
    """

    text: str
    share: float | None = None
    heat: float | None = None
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text or cells; the first of a row names it.

    Attributes:
        prose: heads of the columns that hold words, and so stand to the left.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    title: str = ""
    note: str = ""
    prose: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Picture:
    """An ``<svg>`` element, with what it shows."""

    svg: str
    title: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    id: str
    title: str
    parts: Sequence[Table | Picture | str]

    @property
    def kinds(self) -> list[tuple[str, Any]]:
        return [(type(part).__name__, part) for part in self.parts]


def write_page(template: str, out: str | Path, **values: Any) -> None:
    """Renders a template of ``templates/`` with every value escaped, into a file that appears whole or not at all."""
    page = _environment().get_template(template).render(**values)
    with replacing(out) as f:
        f.write(page)


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(loader=jinja2.PackageLoader("pipelines.reporting"), autoescape=True,
                              undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def hundred(score: float | None) -> str:
    return "" if score is None else f"{100 * score:.2f}"


def count(number: float) -> str:
    """Whole where it is whole: a mean over runs need not be."""
    return f"{number:,.1f}".removesuffix(".0")


def interval(ends: Sequence[float] | None, *, scale: float = 100, digits: int = 4) -> str:
    return f"[{scale * ends[0]:.{digits}g}, {scale * ends[1]:.{digits}g}]" if ends else ""


def scale_of(task: Task) -> int:
    """Scores between 0 and 1 are shown times 100, errors and perplexities as they are."""
    return 1 if task.answer == "value" else 100


def metric_name(path: str) -> str:
    """``strict.f1`` as it is shown: strict F1."""
    return path.replace(".", " ").replace("f1", "F1")


def interval_of(report: Mapping[str, Any], path: str) -> list[float] | None:
    """The 95 % interval of the number at a path such as ``strict.f1``, where the report has one."""
    if report.get("runs") and path == TASKS[report["task"]].primary_metric:
        return report["interval"]  # of the mean over the runs
    owner, _, name = path.rpartition(".")
    return report.get(f"{path}_interval") or (report[owner].get("interval") if name == "f1" and owner else None)


def seconds(number: float | None) -> str:
    if number is None:
        return ""
    if number < 60:
        return f"{number:.2g} s" if number < 10 else f"{number:.0f} s"
    minutes = round(number / 60)
    return f"{number / 60:.1f} min" if number < 600 else f"{minutes} min" if minutes < 60 else f"{number / 3600:.1f} h"


def size(number_of_bytes: float | None) -> str:
    if number_of_bytes is None:
        return ""
    for unit in ("B", "KiB", "MiB"):
        if number_of_bytes < 1024:
            return f"{number_of_bytes:.1f}".removesuffix(".0") + f" {unit}"
        number_of_bytes /= 1024
    return f"{number_of_bytes:.2f} GiB"


def short_count(number: float | None) -> str:
    """A number of parameters, such as 134.5M."""
    if number is None:
        return ""
    for unit in ("", "k", "M"):
        if number < 1000:
            return f"{number:.4g}{unit}"
        number /= 1000
    return f"{number:.4g}B"
