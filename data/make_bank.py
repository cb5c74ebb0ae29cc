"""Writes sentences about two kinds of bank, which only other words tell apart.

    python data/make_bank.py [--seed 0] [--out data/samples/bank]

The bank with money is ORG, that of a river LOC. In half of the sentences the word that decides
stands before "bank", in the others after it, a few words away: a network that reads from left to
right cannot know the latter. No sentence occurs twice, and the same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from pathlib import Path

SIZES = {"train": 240, "dev": 60, "test": 60}
WHO = ("She", "He", "Anna", "Peter", "They", "We", "The teacher", "My friend")
WHEN = ("on Monday", "last week", "in spring", "yesterday", "before noon", "at last")
BEFORE = {
    "ORG": (
        "deposited money at",
        "borrowed money from",
        "paid a loan at",
        "opened an account with",
    ),
    "LOC": ("swam to", "rowed towards", "fished from", "moored the boat at"),
}
AFTER = {
    "ORG": ("raised its rates", "lent them money", "closed the account", "refused a loan"),
    "LOC": ("was covered in reeds", "was full of mud", "was under water", "was green with moss"),
}
BETWEEN = ("we saw", "they talked about", "she remembers", "you know", "in the picture")


def sentences(draw: random.Random) -> Iterator[tuple[str, str, list[str]]]:
    """Without end: where the clue stands, what the bank is, and the tokens."""
    while True:
        kind, place = draw.choice(("ORG", "LOC")), draw.choice(("before", "after"))
        when = draw.choice(WHEN)
        if place == "before":
            text = f"{draw.choice(WHO)} {draw.choice(BEFORE[kind])} the bank {when} ."
        else:
            text = f"The bank {draw.choice(BETWEEN)} {when} {draw.choice(AFTER[kind])} ."
        yield place, kind, text.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=Path(__file__).parent / "samples" / "bank", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    seen: set[tuple[str, ...]] = set()
    found = sentences(random.Random(options.seed))
    for split, size in SIZES.items():
        rows: list[str] = []
        while len(rows) < size:
            place, kind, tokens = next(found)
            if tuple(tokens) in seen:
                continue
            seen.add(tuple(tokens))
            tags = [f"B-{kind}" if token == "bank" else "O" for token in tokens]
            row = {"id": f"{place}-{kind}-{split}-{len(rows)}", "tokens": tokens, "tags": tags}
            rows.append(json.dumps(row))
        (options.out / f"{split}.jsonl").write_text("\n".join([*rows, ""]), encoding="utf-8")
        print(f"{options.out / split}.jsonl: {size} sentences")


if __name__ == "__main__":
    main()
