"""A competition's sample submission: its rows, and exactly how the file is written."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import DataError, UserError

# `id`, `Id`, `text_id`, `textID`, `PassengerId`, `id_code`; not `paid` or `grid`.
ID_NAME = re.compile(r"(.*[^A-Za-z])?[iI][dD]([\W_].*)?|.*[a-z]I[dD]", re.DOTALL)
NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?|[-+]?\d+,\d+")
DELIMITERS = ",\t;|"


@dataclass(frozen=True, slots=True)
class Sample:
    """A CSV file as it is written.

    Attributes:
        path: the file, for messages.
        rows: the cells, quotes removed; the header first if there is one; without empty lines.
        raw: the same cells, to the letter.
        has_header: whether the first row has the names of the columns.
        id_column: position of the column that names what a row is about.
        delimiter: between two cells.
        line_end: what ends a line.
        mark: the byte order mark, or nothing.
    """

    path: str
    rows: list[list[str]]
    raw: list[list[str]]
    has_header: bool
    id_column: int
    delimiter: str
    line_end: str
    mark: str

    @property
    def width(self) -> int:
        """The number of columns."""
        return len(self.rows[0])

    def column(self, position: int) -> list[str]:
        """The cells of a column, without its name."""
        return [row[position] for row in self.rows[self.has_header :]]

    def answers(self, position: int) -> list[str]:
        """The cells of a column that are not empty, without blanks around them."""
        stripped = [cell.strip() for cell in self.column(position)]
        return [cell for cell in stripped if cell]

    def name(self, position: int) -> str:
        """Name of a column; its number from 1 up if the file has no header."""
        return self.rows[0][position].strip() if self.has_header else str(position + 1)

    @property
    def ids(self) -> list[str]:
        """What each row is about."""
        return self.column(self.id_column)

    def filled(self, columns: Sequence[int], cells: Sequence[Sequence[str]]) -> str:
        """The content of the file with other cells in some columns; all else stays to the letter.

        Args:
            columns: positions of the columns.
            cells: for each row, header excluded, a cell for each of the columns.
        """
        quoted = [self._always_quoted(column) for column in columns]
        # `id, label`: the blank behind the comma is the file's, not the answer's.
        leads = [" " if self._always_has_blank(column) else "" for column in columns]
        lines = [self.delimiter.join(row) for row in self.raw[: self.has_header]]
        for row, answers in zip(self.raw[self.has_header :], cells, strict=True):
            written = list(row)
            for column, quote, lead, cell in zip(columns, quoted, leads, answers, strict=True):
                if quote or self._needs_quotes(cell):
                    escaped = cell.replace('"', '""')
                    written[column] = f'"{escaped}"'
                else:
                    written[column] = lead + cell
            lines.append(self.delimiter.join(written))
        return self.mark + "".join(line + self.line_end for line in lines)

    def _needs_quotes(self, cell: str) -> bool:
        return any(sign in cell for sign in (self.delimiter, '"', "\r", "\n"))

    def _always_quoted(self, column: int) -> bool:
        """Whether every answer is in quotes, and some without need."""
        raw = [row[column] for row in self.raw[self.has_header :]]
        if not all(cell.startswith('"') for cell in raw):
            return False
        return not all(map(self._needs_quotes, self.column(column)))

    def _always_has_blank(self, column: int) -> bool:
        return all(row[column].startswith(" ") for row in self.raw[self.has_header :])


def read_sample(
    path: str | Path, ids: Collection[str] = (), *, delimiter: str | None = None
) -> Sample:
    """Reads a CSV file and how it is written.

    Args:
        path: the file.
        ids: ids of the predictions: a first row that has one is no header.
        delimiter: by default the one that gives every row the same number of columns.

    Raises:
        UserError: when the file is missing, empty or no CSV file.
        DataError: naming rows that are longer or shorter than the first.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file; wanted the competition's sample submission (CSV)")
    try:
        text = Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a UTF-8 CSV file ({error}); save it as UTF-8") from None
    return parse_sample(text, path, ids, delimiter=delimiter)


def parse_sample(
    text: str, path: str | Path, ids: Collection[str] = (), *, delimiter: str | None = None
) -> Sample:
    """Parses the content of a CSV file; see `read_sample`. The path only appears in messages."""
    ids = set(ids)
    mark = text[: text.startswith("\ufeff")]
    text = text.removeprefix("\ufeff")
    delimiter, raw = _table(text, path, [delimiter] if delimiter else list(DELIMITERS))
    if not raw or len(raw[0]) < 2:
        raise UserError(
            f"{path}: got {raw[0] if raw else 'nothing'} as the first row; wanted a CSV file with "
            "a column of ids and one of answers"
        )
    uneven = [str(row) for row, cells in enumerate(raw, start=1) if len(cells) != len(raw[0])]
    if uneven:
        raise DataError(
            f"{path}: {len(uneven)} rows do not have {len(raw[0])} columns as the first one has: "
            f"row {', '.join(uneven[:10])}"
        )
    rows = [[_value(cell) for cell in row] for row in raw]
    has_header = _has_header(rows, ids)
    if len(rows) == has_header:
        raise UserError(f"{path}: a header without rows; wanted a row for each answer")
    line_ends = Counter(re.findall(r"\r\n|\n|\r", text))
    line_end = max(line_ends, key=lambda end: line_ends[end], default="\n")
    id_column = _id_column(rows, has_header, ids)
    return Sample(str(path), rows, raw, has_header, id_column, delimiter, line_end, mark)


def is_number(cell: str) -> bool:
    """Whether a cell is a finite number; with a decimal comma too."""
    return NUMBER.fullmatch(cell.strip()) is not None


def _table(text: str, path: str | Path, delimiters: list[str]) -> tuple[str, list[list[str]]]:
    """The raw cells by the first delimiter that makes a table of them.

    If none does, by the one that cuts the first row most.
    """
    tables: dict[str, list[list[str]]] = {}
    faults = []
    for delimiter in delimiters:
        try:
            rows = _raw_rows(text, delimiter)
        except ValueError as error:
            faults.append(str(error))
            continue
        if rows and len(rows[0]) > 1 and {len(row) for row in rows} == {len(rows[0])}:
            return delimiter, rows
        tables[delimiter] = rows
    if not tables:
        raise UserError(f"{path}: not a CSV file ({faults[0]})")
    return max(tables.items(), key=lambda table: len(table[1][0]) if table[1] else 0)


def _raw_rows(text: str, delimiter: str) -> list[list[str]]:
    """The cells of a CSV file to the letter.

    Raises:
        ValueError: for a quote that is never closed.
    """
    sign = re.escape(delimiter)
    quoted = rf'"[^"]*(?:""[^"]*)*"[^{sign}"\r\n]*'
    plain = rf'[^{sign}"\r\n][^{sign}\r\n]*'
    field = re.compile(rf"({quoted}|{plain}|)({sign}|\r\n|\n|\r|\Z)")
    rows: list[list[str]] = []
    row: list[str] = []
    position = 0
    while position < len(text) or row:
        match = field.match(text, position)
        if match is None:
            raise ValueError(f"row {len(rows) + 1}: a quote that is not closed, or text behind it")
        row.append(match[1])
        position = match.end()
        if match[2] != delimiter:
            if row != [""]:
                rows.append(row)
            row = []
    return rows


def _value(raw: str) -> str:
    if not raw.startswith('"'):
        return raw
    quoted, _, rest = raw[1:].rpartition('"')
    return quoted.replace('""', '"') + rest


def _has_header(rows: list[list[str]], ids: set[str]) -> bool:
    """Whether the first row has names: none of the ids, nor answers that come again below."""
    first = rows[0]
    if any(cell in ids for cell in first):
        return False
    if any(ID_NAME.fullmatch(cell.strip()) for cell in first):
        return True
    if any(cell and not re.search(r"[^\W\d_]", cell) for cell in first):
        return False
    return first[-1] not in {row[-1] for row in rows[1:]}


def _id_column(rows: list[list[str]], has_header: bool, ids: set[str]) -> int:
    """The column that is named as ids are, unless only another one holds ids of the predictions."""
    names = rows[0] if has_header else [""] * len(rows[0])
    named = [i for i, name in enumerate(names) if ID_NAME.fullmatch(name.strip())]
    best = named[0] if named else 0
    held = [len({row[i] for row in rows[has_header:]} & ids) for i in range(len(names))]
    if held[best]:
        return best
    # A column of classes may hold a few of the ids by accident.
    others = [i for i in range(len(names)) if 2 * held[i] > len(ids)]
    return max(others, key=lambda i: held[i], default=best)
