"""The samples of tweets and of banks: made again by their seed, and what their pages promise."""

import csv
import json
from collections import Counter

import pytest
from conftest import ROOT, run_python

SAMPLES = ROOT / "data" / "samples"


@pytest.mark.parametrize(("maker", "sample"), [("make_tweets", "tweets"), ("make_bank", "bank")])
def test_the_committed_files_are_what_the_seed_gives(maker, sample, tmp_path):
    done = run_python(ROOT / "data" / f"{maker}.py", "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()}
    assert again == {path.name: path.read_bytes() for path in (SAMPLES / sample).iterdir()}
    done = run_python(ROOT / "data" / f"{maker}.py", "--out", tmp_path / "other", "--seed", 1)
    assert {path.name: path.read_bytes() for path in (tmp_path / "other").iterdir()} != again


def tweets():
    rows = {}
    for split in ("train", "dev", "test"):
        with open(SAMPLES / "tweets" / f"{split}.csv", encoding="utf-8", newline="") as f:
            rows[split] = list(csv.DictReader(f))
    return rows


def test_tweets_are_short_noisy_and_of_two_classes():
    rows = tweets()
    assert {split: len(part) for split, part in rows.items()} == {
        "train": 700,
        "dev": 150,
        "test": 150,
    }
    every = [row for part in rows.values() for row in part]
    assert len({row["text"] for row in every}) == len(every)
    assert len({row["id"] for row in every}) == len(every)
    for part in rows.values():
        counts = Counter(row["target"] for row in part)
        assert min(counts["0"], counts["1"]) > 0.4 * len(part)
    assert max(len(row["text"]) for row in every) <= 280
    texts = [row["text"] for row in every]
    for sign in ("#", "@", "http"):
        assert 0.05 < sum(sign in text for text in texts) / len(texts) < 0.6
    assert sum(text == text.lower() for text in texts) > 0.2 * len(texts)
    assert not [text for text in texts if "{" in text or "|" in text]


def test_half_of_dev_and_test_is_unlike_training():
    def has(part, *words):
        return sum(all(word in row["text"].lower() for word in words) for row in part)

    rows = tweets()
    assert has(rows["test"], "landslide", "traffic") > 0  # a frame of test alone
    assert has(rows["train"], "landslide", "traffic") == 0


def test_what_decides_about_a_bank_is_before_or_after_it():
    for split in ("train", "dev", "test"):
        lines = (SAMPLES / "bank" / f"{split}.jsonl").read_text().splitlines()
        kinds = Counter()
        for row in map(json.loads, lines):
            [position] = [at for at, tag in enumerate(row["tags"]) if tag != "O"]
            place, kind = row["id"].split("-")[:2]
            assert row["tokens"][position] == "bank"
            assert row["tags"][position] == f"B-{kind}"
            # A forward network has read "The bank" and no more, where the clue comes later.
            assert (row["tokens"][:position] == ["The"]) == (place == "after")
            kinds[place, kind] += 1
        assert len(kinds) == 4
