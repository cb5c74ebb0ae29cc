"""JSON of any container: list of objects, JSON lines, object of columns, object with one list."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from pipelines.corpora.corpus import Columns, Table, Unreadable, shortened
from pipelines.corpora.layouts.exports import with_plain_columns
from pipelines.corpora.layouts.json_names import (
    feature_names,
    is_tag_names,
    tag_names,
    type_names,
)
from pipelines.corpora.source import Source
from pipelines.corpora.strict_json import DuplicateKey, loads
from pipelines.errors import UserError
from pipelines.examples import Fields, JsonObject
from pipelines.formatting import some
from pipelines.spans import looks_like_tag

COMMON_NAMES = {"text", "sentence", "tokens", "words", "content"}
_ROW_NAMES = COMMON_NAMES | {"tokenized_text"}
# What JSON begins with; `[text]` or `[removed],0` begin a table.
_OPENING = re.compile(r"\s*(\{\s*[\"}]|\[\s*([\[{\"\]\d-]|(null|true|false)\s*[,\]]))")


def sniff(source: Source) -> bool:
    """Whether the content, or else the name, begins like JSON."""
    if _OPENING.match(source.content) is not None:
        return True
    fields = source.head[0].split()
    is_token = len(fields) > 1 and looks_like_tag(fields[-1])
    return source.ends_with(".json", ".jsonl", ".ndjson") and fields[0][0] in '[{"' and not is_token


def read(source: Source, columns: Columns) -> Table:
    """Finds the rows in a JSON or JSON lines file.

    Raises:
        UserError: when the file is not JSON (with line and column), or holds no list of rows.
    """
    path, content = source.path, source.content
    try:
        value = loads(content, allow_nan=True)
    except ValueError as error:
        is_list = isinstance(error, DuplicateKey) and content.lstrip().startswith("[")
        table = None if is_list else _json_lines(source)
        if table is not None:
            return with_plain_columns(table)
        if isinstance(error, json.JSONDecodeError):
            raise UserError(f"{path}: {_syntax_error(content, error)}") from None
        raise UserError(f"{path}: no list of rows ({error})") from None
    by_line = source.ends_with(".jsonl", ".ndjson")
    if by_line and isinstance(value, dict) and _ROW_NAMES & {key.lower() for key in value}:
        # One line, and not columns of many rows.
        return with_plain_columns(Table([(1, value)], "JSON lines", unit="line"))
    return with_plain_columns(_table(path, value))


def _syntax_error(content: str, error: json.JSONDecodeError) -> str:
    """What is wrong where, and what to do."""
    content = content.rstrip()
    if error.pos >= len(content) or error.msg.startswith("Unterminated string"):
        line, column = content.count("\n") + 1, len(content) - content.rfind("\n")
        return (
            f"the JSON is cut off: it ends at line {line}, column {column}; download or write the "
            "file again"
        )
    return (
        f"invalid JSON: {error.msg} at line {error.lineno}, column {error.colno}; fix it there (a "
        "comma, quote or bracket too many or too few)"
    )


def _json_lines(source: Source) -> Table | None:
    """Reads one JSON value a line; `None` where the file is something else."""
    rows: list[tuple[int, object]] = []
    for number, line in source.numbered_lines():
        rows.append((number, line_value(line)))
    is_json = [
        not isinstance(value, Unreadable) or value.kind == "duplicate_key" for _, value in rows
    ]
    first = rows[0][1]
    begins_with_row = is_json[0] and isinstance(first, dict | Unreadable)
    if not begins_with_row and 2 * sum(is_json) <= len(rows):
        return None
    return Table(rows, "JSON lines", unit="line")


def line_value(line: str) -> object:
    """The JSON value of a line, `Unreadable` where it is none."""
    try:
        return loads(line, allow_nan=True)
    except json.JSONDecodeError as error:
        return Unreadable(f"invalid JSON: {error.msg} at column {error.colno}")
    except DuplicateKey as error:
        return Unreadable(f"{error}; give it once", "duplicate_key")
    except ValueError as error:
        return Unreadable(str(error))


def _table(path: str, value: object) -> Table:
    """The rows of a JSON value."""
    if isinstance(value, list):
        return _numbered(value, "list of objects")
    if not isinstance(value, dict):
        shown = shortened(json.dumps(value, ensure_ascii=False))
        raise UserError(
            f"{path}: holds only {shown}; wanted a list of objects such as "
            '[{"id": "1", "text": "…", "entities": […]}]'
        )
    if _is_one_row(value):
        return Table([(0, value)], "one object")
    rows, documents = value.get("rows"), value.get("documents")
    if isinstance(rows, list) and rows and all(_has(row, "row") for row in rows):
        numbered = [(row.get("row_idx", number), row["row"]) for number, row in enumerate(rows)]
        names = feature_names(value.get("features"))
        return Table(numbered, "answer of the datasets server", tag_names=names)
    if isinstance(documents, list) and any(_has(item, "passages") for item in documents):
        return _numbered(documents, "BioC documents")
    table = _columns_table(path, value) or _objects_table(path, value)
    table.tag_names = table.tag_names or tag_names(value)
    return table


def _has(value: object, key: str) -> bool:
    return isinstance(value, dict) and key in value


def _numbered(values: Sequence[object], layout: str) -> Table:
    return Table(list(enumerate(values)), layout)


def _columns_table(path: str, value: JsonObject) -> Table | None:
    """The rows of an object of columns, or of an object with one list of rows inside."""
    columns = _columns(value)
    lists = [key for key, column in columns.items() if _holds_objects(column)]
    if not lists or any(name.lower() in COMMON_NAMES for name in columns):
        if not _are_columns(columns):
            return None
        rows = zip(*columns.values(), strict=True)
        objects = [dict(zip(columns, row, strict=True)) for row in rows]
        return _numbered(objects, "object of columns")
    if len(lists) > 1:
        raise UserError(
            f"{path}: holds {len(lists)} lists of rows: {some(lists)}; write the one you want to a "
            "file of its own"
        )
    [key] = lists
    table = _numbered(columns[key], f"object with the list {key!r} inside")
    table.type_names = type_names({name: inner for name, inner in value.items() if name != key})
    return table


def _columns(value: Fields) -> dict[str, list[object]]:
    """The lists of an object, without names of tags; also as pandas writes `{"0": …, "1": …}`."""
    columns = {}
    for key, inner in value.items():
        if is_tag_names(inner):
            continue
        if isinstance(inner, dict) and inner and all(map(str.isdecimal, inner)):
            inner = [*inner.values()]
        if isinstance(inner, list):
            columns[key] = inner
    return columns


def _holds_objects(column: list[object]) -> bool:
    return 2 * sum(isinstance(item, dict) for item in column) > len(column)


def _are_columns(columns: Mapping[str, list[object]]) -> bool:
    """Columns have one length, and one of them holds texts or lists of tokens."""
    if len({len(column) for column in columns.values()}) != 1:
        return False
    return any(
        all(isinstance(item, str | list) or item is None for item in column)
        for column in columns.values()
    )


def _objects_table(path: str, value: JsonObject) -> Table:
    """The rows of an object of objects by id, or of the list in its only object.

    Raises:
        UserError: saying what the object has instead.
    """
    inner = {key: item for key, item in value.items() if not is_tag_names(item)}
    if inner and all(isinstance(item, dict) for item in inner.values()):
        [first, *others] = inner.values()
        if not others and any(isinstance(item, list) for item in first.values()):
            return _table(path, first)
        rows = [{"id": key, **row} for key, row in inner.items()]
        return _numbered(rows, "object of objects by id")
    columns = _columns(value)
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{key} {len(column)}" for key, column in columns.items())
        raise UserError(
            f"{path}: an object of columns of different lengths ({lengths}); wanted as many of each"
        )
    raise UserError(
        f"{path}: an object with the keys {some(value) or '(none)'} and no list of rows; wanted "
        "a list of objects, JSON lines, an object of columns, or an object with one list inside"
    )


def _is_one_row(value: JsonObject) -> bool:
    """Whether an object is a row itself: it holds a text, or tokens with a tag each."""
    if any(isinstance(item, str) and name.lower() in COMMON_NAMES for name, item in value.items()):
        return True
    lists = [
        item
        for item in value.values()
        if isinstance(item, list) and all(isinstance(x, str) for x in item)
    ]
    tagged = [item for item in lists if "O" in item and all(map(looks_like_tag, item))]
    return any(len(words) == len(tags) for tags in tagged for words in lists if words is not tags)
