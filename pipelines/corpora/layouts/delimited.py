"""CSV and the like: delimiter, quoting and header detected; a text or a token a row."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Literal

from pipelines.corpora.column_profiles import is_header_name, name_parts
from pipelines.corpora.corpus import ColumnNames, Columns, Table, Unreadable
from pipelines.corpora.source import Source
from pipelines.corpora.tags import canonical_tags
from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.formatting import some
from pipelines.spans import looks_like_tag

DELIMITERS = "\t,;|"
_SEP_LINE = re.compile(r"\s*\"?sep=(.)\"?\s*$")  # Excel's first line, which is no row

Record = tuple[int, list[str]]  # (line on which it begins, fields)


def sniff(source: Source) -> bool:
    """Whether the name says so, or a delimiter cuts all lines into as many fields."""
    if source.ends_with(".csv", ".tsv"):
        return True
    head = source.head[:200]
    if _SEP_LINE.match(head[0]):
        return True
    for delimiter in DELIMITERS:
        try:
            rows = [row for row in csv.reader(head[:-1] or head, delimiter=delimiter) if row]
        except csv.Error:
            continue
        is_even = len(rows[0]) > 1 and len({len(row) for row in rows}) == 1
        if is_even and (delimiter == "\t" or any(map(is_header_name, rows[0]))):
            return True
    return False


def read(source: Source, columns: Columns) -> Table:
    """Reads rows of texts, or of tokens where a column names the sentence that each belongs to.

    Raises:
        UserError: for one column without a name, or a header without rows.
    """
    path = source.path
    delimiter, records, notes = _records_of(source)
    header = records[0][1]
    has_header = _is_header(path, header, [fields for _, fields in records[1:200]], columns)
    if len(header) == 1 and not has_header:
        raise UserError(
            f"{path}: one column without a name, it begins {source.head[0][:60]!r}; give it a "
            "header such as `text`, or read a text a line by --layout lines"
        )
    names = [str(position) for position in range(len(header))]
    if has_header:
        records = records[1:]
        # As pandas calls columns without a name.
        names = [name if name.strip() else f"Unnamed: {i}" for i, name in enumerate(header)]
    if not records:
        raise UserError(f"{path}: a header ({some(names)}) and no row; wanted texts below it")
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise UserError(f"{path}: two columns are named {duplicates[0]!r}; rename one")
    rows: list[tuple[int, object]] = []
    wanted = f"where the {'header' if has_header else 'first row'} has {len(names)}"
    for line, fields in records:
        if len(fields) == len(names):
            rows.append((line, dict(zip(names, fields, strict=True))))
        else:
            reason = f"{len(fields)} fields {wanted}; quote a text that holds the separator"
            rows.append((line, Unreadable(reason)))
    kind = {"\t": "TSV", ",": "CSV"}.get(delimiter, f"columns between {delimiter!r}")
    layout = kind if has_header else f"{kind} without a header"
    table = Table(rows, layout, unit="line", notes=notes)
    tokens = _token_table(table, names, columns) if has_header else None
    return table if tokens is None else tokens


def header_of(source: Source, columns: Columns) -> str | None:
    """The lines of the header as they are, empty without one; `None` where a row is a token."""
    table = read(source, columns)
    if table.column_names is not None:
        return None
    if table.layout.endswith("without a header"):
        return ""
    first_line = table.rows[0][0]
    return "".join(f"{line}\n" for line in source.text.split("\n")[: first_line - 1])


def _records_of(source: Source) -> tuple[str, list[Record], list[str]]:
    """Delimiter, records that are not blank, and notes on how they were read."""
    csv.field_size_limit(sys.maxsize)
    content = source.text if "\n" in source.text else source.content
    sep_line = _SEP_LINE.match(source.head[0])
    if sep_line:
        content = content.lstrip("\r\n").partition("\n")[2]
    delimiter = sep_line[1] if sep_line else delimiter_of(source.content)
    # A carriage return alone, in a field without quotes, is not a line end here.
    without_returns = content.replace("\r\n", "\n").replace("\r", " ")
    notes = []
    try:
        records = _records(content, delimiter, csv.QUOTE_MINIMAL)
    except csv.Error:
        records = _records(without_returns, delimiter, csv.QUOTE_MINIMAL)
        notes.append("carriage returns within fields are read as blanks")
    if not records:
        raise UserError(f"{source.path}: no row after the line {source.head[0]!r}; wanted a header")
    if delimiter == "\t":
        # Tab-separated text often holds bare quotes, which swallow line ends; quoted text that
        # really has several lines does not fit the columns when it is read without quotes.
        bare = _records(without_returns, delimiter, csv.QUOTE_NONE)
        if len(bare) > len(records) and len({len(fields) for _, fields in bare}) == 1:
            records = bare
    return delimiter, records, notes


def delimiter_of(content: str) -> str:
    """The mark that cuts most of the first rows into as many fields as the first, more than one."""
    sample = content[:200_000].lstrip("\n").replace("\r", " ")
    lines = sample.split("\n")[:200]

    def fit(delimiter: str) -> tuple[int, int]:
        rows = csv.reader(lines[:-1] or lines, delimiter=delimiter)
        widths = [len(row) for row in rows if row] or [0]
        return sum(n == widths[0] > 1 for n in widths), widths[0]

    return max(DELIMITERS, key=fit)


def _records(content: str, delimiter: str, quoting: Literal[0, 3]) -> list[Record]:
    stream = StringIO(content, newline="\n")
    reader = csv.reader(stream, delimiter=delimiter, quoting=quoting)
    records, line = [], 1
    for fields in reader:
        if any(field.strip() for field in fields):
            records.append((line, fields))
        line = reader.line_num + 1
    return records


def _is_header(
    path: str, header: Sequence[str], rows: Sequence[Sequence[str]], columns: Columns
) -> bool:
    """Whether the first row names the columns.

    Raises:
        UserError: when it may be a row as well.
    """
    inputs = (columns.text_column, columns.pair_column, columns.id_column, columns.group_column)
    labels = (columns.label_column or "").split(",")
    given = {name for name in (*inputs, columns.entities_column, *labels) if name}
    if given & set(header):
        return True
    if given and given <= set(map(str, range(len(header)))):
        return False
    if any(map(is_header_name, header)):
        return True
    names = {i: name for i, name in enumerate(header) if name.strip()}
    has_duplicates = len(set(names.values())) < len(names)
    if has_duplicates or any(map(_is_value, names.values())):
        return False
    values = {i: [row[i] for row in rows if len(row) > i] for i in names}
    if len(names) < 2 or any(name in values[i] for i, name in names.items()):
        return False
    n_words = {i: _mean_words(column) for i, column in values.items()}
    are_words = all(re.fullmatch(r"[^\W\d][\w.#-]*", name) for name in names.values())
    if are_words and max(n_words.values()) >= 2:
        return True
    # A name has fewer words than the texts below it.
    are_shorter = [2 * len(name.split()) <= max(n_words[i], 2) for i, name in names.items()]
    if all(are_shorter):
        return True
    shown = ", ".join(map(repr, names.values()))[:80]
    raise UserError(
        f"{path}: its first row ({shown}) may be a header or a row; --text_column {header[0]!r} "
        "says that it names the columns, --text_column 0 that it does not"
    )


def _is_value(name: str) -> bool:
    return len(name) > 50 or re.fullmatch(r"-?\d+(\.\d+)?", name) is not None


def _mean_words(column: Sequence[str]) -> float:
    return sum(len(value.split()) for value in column) / max(len(column), 1)


# A token a row


def _token_table(table: Table, names: Sequence[str], columns: Columns) -> Table | None:
    """The sentences of a table with a token a row, `None` where rows are texts."""
    parts = {name: name_parts(name) for name in names}
    words = [name for name in names if parts[name] in (["word"], ["token"], ["form"])]
    sentences = [name for name in names if {"sentence", "sent"} & set(parts[name])]
    word = next(iter(words), None)
    sentence = next((name for name in sentences if name != word), None)
    if word is None or sentence is None or columns.text_column not in (word, None):
        return None
    rows = table.objects
    named = [row[sentence] for row in rows]
    if len(set(named) - {""}) >= len(named) > 1:
        return None  # each row is a sentence of its own
    tag = columns.entities_column
    if tag is None:
        others = [name for name in reversed(names) if name not in (word, sentence)]
        tagged = (name for name in others if _are_tags([row[name] for row in rows]))
        tag = next(tagged, None)
    return _sentences(table, word, sentence, tag)


def _are_tags(cells: Sequence[str]) -> bool:
    [tags], _ = canonical_tags([list(cells)])
    return "O" in tags and 10 * sum(map(looks_like_tag, tags)) >= 9 * len(tags)


def _sentences(table: Table, word: str, sentence: str, tag: str | None) -> Table:
    """Joins the rows with the same sentence; a row that names none continues the one before."""
    rows: list[tuple[int, object]] = []
    current: JsonObject | None = None
    for line, value in table.rows:
        if not isinstance(value, Mapping):
            rows.append((line, value))
            current = None
            continue
        name = value[sentence]
        if current is None or (name and name != current["id"]):
            current = {"id": name or None, "tokens": [], "tags": []}
            rows.append((line, current))
        current["tokens"].append(value[word])
        current["tags"].append(value.get(tag, ""))
    names = ColumnNames(tokens="tokens", entities="tags" if tag else None, id="id")
    layout = f"{table.layout} with a token a row, token in {word!r}, sentence in {sentence!r}"
    layout += f", tag in {tag!r}" if tag else ""
    return Table(rows, layout, unit="line", column_names=names)
