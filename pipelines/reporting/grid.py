"""A grid of classification heads as text and as a page: the table of its points and heat maps of two axes each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.reporting.page import Cell, Section, Table, write_page

FIELDS = ("pooling", "hidden_layer", "learning_rate", "weight_decay", "dropout", "class_weight", "epochs")
SCORES = ("macro_f1", "accuracy", "weighted_f1", "matthews")
ROWS_SHOWN = 10

Row = Mapping[str, Any]


def grid_as_text(rows: Sequence[Row], *, objective: str) -> str:
    """The best points, and how many there are."""
    fields, scores = _varied(rows), _scores(objective)
    ranked = sorted(rows, key=lambda row: -row[objective])
    table = [[*fields, *scores], *([*(_shown(row[name]) for name in fields), *(f"{row[name]:.4f}" for name in scores)]
                                   for row in ranked[:ROWS_SHOWN])]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)) for line in table]
    more = f"\n… and {len(rows) - ROWS_SHOWN} more points in grid.json" if len(rows) > ROWS_SHOWN else ""
    return "\n".join(lines) + more


def write_grid(rows: Sequence[Row], out: str | Path, *, objective: str, title: str) -> None:
    """Writes the heat maps and the whole table as one HTML file that needs nothing else."""
    fields, scores = _varied(rows), _scores(objective)
    ranked = sorted(rows, key=lambda row: -row[objective])
    low, high = ranked[-1][objective], ranked[0][objective]
    span = (high - low) or 1.0
    constant = [f"{name} {_shown(rows[0][name])}" for name in FIELDS if name not in fields]
    same = f" All have {', '.join(constant)}." if constant else ""
    by_effect = sorted(fields, key=lambda name: -_effect(rows, name, objective))
    maps = [_map(rows, first, second, objective, low, span)
            for first, second in itertools.combinations(by_effect, 2)]
    table = Table((*fields, *(name.replace("_", " ").replace("f1", "F1") for name in scores)), [
        (*(_shown(row[name]) for name in fields), Cell(f"{row[scores[0]]:.4f}", heat=(row[objective] - low) / span),
         *(f"{row[name]:.4f}" for name in scores[1:])) for row in ranked])
    best = ", ".join(f"{name} {_shown(ranked[0][name])}" for name in fields) or "the only point"
    shown = objective.replace("_", " ").replace("f1", "F1")
    facts = f"{len(rows)} points; best {shown} on texts held out {high:.4f}: {best}.{same}"
    sections = [Section("points", "All points, the best first", [table])]
    if maps:
        sections.insert(0, Section("maps", f"Best {shown} for two options at a time", maps))
    write_page("page.html", out, title=title, facts=facts, sections=sections)


def _map(rows: Sequence[Row], first: str, second: str, objective: str, low: float, span: float) -> Table:
    """The best score for each pair of values, whatever the other options are."""
    down, across = _values(rows, first), _values(rows, second)
    best: dict[tuple[Any, Any], Any] = {
        (a, b): max((row[objective] for row in rows if row[first] == a and row[second] == b), default=None)
        for a in down for b in across}
    cells: list[list[str | Cell]] = [
        [_shown(a), *(Cell("") if best[a, b] is None else
                      Cell(f"{best[a, b]:.4f}", heat=(best[a, b] - low) / span) for b in across)] for a in down]
    return Table((f"{first} \\ {second}", *map(_shown, across)), cells, title=f"{first} and {second}")


def _effect(rows: Sequence[Row], name: str, objective: str) -> float:
    """How much the best score differs between the values of an option."""
    best = [max(row[objective] for row in rows if row[name] == value) for value in _values(rows, name)]
    return max(best) - min(best)


def _varied(rows: Sequence[Row]) -> list[str]:
    return [name for name in FIELDS if len(_values(rows, name)) > 1]


def _values(rows: Sequence[Row], name: str) -> list[Any]:
    return sorted({row[name] for row in rows})


def _scores(objective: str) -> list[str]:
    return list(dict.fromkeys((objective, *SCORES)))


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
