"""Continues pretraining an encoder on texts, labelled or not, by masked language modelling.

    # MiniLM, from the installed package
    python recipes/pretrain_encoder.py --train_file train.json --dev_file dev.json \\
        --test_file test.json --run_dir runs/pretrained
    # … and on any amount of other text, for an hour at most
    python recipes/pretrain_encoder.py --config recipes/configs/pretrain_minilm_text.yaml \\
        --train_file train.json --dev_file dev.json --test_file test.json \\
        --text_files papers.txt.gz 'more/*.jsonl' --max_minutes 60 --run_dir runs/pretrained
    python recipes/finetune_token_tagger.py --model_name_or_path runs/pretrained/model …

Only texts are read, of all files that are given. Everything lands in the run folder: config.yaml,
provenance.json, trainer_log.json, report.json (the loss on held-out text, before and after),
model/ (a checkpoint that every recipe for encoders starts from).
"""

from __future__ import annotations

import json
import logging
import math
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipelines.runs import options as config
from pipelines.runs.arguments import DataArguments, RunTrainingArguments, option
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

import transformers
from accelerate import PartialState
from transformers import set_seed

from pipelines import job
from pipelines.corpora import text_files
from pipelines.errors import DataError, UserError, one_line_errors
from pipelines.examples import JsonObject
from pipelines.families import sequence_classifier, token_tagger
from pipelines.families.language_model import masked_lm, text_rows
from pipelines.families.language_model.text_rows import Cut, WeightedRows
from pipelines.families.training import cpu_training, time_budget
from pipelines.reporting.card import write_card
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import replacing_folder

ROOT = Path(__file__).resolve().parent.parent
BATCH_TOKENS = 4096  # of held-out text
HELD_OUT_FILE = "held_out.json"
TEXT_FOLDER = "text"  # below the checkpoints: rows of large files, until training is over
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")


@dataclass
class RecipeArguments(DataArguments):
    text_files: list[str] | None = option(
        None,
        "further text: lines, JSON lines (.jsonl) or Parquet, gzipped or not; names and globs",
        group="text",
    )
    text_files_column: str = option(
        "text", "of the text, in JSON lines and Parquet of --text_files"
    )
    documents: str | None = option(
        None,
        "what a document is in lines of text: line, or what stands between blank lines "
        "(blank_line; default: that, where a file has blank lines)",
    )
    task_weight: int = option(
        1, "how often the texts of train, dev and test are read for one pass over --text_files"
    )
    held_out: float = option(
        0.01, "share of the documents of --text_files on which the loss is compared, at most"
    )
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
    mask_words: bool = option(False, "mask whole words, not single sub-words")
    max_minutes: float | None = option(
        None, "train for N minutes at most; the learning rate ends there"
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
    check(options)
    files: list[text_files.TextFile] = []
    if options.text_files:
        options.text_files = text_files.expand(options.text_files)
        files = text_files.survey(
            options.text_files, column=options.text_files_column, documents=options.documents
        )
    for file in files:
        logger.info("%s", file.described())
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
            train(work, options, training, files)
        if job.is_main():
            finish(work)


def check(options: RecipeArguments) -> None:
    """Refuses options that no run could follow, before anything is read."""
    if not 0 < options.mlm_probability < 1:
        raise UserError(
            f"got --mlm_probability {options.mlm_probability}; wanted a share between 0 and 1, "
            "such as 0.15"
        )
    if options.max_minutes is not None:
        time_budget.check_minutes(options.max_minutes)
    if options.documents not in (None, *text_files.DOCUMENTS):
        wanted = ", ".join(text_files.DOCUMENTS)
        raise UserError(f"got --documents {options.documents}; wanted one of {wanted}")
    if options.task_weight < 0:
        raise UserError(f"got --task_weight {options.task_weight}; wanted 0 or more")
    if not 0 <= options.held_out < 1:
        raise UserError(f"got --held_out {options.held_out:g}; wanted a share from 0 to below 1")
    if options.text_files:
        return
    defaults = RecipeArguments()
    names = ("text_files_column", "documents", "task_weight", "held_out")
    changed = [f"--{name}" for name in names if getattr(options, name) != getattr(defaults, name)]
    if changed:
        raise UserError(f"{', '.join(changed)}: no effect without --text_files; leave it out")


def make_rows(
    work: job.Job,
    options: RecipeArguments,
    tokenizer: Any,
    files: list[text_files.TextFile],
    *,
    seed: int,
) -> tuple[WeightedRows, WeightedRows | None]:
    """Cuts all texts into rows; those of large files lie on disk, in the run folder.

    Returns:
        What is trained on, and what the loss is compared on.

    Raises:
        DataError: for texts without a word.
    """
    window = window_of(options, tokenizer)
    texts = [example.text for part in work.examples.values() for example in part]
    own = text_rows.rows_of_texts(texts, tokenizer, window=window) if options.task_weight else []
    rows, test = WeightedRows(own), None
    if files:
        with PartialState().main_process_first():
            other, held_out = text_rows.rows_of_files(
                work.run.checkpoints / TEXT_FOLDER,
                files,
                Cut(tokenizer, window),
                share=options.held_out,
                seed=seed,
                show=sys.stderr.isatty(),
            )
        rows, test = WeightedRows(own, other, options.task_weight), WeightedRows([], held_out)
    if not len(rows):
        named = ", ".join([*work.data.files.values(), *(options.text_files or ())])
        raise DataError(f"{named}: no text has a word in it; give texts")
    logger.info(
        "%d rows of %d texts, %d sub-words",
        len(rows),
        len(texts) + sum(file.n_documents for file in files),
        rows.n_tokens,
    )
    return rows, test


def compare(
    work: job.Job, trainer: masked_lm.MaskedWordTrainer, test: WeightedRows | None, when: str
) -> None:
    """Writes the loss on held-out text; that of before is kept when a run is resumed."""
    file = work.run.folder / HELD_OUT_FILE
    if not test or not job.is_main():
        return
    known: JsonObject = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    if when == "before" and when in known:
        return
    found = trainer.masked_loss(test, batch_tokens=BATCH_TOKENS)
    known |= {
        "sub_words": test.n_tokens,
        "masked": found.masked,
        when: {"loss": round(found.loss, 4), "perplexity": round(math.exp(found.loss), 2)},
    }
    work.run.write_json(HELD_OUT_FILE, known)
    logger.info(
        "held-out text, %s: loss %.3f nats, perplexity of masked words %.1f",
        when,
        found.loss,
        math.exp(found.loss),
    )


def train(
    work: job.Job,
    options: RecipeArguments,
    training: TrainingArguments,
    files: list[text_files.TextFile],
) -> None:
    """Trains the encoder and saves it into the run."""
    set_seed(training.seed)
    name = options.model_name_or_path
    tokenizer = token_tagger.load_tokenizer(name)
    if tokenizer.mask_token is None:
        raise UserError(
            f"the tokenizer of {name!r} has no mask token; take BERT or a model of its kind"
        )
    rows, test = make_rows(work, options, tokenizer, files, seed=training.seed)
    model, new = masked_lm.new_model(name, rows)
    if new:
        logger.info(
            "%s has no %s: they start at random, and the words' bias from their frequencies",
            name,
            ", ".join(new),
        )
    trainer = masked_lm.MaskedWordTrainer(
        model=model,
        args=training,
        train_dataset=rows,
        processing_class=tokenizer,
        batch_tokens=options.batch_tokens,
        mlm_probability=options.mlm_probability,
        mask_words=options.mask_words,
        max_minutes=options.max_minutes,
        spent=work.earlier_seconds or 0.0,
        half_copies=options.half_copies,
        callbacks=work.callbacks(),
    )
    compare(work, trainer, test, "before")
    trainer.train(resume_from_checkpoint=work.checkpoint(training))
    work.record_training(trainer)
    work.record(tokens=round(rows.n_tokens * (trainer.state.epoch or 0)))
    compare(work, trainer, test, "after")
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
    file = work.run.folder / HELD_OUT_FILE
    held_out = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    work.run.write_json(
        "report.json", {"cost": cost} | ({"held_out": held_out} if held_out else {})
    )
    shutil.rmtree(work.run.checkpoints / TEXT_FOLDER, ignore_errors=True)
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
