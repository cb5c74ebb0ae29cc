"""Climbs the ladder: estimates each rung, trains what fits, stops at the goal or the budget."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import median

from pipelines.evaluation.tasks import interval_path, metric, metric_name
from pipelines.families import composite
from pipelines.formatting import interval, score, seconds, size
from pipelines.runs.run import Run
from pipelines.studies.choice.estimates import Estimate, Observation, characters, estimate, observed
from pipelines.studies.choice.ladder import Rung
from pipelines.studies.choice.plan import Plan
from pipelines.studies.choice.progress import Progress
from pipelines.studies.choice.runners import Ended, Runner, stopping
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
        teachers: names of those that it learnt from.
    """

    status: str
    reason: str = ""
    members: list[str] = field(default_factory=list)
    teachers: list[str] = field(default_factory=list)


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

    def is_reached(self) -> bool:
        """Whether the lower bound of a rung's score is over the goal."""
        if self.plan.goal is None:
            return False
        runs = [self.plan.run_of(rung) for rung in self.plan.rungs]
        return any(self._interval(run)[0] >= self.plan.goal for run in runs if run.is_finished())

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
        if rung.teachers and not self.plan.teachers(rung):
            reason = "no model before it is finished that could teach"
            self._say(rung, f"skipped: {reason}")
            return Outcome("skipped", reason)
        ended = Ended() if self.observations(rung) else self.try_part(rung, "probe")
        if ended.reason:
            return self._not_finished(rung, ended)
        expected = self.expected(rung)
        reason = self.reason_not_to_run(expected)
        if reason:
            self._say(rung, f"skipped: {reason}", logging.WARNING)
            return Outcome("skipped", reason)
        self.progress.expect(rung.name, expected)
        self._say(rung, described(expected))
        return self._train(rung)

    def expected(self, rung: Rung, part: str = "") -> Estimate:
        """What a rung will cost on train, or on a part of it, by what it cost before."""
        seen = self.observations(rung)
        if self.plan.run_of(rung).is_finished():
            seen.append(self.observed(rung))
        train, dev = self._sizes(part)
        return estimate(
            seen,
            train=train,
            dev=dev,
            fixed_steps=rung.has_fixed_steps(),
            reading=self.reading(),
        )

    def reading(self) -> float:
        """Seconds by which a finished run took longer than its probe to start and read its data."""
        longer = [
            self.observed(rung).fixed - probe.fixed
            for rung in self.plan.rungs
            for probe in self.progress.observations.get(rung.name, [])[:1]
            if probe.source == "probe" and self.plan.run_of(rung).is_finished()
        ]
        return max(0.0, median(longer)) if longer else 0.0

    def observations(self, rung: Rung) -> list[Observation]:
        """What a rung cost on parts of the data, here or in earlier choices."""
        own = self.progress.observations.get(rung.name, [])
        return [*own, *self.known.get(rung.name, [])]

    def try_part(self, rung: Rung, part: str) -> Ended:
        """Trains a rung on a part of train, and notes what that cost."""
        ended = self._run_all(self.plan.steps(rung, part))
        if not ended.reason:
            source = "probe" if part == "probe" else "part"
            seen = self._observation(rung, part, source)
            known = [own.train for own in self.progress.observations.get(rung.name, [])]
            if seen.train not in known:
                self.progress.observe(rung.name, seen)
            self._tidy(rung, part)
        return ended

    def _sizes(self, part: str) -> tuple[int, int]:
        """Characters to train on and to predict, of a part."""
        splits = self.plan.splits
        if part == "probe":
            return characters(splits["probe-train"]), characters(splits["probe-dev"])
        train = self.plan.parts[float(part)] if part else splits["train"]
        return characters(train), characters(splits["dev"])

    def observed(self, rung: Rung) -> Observation:
        """What a finished rung cost."""
        return self._observation(rung, "", "finished run")

    def _observation(self, rung: Rung, part: str, source: str) -> Observation:
        """What the runs of a rung cost together."""
        runs = self.runs_of(rung, part)
        train, dev = self._sizes(part)
        parts = [
            observed(
                run.report().get("cost", {}),
                run.training_log(),
                seconds=self.progress.seconds_of(self.plan.name_of(run)),
                train=train,
                dev=dev,
                disk=folder_size(run.folder),
                source=source,
            )
            for run in runs
        ]
        return Observation(
            train,
            dev,
            sum(part.seconds for part in parts),
            sum(part.training for part in parts),
            sum(part.prediction for part in parts),
            max(part.memory for part in parts),
            sum(part.disk for part in parts),
            source,
            sum(part.evaluation for part in parts),
        )

    def runs_of(self, rung: Rung, part: str = "") -> list[Run]:
        """The runs that a rung consists of, of a part."""
        if rung.recipe:
            return [run for run, _ in self.plan.steps(rung, part)]
        return [self.plan.run_of(rung)]

    def reason_not_to_run(self, expected: Estimate) -> str:
        """Why a run does not fit what is left; empty where it does."""
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
        ended = self._run_all(self.plan.steps(rung))
        if ended.reason:
            return self._not_finished(rung, ended)
        self._tidy(rung)
        return self._finished(rung)

    def _vote(self, rung: Rung) -> Outcome:
        members = self.plan.members(rung)
        if len(members) < 2:
            reason = "fewer than two models are finished that could vote"
            self._say(rung, f"skipped: {reason}")
            return Outcome("skipped", reason)
        ended = self._run_all([self.plan.vote_step(rung, members)])
        return self._not_finished(rung, ended) if ended.reason else self._finished(rung)

    def _run_all(self, steps: Sequence[tuple[Run, Command]]) -> Ended:
        """Makes runs, one after the other; those that are finished stay as they are."""
        for run, command in steps:
            if run.is_finished():
                continue
            if self.overtime() <= 0:
                return Ended("the budget is used up", out_of_time=True)
            if not any(run.checkpoints.glob("checkpoint-*")):
                self.progress.begin_again(command.name)
            beat = partial(self.progress.add_seconds, command.name)
            ended = self.runner.run(command, limit=self.overtime, beat=beat)
            self.progress.write()
            see = f"(see {command.log.relative_to(self.plan.folder)})"
            if ended.reason:
                return replace(ended, reason=f"{ended.reason} {see}")
            if not run.is_finished():
                return Ended(f"it ended without a report {see}")
        return Ended()

    def _not_finished(self, rung: Rung, ended: Ended) -> Outcome:
        word = "stopped" if ended.out_of_time else "failed"
        more = "; a larger --budget goes on with it" if ended.out_of_time else ""
        self._say(rung, f"{word}: {ended.reason}{more}", logging.WARNING)
        return Outcome("skipped" if ended.out_of_time else "failed", ended.reason)

    def _finished(self, rung: Rung, note: str = "") -> Outcome:
        run, task = self.plan.run_of(rung), self.plan.task_record
        found = f"{metric_name(task.primary_metric)} {score(self.plan.score_of(run))}"
        taken = self.observed(rung).seconds
        expected = self.progress.estimates.get(rung.name)
        estimated = f" (estimated {seconds(expected.seconds)})" if expected else ""
        ends = interval(self._interval(run))
        self._say(rung, f"{found} {ends}, {seconds(taken)}{estimated}{note}")
        members = composite.load(run.model).members if rung.votes else ()
        teachers = self.plan.teachers(rung) if rung.teachers else ()
        names = [[own.name for own in group] for group in (members, teachers)]
        return Outcome("finished", "", *names)

    def _tidy(self, rung: Rung, part: str = "") -> None:
        """Removes checkpoints, which are as large as models and which nothing goes on from."""
        for run, _ in self.plan.steps(rung, part):
            shutil.rmtree(run.checkpoints, ignore_errors=True)

    def _say(self, rung: Rung, words: str, level: int = logging.INFO) -> None:
        total = len(self.plan.rungs)
        number = self.plan.rungs.index(rung) + 1
        spent = seconds(self.progress.spent())
        beginning = f"[{number:{len(str(total))}}/{total}, {spent} spent]"
        logger.log(level, "%s %s: %s", beginning, rung.name, words)


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
