"""Does choosing the texts to annotate help? A CRF that is trained on ever more of a pool.

    # PIPELINES_DATA/ncbi_disease; ten minutes on two cores
    python benchmarks/annotation.py

Begins with 200 random sentences of train, and adds 200 a round: random ones, or those that
`pipelines annotate` would choose by the last round's CRF. Prints strict F1 on dev after each round,
the mean of the seeds, and the words that were annotated. Ends with the F1 that choosing gains in
the last round.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from pipelines.corpora import read_examples
from pipelines.evaluation.annotation import choose, worths
from pipelines.examples import Example
from pipelines.families import lexical
from pipelines.families.training import dev_scores

STRATEGIES = ("random", "annotate")


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
    parser.add_argument("--start", type=int, default=200)
    parser.add_argument("--count", type=int, default=200, help="sentences a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max_iterations", type=int, default=50)
    options = parser.parse_args()
    pool, dev = (
        read_examples(options.data / f"{split}.json", answer="spans") for split in ("train", "dev")
    )
    gained = []
    for seed in options.seeds:
        reached = {name: simulate(name, pool, dev, options, seed) for name in STRATEGIES}
        gained.append([reached[name] for name in STRATEGIES])
    for number in range(options.rounds + 1):
        parts = []
        for position, name in enumerate(STRATEGIES):
            scores, words = zip(*(one[position][number] for one in gained), strict=True)
            spread = f"{100 * min(scores):.1f} to {100 * max(scores):.1f}"
            parts.append(f"{name} {100 * fmean(scores):.1f} ({spread}; {fmean(words):,.0f} words)")
        print(f"{options.start + number * options.count:>6} sentences: {'   '.join(parts)}")
    last = [100 * (annotate[-1][0] - chance[-1][0]) for chance, annotate in gained]
    print(f"gain of choosing in the last round, F1: {fmean(last):+.1f}")


def simulate(
    strategy: str,
    pool: Sequence[Example],
    dev: Sequence[Example],
    options: argparse.Namespace,
    seed: int,
) -> list[tuple[float, int]]:
    """Strict F1 on dev, and the words annotated by then, after each round."""
    chance = random.Random(seed)
    rest = list(pool)
    chance.shuffle(rest)
    labelled, rest = rest[: options.start], rest[options.start :]
    chain = lexical.ChainOptions(max_iterations=options.max_iterations)
    reached = []
    for number in range(options.rounds + 1):
        model = lexical.fit(labelled, method="crf", options=chain)
        score = dev_scores.strict_scores(dev, lexical.predict(model, dev))["strict_f1"]
        words = sum(len(example.text.split()) for example in labelled)
        reached.append((score, words))
        said = f"seed {seed}, {strategy}, {len(labelled)} sentences, {words:,} words"
        print(f"{said}: {100 * score:.1f}", flush=True)
        if number == options.rounds:
            break
        if strategy == "random":
            positions = list(range(options.count))
        else:
            values = worths([lexical.predict(model, rest)])
            positions = choose(rest, values, options.count, known=labelled)
        taken = set(positions)
        labelled = labelled + [rest[position] for position in positions]
        rest = [example for position, example in enumerate(rest) if position not in taken]
    return reached


if __name__ == "__main__":
    main()
