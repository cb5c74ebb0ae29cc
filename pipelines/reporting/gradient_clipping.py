"""The page of the study of gradient clipping: table, curves, and the proof about one unit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING

from pipelines.examples import Fields
from pipelines.formatting import score, seconds, text_table
from pipelines.reporting import plots
from pipelines.reporting.page import Picture, Section, Table, write_page
from pipelines.reporting.run_facts import Facts
from pipelines.studies.gradient_clipping import ClippingStudy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 60  # of a curve
TITLE = "Gradient clipping: latch and parity"
HEAD = (
    "task",
    "network",
    "bits",
    "clipped",
    "accuracy",
    "at the last bit",
    "solved",
    "median norm",
    "greatest norm",
    "diverged",
)
NOTE = (
    "Accuracy times 100 on 1,000 new sequences, median over the pairs; solved: at least 99 at the "
    "last bit. Norms are of the gradient before it is clipped, over all steps."
)
NO_SINGLE_UNIT = (
    "No single unit h(t) = f(w x(t) + u h(t-1) + b) with a monotone f (threshold, sigmoid, tanh, "
    "ReLU) does parity, whatever its weights, its first state and the threshold at which its "
    "answer is read. After two bits the sum inside f is w x(2) + u h(1) + b, and h(1) takes one "
    "value p for x(1) = 0 and one value q for x(1) = 1: so it is w x(2) + u (q - p) x(1) + "
    "(u p + b), a weighted sum of the two bits. Reading f of that against a threshold gives a "
    "threshold function of the two bits, or the opposite of one. Parity is x(1) XOR x(2), its "
    "opposite is XNOR, and neither is among the 14 threshold functions:"
)
WEIGHTS_HEAD = "(w, u, b) of [w x + u y + b > 0], or why there is none"

Runs = Sequence[Fields]


def study_as_text(report: Fields, study: ClippingStudy) -> str:
    """The table of the kinds of runs, for a terminal."""
    rows = [_cells(row, study) for row in report["summary"]]
    return "\n".join([*text_table(HEAD, rows, prose=("network",)), NOTE])


def write_study(
    report: Fields,
    runs: Runs,
    study: ClippingStudy,
    out: str | Path,
    *,
    facts: Facts | None = None,
) -> None:
    """Writes the page: the table, the curves of each task and network, and the proof.

    Args:
        report: `summary`, `one_unit` and `cost`.
        runs: what `run_study` gave.
        facts: what was run, as `run_facts` gives it, for the header.
    """
    table = Table(HEAD, [_cells(row, study) for row in report["summary"]], note=NOTE)
    sections = [Section("summary", "Results", [table])]
    for task in study.tasks:
        for network in study.networks:
            title = f"{task.capitalize()}, {network.upper()}"
            parts = list(_curves_of(runs, study, task, network))
            sections.append(Section(f"{task}-{network}", title, parts))
    proof = list(_one_unit_parts(report["one_unit"]))
    sections.append(Section("one-unit", "What one unit can do", proof))
    duration = seconds(report["cost"]["seconds"]["training"])
    note = (
        f"{study.seeds} pairs of runs of each kind: {study.steps} updates of {study.batch_size} "
        f"sequences, {study.hidden_size} units, {study.optim}, learning rate "
        f"{study.learning_rate:g}, clipped at norm {study.max_grad_norm:g}; {duration}. The two "
        "runs of a pair start from the same weights and see the same sequences."
    )
    write_page(out, title=TITLE, note=note, facts=facts, sections=sections)


def _cells(row: Fields, study: ClippingStudy) -> list[str]:
    return [
        row["task"],
        row["network"].upper(),
        str(row["length"]),
        f"at {study.max_grad_norm:g}" if row["clipped"] else "no",
        score(row["accuracy"]),
        score(row["accuracy_at_the_end"]),
        f"{row['solved']}/{row['runs']}",
        _norm(row["median_norm"]),
        _norm(row["greatest_norm"]),
        f"{row['diverged']}/{row['runs']}",
    ]


def _norm(norm: float | None) -> str:
    if norm is None:
        return ""
    return f"{norm:.2g}" if norm < 100 else f"{norm:,.0f}"


def _curves_of(runs: Runs, study: ClippingStudy, task: str, network: str) -> Iterator[Picture]:
    for length in study.lengths:
        kind = task, network, length
        own = [row for row in runs if (row["task"], row["network"], row["length"]) == kind]
        name = f"{task}-{network}-{length}"
        yield from pictures(own, name=name, title=f"{length} bits", limit=study.max_grad_norm)


def pictures(runs: Runs, *, name: str, title: str, limit: float) -> Iterator[Picture]:
    """The curves of runs on one task: the loss beside the gradient norm.

    Args:
        name: unique in the page.
        limit: the norm that clipped runs are clipped at.
    """
    size = _bin_size(len(runs[0]["loss"]))
    draw_loss = partial(_draw, runs=runs, quantity="loss", combine=fmean)
    mean = f"Mean of {size} steps; the" if size > 1 else "The"
    note = f"{mean} strong line is the median run."
    yield Picture(plots.svg(f"{name}-loss", draw_loss), f"{title}: loss", note)
    draw_norm = partial(_draw, runs=runs, quantity="gradient_norm", combine=max, limit=limit)
    greatest = f"Greatest of {size} steps, before" if size > 1 else "Before"
    note = f"{greatest} clipping; the dotted line is the norm to clip at."
    yield Picture(plots.svg(f"{name}-gradient-norm", draw_norm), f"{title}: gradient norm", note)


def _draw(
    axes: Axes,
    *,
    runs: Runs,
    quantity: str,
    combine: Callable[[Sequence[float]], float],
    limit: float | None = None,
) -> None:
    """A faint line for each seed and a strong one for their median."""
    for clipped, color, dashes, label in (
        (False, plots.ORANGE, "--", "not clipped"),
        (True, plots.BLUE, "-", "clipped"),
    ):
        own = [row[quantity] for row in runs if row["clipped"] == clipped]
        curves = [_binned(values, combine) for values in own]
        size = _bin_size(len(own[0]))
        steps = [size * i + size / 2 for i in range(len(curves[0]))]
        if len(curves) > 1:
            for curve in curves:
                axes.plot(steps, curve, dashes, color=color, linewidth=0.6, alpha=0.45)
        middle = [_median(values) for values in zip(*curves, strict=True)]
        axes.plot(steps, middle, dashes, color=color, label=label)
    if limit is None:
        axes.set_ylim(bottom=0)
    else:
        axes.axhline(limit, color=plots.FAINT, linewidth=1, linestyle=":")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda norm, _: f"{norm:g}")
    axes.set(xlabel="step", ylabel=quantity.replace("_", " "))
    axes.legend(frameon=False)


def _bin_size(steps: int) -> int:
    """How many steps are drawn as one point, for at most `POINTS` points."""
    return max(1, math.ceil(steps / POINTS))


def _binned(
    values: Sequence[float | None], combine: Callable[[Sequence[float]], float]
) -> list[float]:
    """One value for each bin of steps; NaN where all values of a bin are None."""
    size = _bin_size(len(values))
    combined = []
    for start in range(0, len(values), size):
        known = [value for value in values[start : start + size] if value is not None]
        combined.append(combine(known) if known else math.nan)
    return combined


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return median(known) if known else math.nan


def _one_unit_parts(one_unit: Fields) -> Iterator[Table | str]:
    yield (
        f"Weights by hand, tried on all {one_unit['inputs']:,} inputs of 1 to 12 bits, every "
        f"position counted: one GRU unit latches, {one_unit['latch_gru_right']:,} right (and by "
        f"its bound on up to {one_unit['latch_holds_for']:,} bits); one GRU unit does parity, "
        f"{one_unit['parity_gru_right']:,} right."
    )
    yield NO_SINGLE_UNIT
    rows = []
    for function in one_unit["threshold_functions"]:
        if function["weights"]:
            proof = f"({', '.join(function['weights'])})"
        else:
            proof = f"none: {_contradiction(function['truth'], function['certificate'])}"
        rows.append(("".join(map(str, function["truth"])), proof))
    head = ("at 00, 01, 10, 11", WEIGHTS_HEAD)
    yield Table(head, rows, title="The 16 functions of two bits", prose=(WEIGHTS_HEAD,))


def _contradiction(truth: Sequence[int], certificate: Sequence[int]) -> str:
    """The conditions that a certificate adds up, and the sum that contradicts them."""
    conditions, over, under = list[str](), list[str](), list[str]()
    terms = ("b", "u + b", "w + b", "w + u + b")
    for term, value, times in zip(terms, truth, certificate, strict=True):
        if times:
            conditions.append(f"{term} {'>' if value else '≤'} 0")
            (over if value else under).append(f"({term})")
    return f"{'; '.join(conditions)}; yet {' + '.join(over)} = {' + '.join(under)}"
