"""Training tokens a second: `trl sft`, as it comes and at its best, a plain `Trainer` and ours.

    python benchmarks/sft_throughput.py [--rounds 2] [--peers trl_best trainer]

All run in turn, each in a process of its own, on the NCBI disease corpus (or the sample corpus if
that is absent), once for a few steps and once for more: the difference is timed, so that neither
loading nor compilation counts. Model, data, dtype and LoRA agree; all adapt every layer. At its
best, a peer groups rows by length and computes the loss of answers only. A token is one of a prompt
or an answer, not padding. The last line has the medians of the rounds, and ends with the ratio to
the fastest peer.
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
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, DataCollatorForSeq2Seq, Trainer, TrainingArguments

from pipelines.corpora import read_examples
from pipelines.families import causal_lm
from pipelines.families.causal_lm import sft
from pipelines.networks import precision, weights

ROOT = Path(__file__).resolve().parent.parent
BATCH = 16
PEERS = ("trl", "trl_best", "trainer")
LORA = ["--lora_r", "16", "--lora_alpha", "32", "--lora_dropout", "0"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="local:smollm2")
    parser.add_argument("--warm_up", type=int, default=2, help="steps that are not timed")
    parser.add_argument("--steps", type=int, default=40, help="timed, of ours")
    parser.add_argument(
        "--peer_steps", type=int, default=4, help=f"timed, of each peer, each of {BATCH} rows"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--batch_tokens", type=int, help="of ours (default: as in the shipped configuration)"
    )
    parser.add_argument(
        "--peers", nargs="*", choices=PEERS, default=PEERS, help="time these (default: all)"
    )
    parser.add_argument(
        "--train_plain", nargs=2, metavar=("FOLDER", "STEPS"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.train_plain:
        train_plain(options.model, Path(options.train_plain[0]), int(options.train_plain[1]))
        return
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

        commands: dict[str, Callable[[int], list[str]]] = {
            name: partial(peer_command, name, options, Path(folder)) for name in options.peers
        }
        run(ours(options.warm_up))  # compiled code is cached from here on
        found: dict[str, list[float]] = {"ours": [], **{name: [] for name in commands}}
        for _ in range(options.rounds):
            for name, command in {"ours": ours, **commands}.items():
                steps = options.steps if name == "ours" else options.peer_steps
                found[name].append(speed(command, options.warm_up, steps))
                print(f"{name:<9} {found[name][-1]:8.1f} tokens/s", flush=True)
        speeds = {name: median(values) for name, values in found.items()}
        mine = speeds.pop("ours")
        if not speeds:
            print(f"training: ours {mine:.1f} tokens/s")
            return
        best = max(speeds, key=speeds.__getitem__)
        print(
            f"training: {best} {speeds[best]:.1f} tokens/s, ours {mine:.1f} tokens/s, "
            f"{mine / speeds[best]:.1f}x"
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


def peer_command(name: str, options: argparse.Namespace, folder: Path, steps: int) -> list[str]:
    if name == "trainer":
        plain = ["--model", options.model, "--train_plain", str(folder), str(steps)]
        return [sys.executable, __file__, *plain]
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
    if name == "trl_best":
        arguments |= {"train_sampling_strategy": "group_by_length", "completion_only_loss": True}
    command = str(Path(sys.executable).with_name("trl"))
    return [command, "sft", "--use_peft", "--use_cpu", *LORA, *as_options(arguments)]


def train_plain(model_name: str, folder: Path, steps: int) -> None:
    """Trains LoRA with the library's own `Trainer`, and prints tokens and seconds as TRL does."""
    tokenizer = causal_lm.load_tokenizer(model_name)
    rows = []
    with open(folder / "data" / "train.jsonl", encoding="utf-8") as f:
        for row in map(json.loads, f):
            prompt = tokenizer(row["prompt"])["input_ids"]
            answer = [*tokenizer(row["completion"])["input_ids"], tokenizer.eos_token_id]
            labels = [-100] * len(prompt) + answer
            rows.append({"input_ids": prompt + answer, "labels": labels})
    dtype = precision.choose().weights
    network: Any = causal_lm.load_network(model_name, dtype=dtype)
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    arguments = TrainingArguments(
        str(folder / "plain"),
        per_device_train_batch_size=BATCH,
        learning_rate=1e-3,
        bf16=dtype == torch.bfloat16,
        use_cpu=True,
        train_sampling_strategy="group_by_length",
        include_num_input_tokens_seen="non_padding",
        save_strategy="no",
        report_to="none",
        max_steps=steps,
        logging_steps=steps,
    )
    trainer = Trainer(
        model=get_peft_model(network, lora),
        args=arguments,
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
    )
    seconds = trainer.train().metrics["train_runtime"]
    seen = trainer.state.num_input_tokens_seen
    print({"num_tokens": float(seen), "train_runtime": seconds})


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
        "lora_layers": layers_of(options.model),  # of ours fewer are the default: peers adapt all
    }
    if options.batch_tokens:
        arguments["batch_tokens"] = options.batch_tokens
    recipe = str(ROOT / "recipes" / "sft_tinyllama.py")
    return [sys.executable, recipe, *LORA, *as_options(arguments)]


def layers_of(model: str) -> int:
    config = AutoConfig.from_pretrained(weights.resolve(model), trust_remote_code=False)
    return int(config.num_hidden_layers)


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
