"""One row of a table -> its text, tokens, pair and id, before anybody looks at its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.corpora.answers import Row, class_name, type_name
from pipelines.corpora.columns import is_null, list_in
from pipelines.corpora.corpus import Found, Table, Unreadable
from pipelines.spans import Offsets, join_tokens


def read_row(ordinal: int, value: Any, found: Found, table: Table) -> Row:
    """The text, pair, tokens, id and document of a row, with what is wrong with them.

    Args:
        ordinal: its 0-based number, which is its id where it has none.
        value: what stands in the table, an object if it is to be read.
    """
    if isinstance(value, Unreadable):
        return Row(None, findings=[(value.kind, value.reason, None)])
    if not isinstance(value, Mapping):
        return Row(None, findings=[("wrong_type", f"the row is a {type_name(value)}; wanted an object", None)])
    row = Row(str(ordinal))
    text = value.get(found.text) if found.text else ""
    words = list_in(value.get(found.tokens)) if found.tokens else None
    for name, part in ((found.text, text), (found.tokens, words)):
        if name is not None and is_null(part):
            row.findings.append(("missing_value", f"nothing in the column {name!r}", None))
    row.text = _string(row, text, found.text, numbers=False)
    if found.pair:
        row.pair = _string(row, value.get(found.pair), found.pair, numbers=True)
    if isinstance(words, list):
        row.words = words
        for i, word in enumerate(words):
            if not isinstance(word, str) or not word:
                row.findings.append(("wrong_type", f"token {i} is {word!r:.40}; wanted a string",
                                     f'write "{word!s:.40}"' if word else None))
                row.words = None
    elif not is_null(words):
        message = f"{found.tokens!r} holds a {type_name(words)}; wanted a list of strings"
        row.findings.append(("wrong_type", message, None))
    row.is_read = not row.findings
    if found.group and not is_null(value.get(found.group)):
        row.group = class_name(value[found.group])
    if found.id is not None and not is_null(value.get(found.id)) and value.get(found.id) != "":
        row.id, problem = _read_id(value[found.id], ordinal)
        row.findings += problem
    return row


def _string(row: Row, value: Any, name: str | None, *, numbers: bool) -> str:
    if isinstance(value, str):
        return value
    if numbers and isinstance(value, int | float) and not isinstance(value, bool) and not is_null(value):
        return str(value)
    if not is_null(value):
        row.findings.append(("wrong_type", f"{name!r} holds a {type_name(value)}; wanted a string", None))
    return ""


def _read_id(value: Any, ordinal: int) -> tuple[str, list[tuple[str, str, str | None]]]:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and not value.isprintable():
        return str(ordinal), [("control_character", f"the id {value!r:.60} holds a control character", None)]
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value), []
    return str(ordinal), [("wrong_type", f"the id is a {type_name(value)}; wanted a string or a number", None)]


def mark_repeated_ids(rows: Sequence[Row], table: Table) -> None:
    """Makes an id that an earlier row has a fault of the later one."""
    first: dict[str, int] = {}
    for (number, _), row in zip(table.rows, rows, strict=True):
        if row.id is None:
            continue
        if row.id in first:
            message = f"the id {row.id} is already that of {table.unit} {first[row.id]}"
            row.findings.append(("duplicate_id", message, "give each row an id of its own"))
        else:
            first[row.id] = number


def set_text(rows: Sequence[Row], found: Found) -> None:
    """Gives every row its text and token offsets: tokens joined by blanks, or found in the text beside them."""
    for row in rows:
        if row.words is not None and found.text is None:
            row.text, row.tokens = join_tokens(row.words)
        elif row.words is not None:
            row.tokens = _aligned(row.words, row.text)


def _aligned(words: Sequence[str], text: str) -> Offsets | None:
    """Offsets of the words in a text that holds them in order with nothing but blanks between, else ``None``."""
    offsets, end = [], 0
    for word in words:
        start = text.find(word, end)
        if start < 0 or text[end:start].strip():
            return None
        end = start + len(word)
        offsets.append((start, end))
    return None if text[end:].strip() else offsets
