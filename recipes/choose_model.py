"""Finds the cheapest model that reaches a score: trains one after the other, from the cheapest.

    python recipes/choose_model.py --train_file train.json --dev_file dev.json --goal 0.80 \\
        --budget 30m
    python recipes/choose_model.py --train_file reviews.csv --goal 0.92 --until budget \\
        --budget 1h --rungs naive_bayes linear_svm encoder --run_dir runs/choice
    # with the same options: pipelines choose

Whether the corpus has mentions or classes is found from the data. Each model is an ordinary run in
the folder of the choice, with splits/, rungs/, parts/ (for learning curves), test/, choice.json and
choice.html. The same command goes on where it was stopped. docs/choose.md explains the answer.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

from pipelines.evaluation.tasks import TASK_OF_ANSWER
from pipelines.runs import options as config
from pipelines.runs.arguments import DataArguments, option
from pipelines.runs.data import answer_of
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

from pipelines import job
from pipelines.errors import UserError, one_line_errors
from pipelines.examples import JsonObject
from pipelines.families.teachers import unlabelled_texts
from pipelines.formatting import some
from pipelines.reporting.choice import choice_text, write_choice_page
from pipelines.runs.defaults import changed_options, refuse_processes
from pipelines.runs.log import log_to_terminal
from pipelines.studies import choice
from pipelines.studies.choice.durations import parse_duration, parse_goal
from pipelines.studies.choice.ladder import Rung, read_ladder
from pipelines.studies.choice.plan import UNTIL
from pipelines.studies.choice.runners import LocalRunner, Runner

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "recipes" / "ladders"
LADDERS = {"spans": "mentions.yaml", "label": "classes.yaml"}
OTHERS = ("ablate", "sample_submission", "submission_format", "answer_column", "positive_class")
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")


@dataclass
class ChoiceArguments(DataArguments):
    """What is asked."""

    goal: float | None = option(
        None,
        "score to reach on dev: strict F1 of mentions, accuracy of classes; 0.8 or 80",
        group="choice",
    )
    budget: str | None = option(None, "time for everything, such as 90s, 45m or 1h30m")
    until: str = option(
        "goal", "goal: stop at the first model whose 95 % interval is over it; budget: go on"
    )
    rungs: list[str] = option([], "models to try, by their names in the ladder (default: all)")
    ladder: str | None = option(None, "YAML with the models to try (default: of recipes/ladders/)")
    llms: list[str] = option([], "language models that take the place of the ladder's own")
    fractions: list[float] = option(
        [0.1, 0.25, 0.5, 1.0], "shares of train for learning curves; 1: no curves"
    )
    price: float | None = option(None, "price of an hour of this machine, for the costs")
    unlabelled: list[str] = option([], "files of further texts, for the models that read them")
    max_unlabelled: int = option(20_000, "texts of --unlabelled that are read, drawn by --seed")
    jobs: int = option(1, "cheap models that run side by side")
    ray: str | None = option(
        None, "run the models on a Ray cluster that shares this folder: its address, or local"
    )
    sizes: str = option("train=0.9,dev=0.1", "how dev is cut from train where there is no dev file")
    seed: int = option(42, "seed of every model, and of what is cut from train")


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        [options] = config.parse((ChoiceArguments,))
        run(options)


def run(options: ChoiceArguments) -> JsonObject:
    """Answers the question; returns what `choice.json` holds."""
    refuse_processes("the choice of a model")
    _check(options)
    goal = None if options.goal is None else parse_goal(options.goal)
    budget = None if options.budget is None else parse_duration(options.budget, "--budget")
    answer = answer_of(options, ROOT)
    ladder = Path(options.ladder) if options.ladder else FOLDER / LADDERS[answer]
    rungs = read_ladder(
        ladder, recipes=ROOT / "recipes", names=options.rungs, llms=options.llms, gpu=_has_gpu()
    )
    rungs = _with_texts(rungs, options)
    data = job.read(options, answer=answer, project=ROOT, seed=options.seed)
    known = {example.text for part in data.splits.values() for example in part}
    question = choice.Question(
        task=TASK_OF_ANSWER[answer].name,
        files=data.files,
        splits=data.splits,
        sizes=options.sizes,
        goal=goal,
        budget=budget,
        until=options.until,
        fractions=options.fractions,
        price=options.price,
        seed=options.seed,
        unlabelled_files=options.unlabelled,
        unlabelled=unlabelled_texts(
            options.unlabelled, known, most=options.max_unlabelled, seed=options.seed
        )
        if options.unlabelled
        else (),
        max_unlabelled=options.max_unlabelled,
    )
    folder = Path(options.run_dir or f"runs/choice-{time.strftime('%Y%m%d-%H%M%S')}")
    return choice.run(question, rungs, folder=folder, runner=_runner(options), show=show)


def _with_texts(rungs: list[Rung], options: ChoiceArguments) -> list[Rung]:
    """The rungs that can be tried: without unlabelled texts, not those that read them.

    Raises:
        UserError: where texts are given that no rung reads, or a rung is asked for that needs some.
    """
    readers = [rung.name for rung in rungs if rung.reads_unlabelled()]
    if options.unlabelled and not readers:
        raise UserError("got --unlabelled, which none of the models to try reads; leave it out")
    if options.unlabelled or not readers:
        return rungs
    asked = [name for name in readers if name in options.rungs]
    if asked:
        raise UserError(f"--rungs: {some(asked)} reads unlabelled texts; give --unlabelled FILE")
    logger.info("without --unlabelled, left out: %s", ", ".join(readers))
    return [rung for rung in rungs if not rung.reads_unlabelled()]


def show(found: JsonObject, folder: Path) -> None:
    """Writes the page, and prints the answer."""
    write_choice_page(found, folder)
    print(choice_text(found))
    logger.info("page         %s", folder / "choice.html")


def _check(options: ChoiceArguments) -> None:
    """Raises a `UserError` that names every option that does not fit."""
    faults = [
        f"got --{name}, which is for a single model; leave it out"
        for name in OTHERS
        if name in changed_options(options)
    ]
    if options.until not in UNTIL:
        faults.append(f"got --until {options.until}; wanted {' or '.join(UNTIL)}")
    if options.jobs < 1:
        faults.append(f"got --jobs {options.jobs}; wanted 1 or more")
    if options.max_unlabelled < 1:
        faults.append(f"got --max_unlabelled {options.max_unlabelled}; wanted 1 or more")
    outside = [fraction for fraction in options.fractions if not 0 < fraction <= 1]
    if outside:
        faults.append(f"got --fractions {outside[0]:g}; wanted shares of train over 0, up to 1")
    if options.price is not None and options.price < 0:
        faults.append(f"got --price {options.price:g}; wanted a price of an hour")
    if faults:
        raise UserError("; ".join(faults))


def _runner(options: ChoiceArguments) -> Runner:
    if options.ray is None:
        return LocalRunner(options.jobs)
    from pipelines.studies.choice.ray_runner import RayRunner

    return RayRunner(options.jobs, address=options.ray)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if __name__ == "__main__":
    main()
