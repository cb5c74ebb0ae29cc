"""Training tokens a second: the `trl sft` command against ours, on the same model, data, LoRA and number format.

    python benchmarks/sft_throughput.py [--rounds 2] [--batch_tokens 1024]

Both run in turn, each in a process of its own, on the rows of the NCBI disease corpus (or of the sample corpus where
that is absent), once for a few steps and once for more: the difference is what is timed, so that neither loading nor
compiling counts. A token is one of a prompt or an answer; padding does not count. The last line ends with the ratio.
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

from pipelines.corpora import read_examples
from pipelines.families import causal_lm
from pipelines.families.causal_lm import sft
from pipelines.networks import precision, weights

ROOT = Path(__file__).resolve().parent.parent
BATCH = 16
LORA = ["--lora_r", "16", "--lora_alpha", "32", "--lora_dropout", "0"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="local:smollm2")
    parser.add_argument("--warm_up", type=int, default=2, help="steps that are not timed")
    parser.add_argument("--steps", type=int, default=40, help="timed, of ours")
    parser.add_argument("--trl_steps", type=int, default=4, help=f"timed, of `trl sft`, each of {BATCH} rows")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch_tokens", type=int, help="of ours (default: as in the shipped configuration)")
    options = parser.parse_args()
    corpus = Path(os.environ.get("PIPELINES_DATA", ROOT.parent / "shared" / "data")) / "ncbi_disease" / "train.json"
    corpus = corpus if corpus.exists() else ROOT / "data" / "samples" / "disease_ner" / "train.json"
    with tempfile.TemporaryDirectory() as folder:
        examples = read_examples(corpus)
        tokens = write_data(examples, options.model, Path(folder))
        print(f"{len(examples)} rows of {corpus.name}, {tokens} tokens, {options.model}, "
              f"{precision.choose().weights}")
        run(our_command(options, Path(folder), corpus, options.warm_up))  # compiled code is kept from here on
        peer, ours = [], []
        for _ in range(options.rounds):
            peer.append(speed(lambda steps: trl_command(options, Path(folder), steps), options.warm_up,
                              options.trl_steps))
            ours.append(speed(lambda steps: our_command(options, Path(folder), corpus, steps), options.warm_up,
                              options.steps))
            print(f"trl sft {peer[-1]:8.1f} tokens/s   ours {ours[-1]:8.1f} tokens/s", flush=True)
        best, best_peer = max(ours), max(peer)
        print(f"training: trl sft {best_peer:.1f} tokens/s, ours {best:.1f} tokens/s, {best / best_peer:.1f}x")


def write_data(examples: list, model: str, folder: Path) -> int:
    """Writes rows with the columns prompt and completion, of the same tokens as ours; returns how many tokens."""
    tokenizer = causal_lm.load_tokenizer(model)
    prompt = causal_lm.prompt_for(tokenizer, format="list", labels=("Disease",), style="plain", constrained=True)
    (folder / "data").mkdir()
    with open(folder / "data" / "train.jsonl", "w", encoding="utf-8") as f:
        for example in examples:
            question = causal_lm.prompt_ids(tokenizer, example.text, prompt)
            answer = causal_lm.answer_ids(tokenizer, example.text, example.spans, prompt)
            row = {"prompt": tokenizer.decode(question), "completion": tokenizer.decode(answer[:-1])}
            f.write(json.dumps(row) + "\n")
    rows = sft.training_rows(examples, tokenizer, prompt, max_length=512).rows
    return sum(len(row["input_ids"]) for row in rows)


def trl_command(options: argparse.Namespace, folder: Path, steps: int) -> list[str]:
    bf16 = precision.choose().weights.itemsize == 2
    return [str(Path(sys.executable).with_name("trl")), "sft", "--model_name_or_path", weights.resolve(options.model),
            "--dataset_name", str(folder / "data"), "--output_dir", str(folder / "trl"), "--use_peft",
            *LORA, "--lora_target_modules", "all-linear", "--per_device_train_batch_size", str(BATCH),
            "--learning_rate", "1e-3", "--max_length", "512", "--use_cpu", "--bf16", str(bf16),
            "--dtype", "bfloat16" if bf16 else "float32", "--save_strategy", "no", "--report_to", "none",
            "--max_steps", str(steps), "--logging_steps", str(steps)]


def our_command(options: argparse.Namespace, folder: Path, corpus: Path, steps: int) -> list[str]:
    return [sys.executable, str(ROOT / "recipes" / "sft_tinyllama.py"), "--config",
            str(ROOT / "recipes" / "configs" / "sft_smollm2.yaml"), "--model_name_or_path", options.model,
            *LORA, *(["--batch_tokens", str(options.batch_tokens)] if options.batch_tokens else []),
            "--train_file", str(corpus), "--run_dir", tempfile.mkdtemp(dir=folder),
            "--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false",
            "--max_steps", str(steps), "--logging_steps", str(steps)]


def speed(command: Callable[[int], list[str]], warm_up: int, steps: int) -> float:
    """Tokens a second of the steps after the warm-up."""
    few_tokens, few_seconds = run(command(warm_up))
    tokens, seconds = run(command(warm_up + steps))
    return (tokens - few_tokens) / (seconds - few_seconds)


def run(command: list[str]) -> tuple[float, float]:
    """Runs a training; the tokens it saw and its seconds, from its own log."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    printed = done.stdout + done.stderr
    tokens, seconds = (re.findall(rf"'{name}': '?([\d.e+]+)", printed) for name in ("num_tokens", "train_runtime"))
    if done.returncode or not tokens or not seconds:
        sys.exit(f"failed: {' '.join(command)}\n{printed[-4000:]}")
    return float(tokens[0]), float(seconds[0])


if __name__ == "__main__":
    main()
