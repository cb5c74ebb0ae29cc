"""One row of a table -> its text, tokens, second text and id; its answer is read later."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from pipelines.corpora.column_profiles import is_empty, is_null, list_in
from pipelines.corpora.corpus import ColumnNames, Finding, Table, Unreadable
from pipelines.corpora.mentions import RawMention
from pipelines.corpora.steps import read_steps
from pipelines.examples import Example, Span, Steps
from pipelines.spans import Offsets, join_tokens

_HALF_PAIR = re.compile(
    "[\ud800-\udfff]"
)  # neither tokenizers nor files take half a surrogate pair
_TYPE_NAMES = {
    dict: "object",
    list: "list",
    str: "string",
    bool: "true/false",
    int: "number",
    float: "number",
    type(None): "null",
}


@dataclass(slots=True)
class Row:
    """One row on its way to an example.

    Attributes:
        has_text: whether its text could be read, so that its answer can be.
        words: its tokens as strings.
        tokens: their offsets; `None` where the words do not spell the text.
        cell: the cell (or cells) with the answer.
        is_missing: whether the row lacks the key of the answer.
        findings: what is wrong with it.
    """

    id: str | None
    has_text: bool = False
    text: str = ""
    pair: str | None = None
    group: str | None = None
    features: Steps | None = None
    words: list[str] | None = None
    tokens: Offsets | None = None
    cell: Any = None  # of a kind that the reader of the answer checks
    is_missing: bool = False
    tags: list[str] | None = None
    mentions: list[RawMention] = field(default_factory=list)
    spans: list[Span] | None = None
    label: str | tuple[str, ...] | float | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_misspelled(self) -> bool:
        """Whether it has words that do not spell its text."""
        return self.words is not None and self.tokens is None

    def report(self, kind: str, message: str, repair: str | None = None) -> None:
        """Adds a finding."""
        self.findings.append((kind, message, repair))

    def example(self) -> Example:
        """The row as an example; half a surrogate pair in its text becomes U+FFFD."""
        text = _HALF_PAIR.sub("\ufffd", self.text)
        spans = None if self.spans is None else tuple(self.spans)
        tokens = None if self.tokens is None else tuple(self.tokens)
        inputs = (tokens, self.pair, self.group, self.features)
        return Example(self.id or "", text, spans, self.label, *inputs)


def read_row(number: int, value: object, names: ColumnNames) -> Row:
    """The text, second text, tokens, id and document of a row, with what is wrong with them.

    Args:
        number: counts the rows from 0; it is the id of a row that has none.
        value: what the table has there, an object if it is to be read.
    """
    if isinstance(value, Unreadable):
        return Row(None, findings=[(value.kind, value.reason, None)])
    row = Row(str(number))
    if not isinstance(value, Mapping):
        row.id = None
        row.report("wrong_type", f"the row is a {type_name(value)}; wanted an object")
        return row
    text = value.get(names.text) if names.text else ""
    words = list_in(value.get(names.tokens)) if names.tokens else None
    for name, part in ((names.text, text), (names.tokens, words)):
        if name is not None and is_null(part):
            row.report("missing_value", f"nothing in the column {name!r}")
    row.text = _string(row, text, names.text, allow_numbers=False)
    if names.pair:
        row.pair = _string(row, value.get(names.pair), names.pair, allow_numbers=True)
    _set_words(row, words, names.tokens)
    if names.features:
        row.features, faults = read_steps(value.get(names.features), names.features)
        row.findings += faults
    row.has_text = not row.findings
    if names.group and not is_null(value.get(names.group)):
        row.group = class_name(value[names.group])
    if names.id is not None and not is_empty(value.get(names.id)):
        _set_id(row, value[names.id])
    return row


def _string(row: Row, value: object, name: str | None, *, allow_numbers: bool) -> str:
    if isinstance(value, str):
        return value
    if is_null(value):
        return ""
    if allow_numbers and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    row.report("wrong_type", f"{name!r} holds a {type_name(value)}; wanted a string")
    return ""


def _set_words(row: Row, words: object, name: str | None) -> None:
    if is_null(words):
        return
    if not isinstance(words, list):
        row.report("wrong_type", f"{name!r} holds a {type_name(words)}; wanted a list of strings")
        return
    row.words = words
    for position, word in enumerate(words):
        if not isinstance(word, str) or not word:
            repair = f'write "{word!s:.40}"' if word else None
            row.report("wrong_type", f"token {position} is {word!r:.40}; wanted a string", repair)
            row.words = None


def _set_id(row: Row, value: object) -> None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and not value.isprintable():
        row.report("control_character", f"the id {value!r:.60} holds a control character")
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        row.id = str(value)
    else:
        row.report("wrong_type", f"the id is a {type_name(value)}; wanted a string or a number")


def mark_duplicate_ids(rows: Sequence[Row], table: Table) -> None:
    """Makes an id that an earlier row has a fault of the later one."""
    first: dict[str, int] = {}
    for (number, _), row in zip(table.rows, rows, strict=True):
        if row.id is None:
            continue
        if row.id in first:
            message = f"the id {row.id} is already that of {table.unit} {first[row.id]}"
            row.report("duplicate_id", message, "give each row an id of its own")
        else:
            first[row.id] = number


def mark_widths(files: Sequence[Sequence[Row]]) -> None:
    """Makes a width other than that of most sequences of the first file a fault of the row."""
    counts = Counter(row.features.width for row in chain(*files[:1]) if row.features)
    if not counts:
        return
    width = min(counts, key=lambda width: (-counts[width], width))
    for row in chain(*files):
        if row.features and row.features.width != width:
            got = f"steps of {row.features.width} numbers"
            row.report("wrong_width", f"{got}; wanted {width}, as most of the first file have")


def set_text(rows: Sequence[Row], names: ColumnNames) -> None:
    """Sets text and token offsets: tokens joined by blanks, or aligned with the text."""
    for row in rows:
        if row.words is None:
            continue
        if names.text is None:
            row.text, row.tokens = join_tokens(row.words)
            continue
        offsets = aligned_tokens(row.words, row.text)
        end = offsets[-1][1] if offsets else 0
        if len(offsets) == len(row.words) and not row.text[end:].strip():
            row.tokens = offsets


def aligned_tokens(words: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Offsets of words in a text that has them in this order, with only blanks between them.

    Returns:
        Half-open character offsets; fewer than there are words where one is not in its place.
    """
    offsets: list[tuple[int, int]] = []
    end = 0
    for word in words:
        start = text.find(word, end)
        if start < 0 or text[end:start].strip():
            break
        end = start + len(word)
        offsets.append((start, end))
    return offsets


def class_name(value: object) -> str:
    """A class or id as a string: a spreadsheet's `1.0` is `1`."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def type_name(value: object) -> str:
    """What JSON calls the type of a value."""
    return _TYPE_NAMES.get(type(value), type(value).__name__)
