"""Texts in batches, without the whole file in memory: for prediction, which ignores answers.

A file in a layout of lines, records or JSON values is cut where one ends, and each piece is read as
a file of its own, in the layout and with the columns of the first. Other layouts (an object of
columns, brat, a DocBin, a data set) are read whole.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import IO

from pipelines.corpora import ColumnNames, Columns, good_rows, read_corpus
from pipelines.corpora.images.sources import holds_pictures
from pipelines.corpora.layouts import delimited, layout_of, sequences
from pipelines.corpora.source import Source, damaged_gzip, empty_file, encoding_of, not_utf8
from pipelines.examples import BATCH, Example

PIECE_SIZE = 1000  # lines or values of a piece
MAX_PIECE_SIZE = 50_000  # lines of a piece that does not end: bare quotes in a file with tabs
_CHUNK_SIZE = 2**16  # characters
_JSON_GAP = re.compile(r"[\s,]*")


class Piece(Source):
    """A part of a file, as a source of its own.

    Args:
        first_row, first_line: where in the file it begins, from 0.
    """

    def __init__(self, path: str, text: str, *, first_row: int = 0, first_line: int = 0):
        super().__init__(path, labelled=False)
        self.__dict__ |= {"text": text, "is_dataset": False, "is_folder": False}
        self.first_row, self.first_line = first_row, first_line


def batches(examples: Iterable[Example], size: int = BATCH) -> Iterator[list[Example]]:
    """The examples in lists of `size`; the last may be shorter."""
    iterator = iter(examples)
    while batch := list(islice(iterator, size)):
        yield batch


def stream_examples(
    path: str, *, columns: Columns, like: ColumnNames | None = None
) -> Iterator[Example]:
    """The texts of a file, one after the other, as `read_examples(…, answer="text")` reads them.

    Duplicate ids are noticed only within some 1,000 rows.

    Args:
        path: see `read_corpora`; `-` is standard input.
        columns: what the user named.
        like: the columns of the run's own files, which are taken where this file has them too.

    Raises:
        UserError, DataError: as `read_examples`, when the bad rows are reached.
    """
    source = Source(path, max_unzipped=columns.max_unzipped, labelled=False)
    is_file = path == "-" or Path(path).is_file()
    is_binary = source.ends_with(".spacy", *sequences.BINARY)
    is_whole = source.is_dataset or not is_file or is_binary
    if path != "-" and (is_whole or holds_pictures(source, columns)):
        yield from _examples(source, columns, like)[0]
        return
    with opened_text(path) as stream:
        try:
            yield from _examples_in_pieces(path, stream, columns, like)
        except UnicodeDecodeError as error:
            raise not_utf8(path, f"({error.reason})") from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise damaged_gzip(path, error) from None


def _examples(
    source: Source, columns: Columns, like: ColumnNames | None
) -> tuple[list[Example], int, ColumnNames | None]:
    """The examples of a source, its number of rows and its columns."""
    corpus = read_corpus(source, columns=columns, answer="text", labelled=False, like=like)
    examples = good_rows(corpus, skip_bad_rows=columns.skip_bad_rows)
    return examples, corpus.n_rows, corpus.column_names


def _examples_in_pieces(
    path: str, stream: IO[str], columns: Columns, like: ColumnNames | None
) -> Iterator[Example]:
    head = Piece(path, "".join(islice(stream, PIECE_SIZE)))
    if not head.text.strip():
        raise empty_file(path)
    layout = layout_of(head, columns.layout)
    if layout is None:
        _examples(head, columns, like)  # raises, as no layout fits
        return
    columns, first_row = replace(columns, layout=layout.name), 0
    for first_line, text in _pieces(layout.name, head, stream, columns):
        piece = Piece(path, text, first_row=first_row, first_line=first_line)
        examples, n_rows, names = _examples(piece, columns, like)
        like = like or names
        first_row += n_rows
        yield from examples


@contextmanager
def opened_text(path: str) -> Iterator[IO[str]]:
    """The file, or standard input, as text; see `decoded`."""
    raw: IO[bytes] = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115
    try:
        yield decoded(raw)
    finally:
        if path != "-":
            raw.close()


def decoded(raw: IO[bytes]) -> IO[str]:
    """A stream of bytes as text, unzipped, without a byte order mark; only `\\n` ends a line."""
    buffered: io.BufferedReader | gzip.GzipFile
    buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore[arg-type]
    if buffered.peek(2)[:2] == b"\x1f\x8b":
        buffered = gzip.GzipFile(fileobj=buffered)
    return io.TextIOWrapper(buffered, encoding=encoding_of(buffered.peek(2)), newline="\n")


def _pieces(
    layout: str, head: Piece, stream: IO[str], columns: Columns
) -> Iterator[tuple[int, str]]:
    """(number of lines before it, text) of pieces that can be read by themselves."""
    lines = chain(io.StringIO(head.text, newline="\n"), stream)
    layout = "json" if layout == "sequences" else layout
    if layout == "json" and head.text.lstrip().startswith("["):
        yield from _list_pieces(lines)
    elif layout == "json" and _is_json(head.head[0]):
        yield from _line_pieces(lines, lambda line: True)
    elif layout == "table" and (header := delimited.header_of(head, columns)) is not None:
        for number, (line, text) in enumerate(_line_pieces(lines, _outside_quotes())):
            # Every piece but the first, which has it, gets the header.
            yield (line - header.count("\n"), header + text) if number else (line, text)
    elif layout in ("conll", "pubtator"):
        yield from _line_pieces(lines, lambda line: not line.strip())
    elif layout in ("reviews", "fasttext", "lines"):
        yield from _line_pieces(lines, lambda line: True)
    else:
        yield 0, "".join(lines)


def _line_pieces(lines: Iterable[str], may_end: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
    """Pieces of some 1,000 lines.

    Args:
        may_end: called with each line in order; whether a piece may end after it.
    """
    piece: list[str] = []
    n_before = 0
    for line in lines:
        piece.append(line)
        is_end = may_end(line) and len(piece) >= PIECE_SIZE
        if is_end or len(piece) >= MAX_PIECE_SIZE:
            yield n_before, "".join(piece)
            n_before += len(piece)
            piece = []
    if piece:
        yield n_before, "".join(piece)


def _outside_quotes() -> Callable[[str], bool]:
    """Gives a function that says whether all quotes are closed after the lines so far."""
    is_open = False

    def closed(line: str) -> bool:
        nonlocal is_open
        is_open ^= line.count('"') % 2 == 1
        return not is_open

    return closed


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return False


def _list_pieces(lines: Iterator[str]) -> Iterator[tuple[int, str]]:
    """A list of JSON values, or a list a line, in pieces that are lists too."""
    first = next(line for line in lines if line.strip())
    if _is_json(first):  # a list on each line: rows of `[text, {…}]`
        second = list(islice(lines, 1))
        if second and second[0].lstrip().startswith("["):
            yield from _line_pieces(chain([first], second, lines), lambda line: True)
            return
        lines = chain(second, lines)
    decoder, values = json.JSONDecoder(), list[str]()
    text, position = first, first.index("[") + 1
    for more in chain([""], _chunks(lines)):
        text, position = text[position:] + more, 0
        while (end := _end_of_value(decoder, text, position)) is not None:
            values.append(_JSON_GAP.sub("", text[position:end], count=1))
            position = end
            if len(values) >= PIECE_SIZE:
                yield 0, f"[{','.join(values)}]"
                values = []
    rest = text[position:]
    is_closed = rest.strip() == "]"
    if values or not is_closed:
        # What is not closed is read too, so that the reader says where it is cut off.
        yield 0, "[" + ",".join(values) + ("]" if is_closed else rest)


def _end_of_value(decoder: json.JSONDecoder, text: str, position: int) -> int | None:
    """The end of the value at a position, `None` where it may go on after the text."""
    gap = _JSON_GAP.match(text, position)
    try:
        _, end = decoder.raw_decode(text, gap.end() if gap else position)
    except (ValueError, RecursionError):
        return None
    return None if end == len(text) else end  # a number may go on


def _chunks(lines: Iterator[str]) -> Iterator[str]:
    """The lines joined to chunks of some 64 KiB: a file may be one line, or many short ones."""
    chunk: list[str] = []
    size = 0
    for line in lines:
        chunk.append(line)
        size += len(line)
        if size >= _CHUNK_SIZE:
            yield "".join(chunk)
            chunk, size = [], 0
    yield "".join(chunk)
