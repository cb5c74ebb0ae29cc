"""Fine-tunes a causal language model with LoRA to write the mentions or the class of a text.

    # TinyLlama on a GPU, SmolLM2 on a CPU
    accelerate launch recipes/sft_tinyllama.py
    python recipes/sft_tinyllama.py --config recipes/configs/sft_smollm2.yaml \\
        --train_file train.json --dev_file dev.json --test_file test.json --run_dir runs/mine
    # without training: the model as it is, after the 4 most similar training examples
    python recipes/sft_tinyllama.py --train_file reviews.txt --shots 4 --max_steps 0

Everything lands in the run folder: config.yaml, provenance.json, model/, predictions/, report.json,
submission.csv.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pipelines.runs import options as config
from pipelines.runs.arguments import (
    DataArguments,
    RunTrainingArguments,
    SearchArguments,
    option,
)
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import PreTrainedTokenizerBase, PrinterCallback
from trl import ModelConfig, SFTConfig, get_quantization_config

from pipelines import job
from pipelines.errors import UserError, one_line_errors
from pipelines.evaluation import thresholds
from pipelines.examples import Example, JsonObject, Prediction
from pipelines.families import causal_lm
from pipelines.families.causal_lm import adapters, sft
from pipelines.families.causal_lm.shots import RETRIEVERS, shots_of
from pipelines.families.training import dev_scores
from pipelines.families.training.early_stopping import choose_on_dev
from pipelines.prompting.formats import prompt_format
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import config_of, replacing_folder
from pipelines.runs.search import search_groups
from pipelines.spans import are_nested

ROOT = Path(__file__).resolve().parent.parent
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")


@dataclass
class RecipeArguments(SearchArguments, DataArguments):
    sizes: str = option(
        "train=0.8,dev=0.1,test=0.1",
        "of texts with classes: shares or numbers of texts where dev is cut from train",
        group="data",
    )
    prompt_format: str | None = option(
        None, "how the answer writes mentions: list (default), json or tagged", group="model"
    )
    prompt_style: str = option(
        "auto", "chat (the model's template), plain, or auto: chat where there is a template"
    )
    lora_layers: int | None = option(
        None, "adapt only the last N layers: the backward pass ends there (default: all)"
    )
    save_merged: bool = option(False, "also save the model with the adapter merged")
    batch_tokens: int | None = option(
        None,
        "batches of rows of one length with at most N tokens; 0: batches of "
        "per_device_train_batch_size rows",
        group="training",
    )
    eval_examples: int = option(
        200, "dev examples, evenly spread, on which checkpoints are compared"
    )
    early_stopping_patience: int | None = option(
        None, "stop after N evaluations without a better score"
    )
    answer_logits_only: bool = option(
        True,
        "compute logits of answers only; false: TRL's loss, on a GPU in tiles, which takes less "
        "memory with a vocabulary of 200,000",
    )
    compile_layers: bool = option(
        False,
        "compile the layers if there is a C++ compiler: a minute or two at the start, a "
        "quarter less time afterwards (on a CPU)",
    )
    constrained: bool = option(
        True, "let answers hold only strings of their text", group="prediction"
    )
    generation_batch_tokens: int = option(1024, "prompt tokens of a batch in generation")
    shots: int | None = option(
        None, "training examples that stand before a text, with --max_steps 0: the model as it is"
    )
    shots_by: str = option("tfidf", "how similar ones are found: tfidf, or minilm")


@dataclass
class TrainingArguments(RunTrainingArguments, SFTConfig):
    """TRL's, with defaults for short texts."""

    trainer: ClassVar[str] = "sft"
    may_skip_training: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = (
        "auto",
        *dev_scores.SPAN_METRICS,
        *thresholds.OBJECTIVES,
        "loss",
    )

    max_length: int | None = option(
        512,
        "tokens of prompt and answer: longer rows with mentions are left out of training, texts "
        "with classes are cut; both are counted",
        group="training",
    )
    learning_rate: float = option(2e-5, "largest learning rate")
    num_train_epochs: float = option(3.0, "passes over the training examples")
    logging_steps: float = option(10, "steps between lines of the log")
    logging_nan_inf_filter: bool = False  # which waits for the GPU at each step
    metric_for_best_model: str | None = option(
        "auto", "score that decides between checkpoints: strict_f1 of mentions, macro_f1 of classes"
    )
    save_total_limit: int | None = option(2, "checkpoints kept")


@dataclass
class ModelArguments(ModelConfig):
    """TRL's, for LoRA alone."""

    model_name_or_path: str = option(
        "local:smollm2",
        "a causal language model: a folder, a Hub id, or local:smollm2",
        group="model",
    )
    dtype: str | None = "auto"  # what the machine computes fast
    use_peft: bool = True
    lora_r: int = option(16, "rank of the adapters")
    lora_alpha: int = option(32, "scale of the adapters, divided by their rank")
    lora_dropout: float = option(0.05, "dropout on the input of the adapters")
    load_in_4bit: bool = option(False, "quantise the base model to 4 bits (QLoRA)")

    def __post_init__(self) -> None:
        super().__post_init__()
        # TRL makes one name a string, which peft matches against the whole path of a module.
        if isinstance(self.lora_target_modules, str) and self.lora_target_modules.isidentifier():
            self.lora_target_modules = [self.lora_target_modules]


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        default = "sft_tinyllama" if torch.cuda.is_available() else "sft_smollm2"
        options, training, model = config.parse(
            (RecipeArguments, TrainingArguments, ModelArguments),
            default_config=ROOT / "recipes" / "configs" / f"{default}.yaml",
        )
        run(options, training, model)


def run(
    options: RecipeArguments, training: TrainingArguments, model_options: ModelArguments
) -> JsonObject:
    """The whole job; returns the report of the last labelled split."""
    if options.prompt_format:
        prompt_format(options.prompt_format)  # refuses an unknown one
    answer = job.answer_of(options, ROOT)
    check_options(options, training, answer)
    data = job.read(
        options,
        answer=answer,
        project=ROOT,
        seed=training.seed,
        prompt_format=options.prompt_format or "list",
    )
    with job.start(
        "sft_tinyllama",
        data,
        options,
        training,
        model_options,
        model=str(model_options.model_name_or_path),
        resume=training.resume_from_checkpoint is not None,
    ) as work:
        if options.search:
            with work.meter.stage("search"):
                options, training, model_options = search(options, training, model_options, work)
            work.run.write_config(config_of(options, training, model_options))
        if work.trains() and training.max_steps == 0:
            save_untrained(work, options, training, model_options)
        elif work.trains():
            with work.meter.stage("training"):
                trained = train(data, options, training, model_options, work=work)
            work.record_training(trained.trainer)
            save(work, trained, options, model_options)
            del trained
        PartialState().wait_for_everyone()
        gc.collect()
        loaded = causal_lm.load(work.run.model, trust_remote_code=training.trust_remote_code)
        if training.max_steps == 0:
            work.record(parameters=loaded.model.num_parameters(), trained_parameters=0)
        return work.finish(lambda part: predict_everywhere(loaded, part, options), everywhere=True)


def check_options(options: RecipeArguments, training: TrainingArguments, answer: str) -> None:
    """Refuses options that do not fit what is learnt, and resolves the metric.

    Raises:
        UserError: with all of them.
    """
    faults = []
    metric = str(training.metric_for_best_model).removeprefix("eval_")
    if metric == "auto":
        metric = "strict_f1" if answer == "spans" else "macro_f1"
        training.metric_for_best_model = metric
    own = dev_scores.SPAN_METRICS if answer == "spans" else thresholds.OBJECTIVES
    if metric not in (*own, "loss"):
        faults.append(f"--metric_for_best_model {metric}; wanted one of {', '.join(own)} or loss")
    if answer == "label" and options.prompt_format:
        faults.append("--prompt_format, which is of mentions")
    if answer == "label" and not options.constrained:
        faults.append("--constrained false; answers are always among the classes")
    if options.shots is not None and training.max_steps != 0:
        faults.append(
            f"--shots {options.shots} without --max_steps 0: examples stand before a text only "
            "where nothing is trained"
        )
    if options.search and training.max_steps == 0:
        faults.append("--search with --max_steps 0, which trains nothing")
    if (options.shots or 0) < 0:
        faults.append(f"--shots {options.shots}; wanted 0 or more")
    if options.shots_by not in RETRIEVERS:
        faults.append(f"--shots_by {options.shots_by}; wanted one of {', '.join(RETRIEVERS)}")
    if faults:
        learnt = "mentions" if answer == "spans" else "classes"
        raise UserError(f"for {learnt}, got {'; got '.join(faults)}")


def prompt_of(
    data: job.Data,
    options: RecipeArguments,
    tokenizer: PreTrainedTokenizerBase,
    *,
    shots: int = 0,
    max_length: int | None = None,
) -> causal_lm.Prompt:
    """How texts are put to the model, with its types or classes from the training examples."""
    classes, nested = data.classes, False
    if classes is not None:
        format, labels = "classes" if classes.multi_label else "class", list(classes.labels)
    else:
        mentions = [example.spans or () for example in data.splits["train"]]
        format, nested = options.prompt_format or "list", are_nested(mentions)
        labels = sorted({span.label for spans in mentions for span in spans}) or ["Disease"]
    prompt = causal_lm.prompt_for(
        tokenizer,
        format=format,
        labels=labels,
        style=options.prompt_style,
        constrained=options.constrained,
    )
    return replace(prompt, shots=shots, max_length=max_length, nested=nested)


def save_untrained(
    work: job.Job,
    options: RecipeArguments,
    training: TrainingArguments,
    model_options: ModelArguments,
) -> None:
    """Writes the model folder of the base model as it is, with the shots to choose from."""
    name = str(model_options.model_name_or_path)
    tokenizer = causal_lm.load_tokenizer(name, trust_remote_code=training.trust_remote_code)
    prompt = prompt_of(work.data, options, tokenizer, shots=options.shots or 0)
    pool = usable(work.data, "train")
    logger.info("no training: the model as it is, %d shots by %s", prompt.shots, options.shots_by)
    if job.is_main():
        with replacing_folder(work.run.model) as folder:
            causal_lm.save(
                folder,
                model=None,
                tokenizer=tokenizer,
                prompt=prompt,
                base_model=name,
                quantization=get_quantization_config(model_options),
                shots=shots_of(pool, prompt, options.shots_by) if prompt.shots else None,
            )


def usable(data: job.Data, split: str) -> list[Example]:
    """The examples of a split that can be learnt from."""
    return data.classes.usable(split) if data.classes else data.splits.get(split, [])


class Trained(NamedTuple):
    """What `train` leaves: the trainer holds the best adapter."""

    trainer: sft.AnswerTrainer
    tokenizer: PreTrainedTokenizerBase
    prompt: causal_lm.Prompt


def train(
    data: job.Data,
    options: RecipeArguments,
    training: TrainingArguments,
    model_options: ModelArguments,
    *,
    work: job.Job | None = None,
) -> Trained:
    """Trains an adapter.

    Args:
        work: the job whose checkpoints it keeps; a trial of a search keeps none, and logs nothing.
    """
    examples, dev = usable(data, "train"), usable(data, "dev")
    name = str(model_options.model_name_or_path)
    tokenizer = causal_lm.load_tokenizer(name, trust_remote_code=training.trust_remote_code)
    context = causal_lm.context_length(name, trust_remote_code=training.trust_remote_code)
    max_length = min(training.max_length or context, context)
    of_texts = max_length if data.answer == "label" else None
    prompt = prompt_of(data, options, tokenizer, max_length=of_texts)
    rows = sft.training_rows(examples, tokenizer, prompt, max_length=max_length)
    shown = sft.assert_trainable(rows.rows, tokenizer)
    if work:
        if prompt.nested:
            logger.info("mentions of train overlap, so those of an answer may, too")
        sft.report_lengths(rows, max_length)
        logger.info("one training example, without a loss on ⟦ ⟧:\n%s\n", shown)
    dev = dev[:: max(1, len(dev) // max(1, options.eval_examples))]
    stopping = choose_on_dev(training, dev, options.early_stopping_patience)
    if training.eval_strategy != "no":
        sft.refuse_sharded_generation()
    network = adapters.load_base(model_options, trust_remote_code=training.trust_remote_code)
    training.dataset_kwargs = {"skip_prepare_dataset": True}
    trainer = sft.AnswerTrainer(
        model=network,
        args=training,
        train_dataset=Dataset.from_list(rows.rows),
        processing_class=tokenizer,
        peft_config=adapters.lora(
            model_options, network.config.num_hidden_layers, last=options.lora_layers
        ),
        dev=dev,
        train=examples,
        prompt=prompt,
        batch_tokens=options.batch_tokens,
        answer_logits_only=options.answer_logits_only,
        generation_batch_tokens=options.generation_batch_tokens,
        compile_layers=options.compile_layers,
        callbacks=[*stopping, *(work.callbacks(answered(work, training, dev)) if work else ())],
    )
    if work is None:
        trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=work.checkpoint(training) if work else None)
    return Trained(trainer, tokenizer, prompt)


def answered(work: job.Job, training: TrainingArguments, dev: Sequence[Example]) -> float:
    """Texts that the run answers for each one that it trains on: at evaluations and at the end."""
    trained = training.num_train_epochs * len(usable(work.data, "train"))
    at_end = sum(len(work.examples[split]) for split in ("dev", "test") if split in work.examples)
    each_time = len(dev) + sft.TRAIN_SAMPLE if training.eval_strategy != "no" else 0
    return (at_end + training.num_train_epochs * each_time) / trained


def search(
    options: RecipeArguments,
    training: TrainingArguments,
    model_options: ModelArguments,
    work: job.Job,
) -> tuple[RecipeArguments, TrainingArguments, ModelArguments]:
    """Trains with other options again and again; returns the best ones on dev.

    Raises:
        UserError: without scores of dev, or for an unknown option.
    """
    if not usable(work.data, "dev") or training.eval_strategy == "no":
        raise UserError(
            "--search compares models on dev; give --dev_file, and --eval_strategy epoch"
        )
    metric = str(training.metric_for_best_model).removeprefix("eval_")

    def check(options: RecipeArguments, training: TrainingArguments, _: ModelArguments) -> None:
        check_options(options, training, work.data.answer)

    def score(*groups: Any) -> float:
        log = train(work.data, *groups).trainer.state.log_history
        gc.collect()
        return dev_scores.best_score(log, metric)

    groups = (options, training, model_options)
    found: Any = search_groups(score, groups, work.run, metric=metric, check=check)
    return found


def save(
    work: job.Job, trained: Trained, options: RecipeArguments, model_options: ModelArguments
) -> None:
    """Saves the adapter, and where asked the merged model before it.

    `model/` appears last of all: a run that has it is not trained again.
    """
    if not job.is_main():
        return
    network = sft.trained_model(trained.trainer)
    write = partial(
        causal_lm.save,
        tokenizer=trained.tokenizer,
        prompt=trained.prompt,
        base_model=str(model_options.model_name_or_path),
    )
    with replacing_folder(work.run.model) as folder:
        write(folder, model=network)
        if options.save_merged:
            with replacing_folder(work.run.merged) as merged:
                write(merged, model=network.merge_and_unload())


def predict_everywhere(
    loaded: causal_lm.Loaded, examples: Sequence[Example], options: RecipeArguments
) -> list[Prediction]:
    """Each process predicts a part; all of them get the whole, in the order of the examples."""
    state = PartialState()
    mine = causal_lm.predict(
        loaded,
        examples[state.process_index :: state.num_processes],
        batch_tokens=options.generation_batch_tokens,
        progress=state.is_main_process,
    )
    by_id = {prediction.id: prediction for prediction in gather_object(mine)}
    return [by_id[example.id] for example in examples]


if __name__ == "__main__":
    main()
