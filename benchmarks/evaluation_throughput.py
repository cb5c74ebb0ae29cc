"""Scores a million predicted spans over 100,000 sentences, ours against seqeval.

    python benchmarks/evaluation_throughput.py [--sentences 100000] [--spans 10]

Ours gives four scores with per-type, macro and weighted values; seqeval its report in strict mode
(IOB2), whose F1 must be our strict F1 to 1e-12. Times are of the processor, so that other work on
the machine does not count (both run on one core), without the making of the data. The last line
ends with seqeval's time over ours.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import sys
import time
from typing import Any

from pipelines.evaluation.span_scores import score_spans
from pipelines.examples import Span
from pipelines.spans import token_ranges_to_tags

TYPES = ("Disease", "Chemical", "Gene", "Species")
TOKENS_PER_SPAN = 4


def sentence(
    generator: random.Random, spans: int
) -> tuple[list[tuple[int, int, str]], list[tuple[int, int, str]]]:
    """Gold and predicted token ranges: one in five ends elsewhere, one in ten has another type."""
    gold, predicted = [], []
    for i in range(spans):
        first = i * TOKENS_PER_SPAN + generator.randrange(2)
        past, label = first + generator.choice((1, 1, 2)), generator.choice(TYPES)
        gold.append((first, past, label))
        predicted.append(
            (
                first,
                first + 1 if generator.random() < 0.2 else past,
                generator.choice(TYPES) if generator.random() < 0.1 else label,
            )
        )
    return gold, predicted


def corpus(sentences: int, spans: int) -> tuple[list[Any], list[Any]]:
    generator = random.Random(0)
    rows = [sentence(generator, spans) for _ in range(sentences)]
    return [gold for gold, _ in rows], [predicted for _, predicted in rows]


def ours(sentences: int, spans: int) -> dict[str, float]:
    gold, predicted = (
        [[Span(*found) for found in row] for row in side] for side in corpus(sentences, spans)
    )
    start = time.process_time()
    scores = score_spans(gold, predicted)
    return {"seconds": time.process_time() - start, "f1": scores["strict"]["f1"], **_memory()}


def theirs(sentences: int, spans: int) -> dict[str, float]:
    from seqeval.metrics import classification_report
    from seqeval.scheme import IOB2

    length = spans * TOKENS_PER_SPAN
    gold, predicted = (
        [token_ranges_to_tags(row, length) for row in side] for side in corpus(sentences, spans)
    )
    start = time.process_time()
    report = classification_report(gold, predicted, mode="strict", scheme=IOB2, output_dict=True)
    return {
        "seconds": time.process_time() - start,
        "f1": report["micro avg"]["f1-score"],
        **_memory(),
    }


def _memory() -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"gib": peak / (2**30 if sys.platform == "darwin" else 2**20)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=int, default=100_000)
    parser.add_argument(
        "--spans", type=int, default=10, help="gold, and predicted, spans a sentence"
    )
    options = parser.parse_args()
    figures = {}
    for name, measure in (("pipelines", ours), ("seqeval", theirs)):
        # A fresh process each: the peak of one must not be the other's.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            figures[name] = pool.apply(measure, (options.sentences, options.spans))
        print(
            f"{name}: {figures[name]['seconds']:.2f} s, strict F1 {figures[name]['f1']:.6f}, "
            f"peak memory with the data {figures[name]['gib']:.2f} GiB",
            flush=True,
        )
    if abs(figures["pipelines"]["f1"] - figures["seqeval"]["f1"]) > 1e-12:
        raise SystemExit("the two strict F1 differ")
    ratio = figures["seqeval"]["seconds"] / figures["pipelines"]["seconds"]
    print(
        f"{options.sentences * options.spans} predicted spans over {options.sentences} sentences, "
        f"seqeval's time over ours: {ratio:.1f}x"
    )


if __name__ == "__main__":
    main()
