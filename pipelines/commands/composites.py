"""Makes a run of other runs: checks its members, joins their answers, and reports as any run."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines import job
from pipelines.corpora.predictions import read_predictions
from pipelines.corpora.stream import batches
from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.evaluation.cascade import cascaded, goes_on
from pipelines.evaluation.tasks import LANGUAGE_MODELLING, TASK_OF_ANSWER, Task
from pipelines.evaluation.voting import vote
from pipelines.examples import Example, JsonObject, Prediction
from pipelines.families import composite
from pipelines.families.composite import Composite
from pipelines.reporting.cascade import cascade_section
from pipelines.runs.arguments import DataArguments
from pipelines.runs.cost import CostMeter
from pipelines.runs.data import Data
from pipelines.runs.run import Run, replacing_folder

logger = logging.getLogger(__name__)

SPLITS = ("train", "dev", "test")
NOT_TAKEN_OVER = {"run_dir", "ablate", "seeds", "final_k", "jobs"}


class Members:
    """The runs that a new one is made of: of one task, with the same examples.

    Args:
        folders: of finished runs.

    Raises:
        UserError: naming what does not fit together.
    """

    def __init__(self, folders: Sequence[str]):
        paths = [Path(folder).resolve() for folder in folders]
        if len(set(paths)) < len(paths):
            raise UserError(f"got {', '.join(folders)}: a run twice; name each run once")
        names = [path.name for path in paths]
        self.names = names if len(set(names)) == len(names) else [str(name) for name in folders]
        self.runs = [Run.open(folder) for folder in folders]
        self.task = _shared_task(self.names, self.runs)
        self.members = tuple(
            composite.member(name, run.model_folder()[1])
            for name, run in zip(self.names, self.runs, strict=True)
        )
        self.examples = {
            split: _examples(self.runs[0], split, required=split != "test") for split in SPLITS
        }
        self.examples = {split: read for split, read in self.examples.items() if read}
        self._check_classes()

    def _check_classes(self) -> None:
        """Refuses members that choose among other classes than the first."""
        if self.task.answer != "label":
            return
        classes = [_classes(run) for run in self.runs]
        for name, own in zip(self.names, classes, strict=True):
            if own and classes[0] and own != classes[0]:
                listed = ", ".join(sorted(own)), ", ".join(sorted(classes[0]))
                raise UserError(
                    f"{name} chooses among {listed[0]}, {self.names[0]} among {listed[1]}; wanted "
                    "runs with the same classes"
                )

    def answers(self, split: str) -> list[tuple[list[Prediction], float] | None]:
        """What each member answered to a split, and the seconds it took.

        None for one without answers to these very texts, or whose report does not say how long.
        """
        return [self._answers(run, split) for run in self.runs]

    def _answers(self, run: Run, split: str) -> tuple[list[Prediction], float] | None:
        seconds = run.report().get("cost", {}).get("seconds", {}).get(f"predict_{split}")
        file, texts = run.predictions(split), self.examples[split]
        if seconds is None or not file.is_file():
            return None
        same = run is self.runs[0] or _texts(_examples(run, split)) == _texts(texts)
        predictions = read_predictions(file) if same else []
        if [answer.id for answer in predictions] != [example.id for example in texts]:
            return None
        return predictions, float(seconds)

    def answer_now(self, index: int, split: str) -> tuple[list[Prediction], float]:
        """Predicts a split with one member; the seconds are those without loading it."""
        logger.info("%s: no answers to these %s texts; predicting", self.names[index], split)
        family, model = self.runs[index].load()
        start = time.perf_counter()
        predictions = [
            answer
            for batch in batches(self.examples[split])
            for answer in family.predict(model, batch)
        ]
        return predictions, time.perf_counter() - start

    def costs(self) -> list[JsonObject]:
        """The cost in the report of each member."""
        return [run.report().get("cost", {}) for run in self.runs]


def _shared_task(names: Sequence[str], runs: Sequence[Run]) -> Task:
    tasks = [run.task() for run in runs]
    for name, task in zip(names, tasks, strict=True):
        if task is not tasks[0]:
            raise UserError(
                f"{name} is a run of {task.name}, {names[0]} of {tasks[0].name}; wanted runs of "
                "one task"
            )
    if tasks[0] is LANGUAGE_MODELLING:
        raise UserError(
            "runs of language_modelling score texts and answer nothing; wanted runs that predict "
            "spans, classes or numbers"
        )
    return tasks[0]


def _examples(run: Run, split: str, *, required: bool = False) -> list[Example]:
    """The examples of a split; none where the run has no such split or its file is gone."""
    try:
        return run.examples(split, labelled=required)
    except UserError:
        if required:
            raise
        return []


def _texts(examples: Sequence[Example]) -> list[tuple[object, ...]]:
    return [(one.id, one.text, one.pair, one.features) for one in examples]


def _classes(run: Run) -> set[str]:
    """The classes that a run gives scores for; none where its answers have no scores."""
    file = run.predictions("dev")
    predictions = read_predictions(file) if file.is_file() else []
    return set().union(*(prediction.scores or () for prediction in predictions))


def make_run(
    members: Members,
    loaded: Composite,
    run_dir: str,
    *,
    curve: JsonObject | None = None,
    point: JsonObject | None = None,
) -> JsonObject:
    """Writes the folder of a run of runs: model, predictions, report, page and README.md.

    Dev and test are answered from what the members answered themselves where they did; else they
    are predicted.

    Args:
        members: the runs.
        loaded: how their answers become one.
        curve: of a cascade, as `cascade_curve` gives it, for report and page.
        point: of a cascade, its point on the curve.

    Returns:
        The report.
    """
    first, options = members.runs[0], _options(members.runs[0])
    for name, run in zip(members.names, members.runs, strict=True):
        if Path(run_dir).resolve() == run.folder.resolve():
            raise UserError(f"--run_dir {run_dir} is the member {name}; give another folder")
    named = f"{loaded.rule} of {', '.join(members.names)}"
    data = _data(members, options)
    with job.start(loaded.rule, data, options, model=named, folder=run_dir) as work:
        work.meter = MembersCost(members.costs())
        known = _joined(members, loaded, work)  # before the model, which makes a run a finished one
        if first.splits.is_dir():
            shutil.copytree(first.splits, work.run.splits, dirs_exist_ok=True)
        reading = {"reading": first.provenance().get("reading", {})}
        work.run.write_json("provenance.json", work.run.provenance() | reading)
        with replacing_folder(work.run.model) as folder:
            composite.save(folder, loaded)
        work.record(**work.meter.sizes())
        sections = [cascade_section(curve, point)] if curve and point else []
        report = work.finish(
            lambda batch: composite.predict(loaded, batch),
            known=known,
            facts={"members": _listed(members, work.run)} | ({"cascade": curve} if curve else {}),
            more=lambda *_: sections,
        )
        _write_card(work.run, loaded, members)
    return report


class MembersCost(CostMeter):
    """The cost of a run of runs, whose members are loaded one at a time.

    Args:
        costs: that the members report.
    """

    def __init__(self, costs: Sequence[JsonObject]):
        super().__init__()
        self.costs = costs
        trained = [cost.get("seconds", {}).get("training") for cost in costs]
        self.seconds["training"] = sum(value or 0.0 for value in trained)
        if any(value is None for value in trained):
            logger.warning("a member's report has no seconds of training; the sum lacks them")

    def sizes(self) -> JsonObject:
        """The parameters of all members that have any."""
        counts = [cost["parameters"] for cost in self.costs if cost.get("parameters")]
        return {"parameters": sum(counts)} if counts else {}

    def energy(self, seconds: Mapping[str, float]) -> JsonObject:
        """The sum of the members' estimates; without one of them, at the power of this process."""
        known = [cost["energy_watt_hours"] for cost in self.costs if "energy_watt_hours" in cost]
        if not known or len(known) < len(self.costs):
            return super().energy(seconds)
        return {"energy_watt_hours": round(sum(known), 4), "energy_basis": "sum of the members'"}

    def to_json(self) -> JsonObject:
        """As of any run; the memory is the largest of a member's and of this process."""
        measured = super().to_json()
        for name in ("peak_memory", "peak_gpu_memory"):
            known = [cost[name] for cost in [measured, *self.costs] if cost.get(name)]
            measured |= {name: max(known)} if known else {}
        return measured


def _joined(members: Members, loaded: Composite, work: job.Job) -> dict[str, list[Prediction]]:
    """Split -> the joint answers, where the members answered it; adds their seconds to the cost."""
    known = {}
    for split in ("dev", "test"):
        given = members.answers(split) if split in work.examples else []
        pairs = [pair for pair in given if pair]
        if not pairs or len(pairs) < len(given):
            continue
        answers, seconds = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        if loaded.rule == "vote":
            known[split] = vote(answers, names=members.names)
        else:
            threshold = loaded.threshold or 0.0
            known[split] = cascaded(answers[0], answers[1], threshold)
            seconds[1] *= _share(answers[0], threshold)
        work.meter.seconds[f"predict_{split}"] = sum(seconds)
    return known


def _share(cheap: Sequence[Prediction], threshold: float) -> float:
    return sum(goes_on(answer, threshold) for answer in cheap) / max(1, len(cheap))


def _options(first: Run) -> DataArguments:
    """The files and the options on columns of the first member."""
    config = first.config()
    names = {field.name for field in dataclasses.fields(DataArguments) if field.init}
    options = DataArguments(
        **{name: config[name] for name in (names - NOT_TAKEN_OVER) & config.keys()}
    )
    for split in SPLITS:
        file = first.split_file(split)
        if file is not None and not file.is_relative_to(first.splits):
            setattr(options, f"{split}_file", str(file))
    sample = options.sample_submission
    if sample and not Path(sample).is_file():
        logger.warning("%s is gone: submission.csv is written without it", sample)
        options.sample_submission = None
    return options


def _data(members: Members, options: DataArguments) -> Data:
    answer = next(name for name, task in TASK_OF_ANSWER.items() if task is members.task)
    named = {split: getattr(options, f"{split}_file") for split in SPLITS}
    return Data(answer, {split: file for split, file in named.items() if file}, members.examples)


def _listed(members: Members, run: Run) -> list[JsonObject]:
    """The name and the folder of each member, relative to the new run."""
    return [
        {"name": name, "run": _relative(member.folder, run.folder)}
        for name, member in zip(members.names, members.runs, strict=True)
    ]


def _relative(folder: Path, start: Path) -> str:
    return Path(os.path.relpath(folder.resolve(), start.resolve())).as_posix()


def _write_card(run: Run, loaded: Composite, members: Members) -> None:
    """Adds to README.md what the run is made of, and how it can be moved."""
    file = run.folder / "README.md"
    before = file.read_text(encoding="utf-8").rstrip() if file.is_file() else f"# {run.folder.name}"
    rows = [f"- {row['name']}: `{row['run']}`" for row in _listed(members, run)]
    if loaded.rule == "vote":
        how = "All of them answer, and their votes are joined."
    else:
        how = (
            f"{members.names[0]} answers all texts; {members.names[1]} decides those on which its "
            f"certainty is below {loaded.threshold:g}."
        )
    lines = [
        before,
        "",
        "## Made of other runs",
        "",
        how,
        "",
        *rows,
        "",
        "The models stay in the folders of these runs, and are found by the paths above, relative "
        "to this one: move or copy them together, as one tree of folders. A member that is missing "
        "or was trained again since is refused.",
    ]
    with replacing(file) as f:
        f.write("\n".join(lines) + "\n")
