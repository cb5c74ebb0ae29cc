"""A comparison of networks for sequences, for a terminal and as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.examples import Fields
from pipelines.formatting import count, interval, score, seconds
from pipelines.reporting.network_comparison import SPLITS, dev_curve
from pipelines.reporting.network_discussion import discussion
from pipelines.reporting.page import Part, Picture, Row, Section, Table, write_page
from pipelines.reporting.plots import BLUE, FAINT, INK, ORANGE, Points, svg
from pipelines.reporting.run_facts import run_facts
from pipelines.reporting.text import sections_as_text
from pipelines.runs.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STYLES = ((BLUE, "-"), (ORANGE, "--"), (INK, ":"))
BEST, MEAN = "best possible", "training mean"


def networks_as_text(comparison: Fields) -> str:
    """The tables and the discussion, for a terminal."""
    sections = [
        Section("networks", "Networks", [score_table(comparison), training_table(comparison)]),
        Section("verdicts", "Pairs", list(_verdict_tables(comparison))),
        Section("lengths", "MSE by length", list(_length_tables(comparison))),
    ]
    lines = [f"{_compared(comparison)}.", *sections_as_text(sections), ""]
    return "\n".join([*lines, " ".join(discussion(comparison))])


def write_networks(comparison: Fields, runs: Mapping[str, Sequence[Run]], out: Path) -> None:
    """Writes the comparison as one self-contained HTML file.

    Args:
        runs: network -> its runs, whose training logs are drawn.
    """
    first = next(iter(runs.values()))[0]
    sections = [
        Section("networks", "Networks", [score_table(comparison), training_table(comparison)]),
        Section("discussion", "What the numbers say", [" ".join(discussion(comparison))]),
        Section("verdicts", "Pairs", list(_verdict_tables(comparison))),
        Section("lengths", "By length", list(_length_parts(comparison))),
        Section("training", "Training", list(_curves(comparison, runs))),
    ]
    facts = run_facts(first.config(), first.provenance())
    shared = {name: value for name, value in facts.items() if name not in ("model", "seed")}
    write_page(
        out,
        title=f"{len(runs)} networks for sequences compared",
        note=f"{_compared(comparison)}.",
        facts=shared,
        sections=[section for section in sections if section.parts],
    )


def _compared(comparison: Fields) -> str:
    seeds = comparison["seeds"]
    sizes = [f"{size:,} {SPLITS[split]}" for split, size in comparison["examples"].items()]
    means = f", each the mean of {seeds} seeds" if seeds > 1 else ""
    return f"{len(comparison['networks'])} networks on {' and '.join(sizes)} sequences{means}"


def score_table(comparison: Fields) -> Table:
    """The MSE of each network, of the training mean, and the best possible where it is known."""
    splits = list(comparison["examples"])
    with_spread = comparison["seeds"] > 1
    head = ["network"]
    for split in splits:
        head += [f"{SPLITS[split]} MSE", "95 % interval", *(["sd of seeds"] if with_spread else [])]
    rows: list[Row] = []
    for name, row in comparison["networks"].items():
        cells = [name]
        for split in splits:
            scores = row[split]
            cells += [score(scores["mse"], 1), interval(scores["interval"], 1)]
            cells += [score(scores["sd"], 1)] if with_spread else []
        rows.append(cells)
    known = {MEAN: comparison["mean_mse"]}
    if comparison["best_mse"] is not None:
        known[BEST] = dict.fromkeys(splits, comparison["best_mse"])
    for name, by_split in known.items():
        cells = [name]
        for split in splits:
            cells += [score(by_split[split], 1), *[""] * (2 if with_spread else 1)]
        rows.append(cells)
    return Table(
        head,
        rows,
        note="Intervals resample sequences. The epoch that is kept was chosen on validation, whose "
        "MSE is a little low for it.",
    )


def training_table(comparison: Fields) -> Table:
    """Size, fit and speed of each network."""
    head = ("network", "parameters", "train MSE", "train − validation", "epochs", "to 5 %", "time")
    rows: list[Row] = []
    for name, row in comparison["networks"].items():
        fit = score(row["train_mse"], 1), score(row["gap"], 1)
        speed = _epochs(row["epochs"]), _epochs(row["epochs_near_best"]), seconds(row["seconds"])
        rows.append((name, count(row["parameters"] or 0), *fit, *speed))
    return Table(
        head,
        rows,
        note="To 5 %: epochs until the MSE on validation is within 5 % of its lowest. Time: "
        "training of one seed.",
    )


def _epochs(number: float | None) -> str:
    return "" if number is None else count(round(number, 1))


def _verdict_tables(comparison: Fields) -> Iterator[Table]:
    for split, pairs in comparison["verdicts"].items():
        rows = []
        for pair in pairs:
            ends = interval(pair["interval"], 1)
            numbers = (score(pair["delta"], 1), ends, f"{pair['p_adjusted']:.2g}")
            rows.append((f"{pair['first']} − {pair['second']}", *numbers, _better(pair)))
        if rows:
            yield Table(
                ("difference of MSE", "Δ", "95 % interval", "p", "better"),
                rows,
                title=SPLITS[split].capitalize(),
                note="Paired, by approximate randomisation of the sequences; p is adjusted for the "
                "number of pairs (Holm).",
                prose=("better",),
            )


def _better(pair: Fields) -> str:
    return {"a": pair["first"], "b": pair["second"], None: "not decided"}[pair["better"]]


def _length_tables(comparison: Fields) -> Iterator[Table]:
    for split in comparison["examples"]:
        by_network = {name: row[split]["by_length"] for name, row in comparison["networks"].items()}
        lengths = next(iter(by_network.values()))
        if lengths:
            rows = []
            for name, parts in by_network.items():
                rows.append((name, *(score(parts[length], 1) for length in lengths)))
            head = ("steps", *lengths)
            yield Table(head, rows, title=SPLITS[split].capitalize())


def _length_parts(comparison: Fields) -> Iterator[Part]:
    yield from _length_tables(comparison)
    for split in list(comparison["examples"])[-1:]:
        series = {name: row[split]["by_length"] for name, row in comparison["networks"].items()}
        if all(series.values()):
            draw = partial(_draw_lengths, series, comparison["best_mse"])
            yield Picture(draw, f"MSE on {SPLITS[split]} by length")


def _draw_lengths(series: Mapping[str, Mapping[str, float]], best: float | None) -> str:
    def draw(axes: Axes) -> None:
        for (name, parts), (color, dashes) in zip(series.items(), STYLES, strict=False):
            axes.plot(
                list(parts), list(parts.values()), dashes, color=color, marker="o", label=name
            )
        _finish(axes, "steps", best)

    return svg("mse-by-length", draw)


def _finish(axes: Axes, x: str, best: float | None) -> None:
    if best is not None:
        axes.axhline(best, color=FAINT, linewidth=1, label=BEST)
    axes.set(xlabel=x, ylabel="MSE")
    axes.set_yscale("log", subs=[2, 5])
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}")
    axes.legend(frameon=False)


def _curves(comparison: Fields, runs: Mapping[str, Sequence[Run]]) -> Iterator[Picture]:
    """The MSE on validation by epoch, the mean of the seeds that were trained that long."""
    curves: dict[str, Points] = {}
    for name, own in runs.items():
        by_epoch: dict[float, list[float]] = {}
        for run in own:
            for epoch, mse in dev_curve(run):
                by_epoch.setdefault(epoch, []).append(mse)
        whole = {e: values for e, values in by_epoch.items() if len(values) == len(own)}
        curves[name] = [(epoch, float(np.mean(values))) for epoch, values in sorted(whole.items())]
    if all(curves.values()):
        draw = partial(_draw_curves, curves, comparison["best_mse"])
        note = "The mean of the seeds, as far as all of them were trained."
        yield Picture(draw, "MSE on validation", note)


def _draw_curves(curves: Mapping[str, Points], best: float | None) -> str:
    def draw(axes: Axes) -> None:
        for (name, points), (color, dashes) in zip(curves.items(), STYLES, strict=False):
            epochs, values = zip(*points, strict=True)
            axes.plot(epochs, values, dashes, color=color, label=name)
        _finish(axes, "epoch", best)

    return svg("mse-while-training", draw)
