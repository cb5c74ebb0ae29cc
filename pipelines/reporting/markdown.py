"""A document as Markdown: tables with pipes, pictures as SVG files in a folder beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from pipelines.corpora.writing import replacing
from pipelines.reporting.documents import (
    Chapter,
    Document,
    drawing_of,
    fact_rows,
    figures_folder,
    texts,
)
from pipelines.reporting.figures import standalone
from pipelines.reporting.page import Part, Picture, Table
from pipelines.runs.run import replacing_folder

# What begins markup inside a line; `|` ends a cell, `<` and `&` begin HTML.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~$&#])")
_BEGINNING = re.compile(r"^(\d*)(?=[-+=.)])")  # of a list, where it begins a line


def write(document: Document, out: Path) -> list[Path]:
    """Writes the file, and `NAME-md-figures/` beside it where it has pictures."""
    folder = figures_folder(out)
    pictures: dict[str, str] = {}
    lines = [f"# {escaped(document.title)}", ""]
    if document.authors:
        lines += [escaped(", ".join(document.authors)), ""]
    for number, chapter in enumerate(document.chapters, start=1):
        lines += _chapter(chapter, f"{folder.name}/{number}", pictures)
    if pictures:
        with replacing_folder(folder) as partial:
            for name, picture in pictures.items():
                (partial / Path(name).name).write_text(picture, encoding="utf-8")
    with replacing(out) as f:
        f.write("\n".join(lines).rstrip() + "\n")
    return [out, folder] if pictures else [out]


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _paragraph(text: str) -> str:
    """Text that begins a line, and so is no list, no matter how it begins."""
    return _BEGINNING.sub(r"\1\\", escaped(text))


def _chapter(chapter: Chapter, prefix: str, pictures: dict[str, str]) -> Iterator[str]:
    yield from (f"## {escaped(chapter.title)}", "", _paragraph(chapter.note), "")
    for warning in chapter.warnings:
        yield from (f"> **Warning:** {escaped(warning)}", "")
    facts = list(fact_rows(chapter.facts))
    if facts:
        yield from (*table_lines(("what was run", ""), facts, {""}), "")
    for section in chapter.sections:
        yield from (f"### {escaped(section.title)}", "")
        for part in section.parts:
            yield from _part(part, f"{prefix}-{section.id}", pictures)


def _part(part: Part, prefix: str, pictures: dict[str, str]) -> Iterator[str]:
    if isinstance(part, str):
        yield from (_paragraph(part), "")
    elif isinstance(part, Table):
        if part.title:
            yield from (f"**{escaped(part.title)}**", "")
        yield from (*table_lines(part.head, texts(part), set(part.prose)), "")
        if part.note:
            yield from (f"*{escaped(part.note)}*", "")
    elif isinstance(part, Picture):
        name = f"{prefix}-{len(pictures) + 1}.svg"
        pictures[name] = standalone(drawing_of(part))
        title = escaped(part.title)
        yield from (f"![{title}]({name})", "")
        caption = f"{title}. {escaped(part.note)}".strip()
        yield from (f"*{caption}*", "")


def table_lines(
    head: Sequence[str], rows: Sequence[Sequence[str]], prose: set[str]
) -> Iterator[str]:
    """Lines of a table with pipes; numbers to the right, the first column and prose to the left."""
    yield _row(head)
    marks = [":--" if not i or name in prose else "--:" for i, name in enumerate(head)]
    yield f"| {' | '.join(marks)} |"
    for row in rows:
        yield _row(row)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(escaped(cell) for cell in cells)} |"
