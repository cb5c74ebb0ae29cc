"""One text a line: with class and polarity before it, with fastText's labels, or alone."""

from __future__ import annotations

import re
from typing import Any

from pipelines.corpora.corpus import Columns, Found, Table, Unreadable
from pipelines.corpora.source import Source

_REVIEW = re.compile(r"(\S+) (pos|neg) (\S+\.txt)(?: (.*))?")
_FASTTEXT = re.compile(r"((?:__label__\S+\s+)+)(.*)")


def sniff_reviews(source: Source) -> bool:
    return _mostly(_REVIEW, source)


def sniff_fasttext(source: Source) -> bool:
    return _mostly(_FASTTEXT, source)


def sniff_texts(source: Source) -> bool:
    """Whether it can only be texts: a name that promises columns or JSON rules that out."""
    return source.path == "-" or source.ends_with(".txt", ".text")


def _mostly(pattern: re.Pattern[str], source: Source) -> bool:
    return 2 * sum(bool(pattern.fullmatch(line)) for line in source.head) > len(source.head)


def read_reviews(source: Source, columns: Columns) -> Table:
    rows: list[tuple[int, Any]] = []
    for number, line in _numbered(source):
        match = _REVIEW.fullmatch(line)
        names = ("class", "polarity", "file", "text")
        rows.append((number, dict(zip(names, match.groups(""), strict=True)) if match else
                     Unreadable(f"got {line[:40]!r}; wanted `class pos|neg file text`")))
    found = Found("text", labels=(columns.label_column or "class",))
    return Table(rows, "lines of class, polarity, file and text", unit="line", found=found)


def read_fasttext(source: Source, columns: Columns) -> Table:
    rows: list[tuple[int, Any]] = []
    for number, line in _numbered(source):
        match = _FASTTEXT.fullmatch(line)
        if match is None:
            rows.append((number, Unreadable(f"got {line[:40]!r}; wanted `__label__class text`")))
            continue
        labels = [name.removeprefix("__label__") for name in match[1].split()]
        rows.append((number, {"label": labels, "text": match[2]}))
    read = [row for _, row in rows if isinstance(row, dict)]
    if all(len(row["label"]) == 1 for row in read):
        for row in read:
            row["label"] = row["label"][0]
    return Table(rows, "fastText lines", unit="line", found=Found("text", labels=("label",)))


def read_texts(source: Source, columns: Columns) -> Table:
    rows: list[tuple[int, Any]] = [(number, {"text": line}) for number, line in _numbered(source)]
    return Table(rows, "one text a line", unit="line", found=Found("text"))


def _numbered(source: Source) -> list[tuple[int, str]]:
    lines = enumerate(source.content.split("\n"), start=1)
    return [(number, line) for number, line in lines if line.strip()]
