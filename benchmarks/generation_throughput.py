"""Seconds a sentence at prediction: `model.generate` one at a time in float32 against ours.

    python benchmarks/generation_throughput.py [--run RUN] [--sentences 64]

Both answer the same prompts of the NCBI disease corpus (or the sample corpus), greedily and without
a grammar. Without --run the model is the untrained `local:smollm2` with answers of 8 tokens. The
line before the last says how many answers are equal; the last ends with the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from pipelines import cpu
from pipelines.corpora import read_examples
from pipelines.errors import UserError
from pipelines.families import causal_lm
from pipelines.families.causal_lm.generation import generate
from pipelines.networks import precision, weights
from pipelines.runs.cost import CostMeter

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", help="run folder with a trained model")
    parser.add_argument("--sentences", type=int, default=96)
    parser.add_argument("--batch_tokens", type=int, default=1024)
    options = parser.parse_args()
    data = Path(os.environ.get("PIPELINES_DATA", ROOT.parent / "shared" / "data"))
    corpus = data / "ncbi_disease" / "dev.json"
    if not corpus.exists():
        corpus = ROOT / "data" / "samples" / "disease_ner" / "dev.json"
    examples = read_examples(corpus)
    examples = examples[:: max(1, len(examples) // options.sentences)][: options.sentences]
    adapter = Path(options.run) / "model" if options.run else None
    try:
        loaded, base = trained(adapter) if adapter else untrained("local:smollm2")
    except UserError as error:
        parser.error(str(error))
    limit = 128 if adapter else 8
    model, tokenizer, prompt, _ = loaded
    prompts = [causal_lm.prompt_ids(tokenizer, example.text, prompt) for example in examples]

    start = time.perf_counter()
    ours = generate(
        model, tokenizer, prompts, limits=[limit] * len(prompts), batch_tokens=options.batch_tokens
    )
    our_seconds = time.perf_counter() - start
    peak = CostMeter().to_json()["peak_memory"] / 2**30
    single: Any = AutoModelForCausalLM.from_pretrained(
        weights.resolve(base), dtype=torch.float32, trust_remote_code=False
    )
    if adapter:
        single = PeftModel.from_pretrained(single, adapter).merge_and_unload()
    single.eval().to(model.device)
    start = time.perf_counter()
    theirs = [one_at_a_time(single, tokenizer, ids, limit) for ids in prompts]
    their_seconds = time.perf_counter() - start
    equal = sum(answer.ids == other for answer, other in zip(ours, theirs, strict=True))
    print(f"{equal} of {len(prompts)} answers equal; our peak memory {peak:.2f} GiB")
    print(
        f"generation: one at a time {their_seconds / len(prompts):.3f} s a sentence, ours "
        f"{our_seconds / len(prompts):.3f} s, {their_seconds / our_seconds:.1f}x"
    )


def trained(folder: Path) -> tuple[causal_lm.Loaded, str]:
    """The model of a run, and the name of its base."""
    loaded = causal_lm.load(folder)
    settings = json.loads((folder / causal_lm.PROMPT_FILE).read_text(encoding="utf-8"))
    return loaded, settings["base_model"]


def untrained(name: str) -> tuple[causal_lm.Loaded, str]:
    """A model as it is, and its name."""
    tokenizer = causal_lm.load_tokenizer(name)
    prompt = causal_lm.prompt_for(
        tokenizer, format="list", labels=("Disease",), style="plain", constrained=False
    )
    model: Any = causal_lm.load_network(name).eval()
    model.to(precision.choose().device)
    cpu.for_prediction(model)
    return causal_lm.Loaded(model, tokenizer, prompt), name


@torch.inference_mode()
def one_at_a_time(model: Any, tokenizer: Any, prompt: list[int], limit: int) -> list[int]:
    """Token ids of the library's answer, without the end token."""
    ids = torch.tensor([prompt], device=model.device)  # (1, T)
    written = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=limit,
        pad_token_id=tokenizer.pad_token_id,
    )
    answer = written[0, len(prompt) :].tolist()
    return [token for token in answer if token != tokenizer.eos_token_id]


if __name__ == "__main__":
    main()
