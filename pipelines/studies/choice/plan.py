"""What a choice is to find out, and where its files lie."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.evaluation.tasks import TASKS, Task
from pipelines.examples import Example
from pipelines.runs.run import Run
from pipelines.studies.choice.ladder import BEFORE, Recipe, Rung
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
        splits: `train`, `dev` and perhaps `test`, all written to `folder/splits`.
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
        """`train`, `dev`, `test`, `probe-train`, `probe-dev`, or `train-0.5` of a part."""
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

    def members(self, rung: Rung, scores: Mapping[str, float]) -> list[Rung]:
        """The rungs that vote: the best so far on dev, the baseline not among them."""
        able = [own for own in self.rungs if own.recipe and own.name in scores]
        able = [own for own in able if own is not self.baseline]
        return sorted(able, key=lambda own: -scores[own.name])[: rung.votes]

    def steps(self, rung: Rung, part: str = "") -> list[tuple[Run, Command]]:
        """The runs of a rung, one after the other, with the command of each."""
        assert rung.recipe is not None
        run = self.run_of(rung, part)
        if rung.before is None:
            return [(run, self._command(rung.recipe, run, part))]
        before = Run(run.folder.with_name(f"{rung.name}-before"))
        options = {
            name: value.replace(BEFORE, str(before.model)) if isinstance(value, str) else value
            for name, value in rung.recipe.options.items()
        }
        recipe = Recipe(rung.recipe.script, rung.recipe.config, options)
        return [
            (before, self._command(rung.before, before, part)),
            (run, self._command(recipe, run, part)),
        ]

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
