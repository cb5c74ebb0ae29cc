"""Which model: climbs a ladder of models on one corpus, and says which is the cheapest that does.

Each rung is an ordinary run of a recipe, in a process of its own, below the folder of the choice.
What is finished is kept when the same command is given again.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.corpora import read_examples
from pipelines.corpora.splits import (
    classes_of,
    parse_sizes,
    split_examples,
    splits_as_text,
    write_split,
)
from pipelines.corpora.splits.nested import nested_subsets
from pipelines.errors import DataError, UserError
from pipelines.evaluation import choice as answers
from pipelines.evaluation.tasks import TASKS
from pipelines.examples import Example, JsonObject
from pipelines.formatting import seconds, some
from pipelines.runs.lock import run_lock
from pipelines.runs.provenance import hardware, provenance
from pipelines.runs.run import Run
from pipelines.studies.choice.climb import Climb
from pipelines.studies.choice.extras import cascade_of, curves_of
from pipelines.studies.choice.ladder import Rung
from pipelines.studies.choice.plan import WHOLE, Plan
from pipelines.studies.choice.progress import Progress
from pipelines.studies.choice.results import FILE, known_observations, predict, rows_of, test_scores
from pipelines.studies.choice.runners import Runner
from pipelines.studies.workers import ending_workers

logger = logging.getLogger(__name__)

PROBE_SHARE = 0.05
PROBE_TRAIN, PROBE_DEV = 100, 50  # examples at least, but half of what there is at most
FEW = 50  # examples of dev, under which no model can be distinguished from another
Show = Callable[[JsonObject, Path], None]


@dataclass(frozen=True)
class Question:
    """What is to be found out; see `Plan`.

    Attributes:
        task: the name of the task.
        files: split -> file, as given.
        splits: split -> examples, as read.
        sizes: shares or numbers of examples, where dev is cut from train.
        unlabelled_files: whose texts are `unlabelled`, drawn from them as `max_unlabelled` says.
        price: of an hour of this machine; None where that is of no interest.
    """

    task: str
    files: Mapping[str, str]
    splits: Mapping[str, Sequence[Example]]
    sizes: str
    goal: float | None
    budget: float | None
    until: str
    fractions: Sequence[float]
    price: float | None
    seed: int
    unlabelled_files: Sequence[str] = ()
    unlabelled: Sequence[Example] = ()
    max_unlabelled: int = 0


def run(
    question: Question, rungs: Sequence[Rung], *, folder: Path, runner: Runner, show: Show
) -> JsonObject:
    """Answers a question, or goes on with it; returns what `choice.json` holds.

    Args:
        show: writes the page and prints the answer.

    Raises:
        UserError: for data or options that do not fit, and where no rung could be trained.
        SystemExit: after SIGINT or SIGTERM.
    """
    notes: list[str] = []
    plan = make_plan(question, rungs, folder=folder, notes=notes)
    folder.mkdir(parents=True, exist_ok=True)
    with run_lock(folder):
        _begin(plan, question)
        progress = Progress(folder)
        _refuse_other_rungs(plan, progress)
        _refuse_other_parts(plan)
        for name, examples in plan.splits.items():
            write_split(plan.split_file(name), examples)
        for fraction, examples in plan.parts.items():
            write_split(plan.split_file(f"train-{fraction:g}"), examples)
        machine = hardware()
        known = known_observations(folder, rungs, machine, labels_of(plan))
        climb = Climb(plan, runner, progress, known)
        with ending_workers(runner, lambda: _state(climb)):
            _log_begin(climb)
            climb.run()
            choice = _choice(climb, question, notes, machine)
            Run(folder).write_json(FILE, choice)
            _refuse_nothing(choice, folder)
            _add_extras(climb, choice)
            choice["seconds_spent"] = progress.spent()
            choice["answer"]["text"] = answers.paragraph(choice)
            Run(folder).write_json(FILE, choice)
            show(choice, folder)
            progress.write()
    return choice


def make_plan(question: Question, rungs: Sequence[Rung], *, folder: Path, notes: list[str]) -> Plan:
    """Cuts what is to be cut, and says so in the notes.

    Raises:
        UserError: for fractions that do not fit.
        DataError: for data on which nothing can be chosen.
    """
    splits = {name: list(examples) for name, examples in question.splits.items()}
    if "dev" not in splits:
        whole = splits["train"]
        cut = split_examples(whole, parse_sizes(question.sizes), seed=question.seed)
        if not {"train", "dev"} <= cut.keys():
            raise UserError(f"got --sizes {question.sizes}; wanted train and dev among them")
        logger.info("%s", splits_as_text(whole, cut))
        splits = {**cut, **splits, "train": cut["train"]}
    if "dev" not in question.files:
        notes.append(f"dev was cut from train ({question.sizes}); documents stay whole")
    _refuse_unlabelled(splits, question.task)
    if len(splits["dev"]) < FEW:
        notes.append(
            f"dev has {len(splits['dev'])} examples: too few to tell models of similar quality "
            "apart"
        )
    if "test" not in splits:
        notes.append("without a test file, the answer rests on dev, on which it was chosen")
    splits["probe-train"] = part_for_probe(splits["train"], PROBE_TRAIN, seed=question.seed)
    splits["probe-dev"] = part_for_probe(splits["dev"], PROBE_DEV, seed=question.seed)
    if question.unlabelled:
        splits["unlabelled"] = list(question.unlabelled)
        # As large a part as that of train, so that what a probe cost grows by one factor.
        share = len(splits["probe-train"]) / len(splits["train"])
        number = max(1, round(share * len(question.unlabelled)))
        generator = random.Random(question.seed)
        splits["probe-unlabelled"] = generator.sample(splits["unlabelled"], number)
    parts = _parts(splits["train"], question, notes)
    return Plan(
        task=question.task,
        folder=folder,
        rungs=rungs,
        splits=splits,
        goal=question.goal,
        budget=question.budget,
        until=question.until,
        fractions=list(parts),
        parts=parts,
        seed=question.seed,
    )


def _parts(
    train: Sequence[Example], question: Question, notes: list[str]
) -> dict[float, list[Example]]:
    """Fraction -> its examples, ascending; those that would be too small are noted instead."""
    fractions = sorted(set(question.fractions) - {WHOLE})
    while fractions:
        try:
            return nested_subsets(train, fractions, seed=question.seed)
        except DataError as error:
            notes.append(f"learning curves begin above {100 * fractions[0]:g} % of train: {error}")
            logger.info("%s", notes[-1])
            fractions = fractions[1:]
    return {}


def part_for_probe(examples: Sequence[Example], least: int, *, seed: int) -> list[Example]:
    """A small part of the examples, drawn by class and document where that is possible."""
    wanted = min(max(least, round(PROBE_SHARE * len(examples))), max(1, len(examples) // 2))
    try:
        return split_examples(examples, {"probe": float(max(2, wanted))}, seed=seed)["probe"]
    except (DataError, UserError):  # a few large documents, or classes of one text
        return list(examples[:wanted])


def _refuse_unlabelled(splits: Mapping[str, Sequence[Example]], task: str) -> None:
    name = TASKS[task].answer
    for split in ("train", "dev"):
        answered = [getattr(example, name) for example in splits[split]]
        if None in answered:
            raise DataError(f"{split}: got examples without answers; label them, or leave them out")
    if name == "spans" and not any(example.spans for example in splits["train"]):
        raise DataError("train: no example has a mention, so nothing can be learnt; see check")


def _is_labelled(examples: Sequence[Example], task: str) -> bool:
    name = TASKS[task].answer
    return bool(examples) and all(getattr(example, name) is not None for example in examples)


def _begin(plan: Plan, question: Question) -> None:
    """Writes what the choice is made of, or compares it with what was written.

    Raises:
        UserError: when the data or the seed was changed since.
    """
    run = Run(plan.folder)
    files = [*question.files.values(), *question.unlabelled_files]
    most = question.max_unlabelled if question.unlabelled else None
    asked = {"seed": plan.seed, "sizes": question.sizes, "max_unlabelled": most}
    facts = provenance(files, **asked)
    before = run.provenance()
    if not before:
        run.write_json("provenance.json", facts)
        return
    changed = [name for name in asked if before.get(name) != facts[name]]
    # By content: the same files may lie elsewhere.
    if sorted(before.get("data", {}).values()) != sorted(facts["data"].values()):
        changed.insert(0, "data")
    if changed:
        raise UserError(
            f"{plan.folder}: {', '.join(changed)} changed since the choice was started; give "
            "another --run_dir"
        )


def _refuse_other_rungs(plan: Plan, progress: Progress) -> None:
    """Refuses a rung that was begun with another config or other options."""
    digests = {rung.name: rung.digest() for rung in plan.rungs}
    changed = [
        rung.name
        for rung in plan.rungs
        if progress.digests.get(rung.name, rung.digest()) != rung.digest() and plan.is_begun(rung)
    ]
    if changed:
        raise UserError(
            f"{plan.folder}: {some(changed)} changed, in the ladder or in a config, since the "
            "choice was started; give another --run_dir"
        )
    progress.digests |= digests
    progress.write()


def _refuse_other_parts(plan: Plan) -> None:
    """Refuses other `--fractions` where models were trained on parts that would be cut anew."""
    for fraction, examples in plan.parts.items():
        file = plan.split_file(f"train-{fraction:g}")
        if not file.is_file() or not (plan.folder / "parts" / f"{fraction:g}").exists():
            continue
        if [example.id for example in read_examples(file)] != [example.id for example in examples]:
            raise UserError(
                f"{plan.folder}: models were trained on parts of train that other --fractions cut; "
                "give the same ones, 1 for no learning curves, or another --run_dir"
            )


def _log_begin(climb: Climb) -> None:
    plan = climb.plan
    goal = "no goal" if plan.goal is None else f"goal {100 * plan.goal:g}"
    budget = "no limit of time" if plan.budget is None else f"budget {seconds(plan.budget)}"
    spent = climb.progress.spent()
    before = f", of which {seconds(spent)} were spent before" if spent > 1 else ""
    names = ", ".join(rung.name for rung in plan.rungs)
    logger.info("%d rungs: %s", len(plan.rungs), names)
    logger.info("%s, %s%s, until %s; in %s", goal, budget, before, plan.until, plan.folder)


def labels_of(plan: Plan) -> int:
    """How many types of mentions, or classes, train has."""
    found: set[str] = set()
    for example in plan.splits["train"]:
        found |= {span.label for span in example.spans or ()} | set(classes_of(example))
    return len(found)


def _state(climb: Climb) -> str:
    """What is finished, and how to go on, for who interrupts."""
    climb.progress.write()
    done = len(climb.plan.scores())
    return (
        f"{done} of {len(climb.plan.rungs)} rungs are finished; to continue, run the same command "
        f"with --run_dir {climb.plan.folder}"
    )


def _choice(
    climb: Climb, question: Question, notes: Sequence[str], machine: JsonObject
) -> JsonObject:
    plan = climb.plan
    rungs = rows_of(climb)
    given = {split: question.files.get(split) for split in ("train", "dev", "test")}
    sizes = {
        name: len(plan.splits[name]) for name in ("train", "dev", "test") if name in plan.splits
    }
    return {
        "task": plan.task,
        "metric": plan.task_record.primary_metric,
        "goal": plan.goal,
        "budget_seconds": plan.budget,
        "until": plan.until,
        "price_per_hour": question.price,
        "seed": plan.seed,
        "examples": sizes,
        "labels": labels_of(plan),
        "files": given,
        "unlabelled": {"files": list(question.unlabelled_files), "texts": len(question.unlabelled)},
        "notes": list(notes),
        "machine": machine,
        "seconds_spent": climb.progress.spent(),
        "rungs": rungs,
        "estimate_error": answers.estimate_error(rungs),
        "front": answers.front(rungs),
        "answer": answers.choose(rungs, plan.goal, plan.until),
        "curves": {},
        "cascade": None,
    }


def _refuse_nothing(choice: JsonObject, folder: Path) -> None:
    """Raises a `UserError` where no rung is finished: there is nothing to choose from."""
    if any(row["status"] == "finished" for row in choice["rungs"]):
        return
    reasons = "; ".join(f"{row['name']}: {row['reason']}" for row in choice["rungs"])
    raise UserError(
        f"no rung could be trained: {reasons}; once that is fixed, run the same command with "
        f"--run_dir {folder}"
    )


def _add_extras(climb: Climb, choice: JsonObject) -> None:
    """Learning curves, a cascade and the scores on test, for the rungs that the answer names."""
    plan = climb.plan
    answer, rows = choice["answer"], choice["rungs"]
    chosen = answer["chosen"]
    if chosen is None:
        return
    by_cost = [row["name"] for row in answers.by_cost(rows)]
    place = by_cost.index(chosen)
    neighbours = [*by_cost[place + 1 : place + 2], *by_cost[max(0, place - 1) : place]]
    choice["curves"] = curves_of(climb, [chosen, *neighbours], choice["notes"])
    choice["cascade"] = cascade_of(climb, rows, choice["notes"])
    if "test" not in plan.splits:
        return
    if not _is_labelled(plan.splits["test"], plan.task):
        file = predict(climb, chosen, "test")
        where = file.relative_to(plan.folder)
        choice["notes"].append(f"test has no gold answers; what {chosen} answers is in {where}")
        return
    names = dict.fromkeys([chosen, *neighbours, plan.baseline.name])
    found = test_scores(climb, [name for name in names if name in by_cost])
    for row in rows:
        row["test"] = found.get(row["name"])
