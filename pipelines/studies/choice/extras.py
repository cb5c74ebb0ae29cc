"""What is asked of the rungs that are left: learning curves, and a cascade of two."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError
from pipelines.evaluation.cascade import cascade_curve
from pipelines.evaluation.learning_curve import Point, curve_json, point_of
from pipelines.examples import Example, JsonObject
from pipelines.formatting import interval, score, seconds
from pipelines.runs.run import Run
from pipelines.studies.choice.climb import Climb
from pipelines.studies.choice.ladder import Rung
from pipelines.studies.choice.plan import WHOLE
from pipelines.studies.workers import Command

logger = logging.getLogger(__name__)


def curves_of(climb: Climb, names: Sequence[str], notes: list[str]) -> JsonObject:
    """Rung -> its learning curve, as far as the budget goes; see `evaluation.learning_curve`.

    Args:
        names: of finished rungs, the most important first.
        notes: gets what was left out.
    """
    plan = climb.plan
    if not plan.fractions:
        return {}
    rungs = {rung.name: rung for rung in plan.rungs if rung.recipe}
    for name in names:
        if name in rungs and rungs[name] is not plan.baseline:
            _train_parts(climb, rungs[name], notes)
    curves = {}
    for name in names:
        points = _points(climb, rungs[name]) if name in rungs else []
        if len(points) > 1:
            curves[name] = curve_json(
                points, plan.goal, title=name, statistic=plan.task_record.statistic
            )
    return curves


def _train_parts(climb: Climb, rung: Rung, notes: list[str]) -> None:
    """Trains a rung on each fraction of train, the smallest first."""
    plan = climb.plan
    for fraction in plan.fractions:
        part = f"{fraction:g}"
        if plan.run_of(rung, part).is_finished():
            continue
        reason = climb.reason_not_to_run(climb.expected(rung, part))
        reason = reason or climb.try_part(rung, part).reason
        if reason:
            notes.append(f"{rung.name} on {100 * fraction:g} % of train: left out: {reason}")
            logger.warning("%s", notes[-1])
            return
        point = _point(climb, rung, fraction, plan.parts[fraction])
        taken = seconds(climb.progress.seconds_of(f"parts/{part}/{rung.name}"))
        logger.info(
            "%s on %g %% of train: %s %s, %s",
            rung.name,
            100 * fraction,
            score(point.score),
            interval(point.interval),
            taken,
        )


def _points(climb: Climb, rung: Rung) -> list[Point]:
    """The finished runs of a rung, from few examples to all."""
    plan = climb.plan
    points = [
        _point(climb, rung, fraction, plan.parts[fraction])
        for fraction in plan.fractions
        if plan.run_of(rung, f"{fraction:g}").is_finished()
    ]
    return [*points, _point(climb, rung, WHOLE, plan.splits["train"])]


def _point(climb: Climb, rung: Rung, fraction: float, train: Sequence[Example]) -> Point:
    plan = climb.plan
    run = plan.run_of(rung, "" if fraction == WHOLE else f"{fraction:g}")
    predictions = read_predictions(run.predictions("dev"))
    return point_of(
        plan.task_record,
        plan.splits["dev"],
        predictions,
        training=train,
        fraction=fraction,
        run=str(run.folder.relative_to(plan.folder)),
    )


def cascade_of(climb: Climb, rows: Sequence[JsonObject], notes: list[str]) -> JsonObject | None:
    """A cascade of the best rung and the best of those that predict much faster; None without two.

    Where one is worth it, it becomes a run below `cascades/`, which `run` names.
    """
    pair = pair_for_cascade(rows)
    if pair is None:
        return None
    plan = climb.plan
    runs = [Run(plan.folder / row["run"]) for row in pair]
    cheap, expensive = (read_predictions(run.predictions("dev")) for run in runs)
    rungs = {rung.name: rung for rung in plan.rungs}
    taken = [climb.observed(rungs[row["name"]]).prediction for row in pair]
    names = pair[0]["name"], pair[1]["name"]
    dev = plan.splits["dev"]
    try:
        curve = cascade_curve(plan.task_record, dev, cheap, expensive, *taken, names=names)
    except UserError as error:
        notes.append(f"no cascade of {names[0]} and {names[1]}: {error}")
        return None
    run = Run(plan.folder / "cascades" / "-".join(names))
    made = curve["chosen"] is not None and _make_cascade(climb, run, runs, notes)
    return curve | {"run": plan.name_of(run) if made else None}


def _make_cascade(climb: Climb, run: Run, runs: Sequence[Run], notes: list[str]) -> bool:
    if run.is_finished():
        return True
    words = [sys.executable, "-m", "pipelines.cli", "cascade", "--run_dir", str(run.folder)]
    words += ["--cheap", str(runs[0].folder), "--expensive", str(runs[1].folder)]
    log = run.folder.with_name(f"{run.folder.name}.log")
    command = Command(climb.plan.name_of(run), words, log)
    ended = climb.runner.run(
        command,
        limit=lambda: float("inf"),
        beat=lambda taken: climb.progress.add_seconds(command.name, taken),
    )
    if ended.reason:
        notes.append(f"the cascade could not be saved: {ended.reason}")
    return not ended.reason


FASTER = 3  # times, for which it is worth to ask a second model


def pair_for_cascade(rows: Sequence[JsonObject]) -> tuple[JsonObject, JsonObject] | None:
    """The best rung, and the best of those that predict at least `FASTER` times as fast."""
    able = [row for row in rows[1:] if row["status"] == "finished" and not row["members"]]
    able = [row for row in able if row["cost"]["seconds_per_million"] is not None]
    if not able:
        return None
    dear = max(able, key=lambda row: float(row["score"]))
    limit = dear["cost"]["seconds_per_million"] / FASTER
    cheap = [row for row in able if row["cost"]["seconds_per_million"] <= limit]
    return (max(cheap, key=lambda row: float(row["score"])), dear) if cheap else None
