"""Writes texts drawn from a Markov chain over words, whose entropy is known exactly.

    python data/make_markov_text.py --out markov [--words 60] [--successors 8] [--seed 0]
    python recipes/train_language_model.py --config recipes/configs/lm_markov.yaml \\
        --train_file markov/train.jsonl --dev_file markov/dev.jsonl --test_file markov/test.jsonl

No model can expect a perplexity below exp(entropy per token), and one that learns the chain reaches
it: chain.json holds the number. After each word one of a few others follows, or the text ends. The
same seed gives the same bytes.

The entropy of a text is H(start) + Σ_w n(w) H(w), where H(w) is the entropy of what follows w, and
n(w), the expected number of times that w occurs, solves n = start + n Q for the transitions Q
between words (the fundamental matrix of the absorbing chain; Kemeny and Snell 1960, ch. 3). A text
has Σ n(w) + 1 tokens with its end mark.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
SIZES = {"train": 20_000, "dev": 1_000, "test": 2_000}
ENDS = 0.08  # probability that a text ends after a word


class Chain(NamedTuple):
    """A Markov chain over W words and the end.

    Attributes:
        words: W strings.
        start: (W,), probabilities of the first word.
        follows: (W, W + 1), of what follows each word; the last column is the end.
    """

    words: list[str]
    start: np.ndarray
    follows: np.ndarray

    def expected_counts(self) -> np.ndarray:
        """(W,), how often each word occurs in a text on average."""
        between = self.follows[:, :-1]
        return np.linalg.solve(np.eye(len(self.words)) - between.T, self.start)

    def entropy_per_token(self) -> float:
        """Entropy of a text over its expected number of tokens, end mark included, in nats."""
        counts = self.expected_counts()
        total = _entropy(self.start) + sum(
            count * _entropy(row) for count, row in zip(counts, self.follows, strict=True)
        )
        return float(total / (counts.sum() + 1))

    def texts(self, number: int, random: np.random.Generator) -> Iterator[list[int]]:
        """Draws texts as indices of words."""
        first, rows = self.start.cumsum(), self.follows.cumsum(axis=1)
        end = len(self.words)
        for _ in range(number):
            word, text = _draw(first, random), []
            while word != end:
                text.append(word)
                word = _draw(rows[word], random)
            yield text

    def nats(self, text: list[int]) -> float:
        """Negative log-likelihood of a text and its end."""
        steps = zip(text, [*text[1:], len(self.words)], strict=True)
        return -math.log(self.start[text[0]]) - sum(
            math.log(self.follows[word, after]) for word, after in steps
        )


def make_chain(words: int, successors: int, random: np.random.Generator) -> Chain:
    """A chain in which each word has some successors, with random probabilities."""
    numbers = random.choice(len(SYLLABLES) ** 2, size=words, replace=False)
    names = [SYLLABLES[n // len(SYLLABLES)] + SYLLABLES[n % len(SYLLABLES)] for n in numbers]
    follows = np.zeros((words, words + 1))
    for row in follows:
        kept = random.choice(words, size=successors, replace=False)
        row[kept] = random.dirichlet(np.ones(successors)) * (1 - ENDS)
        row[-1] = ENDS
    start = np.zeros(words)
    start[random.choice(words, size=successors, replace=False)] = 1 / successors
    return Chain(names, start, follows)


def write(out: Path, *, words: int, successors: int, seed: int, sizes: dict[str, int]) -> Chain:
    """Writes train, dev and test as JSON lines, and chain.json."""
    random = np.random.default_rng(seed)
    chain = make_chain(words, successors, random)
    out.mkdir(parents=True, exist_ok=True)
    best: dict[str, float] = {}
    for split, number in sizes.items():
        lines, nats, tokens = [], 0.0, 0
        for index, text in enumerate(chain.texts(number, random)):
            string = " ".join(chain.words[word] for word in text)
            lines.append(json.dumps({"id": f"{split}-{index}", "text": string}) + "\n")
            nats += chain.nats(text)
            tokens += len(text) + 1
        (out / f"{split}.jsonl").write_text("".join(lines), encoding="utf-8")
        best[split] = math.exp(nats / tokens)
    entropy = chain.entropy_per_token()
    facts = {
        "entropy_per_token": entropy,
        "perplexity": math.exp(entropy),
        "perplexity_of_the_chain_on": best,
    }
    (out / "chain.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return chain


def _draw(cumulated: np.ndarray, random: np.random.Generator) -> int:
    drawn = np.searchsorted(cumulated, random.random(), side="right")
    return int(min(drawn, len(cumulated) - 1))  # rounding may leave the sum a little below 1


def _entropy(probabilities: np.ndarray) -> float:
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, help="folder for the files")
    parser.add_argument("--words", type=int, default=60, help="words (default: %(default)s)")
    parser.add_argument(
        "--successors", type=int, default=8, help="what may follow a word (default: %(default)s)"
    )
    parser.add_argument("--train", type=int, default=SIZES["train"], help="training texts")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not 1 <= options.successors <= options.words <= len(SYLLABLES) ** 2 or options.train < 1:
        parser.error(
            f"wanted 1 <= --successors <= --words <= {len(SYLLABLES) ** 2:,}, and --train of 1 or "
            "more"
        )
    chain = write(
        Path(options.out),
        words=options.words,
        successors=options.successors,
        seed=options.seed,
        sizes=SIZES | {"train": options.train},
    )
    entropy = chain.entropy_per_token()
    print(f"{entropy:.4f} nats per token, so a perplexity of {math.exp(entropy):.3f} at best")


if __name__ == "__main__":
    main()
