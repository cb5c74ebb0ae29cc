"""Reports for a terminal: the tables and sentences of their sections, without the pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from pipelines.evaluation.reports import Report
from pipelines.evaluation.tasks import TASKS, interval_path, metric, metric_name
from pipelines.examples import Fields
from pipelines.formatting import interval, score, size, text_table
from pipelines.reporting.page import Part, Section, Table
from pipelines.reporting.sections import headline, report_sections, scored_on

WIDEST = 24  # columns; a larger confusion matrix is left to the page


def report_as_text(report: Report) -> str:
    """The report's numbers in tables, its warnings before them."""
    task = report["task"].replace("_", " ").capitalize()
    name, value, within = headline(report)
    lines = [f"{task}: {name} {value} {within}".rstrip(), scored_on(report)]
    lines += [f"warning: {sentence}" for sentence in report.get("warnings", ())]
    return "\n".join([*lines, *sections_as_text(report_sections(report))])


def sections_as_text(sections: Sequence[Section]) -> Iterator[str]:
    """Yields lines. Consecutive tables with the same head are joined under one head."""
    for section in sections:
        for _, group in groupby(section.parts, key=_head):
            parts = list(group)
            tables = [part for part in parts if isinstance(part, Table)]
            shown = [table for table in tables if len(table.head) <= WIDEST]
            lines = [*_lines(shown, section.title), *(p for p in parts if isinstance(p, str))]
            if lines:
                yield ""
                yield from lines


def _head(part: Part) -> object:
    return tuple(part.head) if isinstance(part, Table) else type(part)


def _lines(tables: Sequence[Table], title: str) -> Iterator[str]:
    """Lines of tables with one head; where there are several, their titles begin the row names."""
    if not tables:
        return
    several = len(tables) > 1
    head = list(tables[0].head)
    if not head[0]:
        head[0] = title if several else tables[0].title or title
    rows = []
    for table in tables:
        for row in table.rows:
            name, *cells = (cell if isinstance(cell, str) else cell.text for cell in row)
            rows.append([f"{table.title}: {name}" if several else name, *cells])
    yield from text_table(head, rows, prose=tables[0].prose)
    yield from (table.note for table in tables if table.note)


def summary(report: Fields) -> str:
    """The numbers that decide, with interval, seconds and memory, as a table of one row."""
    task = TASKS[report["task"]]
    names = task.metrics[:3]
    numbers = [score(metric(report, name), task.scale) for name in names]
    seconds = sum(report["cost"]["seconds"].values())
    memory = size(report["cost"]["peak_memory"])
    head = ["split", *map(metric_name, names), "95 % interval", "seconds", "peak memory"]
    within = interval(metric(report, interval_path(task.primary_metric)), task.scale)
    return "\n".join(
        text_table(head, [[report["split"], *numbers, within, f"{seconds:.0f}", memory]])
    )
