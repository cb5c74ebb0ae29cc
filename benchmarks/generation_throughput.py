"""Seconds a sentence at prediction: `model.generate` one at a time in float32 against ours.

    python benchmarks/generation_throughput.py [--run RUN] [--sentences 64]

Both write the same answers, greedily and without a grammar, to the same prompts of the NCBI disease corpus (or the
sample corpus). Without --run the model is the untrained `local:smollm2` with answers of 8 tokens. The line before the
last says how many answers are equal; the last ends with the ratio.
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

from pipelines.corpora import read_examples
from pipelines.errors import UserError
from pipelines.families import causal_lm
from pipelines.families.causal_lm.generation import generate
from pipelines.networks import precision, weights
from pipelines.runs.cost import CostMeter

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="run folder with a trained model")
    parser.add_argument("--sentences", type=int, default=96)
    parser.add_argument("--batch_tokens", type=int, default=1024)
    options = parser.parse_args()
    corpus = Path(os.environ.get("PIPELINES_DATA", ROOT.parent / "shared" / "data")) / "ncbi_disease" / "dev.json"
    corpus = corpus if corpus.exists() else ROOT / "data" / "samples" / "disease_ner" / "dev.json"
    examples = read_examples(corpus)
    examples = examples[::max(1, len(examples) // options.sentences)][:options.sentences]
    adapter = Path(options.run) / "model" if options.run else None
    if adapter:
        try:
            model, tokenizer, prompt = causal_lm.load(adapter)
        except UserError as error:
            parser.error(str(error))
        limit, name = 128, json.loads((adapter / causal_lm.PROMPT_FILE).read_text(encoding="utf-8"))["base_model"]
    else:
        limit, name = 8, "local:smollm2"
        tokenizer = causal_lm.load_tokenizer(name)
        prompt = causal_lm.prompt_for(tokenizer, format="list", labels=("Disease",), style="plain", constrained=False)
        model = causal_lm.load_network(name).eval()
        model.to(precision.choose().device)  # type: ignore[arg-type]
    prompts = [causal_lm.prompt_ids(tokenizer, example.text, prompt) for example in examples]

    start = time.perf_counter()
    ours = generate(model, tokenizer, prompts, limits=[limit] * len(prompts), batch_tokens=options.batch_tokens)
    our_seconds = time.perf_counter() - start
    peak = CostMeter().to_json()["peak_memory"] / 2**30
    single: Any = AutoModelForCausalLM.from_pretrained(weights.resolve(name), dtype=torch.float32)
    if adapter:
        single = PeftModel.from_pretrained(single, adapter).merge_and_unload()
    single.eval().to(model.device)
    start = time.perf_counter()
    theirs = []
    with torch.inference_mode():
        for prompt_tokens in prompts:
            ids = torch.tensor([prompt_tokens], device=single.device)
            written = single.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                                      max_new_tokens=limit, pad_token_id=tokenizer.pad_token_id)
            theirs.append([token for token in written[0, len(prompt_tokens):].tolist()
                           if token != tokenizer.eos_token_id])
    their_seconds = time.perf_counter() - start
    equal = sum(answer.ids == other for answer, other in zip(ours, theirs, strict=True))
    print(f"{equal} of {len(prompts)} answers equal; our peak memory {peak:.2f} GiB")
    print(f"generation: one at a time {their_seconds / len(prompts):.3f} s a sentence, ours "
          f"{our_seconds / len(prompts):.3f} s, {their_seconds / our_seconds:.1f}x")


if __name__ == "__main__":
    main()
