"""Answers to training examples by models that were trained without them (cross-fitting).

The recipe of a finished run trains a model on all folds but one, by the run's own options, and
answers that one. Chernozhukov et al. 2018, Double/debiased machine learning, section 1.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import yaml
from tqdm import tqdm

from pipelines.corpora import Columns
from pipelines.corpora.predictions import read_predictions
from pipelines.corpora.splits import split_examples, write_split
from pipelines.corpora.stream import batches
from pipelines.corpora.writing import replacing, write_predictions
from pipelines.errors import UserError
from pipelines.evaluation.tasks import TASKS
from pipelines.examples import Example, JsonObject, Prediction
from pipelines.families.causal_lm.candidates import Candidates, candidates_of
from pipelines.families.training.dev_scores import strict_scores
from pipelines.formatting import score
from pipelines.runs.arguments import AblationArguments, SearchArguments
from pipelines.runs.provenance import digests
from pipelines.runs.recipes import find_recipe
from pipelines.runs.run import Run
from pipelines.studies.workers import (
    Command,
    Workers,
    default_jobs,
    ending_workers,
    reason_of_failure,
)

logger = logging.getLogger(__name__)

SUBMISSION = ("sample_submission", "submission_format", "answer_column", "positive_class")
# Options of the run that are not those of a fold; the folds are files of our own layout.
LEFT_OUT = {
    *(
        field.name
        for class_ in (AblationArguments, SearchArguments, Columns)
        for field in fields(class_)
    ),
    *SUBMISSION,
    *("train_file", "dev_file", "test_file", "run_dir", "output_dir", "resume_from_checkpoint"),
    *("push_to_hub", "report_to", "run_name"),
}


def named_candidates(
    source: Run, splits: Mapping[str, Sequence[Example]], folder: Path, *, folds: int
) -> Candidates:
    """Candidates for prompts: of training texts by cross-fitting, of others by the run's model.

    Args:
        source: the run whose model names them.
        splits: split -> examples; `train` is what the run was trained on.
        folder: where the candidates of the training texts are kept, and taken from the next time.
    """
    candidates = candidates_of(source.folder.name, source.model_folder()[1])
    file = folder / "candidates.jsonl"
    train, dev = splits["train"], splits.get("dev", ())
    if not file.is_file():
        answers = cross_fitted(source, train, folder / "cross_fitting", folds=folds)
        write_predictions(file, answers)
    answers = read_predictions(file)
    pairs = zip(train, answers, strict=True)
    candidates.known = {example.text: answer.spans or () for example, answer in pairs}
    candidates.remember(dev)
    on_dev = [Prediction(e.id, spans=candidates.known[e.text]) for e in dev]
    for split, examples, found in (("train", train, answers), ("dev", dev, on_dev)):
        if examples:
            value = strict_scores(examples, found)["strict_f1"]
            logger.info("candidates of %s on %s: strict F1 %s", source.folder, split, score(value))
    return candidates


def check_source(run: Run, train_file: str) -> None:
    """Refuses a run whose model cannot be trained on the folds of a file.

    Raises:
        UserError: for a run of other training examples, of a recipe that is not repeated, or whose
            model names no candidates; under a launcher.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError(
            "got --candidates under a launcher; its models are trained in processes of their own: "
            "start the recipe by python"
        )
    candidates_of(run.folder.name, run.model_folder()[1])
    if run.task() is not TASKS["span_extraction"]:
        raise UserError(f"{run.folder}: finds no mentions, so it names no candidates")
    _recipe_of(run)
    own = Path(str(run.config().get("train_file"))).name
    known = [
        sha for file, sha in run.provenance().get("data", {}).items() if Path(file).name == own
    ]
    wanted = list(digests([train_file]).values())
    if not wanted or known[:1] != wanted:
        raise UserError(
            f"{run.folder}: was not trained on {train_file}; wanted a run of the same training "
            "file, whose models can answer each part of it without having seen it"
        )


def _recipe_of(run: Run) -> Path:
    config = run.config()
    if "network" in config:
        return find_recipe("train_tagger")
    if "tune" in config and "teachers" not in config:
        return find_recipe("finetune_token_tagger")
    raise UserError(
        f"{run.folder}: wanted a run of train_tagger or finetune_token_tagger, which can be "
        "trained again on parts of its training file"
    )


def cross_fitted(
    run: Run, examples: Sequence[Example], folder: Path, *, folds: int, seed: int = 0
) -> list[Prediction]:
    """The answer to each training example by a model of the run's kind that did not see it.

    Copies of a text, and texts of one document, stay in one fold.

    Args:
        examples: what the run was trained on.
        folder: for the models, which are removed at the end.

    Raises:
        UserError: where a model could not be trained.
        SystemExit: after SIGINT or SIGTERM.
    """
    sizes = {str(number): 1 / folds for number in range(1, folds + 1)}
    parts = split_examples(examples, sizes, seed=seed)
    commands = []
    for name, part in parts.items():
        held_out = {example.id for example in part}
        others = [example for example in examples if example.id not in held_out]
        commands.append(_command(run, others, folder / name))
    workers = Workers(min(folds, default_jobs()))
    logger.info(
        "cross-fitting: trains %d models as %s was, each without a part of train; logs: %s",
        folds,
        run.folder,
        folder / "*" / "log.txt",
    )
    waiting = list(commands)
    is_hidden = not sys.stderr.isatty()
    with (
        ending_workers(workers, lambda: "the models of the folds are trained anew next time"),
        tqdm(total=folds, unit=" models", desc="cross-fitting", disable=is_hidden) as bar,
    ):
        while waiting or workers.running:
            while waiting and workers.may_start():
                workers.start(waiting.pop(0))
            for worker in workers.wait():
                bar.update()
                code = worker.process.returncode
                if code:
                    log = worker.command.log
                    raise UserError(
                        f"cross-fitting {run.folder}, fold {worker.command.name}: "
                        f"{reason_of_failure(code, log)} (see {log})"
                    )
    answers = {
        answer.id: answer
        for name, part in parts.items()
        for answer in _answers(Run(folder / name / "run"), part)
    }
    shutil.rmtree(folder)
    return [answers[example.id] for example in examples]


def _command(run: Run, train: Sequence[Example], folder: Path) -> Command:
    """Writes the files and options of a fold; returns what trains its model."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    options: JsonObject = {
        name: value
        for name, value in run.config().items()
        if name not in LEFT_OUT and not name.startswith("hub_")
    }
    options |= {"train_file": str(folder / "train.jsonl"), "run_dir": str(folder / "run")}
    write_split(folder / "train.jsonl", train)
    if run.config().get("dev_file"):
        options["dev_file"] = str(folder / "dev.jsonl")
        write_split(folder / "dev.jsonl", run.examples("dev"))
    with replacing(folder / "options.yaml") as f:
        yaml.safe_dump(options, f, sort_keys=True, allow_unicode=True)
    words = [sys.executable, str(_recipe_of(run)), "--config", str(folder / "options.yaml")]
    return Command(folder.name, words, folder / "log.txt")


def _answers(run: Run, examples: Sequence[Example]) -> list[Prediction]:
    family, model = run.load()
    found: list[Prediction] = []
    for batch in batches(examples):
        found += family.predict(model, batch, progress=False)
    return found
