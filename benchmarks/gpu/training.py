"""Trainings of a few steps: ours and TRL's, timed after their warm-up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer

from gpu.inputs import Setting
from pipelines.examples import JsonObject
from pipelines.families.causal_lm import prompt_for, sft

IdRows = list[dict[str, list[int]]]


class Clock(TrainerCallback):
    """Seconds and tokens of the steps after the warm-up.

    Args:
        warm_up: steps that are not timed.
    """

    def __init__(self, setting: Setting, warm_up: int) -> None:
        self.setting, self.warm_up = setting, warm_up
        self.trainer: Any = None
        self.marks: list[tuple[float, int]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step in (self.warm_up, args.max_steps):
            self.setting.synchronize()
            self.marks.append((time.perf_counter(), int(self.trainer._total_train_tokens)))

    def tokens_a_second(self) -> float:
        (start, before), (end, after) = self.marks
        return (after - before) / (end - start)


class Plan(NamedTuple):
    """How a case trains.

    Attributes:
        tokens: of a step.
        micro: tokens of a forward pass at most; a larger step is made of several.
        warm_up: steps before the timed ones.
        steps: timed steps.
    """

    tokens: int
    micro: int
    warm_up: int
    steps: int

    @property
    def accumulation(self) -> int:
        return max(1, self.tokens // self.micro)

    @property
    def pass_tokens(self) -> int:
        return min(self.tokens, self.micro)

    def needed_tokens(self) -> int:
        """Tokens of the rows of all steps, with some to spare for uneven batches."""
        return int(1.3 * self.tokens * (self.warm_up + self.steps))


def config(setting: Setting, plan: Plan, **options: Any) -> SFTConfig:
    """TRL's options for a short training in the dtype of the machine."""
    base = {
        "output_dir": str(setting.folder / "trainer"),
        "max_steps": plan.warm_up + plan.steps,
        "gradient_accumulation_steps": plan.accumulation,
        "learning_rate": 1e-4,
        "logging_steps": plan.warm_up + plan.steps,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "max_length": None,
        "gradient_checkpointing": False,
        "logging_nan_inf_filter": False,
        "use_cpu": setting.device == "cpu",
        "bf16": setting.device == "cuda",
        "dataloader_pin_memory": setting.device == "cuda",
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "seed": 5,
    }
    return SFTConfig(**(base | options))


def lora() -> LoraConfig:
    return LoraConfig(
        r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def train_ours(
    setting: Setting,
    network: Any,
    tokenizer: Any,
    rows: IdRows,
    plan: Plan,
    *,
    compiled: bool = False,
    resume: bool = False,
    **options: Any,
) -> tuple[sft.AnswerTrainer, Clock]:
    """Trains as `recipes/sft_tinyllama.py` does, by batches of rows of one length.

    Args:
        compiled: compile the layers.
        resume: go on after the last checkpoint.
    """
    clock = Clock(setting, plan.warm_up)
    prompt = prompt_for(
        tokenizer, format="list", labels=["Disease"], style="chat", constrained=True
    )
    trainer = sft.AnswerTrainer(
        model=network,
        args=config(setting, plan, **options),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora(),
        prompt=prompt,
        batch_tokens=plan.pass_tokens,
        compile_layers=compiled,
        callbacks=[clock],
    )
    quieten(trainer)
    clock.trainer = trainer
    trainer.train(resume_from_checkpoint=resume or None)
    return trainer, clock


def train_trl(
    setting: Setting,
    network: Any,
    tokenizer: Any,
    rows: IdRows,
    plan: Plan,
    *,
    packed_to: int | None = None,
    **options: Any,
) -> tuple[SFTTrainer, Clock]:
    """Trains by TRL's own trainer.

    Args:
        packed_to: pack rows to sequences of this length, without padding; else rows of about one
            length are padded.
    """
    clock = Clock(setting, plan.warm_up)
    dataset = Dataset.from_list(rows)
    if packed_to:
        from trl import pack_dataset

        dataset = pack_dataset(dataset, packed_to, "bfd")
        batch = plan.pass_tokens // packed_to
        own: JsonObject = {"packing": True, "max_length": packed_to}
    else:
        mean = sum(len(row["input_ids"]) for row in rows) / len(rows)
        batch, own = int(plan.pass_tokens / mean), {"train_sampling_strategy": "group_by_length"}
    trainer = SFTTrainer(
        model=network,
        args=config(setting, plan, per_device_train_batch_size=max(1, batch), **(own | options)),
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=lora(),
        callbacks=[clock],
    )
    quieten(trainer)
    clock.trainer = trainer
    trainer.train()
    return trainer, clock


def quieten(trainer: Any) -> None:
    """The table says what a training printed otherwise."""
    trainer.remove_callback(PrinterCallback)


def losses(trainer: Any) -> list[float]:
    """The logged losses of a training."""
    return [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]


def id_rows(tokenizer: Any, examples: Sequence[Any]) -> IdRows:
    """Rows of prompt and answer as the recipe makes them, with a loss on answers."""
    prompt = prompt_for(
        tokenizer, format="list", labels=["Disease"], style="chat", constrained=True
    )
    return sft.training_rows(examples, tokenizer, prompt, max_length=512).rows


def step_flops_a_token(shape: dict[str, int]) -> float:
    """Multiplications and additions of LoRA training a token, in layers alone.

    Twice the weights forward, and as many backward for the gradient of the states; frozen weights
    get none. Left out: the adapters (1 %), attention, and the head, which only answers pass.
    """
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    groups = shape["num_key_value_heads"] / shape["num_attention_heads"]
    layer = hidden * hidden * (2 + 2 * groups) + 3 * hidden * inner
    return 4 * layer * shape["num_hidden_layers"]


def matmul_peak(setting: Setting) -> float:
    """Floating-point operations a second of a square product in bf16, measured."""
    size, rounds = (256, 2) if setting.small else (8192, 20)
    left = torch.randn(size, size, device=setting.device, dtype=torch.bfloat16)
    right = torch.randn_like(left)
    for _ in range(3):
        left @ right
    setting.synchronize()
    start = time.perf_counter()
    for _ in range(rounds):
        left @ right
    setting.synchronize()
    return 2 * size**3 * rounds / (time.perf_counter() - start)


def speed(clock: Clock, shape: dict[str, int], peak: float) -> JsonObject:
    """Tokens a second of a training, and their share of the measured peak."""
    tokens = clock.tokens_a_second()
    return {"tokens/s": tokens, "share of peak": tokens * step_flops_a_token(shape) / peak}
