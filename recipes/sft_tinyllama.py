"""Fine-tunes a causal language model with LoRA to write the entity mentions of a text, predicts, scores, submits.

    accelerate launch recipes/sft_tinyllama.py                                    # TinyLlama on a GPU, SmolLM2 on a CPU
    python recipes/sft_tinyllama.py --config recipes/configs/sft_smollm2.yaml \\
        --train_file train.json --dev_file dev.json --test_file test.json --run_dir runs/mine

Everything lands in the run folder: config.yaml, provenance.json, model/, predictions/, report.json, submission.csv.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object
from datasets import Dataset
from peft import LoraConfig
from transformers import EarlyStoppingCallback
from trl import ModelConfig, SFTConfig, get_quantization_config

from pipelines.entity_run import checked_examples, finish, predict_splits
from pipelines.errors import one_line_errors
from pipelines.examples import Example, Prediction
from pipelines.families import causal_lm
from pipelines.families.causal_lm import sft
from pipelines.families.token_tagger.units import shown
from pipelines.networks import precision
from pipelines.prompting.formats import prompt_format
from pipelines.runs import options as config
from pipelines.runs.cost import CostMeter
from pipelines.runs.provenance import provenance
from pipelines.runs.run import Run, tell

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class RecipeArguments(config.DataArguments):
    prompt_format: str = field(default="list", metadata={"help": "how mentions are written: list, json or tagged"})
    prompt_style: str = field(default="auto", metadata={"help": "chat (the model's template), plain, or auto: chat "
                                                                "where there is a template"})
    constrained: bool = field(default=True, metadata={"help": "let answers hold only strings of their text"})
    lora_layers: int | None = field(default=None, metadata={"help": "adapt only the last so many layers: the backward "
                                                                    "pass ends there"})
    batch_tokens: int | None = field(default=None, metadata={"help": "batches of rows of one length with at most so "
                                                                     "many tokens, in place of "
                                                                     "per_device_train_batch_size"})
    generation_batch_tokens: int = field(default=1024, metadata={"help": "prompt tokens of a batch at generation"})
    eval_examples: int = field(default=200, metadata={"help": "dev examples, evenly spread, on which checkpoints are "
                                                              "compared"})
    early_stopping_patience: int | None = field(default=None, metadata={"help": "stop after so many evaluations "
                                                                                "without a better strict F1"})
    answer_logits_only: bool | None = field(default=None, metadata={"help": "project to the vocabulary only where the "
                                                                            "loss is (default: on a CPU; TRL's own "
                                                                            "head does it on a GPU)"})
    compile_layers: bool = field(default=False, metadata={"help": "compile the layers, where there is a C++ compiler: "
                                                                  "a minute or two at the start, a quarter less "
                                                                  "time afterwards"})
    save_merged: bool = field(default=False, metadata={"help": "also save the model with the adapter merged"})


@dataclass
class TrainingArguments(config.RunTrainingArguments, SFTConfig):
    """TRL's, with defaults for short texts; the number format is left to the machine (`precision.choose`)."""

    max_length: int | None = field(default=512, metadata={"help": "tokens of prompt and answer; longer rows are left "
                                                                  "out of training, and counted"})
    bf16: bool = field(default=False, metadata={"help": "set by the recipe to what the machine can do"})
    gradient_checkpointing: bool = field(default=False, metadata={"help": "recompute activations to save memory"})
    logging_steps: float = field(default=10, metadata={"help": "steps between lines of the log"})
    metric_for_best_model: str | None = field(default="strict_f1", metadata={"help": "of generated answers"})
    save_total_limit: int | None = field(default=2, metadata={"help": "checkpoints kept"})


def main() -> None:
    with one_line_errors():
        default = "sft_tinyllama" if torch.cuda.is_available() else "sft_smollm2"
        options, training, model = config.parse((RecipeArguments, TrainingArguments, ModelConfig),
                                                default_config=ROOT / "recipes" / "configs" / f"{default}.yaml")
        run(options, training, model)


def run(options: RecipeArguments, training: TrainingArguments, model_options: ModelConfig) -> dict[str, Any]:
    """The whole job; returns the report of the last labelled split."""
    meter, first = CostMeter(), PartialState().is_main_process
    files = config.given_files(options, ROOT)
    prompt_format(options.prompt_format)  # refuses one that is none
    examples, reading = checked_examples(files, options, format=options.prompt_format, show=first)
    [folder] = broadcast_object_list([options.run_dir or f"runs/sft_tinyllama-{time.strftime('%Y%m%d-%H%M%S')}"])
    run = Run(folder)
    training.output_dir = training.output_dir or str(run.checkpoints)
    if first:
        run.start(resume=training.resume_from_checkpoint is not None)
        run.write_config(options, training, model_options)
        run.write_json("provenance.json", provenance(list(files.values()), model=model_options.model_name_or_path,
                                                          reading=reading))

    cost: dict[str, Any] = {}
    if (run.model / causal_lm.PROMPT_FILE).is_file():
        tell(first, f"{run.model} is there already: going on with prediction")
    else:
        with meter.stage("training"):
            cost = train(examples["train"], examples.get("dev", []), options, training, model_options, run)
    PartialState().wait_for_everyone()
    gc.collect()

    loaded = causal_lm.load(run.model)
    predicted = predict_splits(lambda part: predict_everywhere(loaded, part, options), examples, run, meter,
                               first=first)
    return finish(predicted, examples, run, options, {**cost, **meter.to_json()}) if first else {}


def train(train_examples: Sequence[Example], dev: Sequence[Example], options: RecipeArguments,
          training: TrainingArguments, model_options: ModelConfig, run: Run) -> dict[str, Any]:
    """Trains the adapter and saves it into the run; returns figures of its cost."""
    first, name = PartialState().is_main_process, str(model_options.model_name_or_path)
    tokenizer = causal_lm.load_tokenizer(name, trust_remote_code=training.trust_remote_code)
    labels = sorted({span.label for example in train_examples for span in example.spans or ()}) or ["Disease"]
    prompt = causal_lm.prompt_for(tokenizer, format=options.prompt_format, labels=labels, style=options.prompt_style,
                                  constrained=options.constrained)
    context = causal_lm.context_length(name)
    max_length = min(training.max_length or context, context)
    rows, too_long = sft.training_rows(train_examples, tokenizer, prompt, max_length=max_length)
    tell(first and too_long, f"left out of training, longer than {max_length} tokens (--max_length, or the model's "
                             f"context): {len(too_long)} examples: {shown(too_long)}")
    tell(first, f"one training example, without a loss on ⟦ ⟧:\n{sft.assert_trainable(rows, tokenizer)}\n")
    dev = dev[::max(1, len(dev) // max(1, options.eval_examples))]
    if not dev or training.eval_strategy == "no":
        training.eval_strategy, training.load_best_model_at_end = "no", False
    else:
        sft.refuse_sharded_generation()
    dtype = precision.choose().weights
    model_options.dtype = str(dtype).removeprefix("torch.")  # in which a quantised model computes
    quantization = get_quantization_config(model_options)
    network = causal_lm.load_network(
        name, dtype=dtype, trust_remote_code=training.trust_remote_code,
        **({"quantization_config": quantization, "device_map": {"": PartialState().device}} if quantization else {}))
    training.dataset_kwargs = {"skip_prepare_dataset": True}
    trainer = sft.AnswerTrainer(
        model=network, args=training, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
        eval_dataset=Dataset.from_list(rows[:1]) if dev else None,  # for the trainer's own check: `dev` is generated on
        peft_config=lora(options, model_options, network.config.num_hidden_layers), dev=dev, prompt=prompt,
        batch_tokens=options.batch_tokens, answer_logits_only=options.answer_logits_only,
        generation_batch_tokens=options.generation_batch_tokens, compile_layers=options.compile_layers,
        callbacks=[EarlyStoppingCallback(options.early_stopping_patience)] if options.early_stopping_patience else [])
    start = time.perf_counter()
    trainer.train(resume_from_checkpoint=config.checkpoint_of(training))
    trained = sft.trained_model(trainer)
    if first:
        causal_lm.save(run.model, model=trained, tokenizer=tokenizer, prompt=prompt, base_model=name)
        run.write_json("trainer_log.json", trainer.state.log_history)
    parameters = trained.get_nb_trainable_parameters()
    if options.save_merged and first:
        causal_lm.save(run.merged, model=trained.merge_and_unload(), tokenizer=tokenizer, prompt=prompt,
                       base_model=name)
    tokens = sum(len(row["input_ids"]) for row in rows) * (trainer.state.epoch or 0)
    return {"parameters": parameters[1], "trained_parameters": parameters[0],
            "training_tokens_per_second": round(tokens / (time.perf_counter() - start), 1)}


def lora(options: RecipeArguments, model_options: ModelConfig, layers: int) -> LoraConfig:
    # A string is matched as a whole, so that layer 1 is not layer 11.
    below = "|".join(map(str, range(layers - options.lora_layers))) if options.lora_layers else None
    return LoraConfig(r=model_options.lora_r, lora_alpha=model_options.lora_alpha,
                      lora_dropout=model_options.lora_dropout, use_rslora=model_options.use_rslora,
                      use_dora=model_options.use_dora, task_type="CAUSAL_LM",
                      target_modules=model_options.lora_target_modules or "all-linear",
                      exclude_modules=rf".*layers\.({below})\..*" if below else None)


def predict_everywhere(loaded: causal_lm.Loaded, examples: Sequence[Example],
                       options: RecipeArguments) -> list[Prediction]:
    """Each process predicts a part; all of them get the whole, in the order of the examples."""
    state = PartialState()
    mine = causal_lm.predict(loaded, examples[state.process_index::state.num_processes],
                             batch_tokens=options.generation_batch_tokens, progress=state.is_main_process)
    by_id = {prediction.id: prediction for prediction in gather_object(mine)}
    return [by_id[example.id] for example in examples]


if __name__ == "__main__":
    main()
