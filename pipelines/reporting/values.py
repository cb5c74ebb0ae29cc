"""The parts of a report on numbers: residuals, gold against predicted, and scores by length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from pipelines.evaluation.reports import Report
from pipelines.formatting import count, score
from pipelines.reporting.page import Cell, Picture, Table
from pipelines.reporting.plots import BLUE, FAINT, ORANGE, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 25


def value_parts(report: Report) -> Iterator[Table | Picture]:
    """What is known of the errors of numbers; nothing for other answers."""
    yield from _fit_parts(report)
    yield from _residual_parts(report)
    yield from _length_parts(report)


def _fit_parts(report: Report) -> Iterator[Table]:
    """The MSE beside that on train and the best possible, where these are known."""
    known = {"train": report.get("train", {}).get("mse"), "best possible": report.get("best_mse")}
    rows = [(name, score(mse, 1)) for name, mse in known.items() if mse is not None]
    if rows:
        rows.insert(0, (str(report.get("split", "here")), score(report["mse"], 1)))
        yield Table(("MSE on", "value"), rows, title="Fit")


def _residual_parts(report: Report) -> Iterator[Table | Picture]:
    found = report.get("residuals")
    if not found:
        return
    names = {
        "mean": "mean",
        "sd": "standard deviation",
        "p05": "5 %",
        "p50": "median",
        "p95": "95 %",
    }
    rows = [(title, score(found[name], 1)) for name, title in names.items()]
    if found.get("correlation") is not None:
        rows.append(("correlation with gold", score(found["correlation"], 1)))
    yield Table(
        ("residual", "value"),
        rows,
        title="Residuals",
        note="Residual: predicted − gold. Its mean is the bias; a correlation with gold below 0 "
        "says that large numbers are predicted too small and small ones too large.",
    )
    if found.get("points"):
        yield Picture(partial(_predicted_against_gold, found["points"]), "Predicted against gold")
        yield Picture(partial(_histogram, found["points"]), "Residuals of these examples")


def _length_parts(report: Report) -> Iterator[Table]:
    by_length = report.get("by_length")
    if not by_length:
        return
    most = max(row["mse"] for row in by_length.values()) or 1.0
    rows = []
    for length, row in by_length.items():
        mse = Cell(score(row["mse"], 1), share=row["mse"] / most)
        rows.append(
            (length, count(row["examples"]), mse, score(row["mae"], 1), score(row["r2"], 1))
        )
    yield Table(("steps", "sequences", "MSE", "MAE", "R²"), rows, title="By length")


def _predicted_against_gold(points: Sequence[Sequence[float]]) -> str:
    gold, predicted = zip(*points, strict=True)

    def draw(axes: Axes) -> None:
        ends = min(*gold, *predicted), max(*gold, *predicted)
        axes.plot(ends, ends, ":", color=FAINT, linewidth=1.2)
        axes.scatter(gold, predicted, s=12, color=BLUE, alpha=0.6, linewidths=0)
        axes.set(xlabel="gold", ylabel="predicted")

    return svg("predicted-against-gold", draw)


def _histogram(points: Sequence[Sequence[float]]) -> str:
    errors = [predicted - gold for gold, predicted in points]

    def draw(axes: Axes) -> None:
        axes.hist(errors, bins=BINS, color=BLUE, alpha=0.7)
        axes.axvline(0, color=ORANGE, linewidth=1.2)
        axes.set(xlabel="predicted − gold", ylabel="examples")

    return svg("residuals", draw)
