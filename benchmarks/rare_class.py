"""Does a sentence mention a disease, where one in twenty does? Majority, plain and searched heads.

    # PIPELINES_DATA/ncbi_disease; five minutes on two cores
    python benchmarks/rare_class.py

Sentences with a mention are drawn until they are 5 % of train. Heads on the frozen encoder are
chosen, and their thresholds tuned, by five folds of that. They are scored on all of dev, each
sentence with a mention weighing as much less as makes them 5 % there too: what many cuts of dev
would give on average. Ends with macro F1.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipelines.corpora import read_examples
from pipelines.corpora.splits import stratified_folds
from pipelines.families import frozen_head, sequence_classifier
from pipelines.families.frozen_head import features, head_search

LABELS = ("none", "Disease")
RATES = [1e-3, 3e-3, 1e-2, 3e-2, 1e-1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        default=Path(os.environ.get("PIPELINES_DATA", "../shared/data")) / "ncbi_disease",
        type=Path,
        help="folder with train.json and dev.json",
    )
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--model", default="local:minilm")
    parser.add_argument("--encoder_layers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    train, dev = (labelled(options.data / f"{split}.json") for split in ("train", "dev"))
    train = cut(train, options.share, options.seed)
    mentions = sum(example.label == "Disease" for example in train)
    print(
        f"train: {len(train)} sentences, {mentions} with a mention; dev: {len(dev)} sentences",
        flush=True,
    )
    gold = np.array([LABELS.index(example.label) for example in dev])
    shown = {"majority": macro_f1(gold, np.zeros_like(gold), options.share)}
    print(f"{'the majority':<40} macro F1 on dev {shown['majority']:.4f}")
    for name, points in (
        (
            "a plain head, no threshold tuned",
            head_search.grid(pooling=["mean"], learning_rate=[1e-3]),
        ),
        (
            "searched heads on pooled states",
            head_search.grid(
                pooling=["mean", "max", "cls"],
                learning_rate=RATES,
                weight_decay=[0.01, 1.0],
                dropout=[0.0, 0.5],
                class_weight=["none", "balanced"],
                epochs=[30],
            ),
        ),
        (
            "searched heads on single tokens",
            head_search.grid(
                pooling=["token"],
                learning_rate=RATES,
                weight_decay=[0.01, 1.0],
                class_weight=["none", "balanced"],
                epochs=[30],
            ),
        ),
    ):
        start = time.perf_counter()
        row, found = searched(train, dev, points, tune=len(points) > 1, options=options)
        shown[name] = macro_f1(gold, found, options.share)
        print(
            f"{name:<40} macro F1 on dev {shown[name]:.4f}; by folds of train "
            f"{row['macro_f1']:.4f}; "
            f"{len(points)} points, {time.perf_counter() - start:.0f} s",
            flush=True,
        )
    print(f"macro F1 {shown[name]:.3f} against {shown['majority']:.3f} of the majority")


def labelled(file):
    return [
        replace(example, label=LABELS[bool(example.spans)], spans=None)
        for example in read_examples(file)
    ]


def cut(examples, share: float, seed: int):
    """The examples without a mention, and as many with one as make the share."""
    without = sum(example.label == "none" for example in examples)
    mentions = [example.id for example in examples if example.label == "Disease"]
    kept = set(random.Random(seed).sample(mentions, round(without * share / (1 - share))))
    return [example for example in examples if example.label == "none" or example.id in kept]


def searched(train, dev, points, *, tune: bool, options):
    """The best point by folds of train, and what it says of dev after training on all of train."""
    encoder = sequence_classifier.load_encoder(options.model, layers=options.encoder_layers)
    tokenizer = sequence_classifier.load_tokenizer(options.model)
    max_length = sequence_classifier.length_from(train + dev, tokenizer, window=512)
    read, unread = (
        features.extract(
            encoder,
            tokenizer,
            part,
            max_length=max_length,
            progress=False,
            tokens=points[0].pooling == "token",
        ).vectors
        for part in (train, dev)
    )
    targets = [LABELS.index(example.label) for example in train]
    data = head_search.SearchData(
        read,
        {name: part[:0] for name, part in read.items()},
        targets,
        [],
        2,
        frozen_head.activation_for(encoder.config.model_type),
        tune=tune,
        folds=stratified_folds(train, 5, seed=options.seed),
    )
    rows = [
        row
        for stack in head_search.stacks(points)
        for row in head_search.train_and_score(data, stack)
    ]
    best = head_search.best_row(rows, "macro_f1")
    point = head_search.point_of(best)
    [logits] = head_search.refit(read[point.pooling], targets, point, data).scores(
        unread[point.pooling]
    )
    return best, (logits + np.array(best.get("offsets", [0.0, 0.0]))).argmax(1)


def macro_f1(gold: np.ndarray, found: np.ndarray, share: float) -> float:
    """Macro F1 where those with a mention are weighed so that they are the share of all."""
    weight = np.where(gold == 1, (gold == 0).sum() * share / (1 - share) / (gold == 1).sum(), 1.0)
    scores = []
    for number in (0, 1):
        right = weight[(gold == number) & (found == number)].sum()
        scores.append(2 * right / (weight[gold == number].sum() + weight[found == number].sum()))
    return float(np.mean(scores))


if __name__ == "__main__":
    main()
