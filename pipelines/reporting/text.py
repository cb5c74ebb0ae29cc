"""Sections as text for a terminal: their tables and sentences, without the pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from pipelines.formatting import text_table
from pipelines.reporting.page import Section, Table
from pipelines.reporting.sections import facts, headline, report_sections

WIDEST = 24  # columns; a larger confusion matrix is left to the page


def report_as_text(report: dict[str, Any]) -> str:
    """The report's numbers in tables; scores times 100."""
    return "\n".join([f"{report['task'].replace('_', ' ').capitalize()}: {' '.join(headline(report)).rstrip()}",
                      facts(report), *sections_as_text(report_sections(report))])


def sections_as_text(sections: Sequence[Section]) -> Iterator[str]:
    """Lines. Tables that follow one another with the same head become one, their titles before the rows' names."""
    for section in sections:
        for _, group in groupby(section.parts, key=lambda part: getattr(part, "head", type(part))):
            parts = list(group)
            tables = [part for part in parts if isinstance(part, Table) and len(part.head) <= WIDEST]
            lines = [*_lines(tables, section.title), *(part for part in parts if isinstance(part, str))]
            yield from ("", *lines) if lines else ()


def _lines(tables: Sequence[Table], title: str) -> Iterator[str]:
    if not tables:
        return
    head, several = list(tables[0].head), len(tables) > 1
    head[0] = head[0] or (title if several else tables[0].title or title)
    rows = []
    for table in tables:
        for row in table.rows:
            cells = [cell if isinstance(cell, str) else cell.text for cell in row]
            rows.append([f"{table.title}: {cells[0]}" if several else cells[0], *cells[1:]])
    yield from text_table(head, rows, prose=tables[0].prose)
    yield from (table.note for table in tables if table.note)
