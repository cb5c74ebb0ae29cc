"""Fine-tunes an encoder to classify texts or pairs of texts, predicts and scores.

    # MiniLM on a CPU, DistilBERT on a GPU
    python recipes/finetune_classifier.py
    python recipes/finetune_classifier.py --train_file reviews.txt --test_file test.txt \\
        --run_dir runs/reviews
    python recipes/finetune_classifier.py --train_file train.csv --run_dir runs/three \\
        --models distilbert-base-cased,bert-base-cased,roberta-base
    python recipes/finetune_classifier.py --train_file train.csv --search learning_rate=1e-5:1e-3 \\
        pooling=cls,mean

Several --models are trained one after the other with the same options and end in `pipelines
compare`; the same command again trains those that failed or are new. Everything lands in the run
folder (of several models, a folder each in it): config.yaml, provenance.json, model/, predictions/,
report.json, report.html; of a search also search.json.
"""

from __future__ import annotations

import copy
import gc
import logging
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from pipelines.examples import JsonObject
from pipelines.runs import options as config
from pipelines.runs.arguments import (
    ClassArguments,
    EncoderArguments,
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
from accelerate.utils import broadcast_object_list
from peft import LoraConfig
from transformers import PreTrainedTokenizerBase, PrinterCallback, set_seed

from pipelines import job
from pipelines.corpora.class_splits import ClassSplits
from pipelines.errors import UserError, one_line_errors
from pipelines.evaluation import thresholds
from pipelines.families import sequence_classifier
from pipelines.families.class_answers import ClassifierSettings
from pipelines.families.sequence_classifier import Loaded, classifier_training
from pipelines.families.training import cpu_training, dev_scores, early_stopping, encoders
from pipelines.networks.pooled_classifier import POOLINGS
from pipelines.reporting.compare import compare_runs
from pipelines.reporting.comparison import comparison_as_text, write_comparison
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import Run, config_of, replacing_folder
from pipelines.runs.search import SAMPLERS, search_options

ROOT = Path(__file__).resolve().parent.parent
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")


@dataclass
class RecipeArguments(SearchArguments, EncoderArguments, ClassArguments):
    model_name_or_path: str = option(
        "distilbert-base-cased", "an encoder: a Hub id, a folder, or local:minilm", group="model"
    )
    models: str | None = option(None, "several encoders to compare, separated by commas")
    pooling: str = option(
        "cls",
        "cls (the library's own class), mean, max, attention, or token: each token is scored, "
        "and a class has the score of its best token",
    )
    max_length: int | None = option(
        None, "tokens of a text (default: no text is cut, unless it exceeds the model's window)"
    )
    tune_thresholds: bool | None = option(
        None,
        "tune each class's threshold on dev for macro F1 (default: if a class is rarer than "
        "half its even share)",
        group="prediction",
    )


@dataclass
class TrainingArguments(EpochTrainingArguments, transformers.TrainingArguments):
    """Transformers', with defaults for classifying."""

    metrics: ClassVar[tuple[str, ...]] = (*thresholds.OBJECTIVES, "loss")

    learning_rate: float = option(
        5e-5, "largest learning rate of the encoder's top layer", group="training"
    )
    num_train_epochs: float = option(3.0, "passes over the training texts")
    warmup_steps: float = option(
        0.1, "steps, or their share below 1, in which the learning rate rises"
    )
    logging_steps: float = option(20, "steps between lines of the log")
    metric_for_best_model: str | None = option(
        "macro_f1", "score that decides which is best: macro_f1, accuracy, micro_f1 or matthews"
    )


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        default = "classifier_distilbert" if torch.cuda.is_available() else "classifier_minilm"
        options, training = config.parse(
            (RecipeArguments, TrainingArguments),
            default_config=ROOT / "recipes" / "configs" / f"{default}.yaml",
        )
        run(options, training)


def run(options: RecipeArguments, training: TrainingArguments) -> JsonObject:
    """Trains and scores one model, or compares several; returns the report or comparison."""
    check_options(options, training)
    names = names_of(options, training)
    data = job.read(options, answer="label", project=ROOT, seed=training.seed)
    [folder] = broadcast_object_list(
        [options.run_dir or f"runs/classifier-{time.strftime('%Y%m%d-%H%M%S')}"]
    )
    if not options.models:
        return run_one(options, training, data, Path(folder))
    return run_several(names, options, training, data, Path(folder))


def check_options(options: RecipeArguments, training: TrainingArguments) -> None:
    """Refuses unknown names, and half copies where they cannot be, before anything is read."""
    for name, value, wanted in (
        ("tune", options.tune, encoders.TUNING_MODES),
        ("pooling", options.pooling, POOLINGS),
        ("search_sampler", options.search_sampler, SAMPLERS),
    ):
        if value not in wanted:
            raise UserError(f"got --{name} {value}; wanted one of {', '.join(wanted)}")
    cpu_training.use_half_copies(options.half_copies, training)


def names_of(options: RecipeArguments, training: TrainingArguments) -> list[str]:
    """The models to train, each of which could be loaded.

    Raises:
        UserError: with all faults of the names, so that none shows after hours of training.
    """
    if not options.models:
        return [options.model_name_or_path]
    if training.push_to_hub:
        raise UserError("got --push_to_hub beside --models; push the run that you choose")
    names = [name.strip() for name in options.models.split(",") if name.strip()]
    if (training.resume_from_checkpoint or "true").lower() not in ("true", "false"):
        raise UserError(
            "of several --models each goes on from its own checkpoint; take "
            "--resume_from_checkpoint true"
        )
    duplicates = [name for name, count in Counter(map(folder_name, names)).items() if count > 1]
    if duplicates or not names:
        raise UserError(
            f"got --models {options.models}; wanted one or more, each once"
            f"{f', but {duplicates[0]} is there twice' if duplicates else ''}"
        )
    faults = []
    for name in names:
        try:
            tokenizer_and_window(replace(options, model_name_or_path=name))
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise UserError("; ".join(faults))
    return names


def folder_name(model: str) -> str:
    return model.replace("/", "-").replace(":", "-")


def run_several(
    names: Sequence[str],
    options: RecipeArguments,
    training: TrainingArguments,
    data: Data,
    folder: Path,
) -> JsonObject:
    """Trains one model after the other, except finished ones, and compares them all.

    Raises:
        UserError: when one failed; the others are trained and compared by then.
    """
    failed = []
    runs = {name: Run(folder / folder_name(name)) for name in names}
    [finished, begun] = broadcast_object_list(
        [
            [name for name in names if runs[name].is_finished()],
            [name for name in names if runs[name].folder.is_dir()],
        ]
    )
    for name in names:
        if name in finished:
            logger.info(
                "\n%s: %s is finished; another --run_dir trains it again", name, runs[name].folder
            )
            continue
        logger.info("\n%s", name)
        arguments = copy.copy(training)
        if name in begun:
            arguments.resume_from_checkpoint = training.resume_from_checkpoint or "true"
        if training.output_dir:
            arguments.output_dir = f"{training.output_dir}/{folder_name(name)}"
        try:
            run_one(
                replace(options, model_name_or_path=name, models=None),
                arguments,
                data,
                runs[name].folder,
            )
        except Exception as error:
            if PartialState().num_processes > 1:  # the others would wait for this one
                raise
            if not isinstance(error, UserError):
                traceback.print_exc()
            failed.append(name)
            logger.error("%s: %s", name, error)
        gc.collect()
    if not job.is_main():
        return {}
    comparison: JsonObject = {}
    if len(failed) < len(names):
        comparison = compare_runs([runs[name].folder for name in names if name not in failed])
        logger.info("\n%s", comparison_as_text(comparison))
        write_comparison(comparison, folder / "comparison.html")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(names)} models failed (above): {', '.join(failed)}; give the "
            "same command again once that is fixed: what is finished is kept"
        )
    return comparison


def run_one(
    options: RecipeArguments, training: TrainingArguments, data: Data, folder: Path
) -> JsonObject:
    """Trains, predicts and scores one model; returns the report of the last labelled split."""
    with job.start(
        "classifier",
        data,
        options,
        training,
        model=options.model_name_or_path,
        folder=folder,
        resume=training.resume_from_checkpoint is not None,
    ) as work:
        if options.search:
            with work.meter.stage("search"):
                options, training = search(options, training, work)
            work.run.write_config(config_of(options, training))
        if work.trains():
            with work.meter.stage("training"):
                fit(work, options, training)
        PartialState().wait_for_everyone()
        gc.collect()
        if not job.is_main():
            return {}
        loaded = sequence_classifier.load(work.run.model)
        return work.finish(lambda part: sequence_classifier.predict(loaded, part))


def fit(work: job.Job, options: RecipeArguments, training: TrainingArguments) -> None:
    """Trains the classifier and saves it into the run."""
    classes = work.data.classes
    assert classes is not None
    trainer = train(classes, options, training, work=work)
    work.record_training(trainer)
    if not job.is_main():
        return
    network = encoders.merged(trainer.accelerator.unwrap_model(trainer.model)).eval()
    tokenizer: Any = trainer.processing_class
    loaded = Loaded(network, tokenizer, trainer.settings)
    dev = classes.usable("dev")
    if dev and classifier_training.tunes_thresholds(options.tune_thresholds, classes):
        loaded = classifier_training.with_thresholds(loaded, dev)
    # Last of all: a run with a model is not trained again.
    with replacing_folder(work.run.model) as folder:
        sequence_classifier.save(
            folder,
            model=network,
            tokenizer=tokenizer,
            settings=loaded.settings,
            base_model=options.model_name_or_path,
        )


def train(
    classes: ClassSplits,
    options: RecipeArguments,
    training: TrainingArguments,
    *,
    work: job.Job | None = None,
) -> classifier_training.ClassifierTrainer:
    """Fine-tunes an encoder; the trainer that comes back holds the best classifier.

    Args:
        work: the job whose checkpoints it keeps; a trial of a search keeps none, and logs nothing.
    """
    set_seed(training.seed)
    examples, dev = classes.usable("train"), classes.usable("dev")
    tokenizer, settings = settings_for(classes, options)
    model = sequence_classifier.load_network(
        options.model_name_or_path, settings, pooling=options.pooling, dropout=options.dropout
    )
    lora = LoraConfig(r=options.lora_r, lora_alpha=options.lora_alpha, target_modules="all-linear")
    encoders.choose_trained(model, options.tune, last_n=options.last_n, lora=lora)
    rows, _ = classifier_training.training_rows(examples, tokenizer, settings)
    if work:
        logger.info("%d training texts, %d tokens at most", len(rows), settings.max_length)
        classifier_training.log_cut_texts(classes, tokenizer, settings)
    weight = None
    if options.class_weight_power:
        weight = classifier_training.class_frequency_weights(
            examples, settings, power=options.class_weight_power
        )
    callbacks = early_stopping.choose_on_dev(training, dev, options.early_stopping_patience)
    trainer = classifier_training.ClassifierTrainer(
        model=model,
        args=training,
        train_dataset=rows,
        train=examples,
        dev=dev,
        processing_class=tokenizer,
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
    return trainer


def settings_for(
    classes: ClassSplits, options: RecipeArguments
) -> tuple[PreTrainedTokenizerBase, ClassifierSettings]:
    """The model's tokenizer, and how texts are encoded: as long as asked, else as all are."""
    tokenizer, window = tokenizer_and_window(options)
    texts = [example for part in classes.splits.values() for example in part]
    max_length = options.max_length or sequence_classifier.length_from(
        texts, tokenizer, window=window
    )
    return tokenizer, ClassifierSettings(classes.labels, classes.multi_label, max_length)


def search(
    options: RecipeArguments, training: TrainingArguments, work: job.Job
) -> tuple[RecipeArguments, TrainingArguments]:
    """Fine-tunes with other options again and again; returns the best ones on dev."""
    classes = work.data.classes
    assert classes is not None
    metric = str(training.metric_for_best_model).removeprefix("eval_")

    def score(trial: RecipeArguments, arguments: TrainingArguments) -> float:
        check_options(trial, arguments)
        log = train(classes, trial, arguments).state.log_history
        gc.collect()
        return dev_scores.best_score(log, metric)

    return search_options(score, options, training, work.run, metric=metric, check=check_options)


def tokenizer_and_window(options: RecipeArguments) -> tuple[PreTrainedTokenizerBase, int]:
    """The model's tokenizer, and the tokens that it takes at most.

    Raises:
        UserError: when it could not be loaded, or takes fewer tokens than asked.
    """
    tokenizer = sequence_classifier.load_tokenizer(options.model_name_or_path)
    window = sequence_classifier.window_of(options.model_name_or_path, tokenizer)
    if options.max_length and options.max_length > window:
        raise UserError(
            f"got --max_length {options.max_length}; {options.model_name_or_path} takes {window} "
            f"tokens"
        )
    return tokenizer, window


if __name__ == "__main__":
    main()
