"""Fine-tuning a token tagger: tokens a second of a plain `Trainer` and of ours, on the same rows.

    python benchmarks/tagger_throughput.py [--rows 1500] [--epochs 1]

The plain one has the library's defaults: eight rows in random order, padded to the longest,
`AutoModelForTokenClassification` and `DataCollatorForTokenClassification`, float32 on a CPU (bf16
on a GPU that has it). Both train in turn, each in a process of its own, on the NCBI disease corpus
(or the sample corpus where that is absent), and their dev predictions are scored alike. A token is
a sub-word of a text; padding does not count, nor do loading and prediction. The last line ends with
the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from transformers import DataCollatorForTokenClassification, Trainer, TrainingArguments, set_seed

from pipelines.corpora import read_examples
from pipelines.evaluation.span_scores import score_spans
from pipelines.families import token_tagger
from pipelines.families.token_tagger import tagging
from pipelines.networks import precision

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="local:minilm")
    parser.add_argument("--rows", type=int, help="use the first N rows (default: all)")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch_tokens", type=int, default=1024, help="of ours")
    parser.add_argument("--learning_rate", type=float, default=4e-4)
    parser.add_argument(
        "--side",
        choices=("plain", "ours"),
        help="train this one alone and print its figures as JSON",
    )
    options = parser.parse_args()
    if options.side:
        print(json.dumps(measure(options)))
        return
    figures = {side: run(side) for side in ("plain", "ours")}
    for side, found in figures.items():
        print(
            f"{side:<6} {found['tokens']} tokens in {found['seconds']:7.1f} s  "
            f"{found['speed']:8.1f} tokens/s  "
            f"dev strict F1 {found['f1']:.4f}",
            flush=True,
        )
    plain, ours = figures["plain"]["speed"], figures["ours"]["speed"]
    print(
        f"fine-tuning a tagger: plain Trainer {plain:.0f} tokens/s, ours {ours:.0f} tokens/s, "
        f"{ours / plain:.1f}x"
    )


def run(side: str) -> dict:
    done = subprocess.run(
        [sys.executable, *sys.argv, "--side", side],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(options: argparse.Namespace) -> dict:
    """Trains one side; tokens, seconds of training, and strict F1 on dev."""
    folder = (
        Path(os.environ.get("PIPELINES_DATA", ROOT.parent / "shared" / "data")) / "ncbi_disease"
    )
    folder = folder if folder.exists() else ROOT / "data" / "samples" / "disease_ner"
    train, dev = (
        read_examples(folder / "train.json")[: options.rows],
        read_examples(folder / "dev.json"),
    )
    on_cpu, ours = precision.choose().device == "cpu", options.side == "ours"
    set_seed(0)
    tokenizer = token_tagger.load_tokenizer(options.model)
    attention: dict[str, Any] = {"attn_implementation": "eager"} if ours and on_cpu else {}
    model = tagging.new_model(options.model, token_tagger.tags_for(train), **attention).model
    settings = token_tagger.TaggerSettings(window=token_tagger.window_of(model, tokenizer))
    rows = tagging.training_rows(train, model, tokenizer, settings).rows
    half = precision.choose().training
    half_copies = ours and on_cpu and half["bf16"]
    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output,
            num_train_epochs=options.epochs,
            learning_rate=options.learning_rate,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            # On a CPU float32 is the library's default.
            **(half if ours or not on_cpu else {"use_cpu": True})
            | ({"bf16": False} if half_copies else {}),
        )
        if ours:
            trainer: Trainer = tagging.TokenTaggerTrainer(
                model=model,
                args=arguments,
                train_dataset=rows,
                processing_class=tokenizer,
                settings=settings,
                batch_tokens=options.batch_tokens,
                head_rate=10.0,
                half_copies=half_copies,
            )
        else:
            trainer = Trainer(
                model=model,
                args=arguments,
                train_dataset=rows,
                processing_class=tokenizer,
                data_collator=DataCollatorForTokenClassification(tokenizer),
            )
        start = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - start
    loaded = token_tagger.Loaded(model, tokenizer, settings)
    predictions = token_tagger.predict(loaded, dev, progress=False)
    f1 = score_spans(
        [example.spans or () for example in dev],
        [prediction.spans or () for prediction in predictions],
    )["strict"]["f1"]
    tokens = options.epochs * sum(len(row["input_ids"]) for row in rows)
    return {"tokens": tokens, "seconds": seconds, "speed": tokens / seconds, "f1": f1}


if __name__ == "__main__":
    main()
