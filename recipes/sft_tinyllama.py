"""Fine-tunes a causal language model with LoRA to write the entity mentions of a text.

    # TinyLlama on a GPU, SmolLM2 on a CPU
    accelerate launch recipes/sft_tinyllama.py
    python recipes/sft_tinyllama.py --config recipes/configs/sft_smollm2.yaml \\
        --train_file train.json --dev_file dev.json --test_file test.json --run_dir runs/mine

Everything lands in the run folder: config.yaml, provenance.json, model/, predictions/, report.json,
submission.csv.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipelines.runs import options as config
from pipelines.runs.arguments import DataArguments, RunTrainingArguments, option
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from peft import LoraConfig
from trl import ModelConfig, SFTConfig, get_quantization_config

from pipelines import job
from pipelines.errors import one_line_errors
from pipelines.examples import Example, Prediction
from pipelines.families import causal_lm
from pipelines.families.causal_lm import sft
from pipelines.families.training import dev_scores
from pipelines.families.training.early_stopping import choose_on_dev
from pipelines.formatting import some
from pipelines.networks import precision
from pipelines.prompting.formats import prompt_format
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import replacing_folder

ROOT = Path(__file__).resolve().parent.parent
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")


@dataclass
class RecipeArguments(DataArguments):
    prompt_format: str = option(
        "list", "how the answer writes mentions: list, json or tagged", group="model"
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
    answer_logits_only: bool | None = option(
        None, "compute logits of answers only (default: on a CPU; on a GPU TRL does it itself)"
    )
    compile_layers: bool = option(
        False,
        "compile the layers if there is a C++ compiler: a minute or two at the start, a "
        "quarter less time afterwards",
    )
    constrained: bool = option(
        True, "let answers hold only strings of their text", group="prediction"
    )
    generation_batch_tokens: int = option(1024, "prompt tokens of a batch in generation")


@dataclass
class TrainingArguments(RunTrainingArguments, SFTConfig):
    """TRL's, with defaults for short texts."""

    trainer: ClassVar[str] = "sft"
    metrics: ClassVar[tuple[str, ...]] = (*dev_scores.SPAN_METRICS, "loss")

    max_length: int | None = option(
        512,
        "tokens of prompt and answer; longer rows are left out of training, and counted",
        group="training",
    )
    learning_rate: float = option(2e-5, "largest learning rate")
    num_train_epochs: float = option(3.0, "passes over the training examples")
    logging_steps: float = option(10, "steps between lines of the log")
    metric_for_best_model: str | None = option(
        "strict_f1", "score of generated answers that decides between checkpoints"
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
    options: RecipeArguments, training: TrainingArguments, model_options: ModelConfig
) -> dict[str, Any]:
    """The whole job; returns the report of the last labelled split."""
    prompt_format(options.prompt_format)  # refuses an unknown one
    data = job.read(options, answer="spans", project=ROOT, prompt_format=options.prompt_format)
    with job.start(
        "sft_tinyllama",
        data,
        options,
        training,
        model_options,
        model=str(model_options.model_name_or_path),
        resume=training.resume_from_checkpoint is not None,
    ) as work:
        if work.trains():
            with work.meter.stage("training"):
                train(work, options, training, model_options)
        PartialState().wait_for_everyone()
        gc.collect()
        loaded = causal_lm.load(work.run.model, trust_remote_code=training.trust_remote_code)
        return work.finish(lambda part: predict_everywhere(loaded, part, options), everywhere=True)


def train(
    work: job.Job, options: RecipeArguments, training: TrainingArguments, model_options: ModelConfig
) -> None:
    """Trains the adapter and saves it into the run."""
    train_examples, dev = work.examples["train"], work.examples.get("dev", [])
    name = str(model_options.model_name_or_path)
    tokenizer = causal_lm.load_tokenizer(name, trust_remote_code=training.trust_remote_code)
    labels = sorted({span.label for example in train_examples for span in example.spans or ()}) or [
        "Disease"
    ]
    prompt = causal_lm.prompt_for(
        tokenizer,
        format=options.prompt_format,
        labels=labels,
        style=options.prompt_style,
        constrained=options.constrained,
    )
    context = causal_lm.context_length(name, trust_remote_code=training.trust_remote_code)
    max_length = min(training.max_length or context, context)
    rows, too_long = sft.training_rows(train_examples, tokenizer, prompt, max_length=max_length)
    if too_long:
        logger.info(
            "left out of training, longer than %d tokens (--max_length, or the model's context): "
            "%d examples: "
            "%s",
            max_length,
            len(too_long),
            some(too_long),
        )
    logger.info(
        "one training example, without a loss on ⟦ ⟧:\n%s\n", sft.assert_trainable(rows, tokenizer)
    )
    dev = dev[:: max(1, len(dev) // max(1, options.eval_examples))]
    stopping = choose_on_dev(training, dev, options.early_stopping_patience)
    if training.eval_strategy != "no":
        sft.refuse_sharded_generation()
    dtype = precision.choose().weights
    model_options.dtype = str(dtype).removeprefix("torch.")  # in which a quantised model computes
    quantization = get_quantization_config(model_options)
    network = causal_lm.load_network(
        name,
        dtype=dtype,
        trust_remote_code=training.trust_remote_code,
        **(
            {"quantization_config": quantization, "device_map": {"": PartialState().device}}
            if quantization
            else {}
        ),
    )
    training.dataset_kwargs = {"skip_prepare_dataset": True}
    trainer = sft.AnswerTrainer(
        model=network,
        args=training,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora(options, model_options, network.config.num_hidden_layers),
        dev=dev,
        train=train_examples,
        prompt=prompt,
        batch_tokens=options.batch_tokens,
        answer_logits_only=options.answer_logits_only,
        generation_batch_tokens=options.generation_batch_tokens,
        compile_layers=options.compile_layers,
        callbacks=[*stopping, *work.callbacks()],
    )
    trainer.train(resume_from_checkpoint=work.checkpoint(training))
    trained: Any = sft.trained_model(trainer)
    work.record_training(trainer)
    if job.is_main():
        with replacing_folder(
            work.run.model
        ) as folder:  # last of all: a run with a model is not trained again
            causal_lm.save(
                folder, model=trained, tokenizer=tokenizer, prompt=prompt, base_model=name
            )
            if options.save_merged:
                with replacing_folder(work.run.merged) as merged:
                    causal_lm.save(
                        merged,
                        model=trained.merge_and_unload(),
                        tokenizer=tokenizer,
                        prompt=prompt,
                        base_model=name,
                    )


def lora(options: RecipeArguments, model_options: ModelConfig, layers: int) -> LoraConfig:
    # A string is matched as a whole, so that layer 1 is not layer 11.
    below = "|".join(map(str, range(layers - options.lora_layers))) if options.lora_layers else None
    return LoraConfig(
        r=model_options.lora_r,
        lora_alpha=model_options.lora_alpha,
        lora_dropout=model_options.lora_dropout,
        use_rslora=model_options.use_rslora,
        use_dora=model_options.use_dora,
        task_type="CAUSAL_LM",
        target_modules=model_options.lora_target_modules or "all-linear",
        exclude_modules=rf".*layers\.({below})\..*" if below else None,
    )


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
