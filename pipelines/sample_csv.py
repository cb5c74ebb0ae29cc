"""A competition's sample submission as it stands: its rows, which columns matter, and how the file is written."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import DataError, UserError

ID_NAME = re.compile(r"(.*[^a-z])?id", re.IGNORECASE)
ANSWER_NAME = re.compile(r"entit|predict|mention|disease|span|tag|ner\b|label|target|answer|location|class|value",
                         re.IGNORECASE)


class Sample(NamedTuple):
    """A CSV file as it stands.

    Attributes:
        rows: the header first, where it is ``headed``; empty lines are left out.
        quoting: ``csv.QUOTE_ALL`` or ``csv.QUOTE_MINIMAL``.
        mark: its byte order mark, or nothing.
    """

    path: str
    rows: list[list[str]]
    headed: bool
    id_column: int
    answer_column: int
    delimiter: str
    quoting: int
    line_end: str
    mark: str

    def column(self, number: int) -> list[str]:
        return [row[number] for row in self.rows[self.headed:]]

    @property
    def answer_name(self) -> str:
        return self.rows[0][self.answer_column] if self.headed else str(self.answer_column + 1)


def read_sample(path: str | Path, ids: Sequence[str] = (), *, delimiter: str | None = None) -> Sample:
    """Reads a CSV file and how it is written.

    Args:
        ids: the predictions' ids: a first row that has one is no header.
        delimiter: by default the one that cuts every row into as many columns.

    Raises:
        UserError: when it is missing, empty or not such a file.
        DataError: naming rows that are longer or shorter than the first.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; wanted the competition's sample submission (CSV)")
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a UTF-8 CSV file ({error})") from None
    return parse_sample(text, path, ids, delimiter=delimiter)


def parse_sample(text: str, path: str | Path, ids: Sequence[str] = (), *, delimiter: str | None = None) -> Sample:
    """Takes the content of a CSV file apart; see ``read_sample``. The path is named in messages."""
    mark, text = text[:text.startswith("\ufeff")], text.removeprefix("\ufeff")
    try:
        delimiter, rows = _rows(text, delimiter or ",\t;|")
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV file ({error})") from None
    if not rows or len(rows[0]) < 2:
        raise UserError(f"{path}: got {rows[0] if rows else 'nothing'} as the first row; wanted a CSV file with a "
                        "column of ids and one of answers")
    uneven = [str(number) for number, row in enumerate(rows, start=1) if len(row) != len(rows[0])]
    if uneven:
        raise DataError(f"{path}: {len(uneven)} rows do not have {len(rows[0])} columns as the first one has: row "
                        f"{', '.join(uneven[:10])}")
    line_end = "\r\n" if "\r\n" in text else "\n"
    quoted = as_text(rows, delimiter, csv.QUOTE_ALL, line_end).rstrip() == text.rstrip()
    # A header has names: with letters, none an id, and no answer that comes again further down.
    headed = (not any(cell in set(ids) or (cell and not re.search(r"[^\W\d_]", cell)) for cell in rows[0])
              and rows[0][-1] not in {row[-1] for row in rows[1:]})
    names = rows[0] if headed else [""] * len(rows[0])
    id_column = next((i for i, name in enumerate(names) if ID_NAME.fullmatch(name)), 0)
    others = [i for i in range(len(names)) if i != id_column]
    answer_column = next((i for i in reversed(others) if ANSWER_NAME.search(names[i])), others[-1])
    return Sample(str(path), rows, headed, id_column, answer_column, delimiter,
                  csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL, line_end, mark)


def as_text(rows: Sequence[Sequence[str]], delimiter: str, quoting: int, line_end: str) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=line_end).writerows(rows)  # type: ignore[arg-type]
    return out.getvalue()


def _rows(text: str, delimiters: str) -> tuple[str, list[list[str]]]:
    """The rows by the first delimiter that makes a table of them; else by the one that cuts the header most."""
    csv.field_size_limit(sys.maxsize)  # The ranges of one type in a large file are one cell.
    tables = {}
    for delimiter in delimiters:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row]
        if rows and len(rows[0]) > 1 and {len(row) for row in rows} == {len(rows[0])}:
            return delimiter, rows
        tables[delimiter] = rows
    return max(tables.items(), key=lambda table: len(table[1][0]) if table[1] else 0)
