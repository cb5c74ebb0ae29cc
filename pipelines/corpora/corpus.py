"""What reading a file yields: examples, how the file was understood, and the faults of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.examples import Example, Fields, JsonObject, Steps

# fmt: off
FAULTS = (
    "unreadable_row", "wrong_type", "missing_value", "length_mismatch", "duplicate_id",
    "duplicate_key", "wrong_offsets", "empty_span", "overlapping_spans", "discontinuous_span",
    "not_in_text", "illegal_tags", "unknown_tag", "annotators_disagree", "mojibake",
    "control_character", "empty_sequence", "not_finite", "wrong_width",
)
# A row with only these can be used.
WARNINGS = (
    "unlabelled_mojibake", "unlabelled_control_character", "empty_text", "repaired_tags",
    "cuts_word",
)
# fmt: on
ANSWERS = ("spans", "label", "value")
MAX_TEXT_SHOWN = 60  # characters of a text in a message
MAX_FAULTS_SHOWN = 50

Finding = tuple[str, str, str | None]  # kind of fault, message, repair


def _option(text: str, default: object = None) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass
class Columns:
    """Where a file holds what, for files in which that is not certain; `None` = detect it.

    These are also the options of every recipe and command that reads examples: a field's name is
    the option's name, and its metadata holds the help text.

    Attributes:
        text_column: a table without a header has the columns `0`, `1`, …; so do files of token
            columns.
        answer: one of `ANSWERS`.
        max_unzipped: in MiB.
    """

    text_column: str | None = _option(
        "column with the text or its tokens (in a file without a header its number, from 0)"
    )
    pair_column: str | None = _option("column with the second text of a pair")
    entities_column: str | None = _option("column with the mentions or tags")
    label_column: str | None = _option(
        "column with the class or number, or several columns of 0 and 1, separated by commas"
    )
    id_column: str | None = _option("column with the ids")
    group_column: str | None = _option(
        "column with the document of a text; a split keeps documents together"
    )
    tag_names: list[str] | None = _option(  # noqa: RUF009 - it gives a field
        "names of numeric tags or types, in order from 0: O,B-Disease,I-Disease"
    )
    default_type: str = _option("type of mentions without one", "Disease")
    label_separator: str | None = _option("separator between the classes of a text with several")
    mention_type: str | None = _option(
        "read mentions as classes: this type for a text with such a mention, else none"
    )
    answer: str | None = _option(
        "which answer to read from a file with several: spans, label or value"
    )
    layout: str | None = _option("layout of the file, if it is not detected: see data/README.md")
    ends: str | None = _option(
        "half-open or inclusive: whether `end` is the position after a mention or its last one"
    )
    offsets: str | None = _option("unit of the offsets: character, token, utf-16 or utf-8")
    nested: bool = _option(
        "keep mentions that overlap, lie within one another, or have several types (default: they "
        "are faults)",
        False,
    )
    strict_tags: bool = _option(
        "make tags that violate their scheme faults (default: I-X after O opens a mention, with a "
        "warning)",
        False,
    )
    max_unzipped: int = _option("largest size of an unpacked gzip file, in MiB", 4096)
    skip_bad_rows: bool = _option("skip rows with faults, and list them", False)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one row.

    Attributes:
        path: the file.
        row: 0-based row number; in line formats the 1-based line number.
        id: id of the row, where it has one.
        kind: one of `FAULTS` or `WARNINGS`.
        message: what was got and what was wanted.
        repair: what would fix it, where that is known.
        unit: what `row` counts: `row`, `line` or `file`.
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
        """Whether the row can be used all the same."""
        return self.kind in WARNINGS

    def __str__(self) -> str:
        named = "" if self.id is None or self.id == str(self.row) else f" (id {self.id})"
        repair = f"; repair: {self.repair}" if self.repair else ""
        return printable(
            f"{self.path}, {self.unit} {self.row}{named}: {self.kind}: {self.message}{repair}"
        )


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """The columns that are read, `None` = there is none; `tokens` may accompany `text`.

    Several `labels` are columns of 0 and 1, one for each class.
    """

    text: str | None = None
    tokens: str | None = None
    pair: str | None = None
    entities: str | None = None
    labels: tuple[str, ...] = ()
    id: str | None = None
    group: str | None = None
    features: str | None = None

    def all_names(self) -> set[str]:
        """The names of all columns that are read."""
        inputs = (self.text, self.tokens, self.pair, self.features)
        names = (*inputs, self.entities, self.id, self.group)
        return {name for name in (*names, *self.labels) if name is not None}


@dataclass(frozen=True, slots=True)
class Corpus:
    """A file as read.

    Attributes:
        path: the file, or the name of the data set.
        layout: how the file was read, as a sentence.
        examples: the rows without a fault (a warning is not a fault), in the order of the file.
        faults: all faults and warnings, in the order of the file.
        n_rows: number of rows, good or bad, without those left out on purpose.
        answer: one of `ANSWERS`; `None` for an unlabelled file.
        column_names: the columns that were read; `None` where the layout prescribes them.
        ends, offsets: how mentions count, where they have offsets (see `Columns`).
        notes: what the reader of a report has to know about the reading, one line each.
    """

    path: str
    layout: str
    examples: list[Example]
    faults: list[Fault]
    n_rows: int
    answer: str | None = None
    column_names: ColumnNames | None = None
    ends: str | None = None
    offsets: str | None = None
    notes: tuple[str, ...] = ()

    def first_example(self) -> str:
        """The first example that has an answer (else the first), in one line."""
        return first_described(self.examples).replace("\n", "\\n")

    def described(self) -> list[str]:
        """How the file was read, as lines for a person: layout, notes, first example."""
        rows = f"{len(self.examples)} of {counted(self.n_rows, 'row')}"
        lines = [f"{self.path}: {rows}; {self.layout}", *self.notes]
        first = [f"first: {self.first_example()}"] if self.examples else []
        return [*map(printable, lines), *first]


def first_described(examples: Sequence[Example]) -> str:
    """The first example that has an answer (else the first), described; empty without examples."""
    answered = (e for e in examples if e.spans or e.label not in (None, ()))
    example = next(answered, examples[0] if examples else None)
    return "" if example is None else printable(described(example))


def described(example: Example) -> str:
    """`7-0: "Mutations cause breast cancer." -> breast cancer [Disease 16:29]`."""
    answers = []
    if isinstance(example.label, tuple):
        answers.append(" and ".join(example.label) or "no class")
    elif example.label is not None:
        answers.append(str(example.label))
    if example.spans is not None:
        mentions = [
            f"{example.text[span.start : span.end]} [{span.label} {span.start}:{span.end}]"
            for span in example.spans
        ]
        answers += mentions or ["no mention"]
    pair = "" if example.pair is None else f' + "{shortened(example.pair)}"'
    answer = "; ".join(answers) or "no answer"
    if isinstance(example.features, Steps):
        steps = counted(len(example.features), "step")
        return f"{example.id}: {steps} of {example.features.width} numbers -> {answer}"
    if isinstance(example.features, str):
        return f"{example.id}: {example.features} -> {answer}"
    return f'{example.id}: "{shortened(example.text)}"{pair} -> {answer}'


def classes_of(example: Example) -> tuple[str, ...]:
    """The classes of an example: none for a number or an unlabelled one, one, or several."""
    if isinstance(example.label, str):
        return (example.label,)
    return example.label if isinstance(example.label, tuple) else ()


def shortened(text: str) -> str:
    """The text, cut to `MAX_TEXT_SHOWN` characters."""
    return text if len(text) <= MAX_TEXT_SHOWN else f"{text[: MAX_TEXT_SHOWN - 1]}…"


def printable(text: str) -> str:
    """Escapes control characters, which a terminal would obey; keeps line ends."""
    if text.isprintable():
        return text
    kept = (" ", "\n", "\u00a0", "\u3000")
    return "".join(
        character
        if character.isprintable() or character in kept
        else character.encode("unicode_escape").decode()
        for character in text
    )


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 row`, `2 rows`, `0 classes`."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def fault_lines(faults: Sequence[object]) -> list[str]:
    """The first faults, a line each, and how many more there are."""
    n_more = len(faults) - MAX_FAULTS_SHOWN
    more = [f"… and {n_more} more"] if n_more > 0 else []
    return [*map(str, faults[:MAX_FAULTS_SHOWN]), *more]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands in a table for a row that could not be read at all."""

    reason: str
    kind: str = "unreadable_row"


@dataclass(slots=True)
class Table:
    """The rows of a file before they are understood: what each layout is turned into.

    Attributes:
        rows: (row or line number, value) pairs; a value is an object if it is to be read, and
            `Unreadable` if it could not be.
        layout: the container, in words.
        unit: what the numbers count: `row`, `line` or `file`.
        tag_names: names of numeric tags, where the file gives them.
        type_names: names of numeric types of mentions, where the file gives them.
        column_names: the columns, where the layout prescribes them.
        ends, offsets: how the layout counts, where that is known (see `Columns`).
        missing_is_empty: whether a row without the key of the answer is a text without mentions.
        notes: what has to be known about the reading, such as how many rows were left out and why.
    """

    rows: Sequence[tuple[int, object]]
    layout: str
    unit: str = "row"
    tag_names: Sequence[str] | None = None
    type_names: Sequence[str] | None = None
    column_names: ColumnNames | None = None
    ends: str | None = None
    offsets: str | None = None
    missing_is_empty: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def objects(self) -> list[Fields]:
        """The values that are objects."""
        return [value for _, value in self.rows if isinstance(value, Mapping)]

    def mapped(self, convert: Callable[[Fields], object]) -> Table:
        """The table with each object converted; other values stay."""
        rows = [
            (number, convert(value) if isinstance(value, Mapping) else value)
            for number, value in self.rows
        ]
        return replace(self, rows=rows)

    def without(self, reason_of: Callable[[Fields], str | None]) -> Table:
        """The table without the objects for which there is a reason; a note counts each reason."""
        counts: Counter[str] = Counter()
        kept = []
        for number, value in self.rows:
            reason = reason_of(value) if isinstance(value, Mapping) else None
            if reason is None:
                kept.append((number, value))
            else:
                counts[reason] += 1
        notes = [
            f"{counted(count, 'row')} left out: {reason}"
            for reason, count in sorted(counts.items())
        ]
        return replace(self, rows=kept, notes=[*self.notes, *notes])


def unwrap_single_classes(rows: Sequence[JsonObject], key: str) -> None:
    """Replaces the lists under a key by their only item, if none has another number of them."""
    classified = [row for row in rows if key in row]
    if all(len(row[key]) == 1 for row in classified):
        for row in classified:
            [row[key]] = row[key]
