"""Writes sample data for sequence regression: sequences of vectors, each with a number.

    python data/make_sequences.py [--seed 0] [--noise 0.5] [--drift 0] [--train 800] [--out FOLDER]

The process, for steps x_1, …, x_T in R^10 whose number T varies:

    x_j = 0.5 x_{j-1} + sqrt(0.75) e_j,              e_j ~ N(0, I), rounded to two decimals
    s_j = 0.85 s_{j-1} + (a_j · x_j) sigmoid(2 g · x_j),       s_0 = 0
    y   = s_T + n,                                   n ~ N(0, noise²)

Each step adds a gated part to a state that forgets slowly, so the order and the number of the steps
matter. With `--drift 0` the rule is the same at each step: a_j = a. Otherwise it turns away from a
by `drift` radians a step, a_j = cos(drift · j) a + sin(drift · j) b with b at right angles to a, so
that a network with weights of its own for each step has something to gain.

Nothing predicts n from x, so the best possible mean squared error is noise². A finite file draws
its own n; `process.json` beside the files has both, `noise²` and the mean of the n² of each file.
The same seed gives the same data.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.corpora.writing import replacing
from pipelines.examples import JsonObject

WIDTH = 10
SHORTEST, LONGEST = 4, 20
SIZES = {"train": 800, "dev": 200, "test": 300}
KEPT = 0.85  # of the state at each step
CORRELATION = 0.5  # of a step with the one before


class Process(NamedTuple):
    """What the numbers are made by: three directions of length 1, and two options."""

    a: np.ndarray
    b: np.ndarray
    gate: np.ndarray
    noise: float
    drift: float


def new_process(random: np.random.Generator, *, noise: float, drift: float) -> Process:
    """Draws the directions."""
    a, b, gate = random.normal(size=(3, WIDTH))
    a /= np.linalg.norm(a)
    b -= (a @ b) * a
    return Process(a, b / np.linalg.norm(b), gate / np.linalg.norm(gate), noise, drift)


def steps_of(random: np.random.Generator, length: int) -> np.ndarray:
    """The steps of one sequence, (T, D), rounded to two decimals."""
    drawn = random.normal(size=(length, WIDTH))
    steps = drawn.copy()
    for step in range(1, length):
        steps[step] = CORRELATION * steps[step - 1] + (1 - CORRELATION**2) ** 0.5 * drawn[step]
    return steps.round(2)


def state_of(steps: np.ndarray, process: Process) -> float:
    """s_T, the number without its noise."""
    state = 0.0
    for step, x in enumerate(steps):
        angle = process.drift * step
        direction = np.cos(angle) * process.a + np.sin(angle) * process.b
        state = KEPT * state + float(direction @ x) / (1 + np.exp(-2 * process.gate @ x))
    return state


def rows_of(
    random: np.random.Generator, process: Process, split: str, size: int
) -> Iterator[tuple[JsonObject, float]]:
    """Rows with what noise each has, in the units of the number."""
    for number in range(size):
        steps = steps_of(random, int(random.integers(SHORTEST, LONGEST + 1)))
        state = state_of(steps, process)
        value = round(state + process.noise * random.normal(), 4)
        row = {"id": f"{split}{number}", "features": steps.tolist(), "value": value}
        yield row, value - state


def write(folder: Path, *, seed: int, noise: float, drift: float, train: int) -> JsonObject:
    """Writes the files and `process.json`, and returns what that holds."""
    random = np.random.default_rng(seed)
    process = new_process(random, noise=noise, drift=drift)
    drawn = {}
    for split, size in (SIZES | {"train": train}).items():
        pairs = list(rows_of(random, process, split, size))
        drawn[split] = round(float(np.mean([error**2 for _, error in pairs])), 4)
        content = io.BytesIO()
        with gzip.GzipFile(fileobj=content, mode="wb", mtime=0) as f:
            f.writelines(json.dumps(row).encode() + b"\n" for row, _ in pairs)
        with replacing(folder / f"{split}.jsonl.gz", "wb") as f:
            f.write(content.getvalue())
    facts: JsonObject = {
        "seed": seed,
        "noise": noise,
        "drift": drift,
        "best_mse": round(noise**2, 6),
        "drawn_mse": drawn,
    }
    with replacing(folder / "process.json") as f:
        f.write(json.dumps(facts, indent=1) + "\n")
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--noise", type=float, default=0.5, help="standard deviation of the noise")
    parser.add_argument(
        "--drift", type=float, default=0.0, help="radians that the rule turns a step"
    )
    parser.add_argument("--train", type=int, default=SIZES["train"], help="training sequences")
    default = Path(__file__).parent / "samples" / "sequences"
    parser.add_argument("--out", type=Path, default=default, help="folder of the files")
    options = parser.parse_args()
    values = {name: getattr(options, name) for name in ("seed", "noise", "drift", "train")}
    facts = write(options.out, **values)
    drawn = ", ".join(f"{split} {mse}" for split, mse in facts["drawn_mse"].items())
    print(f"{options.out}: train, dev and test")
    print(f"best possible MSE: {facts['best_mse']:g} expected; by the noise drawn: {drawn}")


if __name__ == "__main__":
    main()
