"""Damages files at random, as editors, spreadsheets, cut downloads and careless scripts do.

`mutated(content, kind, rng)` applies one to four mutators: of bytes, which know no format, and of
structure, which keep the file readable and change what it says.
"""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from typing import Any

# fmt: off
CONTROL = [
    b"\0", b"\x07", b"\x1b[31m", b"\x1a", b"\x7f", b"\r", b"\n", b"\n\n", b"\t", b"\v",
    b"\xc2\x85", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\xff\xfe", b"\xff", b"\x80", b"\xc3\x28",
    b"\xed\xa0\x80"]
STRANGE = [
    b"\\ud800", b"\\udfff", b"\\u0000", b"\\u00zz", b'"', b"'", b"\\", b"{", b"}", b"[", b"]", b":",
    b",", b";", b"|", b"NaN", b"Infinity", b"-Infinity", b"null", b"true", b"1e999", b"-1", b"1.5",
    b"9" * 400, b"9" * 5000, b"[" * 3000, b'{"a":' * 3000, b"<a>" * 50, b"#", b"=1+1", b"__label__",
    b"B-", b"I-X", b"O", b"-DOCSTART-", "é".encode(), "e\u0301".encode(), "癌".encode(),
    "😀".encode(), "\u202e".encode(), "½²".encode()]
HALF_PAIR = "\ud83d"  # written as an escape
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 10 ** 6, 10 ** 30, 10 ** 400, 1.5, -0.0, 1e308, float("nan"),
    float("inf"), "", " ", "0", "1", "-1", "1.5", "NaN", "nan", "inf", "none", "null", "True", "[]",
    "['a']", '[{"start": 0}]', "B-X I-X", "O", "1 3", "9" * 50, "\0", "\x1b[2J", HALF_PAIR,
    "e\u0301", "a\nb", "a\tb", "a,b;c|d", [], {}, [[]], [{}], [None], {"a": {}}, [1, 2],
    [[0, 1, "X"]], ["O", "O"], [0, 1], {"text": "x"}, {"start": 0, "end": 10 ** 20},
    {"label": None}, "x" * 2000]
# fmt: on


# Bytes


def cut(content: bytes, rng: random.Random) -> bytes:
    position = rng.randrange(len(content) + 1)
    return content[:position] if rng.random() < 0.7 else content[position:]


def delete(content: bytes, rng: random.Random) -> bytes:
    start, end = _range(content, rng)
    return content[:start] + content[end:]


def duplicate(content: bytes, rng: random.Random) -> bytes:
    start, end = _range(content, rng)
    return content[:end] + content[start:end] * rng.choice([1, 1, 2, 20]) + content[end:]


def swap(content: bytes, rng: random.Random) -> bytes:
    a, b = sorted([_range(content, rng), _range(content, rng)])
    if a[1] > b[0]:
        return content
    return (
        content[: a[0]]
        + content[slice(*b)]
        + content[a[1] : b[0]]
        + content[slice(*a)]
        + content[b[1] :]
    )


def insert(content: bytes, rng: random.Random) -> bytes:
    position = rng.randrange(len(content) + 1)
    return content[:position] + rng.choice(CONTROL + STRANGE) + content[position:]


def overwrite(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return content
    position = rng.randrange(len(content))
    return content[:position] + bytes([rng.randrange(256)]) + content[position + 1 :]


def encode_otherwise(content: bytes, rng: random.Random) -> bytes:
    try:
        text = content.decode()
        return text.encode(rng.choice(["utf-16", "utf-16-le", "utf-8-sig", "cp1252", "utf-32"]))
    except UnicodeError:
        return content


def end_lines_otherwise(content: bytes, rng: random.Random) -> bytes:
    return content.replace(
        b"\n", rng.choice([b"\r\n", b"\r", b"\n\n", b" \n", b"\n ", b"\x0b", b""])
    )


def _range(content: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(content) + 1)
    return start, min(len(content), start + rng.choice([1, 1, 2, 5, 20, 100]))


# Lines


def of_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    what = rng.randrange(7)
    if what == 0:
        del lines[i]
    elif what == 1:
        lines.insert(j, lines[i])
    elif what == 2:
        lines[i], lines[j] = lines[j], lines[i]
    elif what == 3:
        lines[i] = b""
    elif what == 4:
        lines[i] = lines[i] + lines[j]
    elif what == 5:
        lines[i] = rng.choice(CONTROL + STRANGE)
    else:
        separator = rng.choice([b" ", b"\t", b",", b"|", b"-", b":"])
        fields = lines[i].split(separator)
        fields[rng.randrange(len(fields))] = rng.choice(CONTROL + STRANGE + [b""])
        lines[i] = separator.join(fields)
    return b"\n".join(lines)


# JSON


def of_json(content: bytes, rng: random.Random) -> bytes:
    """Changes a value, a key or a row of a JSON file; bytes where it cannot be read any more."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return insert(content, rng)
    return _dumped(_changed(value, rng), rng)


def of_json_lines(content: bytes, rng: random.Random) -> bytes:
    lines = content.split(b"\n")
    for number in rng.sample(range(len(lines)), rng.choice([1, 1, len(lines)])):
        if lines[number].strip():
            lines[number] = of_json(lines[number], rng)
    return b"\n".join(lines)


def _dumped(value: Any, rng: random.Random) -> bytes:
    text = json.dumps(value, indent=rng.choice([None, None, 1]))
    if rng.random() < 0.2 and '": ' in text:
        # A key twice: the object of a row repeats one of its own, with another value.
        key = rng.choice([part.rsplit('"', 1)[-1] for part in text.split('": ')[:-1]])
        other = json.dumps(rng.choice(VALUES))
        text = text.replace("{", f'{{"{key}": {other}, ', rng.choice([1, -1]))
    return text.encode()


def _changed(value: Any, rng: random.Random) -> Any:
    """Goes down to a random place and changes what is there."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        return _with_key_changed(value, key, rng)
    if isinstance(value, list) and value and rng.random() < 0.85:
        index = rng.randrange(len(value))
        what = rng.random()
        if what < 0.1:
            return value[:index] + value[index + 1 :]
        if what < 0.2:
            return [*value, value[index]]
        if what < 0.3:
            return [*value, rng.choice(VALUES)]
        return [*value[:index], _changed(value[index], rng), *value[index + 1 :]]
    if isinstance(value, int) and rng.random() < 0.5:
        return value + rng.choice([-1, 1, -5, 5, 100])
    if isinstance(value, str) and rng.random() < 0.5:
        position = rng.randrange(len(value) + 1)
        return (
            value[:position]
            + rng.choice(["", " ", "\0", "\x1b", HALF_PAIR, "\u0301", "\n", "Ã©"])
            + value[position:]
        )
    what = rng.random()
    if what < 0.05:
        return _nested(value, rng)
    return (
        [value]
        if what < 0.1
        else {"a": value}
        if what < 0.15
        else str(value)
        if what < 0.2
        else rng.choice(VALUES)
    )


def _with_key_changed(value: dict[str, Any], key: str, rng: random.Random) -> dict[str, Any]:
    what = rng.random()
    if what < 0.1:
        return {name: item for name, item in value.items() if name != key}
    if what < 0.2:
        renamed = rng.choice(
            ["", "text", "label", "entities", "start", "a", key.upper(), f"{key}s", f" {key}"]
        )
        return {renamed if name == key else name: item for name, item in value.items()}
    if what < 0.25:
        return value | {
            rng.choice(["tokens", "labels", "value", "pair", "spans", "id"]): rng.choice(VALUES)
        }
    return value | {key: _changed(value[key], rng)}


def _nested(value: Any, rng: random.Random) -> Any:
    for _ in range(rng.choice([2, 20, 300])):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


# Tables


def of_table(content: bytes, rng: random.Random) -> bytes:
    """Changes columns and cells of a table with commas or tabs."""
    text = content.decode(errors="replace")
    delimiter = "\t" if "\t" in text.split("\n", 1)[0] else ","
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except csv.Error:
        return insert(content, rng)
    if not rows:
        return content
    _change_table(rows, rng)
    out = io.StringIO()
    quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    writer = csv.writer(
        out,
        delimiter=rng.choice([delimiter] * 6 + [";", "|", " ", "\t"]),
        quoting=quoting,
        lineterminator="\n",
    )
    writer.writerows(rows)
    return out.getvalue().encode(errors="replace")


def _change_table(rows: list[list[str]], rng: random.Random) -> None:
    column, what = rng.randrange(len(rows[0])), rng.randrange(8)
    row = rng.choice(rows)
    if what == 0:
        for each in rows:
            del each[column : column + 1]
    elif what == 1:
        for each in rows:
            each[column:column] = each[column : column + 1]
    elif what == 2:
        for each in rows:
            each.reverse()
    elif what == 3:
        row.append(_cell(rng))
    elif what == 4 and row:
        row.pop()
    elif what == 5:
        del rows[0]
    elif what == 6:
        for each in rows[1:]:
            each[column : column + 1] = [_cell(rng)]
    elif row:
        row[rng.randrange(len(row))] = _cell(rng)


def _cell(rng: random.Random) -> str:
    value = rng.choice(VALUES)
    return value.replace(HALF_PAIR, "?") if isinstance(value, str) else str(value)[:5000]


OF_BYTES: list[Callable[[bytes, random.Random], bytes]] = [
    cut,
    delete,
    duplicate,
    swap,
    insert,
    insert,
    overwrite,
    encode_otherwise,
    end_lines_otherwise,
]
OF_STRUCTURE: dict[str, list[Callable[[bytes, random.Random], bytes]]] = {
    "json": [of_json],
    "json lines": [of_json_lines, of_json_lines, of_lines],
    "table": [of_table, of_table, of_lines],
    "lines": [of_lines],
}


def mutated(content: bytes, kind: str, rng: random.Random) -> bytes:
    """Applies one to four mutators, those of the structure first: they need a file that can be read.

    Args:
        kind: a key of `OF_STRUCTURE`.
    """
    for _ in range(rng.choice([0, 1, 1, 2])):
        content = rng.choice(OF_STRUCTURE[kind])(content, rng)
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        content = rng.choice(OF_BYTES)(content, rng)
    return content
