"""Unlabelled text of any size: lines, JSON lines or Parquet, read piece by piece.

A *document* is what no training sequence crosses: a row of JSON lines or Parquet; of a file of
lines, what stands between blank lines, or a line where there are none.
"""

from __future__ import annotations

import glob
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.corpora.source import damaged_gzip, empty_file, encoding_of, not_utf8
from pipelines.corpora.stream import opened_text
from pipelines.errors import DataError, UserError
from pipelines.formatting import short_repr, some

if TYPE_CHECKING:
    import pyarrow.parquet as pq

DOCUMENTS = ("line", "blank_line")
LONGEST_LINE = 2**24  # characters; what is longer is no line of text
ROWS = 1000  # of a batch of Parquet
_HEAD = 2**13  # bytes
_OTHER_LAYOUTS = (".json", ".csv", ".tsv", ".zip", ".xml", ".bz2", ".xz", ".zst", ".arrow")


@dataclass(frozen=True)
class TextFile:
    """A file of text after a look through all of it.

    Attributes:
        kind: `lines`, `jsonl` or `parquet`.
        column: of the text, in JSON lines and Parquet.
        by_line: of a file of lines, whether each line is a document.
        n_documents: how many there are.
        n_characters: in all of them.
        n_empty: rows without a text, which are left out.
    """

    path: str
    kind: str
    column: str
    by_line: bool
    n_documents: int
    n_characters: int
    n_empty: int

    def described(self) -> str:
        """One line that says what was read."""
        if self.kind != "lines":
            unit = f"a row of {self.kind} a document, column {self.column!r}"
        else:
            unit = "a line a document" if self.by_line else "blank lines between documents"
        empty = f", {self.n_empty:,} rows without text" if self.n_empty else ""
        return (
            f"{self.path}: {self.n_documents:,} documents ({unit}), {self.n_characters:,} "
            f"characters{empty}"
        )


@dataclass
class _Tally:
    """Counts of a file of lines, by both ways to see documents."""

    lines: int = 0
    blocks: int = 0
    characters: int = 0
    empty: int = 0


def expand(patterns: Sequence[str]) -> list[str]:
    """The files that names and globs stand for, in order, each once.

    Raises:
        UserError: naming each that stands for no file.
    """
    files: list[str] = []
    missing = []
    for pattern in patterns:
        found = [pattern] if Path(pattern).is_file() else sorted(glob.glob(pattern, recursive=True))
        found = [path for path in found if Path(path).is_file()]
        files += found
        if not found:
            missing.append(pattern)
    if missing:
        raise UserError(f"{', '.join(missing)}: no such file; check the name")
    return list(dict.fromkeys(files))


def survey(
    paths: Sequence[str], *, column: str = "text", documents: str | None = None
) -> list[TextFile]:
    """Reads files through once, so that a fault is found before anything is trained.

    Args:
        column: of the text, in JSON lines and Parquet.
        documents: one of `DOCUMENTS`, for files of lines; by default blank lines separate documents
            where a file has any between its lines.

    Raises:
        DataError: naming every file that cannot be read, and why.
    """
    files, faults = [], []
    for path in paths:
        try:
            files.append(_survey(path, column, documents))
        except UnicodeDecodeError as error:
            faults.append(str(not_utf8(path, f"({error.reason})")))
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            faults.append(str(damaged_gzip(path, error)))
        except (UserError, OSError) as error:
            faults.append(str(error))
    if faults:
        raise DataError("\n".join(faults))
    return files


def pieces(files: Sequence[TextFile]) -> Iterator[tuple[int, str]]:
    """Number of the document, counted through all files, and a text of it: a line, or a row."""
    before = 0
    for file in files:
        number = -1
        for number, text in _pieces(file):
            yield before + number, text
        before += number + 1


def _survey(path: str, column: str, documents: str | None) -> TextFile:
    kind = _kind(path)
    if kind != "parquet":
        _refuse_binary(path)
    if kind == "parquet":
        tally = _count_parquet(path, column)
    elif kind == "jsonl":
        tally = _count_json_lines(path, column)
    else:
        tally = _count_lines(path)
    if not tally.lines:
        raise empty_file(path)
    by_line = documents == "line" or (documents is None and tally.blocks == 1)
    n_documents = tally.lines if kind != "lines" or by_line else tally.blocks
    return TextFile(path, kind, column, by_line, n_documents, tally.characters, tally.empty)


def _kind(path: str) -> str:
    name = path.lower().removesuffix(".gz")
    if name.endswith((".jsonl", ".ndjson")):
        return "jsonl"
    if name.endswith((".parquet", ".pq")):
        return "parquet"
    if name.endswith(_OTHER_LAYOUTS):
        raise UserError(
            f"{path}: got a {Path(name).suffix} file; wanted lines of text (.txt), JSON lines "
            "(.jsonl) or Parquet, gzipped or not (`pipelines convert` writes JSON lines)"
        )
    return "lines"


def _refuse_binary(path: str) -> None:
    with open(path, "rb") as f:
        head = f.read(_HEAD)
    if b"\0" in head and encoding_of(head) != "utf-16" and head[:2] != b"\x1f\x8b":
        raise UserError(f"{path}: a binary file; wanted lines of text")


def _count_lines(path: str) -> _Tally:
    tally, before = _Tally(), ""
    for line in _lines(path):
        if "\0" in line:  # other control characters are found in texts too
            raise UserError(f"{path}: a binary file; wanted lines of text")
        if not tally.lines and line.startswith("{") and _is_object(line):
            raise UserError(
                f"{path}: its first line is a JSON object; rename it to .jsonl, or wanted lines of "
                "text"
            )
        if line:
            tally.lines += 1
            tally.blocks += not before
            tally.characters += len(line)
        before = line
    return tally


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _count_json_lines(path: str, column: str) -> _Tally:
    tally, faults = _Tally(), []
    for number, line in enumerate(_lines(path), start=1):
        if not line:
            continue
        try:
            text = _text_of_row(line, column)
        except ValueError as error:
            faults.append(f"line {number}: {error}")
            if len(faults) > ROWS:
                break
            continue
        tally.lines += bool(text)
        tally.empty += not text
        tally.characters += len(text)
    if faults:
        raise UserError(
            f"{path}: {some(faults, 3)}; wanted JSON objects with the text in {column!r}, or name "
            "its field by --text_files_column"
        )
    return tally


def _text_of_row(line: str, column: str) -> str:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(row, dict) or column not in row:
        fields = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        raise ValueError(f"no {column!r} in {fields}")
    if not isinstance(row[column], str | None):
        raise ValueError(f"{column!r} is {short_repr(row[column])}")
    return (row[column] or "").strip()


def _count_parquet(path: str, column: str) -> _Tally:
    file = _parquet(path, column)
    tally = _Tally()
    for text in _parquet_texts(file, column):
        tally.lines += bool(text)
        tally.empty += not text
        tally.characters += len(text)
    return tally


def _parquet(path: str, column: str) -> pq.ParquetFile:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not a whole Parquet file ({reason})") from None
    schema = file.schema_arrow
    if column not in schema.names:
        raise UserError(
            f"{path}: no column {column!r}; it has {some(schema.names)}; name the text by "
            "--text_files_column"
        )
    kind = schema.field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UserError(f"{path}: the column {column!r} holds {kind}; wanted strings")
    return file


def _parquet_texts(file: pq.ParquetFile, column: str) -> Iterator[str]:
    for batch in file.iter_batches(batch_size=ROWS, columns=[column]):
        for text in batch.column(0).to_pylist():
            yield (text or "").strip()


def _lines(path: str) -> Iterator[str]:
    """The lines of a file without blanks around them."""
    with opened_text(path) as stream:
        number = 0
        while line := stream.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise UserError(
                    f"{path}: line {number} has more than {LONGEST_LINE:,} characters; wanted "
                    "lines of text"
                )
            yield line.strip()


def _pieces(file: TextFile) -> Iterator[tuple[int, str]]:
    if file.kind == "parquet":
        texts = _parquet_texts(_parquet(file.path, file.column), file.column)
        yield from enumerate(text for text in texts if text)
    elif file.kind == "jsonl":
        rows = (_text_of_row(line, file.column) for line in _lines(file.path) if line)
        yield from enumerate(text for text in rows if text)
    elif file.by_line:
        yield from enumerate(line for line in _lines(file.path) if line)
    else:
        number, before = -1, ""
        for line in _lines(file.path):
            number += bool(line) and not before
            if line:
                yield number, line
            before = line
