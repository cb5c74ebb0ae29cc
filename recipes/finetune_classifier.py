"""Fine-tunes an encoder to give texts or pairs of texts their class or classes, predicts and scores.

    python recipes/finetune_classifier.py                                         # MiniLM on a CPU, DistilBERT on a GPU
    python recipes/finetune_classifier.py --train_file reviews.txt --test_file test.txt --run_dir runs/reviews
    python recipes/finetune_classifier.py --train_file train.csv \\
        --models distilbert-base-cased,bert-base-cased,roberta-base --run_dir runs/three

Several --models are trained one after the other with the same options and end in `pipelines compare`; the same command
again trains those that failed or are new. Everything lands in the run folder (of several models, a folder each in it):
config.yaml, provenance.json, model/, predictions/, report.json, report.html.
"""

from __future__ import annotations

import copy
import gc
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from peft import LoraConfig
from transformers import set_seed

from pipelines.corpora.class_splits import ClassSplits, read_class_splits, write_cut
from pipelines.corpora.splits import classes_of
from pipelines.corpora.stream import batches
from pipelines.errors import UserError, one_line_errors
from pipelines.evaluation.reports import evaluate_classes
from pipelines.examples import Example, Prediction, write_predictions
from pipelines.families import sequence_classifier
from pipelines.families.frozen_head import head_search
from pipelines.families.sequence_classifier import Settings, classifier_training
from pipelines.families.token_tagger import tagging
from pipelines.job import rehearse_submission, submit
from pipelines.networks.pooled_classifier import POOLINGS
from pipelines.reporting.compare import compare_runs, comparison_as_text, write_comparison
from pipelines.reporting.html import write_report
from pipelines.reporting.text import report_as_text
from pipelines.runs import options as config
from pipelines.runs.cost import CostMeter
from pipelines.runs.provenance import provenance, reading_of
from pipelines.runs.run import Run, tell

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class RecipeArguments(config.ClassArguments):
    model_name_or_path: str = field(default="distilbert-base-cased", metadata={"help": "a Hub id, a folder, or "
                                                                                       "local:minilm"})
    models: str | None = field(default=None, metadata={"help": "several of them, separated by commas, to compare"})
    pooling: str = field(default="cls", metadata={"help": "cls (the library's own class), mean, max, attention, or "
                                                          "token: each token is scored, and a class has the score of "
                                                          "its best one"})
    max_length: int | None = field(default=None, metadata={"help": "tokens of a text (default: no text is cut, unless "
                                                                   "it is over the model's window)"})
    tune: str = field(default="full", metadata={"help": "what is trained: full, lora, head or last_n"})
    last_n: int = field(default=2, metadata={"help": "layers that --tune last_n trains"})
    lora_r: int = field(default=16, metadata={"help": "rank of the adapters of --tune lora"})
    lora_alpha: int = field(default=32, metadata={"help": "their scale"})
    layer_decay: float = field(default=1.0, metadata={"help": "the rate of a layer in that of the layer above"})
    head_rate: float = field(default=1.0, metadata={"help": "the head's rate, in learning rates"})
    class_weight_power: float = field(default=0.0, metadata={"help": "weigh each class by its frequency to minus this "
                                                                     "power: 0 = all texts alike, 1 = all classes"})
    focal_gamma: float = field(default=0.0, metadata={"help": "focal loss with this exponent; 0 = cross-entropy"})
    dropout: float | None = field(default=None, metadata={"help": "of the head, in place of the checkpoint's own"})
    tune_thresholds: bool | None = field(default=None, metadata={"help": "tune each class's threshold on dev for "
                                                                         "macro F1 (default: where a class is rarer "
                                                                         "than half its even share)"})
    batch_tokens: int | None = field(default=None, metadata={"help": "batches of texts of one length with at most so "
                                                                     "many tokens, in place of "
                                                                     "per_device_train_batch_size"})
    half_copies: bool | None = field(default=None, metadata={"help": "compute in bf16 copies of the weights (default: "
                                                                     "on a CPU that has bf16)"})
    ema_decay: float = field(default=0.0, metadata={"help": "score and save a running mean of the weights, which keeps "
                                                            "this share of itself at each step (such as 0.99); 0 = "
                                                            "the weights themselves"})
    early_stopping_patience: int | None = field(default=None, metadata={"help": "stop after so many evaluations "
                                                                                "without a better macro F1"})


@dataclass
class TrainingArguments(config.RunTrainingArguments, transformers.TrainingArguments):
    """Transformers', with defaults for classifying; the number format is left to the machine (`precision.choose`)."""

    warmup_steps: float = field(default=0.1, metadata={"help": "steps, or their share below 1, of rising rate"})
    logging_steps: float = field(default=20, metadata={"help": "steps between lines of the log"})
    eval_strategy: str = field(default="epoch", metadata={"help": "when dev is predicted and scored"})
    save_strategy: str = field(default="epoch", metadata={"help": "when a checkpoint is written"})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "keep the checkpoint that is best on dev"})
    metric_for_best_model: str | None = field(default="macro_f1", metadata={"help": "or accuracy, micro_f1, matthews"})
    save_total_limit: int | None = field(default=1, metadata={"help": "checkpoints kept beside the best"})
    remove_unused_columns: bool = field(default=False, metadata={"help": "rows hold what the network takes"})


def main() -> None:
    with one_line_errors():
        default = "classifier_distilbert" if torch.cuda.is_available() else "classifier_minilm"
        options, training = config.parse((RecipeArguments, TrainingArguments),
                                         default_config=ROOT / "recipes" / "configs" / f"{default}.yaml")
        run(options, training)


def run(options: RecipeArguments, training: TrainingArguments) -> dict[str, Any]:
    """Trains and scores one model, or several and compares them; returns the report, or the comparison."""
    metric = (training.metric_for_best_model or "none").removeprefix("eval_")
    for name, value, wanted in (("tune", options.tune, tagging.TUNED), ("pooling", options.pooling, POOLINGS),
                                ("metric_for_best_model", metric, head_search.OBJECTIVES)):
        if value not in wanted:
            raise UserError(f"got --{name} {value}; wanted one of {', '.join(wanted)}")
    tagging.half_copies(options.half_copies, training)
    names = names_of(options, training)
    first = PartialState().is_main_process
    files = config.given_files(options, ROOT)
    found = read_class_splits(files, columns=options.columns(), sizes=options.sizes, seed=training.seed,
                              skip_bad_rows=options.skip_bad_rows, report=lambda line: tell(first, line))
    rehearse_submission(found.splits, options, answer="label")
    [folder] = broadcast_object_list([options.run_dir or f"runs/classifier-{time.strftime('%Y%m%d-%H%M%S')}"])
    if not options.models:
        return run_one(options, training, found, files, Path(folder))
    return run_several(names, options, training, found, files, Path(folder))


def names_of(options: RecipeArguments, training: TrainingArguments) -> list[str]:
    """The models to train, each of which can be had.

    Raises:
        UserError: with all faults of the names, so that none shows after hours of training.
    """
    if not options.models:
        return [options.model_name_or_path]
    names = [name.strip() for name in options.models.split(",") if name.strip()]
    if (training.resume_from_checkpoint or "true").lower() not in ("true", "false"):
        raise UserError("of several --models each goes on from its own checkpoint; take --resume_from_checkpoint true")
    doubled = [name for name, count in Counter(map(folder_name, names)).items() if count > 1]
    if doubled or not names:
        raise UserError(f"got --models {options.models}; wanted one or more, each once"
                        f"{f', but {doubled[0]} is there twice' if doubled else ''}")
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


def run_several(names: Sequence[str], options: RecipeArguments, training: TrainingArguments, found: ClassSplits,
                files: dict[str, str], folder: Path) -> dict[str, Any]:
    """Trains and scores one model after the other, but for those that are finished, and compares all that are.

    Raises:
        UserError: when one failed; the others are trained and compared by then.
    """
    first, failed = PartialState().is_main_process, []
    runs = {name: Run(folder / folder_name(name)) for name in names}
    [finished, begun] = broadcast_object_list([[name for name in names if runs[name].report.is_file()],
                                               [name for name in names if runs[name].folder.is_dir()]])
    for name in names:
        if name in finished:
            tell(first, f"\n{name}: {runs[name].folder} is finished; another --run_dir trains it again")
            continue
        tell(first, f"\n{name}")
        arguments = copy.deepcopy(training)
        if name in begun:
            arguments.resume_from_checkpoint = training.resume_from_checkpoint or "true"
        if training.output_dir:
            arguments.output_dir = f"{training.output_dir}/{folder_name(name)}"
        try:
            run_one(replace(options, model_name_or_path=name, models=None), arguments, found, files, runs[name].folder)
        except Exception as error:
            if PartialState().num_processes > 1:  # the others would wait for this one
                raise
            if not isinstance(error, UserError):
                traceback.print_exc()
            failed.append(name)
            print(f"{name}: {error}", file=sys.stderr)
        gc.collect()
    if not first:
        return {}
    comparison: dict[str, Any] = {}
    if len(failed) < len(names):
        comparison = compare_runs([runs[name].folder for name in names if name not in failed])
        print(f"\n{comparison_as_text(comparison)}")
        write_comparison(comparison, folder / "comparison.html")
    if failed:
        raise UserError(f"{len(failed)} of {len(names)} models failed, as told above: {', '.join(failed)}; give the "
                        "same command again once that is mended: what is finished is kept")
    return comparison


def run_one(options: RecipeArguments, training: TrainingArguments, found: ClassSplits, files: dict[str, str],
            folder: Path) -> dict[str, Any]:
    """Trains, predicts and scores one model; returns the report of test, or of dev without a labelled test."""
    meter, first, run = CostMeter(), PartialState().is_main_process, Run(folder)
    training.output_dir = training.output_dir or str(run.checkpoints)
    if first:
        run.start(resume=training.resume_from_checkpoint is not None)
        run.write_config(options, training)
        cut = write_cut(found, files, folder / "splits")
        run.write_json("provenance.json", provenance([*files.values(), *cut], model=options.model_name_or_path,
                                                          reading=reading_of(found.corpora)))
    cost: dict[str, Any] = {}
    if (run.model / sequence_classifier.MODEL_FILE).is_file():
        tell(first, f"{run.model} is there already: going on with prediction")
    else:
        with meter.stage("training"):
            cost = train(found, options, training, run)
    PartialState().wait_for_everyone()
    gc.collect()
    if not first:
        return {}
    loaded = sequence_classifier.load(run.model)
    report: dict[str, Any] = {}
    scored: tuple[list[Example], list[Prediction]] | None = None
    answers: dict[str, list[Prediction]] = {}
    for split in [split for split in ("dev", "test") if split in found.splits]:
        examples = found.splits[split]
        with meter.stage(f"predict_{split}"):
            predictions = [answer for batch in batches(examples)
                           for answer in sequence_classifier.predict(loaded, batch)]
        write_predictions(run.predictions(split), predictions)
        answers[split] = predictions
        if examples and all(example.label is not None for example in examples):
            report = {"split": split, **evaluate_classes(examples, predictions, train=found.splits["train"])}
            scored = examples, predictions
    report["cost"] = {**cost, **meter.to_json()}
    run.write_json("report.json", report)
    if scored:
        write_report(report, *scored, run.folder / "report.html", title=run.folder.name,
                     trainer_log=json.loads((run.folder / "trainer_log.json").read_text(encoding="utf-8")))
    if options.sample_submission:
        asked = "test" if "test" in answers else "dev"
        submit(run, found.splits[asked], answers[asked], options)
    print_summary(report, run)
    return report


def train(found: ClassSplits, options: RecipeArguments, training: TrainingArguments, run: Run) -> dict[str, Any]:
    """Trains the classifier and saves it into the run; returns figures of its cost."""
    first = PartialState().is_main_process
    set_seed(training.seed)
    name, examples, dev = options.model_name_or_path, found.usable("train"), found.usable("dev")
    tokenizer, window = tokenizer_and_window(options)
    everything = [example for part in found.splits.values() for example in part]
    max_length = options.max_length or sequence_classifier.length_from(everything, tokenizer, window=window)
    settings = Settings(found.labels, found.multi_label, max_length)
    model = sequence_classifier.load_network(name, settings, pooling=options.pooling, dropout=options.dropout,
                                             told=lambda line: tell(first, line))
    tagging.choose_trained(model, options.tune, last_n=options.last_n,
                           lora=LoraConfig(r=options.lora_r, lora_alpha=options.lora_alpha,
                                           target_modules="all-linear"))
    rows, cut = classifier_training.training_rows(examples, tokenizer, settings)
    tell(first, f"{len(rows)} training texts, {max_length} tokens at most")
    cuts = {"train": cut} | {split: sequence_classifier.encode(part, tokenizer, max_length=max_length).cut
                             for split, part in found.splits.items() if split != "train"}
    for split, ids in cuts.items():
        tell(first and ids, f"{split}: {len(ids)} texts are over that and lose their end: id {', '.join(ids[:10])}"
                            f"{f' and {len(ids) - 10} more' if len(ids) > 10 else ''}")
    callbacks = tagging.choose_on_dev(training, dev, options.early_stopping_patience)
    half_copies = tagging.half_copies(options.half_copies, training)
    if half_copies:
        training.bf16 = False
    weight = classifier_training.class_frequency_weights(examples, settings, power=options.class_weight_power) if \
        options.class_weight_power else None
    trainer = classifier_training.ClassifierTrainer(
        model=model, args=training, train_dataset=rows, eval_dataset=rows[:1] if dev else None, dev=dev,
        processing_class=tokenizer, classes=settings, batch_tokens=options.batch_tokens,
        layer_decay=options.layer_decay, head_rate=options.head_rate, weight=weight, focal_gamma=options.focal_gamma,
        half_copies=half_copies, ema_decay=options.ema_decay, callbacks=callbacks)
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=config.checkpoint_of(training))
    seconds = time.perf_counter() - start
    trained = trainer.accelerator.unwrap_model(trainer.model)
    counts = [sum(parameter.numel() for parameter in trained.parameters() if parameter.requires_grad or not only)
              for only in (False, True)]
    if first:
        merged = tagging.merged(trained).eval()
        if dev and tunes(options, found, examples):
            logits = sequence_classifier.predict_logits(
                sequence_classifier.Loaded(merged, tokenizer, settings), dev, progress=False)
            offsets = head_search.tune_offsets(
                logits, np.array(sequence_classifier.targets(dev, settings)), "macro_f1")
            settings = replace(settings, offsets=tuple(offsets.tolist()))
        # The model last: a run that has one is not trained again.
        run.write_json("trainer_log.json", trainer.state.log_history)
        sequence_classifier.save(run.model, model=merged, tokenizer=tokenizer, settings=settings, base_model=name)
    tokens = sum(len(row["input_ids"]) for row in rows) * (trainer.state.epoch or 0)
    return {"parameters": counts[0], "trained_parameters": counts[1],
            "training_tokens_per_second": round(tokens / seconds, 1)}


def tokenizer_and_window(options: RecipeArguments) -> tuple[Any, int]:
    """The model's tokenizer, and the tokens that it takes at most.

    Raises:
        UserError: when it cannot be had, or takes fewer tokens than asked.
    """
    tokenizer = sequence_classifier.load_tokenizer(options.model_name_or_path)
    window = sequence_classifier.window_of(options.model_name_or_path, tokenizer)
    if options.max_length and options.max_length > window:
        raise UserError(f"got --max_length {options.max_length}; {options.model_name_or_path} takes {window} tokens")
    return tokenizer, window


def tunes(options: RecipeArguments, found: ClassSplits, examples: list[Example]) -> bool:
    """Whether thresholds are tuned: as asked, or where a class is rarer than half its even share."""
    if options.tune_thresholds is not None:
        return options.tune_thresholds
    counts = Counter(label for example in examples for label in classes_of(example))
    return min(counts.values()) < len(examples) / (2 if found.multi_label else len(found.labels)) / 2


def print_summary(report: dict[str, Any], run: Run) -> None:
    if "accuracy" in report:
        print(report_as_text(report))
        seconds = sum(report["cost"]["seconds"].values())
        print(f"\n{report['split']}: accuracy {report['accuracy']:.4f}, macro F1 {report['macro']['f1']:.4f}; "
              f"{seconds:.0f} s")
    run.print_files("test" if run.predictions("test").is_file() else "dev")


if __name__ == "__main__":
    main()
