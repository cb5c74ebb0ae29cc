"""Reads a shard in blocks of rows: JSON lines, Parquet, CSV with a header, or a text a line.

One block is in memory at a time (of Parquet one row group, of the columns that are read alone).
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from typing import IO, TypeVar

from pipelines.corpora.columns import find_columns
from pipelines.corpora.corpus import ColumnNames, Columns, Corpus, Fault, Table, Unreadable
from pipelines.corpora.layouts.delimited import delimiter_of
from pipelines.corpora.layouts.json_layout import line_value
from pipelines.corpora.reading import corpus_of_texts
from pipelines.corpora.source import damaged_gzip, not_utf8
from pipelines.corpora.stream import PIECE_SIZE, decoded
from pipelines.errors import UserError
from pipelines.formatting import short_repr, some

MAX_FIELD = 2**24  # characters of a field of CSV; more is a quote that is never closed
_END = "\0end"  # follows the last line of a CSV file: within quotes it becomes a part of a field

Item = TypeVar("Item")
Line = tuple[int, str]


class ShardError(UserError):
    """A shard cannot be read as a whole: it is cut off, or has other columns."""


def first_table(stream: IO[bytes], path: str, format: str) -> Table | None:
    """The first rows of a shard; `None` where it has none."""
    with _shard_errors(path):
        return next(_tables(stream, path, format, None), None)


def columns_of(path: str, table: Table, columns: Columns, like: ColumnNames | None) -> ColumnNames:
    """The columns of the text, the second text and the id, as `pipelines predict` finds them.

    Raises:
        UserError: when a named column does not exist, or two fit equally well.
    """
    if table.column_names is not None:
        return table.column_names
    names = find_columns(path, table.objects, columns, answer="text", labelled=False, like=like)
    return ColumnNames(names.text, names.tokens, names.pair, id=names.id)


def blocks(stream: IO[bytes], path: str, format: str, names: ColumnNames) -> Iterator[Corpus]:
    """The texts of a shard, and the faults of its rows, block by block.

    Args:
        stream: the file.
        path: of the shard, for messages.
        format: one of the values of `shards.FORMATS`.
        names: the columns of the corpus.

    Raises:
        ShardError: when the shard is cut off, damaged, or has other columns.
    """
    first_row = 0
    with _shard_errors(path):
        for table in _tables(stream, path, format, names):
            if first_row == 0:
                _refuse_columns(path, table, names)
            corpus = corpus_of_texts(path, table, names, first_row=first_row)
            if first_row == 0 and not corpus.examples:
                reason = _first_fault(corpus.faults)
                raise ShardError(f"{path}: not one readable row at its beginning ({reason})")
            first_row += len(table.rows)
            yield corpus


def refuse_rows(stream: IO[bytes], path: str, format: str) -> None:
    """Requires that a shard is empty, of a corpus without a readable row to take the columns from.

    Raises:
        ShardError: where it has a row, or cannot be read.
    """
    table = first_table(stream, path, format)
    if table is None:
        return
    if table.objects:
        raise ShardError(f"{path}: could not be read when the job began, and has rows now")
    number, value = table.rows[0]
    reason = value.reason if isinstance(value, Unreadable) else f"got {short_repr(value)}"
    raise ShardError(
        f"{path}: not one readable row at its beginning ({table.unit} {number}: {reason})"
    )


def _first_fault(faults: Sequence[Fault]) -> str:
    fault = faults[0]
    return f"{fault.unit} {fault.row}: {fault.message}"


def _refuse_columns(path: str, table: Table, names: ColumnNames) -> None:
    """Raises a `ShardError` where a shard lacks columns that the corpus has."""
    wanted = [name for name in (names.text, names.tokens, names.pair, names.id) if name]
    known = {name for row in table.objects for name in row}
    missing = [name for name in wanted if name not in known]
    if missing and known:
        raise ShardError(
            f"{path}: of another schema: no column {', '.join(map(repr, missing))}, which the "
            f"first shards have; it has {some(sorted(known))}"
        )


@contextmanager
def _shard_errors(path: str) -> Iterator[None]:
    """Names the shard in errors of its content, in one line."""
    import pyarrow

    try:
        yield
    except UnicodeDecodeError as error:
        raise ShardError(str(not_utf8(path, f"({error.reason})"))) from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ShardError(str(damaged_gzip(path, error))) from None
    except pyarrow.ArrowInvalid as error:
        reason = " ".join(str(error).split())[:200]
        raise ShardError(f"{path}: cut off, or not Parquet ({reason}); write it again") from None
    except csv.Error as error:
        raise ShardError(f"{path}: {error}: a quote that is never closed?") from None


def _tables(
    stream: IO[bytes], path: str, format: str, names: ColumnNames | None
) -> Iterator[Table]:
    if format == "parquet":
        yield from _parquet_tables(stream, names)
        return
    lines = decoded(stream)
    if format == "jsonl":
        yield from _json_tables(path, lines)
    elif format == "csv":
        yield from _csv_tables(path, lines)
    else:
        yield from _text_tables(lines)


def _parquet_tables(stream: IO[bytes], names: ColumnNames | None) -> Iterator[Table]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(stream) as file:
        columns = None
        schema = file.schema_arrow.names
        if names is not None:
            columns = [name for name in schema if name in names.all_names()] or None
        row = 0
        batches = file.iter_batches(batch_size=PIECE_SIZE, columns=columns, use_threads=False)
        for batch in batches:
            values = batch.to_pylist()
            if values:
                yield Table(list(enumerate(values, start=row)), "Parquet")
            row += len(values)


def _json_tables(path: str, lines: Iterable[str]) -> Iterator[Table]:
    """Rows of JSON lines; a last line that breaks off is no bad row, but the end of a copy."""
    for block in _blocks_of(_numbered(lines)):
        rows: list[tuple[int, object]] = []
        for number, line in block:
            value = line_value(line)
            if isinstance(value, Unreadable) and not line.endswith("\n"):
                raise _cut_off(path, number)
            rows.append((number, value))
        yield Table(rows, "JSON lines", unit="line")


def _text_tables(lines: Iterable[str]) -> Iterator[Table]:
    names = ColumnNames("text")
    for block in _blocks_of(_numbered(lines)):
        rows: list[tuple[int, object]] = []
        for number, line in block:
            rows.append((number, {"text": line.removesuffix("\n").removesuffix("\r")}))
        yield Table(rows, "one text a line", unit="line", column_names=names)


def _csv_tables(path: str, lines: Iterator[str]) -> Iterator[Table]:
    head = list(islice(lines, 200))
    if not "".join(head).strip():
        return
    csv.field_size_limit(MAX_FIELD)
    records = _csv_records(path, chain(head, lines), delimiter_of("".join(head)))
    _, header = next(records)
    for block in _blocks_of(records):
        rows: list[tuple[int, object]] = []
        for line, fields in block:
            value: object = dict(zip(header, fields, strict=False))
            if len(fields) != len(header):
                value = Unreadable(f"{len(fields)} fields where the header has {len(header)}")
            rows.append((line, value))
        yield Table(rows, "CSV", unit="line")


def _csv_records(
    path: str, lines: Iterator[str], delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """(line on which it begins, fields) of records that are not blank; the first is the header.

    Raises:
        ShardError: when the file ends within quotes, or its last line lacks fields and its end.
    """
    last = ""

    def noted(line: str) -> str:
        nonlocal last
        last = line
        return line

    reader = csv.reader(chain(map(noted, lines), [_END]), delimiter=delimiter)
    width, begin = None, 1
    for fields in reader:
        if fields == [_END]:
            return
        if fields and fields[-1].endswith(_END):
            raise _cut_off(path, begin)
        if any(field.strip() for field in fields):
            # A header without its end may lack columns, a last row fields; else none can be seen.
            is_short = width is None or len(fields) < width
            width = width or len(fields)
            if is_short and not last.endswith("\n"):
                raise _cut_off(path, begin)
            yield begin, fields
        begin = reader.line_num + 1


def _numbered(lines: Iterable[str]) -> Iterator[Line]:
    """The lines that are not blank, each with its number from 1."""
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def _blocks_of(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while block := list(islice(iterator, PIECE_SIZE)):
        yield block


def _cut_off(path: str, line: int) -> ShardError:
    return ShardError(f"{path}: cut off in line {line}; copy or write it again")
