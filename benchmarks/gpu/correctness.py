"""A step, an answer and a resumed training are the same on the GPU as on the CPU."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gpu.inputs import Setting, exact_float32, examples, llama, tokenizer
from gpu.rows import Recorder
from pipelines.examples import JsonObject

SHAPE = {
    "vocab_size": 2_000,
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
}
# Largest relative difference of the loss of a step from that on the CPU in float32.
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
STEPS = 6


def run(setting: Setting, record: Recorder) -> None:
    """Runs the checks."""
    words = tokenizer()

    def compared(dtype: torch.dtype) -> JsonObject:
        return compare_losses(setting, words, dtype)

    for dtype in TOLERANCE:
        name = str(dtype).removeprefix("torch.")
        record.case(f"loss of 6 steps in {name}", lambda dtype=dtype: compared(dtype))
    record.case("answers in float32", lambda: compare_answers(setting, words, constrained=False))
    record.case("answers by grammars", lambda: compare_answers(setting, words, constrained=True))
    record.case("resumed after step 3", lambda: compare_resumed(setting, words))


def train(setting: Setting, words: Any, dtype: torch.dtype, **options: Any) -> Any:
    """Trains for six steps; the trainer."""
    from gpu.training import Plan, id_rows, train_ours  # without TRL its cases are skipped

    half = {"bf16": dtype == torch.bfloat16, "logging_steps": 1, "save_strategy": "no"}
    network = llama(SHAPE, "cpu", torch.float32).to(dtype)
    rows = id_rows(words, examples("train", 60))
    plan = Plan(tokens=512, micro=512, warm_up=1, steps=STEPS - 1)
    return train_ours(setting, network, words, rows, plan, **(half | options))[0]


def compare_losses(setting: Setting, words: Any, dtype: torch.dtype) -> JsonObject:
    """The largest relative difference of the losses of all steps."""
    from gpu.training import losses

    with exact_float32():
        expected = losses(train(replace(setting, device="cpu"), words, torch.float32))
        found = losses(train(setting, words, dtype))
    assert len(found) == len(expected) == STEPS, (found, expected)
    worst = max(abs(mine - theirs) / theirs for mine, theirs in zip(found, expected, strict=True))
    assert worst <= TOLERANCE[dtype], f"differs by {worst:.2g}, wanted <= {TOLERANCE[dtype]}"
    return {"difference": worst, "checked": True}


def compare_answers(setting: Setting, words: Any, *, constrained: bool) -> JsonObject:
    """Whether the GPU writes the answers that the CPU writes, from the same random weights."""
    from pipelines.families.causal_lm import Loaded, predict, prompt_for
    from pipelines.families.causal_lm.generation import generate

    prompt = prompt_for(
        words, format="list", labels=["Disease"], style="chat", constrained=constrained
    )
    texts = examples("dev", 12)
    written: list[list[object]] = []
    with exact_float32():
        for device in ("cpu", setting.device):
            # Wide initial weights, so that the best token is clearly the best.
            model = llama(SHAPE, "cpu", torch.float32, initializer_range=0.2).eval().to(device)
            if constrained:
                loaded = Loaded(model, words, prompt)
                answers = predict(loaded, texts, progress=False)
                written.append([answer.raw for answer in answers])
            else:
                ids = [words(text.text)["input_ids"] for text in texts]
                generated = generate(model, words, ids, limits=[12] * len(ids))
                written.append([answer.ids for answer in generated])
    expected, found = written
    equal = sum(mine == theirs for mine, theirs in zip(found, expected, strict=True))
    assert equal == len(texts), f"{equal} of {len(texts)} answers are equal"
    return {"equal": f"{equal} of {len(texts)}", "checked": True}


def compare_resumed(setting: Setting, words: Any) -> JsonObject:
    """Whether a training that goes on after a checkpoint ends with the same adapter."""
    saving = {"save_strategy": "steps", "save_steps": 3}
    with exact_float32():
        whole = train(setting, words, torch.float32, **saving)
        expected = trained_weights(whole)
        shutil.rmtree(Path(whole.args.output_dir) / "checkpoint-6")
        # A fresh trainer: `train_ours` starts from the checkpoint.
        again = train(setting, words, torch.float32, resume=True, **saving)
        found = trained_weights(again)
    differences = [
        float((mine - theirs).abs().max()) for mine, theirs in zip(found, expected, strict=True)
    ]
    assert max(differences) == 0, f"weights differ by {max(differences):.2g}"
    return {"difference": max(differences), "checked": True}


def trained_weights(trainer: Any) -> Sequence[torch.Tensor]:
    weights = trainer.accelerator.unwrap_model(trainer.model).parameters()
    return [weight.detach().clone() for weight in weights if weight.requires_grad]
