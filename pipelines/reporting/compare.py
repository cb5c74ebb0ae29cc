"""Several runs side by side: quality with its interval, cost, whether neighbours differ, and the Pareto front."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pipelines.checks.predictions import check_predictions
from pipelines.corpora.predictions import read_any_predictions, read_predictions
from pipelines.errors import DataError, UserError
from pipelines.evaluation.comparison import compare_predictions
from pipelines.evaluation.reports import gold_sha256
from pipelines.evaluation.tasks import TASKS, Task, interval_path, metric, metric_name
from pipelines.examples import Example, Prediction, joined_by_id
from pipelines.formatting import interval, score, seconds, short_count, size
from pipelines.reporting import plots
from pipelines.reporting.page import Cell, Picture, Section, Table, write_page
from pipelines.reporting.text import sections_as_text
from pipelines.runs.run import Run


class Cost(NamedTuple):
    """What quality is drawn against, and in which unit."""

    name: str
    unit: int = 1


COSTS = {
    "ms_per_example": Cost("ms per example at prediction"),
    "training_seconds": Cost("seconds of training"),
    "parameters": Cost("parameters"),
    "peak_memory": Cost("GiB of peak memory", 2**30),
}


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What is read of a run folder, and its name among the others."""

    name: str
    folder: Path
    report: dict[str, Any]
    config: dict[str, Any]
    provenance: dict[str, Any]

    @property
    def split(self) -> str:
        return str(self.report.get("split", "test"))

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions" / f"{self.split}.jsonl"


def compare_runs(folders: Sequence[str | Path], *, gold: str | Path | None = None) -> dict[str, Any]:
    """Ranks runs by their task's primary metric and tests neighbours in the ranking against each other.

    Args:
        folders: of finished runs, with ``report.json`` and ``predictions/<split>.jsonl``; cost and hardware are shown
            where a run has them. A file is an outside system's answers, in any form that ``evaluate`` reads: it is
            scored here.
        gold: the examples that all were scored on; by default the file that a run names.

    Returns:
        ``task``, ``metric``, ``greater_is_better``, ``split``, ``examples`` and ``gold_sha256``; ``runs``, the best
        first: ``name``, ``folder``, ``value``, ``interval``, ``hardware``, and the cost, None where not known, in
        bytes, seconds and milliseconds; ``verdicts`` of neighbours, as ``compare_predictions`` gives them, with their
        names in ``first`` and ``second``; ``pareto``: for each of ``COSTS`` the names on its front.

    Raises:
        UserError: when a folder holds no scored run, or runs cannot be compared: other task, other gold.
    """
    outside = [Path(folder) for folder in folders if _is_outside(Path(folder))]
    runs = read_runs([folder for folder in folders if Path(folder) not in outside])
    if not runs:
        raise UserError("got no run folder; `pipelines evaluate` scores outside systems' answers by themselves")
    task = TASKS[runs[0].report["task"]]
    examples = _gold_examples(runs, task, gold)
    answers = {run.name: _answers(run, task, examples) for run in runs}
    for path in outside:
        run, predictions = _outside(path, task, examples, runs[0])
        if run.name in answers:
            raise UserError(f"two of the systems are named {run.name}; rename one")
        runs.append(run)
        answers[run.name] = predictions
    sign = 1 if task.greater_is_better else -1
    rows = sorted((_row(run, task) for run in runs), key=lambda row: -sign * row["value"])
    names = [row["name"] for row in rows]
    return {
        "task": task.name, "metric": task.primary_metric, "greater_is_better": task.greater_is_better,
        "split": runs[0].split, "examples": len(examples), "gold_sha256": runs[0].report["gold_sha256"],
        "runs": rows,
        "verdicts": [{"first": a, "second": b} | compare_predictions(task, examples, answers[a], answers[b])
                     for a, b in pairwise(names)],
        "pareto": {cost: pareto_front([(row["name"], row[cost], sign * row["value"]) for row in rows
                                       if row[cost] is not None]) for cost in COSTS},
    }


def read_runs(folders: Sequence[str | Path]) -> list[FinishedRun]:
    """Reads run folders.

    Raises:
        UserError: naming every folder without a scored report, and every run that the first cannot be compared with.
    """
    paths = [Path(folder) for folder in folders]
    short = [path.resolve().name for path in paths]
    names = short if len(set(short)) == len(short) else [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise UserError(f"got the same run twice among {', '.join(names)}; give each once")
    runs, faults = [], []
    for name, folder in zip(names, paths, strict=True):
        try:
            run = FinishedRun(name, folder, _read(folder / "report.json"), _read(folder / "config.yaml", optional=True),
                              _read(folder / "provenance.json", optional=True))
            task = TASKS.get(run.report.get("task", ""))
            if task is None or "gold_sha256" not in run.report or metric(run.report, task.primary_metric) is None:
                raise UserError(f"{folder / 'report.json'}: holds no scores; score the run on labelled examples first")
            runs.append(run)
        except UserError as error:
            faults.append(str(error))
    if not faults:
        faults = [reason for run in runs[1:] for reason in _incomparable(runs[0], run)]
    if faults:
        raise UserError("\n".join(faults))
    return runs


def _is_outside(path: Path) -> bool:
    """Whether a path holds answers alone: a file, or a folder of brat."""
    return path.is_file() or (path.is_dir() and any(path.glob("*.ann")))


def _outside(path: Path, task: Task, examples: Sequence[Example],
             like: FinishedRun) -> tuple[FinishedRun, list[Prediction]]:
    """An outside system's answers, scored on the same examples, as a run without costs."""
    predictions = read_any_predictions(path, examples)
    check_predictions(predictions, examples, path=path)
    report = {"split": like.split, **task.evaluate(examples, predictions)}
    answers = [prediction for _, prediction in joined_by_id(examples, predictions)]
    return FinishedRun(path.name, path, report, {}, {}), answers


def _read(file: Path, *, optional: bool = False) -> dict[str, Any]:
    if optional and not file.is_file():
        return {}
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.safe_load(text) if file.suffix == ".yaml" else json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{file}: no such file; wanted the folder of a finished run") from None
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file}: damaged or cut off ({error}); run it again") from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: holds no object; wanted the folder of a finished run")
    return content


def _incomparable(a: FinishedRun, b: FinishedRun) -> list[str]:
    if a.report["task"] != b.report["task"]:
        return [f"{a.name} is {a.report['task']} and {b.name} is {b.report['task']}; compare runs of one task"]
    if a.report["gold_sha256"] == b.report["gold_sha256"]:
        return []
    what = [f"{run.name}: {run.report.get('examples')} examples of {run.split}"
            + (f" from {file}" if (file := _gold_file(run)) else "")
            + f", gold sha256 {run.report['gold_sha256'][:12]}…" for run in (a, b)]
    return [f"scored on different gold, so that the numbers say nothing about each other ({'; '.join(what)}); predict "
            "and score both on the same examples"]


def _gold_file(run: FinishedRun) -> Path | None:
    """The file of the split that was scored: as configured, or, for the sample corpus, as recorded."""
    configured = run.config.get(f"{run.split}_file")
    recorded = [file for file in run.provenance.get("data", {}) if Path(file).name.startswith(f"{run.split}.")]
    return Path(configured or recorded[0]) if configured or recorded else None


def _gold_examples(runs: Sequence[FinishedRun], task: Task, gold: str | Path | None) -> list[Example]:
    named = [(file, run) for run in runs if (file := _gold_file(run))]
    there = [(file, run) for file, run in named if file.exists()]
    if gold is None and not there:
        files = ", ".join(dict.fromkeys(str(file) for file, _ in named)) or "no file at all"
        raise UserError(f"the runs name {files} as their gold, which is not here; give it by --gold FILE")
    labelled = task.answer != "value"
    if gold is not None:
        file = Path(gold)
        examples = Run(runs[0].folder).read_examples(file, answer=task.answer, labelled=labelled)
    else:
        file, run = there[0]
        examples = Run(run.folder).read_examples(file, answer=task.answer, labelled=labelled)
    if gold_sha256(examples) != runs[0].report["gold_sha256"]:
        raise DataError(f"{file}: not the {runs[0].split} examples that the runs were scored on, or changed since; "
                        "give those by --gold FILE, or score the runs again")
    return examples


def _answers(run: FinishedRun, task: Task, examples: Sequence[Example]) -> list[Prediction]:
    """The run's predictions, with the empty answers that its report says it counted."""
    missing = bool(run.report["missing_counted_as_empty"])
    predictions = read_predictions(run.predictions)
    check_predictions(predictions, examples, path=run.predictions, allow_missing=missing)
    empty = (lambda id: Prediction(id, spans=(), label=())) if missing else None
    pairs = joined_by_id(examples, predictions, allow_missing=empty)
    score, reported = float(task.statistic(task.counts(pairs).sum(axis=0))), metric(run.report, task.primary_metric)
    if abs(score - reported) > 1e-6 * max(1, abs(reported)):
        raise DataError(f"{run.predictions}: {metric_name(task.primary_metric)} is {score:.6g}, but report.json "
                        f"says {reported:.6g}: one of them was changed since; score the run again")
    return [prediction for _, prediction in pairs]


def _row(run: FinishedRun, task: Task) -> dict[str, Any]:
    cost, hardware = run.report.get("cost", {}), run.provenance.get("hardware", {})
    times = cost.get("seconds", {})
    predicting = times.get(f"predict_{run.split}")
    model = [file.stat().st_size for file in (run.folder / "model").rglob("*") if file.is_file()]
    return {
        "name": run.name, "folder": str(run.folder),
        "value": metric(run.report, task.primary_metric),
        "interval": metric(run.report, interval_path(task.primary_metric)),
        "parameters": cost.get("parameters"), "trained_parameters": cost.get("trained_parameters"),
        "training_seconds": times.get("training"),
        "training_tokens_per_second": cost.get("training_tokens_per_second"),
        "ms_per_example": None if predicting is None else 1000 * predicting / run.report["examples"],
        "peak_memory": cost.get("peak_memory"), "peak_gpu_memory": cost.get("peak_gpu_memory"),
        "disk": sum(model) if model else None,
        "hardware": _hardware(hardware),
    }


def _hardware(hardware: Mapping[str, Any]) -> str:
    if hardware.get("gpus"):
        gpus = hardware["gpus"]
        return gpus[0] if len(gpus) == 1 else f"{len(gpus)} × {gpus[0]}"
    cpu = re.sub(r"\((R|TM)\)| Processor| CPU", "", hardware.get("cpu") or "")
    return f"{cpu}, {hardware.get('threads')} threads" if cpu else ""


def pareto_front(points: Sequence[tuple[str, float, float]]) -> list[str]:
    """Names of the points that no other beats: at least as good and as cheap, and better in one of the two.

    Args:
        points: name, cost (less is better) and quality (more is better).
    """
    return [name for name, cost, quality in points if not any(
        other_cost <= cost and other_quality >= quality and (other_cost, other_quality) != (cost, quality)
        for _, other_cost, other_quality in points)]


def verdict(comparison: Mapping[str, Any], pair: Mapping[str, Any]) -> str:
    """A sentence such as ``A > B, Δ = 1.9 [0.4, 3.3], p = 0.01``."""
    scale = TASKS[comparison["task"]].scale
    numbers = (f"Δ = {score(pair['delta'], scale)} {interval(pair['interval'], scale)}, "
               f"p = {pair['p']:.2g}")
    if pair["better"] is None:
        return f"{pair['first']} and {pair['second']} cannot be told apart, {numbers}"
    return f"{pair['first']} {'>' if pair['delta'] > 0 else '<'} {pair['second']}, {numbers}"


def comparison_table(comparison: Mapping[str, Any]) -> Table:
    """One row a run; columns that no run knows are left out."""
    scale = TASKS[comparison["task"]].scale
    columns = [("run", [row["name"] for row in comparison["runs"]])]
    for title, show in (
        (metric_name(comparison["metric"]), lambda row: score(row["value"], scale)),
        ("95 % interval", lambda row: interval(row["interval"], scale)),
        ("parameters", lambda row: short_count(row["parameters"])),
        ("trained", lambda row: short_count(row["trained_parameters"])),
        ("training", lambda row: seconds(row["training_seconds"])),
        ("tokens/s", lambda row: short_count(row["training_tokens_per_second"])),
        ("ms/example", lambda row: "" if row["ms_per_example"] is None else f"{row['ms_per_example']:.3g}"),
        ("memory", lambda row: size(row["peak_memory"])),
        ("GPU memory", lambda row: size(row["peak_gpu_memory"])),
        ("model/", lambda row: size(row["disk"])),
        ("hardware", lambda row: row["hardware"]),
    ):
        cells = [show(row) for row in comparison["runs"]]
        if any(cells):
            columns.append((title, cells))
    titles = [title for title, _ in columns]
    notes = ["Best first; times 100." if scale == 100 else "Best first; less is better."]
    if "training" in titles:
        notes.append("Training and memory are of the whole job.")
    if "model/" in titles:
        notes.append("model/ is what the run saved, an adapter without its base.")
    return Table(titles, list(zip(*(cells for _, cells in columns), strict=True)), note=" ".join(notes),
                 prose=("hardware",))


def comparison_as_text(comparison: Mapping[str, Any]) -> str:
    """The table, the verdicts and the Pareto fronts, for a terminal."""
    table = Section("runs", "Runs", [comparison_table(comparison)])
    lines = [_facts(comparison), *sections_as_text([table]), "",
             *(verdict(comparison, pair) for pair in comparison["verdicts"])]
    fronts = [f"Pareto front, {COSTS[cost].name}: {', '.join(names)}"
              for cost, names in comparison["pareto"].items() if names]
    return "\n".join(lines + (["", *fronts] if fronts else []))


def _facts(comparison: Mapping[str, Any]) -> str:
    facts = (f"{comparison['task'].replace('_', ' ').capitalize()}: {len(comparison['runs'])} runs on the same "
             f"{comparison['examples']:,} examples of {comparison['split']}")
    if not comparison["verdicts"]:
        return facts
    pair = comparison["verdicts"][0]
    test = pair["test"].replace("_", " ").replace("mcnemar", "McNemar's test")
    return (f"{facts}; neighbours are tested by {test}, intervals of the difference Δ are from a paired bootstrap of "
            f"{pair['units']} {pair['unit']}s")


def write_comparison(comparison: Mapping[str, Any], out: str | Path) -> None:
    """Writes the comparison as one HTML file that needs nothing else."""
    task = TASKS[comparison["task"]]
    name = metric_name(comparison["metric"])
    pictures = []
    for cost, front in comparison["pareto"].items():
        points = [(row["name"], row[cost] / COSTS[cost].unit, task.scale * row["value"]) for row in comparison["runs"]
                  if row[cost] is not None]
        if len(points) > 1:
            pictures.append(Picture(partial(
                plots.quality_against_cost, cost.replace("_", "-"), points, front, cost=COSTS[cost].name,
                quality=name, greater_is_better=task.greater_is_better), f"{name} against {COSTS[cost].name}",
                f"On the Pareto front: {', '.join(front)}. A cross marks a run that another beats or equals in both."))
    verdicts = Table(("verdict", "Δ", "95 % interval", "p"), [
        (Cell(verdict(comparison, pair).split(", Δ")[0]), score(pair["delta"], task.scale),
         interval(pair["interval"], task.scale), f"{pair['p']:.2g}")
        for pair in comparison["verdicts"]])
    sections = [Section("runs", "Runs", [comparison_table(comparison)]),
                Section("verdicts", "Are neighbours different?", [verdicts] if verdicts.rows else []),
                Section("cost", "Quality against cost", pictures)]
    write_page("page.html", out, title=f"{len(comparison['runs'])} runs compared", facts=_facts(comparison) + ".",
               sections=[section for section in sections if section.parts])
