"""What a page is made of, and how it becomes one HTML file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.examples import replacing

if TYPE_CHECKING:
    import jinja2


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
    """An ``<svg>`` element, or what draws one, with what it shows."""

    svg: str | Callable[[], str]
    title: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Fragment:
    """HTML made elsewhere, of text that is escaped there; as wide as the page."""

    html: str
    title: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    id: str
    title: str
    parts: Sequence[Table | Picture | Fragment | str]

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
    import jinja2  # terminals need none of it

    return jinja2.Environment(loader=jinja2.PackageLoader("pipelines.reporting"), autoescape=True,
                              undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
