"""Fine-tunes an encoder to tag the entity mentions of a text, predicts, scores, submits.

    # bert-base-cased on a GPU, MiniLM on a CPU
    accelerate launch recipes/finetune_token_tagger.py
    python recipes/finetune_token_tagger.py --config recipes/configs/tagger_minilm.yaml \\
        --train_file train.json --dev_file dev.json --test_file test.json --run_dir runs/mine
    python recipes/finetune_token_tagger.py --search learning_rate=1e-5:1e-3 head_rate=1,10

Everything lands in the run folder: config.yaml, provenance.json, model/, predictions/, report.json,
submission.csv; of a search also search.json.
"""

from __future__ import annotations

import copy
import gc
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pipelines.runs import options as config
from pipelines.runs.arguments import (
    DataArguments,
    EncoderTaggerArguments,
    EpochTrainingArguments,
    SearchArguments,
    option,
)
from pipelines.runs.data import Data
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

import torch
import transformers
from accelerate import PartialState
from peft import LoraConfig
from transformers import PrinterCallback, set_seed

from pipelines import job
from pipelines.corpora.lexicon import Lexicon
from pipelines.errors import DataError, UserError, one_line_errors
from pipelines.examples import Example, JsonObject
from pipelines.families import token_tagger
from pipelines.families.tag_units import describe_unreachable
from pipelines.families.token_tagger import span_training, tagging
from pipelines.families.training import cpu_training, dev_scores, early_stopping, encoders
from pipelines.formatting import some
from pipelines.networks.tagger_ensemble import ensemble_of
from pipelines.runs.cost import parameter_counts
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import config_of, replacing_folder
from pipelines.runs.search import SAMPLERS, search_options

ROOT = Path(__file__).resolve().parent.parent
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")


@dataclass
class RecipeArguments(SearchArguments, EncoderTaggerArguments, DataArguments):
    decode: str = option(
        "viterbi",
        "argmax; viterbi: the likeliest legal BIO tags; crf: transition scores that are "
        "trained too; spans: whole spans are scored, and may be nested where those of train are",
        group="model",
    )
    members: int = option(1, "train N taggers, with consecutive seeds, that vote on spans")


@dataclass
class TrainingArguments(EpochTrainingArguments, transformers.TrainingArguments):
    """Transformers', with defaults for tagging."""

    metrics: ClassVar[tuple[str, ...]] = (*dev_scores.SPAN_METRICS, "loss")

    learning_rate: float = option(
        5e-5, "largest learning rate of the encoder's top layer", group="training"
    )
    num_train_epochs: float = option(3.0, "passes over the training examples")
    logging_steps: float = option(20, "steps between lines of the log")
    metric_for_best_model: str | None = option("strict_f1", "score that decides which is best")


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        default = "tagger_bert_base" if torch.cuda.is_available() else "tagger_minilm"
        options, training = config.parse(
            (RecipeArguments, TrainingArguments),
            default_config=ROOT / "recipes" / "configs" / f"{default}.yaml",
        )
        run(options, training)


def run(options: RecipeArguments, training: TrainingArguments) -> JsonObject:
    """The whole job; returns the report of the last labelled split."""
    check(options, training)
    data = job.read(options, answer="spans", project=ROOT)
    check_types(data)
    with job.start(
        "token_tagger",
        data,
        options,
        training,
        model=options.model_name_or_path,
        resume=training.resume_from_checkpoint is not None,
    ) as work:
        if options.search:
            with work.meter.stage("search"):
                options, training = search(options, training, work)
            work.run.write_config(config_of(options, training))
        if work.trains():
            with work.meter.stage("training"):
                train(work, options, training)
        PartialState().wait_for_everyone()
        gc.collect()
        if not job.is_main():
            return {}
        loaded = token_tagger.load(work.run.model)
        return work.finish(
            lambda part: token_tagger.predict(loaded, part, progress=sys.stderr.isatty())
        )


def check(options: RecipeArguments, training: TrainingArguments) -> None:
    """Refuses options that no run could follow, before anything is read."""
    for name, value, wanted in (
        ("decode", options.decode, (*token_tagger.DECODERS, token_tagger.SPANS)),
        ("tune", options.tune, encoders.TUNING_MODES),
        ("search_sampler", options.search_sampler, SAMPLERS),
    ):
        if value not in wanted:
            raise UserError(f"got --{name} {value}; wanted one of {', '.join(wanted)}")
    options.check_span_width()
    if options.members < 1:
        raise UserError(f"got --members {options.members}; wanted 1 or more")
    if options.search and options.members > 1:
        raise UserError(
            "--search tries the options of one tagger; search with --members 1, then train several "
            "with what it found"
        )
    options.check_lexicon()
    cpu_training.use_half_copies(options.half_copies, training)
    if options.members > 1 and (training.resume_from_checkpoint or "true").lower() not in (
        "true",
        "false",
    ):
        raise UserError(
            "of several --members each goes on from its own checkpoint; take "
            "--resume_from_checkpoint true"
        )
    if options.decode == "crf" and options.members > 1:
        raise UserError(
            "--members are saved as one network that scores single tags, and --decode crf scores "
            "whole sequences; take --decode viterbi"
        )
    if options.decode == "crf" and (
        options.focal_gamma or options.class_weight_power or training.label_smoothing_factor
    ):
        raise UserError(
            "--focal_gamma, --class_weight_power and --label_smoothing_factor are of single tags, "
            "and --decode crf scores whole sequences; take --decode viterbi, or leave them at 0"
        )


def check_types(data: Data) -> None:
    """Refuses training without mentions, and names the types that only dev or test has."""
    tags = token_tagger.tags_for(data.splits["train"])
    if tags == ["O"]:
        raise DataError(
            f"{data.files['train']} has no mention, so there is nothing to learn; give a file with "
            "mentions"
        )
    for split in ("dev", "test"):
        spans = (span for example in data.splits.get(split, []) for span in example.spans or ())
        unknown = Counter(span.label for span in spans if f"B-{span.label}" not in tags)
        if unknown:
            logger.info(
                "%s: types that training lacks, which count as missed: %s",
                data.files[split],
                some([f"{label} ({count})" for label, count in unknown.items()]),
            )


def train(work: job.Job, options: RecipeArguments, training: TrainingArguments) -> None:
    """Trains the tagger, or several that vote, and saves it into the run."""
    dev = work.examples.get("dev", [])
    callbacks = early_stopping.choose_on_dev(training, dev, options.early_stopping_patience)
    tokenizer = token_tagger.load_tokenizer(options.model_name_or_path)
    lexicon = options.read_lexicon({"train": work.examples["train"], "dev": dev})
    taggers = []
    for number in range(options.members):
        arguments = copy.copy(training)
        if options.members > 1:
            logger.info("\ntagger %d of %d", number + 1, options.members)
            arguments.seed, arguments.output_dir = (
                training.seed + number,
                f"{training.output_dir}/tagger-{number + 1}",
            )
        tagger = train_tagger(
            work.examples,
            tokenizer,
            options,
            arguments,
            callbacks,
            lexicon=lexicon,
            work=work,
            show=number == 0,
        )
        taggers.append(tagger)
    models = [tagger.model for tagger in taggers]
    if job.is_main():
        if len(taggers) > 1:
            work.record(
                parameters=sum(tagger.parameters for tagger in taggers),
                trained_parameters=sum(tagger.trained_parameters for tagger in taggers),
                tokens=sum(tagger.tokens for tagger in taggers),
            )
        with replacing_folder(
            work.run.model
        ) as folder:  # last of all: a run with a model is not trained again
            token_tagger.save(
                folder,
                model=models[0] if len(models) == 1 else ensemble_of(models),
                tokenizer=tokenizer,
                settings=taggers[0].settings,
            )


class Tagger(NamedTuple):
    model: Any
    settings: token_tagger.TaggerSettings
    parameters: int
    trained_parameters: int
    tokens: int  # read in training
    log: list[dict[str, float]]  # of the trainer


def search(
    options: RecipeArguments, training: TrainingArguments, work: job.Job
) -> tuple[RecipeArguments, TrainingArguments]:
    """Fine-tunes with other options again and again; returns the best ones on dev.

    Raises:
        UserError: without dev, or for an unknown option.
    """
    dev = work.examples.get("dev")
    if not dev:
        raise UserError("--search compares models on dev; give --dev_file")
    metric = str(training.metric_for_best_model).removeprefix("eval_")
    tokenizer = token_tagger.load_tokenizer(options.model_name_or_path)

    def score(trial: RecipeArguments, arguments: TrainingArguments) -> float:
        check(trial, arguments)
        callbacks = early_stopping.choose_on_dev(arguments, dev, trial.early_stopping_patience)
        lexicon = trial.read_lexicon()
        tagger = train_tagger(
            work.examples, tokenizer, trial, arguments, callbacks, lexicon=lexicon
        )
        gc.collect()
        return dev_scores.best_score(tagger.log, metric)

    return search_options(score, options, training, work.run, metric=metric, check=check)


def train_tagger(
    examples: dict[str, list[Example]],
    tokenizer: Any,
    options: RecipeArguments,
    training: TrainingArguments,
    callbacks: Sequence[Any],
    *,
    lexicon: Lexicon | None = None,
    work: job.Job | None = None,
    show: bool = False,
) -> Tagger:
    """Trains one tagger; its adapters, if it has any, are merged.

    Args:
        lexicon: that of the options.
        work: the job whose checkpoints it keeps; a trial of a search keeps none.
        show: whether what training cannot use, and what starts at random, is logged.
    """
    set_seed(training.seed)
    train_examples, dev = examples["train"], examples.get("dev", [])
    name = options.model_name_or_path
    # Both modules prepare a tagger by functions of the same names.
    kind: Any = span_training if options.decode == token_tagger.SPANS else tagging
    model, new = kind.model_to_train(
        name,
        kind.labels_for(train_examples),
        tune=options.tune,
        last_n=options.last_n,
        lora=LoraConfig(
            r=options.lora_r, lora_alpha=options.lora_alpha, target_modules="all-linear"
        ),
        case_feature=options.case_feature,
        lexicon=lexicon,
        lexicon_dropout=options.lexicon_dropout,
        dropout=options.dropout,
        **head_of(train_examples, options, show=show),
    )
    if show and new:
        logger.info("%s has no %s for these labels: they are new", name, ", ".join(new))
    settings = tagging.settings_for(
        model,
        tokenizer,
        decode=options.decode,
        window=options.window,
        stride=options.stride,
    )
    found = kind.training_rows(train_examples, model, tokenizer, settings)
    report_rows(found, settings, model, show=show)
    weight = None
    if options.class_weight_power:
        weight = kind.label_weights(found.rows, model, power=options.class_weight_power)
    trainer = kind.TaggerTrainer(
        model=model,
        args=training,
        train_dataset=found.rows,
        processing_class=tokenizer,
        train=train_examples,
        dev=dev,
        settings=settings,
        batch_tokens=options.batch_tokens,
        layer_decay=options.layer_decay,
        head_rate=options.head_rate,
        weight=weight,
        focal_gamma=options.focal_gamma,
        half_copies=options.half_copies,
        ema_decay=options.ema_decay,
        callbacks=[*callbacks, *(work.callbacks() if work else ())],
    )
    if work is None:
        trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=work.checkpoint(training) if work else None)
    trained = trainer.accelerator.unwrap_model(trainer.model)
    counts = parameter_counts(trained)
    tokens = sum(len(row["input_ids"]) for row in found.rows)
    if work:
        work.record_training(trainer)
        work.record(unreachable_mentions=len(found.lost))
    read = round(tokens * (trainer.state.epoch or 0))
    log = trainer.state.log_history
    return Tagger(encoders.merged(trained), settings, *counts, tokens=read, log=log)


def head_of(examples: Sequence[Example], options: RecipeArguments, *, show: bool) -> JsonObject:
    """What the head is made with: a CRF, or the width of spans and whether they may overlap."""
    if options.decode != token_tagger.SPANS:
        return {"crf": options.decode == "crf"}
    head = span_training.head_for(examples, max_width=options.max_span_words)
    if show:
        logger.info("%s", span_training.describe_head(head))
    return head


def report_rows(
    found: tagging.Rows, settings: token_tagger.TaggerSettings, model: Any, *, show: bool
) -> None:
    """Says what training cannot use, and refuses to train on nothing."""
    if not found.rows:
        raise DataError("no training text has a word in it; give texts")
    if show and found.long:
        logger.info(
            "longer than %d sub-words, tagged in overlapping windows: %d examples: %s",
            settings.window,
            len(found.long),
            some(found.long),
        )
    if show and found.empty:
        logger.info("empty texts, which train nothing: %d: %s", len(found.empty), some(found.empty))
    if show and found.lost:
        logger.info(
            "%s", describe_unreachable(found.lost, width=getattr(model.config, "max_width", None))
        )


if __name__ == "__main__":
    main()
