"""Continues pretraining an encoder on texts, labelled or not, by masked language modelling.

    # MiniLM, from the installed package
    python recipes/pretrain_encoder.py --train_file train.json --dev_file dev.json \\
        --test_file test.json --run_dir runs/pretrained
    python recipes/finetune_token_tagger.py --model_name_or_path runs/pretrained/model …

Only texts are read, of all files that are given. Everything lands in the run folder: config.yaml,
provenance.json, trainer_log.json, model/ (a checkpoint that every recipe for encoders starts from).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipelines.runs import options as config
from pipelines.runs.arguments import DataArguments, RunTrainingArguments, option
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

import transformers
from transformers import set_seed

from pipelines import job
from pipelines.errors import DataError, UserError, one_line_errors
from pipelines.families import sequence_classifier, token_tagger
from pipelines.families.language_model import masked_lm
from pipelines.families.training import cpu_training
from pipelines.reporting.card import write_card
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import replacing_folder

ROOT = Path(__file__).resolve().parent.parent
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")


@dataclass
class RecipeArguments(DataArguments):
    model_name_or_path: str = option(
        "local:minilm", "an encoder: a folder, a Hub id, or local:minilm", group="model"
    )
    window: int | None = option(
        None,
        "sub-words of a row; longer texts are several rows (default: as many as the model takes)",
    )
    mlm_probability: float = option(
        0.15, "share of tokens that are masked and predicted", group="training"
    )
    batch_tokens: int | None = option(
        None,
        "batches of rows of one length with at most N sub-words; 0: batches of "
        "per_device_train_batch_size rows",
    )
    half_copies: bool | None = option(
        None, "compute in bf16 copies of the weights (default: on a CPU that computes bf16 fast)"
    )


@dataclass
class TrainingArguments(RunTrainingArguments, transformers.TrainingArguments):
    """Transformers', with defaults for pretraining."""

    trainer: ClassVar[str] = "pretraining"

    learning_rate: float = option(1e-4, "largest learning rate", group="training")
    num_train_epochs: float = option(3.0, "passes over the texts")
    logging_strategy: str = option("epoch", "when the loss is logged")
    save_strategy: str = option("epoch", "when a checkpoint is written")
    save_total_limit: int | None = option(2, "checkpoints kept")


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        options, training = config.parse(
            (RecipeArguments, TrainingArguments),
            default_config=ROOT / "recipes" / "configs" / "pretrain_minilm.yaml",
        )
        run(options, training)


def run(options: RecipeArguments, training: TrainingArguments) -> None:
    """The whole job."""
    if options.ablate:
        raise UserError(
            "got --ablate for a recipe without a score on dev; ablate the recipe that starts from "
            "its model"
        )
    if not 0 < options.mlm_probability < 1:
        raise UserError(
            f"got --mlm_probability {options.mlm_probability}; wanted a share between 0 and 1, "
            "such as 0.15"
        )
    cpu_training.use_half_copies(options.half_copies, training)
    data = job.read(options, answer="text", project=ROOT)
    with job.start(
        "pretrained",
        data,
        options,
        training,
        model=options.model_name_or_path,
        resume=training.resume_from_checkpoint is not None,
    ) as work:
        if not work.trains():
            return
        with work.meter.stage("training"):
            train(work, options, training)
        if job.is_main():
            finish(work)


def train(work: job.Job, options: RecipeArguments, training: TrainingArguments) -> None:
    """Trains the encoder and saves it into the run."""
    set_seed(training.seed)
    name = options.model_name_or_path
    tokenizer = token_tagger.load_tokenizer(name)
    if tokenizer.mask_token is None:
        raise UserError(
            f"the tokenizer of {name!r} has no mask token; take BERT or a model of its kind"
        )
    texts = [example.text for part in work.examples.values() for example in part]
    rows = masked_lm.text_rows(texts, tokenizer, window=window_of(options, tokenizer))
    if not rows:
        raise DataError(
            f"{', '.join(work.data.files.values())}: no text has a word in it; give texts"
        )
    model, new = masked_lm.new_model(name, rows)
    if new:
        logger.info(
            "%s has no %s: they start at random, and the words' bias from their frequencies",
            name,
            ", ".join(new),
        )
    tokens = sum(len(row["input_ids"]) for row in rows)
    logger.info("%d rows of %d texts, %d sub-words", len(rows), len(texts), tokens)
    trainer = masked_lm.MaskedWordTrainer(
        model=model,
        args=training,
        train_dataset=rows,
        processing_class=tokenizer,
        batch_tokens=options.batch_tokens,
        mlm_probability=options.mlm_probability,
        half_copies=options.half_copies,
        callbacks=work.callbacks(),
    )
    trainer.train(resume_from_checkpoint=work.checkpoint(training))
    work.record_training(trainer)
    if job.is_main():
        with replacing_folder(work.run.model) as folder:
            trainer.save_model(str(folder))


def window_of(options: RecipeArguments, tokenizer: Any) -> int:
    """Sub-words of a row.

    Raises:
        UserError: for a window that the model cannot take, or that has no room for a text.
    """
    largest = sequence_classifier.window_of(options.model_name_or_path, tokenizer)
    window, least = options.window or largest, tokenizer.num_special_tokens_to_add() + 2
    if not least <= window <= largest:
        raise UserError(
            f"got --window {options.window}; wanted {least} to {largest}, as the model has it"
        )
    return window


def finish(work: job.Job) -> None:
    """Writes the report, and logs what pretraining cost and gained."""
    cost = work.cost()
    work.run.write_json("report.json", {"cost": cost})
    write_card(work.run, {}, work.examples)
    losses = [f"{entry['loss']:.2f}" for entry in work.run.training_log() if "loss" in entry]
    if losses:
        logger.info("loss of masked words, in nats: %s", ", ".join(losses))
    logger.info(
        "%.0f s, %.0f sub-words/s, peak memory %.2f GiB\n",
        cost["seconds"]["training"],
        cost["training_tokens_per_second"],
        cost["peak_memory"] / 2**30,
    )
    work.run.log_files("test")


if __name__ == "__main__":
    main()
