"""What a page is made of, and how it becomes one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.corpora.writing import replacing
from pipelines.reporting.run_facts import Facts

if TYPE_CHECKING:
    import jinja2


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table that is more than its text.

    Attributes:
        share: between 0 and 1, the length of the bar beside the text.
        heat: between 0 and 1, how deeply the cell is coloured.
        link: an address within the page.
    """

    text: str
    share: float | None = None
    heat: float | None = None
    link: str | None = None


Row = Sequence[str | Cell]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text or cells; the first of a row names it.

    Attributes:
        prose: heads of the columns that hold words and are aligned to the left.
    """

    head: Sequence[str]
    rows: Sequence[Row]
    title: str = ""
    note: str = ""
    prose: Sequence[str] = ()

    def has_bar(self, column: int) -> bool:
        """Whether a column has bars beside its numbers."""
        cells = [row[column] for row in self.rows]
        return any(isinstance(cell, Cell) and cell.share is not None for cell in cells)


@dataclass(frozen=True, slots=True)
class Picture:
    """An `<svg>` element, or a function that draws one, with a title."""

    svg: str | Callable[[], str]
    title: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Fragment:
    """Ready-made HTML, already escaped, as wide as the page."""

    html: str
    title: str = ""
    note: str = ""


Part = Table | Picture | Fragment | str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it; `id` is its address within the page."""

    id: str
    title: str
    parts: Sequence[Part]

    @property
    def kinds(self) -> list[tuple[str, Part]]:
        """The parts with the names of their classes, by which the template distinguishes them."""
        return [(type(part).__name__, part) for part in self.parts]


def write_page(
    out: str | Path,
    *,
    title: str,
    note: str,
    sections: Sequence[Section],
    facts: Facts | None = None,
    warnings: Sequence[str] = (),
    template: str = "page.html",
    **values: object,
) -> None:
    """Renders a page with every value escaped; the file appears whole or not at all.

    Args:
        note: a sentence under the title.
        facts: what was run, as `run_facts` gives it.
        warnings: sentences for the top of the page.
        template: a file of `templates/`.
        values: what else the template shows.
    """
    values |= {"title": title, "note": note, "sections": sections}
    values |= {"facts": facts or {}, "warnings": warnings}
    page = _environment().get_template(template).render(values)
    with replacing(out) as f:
        f.write(page)


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # not needed where a report goes to the terminal only

    return jinja2.Environment(
        loader=jinja2.PackageLoader("pipelines.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
