"""Pictures as SVG text to stand inside a page; they take the page's colours, light or dark.

The same figures give the same bytes: ids are salted with the plot's name and no date is written.
"""

from __future__ import annotations

import io
import itertools
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pipelines.examples import Fields
from pipelines.formatting import short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The light colours of templates/style.css. matplotlib knows no CSS variables: in the SVG of a page
# they are replaced by them, in a document they stay.
INK, BLUE, ORANGE, LINE, FAINT = "#1a1f24", "#0a58bd", "#a8430a", "#d6dce2", "#5a6672"
CSS = {
    INK: "currentColor",
    BLUE: "var(--gold)",
    ORANGE: "var(--predicted)",
    LINE: "var(--line)",
    FAINT: "var(--faint)",
}
INCHES = (4.6, 2.9)  # about as wide as a phone's page, so that text is not shrunk there
NAME_LENGTH = 22
STYLE: dict[Any, Any] = {  # matplotlib's own type lists every key there is
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "lines.linewidth": 1.6,
}
# The ends of the names of metrics that are drawn, and by how much they are multiplied.
DRAWN_METRICS = {"f1": 100, "accuracy": 100, "matthews": 100, "perplexity": 1, "mse": 1}
SERIES = {"": "training batches", "eval_": "dev", "train_": "sample of train"}

Points = list[tuple[float, float]]
# Name, score, interval, and whether it is a baseline.
ScoreRow = tuple[str, float, Sequence[float] | None, bool]


class Drawing(str):
    """An `<svg>` element that can be drawn again, on the page of a PDF for example.

    Attributes:
        draw: draws on a pair of axes.
        inches: width and height.
    """

    draw: Callable[[Axes], None]
    inches: tuple[float, float]

    def __new__(
        cls, text: str, draw: Callable[[Axes], None], inches: tuple[float, float]
    ) -> Drawing:
        drawing = super().__new__(cls, text)
        drawing.draw, drawing.inches = draw, inches
        return drawing


def svg(
    name: str, draw: Callable[[Axes], None], *, inches: tuple[float, float] = INCHES
) -> Drawing:
    """Draws on one pair of axes.

    Args:
        name: unique in the page; keeps the ids of its pictures apart.
        draw: gets the axes.
        inches: width and height.

    Returns:
        An `<svg>` element without a size of its own.
    """
    import matplotlib  # takes a second
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    written = io.StringIO()
    unsigned = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has the fonts
        figure = Figure(figsize=inches, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        figure.savefig(written, format="svg", metadata=unsigned)
    picture = written.getvalue()
    picture = picture[picture.index("<svg") :].strip()
    for size in ("height", "width"):
        picture = re.sub(rf'(<svg\b[^>]*?) {size}="[^"]*"', r"\1", picture)
    picture = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", picture)
    for colour, css in CSS.items():
        picture = picture.replace(colour, css)
    return Drawing(picture, draw, inches)


def training_curves(log: Sequence[Fields]) -> dict[str, str]:
    """Pictures by their titles: the loss, and each metric of the evaluations, over the steps.

    A picture has a line for the training batches, for dev (`eval_…`) and for a sample of train
    (`train_…`), whichever the log has.

    Args:
        log: the trainer's `log_history`; a row without `step` or with `train_runtime`, the
            trainer's closing one, is left out.
    """
    rows = [row for row in log if "step" in row and "train_runtime" not in row]
    keys = dict.fromkeys(itertools.chain.from_iterable(rows))
    metrics = [key.removeprefix("eval_").removeprefix("train_") for key in keys]
    pictures: dict[str, str] = {}
    for metric in dict.fromkeys(["loss", *metrics]):
        scale = 1 if metric == "loss" else DRAWN_METRICS.get(metric.rpartition("_")[2])
        title = metric.replace("_", " ").replace("f1", "F1")
        series = {}
        for prefix, label in SERIES.items():
            points = _points(rows, f"{prefix}{metric}", scale or 1)
            if points:
                series[label] = points
        if scale and series:
            heading = f"{title[0].upper()}{title[1:]}"
            heading += "" if metric == "loss" else " while training"
            draw = partial(_curves, series=series, title=title)
            pictures[heading] = svg(re.sub(r"\W", "-", f"curve-{metric}"), draw)
    return pictures


def _points(rows: Sequence[Fields], key: str, scale: float) -> Points:
    """(step, value) of each row that has a number for the key."""
    numbers = [(row["step"], row.get(key)) for row in rows]
    return [(step, scale * number) for step, number in numbers if number is not None]


def _curves(axes: Axes, series: Mapping[str, Points], title: str) -> None:
    styles = {
        "training batches": (BLUE, "-"),
        "dev": (ORANGE, "--"),
        "sample of train": (FAINT, ":"),
    }
    for label, points in series.items():
        color, dashes = styles[label]
        marker = "o" if len(points) <= 30 else ""
        steps, values = zip(*points, strict=True)
        axes.plot(steps, values, dashes, color=color, marker=marker, markersize=3.5, label=label)
    axes.set_xlabel("step")
    axes.set_ylabel(title)
    axes.legend(frameon=False)


def scores_with_intervals(rows: Sequence[ScoreRow]) -> str:
    """One row a score, from 0 to 100, with its interval; a baseline is drawn hollow."""

    def draw(axes: Axes) -> None:
        for position, (_, score, interval, is_baseline) in enumerate(rows):
            if interval:
                ends = [100 * end for end in interval]
                axes.plot(ends, [position, position], "|-", color=BLUE, markersize=9)
            marker, size, color = ("D", 6, ORANGE) if is_baseline else ("o", 4, BLUE)
            fill = "none" if is_baseline else color
            axes.plot(
                100 * score, position, marker, color=color, markerfacecolor=fill, markersize=size
            )
        axes.set_yticks(range(len(rows)), [shortened(name) for name, *_ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        # Dots and not bars: the scale need not begin at zero, and intervals are to be seen.
        lowest = 100 * min(min([score, *(interval or ())]) for _, score, interval, _ in rows)
        axes.set_xlim(max(0, 10 * ((lowest - 3) // 10)), 100.5)
        axes.grid(axis="y", visible=False)

    return svg("scores", draw, inches=(INCHES[0], 0.7 + 0.26 * len(rows)))


def reliability_diagram(bins: Sequence[Mapping[str, float]]) -> str:
    """The share of right answers by their mean score; a calibrated model is on the diagonal.

    Args:
        bins: with `mean_score`, `accuracy` and `count`.
    """
    scores = [row["mean_score"] for row in bins]
    accuracies = [row["accuracy"] for row in bins]
    largest = max(row["count"] for row in bins)
    areas = [20 + 130 * row["count"] / largest for row in bins]

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], ":", color=FAINT, linewidth=1.2)
        axes.vlines(scores, scores, accuracies, color=ORANGE, linewidth=1.2)
        axes.scatter(scores, accuracies, s=areas, color=BLUE, zorder=3)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.05, 1.05))
        axes.set(xlabel="score", ylabel="share of right answers")

    return svg("reliability", draw)


def risk_coverage_curve(points: Sequence[Mapping[str, float]]) -> str:
    """The share of wrong answers among the most confident ones.

    Args:
        points: with `coverage` and `risk`.
    """
    coverage = [point["coverage"] for point in points]
    risk = [point["risk"] for point in points]

    def draw(axes: Axes) -> None:
        marker = "o" if len(points) < 10 else ""
        axes.plot(coverage, risk, color=BLUE, marker=marker, markersize=3.5)
        axes.set(xlim=(0, 1.02))
        axes.set(xlabel="share answered, most confident first", ylabel="share of wrong answers")
        axes.set_ylim(bottom=0)

    return svg("risk-coverage", draw)


def quality_against_cost(
    name: str,
    points: Sequence[tuple[str, float, float]],
    front: Iterable[str],
    *,
    cost: str,
    quality: str,
    greater_is_better: bool,
) -> str:
    """Runs as points, and a line through those that no other run beats in both.

    Args:
        points: name, cost and quality of each run.
        front: the names on the Pareto front.
    """
    on_front = set(front)
    costs = [x for _, x, _ in points]
    spans_decades = min(costs) > 0 and max(costs) > 20 * min(costs)

    def draw(axes: Axes) -> None:
        front_costs, front_qualities = zip(
            *sorted((x, y) for label, x, y in points if label in on_front), strict=True
        )
        axes.step(front_costs, front_qualities, where="post", color=ORANGE, linewidth=1.4, zorder=1)
        if spans_decades:
            axes.set_xscale("log")
        for label, x, y in points:
            marker, color = ("o", BLUE) if label in on_front else ("X", FAINT)
            axes.plot(x, y, marker, color=color, markersize=7, zorder=3)
        axes.margins(x=0.12, y=0.2)
        axes.autoscale_view()
        _name_points(axes, points)
        axes.xaxis.set_major_formatter(lambda x, _: short_count(x))
        axes.set_xlabel(cost)
        axes.set_ylabel(quality)
        if not greater_is_better:
            axes.invert_yaxis()

    return svg(name, draw)


def _name_points(axes: Axes, points: Sequence[tuple[str, float, float]]) -> None:
    """Writes names towards the middle, below a point that has another one close above it."""
    to_axes = axes.transData + axes.transAxes.inverted()
    positions = [tuple(to_axes.transform((x, y))) for _, x, y in points]
    for (label, x, y), (left, height) in zip(points, positions, strict=True):
        rank = height, -left  # of two points of one height, the left one counts as above
        near = [(h, -x) for x, h in positions if abs(x - left) < 0.3 and abs(h - height) < 0.15]
        below = any(other > rank for other in near)
        to_left = left > 0.5
        axes.annotate(
            shortened(label),
            (x, y),
            xytext=(-7 if to_left else 7, -12 if below else 5),
            textcoords="offset points",
            ha="right" if to_left else "left",
            fontsize=8.5,
        )


def shortened(name: str) -> str:
    """A name cut to `NAME_LENGTH` characters."""
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + "…"
