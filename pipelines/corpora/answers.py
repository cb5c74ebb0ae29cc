"""The answers of files: which one a file has, and reading it for all files of a run together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.corpora import row_answers
from pipelines.corpora.column_profiles import is_empty, list_in
from pipelines.corpora.columns import find_columns
from pipelines.corpora.corpus import ColumnNames, Columns, Table, counted
from pipelines.corpora.notation import Notation, decide
from pipelines.corpora.rows import Row
from pipelines.corpora.tags import canonical_tags
from pipelines.errors import UserError
from pipelines.examples import Fields
from pipelines.formatting import some
from pipelines.spans import detect_scheme, overlapping_pairs

# Answer -> the recipes that learn it.
RECIPES = {
    "spans": "recipes/train_tagger.py and the other recipes for mentions",
    "label": "recipes/finetune_classifier.py and recipes/grid_search_head.py",
}
HALF_OPEN_CHARACTERS = Notation("character", "half-open")
MIN_ROWS = 4  # of which a single class is evidence against their column


@dataclass(slots=True)
class Reading:
    """One file on its way to a corpus.

    Attributes:
        names: the columns that are read.
        answer: `spans`, `label` or `value`; `None` = unlabelled.
        kind: `tags` or `mentions`, for spans.
        how: how the answers were read, in words.
    """

    path: str
    table: Table
    names: ColumnNames
    rows: list[Row]
    labelled: bool = True
    answer: str | None = None
    kind: str | None = None
    how: str = "unlabelled"
    notation: Notation | None = None
    notes: list[str] = field(default_factory=list)

    def count(self, kind: str) -> int:
        """The number of findings of a kind."""
        kinds = [finding[0] for row in self.rows for finding in row.findings]
        return kinds.count(kind)


# Which answer


def answer_of(reading: Reading, columns: Columns, asked: str | None) -> str | None:
    """Which answer a file has; sets the cells that hold mentions or tags, and their kind.

    Args:
        asked: the answer that is asked for; `None` takes the one that the file has.

    Raises:
        UserError: when it has two and none is asked for, or another than is asked for.
    """
    if asked == "text":
        reading.how = "answers not read"
        return None
    names, objects = reading.names, reading.table.objects
    if names.entities is not None and asked in (None, "spans"):
        _set_entity_cells(reading, columns)
    has_class = bool(names.labels) and asked != "spans" and _has_values(objects, names.labels)
    if has_class and _is_hidden(objects, names.labels):
        reading.notes.append(
            f"{names.labels[0]!r} is -1 in every row, as in a test set whose classes are hidden: "
            "read as unlabelled"
        )
        has_class = False
    if reading.kind and has_class:
        raise UserError(
            f"{reading.path}: holds mentions in {names.entities!r} and classes in "
            f"{names.labels[0]!r}; say which to read, by --answer spans or --answer label"
        )
    if reading.kind:
        return "spans"
    if has_class:
        _refuse_single_class(reading, columns)
        is_number = asked is None and _are_fractions(objects, names.labels)
        return "value" if is_number or asked == "value" else "label"
    if asked is not None and reading.labelled:
        _refuse_other_answer(reading, columns, asked)
    unread = dict.fromkeys(name for value in objects[:100] for name in value)
    unread_names = [name for name in unread if name not in names.all_names() - {names.entities}]
    if unread_names and reading.labelled:
        shown = some(map(repr, unread_names))
        reading.notes.append(f"no answers are read; the columns {shown} are not used")
    return None


def _set_entity_cells(reading: Reading, columns: Columns) -> None:
    name, table = reading.names.entities, reading.table
    for row, (_, value) in zip(reading.rows, table.rows, strict=True):
        if isinstance(value, Mapping):
            row.cell, row.is_missing = list_in(value.get(name)), name not in value
    tag_names = columns.tag_names or table.tag_names
    reading.kind = row_answers.kind_of_entities(reading.path, reading.rows, tag_names)
    if reading.kind is None and table.missing_is_empty:
        is_missing = {row.is_missing for row in reading.rows}
        reading.kind = "mentions" if is_missing == {True, False} else None


def _has_values(objects: Sequence[Fields], names: Sequence[str]) -> bool:
    return any(not is_empty(row.get(name)) for row in objects for name in names)


def _is_hidden(objects: Sequence[Fields], names: Sequence[str]) -> bool:
    if len(names) != 1 or len(objects) < 2:
        return False
    return all(row.get(names[0]) in (-1, "-1") for row in objects)


def _are_fractions(objects: Sequence[Fields], names: Sequence[str]) -> bool:
    """Whether a column holds numbers, some with a fraction: they are no names of classes."""
    if len(names) != 1:
        return False
    values = [row[names[0]] for row in objects if not is_empty(row.get(names[0]))]
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        return False
    return any(math.isfinite(number) and not number.is_integer() for number in numbers)


def _refuse_single_class(reading: Reading, columns: Columns) -> None:
    """All rows of one class are evidence against the column, unless it was named."""
    objects, labels = reading.table.objects, reading.names.labels
    is_named = columns.label_column is not None
    if is_named or len(labels) != 1 or not reading.labelled or len(objects) < MIN_ROWS:
        return
    values = {repr(row.get(labels[0])) for row in objects}
    if len(values) == 1:
        [value] = values
        raise UserError(
            f"{reading.path}: all {len(objects)} rows have {labels[0]!r} = {value[:40]}; if that "
            f"is the class all the same, say so by --label_column {labels[0]}"
        )


def _refuse_other_answer(reading: Reading, columns: Columns, asked: str) -> None:
    """Refuses a file that has another answer than the one asked for, naming what reads it."""
    path, names, table = reading.path, reading.names, reading.table
    inputs = Columns(text_column=names.text or names.tokens, id_column=columns.id_column)
    try:
        other = table.column_names or find_columns(path, table.objects, inputs, answer=None)
    except UserError:
        return
    if asked == "spans" and other.labels:
        raise UserError(
            f"{path}: got classes in {other.labels[0]!r}; wanted mentions. Read the classes by "
            f"--answer label; {RECIPES['label']} learn them"
        )
    if asked != "spans" and other.entities:
        wanted = "numbers" if asked == "value" else "classes"
        raise UserError(
            f"{path}: got mentions in {other.entities!r}; wanted {wanted}. {RECIPES['spans']} "
            "learn mentions; --mention_type TYPE reads them as classes (texts that mention TYPE, "
            "and texts that do not)"
        )


# Spans


def read_spans(readings: Sequence[Reading], columns: Columns) -> None:
    """Reads tags by file, and the mentions of all files together, as they have one notation."""
    for reading in readings:
        if reading.kind == "tags":
            # A test file may be in another scheme than train: each is read to the same mentions.
            _read_tags(reading, columns)
    with_mentions = [reading for reading in readings if reading.kind == "mentions"]
    for reading in with_mentions:
        row_answers.parse_rows(reading.rows, reading.names, reading.table, columns)
        _refuse_texts_as_types(reading)
    _place_mentions(with_mentions, columns)
    for reading in readings:
        for row in reading.rows:
            for label in {span.label for span in row.spans or ()}:
                row_answers.check_name(row, label, "type")


def _read_tags(reading: Reading, columns: Columns) -> None:
    tag_names = columns.tag_names or reading.table.tag_names
    for row in reading.rows:
        row_answers.set_tags(row, tag_names)
    tagged = [row for row in reading.rows if row.tags is not None]
    tags, spelling = canonical_tags([row.tags or [] for row in tagged])
    scheme = detect_scheme(tags)
    for row, canonical in zip(tagged, tags, strict=True):
        row.tags = canonical
        row_answers.read_tags(row, scheme, columns)
    spelled = f" ({spelling})" if spelling else ""
    reading.how = f"{scheme} tags{spelled} in {reading.names.entities!r}"
    if n_repaired := reading.count("repaired_tags"):
        reading.notes.append(
            f"{counted(n_repaired, 'illegal tag')} read as conlleval and seqeval read them; "
            "--strict_tags true makes them faults"
        )


def _refuse_texts_as_types(reading: Reading) -> None:
    """Types that are the mentions' own texts: columns or keys are read the wrong way round."""
    n_own = n_typed = 0
    for row in reading.rows:
        for mention in row.mentions:
            if mention.label is not None and mention.start is not None:
                text = mention.text or row.text[mention.start : mention.end]
                n_own += mention.label == text
                n_typed += 1
    if n_own >= 2 and 2 * n_own > n_typed:
        raise UserError(
            f"{reading.path}: {n_own} of {n_typed} mentions have their own text as their type; "
            "rename the column or keys of the mentions, or write rows as data/README.md shows"
        )


# What decides how offsets are counted: ends, unit, whether there are tokens and texts, the usual.
NotationFacts = tuple[str | None, str | None, bool, bool, Notation | None]


def _place_mentions(readings: Sequence[Reading], columns: Columns) -> None:
    """Decides on the notation over all files that have mentions of one form, and sets the spans."""
    groups: dict[NotationFacts, list[Reading]] = {}
    for reading in readings:
        table, names = reading.table, reading.names
        inputs = names.tokens is not None, names.text is not None
        key = (table.ends, table.offsets, *inputs, _usual_notation(reading))
        groups.setdefault(key, []).append(reading)
    for (ends, unit, has_tokens, has_text, usual), group in groups.items():
        files = {reading.path: row_answers.marked_texts(reading.rows) for reading in group}
        notation = decide(
            files,
            ends=columns.ends or ends,
            unit=columns.offsets or unit,
            has_tokens=has_tokens,
            has_text=has_text,
            usual=usual,
        )
        for reading in group:
            _set_spans(reading, notation, columns)


def _usual_notation(reading: Reading) -> Notation | None:
    """Half-open characters for the project's own form, `"spans": [{"start", "end", "label"}]`."""
    if reading.names.entities != "spans" or reading.names.text is None:
        return None
    keys: set[str] = set()
    for row in reading.rows:
        for mention in row.cell if isinstance(row.cell, list) else ():
            if isinstance(mention, Mapping):
                keys.update(mention)
    is_own_form = {"start", "end", "label"} <= keys <= {"start", "end", "label", "score"}
    return HALF_OPEN_CHARACTERS if is_own_form else None


def _set_spans(reading: Reading, notation: Notation | None, columns: Columns) -> None:
    reading.notation = notation
    for row in reading.rows:
        row_answers.set_spans(row, notation or HALF_OPEN_CHARACTERS, columns)
    entities = reading.names.entities
    how = f"by {notation}" if notation else "as strings"
    reading.how = f"mentions {how} in {entities!r}"
    if n_cut := reading.count("cuts_word"):
        do = "does" if n_cut == 1 else "do"
        reading.notes.append(f"{counted(n_cut, 'mention')} {do} not begin and end at words")
    if columns.nested and (n_nested := sum(_count_overlapping(row) for row in reading.rows)):
        do = "overlaps" if n_nested == 1 else "overlap"
        reading.notes.append(f"{counted(n_nested, 'mention')} {do} another, and are kept")
    n_missing = sum(row.is_missing and row.has_text for row in reading.rows)
    if n_missing and reading.table.missing_is_empty:
        reading.notes.append(
            f"{counted(n_missing, 'row')} without {entities!r}, read as texts without mentions, as "
            "this tool writes them"
        )


def _count_overlapping(row: Row) -> int:
    """How many mentions of a row overlap another one."""
    return len({span for pair in overlapping_pairs(row.spans or ()) for span in pair})


# Classes and numbers


def read_classes(reading: Reading, columns: Columns) -> None:
    """Reads classes or numbers."""
    names, rows = reading.names, reading.rows
    for row, (_, value) in zip(rows, reading.table.rows, strict=True):
        if isinstance(value, Mapping):
            cells = [value.get(name) for name in names.labels]
            row.cell = cells[0] if len(cells) == 1 else cells
    columns_read = " and ".join(map(repr, names.labels))
    readable = [row for row in rows if row.id is not None]
    if reading.answer == "value":
        for row in readable:
            row_answers.read_number(row, names.labels[0])
        reading.how = f"a number in {columns_read}"
        return
    is_multi_label = row_answers.may_have_several(rows, names, columns)
    for row in readable:
        row_answers.read_class(row, names, is_multi_label=is_multi_label, columns=columns)
    reading.how = f"{'classes' if is_multi_label else 'class'} in {columns_read}"


def read_mentions_as_classes(reading: Reading, label: str) -> None:
    """Replaces mentions by the class of each text: the type if it is mentioned, else `none`."""
    types = sorted({span.label for row in reading.rows for span in row.spans or ()})
    if reading.labelled and label not in types:
        raise UserError(
            f"{reading.path}: no mention of the type {label!r}; it has {some(types) or 'none'}; "
            "name one by --mention_type"
        )
    for row in reading.rows:
        row_answers.set_class_of_mentions(row, label)
    reading.how += f"; classes: {label} where it is mentioned, else {row_answers.NO_MENTION_CLASS}"
    reading.answer = "label"
