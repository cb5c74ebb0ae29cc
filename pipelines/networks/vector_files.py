"""Word vectors from a file: text of GloVe, word2vec or fastText, or JSON; gzip or not."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

from pipelines.errors import DataError, UserError

MOST_FAULTS = 20  # rows that an error lists


def read_vectors(path: str | Path, words: Iterable[str]) -> dict[str, list[float]]:
    """Reads the vectors of some words from a file.

    A row of a text file is `word 0.1 -0.2 …`; a first row of two whole numbers (rows and width) is
    skipped. A `.json` file is one object, `{"word": [0.1, -0.2, …]}`. Either may be compressed
    (`.gz`). A word that the file lacks gets the vector of its lower-cased form, if the file has
    that.

    Raises:
        DataError: naming every row whose length differs from the first.
        UserError: when the file does not exist, cannot be read, or is empty.
    """
    path, names = Path(path), set(words)
    if not path.is_file():
        raise UserError(
            f"{path}: no such file of word vectors; give one with lines such as `the 0.1 -0.2 …`"
        )
    known = names | {word.lower() for word in names}
    read = _read_json if path.name.removesuffix(".gz").endswith(".json") else _read_text
    try:
        with _opened(path) as f:
            vectors, dim, faults = read(f, known)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(
            f"{path}: not a readable file of word vectors ({error}); wanted text, JSON, or either "
            "compressed as .gz"
        ) from error
    if faults:
        more = f"\n… and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        shown = [f"{path}:{fault}; the first row has {dim}" for fault in faults[:MOST_FAULTS]]
        advice = "fix these rows of the file of word vectors, or delete them"
        raise DataError("\n".join(shown) + f"{more}\n{advice}")
    if not dim:
        raise UserError(f"{path}: no word vectors in it; wanted lines such as `the 0.1 -0.2 …`")
    named = {word: vectors.get(word, vectors.get(word.lower())) for word in names}
    return {word: vector for word, vector in named.items() if vector is not None}


Vectors = tuple[dict[str, list[float]], int, list[str]]  # of known words, their width, faulty rows


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="replace")
    return open(path, encoding="utf-8", errors="replace")


def _read_text(f: TextIO, known: set[str]) -> Vectors:
    vectors: dict[str, list[float]] = {}
    dim, faults = 0, []
    for number, line in enumerate(f, start=1):
        parts = line.rstrip().split(" ")
        if number == 1 and len(parts) == 2 and all(part.isdigit() for part in parts):
            continue
        dim = dim or len(parts) - 1
        try:
            word, vector = _vector_row(parts, dim, known)
        except ValueError as error:
            faults.append(f"{number}: {error}")
            continue
        if vector:
            vectors[word] = vector
    return vectors, dim, faults


def _vector_row(parts: Sequence[str], dim: int, known: set[str]) -> tuple[str, list[float]]:
    """The word of a row and its vector, which is empty for a word that is not known."""
    # A few words of GloVe's largest file contain blanks: all before the last D numbers.
    word = " ".join(parts[:-dim]) if dim else ""
    if len(parts) != dim + 1 and (not word or _is_number(parts[1])):
        raise ValueError(f"{len(parts) - 1} numbers")
    if word in known:
        return word, [float(part) for part in parts[-dim:]]
    float(parts[-1])
    return word, []


def _is_number(part: str) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True


def _read_json(f: TextIO, known: set[str]) -> Vectors:
    content: Any = json.load(f)
    if not isinstance(content, dict):
        raise ValueError('got no object; wanted {"word": [0.1, -0.2, …]}')
    vectors: dict[str, list[float]] = {}
    dim, faults = 0, []
    for word, row in content.items():
        is_vector = isinstance(row, list) and all(type(value) in (int, float) for value in row)
        dim = dim or (len(row) if is_vector else 0)
        if not is_vector or len(row) != dim:
            got = f"{len(row)} numbers" if is_vector else "no list of numbers"
            faults.append(f" {word!r}: {got}")
        elif word in known:
            vectors[word] = [float(value) for value in row]
    return vectors, dim, faults
