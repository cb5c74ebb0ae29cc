"""What a choice is to find out, and where its files lie."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipelines.evaluation.tasks import TASKS, Task, metric
from pipelines.examples import Example
from pipelines.runs.run import Run
from pipelines.studies.choice.ladder import BEFORE, TEACHERS, UNLABELLED, Recipe, Rung
from pipelines.studies.workers import Command

UNTIL = ("goal", "budget")
WHOLE = 1.0


@dataclass(frozen=True)
class Plan:
    """A choice before it begins.

    Attributes:
        task: the name of the task.
        folder: of the choice.
        rungs: the ladder, the cheapest first.
        splits: `train`, `dev` and perhaps `test` and `unlabelled`, and those of the probe, all
            written to `folder/splits`.
        goal: the score to reach, between 0 and 1; None to compare only.
        budget: seconds in all; None for no limit.
        until: `goal`: stop at the first rung that surely reaches it; `budget`: climb on.
        fractions: of train, for learning curves, ascending, without the whole.
        parts: fraction -> its examples.
        seed: of every run.
    """

    task: str
    folder: Path
    rungs: Sequence[Rung]
    splits: Mapping[str, Sequence[Example]]
    goal: float | None = None
    budget: float | None = None
    until: str = "goal"
    fractions: Sequence[float] = ()
    parts: Mapping[float, Sequence[Example]] = field(default_factory=dict)
    seed: int = 42

    @property
    def task_record(self) -> Task:
        return TASKS[self.task]

    @property
    def baseline(self) -> Rung:
        return self.rungs[0]

    def split_file(self, name: str) -> Path:
        """The file of a split; `train-0.5` is that of a part."""
        return self.folder / "splits" / f"{name}.jsonl"

    def run_of(self, rung: Rung, part: str = "") -> Run:
        """The run of a rung: on all of train, on a `part` such as `0.5`, or on the `probe`."""
        name = f"parts/{part}" if part else "rungs"
        return Run(self.folder / name / rung.name)

    def is_begun(self, rung: Rung) -> bool:
        """Whether a rung has runs, finished or not, on whatever part of train."""
        folders = [self.folder / "rungs", *(self.folder / "parts").glob("*")]
        return any((folder / rung.name).exists() for folder in folders)

    def name_of(self, run: Run) -> str:
        """A run by its place in the folder, under which its seconds are kept."""
        return str(run.folder.relative_to(self.folder))

    def score_of(self, run: Run) -> float:
        """What a finished run reached on dev."""
        return float(metric(run.report(), self.task_record.primary_metric) or 0.0)

    def scores(self) -> dict[str, float]:
        """Rung -> its score on dev, of those that are finished."""
        runs = {rung.name: self.run_of(rung) for rung in self.rungs}
        return {name: self.score_of(run) for name, run in runs.items() if run.is_finished()}

    def members(self, rung: Rung) -> list[Rung]:
        """The rungs that vote: the best so far on dev, the baseline not among them."""
        return self._best(self.rungs, rung.votes)

    def teachers(self, rung: Rung) -> list[Rung]:
        """The rungs that teach: the best on dev of those before, or those that a begun run has."""
        begun = self.run_of(rung).config().get("teachers") or ()
        names = {Path(folder).name for folder in begun}
        if names:
            return [own for own in self.rungs if own.name in names]
        return self._best(self.rungs[: self.rungs.index(rung)], rung.teachers)

    def _best(self, rungs: Sequence[Rung], number: int) -> list[Rung]:
        """The finished ones with the best scores, the baseline and votes aside."""
        scores = self.scores()
        able = [own for own in rungs if own.recipe and own.name in scores]
        able = [own for own in able if own is not self.baseline]
        return sorted(able, key=lambda own: -scores[own.name])[:number]

    def steps(self, rung: Rung, part: str = "") -> list[tuple[Run, Command]]:
        """The runs of a rung, one after the other, with the command of each."""
        assert rung.recipe is not None
        run = self.run_of(rung, part)
        before = Run(run.folder.with_name(f"{rung.name}-before"))
        texts = "probe-unlabelled" if part == "probe" else "unlabelled"
        places: dict[str, object] = {
            BEFORE: str(before.model),
            UNLABELLED: str(self.split_file(texts)),
        }
        if rung.teachers:
            places[TEACHERS] = [str(self.run_of(own).folder) for own in self.teachers(rung)]
        made = [(run, self._command(_filled(rung.recipe, places), run, part))]
        if rung.before:
            made.insert(0, (before, self._command(_filled(rung.before, places), before, part)))
        return made

    def _command(self, recipe: Recipe, run: Run, part: str) -> Command:
        is_probe = part == "probe"
        train = "probe-train" if is_probe else f"train-{part}" if part else "train"
        options = {
            "train_file": str(self.split_file(train)),
            "dev_file": str(self.split_file("probe-dev" if is_probe else "dev")),
            "run_dir": str(run.folder),
            "seed": self.seed,
        }
        words = recipe.words(**options)
        if "resume_from_checkpoint" in run.config():  # it was begun, by a recipe that goes on
            words += ["--resume_from_checkpoint", "true"]
        return Command(self.name_of(run), words, run.folder.with_name(f"{run.folder.name}.log"))

    def vote_step(self, rung: Rung, members: Sequence[Rung]) -> tuple[Run, Command]:
        """The run of votes, made of the runs of its members."""
        run = self.run_of(rung)
        words = [sys.executable, "-m", "pipelines.cli", "vote", "--run_dir", str(run.folder)]
        words += ["--runs", *(str(self.run_of(member).folder) for member in members)]
        log = run.folder.with_name(f"{rung.name}.log")
        return run, Command(self.name_of(run), words, log)


def _filled(recipe: Recipe, places: Mapping[str, object]) -> Recipe:
    """A recipe in whose options places such as `{before}` have what stands there."""
    options = {}
    for name, value in recipe.options.items():
        options[name] = places.get(value, value) if isinstance(value, str) else value
    return replace(recipe, options=options)
