"""Texts in batches, without the whole file in memory: for prediction, which looks at no answers.

A file in a layout of lines, records or JSON values is cut where one ends, and each piece is read as a file of its own,
in the layout and with the columns of the first. Other layouts (an object of columns, brat, a DocBin, a data set) are
read whole.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import IO

from pipelines.corpora import Columns, Found, good_rows, read_corpus
from pipelines.corpora.layouts import LAYOUTS, delimited
from pipelines.corpora.source import Source
from pipelines.errors import UserError
from pipelines.examples import BATCH, Example

LINES = 1000  # or values of a part
MOST_LINES = 50_000  # of a part that does not end: bare quotes in a file with tabs
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
    """The examples in lists of ``size``; the last may be shorter."""
    iterator = iter(examples)
    while batch := list(islice(iterator, size)):
        yield batch


def stream_examples(path: str, *, columns: Columns, like: Found | None = None) -> Iterator[Example]:
    """The texts of a file, one after the other, as ``read_examples(…, answer="text")`` reads them.

    That an id comes twice is noticed only within some 1,000 rows.

    Args:
        path: see ``read_corpora``; ``-`` is standard input.
        columns: what the user named.
        like: the columns of the run's own files: those that are in this file too are taken.

    Raises:
        UserError, DataError: as ``read_examples``, when the rows that are wrong are reached.
    """
    source = Source(path, max_unzipped=columns.max_unzipped, labelled=False)
    if path != "-" and (source.is_dataset or not Path(path).is_file() or source.ends_with(".spacy")):
        yield from _examples(source, columns, like)[0]
        return
    with _opened(path) as stream:
        yield from _examples_in_pieces(path, stream, columns, like)


def _examples(source: Source, columns: Columns, like: Found | None) -> tuple[list[Example], int, Found | None]:
    corpus = read_corpus(source, columns=columns, answer="text", labelled=False, like=like)
    return good_rows(corpus, skip_bad_rows=columns.skip_bad_rows), corpus.n_rows, corpus.found


def _examples_in_pieces(path: str, stream: IO[str], columns: Columns, like: Found | None) -> Iterator[Example]:
    try:
        head = "".join(islice(stream, LINES))
        first = Piece(path, head)
        if not head.strip():
            raise UserError(f"{path}: empty; wanted texts, see data/README.md for the layouts")
        names = {layout.name: layout for layout in LAYOUTS}
        name = columns.layout or next((layout.name for layout in LAYOUTS if layout.sniff(first)), None)
        if name not in names:
            yield from _examples(first, columns, like)[0]  # raises, with what there is to say
            return
        columns, row = replace(columns, layout=name), 0
        for line, text in _pieces(name, first, stream, columns):
            piece = Piece(path, text, first_row=row, first_line=line)
            examples, n_rows, found = _examples(piece, columns, like)
            like, row = like or found, row + n_rows
            yield from examples
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); convert it, for instance by `iconv -f WINDOWS-1252 -t "
                        f"UTF-8 {path}`") from None
    except (OSError, EOFError) as error:
        if isinstance(error, gzip.BadGzipFile | EOFError):
            raise UserError(f"{path}: a damaged or cut off gzip file ({error}); fetch it again") from None
        raise


@contextmanager
def _opened(path: str) -> Iterator[IO[str]]:
    """The file as text, unzipped, without a byte order mark; line ends are left as they are but for `\\n`."""
    raw: IO[bytes] = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115
    try:
        buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore[type-var]
        if buffered.peek(2)[:2] == b"\x1f\x8b":
            buffered = io.BufferedReader(gzip.GzipFile(fileobj=buffered))  # type: ignore[type-var,arg-type]
        encoding = "utf-16" if buffered.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        yield io.TextIOWrapper(buffered, encoding=encoding, newline="\n")
    finally:
        if path != "-":
            raw.close()


def _pieces(layout: str, head: Piece, stream: IO[str], columns: Columns) -> Iterator[tuple[int, str]]:
    """(number of lines before it, text) of parts that can be read by themselves; the head is the first lines."""
    lines = chain(io.StringIO(head.text, newline="\n"), stream)
    if layout == "json" and head.text.lstrip().startswith("["):
        yield from _list_pieces(lines)
    elif layout == "json" and _is_json(head.head[0]):
        yield from _line_pieces(lines, lambda line: True)
    elif layout == "table" and (header := delimited.header_of(head, columns)) is not None:
        for number, (line, text) in enumerate(_line_pieces(lines, _outside_quotes())):
            yield (line - header.count("\n"), header + text) if number else (line, text)
    elif layout in ("conll", "pubtator"):
        yield from _line_pieces(lines, lambda line: not line.strip())
    elif layout in ("reviews", "fasttext", "lines"):
        yield from _line_pieces(lines, lambda line: True)
    else:
        yield 0, "".join(lines)


def _line_pieces(lines: Iterable[str], may_end: Callable[[str], bool]) -> Iterator[tuple[int, str]]:
    """Parts of some 1,000 lines.

    Args:
        may_end: called with each line in order; whether a part may end behind it.
    """
    piece: list[str] = []
    before = 0
    for line in lines:
        piece.append(line)
        if (may_end(line) and len(piece) >= LINES) or len(piece) >= MOST_LINES:
            yield before, "".join(piece)
            before += len(piece)
            piece = []
    if piece:
        yield before, "".join(piece)


def _outside_quotes() -> Callable[[str], bool]:
    """Whether all quotes are closed behind the lines so far."""
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
    """A list of JSON values, or a list a line, in parts that are lists too."""
    first = next(line for line in lines if line.strip())
    if _is_json(first):  # a list on each line: rows of `[text, {…}]`
        rest = list(islice(lines, 1))
        if rest and rest[0].lstrip().startswith("["):
            yield from _line_pieces(chain([first], rest, lines), lambda line: True)
            return
        lines = chain(rest, lines)
    decoder, text, place, values = json.JSONDecoder(), first, first.index("[") + 1, list[str]()
    size = len(first)
    for more in chain([""], _chunks(lines)):
        text, place, size = text[place:] + more, 0, size + len(more)
        while True:
            start = _JSON_GAP.match(text, place).end()  # type: ignore[union-attr]
            try:
                _, end = decoder.raw_decode(text, start)
            except (ValueError, RecursionError):
                break
            if end == len(text):  # a number may go on
                break
            values.append(text[start:end])
            place = end
            if len(values) >= LINES:
                yield 0, f"[{','.join(values)}]"
                values = []
    left = text[place:]
    closed = left.strip() == "]"
    if values or not closed:
        # What is not closed is read too, so that the reader says where it is cut off.
        yield 0, "[" + ",".join(values) + (left if not closed else "]")


def _chunks(lines: Iterator[str]) -> Iterator[str]:
    """The lines joined to parts of some 64 KiB: a file may be one line, or many short ones."""
    part: list[str] = []
    size = 0
    for line in lines:
        part.append(line)
        size += len(line)
        if size >= 2**16:
            yield "".join(part)
            part, size = [], 0
    yield "".join(part)
