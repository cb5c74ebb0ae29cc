"""One text a line: with class and polarity before it, with fastText's labels, or alone."""

from __future__ import annotations

import re
from typing import Any

from pipelines.corpora.corpus import (
    ColumnNames,
    Columns,
    Table,
    Unreadable,
    unwrap_single_classes,
)
from pipelines.corpora.source import Source

_REVIEW = re.compile(r"(?P<class>\S+) (?P<polarity>pos|neg) (?P<file>\S+\.txt)(?: (?P<text>.*))?")
_FASTTEXT = re.compile(r"(?P<label>(?:__label__\S+\s+)+)(?P<text>.*)")


def sniff_reviews(source: Source) -> bool:
    """Whether most lines have class, polarity and file name."""
    return _mostly(_REVIEW, source)


def sniff_fasttext(source: Source) -> bool:
    """Whether most lines begin with a `__label__`."""
    return _mostly(_FASTTEXT, source)


def sniff_texts(source: Source) -> bool:
    """Whether it can only be texts: not where a name promises columns or JSON."""
    return source.path == "-" or source.ends_with(".txt", ".text")


def _mostly(pattern: re.Pattern[str], source: Source) -> bool:
    return 2 * sum(bool(pattern.fullmatch(line)) for line in source.head) > len(source.head)


def read_reviews(source: Source, columns: Columns) -> Table:
    """Reads `class polarity file text` lines."""
    rows = _parsed(source, _REVIEW, "`class pos|neg file text`")
    names = ColumnNames("text", labels=(columns.label_column or "class",))
    layout = "lines of class, polarity, file and text"
    return Table(rows, layout, unit="line", column_names=names)


def read_fasttext(source: Source, columns: Columns) -> Table:
    """Reads `__label__class text` lines, with one label or several."""
    table = Table(_parsed(source, _FASTTEXT, "`__label__class text`"), "fastText lines", "line")
    objects: list[Any] = table.objects
    for row in objects:
        row["label"] = [name.removeprefix("__label__") for name in row["label"].split()]
    unwrap_single_classes(objects, "label")
    table.column_names = ColumnNames("text", labels=("label",))
    return table


def _parsed(source: Source, pattern: re.Pattern[str], form: str) -> list[tuple[int, object]]:
    rows: list[tuple[int, object]] = []
    for number, line in source.numbered_lines():
        match = pattern.fullmatch(line)
        reason = f"got {line[:40]!r}; wanted {form}"
        rows.append((number, match.groupdict("") if match else Unreadable(reason)))
    return rows


def read_texts(source: Source, columns: Columns) -> Table:
    """Reads one text a line."""
    rows: list[tuple[int, object]] = []
    for number, line in source.numbered_lines():
        rows.append((number, {"text": line}))
    return Table(rows, "one text a line", unit="line", column_names=ColumnNames("text"))
