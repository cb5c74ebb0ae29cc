"""The sample sequences: the committed files are what the seed gives, and the noise is what they say."""

import gzip
import json

import numpy as np
import pytest
from conftest import ROOT, run_python

SCRIPT = ROOT / "data" / "make_sequences.py"
SAMPLES = ROOT / "data" / "samples" / "sequences"
SPLITS = ("train", "dev", "test")
FACTS = json.loads((SAMPLES / "process.json").read_text(encoding="utf-8"))


def write(folder, *options):
    done = run_python(SCRIPT, "--out", folder, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_in(folder, split):
    content = gzip.decompress((folder / f"{split}.jsonl.gz").read_bytes()).decode()
    return [json.loads(line) for line in content.splitlines()]


def test_the_committed_files_are_what_the_seed_gives(tmp_path):
    write(tmp_path)
    for split in SPLITS:
        assert rows_in(tmp_path, split) == rows_in(SAMPLES, split)
    assert json.loads((tmp_path / "process.json").read_text()) == FACTS


def test_files_stay_small():
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 300_000


def test_another_seed_gives_other_data(tmp_path):
    write(tmp_path, "--seed", 1, "--train", 50)
    assert len(rows_in(tmp_path, "train")) == 50
    assert rows_in(tmp_path, "dev") != rows_in(SAMPLES, "dev")


@pytest.mark.parametrize("split", SPLITS)
def test_rows_are_sequences_of_ten_numbers(split):
    rows = rows_in(SAMPLES, split)
    assert len({row["id"] for row in rows}) == len(rows)
    assert {len(step) for row in rows for step in row["features"]} == {10}
    assert {len(row["features"]) for row in rows} == set(range(4, 21))


@pytest.mark.extensive
@pytest.mark.slow
def test_the_best_possible_mse_is_said_and_is_that_of_the_noise(tmp_path):
    said = write(tmp_path, "--noise", 0.25, "--train", 4000)
    assert "best possible MSE: 0.0625 expected" in said
    facts = json.loads((tmp_path / "process.json").read_text())
    assert facts["best_mse"] == 0.0625
    # The mean of 4,000 squares of a normal variable has a standard error of 2.2 %.
    assert facts["drawn_mse"]["train"] == pytest.approx(0.0625, rel=0.09)


def test_without_noise_the_process_is_a_function_of_the_steps(tmp_path):
    for folder, noise in (("clean", 0), ("noisy", 0.5)):
        write(tmp_path / folder, "--noise", noise, "--train", 300)
    clean, noisy = (rows_in(tmp_path / folder, "train") for folder in ("clean", "noisy"))
    assert [row["features"] for row in clean] == [row["features"] for row in noisy]
    errors = np.array([b["value"] - a["value"] for a, b in zip(clean, noisy, strict=True)])
    drawn = json.loads((tmp_path / "noisy" / "process.json").read_text())["drawn_mse"]["train"]
    assert (errors**2).mean() == pytest.approx(drawn, abs=1e-3)


def test_the_rule_drifts(tmp_path):
    for folder, drift in (("still", 0), ("drifting", 0.3)):
        write(tmp_path / folder, "--drift", drift, "--noise", 0, "--train", 50)
    still, drifting = (rows_in(tmp_path / folder, "train") for folder in ("still", "drifting"))
    assert [row["features"] for row in still] == [row["features"] for row in drifting]
    assert [row["value"] for row in still] != [row["value"] for row in drifting]
