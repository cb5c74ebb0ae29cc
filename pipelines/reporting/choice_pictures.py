"""The pictures of a choice: quality against cost, and learning curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from pipelines.evaluation.choice import by_cost, seconds_of
from pipelines.evaluation.tasks import metric_name
from pipelines.examples import Fields, JsonObject
from pipelines.reporting import learning_curves as learning_curve_plot
from pipelines.reporting import plots
from pipelines.reporting.page import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

Place = tuple[int, int, str]

INCHES = (4.6, 3.4)
FONT = 8.5
# Where a name may stand beside its point: offsets in points and alignment, the best first.
PLACES = [
    (side * distance, height, "left" if side > 0 else "right")
    for distance in (8, 22, 40)
    for height in (3, -11, 17, -25, 31, -39, 50, -56, -72)
    for side in (1, -1)
]
TICKS = {0.001: "1 ms", 0.01: "10 ms", 0.1: "0.1 s", 1: "1 s", 10: "10 s", 60: "1 min"}
TICKS |= {600: "10 min", 3600: "1 h", 36_000: "10 h", 360_000: "100 h"}
NEAR = 4  # places that need no line from the name to its point
CURVES_NOTE = (
    "Bars are 95 % intervals on dev. The line is a fitted power law; its dashed end, with the "
    "interval of a newly trained model, goes on to twice the labels."
)
MARGIN = 1.12  # fonts of a browser may be wider than those that are measured


def quality_and_cost(choice: Fields) -> Picture | None:
    """Scores with intervals against seconds; None where no finished rung knows its seconds."""
    rows = [row for row in by_cost(choice["rungs"]) if seconds_of(row) < float("inf")]
    if not rows:
        return None
    draw = partial(_draw_quality, choice=choice, rows=rows)
    quality = metric_name(choice["metric"])
    note = (
        "Lines are 95 % intervals on dev. The stepped line is the front: no other model is both "
        "cheaper and better. A cross marks a model that another beats or equals in both, a ring "
        "the chosen one."
    )
    title = f"{quality[0].upper()}{quality[1:]} against seconds to train and to predict dev"
    return Picture(partial(plots.svg, "quality-and-cost", draw, inches=INCHES), title, note)


def _draw_quality(axes: Axes, *, choice: Fields, rows: Sequence[Fields]) -> None:
    points = [(row["name"], max(seconds_of(row), 1e-3), 100 * row["score"]) for row in rows]
    on_front = [point for point in points if point[0] in choice["front"]]
    if on_front:
        _, costs, scores = zip(*on_front, strict=True)
        axes.step(costs, scores, where="post", color=plots.ORANGE, linewidth=1.4, zorder=1)
    for row, (name, x, y) in zip(rows, points, strict=True):
        marker, color = ("o", plots.BLUE) if name in choice["front"] else ("X", plots.FAINT)
        ends = [100 * end for end in row["interval"]]
        axes.plot([x, x], ends, "_-", color=color, linewidth=1.2, markersize=6, zorder=2)
        axes.plot(x, y, marker, color=color, markersize=7, zorder=3)
        if name == choice["answer"]["chosen"]:
            axes.scatter(x, y, s=150, facecolors="none", edgecolors=plots.INK, zorder=3)
    axes.set_xscale("log")
    axes.margins(x=0.16, y=0.22)
    axes.set_ylabel(metric_name(choice["metric"]))
    if choice["goal"] is not None:
        _draw_goal(axes, 100 * choice["goal"])
    low, high = axes.get_ylim()
    axes.set_yticks([y for y in axes.get_yticks() if max(low, 0) <= y <= min(high, 100)])
    _scale_seconds(axes)
    _name_points(axes, points)


def _draw_goal(axes: Axes, goal: float) -> None:
    axes.axhline(goal, color=plots.INK, linewidth=1, linestyle="--", zorder=0)
    axes.annotate(
        f"goal {goal:.4g}",
        (0, goal),
        xycoords=("axes fraction", "data"),
        xytext=(2, 2),
        textcoords="offset points",
        fontsize=FONT,
    )


def _scale_seconds(axes: Axes) -> None:
    """Round times on the axis, which spans a factor of ten at least."""
    low, high = axes.get_xlim()
    if high < 10 * low:
        middle = (low * high) ** 0.5
        low, high = middle / 10**0.5, middle * 10**0.5
    ticks = {time: name for time, name in TICKS.items() if low <= time <= high}
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xticks([], minor=True)
    axes.set_xlim(low, high)


def _name_points(
    axes: Axes,
    points: Sequence[tuple[str, float, float]],
) -> None:
    """Writes each name at the first place where it covers no point, line or other name."""
    from matplotlib.transforms import Bbox

    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    taken = [text.get_window_extent() for text in axes.texts]
    taken += [box for line in axes.lines for box in _boxes(axes, line)]
    for _, x, y in points:
        middle = axes.transData.transform((x, y))
        taken.append(Bbox([middle - 6, middle + 6]))
    for label, x, y in points:
        taken.append(_place(axes, label, (x, y), taken))


def _boxes(axes: Axes, line: Line2D) -> Iterator[Bbox]:
    """The box of each straight piece of a line, of steps those of their corners."""
    from matplotlib.transforms import Bbox

    path = line.get_transform().transform_path(line.get_path())
    corners = np.asarray(path.interpolated(1).vertices)
    frame = axes.get_window_extent()
    for start, end in pairwise(corners):
        low, high = np.minimum(start, end) - 2, np.maximum(start, end) + 2
        yield Bbox([np.maximum(low, frame.min), np.minimum(high, frame.max)])


def _place(axes: Axes, label: str, point: tuple[float, float], taken: Sequence[Bbox]) -> Bbox:
    """Writes a name at the free place nearest to its point; where none is free, at the best."""
    page = axes.get_window_extent()
    fewest, best, covered = float("inf"), PLACES[0], taken[0]
    for place in PLACES:
        text = _write(axes, label, point, place)
        box = text.get_window_extent().expanded(MARGIN, 1.0)
        text.remove()
        is_outside = box.x0 < page.x0 or box.x1 > page.x1
        is_outside |= box.y0 < page.y0 or box.y1 > page.y1
        hits = sum(box.overlaps(other) for other in taken) + 5 * is_outside
        if hits < fewest:
            fewest, best, covered = hits, place, box
    line: JsonObject = {"arrowstyle": "-", "color": plots.FAINT, "linewidth": 0.6, "shrinkB": 5}
    is_far = PLACES.index(best) >= NEAR
    _write(axes, label, point, best, arrowprops=line if is_far else None).set_in_layout(False)
    return covered


def _write(
    axes: Axes,
    label: str,
    point: tuple[float, float],
    place: Place,
    arrowprops: JsonObject | None = None,
) -> Annotation:
    dx, dy, alignment = place
    return axes.annotate(
        plots.shortened(label),
        point,
        xytext=(dx, dy),
        textcoords="offset points",
        ha=alignment,
        fontsize=FONT,
        arrowprops=arrowprops,
    )


def learning_curves(choice: Fields) -> Iterator[Picture | str]:
    """All learning curves in one picture, and what each says."""
    drawn = {name: curve for name, curve in choice["curves"].items() if curve.get("law")}
    if drawn:
        quality = metric_name(choice["metric"])
        draw = partial(
            learning_curve_plot.learning_curves, drawn, goal=choice["goal"], quality=quality
        )
        yield Picture(draw, "Scores against labelled examples", CURVES_NOTE)
    for curve in choice["curves"].values():
        if curve.get("sentence"):
            yield str(curve["sentence"])
