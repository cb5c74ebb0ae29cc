"""Climbs the ladder: estimates each rung, trains what fits, stops where it is told to."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from pipelines.evaluation.tasks import interval_path, metric, metric_name
from pipelines.families import composite
from pipelines.formatting import interval, score, seconds, size
from pipelines.runs.run import Run
from pipelines.studies.choice.estimates import Estimate, Observation, characters, estimate, observed
from pipelines.studies.choice.ladder import Rung
from pipelines.studies.choice.plan import Plan
from pipelines.studies.choice.progress import Progress
from pipelines.studies.choice.runners import Runner, stopping
from pipelines.studies.workers import Command, free_memory

logger = logging.getLogger(__name__)

OVERTIME = 1.1  # of the budget, after which a rung that runs is stopped
SPARE_DISK = 2**28  # bytes that are left free


@dataclass
class Outcome:
    """How it went with a rung.

    Attributes:
        status: `finished`, `skipped`, `failed` or `not reached`.
        reason: why it was not finished.
        members: names of those that vote.
    """

    status: str
    reason: str = ""
    members: list[str] = field(default_factory=list)


class Climb:
    """The rungs of a plan, from the first one to the last."""

    def __init__(
        self,
        plan: Plan,
        runner: Runner,
        progress: Progress,
        known: Mapping[str, list[Observation]],
    ):
        """Prepares the climb.

        Args:
            known: rung -> observations of the same rung in earlier choices on this machine.
        """
        self.plan = plan
        self.runner = runner
        self.progress = progress
        self.known = known
        self.outcomes: dict[str, Outcome] = {}
        self._lock = threading.Lock()

    def run(self) -> None:
        """Climbs; cheap rungs that follow each other run side by side."""
        for is_cheap, group in groupby(self.plan.rungs, key=lambda rung: rung.cheap):
            rungs = list(group)
            workers = self.runner.jobs if is_cheap else 1
            with ThreadPoolExecutor(workers) as pool, stopping(self.runner):
                # The iteration hands on what a rung raised.
                for rung, outcome in zip(rungs, pool.map(self._climb, rungs), strict=True):
                    self.outcomes[rung.name] = outcome

    def remaining(self) -> float:
        """Seconds of the budget that are left."""
        budget = self.plan.budget
        return float("inf") if budget is None else budget - self.progress.spent()

    def overtime(self) -> float:
        """Seconds until a rung that runs is stopped."""
        budget = self.plan.budget
        return float("inf") if budget is None else OVERTIME * budget - self.progress.spent()

    def scores(self) -> dict[str, float]:
        """Rung -> its score on dev, of those that are finished."""
        runs = {rung.name: self.plan.run_of(rung) for rung in self.plan.rungs}
        return {name: self._score(run) for name, run in runs.items() if run.is_finished()}

    def is_reached(self) -> bool:
        """Whether the lower bound of a rung's score is over the goal."""
        if self.plan.goal is None:
            return False
        runs = [self.plan.run_of(rung) for rung in self.plan.rungs]
        return any(self._interval(run)[0] >= self.plan.goal for run in runs if run.is_finished())

    def _score(self, run: Run) -> float:
        return float(metric(run.report(), self.plan.task_record.primary_metric) or 0.0)

    def _interval(self, run: Run) -> Sequence[float]:
        path = interval_path(self.plan.task_record.primary_metric)
        found: Sequence[float] = metric(run.report(), path) or (0.0, 1.0)
        return found

    def _climb(self, rung: Rung) -> Outcome:
        if self.plan.run_of(rung).is_finished():
            return self._finished(rung, " (finished before)")
        if self.plan.until == "goal" and self.is_reached():
            return Outcome("not reached", "the goal was reached before")
        if rung.votes:
            return self._vote(rung)
        expected, fault = self._estimate(rung)
        reason = fault or self.reason_not_to_run(expected)
        if reason:
            self._say(f"{rung.name}: skipped: {reason}", logging.WARNING)
            return Outcome("failed" if fault else "skipped", reason)
        if expected:
            self.progress.expect(rung.name, expected)
            self._say(f"{rung.name}: {described(expected)}")
        return self._train(rung)

    def _estimate(self, rung: Rung) -> tuple[Estimate | None, str]:
        """What a rung will cost, and why that could not be found out."""
        if not self.observations(rung):
            fault = self.try_part(rung, "probe")
            if fault:
                return None, fault
        train, dev = (characters(self.plan.splits[split]) for split in ("train", "dev"))
        return estimate(self.observations(rung), train=train, dev=dev), ""

    def observations(self, rung: Rung) -> list[Observation]:
        """What a rung cost on parts of the data, here or in earlier choices."""
        own = self.progress.observations.get(rung.name, [])
        return [*own, *self.known.get(rung.name, [])]

    def try_part(self, rung: Rung, part: str) -> str:
        """Trains a rung on a part of train and notes what that cost; returns why it failed."""
        for run, command in self.plan.steps(rung, part):
            if run.is_finished():
                continue
            if self.overtime() <= 0:
                return "the budget is used up"
            ended = self._run(run, command)
            if ended or not run.is_finished():
                return ended or f"it has no report (see {command.log})"
        runs = [run for run, _ in self.plan.steps(rung, part)]
        source = "probe" if part == "probe" else "part"
        seen = self.observation(runs, *self._sizes(part), source)
        if rung.has_fixed_steps():
            seen = replace(seen, training=0.0)
        if seen.train not in [own.train for own in self.progress.observations.get(rung.name, [])]:
            self.progress.observe(rung.name, seen)
        self._tidy(rung, part)
        return ""

    def _sizes(self, part: str) -> tuple[int, int]:
        """Characters to train on and to predict, of a part."""
        dev = characters(self.plan.splits["dev"])
        if part == "probe":
            return characters(self.plan.splits["probe-train"]), characters(
                self.plan.splits["probe-dev"]
            )
        return characters(self.plan.parts[float(part)] if part else self.plan.splits["train"]), dev

    def observation(self, runs: Sequence[Run], train: int, dev: int, source: str) -> Observation:
        """What the runs of a rung cost together."""
        parts = []
        for run in runs:
            name = str(run.folder.relative_to(self.plan.folder))
            taken = self.progress.seconds_of(name)
            cost = run.report().get("cost", {})
            disk = folder_size(run.folder)
            parts.append(
                observed(cost, seconds=taken, train=train, dev=dev, disk=disk, source=source)
            )
        return Observation(
            train,
            dev,
            sum(part.seconds for part in parts),
            sum(part.training for part in parts),
            sum(part.prediction for part in parts),
            max(part.memory for part in parts),
            sum(part.disk for part in parts),
            source,
        )

    def observed(self, rung: Rung) -> Observation:
        """What a finished rung cost."""
        runs = (
            [run for run, _ in self.plan.steps(rung)] if rung.recipe else [self.plan.run_of(rung)]
        )
        return self.observation(runs, *self._sizes(""), "finished run")

    def reason_not_to_run(self, expected: Estimate | None) -> str:
        """Why a run does not fit what is left; empty where it does."""
        if expected is None:
            return ""
        left = self.remaining()
        if expected.seconds > left:
            there = f"{seconds(left)} of the budget are left" if left > 0 else "no budget is left"
            return f"it would take about {seconds(expected.seconds)}; {there}"
        if expected.memory > free_memory():
            return (
                f"it would take about {size(expected.memory)} of memory; {size(free_memory())} "
                "are free"
            )
        free = shutil.disk_usage(existing(self.plan.folder)).free - SPARE_DISK
        if expected.disk > free:
            return f"it would take about {size(expected.disk)} of disk; {size(free)} are free"
        return ""

    def _train(self, rung: Rung) -> Outcome:
        for run, command in self.plan.steps(rung):
            if run.is_finished():
                continue
            fault = self._run(run, command)
            if fault or not run.is_finished():
                return self._failed(rung, fault or "it has no report", command.log)
        self._tidy(rung)
        return self._finished(rung)

    def _vote(self, rung: Rung) -> Outcome:
        members = self.plan.members(rung, self.scores())
        if len(members) < 2:
            reason = "fewer than two models are finished that could vote"
            self._say(f"{rung.name}: skipped: {reason}")
            return Outcome("skipped", reason)
        run, command = self.plan.vote_step(rung, members)
        fault = self._run(run, command)
        if fault or not run.is_finished():
            return self._failed(rung, fault or "it has no report", command.log)
        return self._finished(rung)

    def _run(self, run: Run, command: Command) -> str:
        """Runs the command that makes a run; returns why it failed."""
        if not any(run.checkpoints.glob("checkpoint-*")):
            self.progress.begin_again(command.name)
        ended = self.runner.run(
            command,
            limit=self.overtime,
            beat=lambda taken: self.progress.add_seconds(command.name, taken),
        )
        self.progress.write()
        if ended.out_of_time:
            return f"{ended.reason}; a larger --budget goes on with it"
        return ended.reason

    def _failed(self, rung: Rung, reason: str, log: Path) -> Outcome:
        out_of_time = reason.startswith("the budget")
        self._say(
            f"{rung.name}: {'stopped' if out_of_time else 'failed'}: {reason} (see {log})",
            logging.WARNING,
        )
        return Outcome("skipped" if out_of_time else "failed", reason)

    def _finished(self, rung: Rung, note: str = "") -> Outcome:
        run, task = self.plan.run_of(rung), self.plan.task_record
        found = f"{metric_name(task.primary_metric)} {score(self._score(run))}"
        taken = self.progress.seconds_of(*self.commands(rung))
        expected = self.progress.estimates.get(rung.name)
        estimated = f" (estimated {seconds(expected.seconds)})" if expected else ""
        self._say(
            f"{rung.name}: {found} {interval(self._interval(run))}, {seconds(taken)}"
            f"{estimated}{note}"
        )
        members = composite.load(run.model).members if rung.votes else ()
        return Outcome("finished", members=[member.name for member in members])

    def commands(self, rung: Rung) -> list[str]:
        """The names of a rung's commands, under which its seconds are kept."""
        if rung.recipe is None:
            return [f"rungs/{rung.name}"]
        return [command.name for _, command in self.plan.steps(rung)]

    def _tidy(self, rung: Rung, part: str = "") -> None:
        """Removes checkpoints, which are as large as models and which nothing goes on from."""
        for run, _ in self.plan.steps(rung, part):
            shutil.rmtree(run.checkpoints, ignore_errors=True)

    def _say(self, line: str, level: int = logging.INFO) -> None:
        names = [rung.name for rung in self.plan.rungs]
        name = line.partition(":")[0]
        number = names.index(name) + 1 if name in names else 0
        width = len(str(len(names)))
        spent = f"{seconds(self.progress.spent())} spent"
        with self._lock:
            logger.log(level, "[%*d/%d, %s] %s", width, number, len(names), spent, line)


def described(expected: Estimate) -> str:
    """An estimate in words."""
    return (
        f"about {seconds(expected.seconds)}, {size(expected.memory)} of memory, "
        f"{size(expected.disk)} of disk, by a {expected.source}"
    )


def folder_size(folder: Path) -> int:
    """Bytes of the files in a folder, checkpoints aside."""
    return sum(file.stat().st_size for file in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        if file.is_file() and "checkpoints" not in file.relative_to(folder).parts:
            yield file


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())
