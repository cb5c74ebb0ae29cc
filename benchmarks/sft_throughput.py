"""Training tokens a second: the `trl sft` command against ours; model, data, LoRA and dtype agree.

    python benchmarks/sft_throughput.py [--rounds 2] [--batch_tokens 1024] [--ours]

Both run in turn, each in a process of its own, on the NCBI disease corpus (or the sample corpus if
that is absent), once for a few steps and once for more: the difference is timed, so that neither
loading nor compilation counts. A token is one of a prompt or an answer, not padding. The last line
ends with the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.corpora import read_examples
from pipelines.families import causal_lm
from pipelines.families.causal_lm import sft
from pipelines.networks import precision, weights

ROOT = Path(__file__).resolve().parent.parent
BATCH = 16
LORA = ["--lora_r", "16", "--lora_alpha", "32", "--lora_dropout", "0"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="local:smollm2")
    parser.add_argument("--warm_up", type=int, default=2, help="steps that are not timed")
    parser.add_argument("--steps", type=int, default=40, help="timed, of ours")
    parser.add_argument(
        "--trl_steps", type=int, default=4, help=f"timed, of `trl sft`, each of {BATCH} rows"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--batch_tokens", type=int, help="of ours (default: as in the shipped configuration)"
    )
    parser.add_argument("--ours", action="store_true", help="time only ours")
    options = parser.parse_args()
    data = Path(os.environ.get("PIPELINES_DATA", ROOT.parent / "shared" / "data"))
    corpus = data / "ncbi_disease" / "train.json"
    if not corpus.exists():
        corpus = ROOT / "data" / "samples" / "disease_ner" / "train.json"
    with tempfile.TemporaryDirectory() as folder:
        examples = read_examples(corpus)
        tokens = write_data(examples, options.model, Path(folder))
        print(
            f"{len(examples)} rows of {corpus.name}, {tokens} tokens, {options.model}, "
            f"{precision.choose().weights}"
        )

        def ours(steps: int) -> list[str]:
            return our_command(options, Path(folder), corpus, steps)

        def trl(steps: int) -> list[str]:
            return trl_command(options, Path(folder), steps)

        run(ours(options.warm_up))  # compiled code is cached from here on
        our_speeds, trl_speeds = [], []
        for _ in range(options.rounds):
            our_speeds.append(speed(ours, options.warm_up, options.steps))
            print(f"ours    {our_speeds[-1]:8.1f} tokens/s", flush=True)
            if not options.ours:
                trl_speeds.append(speed(trl, options.warm_up, options.trl_steps))
                print(f"trl sft {trl_speeds[-1]:8.1f} tokens/s", flush=True)
        best, best_trl = max(our_speeds), max(trl_speeds, default=None)
        if best_trl is None:
            print(f"training: ours {best:.1f} tokens/s")
        else:
            print(
                f"training: trl sft {best_trl:.1f} tokens/s, ours {best:.1f} tokens/s, "
                f"{best / best_trl:.1f}x"
            )


def write_data(examples: list, model: str, folder: Path) -> int:
    """Writes rows with the columns prompt and completion; returns their number of tokens."""
    tokenizer = causal_lm.load_tokenizer(model)
    prompt = causal_lm.prompt_for(
        tokenizer, format="list", labels=("Disease",), style="plain", constrained=True
    )
    (folder / "data").mkdir()
    with open(folder / "data" / "train.jsonl", "w", encoding="utf-8") as f:
        for example in examples:
            question = causal_lm.prompt_ids(tokenizer, example.text, prompt)
            answer = causal_lm.answer_ids(tokenizer, example.text, example.spans, prompt)
            row = {
                "prompt": tokenizer.decode(question),
                "completion": tokenizer.decode(answer[:-1]),
            }
            f.write(json.dumps(row) + "\n")
    rows = sft.training_rows(examples, tokenizer, prompt, max_length=512).rows
    return sum(len(row["input_ids"]) for row in rows)


def trl_command(options: argparse.Namespace, folder: Path, steps: int) -> list[str]:
    bf16 = precision.choose().weights.itemsize == 2
    arguments = {
        "model_name_or_path": weights.resolve(options.model),
        "dataset_name": folder / "data",
        "output_dir": folder / "trl",
        "lora_target_modules": "all-linear",
        "per_device_train_batch_size": BATCH,
        "learning_rate": "1e-3",
        "max_length": 512,
        "bf16": bf16,
        "dtype": "bfloat16" if bf16 else "float32",
        "save_strategy": "no",
        "report_to": "none",
        "max_steps": steps,
        "logging_steps": steps,
    }
    command = str(Path(sys.executable).with_name("trl"))
    return [command, "sft", "--use_peft", "--use_cpu", *LORA, *as_options(arguments)]


def our_command(options: argparse.Namespace, folder: Path, corpus: Path, steps: int) -> list[str]:
    arguments = {
        "config": ROOT / "recipes" / "configs" / "sft_smollm2.yaml",
        "model_name_or_path": options.model,
        "train_file": corpus,
        "run_dir": tempfile.mkdtemp(dir=folder),
        "eval_strategy": "no",
        "save_strategy": "no",
        "load_best_model_at_end": "false",
        "max_steps": steps,
        "logging_steps": steps,
    }
    if options.batch_tokens:
        arguments["batch_tokens"] = options.batch_tokens
    recipe = str(ROOT / "recipes" / "sft_tinyllama.py")
    return [sys.executable, recipe, *LORA, *as_options(arguments)]


def as_options(arguments: dict[str, Any]) -> list[str]:
    return [part for name, value in arguments.items() for part in (f"--{name}", str(value))]


def speed(command: Callable[[int], list[str]], warm_up: int, steps: int) -> float:
    """Tokens a second of the steps after the warm-up."""
    few_tokens, few_seconds = run(command(warm_up))
    tokens, seconds = run(command(warm_up + steps))
    return (tokens - few_tokens) / (seconds - few_seconds)


def run(command: list[str]) -> tuple[float, float]:
    """Runs a training; the tokens it saw and its seconds, from its own log."""
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    )
    printed = done.stdout + done.stderr
    tokens = re.findall(r"'num_tokens': '?([\d.e+]+)", printed)
    seconds = re.findall(r"'train_runtime': '?([\d.e+]+)", printed)
    if done.returncode or not tokens or not seconds:
        sys.exit(f"failed: {' '.join(command)}\n{printed[-4000:]}")
    return float(tokens[0]), float(seconds[0])


if __name__ == "__main__":
    main()
