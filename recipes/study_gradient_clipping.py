"""Studies what gradient clipping does: latch and parity on longer and longer sequences, RNN and GRU, with and without.

    python recipes/study_gradient_clipping.py --run_dir runs/clipping
    python recipes/study_gradient_clipping.py --lengths 20 --optim sgd --learning_rate 1 --run_dir runs/clipping-sgd

Every pair of runs starts from the same weights and sees the same sequences; only the clipping differs. The run folder
gets config.yaml, provenance.json, curves.jsonl (loss and gradient norm of each step), report.json and report.html.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainingArguments, set_seed

from pipelines.errors import UserError, one_line_errors
from pipelines.examples import write_jsonl
from pipelines.formatting import seconds
from pipelines.reporting import plots
from pipelines.reporting.page import Picture, Section, Table, write_page
from pipelines.runs import options as config
from pipelines.runs.provenance import provenance
from pipelines.runs.run import Run
from pipelines.studies.latch_and_parity import (
    CELLS,
    TASKS,
    BitReader,
    BitReaderConfig,
    all_bits,
    answers,
    draw,
    latch_gru,
    latch_holds_for,
    parity_gru,
    threshold_functions,
)

NOT_CLIPPED = 1e30  # a norm to clip at that is never reached: the trainer still computes and logs the norm
POINTS = 60  # of a curve in the page


@dataclass
class StudyArguments:
    run_dir: str | None = field(default=None, metadata={"help": "folder of the run (default: runs/, recipe and time)"})
    tasks: list[str] = field(default_factory=lambda: list(TASKS), metadata={"help": "latch, parity"})
    networks: list[str] = field(default_factory=lambda: list(CELLS), metadata={"help": "rnn, gru"})
    lengths: list[int] = field(default_factory=lambda: [10, 20, 40, 80], metadata={"help": "bits of a sequence"})
    max_grad_norm: float = field(default=1.0, metadata={"help": "the norm to clip at, against no clipping"})
    seeds: int = field(default=3, metadata={"help": "pairs of runs of each kind"})
    steps: int = field(default=300, metadata={"help": "updates of a run"})
    batch_size: int = field(default=64, metadata={"help": "sequences of an update, new ones each time"})
    hidden_size: int = field(default=16, metadata={"help": "units"})
    optim: str = field(default="adamw_torch", metadata={"help": "any of transformers.TrainingArguments, such as sgd"})
    learning_rate: float = field(default=0.01, metadata={"help": "constant"})
    seed: int = field(default=0, metadata={"help": "of the first pair; the others count on"})


class Batches(Dataset):
    """Whole batches as items, drawn anew for each step; the same for the same seed."""

    def __init__(self, task: str, length: int, options: StudyArguments, seed: int):
        generator = torch.Generator().manual_seed(seed)
        self.batches = [draw(task, options.batch_size, length, generator=generator) for _ in range(options.steps)]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        bits, labels = self.batches[step]
        return {"bits": bits, "labels": labels}


def main() -> None:
    with one_line_errors():
        [options] = config.parse((StudyArguments,))
        study(options)


def study(options: StudyArguments) -> dict[str, Any]:
    """Runs all pairs; returns the report."""
    check(options)
    run = Run(options.run_dir or f"runs/study_gradient_clipping-{time.strftime('%Y%m%d-%H%M%S')}").start()
    run.write_config(options)
    run.write_json("provenance.json", provenance([]))
    kinds = [(task, network, length, seed, clipped) for task in options.tasks for network in options.networks
             for length in options.lengths for seed in range(options.seed, options.seed + options.seeds)
             for clipped in (False, True)]
    start, rows = time.perf_counter(), []
    for task, network, length, seed, clipped in tqdm(kinds, unit="run"):
        rows.append({"task": task, "network": network, "length": length, "seed": seed, "clipped": clipped,
                     **train(task, network, length, seed, options, clipped=clipped, folder=run.checkpoints)})
    write_jsonl(run.folder / "curves.jsonl", rows)
    report: dict[str, Any] = {"summary": summary(rows), "one_unit": one_unit(),
              "cost": {"seconds": {"training": round(time.perf_counter() - start, 1)}}}
    run.write_json("report.json", report)
    write_study(report, rows, options, run)
    print(table_as_text(summary_table(report["summary"], options)))
    print(f"\ncurves       {run.folder / 'curves.jsonl'}\npage         {run.folder / 'report.html'}")
    return report


def check(options: StudyArguments) -> None:
    """Refuses options that no run could be made of, all of them at once."""
    faults = [f"--tasks got {task!r}; wanted {' or '.join(TASKS)}" for task in options.tasks if task not in TASKS]
    faults += [f"--networks got {name!r}; wanted {' or '.join(CELLS)}" for name in options.networks
               if name not in CELLS]
    faults += [f"--{name} got {value}; wanted at least 1" for name, value in (
        *(("lengths", length) for length in options.lengths), ("steps", options.steps), ("seeds", options.seeds),
        ("batch_size", options.batch_size), ("hidden_size", options.hidden_size)) if value < 1]
    faults += [f"--{name} got {value}; wanted a number over 0" for name, value in (
        ("max_grad_norm", options.max_grad_norm), ("learning_rate", options.learning_rate))
        if not 0 < value < math.inf]
    if faults:
        raise UserError("; ".join(faults))


def train(task: str, network: str, length: int, seed: int, options: StudyArguments, *, clipped: bool,
          folder: Any) -> dict[str, Any]:
    """One run: loss and gradient norm (before clipping) of each step, and accuracy on new sequences."""
    set_seed(seed)
    model = BitReader(BitReaderConfig(cell=network, hidden_size=options.hidden_size))
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=options.steps, per_device_train_batch_size=1, optim=options.optim,
        learning_rate=options.learning_rate, lr_scheduler_type="constant", seed=seed, logging_steps=1,
        max_grad_norm=options.max_grad_norm if clipped else NOT_CLIPPED, save_strategy="no", disable_tqdm=True,
        logging_nan_inf_filter=False, report_to="none", use_cpu=True, remove_unused_columns=False,
        train_sampling_strategy="sequential")
    trainer = Trainer(model=model, args=arguments, train_dataset=Batches(task, length, options, seed),
                      data_collator=lambda batches: batches[0])
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    trainer.train()
    log = [row for row in trainer.state.log_history if "loss" in row]
    with torch.no_grad():
        bits, labels = draw(task, 1000, length, generator=torch.Generator().manual_seed(10_000 + seed))
        right = (model.eval()(bits).logits > 0) == labels.bool()
    return {"loss": [finite(row["loss"]) for row in log], "gradient_norm": [finite(row["grad_norm"]) for row in log],
            "accuracy": right.float().mean().item(), "accuracy_at_the_end": right[:, -1].float().mean().item()}


def finite(number: float) -> float | None:
    """None for what JSON has no number for: a run that diverged."""
    return float(number) if math.isfinite(number) else None


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row a kind of run: over its seeds the median accuracy, how many were solved or diverged, and the norms."""
    kinds: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        kinds.setdefault((row["task"], row["network"], row["length"], row["clipped"]), []).append(row)
    found = []
    for (task, network, length, clipped), runs in kinds.items():
        norms = [norm for row in runs for norm in row["gradient_norm"] if norm is not None]
        found.append({
            "task": task, "network": network, "length": length, "clipped": clipped, "runs": len(runs),
            "accuracy": median(row["accuracy"] for row in runs),
            "accuracy_at_the_end": median(row["accuracy_at_the_end"] for row in runs),
            "solved": sum(row["accuracy_at_the_end"] >= 0.99 for row in runs),
            "median_norm": median(norms) if norms else None, "greatest_norm": max(norms, default=None),
            "diverged": sum(None in row["loss"] + row["gradient_norm"] for row in runs)})
    return found


def one_unit() -> dict[str, Any]:
    """What single units do, checked here on every input of length up to 12."""
    def right(task: str, unit: torch.nn.GRU) -> int:
        with torch.no_grad():
            return sum(int(((unit(bits[..., None])[0][..., 0] > 0.5).float() == answers(task, bits)).all(1).sum())
                       for bits in map(all_bits, range(1, 13)))

    functions = [{"truth": function.truth,
                  "weights": [str(weight) for weight in function.weights] if function.weights else None,
                  "certificate": function.certificate} for function in threshold_functions()]
    return {"inputs": 2 ** 13 - 2, "latch_gru_right": right("latch", latch_gru()),
            "parity_gru_right": right("parity", parity_gru()), "latch_holds_for": latch_holds_for(),
            "threshold_functions": functions}


def write_study(report: dict[str, Any], rows: Sequence[dict[str, Any]], options: StudyArguments, run: Run) -> None:
    """The page: the table, then for each task and network its curves, loss beside gradient norm, and the proof."""
    sections = [Section("summary", "What came of it", [summary_table(report["summary"], options)])]
    for task in options.tasks:
        for network in options.networks:
            parts = [picture for length in options.lengths for picture in pictures(
                [row for row in rows if (row["task"], row["network"], row["length"]) == (task, network, length)],
                name=f"{task}-{network}-{length}", title=f"{length} bits", limit=options.max_grad_norm)]
            sections.append(Section(f"{task}-{network}", f"{task.capitalize()}, {network.upper()}", parts))
    sections.append(Section("one-unit", "What one unit can do", list(one_unit_parts(report["one_unit"]))))
    facts = (f"{options.seeds} pairs of runs of each kind: {options.steps} updates of {options.batch_size} sequences, "
             f"{options.hidden_size} units, {options.optim}, learning rate {options.learning_rate:g}, clipped at norm "
             f"{options.max_grad_norm:g}; {seconds(report['cost']['seconds']['training'])}. The two runs of a pair "
             "start from the same weights and see the same sequences.")
    write_page("page.html", run.folder / "report.html", title="Gradient clipping: latch and parity", facts=facts,
               sections=sections)


def summary_table(found: Sequence[dict[str, Any]], options: StudyArguments) -> Table:
    def how(row: dict[str, Any]) -> str:
        return f"at {options.max_grad_norm:g}" if row["clipped"] else "no"

    return Table(
        ("task", "network", "bits", "clipped", "accuracy", "at the last bit", "solved", "median norm", "greatest norm",
         "diverged"),
        [(row["task"], row["network"].upper(), str(row["length"]), how(row), f"{row['accuracy']:.3f}",
          f"{row['accuracy_at_the_end']:.3f}", f"{row['solved']}/{row['runs']}", short(row["median_norm"]),
          short(row["greatest_norm"]), f"{row['diverged']}/{row['runs']}") for row in found],
        note="Accuracy on 1,000 new sequences, median over the pairs; solved: at least 0.99 at the last bit. Norms are "
             "of the gradient before it is clipped, over all steps.")


def short(number: float | None) -> str:
    return "" if number is None else f"{number:.2g}" if number < 100 else f"{number:,.0f}"


def table_as_text(table: Table) -> str:
    rows = [[str(cell) for cell in row] for row in (table.head, *table.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) if i < 2 else cell.rjust(width) for i, (cell, width) in
                               enumerate(zip(row, widths, strict=True))).rstrip() for row in rows)


def pictures(rows: Sequence[dict[str, Any]], *, name: str, title: str, limit: float) -> Iterator[Picture]:
    for quantity, what, combine in (("loss", "loss", mean), ("gradient_norm", "gradient norm", max)):
        yield Picture(plots.svg(f"{name}-{quantity.replace('_', '-')}", partial(
            draw_curves, rows=rows, quantity=quantity, what=what, combine=combine,
            limit=limit if quantity == "gradient_norm" else None)), f"{title}: {what}",
            f"Greatest of {stretch(rows)} steps, before it is clipped; the dotted line is where it is clipped."
            if quantity == "gradient_norm" else f"Mean of {stretch(rows)} steps; the strong line is the median run.")


def draw_curves(axes: Axes, *, rows: Sequence[dict[str, Any]], quantity: str, what: str, combine: Any,
                limit: float | None) -> None:
    """A faint line a seed and a strong one for their median, of the mean loss or the greatest norm of a few steps."""
    for clipped, color, dashes, label in ((False, plots.ORANGE, "--", "not clipped"),
                                          (True, plots.BLUE, "-", "clipped")):
        curves = [binned(row[quantity], combine) for row in rows if row["clipped"] == clipped]
        steps = [step for step, _ in curves[0]]
        for curve in curves if len(curves) > 1 else ():
            axes.plot(steps, [value for _, value in curve], dashes, color=color, linewidth=0.6, alpha=0.45)
        middle = [median([value for value in values if not math.isnan(value)] or [math.nan])
                  for values in zip(*([value for _, value in curve] for curve in curves), strict=True)]
        axes.plot(steps, middle, dashes, color=color, label=label)
    if limit is not None:
        axes.axhline(limit, color=plots.FAINT, linewidth=1, linestyle=":")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda norm, _: f"{norm:g}")
    else:
        axes.set_ylim(bottom=0)
    axes.set(xlabel="step", ylabel=what)
    axes.legend(frameon=False)


def binned(values: Sequence[float | None], combine: Any) -> list[tuple[float, float]]:
    """(step, value) of at most POINTS stretches; not a number where a stretch has none."""
    size = max(1, math.ceil(len(values) / POINTS))
    pieces = [(start, [value for value in values[start:start + size] if value is not None])
              for start in range(0, len(values), size)]
    return [(start + size / 2, combine(piece) if piece else math.nan) for start, piece in pieces]


def stretch(rows: Sequence[dict[str, Any]]) -> int:
    return max(1, math.ceil(len(rows[0]["loss"]) / POINTS))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def one_unit_parts(found: dict[str, Any]) -> Iterator[Table | str]:
    yield (f"Weights by hand, tried on all {found['inputs']:,} inputs of 1 to 12 bits, every position counted: one GRU "
           f"unit latches, {found['latch_gru_right']:,} right (and by its bound on up to {found['latch_holds_for']:,} "
           f"bits); one GRU unit does parity, {found['parity_gru_right']:,} right.")
    yield ("No single unit h(t) = f(w x(t) + u h(t-1) + b) with a monotone f (threshold, sigmoid, tanh, ReLU) does "
           "parity, whatever its weights, its first state and the threshold at which its answer is read. After two "
           "bits the sum inside f is w x(2) + u h(1) + b, and h(1) takes one value p for x(1) = 0 and one value q for "
           "x(1) = 1: so it is w x(2) + u (q - p) x(1) + (u p + b), a weighted sum of the two bits. Reading f of that "
           "against a threshold gives a threshold function of the two bits, or the opposite of one. Parity is x(1) XOR "
           "x(2), its opposite is XNOR, and neither is among the 14 threshold functions:")
    rows = []
    for function in found["threshold_functions"]:
        proof = (f"({', '.join(function['weights'])})" if function["weights"] else
                 "none: " + contradiction(function["truth"], function["certificate"]))
        rows.append(("".join(map(str, function["truth"])), proof))
    what = "(w, u, b) of [w x + u y + b > 0], or why there is none"
    yield Table(("at 00, 01, 10, 11", what), rows, title="The 16 functions of two bits", prose=(what,))


def contradiction(truth: Sequence[int], certificate: Sequence[int]) -> str:
    used = [(term, value) for term, value, times in
            zip(("b", "u + b", "w + b", "w + u + b"), truth, certificate, strict=True) if times]
    conditions = "; ".join(f"{term} {'>' if value else '≤'} 0" for term, value in used)
    over, under = (" + ".join(f"({term})" for term, value in used if value == wanted) for wanted in (1, 0))
    return f"{conditions}; yet {over} = {under}"


if __name__ == "__main__":
    main()
