"""Trains the runs of an ablation: unfinished ones alone, the first seed before the others."""

from __future__ import annotations

import logging
import shutil
import sys
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from tqdm import tqdm

from pipelines.errors import UserError
from pipelines.evaluation.tasks import TASKS, metric, metric_name
from pipelines.examples import Fields
from pipelines.formatting import score, seconds
from pipelines.runs.run import Run
from pipelines.studies.ablation.plan import Plan, Planned
from pipelines.studies.ablation.variants import BASELINE, Candidate, Variant, types_of
from pipelines.studies.workers import Command, Worker, Workers, reason_of_failure

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Attributes:
        value: its primary metric on dev; None where it failed.
        reason: why it failed; empty where it did not.
    """

    planned: Planned
    value: float | None
    reason: str = ""


class Training:
    """The runs of a plan, from the first one to the last."""

    def __init__(self, plan: Plan, workers: Workers):
        self.plan = plan
        self.workers = workers
        self.outcomes: list[Outcome] = []
        self.waiting: deque[Planned] = deque()
        self.started: dict[str, Planned] = {}  # by the name of their command
        self.total = sum(len(variant.candidates) for variant in plan.variants)
        self.total += (len(plan.seeds) - 1) * len(plan.variants)
        self.bar: tqdm[None] | None = None

    def run(self) -> None:
        """Trains all that is not finished.

        Raises:
            UserError: when the baseline fails, with which all others are compared.
        """
        first = self.plan.seeds[0]
        planned = [p for p in self.plan.runs() if p.seed == first]
        self.waiting.extend(planned)
        is_hidden = not sys.stderr.isatty()
        with tqdm(total=self.total, unit=" runs", desc="ablation", disable=is_hidden) as self.bar:
            while self.waiting or self.workers.running:
                self._start_some()
                if self.workers.running:
                    self._record(self.workers.wait())

    def state(self) -> str:
        """What is finished, and how to go on."""
        done = sum(outcome.value is not None for outcome in self.outcomes)
        return (
            f"{done} of {self.total} runs are finished; to continue, run the same command with "
            f"--run_dir {self.plan.folder}"
        )

    def chosen(self, variant: Variant) -> Candidate | None:
        """The candidate that is best on dev with the first seed; None before that is known."""
        first = [o for o in self.outcomes if o.planned.seed == self.plan.seeds[0]]
        own = [outcome for outcome in first if outcome.planned.variant == variant]
        scored = [(o.value, o.planned.candidate) for o in own if o.value is not None]
        if len(own) < len(variant.candidates) or not scored:
            return None
        sign = self._sign(own)
        return max(scored, key=lambda pair: sign * pair[0])[1]

    def _sign(self, outcomes: Iterable[Outcome]) -> int:
        for outcome in outcomes:
            if outcome.value is not None:
                report = outcome.planned.run.report()
                return 1 if TASKS[report["task"]].greater_is_better else -1
        return 1

    def _start_some(self) -> None:
        while self.waiting and self.workers.may_start():
            planned = self.waiting.popleft()
            if planned.run.is_finished():
                self._end(planned, "", " (finished before)")
            else:
                self.started[planned.name] = planned
                self.workers.start(self._command(planned))

    def _command(self, planned: Planned) -> Command:
        words = [sys.executable, str(self.plan.recipe), "--config", str(planned.options_file)]
        goes_on = bool(planned.run.config())
        if goes_on and "resume_from_checkpoint" in types_of(self.plan.given.dataclasses):
            words += ["--resume_from_checkpoint", "true"]
        return Command(planned.name, words, planned.log)

    def _record(self, ended: Iterable[Worker]) -> None:
        for worker in ended:
            planned, code = self.started[worker.command.name], worker.process.returncode
            failed = code != 0 or not planned.run.is_finished()
            reason = reason_of_failure(code, worker.command.log) if failed else ""
            self._end(planned, reason, f", {seconds(worker.seconds)}")

    def _end(self, planned: Planned, reason: str, time: str) -> None:
        report = {} if reason else planned.run.report()
        value = _value(report)
        if not reason and value is None:
            reason = "it has no score on dev"
        self.outcomes.append(Outcome(planned, value, reason))
        if value is None:
            self._say(f"{planned.name}: failed: {reason} (see {planned.log})", logging.WARNING)
        else:
            self.workers.need = max(self.workers.need, report["cost"].get("peak_memory", 0))
            # They are as large as the models, several times over, and nothing goes on from them.
            shutil.rmtree(planned.run.checkpoints, ignore_errors=True)
            self._say(f"{planned.name}: {_scored(report, value)}{time}")
        if planned.seed == self.plan.seeds[0]:
            self._go_on(planned.variant)

    def _go_on(self, variant: Variant) -> None:
        """Plans the other seeds of a variant, once it is known which candidate stands for it."""
        candidate = self.chosen(variant)
        if candidate is not None:
            for seed in self.plan.seeds[1:]:
                self.waiting.append(self.plan.run_of(variant, candidate, seed))
            return
        own = [o for o in self.outcomes if o.planned.variant == variant]
        if len(own) < len(variant.candidates):
            return
        self.total -= len(self.plan.seeds) - 1
        if variant.name == BASELINE:
            raise UserError(
                f"the baseline failed, with which all others are compared: {own[0].reason} (see "
                f"{own[0].planned.log}); once that is fixed, run the same command with --run_dir "
                f"{self.plan.folder}"
            )

    def _say(self, line: str, level: int = logging.INFO) -> None:
        if self.bar is not None:
            self.bar.clear()
        width = len(str(self.total))
        logger.log(level, "[%*d/%d] %s", width, len(self.outcomes), self.total, line)
        if self.bar is not None:
            self.bar.total = self.total
            self.bar.update()


def _value(report: Fields) -> float | None:
    task = TASKS.get(str(report.get("task")))
    value = metric(report, task.primary_metric) if task and report.get("split") == "dev" else None
    return None if value is None else float(value)


def _scored(report: Fields, value: float) -> str:
    task = TASKS[report["task"]]
    return f"{metric_name(task.primary_metric)} {score(value, task.scale)}"


def runs_of(plan: Plan, variant: Variant, candidate: Candidate) -> dict[int, Run]:
    """Seed -> run, of the finished runs of a candidate."""
    planned = [plan.run_of(variant, candidate, seed) for seed in plan.seeds]
    return {own.seed: own.run for own in planned if own.run.is_finished()}
