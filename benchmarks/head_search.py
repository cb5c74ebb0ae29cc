"""A grid of heads on cached features against one `Trainer` run a point, frozen encoder in the loop.

    python benchmarks/head_search.py --train_file reviews.txt
    python benchmarks/head_search.py --train_file reviews.txt --texts 1200 --trainer_texts 96

Both see the same texts, length and epochs. The search is measured whole: features without a cache,
and all points. Of the Trainer, one pass over `--trainer_texts` of the texts is measured for each of
`--trainer_points` points, and its seconds are taken times texts and epochs: its time grows with
both in proportion. Its batches are of one length as well, so that what is compared is the encoder
in the loop. Ends with the ratio.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pipelines.corpora.tables import read_classes
from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

from pipelines.families import frozen_head, sequence_classifier
from pipelines.families.class_answers import ClassifierSettings
from pipelines.families.frozen_head import features, head_search
from pipelines.families.sequence_classifier.classifier_training import training_rows
from pipelines.families.training.batches import LengthBatchSampler


class FrozenTrainer(Trainer):
    """Batches of one length, and an encoder that stays in eval mode."""

    def _get_train_sampler(self, train_dataset=None):
        rows: Any = self.train_dataset
        return LengthBatchSampler([len(row["input_ids"]) for row in rows], batch_tokens=8192)

    def training_step(self, model, *arguments, **keywords):
        model.train()
        model.base_model.eval()
        return super().training_step(model, *arguments, **keywords)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train_file", required=True)
    parser.add_argument("--model", default="local:minilm")
    parser.add_argument("--texts", type=int, help="use N of the texts (default: all)")
    parser.add_argument("--trainer_texts", type=int, default=192)
    parser.add_argument("--trainer_points", type=int, default=2)
    parser.add_argument("--max_length", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    examples = read_classes(options.train_file)
    random.Random(0).shuffle(examples)
    examples = examples[: options.texts]
    labels = tuple(sorted({str(example.label) for example in examples}))
    settings = ClassifierSettings(labels, max_length=options.max_length)
    tokenizer = sequence_classifier.load_tokenizer(options.model)
    points = head_search.grid(
        pooling=["mean", "max", "cls"],
        learning_rate=[1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
        weight_decay=[0.01, 1.0],
        dropout=[0.0, 0.5],
        epochs=[options.epochs],
    )

    searched = search_seconds(examples, points, settings, tokenizer, options)
    trained = [
        trainer_seconds(examples[: options.trainer_texts], point, settings, tokenizer, options)
        for point in points[: options.trainer_points]
    ]
    a_pass = float(np.mean(trained)) * len(examples) / min(options.trainer_texts, len(examples))
    whole = a_pass * options.epochs * len(points)
    print(
        f"Trainer: {', '.join(f'{seconds:.1f}' for seconds in trained)} s for one pass over "
        f"{min(options.trainer_texts, len(examples))} texts; {a_pass * options.epochs:,.0f} s a "
        f"point of {options.epochs} epochs over {len(examples)} texts, {whole:,.0f} s for "
        f"{len(points)} points (extrapolated)"
    )
    print(
        f"{len(points)} points: search {searched:.1f} s, Trainer {whole:,.0f} s: "
        f"{whole / searched:.0f}x"
    )


def search_seconds(examples, points, settings, tokenizer, options) -> float:
    encoder = sequence_classifier.load_encoder(options.model)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as cache:
        vectors = features.extract(
            encoder, tokenizer, examples, max_length=options.max_length, cache=cache, progress=False
        ).vectors
    encoded = time.perf_counter() - start
    cut = len(examples) * 9 // 10
    targets = sequence_classifier.targets(examples, settings)
    data = head_search.SearchData(
        {pooling: part[:cut] for pooling, part in vectors.items()},
        {pooling: part[cut:] for pooling, part in vectors.items()},
        targets[:cut],
        targets[cut:],
        len(settings.labels),
    )
    rows = [
        row
        for stack in head_search.stacks(points)
        for row in head_search.train_and_score(data, stack)
    ]
    seconds = time.perf_counter() - start
    best = head_search.best_row(rows, "macro_f1")
    print(
        f"search: {encoded:.1f} s for the features of {len(examples)} texts, "
        f"{seconds - encoded:.1f} s for "
        f"{len(points)} heads; best macro F1 on held-out texts {best['macro_f1']:.4f}",
        flush=True,
    )
    return seconds


def trainer_seconds(examples, point: frozen_head.Point, settings, tokenizer, options) -> float:
    """One pass with the frozen encoder in the loop."""
    model = sequence_classifier.load_network(
        options.model, settings, pooling="mean", dropout=point.dropout
    )
    model.base_model.requires_grad_(False)
    rows = training_rows(examples, tokenizer, settings).rows
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            str(Path(folder)),
            num_train_epochs=1,
            learning_rate=point.learning_rate,
            weight_decay=point.weight_decay,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            use_cpu=not torch.cuda.is_available(),
        )
        trainer = FrozenTrainer(
            model=model,
            args=arguments,
            train_dataset=rows,
            data_collator=DataCollatorWithPadding(tokenizer),
        )
        start = time.perf_counter()
        trainer.train()
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
