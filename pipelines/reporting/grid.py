"""A grid of classification heads: its points as text and as a page with heat maps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.examples import Fields
from pipelines.formatting import score, text_table
from pipelines.reporting.page import Cell, Section, Table, write_page
from pipelines.reporting.run_facts import Facts

OPTIONS = (
    "pooling",
    "hidden_layer",
    "learning_rate",
    "weight_decay",
    "dropout",
    "class_weight",
    "epochs",
)
METRICS = ("macro_f1", "accuracy", "weighted_f1", "matthews")
POINTS_SHOWN = 10

Point = Fields


@dataclass(frozen=True, slots=True)
class Grid:
    """The points of a grid, the best first.

    Attributes:
        points: option and metric -> value; the metrics are between 0 and 1.
        objective: the metric that decides.
        varied: the options that have several values in the grid.
    """

    points: list[Point]
    objective: str
    varied: list[str]

    @classmethod
    def of(cls, points: Sequence[Point], objective: str) -> Grid:
        """Sorts the points and finds the options that vary."""
        ranked = sorted(points, key=lambda point: -point[objective])
        varied = [name for name in OPTIONS if len({point[name] for point in points}) > 1]
        return cls(ranked, objective, varied)

    @property
    def metrics(self) -> list[str]:
        """The metrics to show, the objective first."""
        return list(dict.fromkeys((self.objective, *METRICS)))

    def values(self, option: str) -> list[object]:
        """The values that an option has in the grid, sorted."""
        return sorted({point[option] for point in self.points})

    def best(self, **options: object) -> float | None:
        """The best score of the points with these options; None where there is none."""
        for point in self.points:
            if all(point[name] == value for name, value in options.items()):
                return float(point[self.objective])
        return None

    def effect(self, option: str) -> float:
        """How much the best score differs between the values of an option."""
        best = [self.best(**{option: value}) or 0.0 for value in self.values(option)]
        return max(best) - min(best)


def grid_as_text(points: Sequence[Point], *, objective: str) -> str:
    """The best points, and how many there are; scores times 100."""
    grid = Grid.of(points, objective)
    rows = []
    for point in grid.points[:POINTS_SHOWN]:
        options = (_shown(point[name]) for name in grid.varied)
        rows.append([*options, *(score(point[name]) for name in grid.metrics)])
    head = [*grid.varied, *map(_metric_name, grid.metrics)]
    lines = text_table(head, rows)
    if len(points) > POINTS_SHOWN:
        lines.append(f"… and {len(points) - POINTS_SHOWN} more points in grid.json")
    return "\n".join(lines)


def write_grid(
    points: Sequence[Point],
    out: str | Path,
    *,
    objective: str,
    title: str,
    facts: Facts | None = None,
) -> None:
    """Writes the heat maps and the whole table as one self-contained HTML file.

    Args:
        facts: what was run, as `run_facts` gives it, for the header.
    """
    grid = Grid.of(points, objective)
    sections = [Section("points", "All points, the best first", [_point_table(grid)])]
    by_effect = sorted(grid.varied, key=grid.effect, reverse=True)
    maps = [_heat_map(grid, *pair) for pair in itertools.combinations(by_effect, 2)]
    if maps:
        heading = f"Best {_metric_name(objective)} for two options at a time"
        sections.insert(0, Section("maps", heading, maps))
    write_page(out, title=title, note=_summary(grid), facts=facts, sections=sections)


def _summary(grid: Grid) -> str:
    best = grid.points[0]
    chosen = ", ".join(f"{name} {_shown(best[name])}" for name in grid.varied) or "the only point"
    value = f"{_metric_name(grid.objective)} {score(best[grid.objective])}"
    same = [f"{name} {_shown(best[name])}" for name in OPTIONS if name not in grid.varied]
    constant = f" All have {', '.join(same)}." if same else ""
    points = "1 point" if len(grid.points) == 1 else f"{len(grid.points)} points"
    return f"{points}; best on held-out texts, times 100: {value} with {chosen}.{constant}"


def _point_table(grid: Grid) -> Table:
    first, *others = grid.metrics
    scores = [point[first] for point in grid.points]
    rows = []
    for point in grid.points:
        options = (_shown(point[name]) for name in grid.varied)
        rest = (score(point[name]) for name in others)
        rows.append((*options, _heat_cell(point[first], scores), *rest))
    return Table((*grid.varied, *map(_metric_name, grid.metrics)), rows)


def _heat_map(grid: Grid, first: str, second: str) -> Table:
    """The best score for each pair of values, whatever the other options are."""
    columns = grid.values(second)
    best = {}
    for value in grid.values(first):
        best[value] = [grid.best(**{first: value, second: column}) for column in columns]
    scores = [found for line in best.values() for found in line if found is not None]
    rows = []
    for value, line in best.items():
        rows.append((_shown(value), *(_heat_cell(found, scores) for found in line)))
    head = (f"{first} ↓ {second} →", *map(_shown, columns))
    return Table(head, rows, title=f"{first} and {second}")


def _heat_cell(value: float | None, scores: Sequence[float]) -> str | Cell:
    """A score, coloured by where it lies between the least and the greatest of the scores."""
    if value is None:
        return ""
    spread = max(scores) - min(scores)
    return Cell(score(value), heat=(value - min(scores)) / (spread or 1.0))


def _metric_name(metric: str) -> str:
    return metric.replace("_", " ").replace("f1", "F1")


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
