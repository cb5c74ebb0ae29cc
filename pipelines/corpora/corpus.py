"""What reading a file yields: examples, and the faults of the rows that are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.examples import Example

FAULTS = ("unreadable_row", "wrong_type", "missing_value", "length_mismatch", "duplicate_id", "wrong_offsets",
          "empty_span", "overlapping_spans", "discontinuous_span", "not_in_text", "illegal_tags", "unknown_tag",
          "mojibake", "control_character")
WARNINGS = ("unlabelled_mojibake", "unlabelled_control_character", "empty_text")  # the row can be used all the same


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of columns, for files that do not tell by themselves; ``None`` = find out.

    Attributes:
        text: column with the text, or with its tokens. In a file of token columns, the number of the column.
        entities: column with the mentions or tags. In a file of token columns, the number of the column.
        id: column with the ids.
        tag_names: what numeric tags mean, in order: ``("O", "B-Disease", "I-Disease")``.
        label: type of the mentions that name none.
    """

    text: str | None = None
    entities: str | None = None
    id: str | None = None
    tag_names: tuple[str, ...] | None = None
    label: str = "Disease"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one row.

    Attributes:
        path: the file.
        row: 0-based row number; in line formats the 1-based line number.
        id: id of the row, where it has one.
        kind: one of ``FAULTS`` or ``WARNINGS``.
        message: what was got and what was wanted.
        repair: what would mend it, where that is known.
        unit: what ``row`` counts, ``row`` or ``line``.
    """

    path: str
    row: int
    id: str | None
    kind: str
    message: str
    repair: str | None = None
    unit: str = "row"

    @property
    def is_warning(self) -> bool:
        return self.kind in WARNINGS

    def __str__(self) -> str:
        named = "" if self.id is None or self.id == str(self.row) else f" (id {self.id})"
        mend = f"; repair: {self.repair}" if self.repair else ""
        return f"{self.path}, {self.unit} {self.row}{named}: {self.kind}: {self.message}{mend}"


@dataclass(frozen=True, slots=True)
class Corpus:
    """A file as read.

    Attributes:
        path: the file, or the name of the data set.
        layout: what was detected, as a sentence.
        examples: the rows without a fault (a warning does not count as one), in the order of the file.
        faults: all faults and warnings, in the order of the file.
        n_rows: rows in the file, good or bad.
    """

    path: str
    layout: str
    examples: list[Example]
    faults: list[Fault]
    n_rows: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in a table for a row that could not be read at all."""

    reason: str


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a file before they are understood: what each container format is turned into.

    Attributes:
        rows: (row or line number, value) pairs; a value should be an object, and is ``Unreadable`` where it was not.
        layout: the container, in words.
        tag_names: names of numeric tags, where the file gives them.
        type_names: names of numeric types of mentions, where the file gives them.
        unit: what the numbers count, ``row`` or ``line``.
    """

    rows: list[tuple[int, Any]]
    layout: str
    tag_names: tuple[str, ...] | None = None
    unit: str = "row"
    type_names: tuple[str, ...] | None = None
