"""What a climb found: the rungs as rows, their paired tests, and what test says."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError
from pipelines.evaluation.choice import best_of, by_cost
from pipelines.evaluation.comparison import compare_predictions
from pipelines.evaluation.tasks import interval_path, metric
from pipelines.examples import Fields, JsonObject
from pipelines.formatting import seconds
from pipelines.runs.run import Run
from pipelines.studies.choice.climb import Climb, Outcome
from pipelines.studies.choice.estimates import PREDICTION, Observation
from pipelines.studies.choice.ladder import Rung
from pipelines.studies.choice.plan import Plan
from pipelines.studies.choice.runners import stopping
from pipelines.studies.workers import Command

logger = logging.getLogger(__name__)

FILE = "choice.json"


def rows_of(climb: Climb) -> list[JsonObject]:
    """A row for each rung, in the order of the ladder; see `docs/choose.md` for `choice.json`."""
    rows = [_row(climb, rung) for rung in climb.plan.rungs]
    own = {row["name"]: row for row in rows}
    finished = by_cost(rows)
    for row, dearer in pairwise(finished):
        own[row["name"]]["next"] = _tested(climb, row, dearer)
    for row in finished:
        best = best_of(finished)
        if row is not best:
            own[row["name"]]["best"] = _tested(climb, row, best)
    return rows


def _row(climb: Climb, rung: Rung) -> JsonObject:
    plan, run = climb.plan, climb.plan.run_of(rung)
    outcome = climb.outcomes.get(rung.name, Outcome("not reached", "the climb ended before"))
    expected = climb.progress.estimates.get(rung.name)
    row: JsonObject = {
        "name": rung.name,
        "title": rung.title,
        "status": outcome.status,
        "reason": outcome.reason,
        "run": str(run.folder.relative_to(plan.folder)),
        "score": None,
        "interval": None,
        "unseen": None,
        "estimate": expected.to_json() if expected else None,
        "cost": None,
        "members": outcome.members or None,
        "teachers": outcome.teachers or None,
        "test": None,
        "next": None,
        "best": None,
    }
    if outcome.status != "finished":
        return row
    report, task = run.report(), plan.task_record
    new = report.get("slices", {}).get("seen_in_train", {}).get("new", {})
    seen = climb.observed(rung)
    return row | {
        "score": metric(report, task.primary_metric),
        "interval": metric(report, interval_path(task.primary_metric)),
        "unseen": new.get("recall"),
        "cost": _cost(climb, rung, seen, report, [*outcome.members, *outcome.teachers]),
        "digest": rung.digest(),
        "observation": seen.to_json(),
    }


def _cost(
    climb: Climb, rung: Rung, own: Observation, report: JsonObject, members: Sequence[str]
) -> JsonObject:
    """What a rung cost: votes what their members did, a model with teachers what these did too."""
    plan = climb.plan
    texts = max(1, len(plan.splits["dev"]))
    others = [climb.observed(other) for other in members_of(plan, members)]
    parts = [own, *others]
    learns = parts if rung.recipe else others
    answers = others if others and not rung.recipe else [own]
    training = sum(part.training + part.evaluation for part in learns)
    prediction = sum(part.prediction for part in answers)
    own_run = [rung] if rung.recipe else []
    is_timed = f"{PREDICTION}dev" in report.get("cost", {}).get("seconds", {})
    return {
        "seconds": sum(part.seconds for part in parts),
        "work_seconds": training + prediction,
        "training_seconds": training,
        "memory": max(part.memory for part in parts),
        "disk": sum(part.disk for part in parts),
        "seconds_per_million": prediction / texts * 1e6 if is_timed else None,
        "parameters": report.get("cost", {}).get("parameters"),
        "watt_hours": _energy(climb, [*members_of(plan, members), *own_run]),
    }


def members_of(plan: Plan, members: Sequence[str]) -> list[Rung]:
    """The rungs that vote in one, or teach it."""
    return [rung for rung in plan.rungs if rung.name in members]


def _energy(climb: Climb, rungs: Sequence[Rung]) -> float | None:
    """Estimated energy of all runs of rungs; None where a report has none."""
    runs = [run for rung in rungs for run in climb.runs_of(rung)]
    known = [run.report().get("cost", {}).get("energy_watt_hours") for run in runs]
    return None if None in known else sum(known)


def _tested(climb: Climb, row: Fields, other: Fields) -> JsonObject:
    """The paired test on dev of a rung against another one; `delta` is the other's advantage."""
    plan = climb.plan
    dev = plan.splits["dev"]
    answers = [
        read_predictions(Run(plan.folder / own["run"]).predictions("dev")) for own in (row, other)
    ]
    found = compare_predictions(plan.task_record, dev, answers[1], answers[0])
    return {
        "rung": other["name"],
        "delta": found["delta"],
        "interval": found["interval"],
        "p": found["p"],
        "significant": found["better"] is not None,
    }


def known_observations(
    folder: Path, rungs: Sequence[Rung], machine: JsonObject, labels: int
) -> dict[str, list[Observation]]:
    """What the same rungs cost in other choices beside this one, on the same machine.

    Args:
        folder: of this choice; the folders beside it are looked at.
        machine: as `runs.provenance.hardware` gives it.
        labels: how many types or classes there are: with another number, costs are others.
    """
    # What is read beside train and dev is another text in another choice.
    digests = {rung.digest(): rung.name for rung in rungs if not rung.reads_unlabelled()}
    found: dict[str, list[Observation]] = {}
    for file in sorted(folder.resolve().parent.glob(f"*/{FILE}")):
        if file.parent == folder.resolve():
            continue
        try:
            choice = json.loads(file.read_text(encoding="utf-8"))
            is_alike = choice["machine"] == machine and choice["labels"] == labels
            rows = choice["rungs"] if is_alike else []
        except (ValueError, KeyError, TypeError, OSError):
            logger.warning("%s: damaged; its times are not used", file)
            continue
        for row in rows:
            if row.get("digest") in digests:
                name = digests[row["digest"]]
                values = {**row["observation"], "source": "finished run"}
                found.setdefault(name, []).append(Observation(**values))
    return found


def test_scores(climb: Climb, names: Sequence[str]) -> dict[str, JsonObject]:
    """Rung -> its `score` on test with the `interval`; predictions go to `test/NAME.jsonl`.

    What was scored before stays scored: the names are those of before and these.

    Raises:
        UserError: when a prediction fails.
    """
    plan, task = climb.plan, climb.plan.task_record
    earlier = [file.stem for file in sorted((plan.folder / "test").glob("*.jsonl"))]
    if set(earlier) - set(names):
        logger.warning("test was scored before, on %s: its scores are seen more than once", earlier)
    gold = plan.splits["test"]
    found = {}
    for name in dict.fromkeys([*names, *earlier]):
        report = task.evaluate(gold, read_predictions(predict(climb, name, "test")))
        found[name] = {
            "score": metric(report, task.primary_metric),
            "interval": metric(report, interval_path(task.primary_metric)),
        }
    return found


def predict(climb: Climb, name: str, split: str) -> Path:
    """The file with a rung's answers to a split, made where it is not there.

    Raises:
        UserError: when the prediction fails.
    """
    plan = climb.plan
    file = plan.folder / split / f"{name}.jsonl"
    if file.is_file():
        return file
    file.parent.mkdir(exist_ok=True)
    run = plan.folder / "rungs" / name
    words = [sys.executable, "-m", "pipelines.cli", "predict", "--run", str(run), "--resume"]
    words += ["--input", str(plan.split_file(split)), "--output", str(file)]
    command = Command(f"{split}/{name}", words, file.with_suffix(".log"))
    with stopping(climb.runner):
        ended = climb.runner.run(
            command,
            limit=lambda: float("inf"),
            beat=lambda taken: climb.progress.add_seconds(command.name, taken),
        )
    if ended.reason:
        raise UserError(f"{name}: {split} was not predicted: {ended.reason} (see {command.log})")
    taken = seconds(climb.progress.seconds_of(command.name))
    logger.info("%s: %s predicted, %s", name, split, taken)
    return file
