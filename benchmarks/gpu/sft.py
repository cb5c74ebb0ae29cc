"""Tokens a second of LoRA fine-tuning in bf16: ours and TRL's own trainer at its best."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from transformers.utils import is_flash_attn_2_available

from gpu.inputs import Setting, examples, llama, rows_of_tokens, tokenizer
from gpu.rows import Recorder, peak_memory
from gpu.training import Plan, id_rows, matmul_peak, speed, train_ours, train_trl
from pipelines.examples import JsonObject

MICRO = 16_384  # tokens of a forward pass: activations of 1.1 B parameters take about 3 MB a token
PACKED = 2_048  # tokens of a packed sequence of TRL's
GOAL = ">= 100,000 tokens/s, >= 0.5 of the peak"
Train = Callable[..., Any]


def run(setting: Setting, record: Recorder) -> None:
    """Measures the peak, then ours and TRL's at each size, and prints their ratio."""
    peak = record.case(
        "bf16 matmul", lambda: {"TFLOP/s": matmul_peak(setting) / 1e12}, goal="790 seen"
    )
    if peak is None:
        return
    words = tokenizer()
    rows = id_rows(words, examples("train"))
    speeds: dict[str, dict[int, float]] = {"ours": {}, "TRL": {}}

    def measure(train: Train, tokens: int, attention: str = "sdpa") -> JsonObject:
        plan = plan_for(setting, tokens)
        network = llama(
            setting.llama, setting.device, torch.bfloat16, attn_implementation=attention
        )
        values: JsonObject = {}
        with peak_memory(values):
            clock = train(
                setting, network, words, rows_of_tokens(rows, plan.needed_tokens()), plan
            )[1]
        return speed(clock, setting.llama, peak["TFLOP/s"] * 1e12) | values

    for tokens in setting.step_tokens():
        for name, train, attention in cases(setting, tokens):
            whose = name.split()[0]
            goal = GOAL if whose == "ours" else ""
            values = record.case(
                f"{name}, {tokens:,} tokens a step",
                partial(measure, train, tokens, attention),
                goal=goal,
                needs=15,
            )
            if values:
                best = max(speeds[whose].get(tokens, 0.0), values["tokens/s"])
                speeds[whose][tokens] = best
    for tokens in sorted(speeds["ours"].keys() & speeds["TRL"].keys()):
        ratio = speeds["ours"][tokens] / speeds["TRL"][tokens]
        record.case(
            f"ours / TRL's best, {tokens:,} tokens a step",
            lambda ratio=ratio: {"ratio": ratio},
            goal=">= 2",
        )


def plan_for(setting: Setting, tokens: int) -> Plan:
    micro = 256 if setting.small else MICRO
    steps = max(3, min(12, 200_000 // tokens))
    return Plan(tokens, micro, *((1, 1) if setting.small else (3, steps)))


def cases(setting: Setting, tokens: int) -> list[tuple[str, Train, str]]:
    """Name, training and attention of each case; compiled once, at the middle size."""
    packed = 256 if setting.small else PACKED
    attention = "flex_attention"
    if is_flash_attn_2_available():
        attention = "flash_attention_2"
    chosen: list[tuple[str, Train, str]] = [
        ("ours", train_ours, "sdpa"),
        ("TRL padded by length", train_trl, "sdpa"),
    ]
    if setting.device == "cuda":
        packing = partial(train_trl, packed_to=packed)
        chosen.append((f"TRL packed, {attention}", packing, attention))
        if tokens == MICRO:
            chosen.insert(1, ("ours compiled", partial(train_ours, compiled=True), "sdpa"))
            compiled = partial(packing, torch_compile=True)
            chosen.append((f"TRL packed, {attention}, compiled", compiled, attention))
            if find_spec("liger_kernel"):
                liger = partial(packing, use_liger_kernel=True)
                chosen.append((f"TRL packed, {attention}, liger", liger, attention))
    return chosen
