"""A picture of learning curves: scores against labelled examples, and what twice as many give."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from pipelines.examples import Fields
from pipelines.formatting import short_count
from pipelines.reporting.plots import BLUE, FAINT, INK, ORANGE, Drawing, shortened, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = (BLUE, ORANGE, FAINT, INK)
MARKERS = ("o", "s", "^", "D", "v")
EXACT = 100_000  # numbers of examples below are written in full
DODGE = 1.03  # factor between the points of two models on as many examples


def learning_curves(
    curves: Mapping[str, Fields], *, goal: float | None = None, quality: str = "score"
) -> Drawing:
    """Draws several curves on one pair of axes, with a logarithmic axis of examples.

    Points have their 95 % intervals. The fitted line goes on, dashed, to twice the examples of the
    last point, with the interval of a newly trained model as a band.

    Args:
        curves: title -> what `pipelines.evaluation.learning_curve.curve_json` returns.
        goal: the score to reach, between 0 and 1; a horizontal line.
        quality: the name of the score, for the axis.

    Raises:
        ValueError: for no curves.
    """
    if not curves:
        raise ValueError("got no curves to draw")
    height = 3.1 + 0.18 * len(curves)
    draw = partial(_draw, curves=curves, goal=goal, quality=quality)
    return svg("learning-curves", draw, inches=(4.6, height))


def _draw(axes: Axes, curves: Mapping[str, Fields], goal: float | None, quality: str) -> None:
    axes.set_xscale("log")
    for position, (title, curve) in enumerate(curves.items()):
        color = COLORS[position % len(COLORS)]
        marker = MARKERS[position % len(MARKERS)]
        shift = DODGE ** (position - (len(curves) - 1) / 2)
        _draw_points(axes, curve, shift, color, marker, title)
        _draw_line(axes, curve, color)
    if goal is not None:
        axes.axhline(100 * goal, color=INK, linestyle=":", linewidth=1.2, label="goal")
    _mark_examples(axes, curves)
    axes.set_xlabel("labelled examples")
    axes.set_ylabel(quality)
    axes.margins(x=0.05)
    columns = 2 if len(curves) > 1 else 1
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns)


def _draw_points(
    axes: Axes, curve: Fields, shift: float, color: str, marker: str, title: str
) -> None:
    for point in curve["points"]:
        if point["interval"]:
            x = point["examples"] * shift
            ends = [100 * end for end in point["interval"]]
            axes.plot([x, x], ends, "-", color=color, linewidth=1.0)
    examples = [point["examples"] * shift for point in curve["points"]]
    scores = [100 * point["score"] for point in curve["points"]]
    label = shortened(title)
    axes.plot(examples, scores, marker, color=color, markersize=4.5, zorder=3, label=label)


def _draw_line(axes: Axes, curve: Fields, color: str) -> None:
    """The fitted line; beyond the last point it is dashed and has a band."""
    if not curve["band"]:
        return
    last = curve["points"][-1]["examples"]
    inside = [row for row in curve["band"] if row["examples"] <= last]
    beyond = [row for row in curve["band"] if row["examples"] >= last]
    for rows, dashes in ((inside, "-"), (beyond, "--")):
        axes.plot(
            [row["examples"] for row in rows],
            [100 * row["score"] for row in rows],
            dashes,
            color=color,
            linewidth=1.3,
        )
    lows, highs = zip(*(row["interval"] for row in beyond), strict=True)
    axes.fill_between(
        [row["examples"] for row in beyond],
        [100 * low for low in lows],
        [100 * high for high in highs],
        color=color,
        alpha=0.13,
        linewidth=0,
    )


def _mark_examples(axes: Axes, curves: Mapping[str, Fields]) -> None:
    """Marks the numbers of examples of the curve with the most points, and twice the last."""
    points = max((curve["points"] for curve in curves.values()), key=len)
    marked = [point["examples"] for point in points]
    marked += [2 * examples for examples in marked[-1:]]
    axes.set_xticks(marked, [_count(examples) for examples in marked])
    axes.minorticks_off()


def _count(examples: int) -> str:
    return f"{examples:,}" if examples < EXACT else short_count(examples)
