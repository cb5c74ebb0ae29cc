"""A document as a PDF, set by matplotlib: no TeX is needed, and its text can be selected."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO

from pipelines.corpora.writing import replacing
from pipelines.reporting import plots
from pipelines.reporting.documents import (
    Chapter,
    Document,
    drawing_of,
    fact_rows,
)
from pipelines.reporting.page import Part, Picture, Table
from pipelines.reporting.pdf_pages import (
    BODY,
    HEADING,
    NOTE,
    SUBHEADING,
    TABLE_TITLE,
    TITLE,
    WARNING,
    Pages,
    Placed,
)

STYLE = {**plots.STYLE, "pdf.fonttype": 42, "pdf.compression": 6}  # TrueType: text is selectable


def write(document: Document, out: Path) -> list[Path]:
    """Writes the file; the same document gives the same bytes."""
    with replacing(out, "wb") as f:
        write_pages(document, f)
    return [out]


def write_pages(document: Document, f: IO[bytes]) -> None:
    """Writes a document as a PDF into an open file."""
    from matplotlib.backends.backend_pdf import PdfPages

    about = {"Title": document.title, "CreationDate": None}
    if document.authors:
        about["Author"] = ", ".join(document.authors)
    with _style(), PdfPages(f, metadata=about) as pdf:
        pages = Pages(pdf)
        pages.text(document.title, TITLE)
        if document.authors:
            pages.text(", ".join(document.authors), BODY)
        for chapter in document.chapters:
            _add_chapter(pages, chapter)
        pages.close()


def write_picture(drawing: plots.Drawing, out: Path) -> None:
    """Writes a picture as a PDF of its own."""
    from matplotlib.figure import Figure

    with _style(), replacing(out, "wb") as f:
        figure = Figure(figsize=drawing.inches, layout="constrained")
        drawing.draw(figure.add_subplot())
        figure.savefig(f, format="pdf", metadata={"CreationDate": None})


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def _add_chapter(pages: Pages, chapter: Chapter) -> None:
    pages.space(14)
    pages.text(chapter.title, HEADING, keep=160)
    pages.text(chapter.note, BODY)
    for warning in chapter.warnings:
        pages.text(f"Warning: {warning}", WARNING)
    facts = list(fact_rows(chapter.facts))
    if facts:
        pages.space(4)
        pages.table(Table(("what was run", ""), facts, prose=("",)))
    for section in chapter.sections:
        pages.space(10)
        parts = list(_in_rows(section.parts))
        with_picture = bool(parts) and isinstance(parts[0], list)
        pages.text(section.title, SUBHEADING, keep=280 if with_picture else 80)
        for part in parts:
            _add_part(pages, part)


def _in_rows(parts: Sequence[Part]) -> Iterator[Part | list[Placed]]:
    """The parts; of pictures that follow one another, two side by side where both are narrow."""
    for is_picture, group in groupby(parts, key=lambda part: isinstance(part, Picture)):
        if not is_picture:
            yield from group
            continue
        placed = list(_placed(group))
        while placed:
            pair = placed[:2]
            is_narrow = all(own.drawing.inches[0] <= plots.INCHES[0] for own in pair)
            taken = 2 if is_narrow else 1
            yield placed[:taken]
            placed = placed[taken:]


def _placed(parts: Iterable[Part]) -> Iterator[Placed]:
    """Pictures that can be drawn again, with their captions."""
    for part in parts:
        drawing = drawing_of(part) if isinstance(part, Picture) else None
        if isinstance(part, Picture) and isinstance(drawing, plots.Drawing):
            yield Placed(drawing, f"{part.title}. {part.note}".strip())


def _add_part(pages: Pages, part: Part | list[Placed]) -> None:
    pages.space(4)
    if isinstance(part, str):
        pages.text(part, BODY)
    elif isinstance(part, Table):
        if part.title:
            pages.text(part.title, TABLE_TITLE, keep=60)
        pages.table(part)
        pages.text(part.note, NOTE)
    elif isinstance(part, list):
        pages.pictures(part)
