"""Answers a second: ours with grammars and without, against the library's `generate`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from gpu.inputs import Setting, examples, llama, tokenizer
from gpu.rows import Recorder, peak_memory
from pipelines import cpu
from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.families import causal_lm
from pipelines.families.causal_lm.generation import generate
from pipelines.networks import precision
from pipelines.prompting import grammars

LIMIT = 12  # tokens of an answer


def run(setting: Setting, record: Recorder) -> None:
    """Measures the random TinyLlama, and SmolLM2 where it is installed."""
    words = tokenizer()
    dtype = precision.choose().weights if setting.device == "cuda" else torch.float32
    model = llama(setting.llama, setting.device, dtype, initializer_range=0.1).eval()
    measure_model(setting, record, "TinyLlama's shape", model, words)
    del model
    if setting.small:
        return
    try:
        words = causal_lm.load_tokenizer("local:smollm2")
        smol: Any = causal_lm.load_network("local:smollm2").eval().to(setting.device)
    except UserError:
        record.skip("SmolLM2", "needs the packages of weights.txt")
        return
    measure_model(setting, record, "SmolLM2", smol, words)


def measure_model(setting: Setting, record: Recorder, name: str, model: Any, words: Any) -> None:
    count = 8 if setting.small else 2_000
    texts = [example.text for example in examples("train", count)]
    prompt = causal_lm.prompt_for(
        words, format="list", labels=["Disease"], style="chat", constrained=True
    )
    prompts = [causal_lm.prompt_ids(words, text, prompt) for text in texts]
    cpu.for_prediction(model)
    rules = [grammars.grammar("list", text, ["Disease"]) for text in texts]

    def first_only(rule: str | None) -> Callable[[str], str | None]:
        return lambda so_far: None if so_far else rule

    def ours(constrained: bool) -> JsonObject:
        return timed(
            setting,
            count,
            lambda: generate(
                model,
                words,
                prompts,
                limits=[LIMIT] * count,
                grammars=[first_only(rule) for rule in rules] if constrained else None,
                batch_tokens=16_384,
            ),
        )

    def constrained() -> JsonObject:
        import llguidance  # noqa: F401 - skips the case by name

        return ours(True)

    record.case(f"{name}, ours with grammars", constrained, goal=">= 300 answers/s", needs=10)
    record.case(f"{name}, ours without", lambda: ours(False), needs=10)
    for rows in (4,) if setting.small else (256, 64):
        record.case(
            f"{name}, generate in batches of {rows}, without grammars",
            lambda rows=rows: timed(
                setting, count, lambda: by_library(model, words, prompts, rows)
            ),
            needs=10,
        )


def timed(setting: Setting, count: int, write: Callable[[], object]) -> JsonObject:
    """Answers a second and the GPU's peak memory."""
    values: JsonObject = {}
    with peak_memory(values):
        start = time.perf_counter()
        write()
        setting.synchronize()
        seconds = time.perf_counter() - start
    return {"answers/s": count / seconds, **values}


@torch.inference_mode()
def by_library(model: Any, words: Any, prompts: list[list[int]], rows: int) -> None:
    """The library's answers in batches sorted by length, padded on the left."""
    in_order = sorted(prompts, key=len, reverse=True)
    for start in range(0, len(in_order), rows):
        batch = in_order[start : start + rows]
        width = max(map(len, batch))
        ids = [[words.pad_token_id] * (width - len(row)) + row for row in batch]
        mask = [[0] * (width - len(row)) + [1] * len(row) for row in batch]
        model.generate(
            input_ids=torch.tensor(ids, device=model.device),
            attention_mask=torch.tensor(mask, device=model.device),
            do_sample=False,
            max_new_tokens=LIMIT,
            pad_token_id=words.pad_token_id,
            eos_token_id=words.eos_token_id,
        )
