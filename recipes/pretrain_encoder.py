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

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.runs import options as config
from pipelines.runs.arguments import option
from pipelines.runs.pretraining_arguments import PretrainingArguments, PretrainingTrainingArguments
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

import transformers
from transformers import set_seed

from pipelines import job
from pipelines.corpora.text_files import TextFile
from pipelines.errors import UserError, one_line_errors
from pipelines.families import sequence_classifier, token_tagger
from pipelines.families.language_model import masked_lm, text_rows
from pipelines.families.language_model.text_rows import MaskedCut
from pipelines.families.training import cpu_training
from pipelines.reporting.pretraining import report_pretraining
from pipelines.runs import held_out
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import replacing_folder

ROOT = Path(__file__).resolve().parent.parent
PREDICTED = "masked words"
BATCH_TOKENS = 4096  # of held-out text
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")


@dataclass
class RecipeArguments(PretrainingArguments):
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


@dataclass
class TrainingArguments(PretrainingTrainingArguments, transformers.TrainingArguments):
    """Transformers', with defaults for pretraining."""


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
    options.check()
    if not 0 < options.mlm_probability < 1:
        raise UserError(
            f"got --mlm_probability {options.mlm_probability}; wanted a share between 0 and 1, "
            "such as 0.15"
        )
    files = options.survey()
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
            report_pretraining(work.run, work.cost(), work.examples, what=PREDICTED)
            text_rows.forget_rows(work.run.checkpoints)


def train(
    work: job.Job,
    options: RecipeArguments,
    training: TrainingArguments,
    files: list[TextFile],
) -> None:
    """Trains the encoder and saves it into the run."""
    set_seed(training.seed)
    name = options.model_name_or_path
    tokenizer = token_tagger.load_tokenizer(name)
    if tokenizer.mask_token is None:
        raise UserError(
            f"the tokenizer of {name!r} has no mask token; take BERT or a model of its kind"
        )
    rows, test = text_rows.weighted_rows(
        work.examples,
        files,
        MaskedCut(tokenizer, window_of(options, tokenizer)),
        work.run.checkpoints,
        named=work.data.files.values(),
        weight=options.task_weight,
        share=options.held_out,
        seed=training.seed,
    )
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
    comparison: Any = {"what": PREDICTED, "batch_tokens": BATCH_TOKENS}
    held_out.compare(work.run, trainer, test, "before", **comparison)
    trainer.train(resume_from_checkpoint=work.checkpoint(training))
    work.record_training(trainer)
    work.record(tokens=round(rows.n_tokens * (trainer.state.epoch or 0)))
    held_out.compare(work.run, trainer, test, "after", **comparison)
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


if __name__ == "__main__":
    main()
