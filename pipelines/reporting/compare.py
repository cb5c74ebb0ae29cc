"""Compares runs: quality with its interval, cost, paired tests, and the Pareto front."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from pipelines.checks.predictions import check_predictions
from pipelines.corpora.images.paths import is_there
from pipelines.corpora.predictions import read_any_predictions, read_predictions
from pipelines.errors import DataError, UserError
from pipelines.evaluation.comparison import compare_predictions, pareto_front
from pipelines.evaluation.reports import Report, gold_sha256
from pipelines.evaluation.tasks import TASKS, Task, interval_path, metric, metric_name
from pipelines.examples import Example, JsonObject, Prediction, joined_by_id
from pipelines.reporting.run_facts import machine, run_facts
from pipelines.runs.arguments import AblationArguments
from pipelines.runs.defaults import RESOLVED
from pipelines.runs.resuming import HARMLESS, HARMLESS_BEGINNINGS
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
# Options of which a difference says nothing.
IGNORED = HARMLESS | RESOLVED | {field.name for field in fields(AblationArguments)} | {"test_file"}


@dataclass(frozen=True, slots=True)
class System:
    """One of the systems compared: a run, or an outside system's answers scored here.

    Attributes:
        name: what it is called among the others.
        run: None for an outside system.
    """

    name: str
    path: Path
    report: Report
    run: Run | None = None

    @property
    def split(self) -> str:
        """The split that its report is of."""
        return str(self.report.get("split", "test"))


def compare_runs(folders: Sequence[str | Path], *, gold: str | Path | None = None) -> JsonObject:
    """Ranks runs by their task's primary metric and tests neighbours in the ranking.

    Args:
        folders: of finished runs, with `report.json` and `predictions/<split>.jsonl`; cost and
            hardware are shown where a run has them. A file is an outside system's answers, in any
            form that `evaluate` reads: it is scored here.
        gold: the examples that all were scored on; by default the file that a run names.

    Returns:
        `task`, `metric`, `greater_is_better`, `split`, `examples` and `gold_sha256`; `runs`, the
        best first: `name`, `folder`, `value`, `interval`, `hardware`, `facts` (what was run),
        `differs` (see `differing_options`), `warnings`, and the cost, None where not known, in
        bytes, seconds and milliseconds;
        `verdicts` of neighbours, as `compare_predictions` gives them, with their names in `first`
        and `second`; `pareto`: for each of `COSTS` the names on its front.

    Raises:
        UserError: when a folder holds no scored run, or runs cannot be compared: other task, other
            gold.
    """
    outside = [Path(folder) for folder in folders if _is_outside(Path(folder))]
    systems = finished_systems([folder for folder in folders if Path(folder) not in outside])
    if not systems:
        raise UserError(
            "got no run folder; `pipelines evaluate` scores outside systems' answers by themselves"
        )
    first = systems[0]
    task = TASKS[first.report["task"]]
    examples = _gold_examples(systems, task, gold)
    answers = {system.name: _answers(system, task, examples) for system in systems}
    for path in outside:
        system, predictions = _outside(path, task, examples, first)
        if system.name in answers:
            raise UserError(f"two of the systems are named {system.name}; rename one")
        systems.append(system)
        answers[system.name] = predictions
    sign = 1 if task.greater_is_better else -1
    rows = sorted((_row(system, task) for system in systems), key=lambda row: -sign * row["value"])
    differing = differing_options({system.name: system.run for system in systems})
    for row in rows:
        row["differs"] = differing[row["name"]]
    verdicts = []
    for a, b in pairwise(row["name"] for row in rows):
        tested = compare_predictions(task, examples, answers[a], answers[b])
        verdicts.append({"first": a, "second": b} | tested)
    pareto = {}
    for cost in COSTS:
        known = [row for row in rows if row[cost] is not None]
        points = [(row["name"], row[cost], sign * row["value"]) for row in known]
        pareto[cost] = pareto_front(points)
    return {
        "task": task.name,
        "metric": task.primary_metric,
        "greater_is_better": task.greater_is_better,
        "split": first.split,
        "examples": len(examples),
        "gold_sha256": first.report["gold_sha256"],
        "runs": rows,
        "verdicts": verdicts,
        "pareto": pareto,
    }


def finished_systems(folders: Sequence[str | Path]) -> list[System]:
    """Opens run folders.

    Raises:
        UserError: naming every folder without a scored report, and every run that the first cannot
            be compared with.
    """
    paths = [Path(folder) for folder in folders]
    short = [path.resolve().name for path in paths]
    names = short if len(set(short)) == len(short) else [str(path) for path in paths]
    if len(set(names)) < len(names):
        raise UserError(f"got the same run twice among {', '.join(names)}; give each once")
    systems, faults = [], []
    for name, folder in zip(names, paths, strict=True):
        try:
            run = Run.open(folder)
            report = run.report()
            if metric(report, run.task().primary_metric) is None:
                raise UserError(
                    f"{run.report_file}: holds no scores; score the run on labelled examples first"
                )
            systems.append(System(name, folder, report, run))
        except UserError as error:
            faults.append(str(error))
    if not faults:
        faults = [fault for system in systems[1:] for fault in _incomparable(systems[0], system)]
    if faults:
        raise UserError("\n".join(faults))
    return systems


def _is_outside(path: Path) -> bool:
    """Whether a path holds answers alone: a file, or a folder of brat."""
    return path.is_file() or (path.is_dir() and any(path.glob("*.ann")))


def _outside(
    path: Path, task: Task, examples: Sequence[Example], like: System
) -> tuple[System, list[Prediction]]:
    """An outside system's answers, scored on the same examples, as a run without costs."""
    predictions = read_any_predictions(path, examples)
    check_predictions(predictions, examples, path=path)
    report = {"split": like.split, **task.evaluate(examples, predictions)}
    answers = [prediction for _, prediction in joined_by_id(examples, predictions)]
    return System(path.name, path, report), answers


def _incomparable(a: System, b: System) -> list[str]:
    """Why two systems cannot be compared; empty where they can."""
    if a.report["task"] != b.report["task"]:
        tasks = f"{a.name} is {a.report['task']} and {b.name} is {b.report['task']}"
        return [f"{tasks}; compare runs of one task"]
    if a.report["gold_sha256"] == b.report["gold_sha256"]:
        return []
    descriptions = "; ".join(map(_gold_in_words, (a, b)))
    return [
        "scored on different gold, so that the numbers say nothing about each other "
        f"({descriptions}); predict and score both on the same examples"
    ]


def _gold_in_words(system: System) -> str:
    file = _gold_file(system)
    from_file = f" from {file}" if file else ""
    examples = f"{system.report.get('examples')} examples of {system.split}{from_file}"
    return f"{system.name}: {examples}, gold sha256 {system.report['gold_sha256'][:12]}…"


def _gold_file(system: System) -> Path | None:
    return system.run.split_file(system.split) if system.run else None


def _gold_examples(systems: Sequence[System], task: Task, gold: str | Path | None) -> list[Example]:
    """The examples that all systems were scored on, read as the run that names them read them."""
    named = [(file, system.run) for system in systems if (file := _gold_file(system))]
    there = [(file, run) for file, run in named if is_there(file)]
    if gold is None and not there:
        files = ", ".join(dict.fromkeys(str(file) for file, _ in named)) or "no file at all"
        raise UserError(
            f"the runs name {files} as their gold, which is not here; give it by --gold FILE"
        )
    first = systems[0]
    file, run = there[0] if gold is None else (Path(gold), first.run)
    assert run is not None
    examples = run.read_examples(file, answer=task.answer, labelled=task.answer != "value")
    if gold_sha256(examples) != first.report["gold_sha256"]:
        raise DataError(
            f"{file}: not the {first.split} examples that the runs were scored on, or changed "
            "since; give those by --gold FILE, or score the runs again"
        )
    return examples


def _answers(system: System, task: Task, examples: Sequence[Example]) -> list[Prediction]:
    """The run's predictions, with the empty answers that its report says it counted."""
    assert system.run is not None
    missing = bool(system.report["missing_counted_as_empty"])
    path = system.run.predictions(system.split)
    predictions = read_predictions(path)
    check_predictions(predictions, examples, path=path, allow_missing=missing)
    empty = (lambda id: Prediction(id, spans=(), label=())) if missing else None
    pairs = joined_by_id(examples, predictions, allow_missing=empty)
    reached = float(task.statistic(task.counts(pairs).sum(axis=0)))
    reported = metric(system.report, task.primary_metric)
    if abs(reached - reported) > 1e-6 * max(1, abs(reported)):
        raise DataError(
            f"{path}: {metric_name(task.primary_metric)} is {reached:.6g}, but report.json says "
            f"{reported:.6g}: one of them was changed since; score the run again"
        )
    return [prediction for _, prediction in pairs]


def _row(system: System, task: Task) -> JsonObject:
    """What the comparison says of one system."""
    report, cost = system.report, system.report.get("cost", {})
    config = system.run.config() if system.run else {}
    provenance = system.run.provenance() if system.run else {}
    times = cost.get("seconds", {})
    predicting = times.get(f"predict_{system.split}")
    files = [file for file in (system.path / "model").rglob("*") if file.is_file()]
    return {
        "name": system.name,
        "folder": str(system.path),
        "value": metric(report, task.primary_metric),
        "interval": metric(report, interval_path(task.primary_metric)),
        "parameters": cost.get("parameters"),
        "trained_parameters": cost.get("trained_parameters"),
        "training_seconds": times.get("training"),
        "training_tokens_per_second": cost.get("training_tokens_per_second"),
        "ms_per_example": None if predicting is None else 1000 * predicting / report["examples"],
        "peak_memory": cost.get("peak_memory"),
        "peak_gpu_memory": cost.get("peak_gpu_memory"),
        "energy": cost.get("energy_watt_hours"),
        "disk": sum(file.stat().st_size for file in files) or None,
        "hardware": machine(provenance.get("hardware", {})),
        "facts": run_facts(config, provenance),
        "warnings": list(report.get("warnings", ())),
    }


def differing_options(runs: Mapping[str, Run | None]) -> dict[str, JsonObject]:
    """Name -> the options in which its run differs from another one.

    An option that some of the runs do not have, for they are of other recipes, counts where it was
    changed from its default. Options that change nothing that is learnt are left out, but for the
    seed.

    Args:
        runs: name -> run; None, for an outside system, has no options.
    """
    configs = {name: run.config() for name, run in runs.items() if run}
    changed = {name: run.provenance().get("options", {}) for name, run in runs.items() if run}
    names = sorted({option for config in configs.values() for option in config})
    found: dict[str, JsonObject] = {name: {} for name in runs}
    for option in names:
        if option in IGNORED or option.startswith(HARMLESS_BEGINNINGS):
            continue
        own = {name: config[option] for name, config in configs.items() if option in config}
        if len(own) < len(configs):
            own = {name: value for name, value in own.items() if option in changed[name]}
        elif len({json.dumps(value, sort_keys=True) for value in own.values()}) == 1:
            continue
        for name, value in own.items():
            found[name][option] = value
    return found
