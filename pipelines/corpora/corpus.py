"""What reading a file yields: examples, what was read as what, and the faults of the other rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.examples import Example

FAULTS = ("unreadable_row", "wrong_type", "missing_value", "length_mismatch", "duplicate_id", "duplicate_key",
          "wrong_offsets", "empty_span", "overlapping_spans", "discontinuous_span", "not_in_text", "illegal_tags",
          "unknown_tag", "annotators_disagree", "mojibake", "control_character")
# The row can be used all the same.
WARNINGS = ("unlabelled_mojibake", "unlabelled_control_character", "empty_text", "repaired_tags", "cuts_word")
ANSWERS = ("spans", "label", "value")
SHOWN = 60  # characters of a text in a message


@dataclass
class Columns:
    """Where a file holds what, for files in which that is not certain; ``None`` = find out.

    These are also the options of every recipe and command that reads examples: a field's name is the
    option's name.

    Attributes:
        text_column: a table without a header has the columns ``0``, ``1``, …; so have files of token columns.
        answer: one of ``ANSWERS``.
        max_unzipped: MiB that a gzip file may unpack to.
    """

    text_column: str | None = field(default=None, metadata={
        "help": "column with the text or its tokens (in a file without a header its number, from 0)"})
    pair_column: str | None = field(default=None, metadata={"help": "column with the second text of a pair"})
    entities_column: str | None = field(default=None, metadata={"help": "column with the mentions or tags"})
    label_column: str | None = field(default=None, metadata={
        "help": "column with the class or number, or several of 0 and 1, separated by commas"})
    id_column: str | None = field(default=None, metadata={"help": "column with the ids"})
    group_column: str | None = field(default=None, metadata={
        "help": "column with the document that a text belongs to, which a split keeps together"})
    tag_names: list[str] | None = field(default=None, metadata={
        "help": "what numeric tags or types mean, from 0 up: O,B-Disease,I-Disease"})
    default_type: str = field(default="Disease", metadata={"help": "type of the mentions that name none"})
    label_separator: str | None = field(default=None, metadata={
        "help": "what stands between the classes of a text that may have several"})
    mention_type: str | None = field(default=None, metadata={
        "help": "make classes of mentions: this type where a text has one, else none"})
    answer: str | None = field(default=None, metadata={
        "help": "what to read where a file has several answers: spans, label or value"})
    layout: str | None = field(default=None, metadata={
        "help": "layout of the file, where it can be read in two: see data/README.md"})
    ends: str | None = field(default=None, metadata={
        "help": "half-open or inclusive: whether the character (or token) at `end` belongs to a mention"})
    offsets: str | None = field(default=None, metadata={
        "help": "what offsets count: character, token, utf-16 or utf-8"})
    strict_tags: bool = field(default=False, metadata={
        "help": "refuse tags that break their scheme (default: I-X after O opens a mention, with a warning)"})
    max_unzipped: int = field(default=4096, metadata={"help": "MiB that a gzip file may unpack to"})
    skip_bad_rows: bool = field(default=False, metadata={"help": "leave out rows with faults, and list them"})


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one row.

    Attributes:
        path: the file.
        row: 0-based row number; in line formats the 1-based line number.
        id: id of the row, where it has one.
        kind: one of ``FAULTS`` or ``WARNINGS``.
        message: what was got and what was wanted.
        repair: what would fix it, where that is known.
        unit: what ``row`` counts, ``row``, ``line`` or ``file``.
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
        repair = f"; repair: {self.repair}" if self.repair else ""
        return printable(f"{self.path}, {self.unit} {self.row}{named}: {self.kind}: {self.message}{repair}")


@dataclass(frozen=True, slots=True)
class Found:
    """Names of the columns in use, ``None`` = there is none; ``tokens`` may go with ``text``.

    Several ``labels`` are columns of 0 and 1, one for each class.
    """

    text: str | None = None
    tokens: str | None = None
    pair: str | None = None
    entities: str | None = None
    labels: tuple[str, ...] = ()
    id: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Corpus:
    """A file as read.

    Attributes:
        path: the file, or the name of the data set.
        layout: what was read as what, as a sentence.
        examples: the rows without a fault (a warning does not count as one), in the order of the file.
        faults: all faults and warnings, in the order of the file.
        n_rows: rows in the file, good or bad, those left out on purpose not counted.
        answer: one of ``ANSWERS``; ``None`` for an unlabelled file.
        found: the columns that were read; ``None`` where the layout itself says which they are.
        ends, offsets: how mentions count, where they have offsets (see ``Columns``).
        notes: what a person has to know about the reading, one line each.
    """

    path: str
    layout: str
    examples: list[Example]
    faults: list[Fault]
    n_rows: int
    answer: str | None = None
    found: Found | None = None
    ends: str | None = None
    offsets: str | None = None
    notes: tuple[str, ...] = ()

    def first_example(self) -> str:
        """The first example (the first that has an answer, if any) as it was understood, in one line."""
        answered = (example for example in self.examples if example.spans or example.label not in (None, ()))
        example = next(answered, self.examples[0] if self.examples else None)
        return "" if example is None else printable(described(example)).replace("\n", "\\n")

    def described(self) -> list[str]:
        """What was read, as lines for a person: the layout, the notes, the first example."""
        lines = [f"{self.path}: {len(self.examples)} of {self.n_rows} rows; {self.layout}", *self.notes]
        return [printable(line) for line in lines] + ([f"first: {self.first_example()}"] if self.examples else [])


def described(example: Example) -> str:
    """``7-0: "Mutations cause breast cancer." -> breast cancer [Disease 16:29]``."""
    answer = "no answer"
    if example.spans is not None:
        mentions = [f"{example.text[span.start:span.end]} [{span.label} {span.start}:{span.end}]"
                    for span in example.spans]
        answer = "; ".join(mentions) or "no mention"
    if example.label is not None:
        label = " and ".join(example.label) or "no class" if isinstance(example.label, tuple) else str(example.label)
        answer = label if example.spans is None else f"{label}; {answer}"
    pair = "" if example.pair is None else f' + "{shortened(example.pair)}"'
    return f'{example.id}: "{shortened(example.text)}"{pair} -> {answer}'


def shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN - 1]}…"


def printable(text: str) -> str:
    """Escapes what a terminal would obey; line ends too, so that a message stays one line."""
    if text.isprintable():
        return text
    shown = (" ", "\n", "\u00a0", "\u3000")
    return "".join(character if character.isprintable() or character in shown else
                   character.encode("unicode_escape").decode() for character in text)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in a table for a row that could not be read at all."""

    reason: str
    kind: str = "unreadable_row"


@dataclass(slots=True)
class Table:
    """The rows of a file before they are understood: what each layout is turned into.

    Attributes:
        rows: (row or line number, value) pairs; a value should be an object, and is ``Unreadable`` where it was not.
        layout: the container, in words.
        unit: what the numbers count, ``row``, ``line`` or ``file``.
        tag_names: names of numeric tags, where the file gives them.
        type_names: names of numeric types of mentions, where the file gives them.
        found: the columns, where the layout itself says which they are.
        ends, offsets: how the layout counts, where it is known to (see ``Columns``).
        missing_is_empty: whether a row without the key of the answer is a text without mentions.
        notes: what a person has to know about the reading, such as how many rows were left out and why.
    """

    rows: list[tuple[int, Any]]
    layout: str
    unit: str = "row"
    tag_names: Sequence[str] | None = None
    type_names: Sequence[str] | None = None
    found: Found | None = None
    ends: str | None = None
    offsets: str | None = None
    missing_is_empty: bool = False
    notes: list[str] = field(default_factory=list)
