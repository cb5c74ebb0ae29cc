"""Fine-tunes an encoder to tag the entity mentions of a text, predicts, scores, submits.

    accelerate launch recipes/finetune_token_tagger.py                     # bert-base-cased on a GPU, MiniLM on a CPU
    python recipes/finetune_token_tagger.py --config recipes/configs/tagger_minilm.yaml \\
        --train_file train.json --dev_file dev.json --test_file test.json --run_dir runs/mine

Everything lands in the run folder: config.yaml, provenance.json, model/, predictions/, report.json, submission.csv.
"""

from __future__ import annotations

import copy
import gc
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from peft import LoraConfig
from transformers import set_seed

from pipelines.entity_run import checked_examples, finish, predict_splits
from pipelines.errors import DataError, UserError, one_line_errors
from pipelines.examples import Example
from pipelines.families import token_tagger
from pipelines.families.token_tagger import tagging
from pipelines.families.token_tagger.units import describe_unreachable, shown
from pipelines.networks import precision
from pipelines.networks.tagger_ensemble import ensemble_of
from pipelines.runs import options as config
from pipelines.runs.cost import CostMeter
from pipelines.runs.provenance import provenance
from pipelines.runs.run import Run, tell

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class RecipeArguments(config.DataArguments):
    model_name_or_path: str = field(default="local:minilm", metadata={"help": "an encoder: a folder, a Hub id, or "
                                                                              "local:minilm"})
    decode: str = field(default="viterbi", metadata={"help": "argmax; viterbi: the likeliest legal BIO tags; crf: "
                                                             "transition scores that are trained too"})
    tune: str = field(default="full", metadata={"help": "what is trained: full, lora, head (the encoder is frozen), or "
                                                        "last_n (the head and the last layers)"})
    last_n: int = field(default=2, metadata={"help": "layers that --tune last_n trains"})
    lora_r: int = field(default=16, metadata={"help": "rank of --tune lora"})
    lora_alpha: int = field(default=32, metadata={"help": "scale of --tune lora"})
    case_feature: bool = field(default=False, metadata={"help": "add a vector for the case of letters, which an "
                                                                "uncased tokenizer drops"})
    layer_decay: float = field(default=1.0, metadata={"help": "each layer's rate is that of the next times this"})
    head_rate: float = field(default=10.0, metadata={"help": "the head's rate, in learning rates"})
    class_weight_power: float = field(default=0.0, metadata={"help": "weigh each tag by its frequency to minus this "
                                                                     "power: 0 = all alike, 1 = all types alike"})
    focal_gamma: float = field(default=0.0, metadata={"help": "focal loss with this exponent; 0 = cross-entropy"})
    dropout: float | None = field(default=None, metadata={"help": "in place of the checkpoint's own"})
    window: int | None = field(default=None, metadata={"help": "sub-words of a window (default: as many as the model "
                                                               "takes)"})
    stride: int = field(default=128, metadata={"help": "sub-words that neighbouring windows of a long text share"})
    batch_tokens: int | None = field(default=None, metadata={"help": "batches of rows of one length with at most so "
                                                                     "many sub-words, in place of "
                                                                     "per_device_train_batch_size"})
    half_copies: bool | None = field(default=None, metadata={"help": "compute in bf16 copies of the weights (default: "
                                                                     "on a CPU that has bf16)"})
    members: int = field(default=1, metadata={"help": "train so many taggers, from seeds that follow each other, and "
                                                      "let them vote on spans"})
    ema_decay: float = field(default=0.0, metadata={"help": "score and save a running mean of the weights, which keeps "
                                                            "this share of itself at each step (such as 0.99); 0 = "
                                                            "the weights themselves"})
    early_stopping_patience: int | None = field(default=None, metadata={"help": "stop after so many evaluations "
                                                                                "without a better strict F1"})


@dataclass
class TrainingArguments(config.RunTrainingArguments, transformers.TrainingArguments):
    """Transformers', with defaults for tagging; the number format is left to the machine (`precision.choose`)."""

    learning_rate: float = field(default=5e-5, metadata={"help": "of the encoder's top layer"})
    logging_steps: float = field(default=20, metadata={"help": "steps between lines of the log"})
    eval_strategy: str = field(default="epoch", metadata={"help": "when dev is predicted and scored"})
    save_strategy: str = field(default="epoch", metadata={"help": "when a checkpoint is written"})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "keep the checkpoint of the best strict F1"})
    metric_for_best_model: str | None = field(default="strict_f1", metadata={"help": "on dev, against all gold"})
    save_total_limit: int | None = field(default=2, metadata={"help": "checkpoints kept"})
    remove_unused_columns: bool = field(default=False, metadata={"help": "rows hold what the network takes"})


def main() -> None:
    with one_line_errors():
        default = "tagger_bert_base" if torch.cuda.is_available() else "tagger_minilm"
        options, training = config.parse((RecipeArguments, TrainingArguments),
                                         default_config=ROOT / "recipes" / "configs" / f"{default}.yaml")
        run(options, training)


def run(options: RecipeArguments, training: TrainingArguments) -> dict[str, Any]:
    """The whole job; returns the report of the last labelled split."""
    check(options, training)
    meter, first = CostMeter(), PartialState().is_main_process
    files = config.given_files(options, ROOT)
    examples, reading = checked_examples(files, options, show=first)
    check_types(examples, files, show=first)
    [folder] = broadcast_object_list([options.run_dir or f"runs/token_tagger-{time.strftime('%Y%m%d-%H%M%S')}"])
    run = Run(folder)
    training.output_dir = training.output_dir or str(run.checkpoints)
    if first:
        run.start(resume=training.resume_from_checkpoint is not None)
        run.write_config(options, training)
        run.write_json("provenance.json", provenance(list(files.values()), model=options.model_name_or_path,
                                                          reading=reading))

    cost: dict[str, Any] = {}
    if (run.model / token_tagger.MODEL_FILE).is_file():
        tell(first, f"{run.model} is there already: going on with prediction")
    else:
        with meter.stage("training"):
            cost = train(examples["train"], examples.get("dev", []), options, training, run)
    PartialState().wait_for_everyone()
    gc.collect()
    if not first:
        return {}
    loaded = token_tagger.load(run.model)
    predicted = predict_splits(lambda part: token_tagger.predict(loaded, part, progress=sys.stderr.isatty()), examples,
                               run, meter)
    return finish(predicted, examples, run, options, {**cost, **meter.to_json()})


def check(options: RecipeArguments, training: TrainingArguments) -> None:
    """Refuses options that no run could follow, before anything is read."""
    metric = (training.metric_for_best_model or "none").removeprefix("eval_")
    for name, value, wanted in (("decode", options.decode, token_tagger.DECODERS),
                                ("tune", options.tune, tagging.TUNED),
                                ("metric_for_best_model", metric, tagging.METRICS)):
        if value not in wanted:
            raise UserError(f"got --{name} {value}; wanted one of {', '.join(wanted)}")
    if options.members < 1:
        raise UserError(f"got --members {options.members}; wanted 1 or more")
    tagging.half_copies(options.half_copies, training)
    if options.members > 1 and (training.resume_from_checkpoint or "true").lower() not in ("true", "false"):
        raise UserError("of several --members each goes on from its own checkpoint; take --resume_from_checkpoint true")
    if options.decode == "crf" and options.members > 1:
        raise UserError("--members are saved as one network that scores single tags, and --decode crf scores whole "
                        "sequences; take --decode viterbi")
    if options.decode == "crf" and (options.focal_gamma or options.class_weight_power or
                                    training.label_smoothing_factor):
        raise UserError("--focal_gamma, --class_weight_power and --label_smoothing_factor are of single tags, and "
                        "--decode crf scores whole sequences; take --decode viterbi, or leave them at 0")


def check_types(examples: dict[str, list[Example]], files: dict[str, str], *, show: bool) -> None:
    """Refuses training without mentions, and tells the types that only dev or test has."""
    tags = token_tagger.tags_for(examples["train"])
    if tags == ["O"]:
        raise DataError(f"{files['train']} has no mention, so there is nothing to learn; give a file with mentions")
    for split in ("dev", "test"):
        unknown = Counter(span.label for example in examples.get(split, []) for span in example.spans or ()
                          if f"B-{span.label}" not in tags)
        tell(show and unknown, f"{files.get(split)}: types that training lacks, which count as missed: "
                               f"{', '.join(f'{label} ({count})' for label, count in unknown.items())}")


def train(train_examples: Sequence[Example], dev: Sequence[Example], options: RecipeArguments,
          training: TrainingArguments, run: Run) -> dict[str, Any]:
    """Trains the tagger, or several that tag together, and saves it into the run; returns figures of its cost."""
    first = PartialState().is_main_process
    callbacks = tagging.choose_on_dev(training, dev, options.early_stopping_patience)
    half_copies = tagging.half_copies(options.half_copies, training)
    if half_copies:
        training.bf16 = False
    tokenizer = token_tagger.load_tokenizer(options.model_name_or_path)
    taggers, start = [], time.perf_counter()
    for number in range(options.members):
        arguments = copy.deepcopy(training)
        if options.members > 1:
            tell(first, f"\ntagger {number + 1} of {options.members}")
            arguments.seed, arguments.output_dir = training.seed + number, f"{training.output_dir}/tagger-{number + 1}"
        taggers.append(train_tagger(train_examples, dev, tokenizer, options, arguments, callbacks,
                                    half_copies=half_copies, show=first and number == 0))
    seconds = time.perf_counter() - start
    models = [tagger.model for tagger in taggers]
    if first:
        # The model last: a run that has one is not trained again.
        run.write_json("trainer_log.json", taggers[0].log)
        token_tagger.save(run.model, model=models[0] if len(models) == 1 else ensemble_of(models), tokenizer=tokenizer,
                          settings=taggers[0].settings)
    return {"parameters": sum(tagger.parameters for tagger in taggers),
            "trained_parameters": sum(tagger.trained_parameters for tagger in taggers),
            "unreachable_mentions": taggers[0].unreachable,
            "training_tokens_per_second": round(sum(tagger.tokens for tagger in taggers) / seconds, 1)}


class Tagger(NamedTuple):
    model: Any
    settings: token_tagger.Settings
    log: list[dict[str, Any]]
    parameters: int
    trained_parameters: int
    unreachable: int  # mentions that tags cannot say
    tokens: float  # read in training


def train_tagger(train_examples: Sequence[Example], dev: Sequence[Example], tokenizer: Any, options: RecipeArguments,
                 training: TrainingArguments, callbacks: Sequence[Any], *, half_copies: bool, show: bool) -> Tagger:
    """Trains one tagger; its adapters, if it has any, are merged."""
    set_seed(training.seed)
    tags = token_tagger.tags_for(train_examples)
    # On a CPU plain products: the backward pass of the fused kernel takes longer on short rows.
    attention = {"attn_implementation": "eager"} if precision.choose().device == "cpu" else {}
    model, new = tagging.new_model(options.model_name_or_path, tags, case_feature=options.case_feature,
                                   crf=options.decode == "crf", dropout=options.dropout, **attention)
    tell(show and new, f"{options.model_name_or_path} has no {', '.join(new)} for these tags: they start at random")
    tagging.choose_trained(model, options.tune, last_n=options.last_n,
                           lora=LoraConfig(r=options.lora_r, lora_alpha=options.lora_alpha,
                                           target_modules="all-linear"))
    settings = settings_for(model, tokenizer, options)
    found = tagging.training_rows(train_examples, model, tokenizer, settings)
    report_rows(found, settings, show=show)
    weight = tagging.tag_weights(found.rows, len(tags), power=options.class_weight_power) if \
        options.class_weight_power else None
    trainer = tagging.TaggerTrainer(
        model=model, args=training, train_dataset=found.rows, processing_class=tokenizer,
        eval_dataset=found.rows[:1] if dev else None,  # for the trainer's own check: `dev` is predicted
        dev=dev, settings=settings, batch_tokens=options.batch_tokens, layer_decay=options.layer_decay,
        head_rate=options.head_rate, weight=weight, focal_gamma=options.focal_gamma, half_copies=half_copies,
        ema_decay=options.ema_decay, callbacks=list(callbacks))
    trainer.train(resume_from_checkpoint=config.checkpoint_of(training))
    trained = trainer.accelerator.unwrap_model(trainer.model)
    counts = [sum(parameter.numel() for parameter in trained.parameters() if parameter.requires_grad or not only)
              for only in (False, True)]
    tokens = sum(len(row["input_ids"]) for row in found.rows) * (trainer.state.epoch or 0)
    return Tagger(tagging.merged(trained), settings, trainer.state.log_history, counts[0], counts[1], len(found.lost),
                  tokens)


def settings_for(model: Any, tokenizer: Any, options: RecipeArguments) -> token_tagger.Settings:
    """How texts are cut and tags read.

    Raises:
        UserError: for a window that the model cannot take, or that has no room for a text.
    """
    largest = token_tagger.window_of(model, tokenizer)
    window, least = options.window or largest, tokenizer.num_special_tokens_to_add() + 2
    if not least <= window <= largest:
        raise UserError(f"got --window {options.window}; wanted {least} to {largest}, as the model has it")
    if options.stride < 0:
        raise UserError(f"got --stride {options.stride}; wanted 0 or more")
    return token_tagger.Settings(options.decode, window, min(options.stride, window // 2))


def report_rows(found: tagging.Rows, settings: token_tagger.Settings, *, show: bool) -> None:
    """Says what training cannot use, and refuses to train on nothing."""
    if not found.rows:
        raise DataError("no training text has a word in it; give texts")
    tell(show and found.long, f"longer than {settings.window} sub-words, tagged in overlapping windows: "
                              f"{len(found.long)} examples: {shown(found.long)}")
    tell(show and found.empty, f"empty texts, which train nothing: {len(found.empty)}: {shown(found.empty)}")
    tell(show and found.lost, describe_unreachable(found.lost))


if __name__ == "__main__":
    main()
