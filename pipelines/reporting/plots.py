"""Pictures as SVG text to stand inside a page: they take the page's colours, so that they suit light and dark.

The same figures give the same bytes: ids are salted with the plot's name and no date is written.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pipelines.formatting import short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# matplotlib knows no CSS variables: it draws in these stand-ins, which are replaced in the SVG.
INK, BLUE, ORANGE, LINE, FAINT = "#000001", "#000002", "#000003", "#000004", "#000005"
CSS = {INK: "currentColor", BLUE: "var(--gold)", ORANGE: "var(--predicted)", LINE: "var(--line)",
       FAINT: "var(--faint)"}
INCHES = (4.6, 2.9)  # about as wide as a phone's page, so that text is not shrunk there
NAME_LENGTH = 22
STYLE: dict[Any, Any] = {  # matplotlib's own type lists every key there is
    "svg.fonttype": "none", "text.parse_math": False, "font.family": "sans-serif", "font.size": 9,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": FAINT, "xtick.color": INK, "ytick.color": INK,
    "axes.facecolor": "none", "figure.facecolor": "none", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": LINE, "grid.linewidth": 0.6, "axes.axisbelow": True, "lines.linewidth": 1.6,
}


def svg(name: str, draw: Callable[[Axes], None], *, inches: tuple[float, float] = INCHES) -> str:
    """Draws on one pair of axes.

    Args:
        name: unique in the page; keeps the ids of its pictures apart.
        draw: gets the axes.
        inches: width and height.

    Returns:
        An ``<svg>`` element without a size of its own.
    """
    import matplotlib  # takes a second
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Drawing

    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has the fonts
        drawing = Drawing(figsize=inches, layout="constrained")
        FigureCanvasSVG(drawing)
        draw(drawing.add_subplot())
        written = io.StringIO()
        drawing.savefig(written, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    picture = written.getvalue()
    picture = picture[picture.index("<svg"):]
    picture = re.sub(r'(<svg\b[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", picture))
    picture = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", picture)
    for stand_in, css in CSS.items():
        picture = picture.replace(stand_in, css)
    return picture.strip()


def training_curves(log: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Pictures by their titles: the loss, and each score that the log has of evaluations, over the steps.

    Args:
        log: the trainer's ``log_history``: loss, ``eval_…`` scores, each with its ``step``.
    """
    def series(key: str) -> list[tuple[float, float]]:
        return [(row["step"], row[key]) for row in log if key in row and "step" in row]

    scores = ("f1", "accuracy", "perplexity", "mse")
    pictures = {}
    losses = {key: series(key) for key in ("loss", "eval_loss") if series(key)}
    if losses:
        pictures["Loss"] = svg("loss", partial(_curves, series=losses, title="loss"))
    for key in dict.fromkeys(key for row in log for key in row if key.startswith("eval_") and key.endswith(scores)):
        title = key.removeprefix("eval_").replace("_", " ").replace("f1", "F1")
        pictures[f"{title[0].upper()}{title[1:]} while training"] = svg(
            re.sub(r"\W", "-", key), partial(_curves, series={title: series(key)}, title=title))
    return pictures


def _curves(axes: Axes, series: Mapping[str, list[tuple[float, float]]], title: str) -> None:
    for (label, points), color, dashes in zip(series.items(), (BLUE, ORANGE), ("-", "--"), strict=False):
        marker = "o" if len(points) <= 30 else ""
        axes.plot(*zip(*points, strict=True), dashes, color=color, marker=marker, markersize=3.5, label=label)
    axes.set_xlabel("step")
    axes.set_ylabel(title)
    if len(series) > 1:
        axes.legend(frameon=False)


def scores_with_intervals(rows: Sequence[tuple[str, float, Sequence[float] | None, bool]]) -> str:
    """One row a score, from 0 to 100, with its interval.

    Args:
        rows: name, score, interval and whether it is a baseline, which is drawn hollow.
    """
    def draw(axes: Axes) -> None:
        for at, (_, score, interval, is_baseline) in enumerate(rows):
            if interval:
                axes.plot([100 * end for end in interval], [at, at], "|-", color=BLUE, markersize=9)
            axes.plot(100 * score, at, "D" if is_baseline else "o", color=ORANGE if is_baseline else BLUE,
                      markerfacecolor="none" if is_baseline else BLUE, markersize=6 if is_baseline else 4)
        axes.set_yticks(range(len(rows)), [_short(name) for name, *_ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        # Dots and not bars: the scale need not begin at zero, and intervals are to be seen.
        lowest = min(100 * min([score, *(interval or ())]) for _, score, interval, _ in rows)
        axes.set_xlim(max(0, 10 * ((lowest - 3) // 10)), 100.5)
        axes.grid(axis="y", visible=False)

    return svg("scores", draw, inches=(INCHES[0], 0.7 + 0.26 * len(rows)))


def reliability_diagram(bins: Sequence[Mapping[str, float]]) -> str:
    """The share of right answers by their mean score; on the diagonal the score means what it says."""
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], ":", color=FAINT, linewidth=1.2)
        scores, accuracies = [row["mean_score"] for row in bins], [row["accuracy"] for row in bins]
        largest = max(row["count"] for row in bins)
        axes.vlines(scores, scores, accuracies, color=ORANGE, linewidth=1.2)
        axes.scatter(scores, accuracies, s=[20 + 130 * row["count"] / largest for row in bins], color=BLUE, zorder=3)
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.05, 1.05), xlabel="score", ylabel="share of right answers")

    return svg("reliability", draw)


def risk_coverage_curve(points: Sequence[Mapping[str, float]]) -> str:
    def draw(axes: Axes) -> None:
        axes.plot([row["coverage"] for row in points], [row["risk"] for row in points], color=BLUE,
                  marker="o" if len(points) < 10 else "", markersize=3.5)
        axes.set(xlim=(0, 1.02), xlabel="share answered, surest first", ylabel="share of wrong answers")
        axes.set_ylim(bottom=0)

    return svg("risk-coverage", draw)


def quality_against_cost(name: str, points: Sequence[tuple[str, float, float]], front: Iterable[str], *, cost: str,
                         quality: str, greater_is_better: bool) -> str:
    """Runs as points, and a line through those that no other run beats in both.

    Args:
        points: name, cost and quality of each run.
        front: the names on the Pareto front.
    """
    on_front = set(front)

    def draw(axes: Axes) -> None:
        line = sorted((x, y) for label, x, y in points if label in on_front)
        axes.step(*zip(*line, strict=True), where="post", color=ORANGE, linewidth=1.4, zorder=1)
        costs = [x for _, x, _ in points]
        if min(costs) > 0 and max(costs) > 20 * min(costs):
            axes.set_xscale("log")
        for label, x, y in points:
            axes.plot(x, y, "o" if label in on_front else "X", color=BLUE if label in on_front else FAINT,
                      markersize=7, zorder=3)
        axes.margins(x=0.12, y=0.2)
        axes.autoscale_view()
        to_axes = axes.transData + axes.transAxes.inverted()
        for i, (label, x, y) in enumerate(sorted(points, key=lambda point: point[1])):
            to_left, below = to_axes.transform((x, y))[0] > 0.5, i % 2  # neighbours' names keep out of each other's way
            axes.annotate(_short(label), (x, y), xytext=(-7 if to_left else 7, -12 if below else 5), fontsize=8.5,
                          textcoords="offset points", ha="right" if to_left else "left")
        axes.xaxis.set_major_formatter(lambda x, _: short_count(x))
        axes.set_xlabel(cost)
        axes.set_ylabel(quality)
        if not greater_is_better:
            axes.invert_yaxis()

    return svg(name, draw)


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else name[:NAME_LENGTH - 1] + "…"
