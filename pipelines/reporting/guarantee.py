"""The part of a report on a guaranteed threshold: what holds, what it costs, how to use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipelines.evaluation.reports import Report
from pipelines.examples import Fields
from pipelines.formatting import count, score
from pipelines.reporting.page import Row, Table


def guarantee_parts(report: Report) -> Iterator[Table | str]:
    """The threshold that `evaluate --guarantee` chose; nothing for other reports."""
    found = report.get("guarantee")
    if not found:
        return
    attained, unit = found["attained"], found["unit"]
    columns = {"without a threshold": found["without"]}
    if attained is not None:
        columns[f"from {found['threshold']!r} on"] = attained
    yield Table(
        ("", *columns),
        list(_rows(found, list(columns.values()))),
        note="Times 100, but the counts; on the examples that chose the score.",
    )
    if attained is None:
        yield (
            f"Not reachable by any score: {found['measure']} of {score(found['level'])} on these "
            f"{count(found['units'])} {unit}s; at most {score(found['at_most'])}."
        )
        return
    yield f"Guaranteed with --min_score {found['threshold']!r}: {found['guaranteed']}."
    yield _cost(found)
    yield from _notes(found)


def _rows(found: Fields, columns: Sequence[Fields]) -> Iterator[Row]:
    """What is kept, and its measures, with a column for each threshold."""
    yield (f"{found['answers']} kept", *(count(figures["answers"]) for figures in columns))
    for name in ("recall", "precision"):
        yield (f"{name}, mean of {found['unit']}s", *(score(figures[name]) for figures in columns))
    for name in ("recall", "precision"):
        yield (f"{name}, pooled", *(score(figures["pooled"][name]) for figures in columns))


def _cost(found: Fields) -> str:
    other = "precision" if found["measure"] == "recall" else "recall"
    before, after = found["without"][other], found["attained"][other]
    return f"Mean {other} on these {found['unit']}s: {score(before)} → {score(after)}."


def _notes(found: Fields) -> Iterator[str]:
    """What the guarantee rests on."""
    unit, answers = found["unit"], found["answers"]
    of_recall = found["measure"] == "recall"
    left_out = (
        f", {count(found['left_out'])} without gold {answers} left out" if found["left_out"] else ""
    )
    method = f"{found['method'][0].upper()}{found['method'][1:]}"
    yield (
        f"{method} on {count(found['units'])} {unit}s{left_out}. It holds for the mean over "
        f"{unit}s, not for pooled {found['measure']} and not for each {unit}."
    )
    if not of_recall:
        yield f"A {unit} in which nothing is kept has no precision and does not count."
    drawn = "exchangeable with" if found["delta"] is None else "drawn independently, like"
    yield (
        f"It holds for new {unit}s that are {drawn} these. The model must not know them: a "
        "dev set that chose its checkpoint or options is not fresh. Choose the level before you "
        "read this report."
    )
