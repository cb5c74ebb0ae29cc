"""JSON of any container: list of objects, JSON lines, object of columns, object with one list inside."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pipelines.corpora.columns import name_parts
from pipelines.corpora.corpus import Columns, Table, Unreadable
from pipelines.corpora.layouts.exports import reshaped
from pipelines.corpora.source import Source
from pipelines.corpora.strict_json import DuplicateKey, loads
from pipelines.errors import UserError
from pipelines.spans import looks_like_tag

COMMON_NAMES = {"text", "sentence", "tokens", "words", "content"}
_ROW_NAMES = COMMON_NAMES | {"tokenized_text"}
# What JSON begins with; `[text]` or `[removed],0` begin a table.
_OPENING = re.compile(r"\s*(\{\s*[\"}]|\[\s*([\[{\"\]\d-]|(null|true|false)\s*[,\]]))")


def sniff(source: Source) -> bool:
    if _OPENING.match(source.content) is not None:
        return True
    fields = source.head[0].split()
    is_token = len(fields) > 1 and looks_like_tag(fields[-1])
    return source.ends_with(".json", ".jsonl", ".ndjson") and fields[0][0] in '[{"' and not is_token


def read(source: Source, columns: Columns) -> Table:
    """Finds the rows in a JSON or JSON lines file.

    Raises:
        UserError: when the file is no JSON (with line and column), or holds no list of rows.
    """
    path, content = source.path, source.content
    try:
        value = loads(content, allow_nan=True)
    except ValueError as error:
        table = None if isinstance(error, DuplicateKey) and content.lstrip()[0] == "[" else _json_lines(content)
        if table is not None:
            return reshaped(path, table)
        if isinstance(error, json.JSONDecodeError):
            raise UserError(_where_json_ends(path, content, error)) from None
        raise UserError(f"{path}: no list of rows ({error})") from None
    by_line = source.ends_with(".jsonl", ".ndjson")
    if by_line and isinstance(value, dict) and _ROW_NAMES & {key.lower() for key in value}:
        return reshaped(path, Table([(1, value)], "JSON lines", unit="line"))  # one line, not columns of many rows
    return reshaped(path, _table(path, value))


def _where_json_ends(path: str, content: str, error: json.JSONDecodeError) -> str:
    cut_off = error.pos >= len(content.rstrip()) or error.msg.startswith("Unterminated string")
    what = "the JSON is cut off: it ends" if cut_off else f"no JSON: {error.msg}"
    line, column = error.lineno, error.colno
    if cut_off:
        whole = content.rstrip()
        line, column = whole.count("\n") + 1, len(whole) - (whole.rfind("\n") + 1) + 1
    advice = "fetch or write the file again" if cut_off else "fix it there (a comma, quote or bracket too many or few)"
    return f"{path}: {what} at line {line}, column {column}; {advice}"


def _json_lines(content: str) -> Table | None:
    """Reads one JSON value a line; ``None`` where that is not what the file is."""
    rows: list[tuple[int, Any]] = []
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append((number, loads(line, allow_nan=True)))
        except json.JSONDecodeError as error:
            rows.append((number, Unreadable(f"no JSON: {error.msg} at column {error.colno}")))
        except DuplicateKey as error:
            rows.append((number, Unreadable(f"{error}; give it once", "duplicate_key")))
        except ValueError as error:
            rows.append((number, Unreadable(str(error))))
    readable = sum(not isinstance(value, Unreadable) or value.kind == "duplicate_key" for _, value in rows)
    first = rows[0][1]
    is_row = isinstance(first, dict) or (isinstance(first, Unreadable) and first.kind == "duplicate_key")
    if not is_row and 2 * readable <= len(rows):
        return None
    return Table(rows, "JSON lines", unit="line")


def _table(path: str, value: Any) -> Table:
    if isinstance(value, dict) and _is_one_row(value):
        return Table([(0, value)], "one object")
    names = _tag_names(value)
    if isinstance(value, list):
        return Table(list(enumerate(value)), "list of objects", tag_names=names)
    if not isinstance(value, dict):
        raise UserError(f"{path}: holds only {_shown(value)}; wanted a list of objects such as "
                        '[{"id": "1", "text": "…", "entities": […]}]')
    rows = value.get("rows")
    if isinstance(rows, list) and rows and all(isinstance(row, dict) and "row" in row for row in rows):
        return Table([(row.get("row_idx", number), row["row"]) for number, row in enumerate(rows)],
                     "answer of the datasets server", tag_names=_feature_names(value.get("features")))
    if isinstance(value.get("documents"), list) and any(isinstance(document, dict) and "passages" in document
                                                        for document in value["documents"]):
        return Table(list(enumerate(value["documents"])), "BioC documents")
    value = {key: inner for key, inner in value.items() if not _is_tag_names(inner)} if names else value
    columns = {key: column for key, column in ((k, _column(v)) for k, v in value.items()) if column is not None}
    lists_of_rows = [key for key, column in columns.items()
                     if 2 * sum(isinstance(x, dict) for x in column) > len(column)]
    if not lists_of_rows or any(name.lower() in COMMON_NAMES for name in columns):
        lists_of_rows = []
        if _are_columns(columns):
            return Table(list(enumerate(_from_columns(columns))), "object of columns", tag_names=names)
    if len(lists_of_rows) > 1:
        raise UserError(f"{path}: holds {len(lists_of_rows)} lists of rows: {', '.join(lists_of_rows)}; "
                        "write the one you want into a file of its own")
    if lists_of_rows:
        key = lists_of_rows[0]
        return Table(list(enumerate(columns[key])), f"object with the list {key!r} inside", tag_names=names,
                     type_names=_type_names({name: inner for name, inner in value.items() if name != key}))
    if value and all(isinstance(inner, dict) for inner in value.values()):
        inner_lists = [inner for inner in value.values() if any(isinstance(x, list) for x in inner.values())]
        if len(value) == 1 and inner_lists:
            return _table(path, inner_lists[0])
        rows = [{"id": key, **row} for key, row in value.items()]
        return Table(list(enumerate(rows)), "object of objects by id", tag_names=names)
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{key} {len(column)}" for key, column in columns.items())
        raise UserError(f"{path}: an object of columns of different lengths ({lengths}); wanted as many of each")
    raise UserError(f"{path}: an object with the keys {', '.join(list(value)[:10]) or '(none)'} and no list of rows; "
                    "wanted a list of objects, JSON lines, an object of columns, or an object with one list inside")


def _is_one_row(value: dict[str, Any]) -> bool:
    """Whether an object is a row itself: it holds a text, or tokens with a tag each."""
    if any(isinstance(inner, str) and name.lower() in COMMON_NAMES for name, inner in value.items()):
        return True
    flat = [inner for inner in value.values() if isinstance(inner, list) and all(isinstance(x, str) for x in inner)]
    tags = [inner for inner in flat if "O" in inner and all(map(looks_like_tag, inner))]
    return any(len(words) == len(inner) for inner in tags for words in flat if words is not inner)


def _column(value: Any) -> list[Any] | None:
    """A list as it is; pandas's ``{"0": …, "1": …}`` as the list of its values; ``None`` for what is no column."""
    if isinstance(value, list):
        return value
    if isinstance(value, dict) and value and all(map(str.isdecimal, value)):
        return list(value.values())
    return None


def _are_columns(columns: Mapping[str, list[Any]]) -> bool:
    """Columns have one length, and one of them holds texts or lists of tokens."""
    return len({len(column) for column in columns.values()}) == 1 and any(
        all(isinstance(x, str | list) or x is None for x in column) for column in columns.values())


def _from_columns(columns: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _feature_names(features: Any) -> tuple[str, ...] | None:
    """The names of a ``ClassLabel`` among the features that the datasets server lists."""
    for feature in features if isinstance(features, list) else ():
        kind = feature.get("type") if isinstance(feature, dict) else None
        inner = kind.get("feature", kind) if isinstance(kind, dict) else None
        names = inner.get("names") if isinstance(inner, dict) else None
        if isinstance(names, list) and "O" in names:
            return tuple(map(str, names))
    return None


def _tag_names(value: Any) -> tuple[str, ...] | None:
    """Finds the names of numeric tags beside the rows: ``["O", "B-Disease", …]`` or ``{"0": "O", …}``."""
    if _is_tag_names(value):
        return _names(value)
    if isinstance(value, dict):
        return next(filter(None, map(_tag_names, value.values())), None)
    return None


def _is_tag_names(value: Any) -> bool:
    names = _names(value)
    return names is not None and "O" in names and len(names) > 1 and all(map(looks_like_tag, names))


def _type_names(beside: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Finds the names of numeric types beside the rows: ``"names": ["Disease", "Gene"]``, ``"id2label": {…}``."""
    return next((names for key, inner in beside.items() if {"name", "label", "type", "class"} & set(name_parts(key))
                 if (names := _names(inner))), None)


def _names(value: Any) -> tuple[str, ...] | None:
    """A list of different names, or an object from numbers (0, 1, …) to names or the other way round, as names."""
    if isinstance(value, dict) and value:
        pairs = [(number, name) if isinstance(name, str) else (name, number) for number, name in value.items()]
        if not all(re.fullmatch(r"\d{1,9}", str(number)) for number, _ in pairs):
            return None
        numbered = {int(number): name for number, name in pairs}
        return _names([numbered[i] for i in range(len(pairs))]) if sorted(numbered) == [*range(len(pairs))] else None
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return tuple(value) if len(set(value)) == len(value) else None
    return None


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"
