"""The section of a page on a cascade: its scores against its cost."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from pipelines.evaluation.tasks import metric_name
from pipelines.examples import Fields
from pipelines.formatting import score
from pipelines.reporting.page import Picture, Section, Table
from pipelines.reporting.plots import BLUE, FAINT, ORANGE, shortened, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS = 12
NOTE = (
    "A threshold that is chosen on dev looks a little better on dev than on new texts; a labelled "
    "test file says by how much."
)


def cascade_section(curve: Fields, point: Fields | None) -> Section:
    """The curve as a picture and a table.

    Args:
        curve: as `evaluation.cascade.cascade_curve` gives it.
        point: the point of the run; None where no cascade was worth one.
    """
    name = metric_name(curve["metric"])
    draw = partial(_draw, curve=curve, point=point, name=name)
    words = f"{curve['cheap']} answers all texts; {curve['expensive']} decides those on which its "
    if point is None:
        words += "certainty is below a threshold."
    else:
        share = f"{100 * point['share']:.1f} %"
        words += f"certainty is below {point['threshold']:.4g}: {share} of dev."
    picture = Picture(
        partial(svg, "cascade", draw),
        f"{name[0].upper()}{name[1:]} against cost",
        "Each dot is a threshold.",
    )
    head = ("threshold", "texts that go on", name, "ms a text")
    table = Table(head, cascade_table(curve, point), note=str(curve["reason"]))
    return Section("cascade", "Cascade", (words, picture, table, NOTE))


def thinned(points: Sequence[Fields], most: int = MOST_ROWS) -> list[Fields]:
    """Some of the points, at most `most`, the first and the last among them."""
    last = len(points) - 1
    steps = min(most, len(points)) - 1
    return [points[round(i * last / steps)] for i in range(steps + 1)] if steps else list(points)


def cascade_table(curve: Fields, point: Fields | None) -> list[tuple[str, str, str, str]]:
    """Threshold, share of texts that go on, score and cost; then each model by itself."""
    own = [] if point is None else [point]
    rows = {row["threshold"]: row for row in [*thinned(curve["points"]), *own]}
    cells = []
    for row in sorted(rows.values(), key=lambda row: float(row["threshold"])):
        mark = " (taken)" if row in own else ""
        cells.append(_cells(f"{row['threshold']:.4g}{mark}", row))
    for model, row in zip((curve["cheap"], curve["expensive"]), curve["alone"], strict=True):
        cells.append(_cells(f"{model} alone", row))
    return cells


def _cells(name: str, row: Fields) -> tuple[str, str, str, str]:
    share = f"{100 * row['share']:.1f} %" if "share" in row else ""
    return name, share, score(row["score"]), f"{1000 * row['seconds_per_text']:.3g}"


def _draw(axes: Axes, *, curve: Fields, point: Fields | None, name: str) -> None:
    points = curve["points"]
    costs = [1000 * row["seconds_per_text"] for row in points]
    scores = [100 * row["score"] for row in points]
    axes.plot(costs, scores, "o-", color=BLUE, markersize=3)
    if point is not None:
        here = 1000 * point["seconds_per_text"], 100 * point["score"]
        axes.plot(*here, "D", color=ORANGE, markersize=7, zorder=4)
        axes.annotate("taken", here, xytext=(8, -13), textcoords="offset points", fontsize=8.5)
    expensive = curve["alone"][1]
    there = 1000 * expensive["seconds_per_text"], 100 * expensive["score"]
    axes.plot(*there, "X", color=FAINT, markersize=7, zorder=3)
    axes.annotate(
        f"{shortened(curve['expensive'])} alone",
        there,
        xytext=(0, -16),
        textcoords="offset points",
        ha="center",
        fontsize=8.5,
    )
    axes.margins(x=0.08, y=0.18)
    axes.set_xlabel("milliseconds a text")
    axes.set_ylabel(name)
