"""CSV and its kin: delimiter, quoting and header found from the first rows; a text or a token a row."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from pipelines.corpora.columns import is_header_name, name_parts
from pipelines.corpora.corpus import Columns, Found, Table, Unreadable
from pipelines.corpora.source import Source
from pipelines.corpora.tags import canonical_tags
from pipelines.errors import UserError
from pipelines.spans import looks_like_tag

DELIMITERS = "\t,;|"
_SEP_LINE = re.compile(r"\s*\"?sep=(.)\"?\s*$")  # Excel's first line, which is no row


def sniff(source: Source) -> bool:
    if source.ends_with(".csv", ".tsv"):
        return True
    head = source.head[:200]
    if _SEP_LINE.match(head[0]):
        return True
    for mark in DELIMITERS:
        try:
            rows = [row for row in csv.reader(head[:-1] or head, delimiter=mark) if row]
        except csv.Error:
            continue
        even = len(rows[0]) > 1 and len({len(row) for row in rows}) == 1
        if even and (mark == "\t" or any(is_header_name(name) for name in rows[0])):
            return True
    return False


def read(source: Source, columns: Columns) -> Table:
    """Reads rows of texts, or of tokens where a column numbers the sentence that each belongs to.

    Raises:
        UserError: for one column without a name, or a header without rows.
    """
    csv.field_size_limit(sys.maxsize)
    content, notes = source.text if "\n" in source.text else source.content, []
    sep_line = _SEP_LINE.match(source.head[0])
    if sep_line:
        content = content.lstrip("\r\n").partition("\n")[2]
    delimiter = sep_line[1] if sep_line else _delimiter(source.content)
    try:
        rows = _records(content, delimiter, csv.QUOTE_MINIMAL)
    except csv.Error:
        # A carriage return alone, in a field without quotes, is no line end here but a blank.
        content = content.replace("\r\n", "\n").replace("\r", " ")
        rows = _records(content, delimiter, csv.QUOTE_MINIMAL)
        notes.append(f"{source.path}: carriage returns within fields are read as blanks")
    if not rows:
        raise UserError(f"{source.path}: no row behind the line {source.head[0]!r}")
    if delimiter == "\t":
        # Tab-separated text often holds bare quotes, which swallow line ends; quoted text that really has several lines
        # does not fit the columns when it is read without quotes.
        bare = _records(content.replace("\r\n", "\n").replace("\r", " "), delimiter, csv.QUOTE_NONE)
        if len(bare) > len(rows) and len({len(row) for _, row in bare}) == 1:
            rows = bare
    names = rows[0][1]
    headed = _is_header(source.path, names, [row for _, row in rows[1:200]], columns)
    if len(names) == 1 and not headed:
        raise UserError(f"{source.path}: one column without a name, it begins {source.head[0][:60]!r}; give it a "
                        "header such as `text`, or read a text a line by --layout lines")
    if headed:
        rows = rows[1:]
        names = [name if name.strip() else f"Unnamed: {number}" for number, name in enumerate(names)]  # as pandas does
    else:
        names = [str(number) for number in range(len(names))]
    if not rows:
        raise UserError(f"{source.path}: a header ({', '.join(names)}) and no row")
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise UserError(f"{source.path}: two columns are named {doubled[0]!r}; rename one")
    wrong = "{} fields where the " + ("header has" if headed else "first row has") + f" {len(names)}"
    values = [(line, dict(zip(names, row, strict=True)) if len(row) == len(names) else
               Unreadable(wrong.format(len(row)) + "; quote a text that holds the separator")) for line, row in rows]
    kind = {"\t": "TSV", ",": "CSV"}.get(delimiter, f"columns between {delimiter!r}")
    tokens = _token_table(source.path, values, names, kind, columns) if headed else None
    if tokens is not None:
        return tokens
    return Table(values, kind if headed else f"{kind} without a header", unit="line", notes=notes)


def header_of(source: Source, columns: Columns) -> str | None:
    """The lines of the header as they stand, empty without one; ``None`` where a row is a token."""
    table = read(source, columns)
    if table.found is not None:
        return None
    if table.layout.endswith("without a header"):
        return ""
    lines = source.text.split("\n")
    number = table.rows[0][0] - 1
    return "".join(f"{line}\n" for line in lines[:number])


def _delimiter(content: str) -> str:
    """The mark that cuts most of the first rows into as many columns as the first, more than one."""
    lines = [line.replace("\r", " ") for line in content[:200_000].lstrip("\n").split("\n")[:200]]
    sample = lines[:-1] or lines
    counts = {mark: [len(row) for row in csv.reader(sample, delimiter=mark) if row] or [0] for mark in DELIMITERS}

    def fit(mark: str) -> tuple[int, int]:
        first = counts[mark][0]
        return sum(n == first > 1 for n in counts[mark]), first

    return max(counts, key=fit)


def _records(content: str, delimiter: str, quoting: int) -> list[tuple[int, list[str]]]:
    """(line on which it begins, fields) of each record."""
    reader = csv.reader(StringIO(content, newline="\n"), delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
    rows, line = [], 1
    for row in reader:
        if any(cell.strip() for cell in row):
            rows.append((line, row))
        line = reader.line_num + 1
    return rows


def _is_header(path: str, names: Sequence[str], rows: Sequence[Sequence[str]], columns: Columns) -> bool:
    """Whether the first row names the columns.

    Raises:
        UserError: when it may be a row as well.
    """
    named = (columns.text_column, columns.pair_column, columns.id_column, columns.entities_column, columns.group_column)
    given = {*named, *(columns.label_column or "").split(",")} - {None, ""}
    if given & set(names):
        return True
    if given and given <= set(map(str, range(len(names)))):
        return False
    if any(is_header_name(name) for name in names):
        return True
    known = {i: name for i, name in enumerate(names) if name.strip()}
    if len(set(known.values())) < len(known) or any(_is_value(name) for name in known.values()):
        return False
    values = {i: [row[i] for row in rows if len(row) > i] for i in known}
    if len(known) < 2 or any(name in values[i] for i, name in known.items()):
        return False
    words = {i: sum(len(value.split()) for value in column) / max(len(column), 1) for i, column in values.items()}
    if all(re.fullmatch(r"[^\W\d][\w.#-]*", name) for name in known.values()) and max(words.values()) >= 2:
        return True
    if all(2 * len(name.split()) <= max(words[i], 2) for i, name in known.items()):
        return True
    raise UserError(f"{path}: its first row ({', '.join(map(repr, known.values()))[:80]}) may be a header or a row; "
                    f"--text_column {names[0]!r} says that it names the columns, --text_column 0 that it does not")


def _is_value(name: str) -> bool:
    return len(name) > 50 or re.fullmatch(r"-?\d+(\.\d+)?", name) is not None


def _token_table(path: str, values: Sequence[tuple[int, Any]], names: Sequence[str], kind: str,
                 columns: Columns) -> Table | None:
    """The sentences of a table with a token a row, or ``None`` where rows are texts."""
    parts = {name: name_parts(name) for name in names}
    word = next((name for name in names if parts[name] in (["word"], ["token"], ["form"])), None)
    sentence = next((name for name in names if {"sentence", "sent"} & set(parts[name]) and name != word), None)
    if columns.text_column in (word, None) and word is not None and sentence is not None:
        rows = [row for _, row in values if isinstance(row, Mapping)]
        held = [row[sentence] for row in rows]
        if len(set(held) - {""}) >= len(held) > 1:
            return None  # each row is a sentence of its own
        tag = columns.entities_column or next(
            (name for name in reversed(names) if name not in (word, sentence)
             and _are_tags([row[name] for row in rows])), None)
        return _sentences(path, values, word, sentence, tag, kind)
    return None


def _are_tags(cells: Sequence[str]) -> bool:
    [tags], _ = canonical_tags([list(cells)])
    return "O" in tags and 10 * sum(map(looks_like_tag, tags)) >= 9 * len(tags)


def _sentences(path: str, values: Sequence[tuple[int, Any]], word: str, sentence: str, tag: str | None,
               kind: str) -> Table:
    """Rows with the same sentence, or with none behind it, belong together."""
    rows: list[tuple[int, Any]] = []
    current: dict[str, Any] | None = None
    for line, value in values:
        if isinstance(value, Unreadable):
            rows.append((line, value))
            current = None
            continue
        name = value[sentence]
        if current is None or (name and name != current["id"]):
            current = {"id": name or None, "tokens": [], "tags": []}
            rows.append((line, current))
        current["tokens"].append(value[word])
        current["tags"].append(value.get(tag, ""))
    found = Found(tokens="tokens", entities="tags" if tag else None, id="id")
    layout = f"{kind} with a token a row, token in {word!r}, sentence in {sentence!r}"
    return Table(rows, layout + (f", tag in {tag!r}" if tag else ""), unit="line", found=found)
