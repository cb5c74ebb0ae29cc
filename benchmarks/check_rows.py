"""`pipelines check` on 100,000 rows, beside an earlier commit of this project on the same file.

    python benchmarks/check_rows.py --before fd868d7

The last line ends with the ratio: how many times as fast as before.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORDS = [
    "patient",
    "gout",
    "asthma",
    "severe",
    "chronic",
    "flu",
    "with",
    "without",
    "history",
    "of",
    "and",
    "mild",
    "pain",
    "family",
    "case",
    "the",
    "a",
    "in",
    "treated",
    "disease",
    "cancer",
    "lung",
    "breast",
    "colon",
    "was",
    "is",
    "had",
]
DISEASES = {"gout", "asthma", "flu", "cancer"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--before",
        default="fd868d7",
        metavar="COMMIT",
        help="what to compare with (default: %(default)s)",
    )
    parser.add_argument(
        "--rows", type=int, default=100_000, help="rows of the file (default: %(default)s)"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="runs of each, in turn (default: %(default)s)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "rows.json")
        file.write_text(json.dumps(rows(options.rows)), encoding="utf-8")
        before = Path(folder, "before")
        subprocess.run(
            [
                "git",
                "-C",
                str(ROOT),
                "worktree",
                "add",
                "--detach",
                "--quiet",
                str(before),
                options.before,
            ],
            check=True,
        )
        try:
            times: dict[str, list[float]] = {"before": [], "now": []}
            for _ in range(options.rounds):
                for name, tree in (("before", before), ("now", ROOT)):
                    times[name].append(seconds(tree, file))
                    print(f"{name}: {times[name][-1]:.2f} s", flush=True)
        finally:
            subprocess.run(
                ["git", "-C", str(ROOT), "worktree", "remove", "--force", str(before)], check=True
            )
    old, new = min(times["before"]), min(times["now"])
    print(
        f"check of {options.rows:,} rows: {new:.2f} s, {options.before} {old:.2f} s: "
        f"{old / new:.2f}x"
    )


def rows(count: int) -> list[dict[str, object]]:
    """Sentences of 12 words with their diseases marked, most of them different."""
    chance = random.Random(0)
    made: list[dict[str, object]] = []
    for number in range(count):
        words = [*chance.choices(WORDS, k=11), f"n{number}"]
        entities, start = [], 0
        for word in words:
            if word in DISEASES:
                entities.append(
                    {"start": start, "end": start + len(word), "text": word, "type": "Disease"}
                )
            start += len(word) + 1
        made.append({"id": str(number), "text": " ".join(words), "entities": entities})
    return made


def seconds(tree: Path, file: Path) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "check", str(file)],
        cwd=tree,
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(tree)},
    )
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
