"""Training tokens a second: the `trl sft` command against ours, on the same model, data, LoRA and number format.

    python benchmarks/sft_throughput.py [--steps 4] [--trl_steps 2]

Both run in turn, each in a process of its own, on the first rows of the NCBI disease corpus (or the sample corpus where
that is absent). A token is one of a prompt or an answer; padding does not count. Loading is not timed: each trainer's
own `train_runtime` is taken. The last line ends with the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from pipelines import precision
from pipelines.corpora import read_examples
from pipelines.families import causal_lm, sft
from pipelines.networks import weights

ROOT = Path(__file__).resolve().parent.parent
BATCH = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="local:smollm2")
    parser.add_argument("--rows", type=int, default=640)
    parser.add_argument("--steps", type=int, default=12, help="of ours, each of about 1,024 tokens")
    parser.add_argument("--trl_steps", type=int, default=4, help=f"of `trl sft`, each of {BATCH} rows")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    corpus = Path(os.environ.get("PIPELINES_DATA", ROOT.parent / "shared" / "data")) / "ncbi_disease" / "train.json"
    corpus = corpus if corpus.exists() else ROOT / "data" / "samples" / "disease_ner" / "train.json"
    with tempfile.TemporaryDirectory() as folder:
        examples = read_examples(corpus)[:options.rows]
        tokens = write_data(examples, options.model, Path(folder))
        print(f"{len(examples)} rows of {corpus.name}, {tokens} tokens, {options.model}, "
              f"{precision.choose().weights}")
        peer, ours = [], []
        for _ in range(options.rounds):
            peer.append(trl_sft(options, Path(folder), tokens / len(examples)))
            ours.append(our_recipe(options, Path(folder), corpus))
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


def trl_sft(options: argparse.Namespace, folder: Path, tokens_per_row: float) -> float:
    bf16 = precision.choose().weights.itemsize == 2
    command = [sys.executable, "-m", "trl.cli", "sft", "--model_name_or_path", weights.resolve(options.model),
               "--dataset_name", str(folder / "data"), "--output_dir", str(folder / "trl"), "--use_peft",
               "--lora_r", "16", "--lora_alpha", "32", "--lora_dropout", "0", "--lora_target_modules", "all-linear",
               "--per_device_train_batch_size", str(BATCH), "--max_steps", str(options.trl_steps),
               "--learning_rate", "1e-3", "--max_length", "512", "--use_cpu", "--bf16", str(bf16),
               "--dtype", "bfloat16" if bf16 else "float32", "--save_strategy", "no", "--report_to", "none"]
    return BATCH * options.trl_steps * tokens_per_row / seconds(command)


def our_recipe(options: argparse.Namespace, folder: Path, corpus: Path) -> float:
    run = tempfile.mkdtemp(dir=folder)
    command = [sys.executable, str(ROOT / "recipes" / "sft_tinyllama.py"), "--config",
               str(ROOT / "recipes" / "configs" / "sft_smollm2.yaml"), "--model_name_or_path", options.model,
               "--train_file", str(corpus), "--run_dir", f"{run}/run", "--max_steps", str(options.steps),
               "--eval_strategy", "no", "--save_strategy", "no", "--load_best_model_at_end", "false",
               "--logging_steps", str(options.steps)]
    seconds(command)
    log = json.loads((Path(run) / "run" / "trainer_log.json").read_text())
    tokens = next(line["num_tokens"] for line in log if "num_tokens" in line)
    return tokens / next(line["train_runtime"] for line in log if "train_runtime" in line)


def seconds(command: list[str]) -> float:
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    found = re.search(r"'train_runtime': '?([\d.e+]+)", done.stdout + done.stderr)
    if done.returncode or not found:
        sys.exit(f"failed: {' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    return float(found[1])


if __name__ == "__main__":
    main()
