"""The generator of the sample pictures."""

import importlib.util
import sys
from collections import Counter

import numpy as np
import pytest
from conftest import ROOT, run_python

from pipelines.corpora import read_corpus, read_examples
from pipelines.corpora.images.duplicates import in_both


@pytest.fixture(scope="module")
def windows():
    sys.path.insert(0, str(ROOT / "data"))
    spec = importlib.util.spec_from_file_location("make_windows", ROOT / "data" / "make_windows.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "data"))


def test_the_same_seed_gives_the_same_pictures(windows, tmp_path):
    counts = {"train": 3, "dev": 1, "test": 2}
    assert windows.write(tmp_path / "a", counts) == 30
    windows.write(tmp_path / "b", counts | {"train": 1})
    windows.write(tmp_path / "c", counts | {"train": 1}, seed=1)
    other = {
        path.relative_to(tmp_path / "c"): path.read_bytes() for path in tmp_path.glob("c/*/*/*")
    }
    for path in tmp_path.glob("b/*/*/*"):
        name = path.relative_to(tmp_path / "b")
        assert path.read_bytes() == (tmp_path / "a" / name).read_bytes()
        assert path.read_bytes() != other[name]


def test_every_class_is_drawn_in_many_ways(windows):
    for kind in windows.KINDS:
        drawn = [windows.picture(kind, np.random.default_rng(n), size=32) for n in range(6)]
        assert {image.size for image in drawn} == {(32, 32)}
        pixels = np.stack([np.asarray(image.convert("RGB"), dtype=float) for image in drawn])
        assert pixels.std(axis=0).mean() > 20  # between pictures
        assert pixels.std(axis=(1, 2)).mean() > 10  # within them


def test_the_command_writes_what_the_recipe_reads(tmp_path):
    done = run_python(
        "data/make_windows.py", "--train", 4, "--dev", 2, "--test", 3, "--out", tmp_path / "w"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'w'}: 45 pictures of 5 classes\n"
    labels = Counter(e.label for e in read_examples(tmp_path / "w" / "test", answer="label"))
    assert set(labels.values()) == {3}
    assert len(labels) == 5
    parts = {name: read_corpus(tmp_path / "w" / name, answer="label") for name in ("train", "test")}
    assert in_both(parts["train"].fingerprints, parts["test"].fingerprints) == []


def test_an_impossible_size_is_refused(tmp_path):
    done = run_python("data/make_windows.py", "--size", 4, "--out", tmp_path / "w")
    assert done.returncode == 2
    assert "wanted 16 to 192" in done.stderr
