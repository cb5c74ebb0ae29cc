"""LoRA in fp16 with scaled gradients, as on a T4, which has no bf16."""

from __future__ import annotations

from typing import Any

import torch

from gpu.inputs import Setting, examples, llama, rows_of_tokens, tokenizer
from gpu.rows import Recorder, peak_memory
from gpu.training import Plan, id_rows, losses, train_ours
from pipelines.examples import JsonObject

T4_MEMORY = 15.0  # GiB that a T4 has for a process


def run(setting: Setting, record: Recorder) -> None:
    """Trains in fp16 at 4,096 tokens a step."""
    if setting.device == "cpu":
        record.skip("ours", "fp16 training needs a GPU")
        return
    words = tokenizer()
    record.case("ours, 4,096 tokens a step", lambda: train(setting, words), goal="<= 15 GiB")


def train(setting: Setting, words: Any) -> JsonObject:
    """Tokens a second and memory; the loss has to stay finite and to fall."""
    plan = Plan(4_096, 4_096, *((1, 2) if setting.small else (5, 10)))
    rows = rows_of_tokens(id_rows(words, examples("train")), plan.needed_tokens())
    network = llama(setting.llama, setting.device, torch.float16)
    values: JsonObject = {}
    with peak_memory(values):
        trainer, clock = train_ours(
            setting,
            network,
            words,
            rows,
            plan,
            bf16=False,
            fp16=True,
            logging_steps=1,
            learning_rate=1e-3,
        )
    logged = losses(trainer)
    assert torch.isfinite(torch.tensor(logged)).all(), f"losses {logged}"
    assert logged[-1] < logged[0], f"the loss did not fall: {logged[0]:.3g} to {logged[-1]:.3g}"
    return {"tokens/s": clock.tokens_a_second(), **values, "loss": logged[-1], "checked": True}
