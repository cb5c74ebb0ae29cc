"""Trains networks that read a sequence of vectors and predict a number, and compares them.

    python recipes/train_sequence_regressor.py
    python recipes/train_sequence_regressor.py --networks shared --run_dir runs/shared \\
        --train_file train.npz --dev_file dev.npz --test_file test.npz
    python recipes/train_sequence_regressor.py --config recipes/configs/sequence_regressor.yaml

`shared` is a vanilla RNN; `truncated` and `padded` have weights of their own for each step, cut to
the shortest sequence of training or padded to the longest. One network and one seed make a run
folder. Several make a folder of runs, NETWORK-SEED, beside comparison.json and comparison.html.
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import ClassVar

from pipelines.runs import options as config
from pipelines.runs.arguments import DataArguments, EpochTrainingArguments, option
from pipelines.runs.data import Data
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

from transformers import TrainingArguments, set_seed

from pipelines import job
from pipelines.corpora.writing import replacing
from pipelines.errors import UserError, one_line_errors
from pipelines.evaluation.regression import value_scores
from pipelines.examples import JsonObject
from pipelines.families import sequence_regressor
from pipelines.families.sequence_regressor.regressor_training import (
    RegressorTrainer,
    new_network,
    targets,
    training_rows,
)
from pipelines.families.training import early_stopping
from pipelines.families.training.optimizers import check_optimizer
from pipelines.networks.sequence_regression import ALIGNMENTS, NETWORKS
from pipelines.reporting.network_comparison import compare_networks
from pipelines.reporting.network_pages import networks_as_text, write_networks
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import Run

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = Path("data", "samples", "sequences")
PROCESS_FILE = "process.json"  # beside sample data: the best possible MSE
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")


@dataclass
class RecipeArguments(DataArguments):
    networks: str = option(
        "shared,truncated,padded",
        "shared, truncated or padded, or several, separated by commas: each is trained, and all "
        "are compared",
        group="model",
    )
    hidden_size: int = option(32, "units of the state")
    align: str = option(
        "start",
        "of networks without shared weights, start: the first weights read the first step, and the "
        "end of a long sequence is not read; end: the last weights read the last step",
    )
    dropout: float = option(0.0, "dropout on the last state")
    seeds: int = option(
        3, "trainings of each network, with --seed and the numbers after it", group="training"
    )
    early_stopping_patience: int | None = option(
        10, "stop after N evaluations without a better score"
    )
    best_mse: float | None = option(
        None,
        "the best possible MSE, shown beside the others (default: that of process.json beside the "
        "training file, if there is one)",
        group="comparison",
    )


@dataclass
class RegressorTrainingArguments(EpochTrainingArguments, TrainingArguments):
    """transformers', with defaults for small networks on sequences."""

    trainer: ClassVar[str] = "values"
    metrics: ClassVar[tuple[str, ...]] = ("mse", "loss")

    num_train_epochs: float = option(60, "passes over the training sequences", group="training")
    learning_rate: float = option(3e-3, "largest learning rate")
    warmup_steps: float = option(
        0.05, "steps, or their share below 1, in which the learning rate rises"
    )
    per_device_train_batch_size: int = option(32, "sequences of a batch")
    logging_strategy: str = option("epoch", "when the loss is logged")
    metric_for_best_model: str | None = option("mse", "score that decides which is best, or loss")
    greater_is_better: bool | None = option(False, "both are better when they are smaller")

    def precision_options(self) -> JsonObject:
        """Numbers need all digits of float32, and half precision gains nothing on small layers."""
        return super().precision_options() | {"bf16": False, "fp16": False}


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        options, training = config.parse((RecipeArguments, RegressorTrainingArguments))
        run(options, training)


def run(options: RecipeArguments, training: RegressorTrainingArguments) -> JsonObject:
    """Trains each network with each seed; returns the report of one, or the comparison."""
    if options.ablate:
        raise UserError("got --ablate; this recipe compares networks, by --networks and --seeds")
    networks = check_options(options, training)
    use_sample(options)
    options.best_mse = best_possible(options)
    data = job.read(options, answer="value", project=ROOT)
    width = sequence_regressor.sequence_of(data.splits["train"][0]).shape[1]
    for examples in data.splits.values():
        sequence_regressor.check_width(examples, width)
    if len(networks) * options.seeds == 1:
        return run_one(options, training, data)
    folder = Path(options.run_dir or f"runs/sequence_regressor-{time.strftime('%Y%m%d-%H%M%S')}")
    runs: dict[str, list[Run]] = {network: [] for network in networks}
    for network, seed in product(networks, range(training.seed, training.seed + options.seeds)):
        name = f"{network}-{seed}"
        logger.info("%s", name)
        one, arguments = replace(options, networks=network, seeds=1), copy.copy(training)
        one.run_dir, arguments.seed = str(folder / name), seed
        with saying_how_to_continue(folder):
            run_one(one, arguments, data)
        runs[network].append(Run(folder / name))
    if not job.is_main():
        return {}
    comparison = compare_networks(runs, data.splits, best_mse=options.best_mse)
    with replacing(folder / "comparison.json") as f:
        json.dump(comparison, f, indent=1, ensure_ascii=False)
    write_networks(comparison, runs, folder / "comparison.html")
    logger.info("%s\n", networks_as_text(comparison))
    logger.info("%-12s %s", "comparison", folder / "comparison.html")
    return comparison


@contextlib.contextmanager
def saying_how_to_continue(folder: Path) -> Iterator[None]:
    """After an interruption says how all runs are continued, not only the one that was at work."""
    try:
        yield
    except SystemExit:
        logger.warning(
            "it was one of several runs: to continue with all of them, run the same command with "
            "--run_dir %s --resume_from_checkpoint true",
            folder,
        )
        raise


def check_options(options: RecipeArguments, training: RegressorTrainingArguments) -> list[str]:
    """The networks that are asked for.

    Raises:
        UserError: for unknown ones, and for other values that do not fit.
    """
    networks = [name.strip() for name in options.networks.split(",")]
    unknown = [name for name in networks if name not in NETWORKS]
    if unknown or len(set(networks)) < len(networks):
        wanted = ", ".join(NETWORKS)
        raise UserError(f"got --networks {options.networks}; wanted some of {wanted}, each once")
    if options.align not in ALIGNMENTS:
        raise UserError(f"got --align {options.align}; wanted one of {', '.join(ALIGNMENTS)}")
    if options.seeds < 1:
        raise UserError(f"got --seeds {options.seeds}; wanted 1 or more")
    if training.push_to_hub and len(networks) * options.seeds > 1:
        raise UserError("got --push_to_hub for several runs; push the run that you choose")
    if options.align != "start" and networks == ["shared"]:
        raise UserError("--networks shared does not read --align; leave it out")
    resume = training.resume_from_checkpoint
    if len(networks) * options.seeds > 1 and resume not in (None, "true", "false"):
        raise UserError(
            f"got --resume_from_checkpoint {resume} for several runs; wanted true, which goes on "
            "with each of them"
        )
    check_optimizer(training)
    return networks


def use_sample(options: RecipeArguments) -> None:
    """Names the files of the sample data where the options name none."""
    if options.train_file or options.dev_file or options.test_file:
        return
    for split in ("train", "dev", "test"):
        setattr(options, f"{split}_file", str(ROOT / SAMPLE / f"{split}.jsonl.gz"))


def best_possible(options: RecipeArguments) -> float | None:
    """The best possible MSE: as given, or of data that `data/make_sequences.py` wrote.

    Raises:
        UserError: where the file that says it is damaged.
    """
    if options.best_mse is not None:
        return options.best_mse
    file = Path(options.train_file or "").parent / PROCESS_FILE
    if not file.is_file():
        return None
    try:
        return float(json.loads(file.read_text(encoding="utf-8"))["best_mse"])
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{file}: no number `best_mse`; make the data again, or give --best_mse"
        ) from None


def run_one(
    options: RecipeArguments, training: RegressorTrainingArguments, data: Data
) -> JsonObject:
    """One network and one seed in a run folder of its own; returns its report."""
    resumes = training.resume_from_checkpoint is not None
    with job.start(
        "sequence_regressor", data, options, training, model=options.networks, resume=resumes
    ) as work:
        if work.trains():
            fit(work, options, training)
        loaded = sequence_regressor.load(work.run.model)
        train = data.splits["train"]
        values = sequence_regressor.predict_values(loaded.model, train)
        facts: JsonObject = {"train": value_scores(targets(train), values)}
        if options.best_mse is not None:
            facts["best_mse"] = options.best_mse
        return work.finish(lambda part: sequence_regressor.predict(loaded, part), facts=facts)


def fit(work: job.Job, options: RecipeArguments, training: RegressorTrainingArguments) -> None:
    """Trains a network and saves the best one into the run."""
    set_seed(training.seed)
    examples, dev = work.examples["train"], work.examples.get("dev", [])
    model = new_network(
        examples,
        network=options.networks,
        hidden_size=options.hidden_size,
        align=options.align,
        dropout=options.dropout,
    )
    if options.networks != "shared":
        logger.info("%s to %d steps", options.networks, model.config.steps)
    callbacks = early_stopping.choose_on_dev(training, dev, options.early_stopping_patience)
    trainer = RegressorTrainer(
        model=model,
        args=training,
        train_dataset=training_rows(examples, model),
        train=examples,
        dev=dev,
        callbacks=[*callbacks, *work.callbacks()],
    )
    with work.meter.stage("training"):
        trainer.train(resume_from_checkpoint=work.checkpoint(training))
    work.record_training(trainer)
    network = trainer.accelerator.unwrap_model(trainer.model).eval()
    with work.model_folder() as folder:
        sequence_regressor.save(folder, model=network)


if __name__ == "__main__":
    main()
