"""Files -> corpora: the one way from any layout and for any answer, for all files of a run together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipelines.corpora import answers
from pipelines.corpora.answers import Row
from pipelines.corpora.columns import find_columns, is_null, list_in, repeated_ids
from pipelines.corpora.corpus import ANSWERS, WARNINGS, Columns, Corpus, Fault, Found, Table, Unreadable
from pipelines.corpora.damage import find_damage
from pipelines.corpora.layouts import read_table
from pipelines.corpora.notation import ENDS, UNITS, Notation, decide
from pipelines.corpora.rows import mark_repeated_ids, read_row, set_text
from pipelines.corpora.source import Source
from pipelines.corpora.tags import canonical_tags
from pipelines.errors import UserError
from pipelines.spans import detect_scheme

RECIPES = {"spans": "recipes/train_tagger.py and the other recipes for mentions",
           "label": "recipes/finetune_classifier.py and recipes/grid_search_head.py"}


@dataclass(slots=True)
class _Reading:
    """One file on its way to a corpus."""

    path: str
    table: Table
    found: Found
    rows: list[Row]
    answer: str | None = None  # "spans", "label", "value"; None = unlabelled
    kind: str | None = None  # "tags" or "mentions"
    how: str = "unlabelled"
    notation: Notation | None = None
    notes: list[str] = field(default_factory=list)


def read_corpora(files: Mapping[str, str | Path | Source], *, columns: Columns | None = None, answer: str | None = None,
                 unlabelled: Sequence[str] = ("test",), like: Found | None = None,
                 alike: bool = True) -> dict[str, Corpus]:
    """Reads the files of one run: in one notation, one scheme of tags and the same columns for all.

    Args:
        files: split -> a file, gzipped or not; a folder; ``-`` for standard input; ``owner/name`` of the Hub, with
            ``:split`` if it has several. The first is read first, and the others like it.
        columns: what the user named; ``columns.answer`` decides where ``answer`` is ``None``.
        answer: what is asked for, ``spans``, ``label`` or ``value``; ``text`` leaves the answers alone; ``None`` takes
            the one that a file has.
        unlabelled: splits that may lack the answers.
        like: columns of a file that was read before; those that are in these files too are taken.
        alike: whether the files have the columns of the first.

    Returns:
        Split -> its good rows as examples, and a fault for everything wrong with the others.

    Raises:
        UserError: when a file as a whole cannot be read, or can be read in two ways: naming both, and the option that
            decides.
    """
    columns = columns or Columns()
    answer = _checked(columns, answer)
    readings: dict[str, _Reading] = {}
    for split, file in files.items():
        source = file if isinstance(file, Source) else Source(file, max_unzipped=columns.max_unzipped,
                                                              labelled=split not in unlabelled)
        readings[split] = _open(source, columns, answer, like=like)
        if alike and like is None and readings[split].table.found is None:
            like = readings[split].found
    _same_answer(readings, answer, unlabelled)
    of_spans = {split: one for split, one in readings.items() if one.answer == "spans"}
    _read_spans(of_spans, columns)
    for split, reading in readings.items():
        if reading.answer in ("label", "value"):
            _read_classes(reading, columns)
        elif columns.mention_type is not None and answer == "label" and reading.answer == "spans":
            _classes_of_mentions(reading, columns.mention_type, labelled=split not in unlabelled)
    return {split: _corpus(reading) for split, reading in readings.items()}


def read_corpus(source: str | Path | Source, *, columns: Columns | None = None, answer: str | None = None,
                labelled: bool = True, like: Found | None = None) -> Corpus:
    """Reads one file by itself; see ``read_corpora``."""
    corpora = read_corpora({"file": source}, columns=columns, answer=answer, like=like,
                           unlabelled=() if labelled else ("file",))
    return corpora["file"]


def _checked(columns: Columns, answer: str | None) -> str | None:
    """The answer that is asked for.

    Raises:
        UserError: for options with values that they do not have, or two answers asked for.
    """
    for name, value, wanted in (("answer", columns.answer, ANSWERS), ("ends", columns.ends, tuple(ENDS)),
                                ("offsets", columns.offsets, UNITS)):
        if value is not None and value not in wanted:
            raise UserError(f"got --{name} {value}; wanted one of {', '.join(wanted)}")
    if answer in ANSWERS and columns.answer not in (None, answer):
        advice = f"; take {RECIPES[columns.answer]}" if columns.answer in RECIPES else ""
        raise UserError(f"got --answer {columns.answer}, where {answer} is read{advice}")
    return answer or columns.answer


def _open(source: Source, columns: Columns, answer: str | None, *, like: Found | None) -> _Reading:
    """Reads the rows of a file, finds its columns, and tells which answer it has."""
    table = read_table(source, columns)
    skipped = source.first_line if table.unit == "line" else source.first_row
    table.rows = [(number + skipped, value) for number, value in table.rows] if skipped else table.rows
    path, labelled = source.path, source.labelled
    objects = [value for _, value in table.rows if isinstance(value, Mapping)]
    if not objects:
        reason = next((f"{table.unit} {number}: {value.reason}" for number, value in table.rows
                       if isinstance(value, Unreadable)), "no row is an object")
        if not table.rows and table.notes:
            reason = "; ".join(table.notes)
        raise UserError(f"{path}: not one readable row in {table.layout} ({reason}); wanted rows such as "
                        '{"id": "1", "text": "…", "entities": […]}')
    wanted = "spans" if answer == "label" and columns.mention_type is not None else answer
    found = table.found
    if found is None:
        found = find_columns(path, objects, columns, answer=wanted, labelled=labelled, like=like)
    else:
        found = replace(found, id=columns.id_column or found.id, group=columns.group_column or found.group)
    reading = _Reading(path, table, found, [], notes=list(table.notes))
    if found.id is None and (repeated := repeated_ids(objects, found)):
        reading.notes.append(f"{path}: the values of {repeated!r} repeat, so rows have their numbers as ids; "
                             f"--id_column {repeated} insists on it")
    reading.rows = [read_row(ordinal, value, found, table)
                    for ordinal, (_, value) in enumerate(table.rows, start=source.first_row)]
    mark_repeated_ids(reading.rows, table)
    set_text(reading.rows, found)
    reading.answer = _answer_of(reading, columns, wanted, labelled=labelled, objects=objects)
    return reading


def _answer_of(reading: _Reading, columns: Columns, wanted: str | None, *, labelled: bool,
               objects: Sequence[Mapping[str, Any]]) -> str | None:
    """Which answer a file has, and by which cells.

    Raises:
        UserError: when it has two and none was asked for, or another than was asked for.
    """
    path, found, rows = reading.path, reading.found, reading.rows
    if wanted == "text":
        return None
    names = columns.tag_names or reading.table.tag_names
    if found.entities is not None and wanted in (None, "spans"):
        for row, (_, value) in zip(rows, reading.table.rows, strict=True):
            if isinstance(value, Mapping):
                row.given, row.is_missing = list_in(value.get(found.entities)), found.entities not in value
        reading.kind = answers.kind_of_entities(path, rows, names)
        if reading.kind is None and any(row.is_missing for row in rows) and reading.table.missing_is_empty:
            reading.kind = "mentions" if any(not row.is_missing for row in rows) else None
    has_class = bool(found.labels) and wanted in (None, "label", "value") and any(
        not is_null(value.get(name)) and value.get(name) != "" for value in objects for name in found.labels)
    if has_class and _hidden(objects, found.labels):
        reading.notes.append(f"{path}: {found.labels[0]!r} is -1 in every row, as in a test set whose classes are "
                             "hidden: read as unlabelled")
        has_class = False
    if reading.kind and has_class:
        raise UserError(f"{path}: holds mentions in {found.entities!r} and classes in {found.labels[0]!r}; say which "
                        "to read, by --answer spans or --answer label")
    if reading.kind:
        return "spans"
    if has_class:
        _one_class_only(path, found, objects, columns, labelled=labelled)
        return "value" if wanted == "value" or (wanted is None and _are_numbers(objects, found.labels)) else "label"
    if wanted in ("spans", "label", "value") and labelled:
        _refuse_other(reading, columns, wanted, objects)
    used = {found.text, found.tokens, found.pair, found.id, found.group, *found.labels}
    unread = [name for name in dict.fromkeys(name for value in objects[:100] for name in value) if name not in used]
    if unread and labelled:
        names = ", ".join(map(repr, unread[:10]))
        reading.notes.append(f"{path}: no answers are read; the columns {names} are not used")
    return None


def _hidden(objects: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> bool:
    return len(labels) == 1 and len(objects) > 1 and all(value.get(labels[0]) in (-1, "-1") for value in objects)


def _are_numbers(objects: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> bool:
    """Whether a column holds numbers of which some have a fraction: no names of classes."""
    if len(labels) != 1:
        return False
    values = [value[labels[0]] for value in objects if not is_null(value.get(labels[0])) and value[labels[0]] != ""]
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        return False
    return any(math.isfinite(number) and not number.is_integer() for number in numbers)


def _one_class_only(path: str, found: Found, objects: Sequence[Mapping[str, Any]], columns: Columns, *,
                    labelled: bool) -> None:
    """All rows of one class speak against the column, unless it was named."""
    if columns.label_column is not None or len(found.labels) != 1 or not labelled or len(objects) < 4:
        return
    values = {repr(value.get(found.labels[0])) for value in objects}
    if len(values) == 1:
        raise UserError(f"{path}: all {len(objects)} rows have {found.labels[0]!r} = {next(iter(values))[:40]}; where "
                        f"that is the class all the same, say so by --label_column {found.labels[0]}")


def _refuse_other(reading: _Reading, columns: Columns, wanted: str, objects: Sequence[Mapping[str, Any]]) -> None:
    """Refuses a file that has the other answer than the one asked for, naming what reads it."""
    path, found = reading.path, reading.found
    try:
        other = reading.table.found or find_columns(path, objects, Columns(
            text_column=found.text or found.tokens, id_column=columns.id_column), answer=None)
    except UserError:
        return
    if wanted == "spans" and other.labels:
        raise UserError(f"{path}: got classes in {other.labels[0]!r}; wanted mentions. Read the classes by --answer "
                        f"label; {RECIPES['label']} learn them")
    if wanted != "spans" and other.entities:
        missing = "numbers" if wanted == "value" else "classes"
        raise UserError(f"{path}: got mentions in {other.entities!r}; wanted {missing}. {RECIPES['spans']} learn "
                        "mentions; --mention_type TYPE makes classes of them (a text that mentions TYPE, and one that "
                        "does not)")


def _same_answer(readings: Mapping[str, _Reading], answer: str | None, unlabelled: Sequence[str]) -> None:
    """Files of one run have one answer; those that may lack it can."""
    labelled = {split: one for split, one in readings.items() if one.answer is not None}
    kinds = {one.answer for one in labelled.values()}
    if len(kinds) > 1:
        listed = " and ".join(f"{one.path} ({one.answer})" for one in labelled.values())
        raise UserError(f"the files hold different answers: {listed}; say which to read by --answer")


# Answers


def _read_spans(readings: Mapping[str, _Reading], columns: Columns) -> None:
    """Reads tags, and the mentions of all files together, so that they are read in one notation."""
    tagged = [one for one in readings.values() if one.kind == "tags"]
    for one in tagged:
        for row in one.rows:
            answers.set_tags(row, columns.tag_names or one.table.tag_names)
    _read_tags(tagged, columns)
    written = [one for one in readings.values() if one.kind == "mentions"]
    for one in written:
        answers.parse_rows(one.rows, one.found, one.table, columns)
        _types_are_no_texts(one)
    _place(written, columns)
    for one in readings.values():
        for row in one.rows:
            for label in {span.label for span in row.spans or ()}:
                answers.check_name(label, "type", row.findings)


def _read_tags(readings: Sequence[_Reading], columns: Columns) -> None:
    for one in readings:
        # By file: a test file may be in another scheme than train, and each is read to the same mentions.
        rows = [row for row in one.rows if row.tags is not None]
        tags, spelling = canonical_tags([row.tags or [] for row in rows])
        for row, canonical in zip(rows, tags, strict=True):
            row.tags = canonical
        scheme = detect_scheme(tags)
        for row in one.rows:
            answers.read_tags(row, scheme, columns)
        one.how = f"{scheme} tags{f' ({spelling})' if spelling else ''} in {one.found.entities!r}"
        repaired = sum(kind == "repaired_tags" for row in one.rows for kind, _, _ in row.findings)
        if repaired:
            one.notes.append(f"{one.path}: {repaired} illegal tags are read as conlleval and seqeval read them; "
                             "--strict_tags true refuses them")


def _types_are_no_texts(reading: _Reading) -> None:
    """A type that is the mention's own text is a sign of columns or keys read the wrong way round."""
    own = total = 0
    for row in reading.rows:
        for mention in row.mentions:
            if mention.label is not None and mention.start is not None:
                total += 1
                place = mention.text or row.text[mention.start:mention.end]
                own += mention.label == place
    if own >= 2 and 2 * own > total:
        raise UserError(f"{reading.path}: {own} of {total} mentions have their own text as their type; name the column "
                        "or keys of the mentions otherwise, or write rows as data/README.md shows")


def _place(readings: Sequence[_Reading], columns: Columns) -> None:
    """Decides on the notation over all files, and places the mentions by it."""
    groups: dict[tuple[Any, ...], list[_Reading]] = {}
    for one in readings:
        key = (one.table.ends, one.table.offsets, one.found.tokens is not None, one.found.text is not None,
               _usual(one))
        groups.setdefault(key, []).append(one)
    for (ends, unit, has_tokens, has_text, usual), group in groups.items():
        files = {one.path: answers.marked(one.rows) for one in group}
        notation = decide(files, ends=columns.ends or ends, unit=columns.offsets or unit, has_tokens=has_tokens,
                          has_text=has_text, usual=usual)
        for one in group:
            one.notation = notation
            for row in one.rows:
                answers.place_mentions(row, notation or Notation("character", "half-open"), columns)
            one.how = f"mentions {f'by {notation}' if notation else 'as strings'} in {one.found.entities!r}"
            cut = sum(kind == "cuts_word" for row in one.rows for kind, _, _ in row.findings)
            if cut:
                one.notes.append(f"{one.path}: {cut} mentions do not begin and end at words")
            missing = sum(row.is_missing and row.is_read for row in one.rows) if one.table.missing_is_empty else 0
            if missing:
                one.notes.append(f"{one.path}: {missing} rows without {one.found.entities!r} are read as texts without "
                                 "mentions, as this tool writes them")


def _usual(reading: _Reading) -> Notation | None:
    """The notation of the project's own form, `"spans": [{"start", "end", "label"}]`: half-open characters."""
    keys = {key for row in reading.rows for mention in (row.given if isinstance(row.given, list) else ())
            if isinstance(mention, Mapping) for key in mention}
    own = reading.found.entities == "spans" and reading.found.text is not None and keys >= {"start", "end", "label"}
    return Notation("character", "half-open") if own and keys <= {"start", "end", "label", "score"} else None


def _read_classes(reading: _Reading, columns: Columns) -> None:
    found, rows = reading.found, reading.rows
    for row, (_, value) in zip(rows, reading.table.rows, strict=True):
        if isinstance(value, Mapping):
            row.given = value.get(found.labels[0]) if len(found.labels) == 1 else \
                [value.get(name) for name in found.labels]
    named = " and ".join(map(repr, found.labels))
    if reading.answer == "value":
        for row in rows:
            if row.id is not None:
                answers.read_number(row, found.labels[0])
        reading.how = f"a number in {named}"
        return
    several = answers.several_classes(rows, found, columns)
    for row in rows:
        if row.id is not None:
            answers.read_class(row, found, several=several, columns=columns)
    reading.how = f"{'classes' if several else 'class'} in {named}"


def _classes_of_mentions(reading: _Reading, wanted: str, *, labelled: bool) -> None:
    types = sorted({span.label for row in reading.rows for span in row.spans or ()})
    if labelled and wanted not in types:
        raise UserError(f"{reading.path}: no mention of the type {wanted!r}; it has {', '.join(types) or 'none'}; name "
                        "one by --mention_type")
    for row in reading.rows:
        answers.class_of_mentions(row, wanted)
    reading.how += f"; classes: {wanted} where it is mentioned, else {answers.NO_MENTION_CLASS}"
    reading.answer = "label"


def _corpus(reading: _Reading) -> Corpus:
    path, table, found = reading.path, reading.table, reading.found
    examples, faults = [], []
    for (number, _), row in zip(table.rows, reading.rows, strict=True):
        # Odd characters spoil one word of many in a class's text, but offsets in a mention's.
        row.findings += _damage(row.text, labelled=reading.kind is not None)
        if row.pair:
            row.findings += _damage(row.pair, labelled=False)
        if row.id is not None and not row.text.strip() and all(kind in WARNINGS for kind, _, _ in row.findings):
            row.findings.append(("empty_text", "the text is empty", None))
        faults += [Fault(path, number, row.id, *finding, table.unit) for finding in row.findings]
        if row.id is not None and all(kind in WARNINGS for kind, _, _ in row.findings):
            row.spans = list(row.spans or ()) if reading.kind is not None else None
            examples.append(row.example())
    text = found.text or found.tokens
    layout = f"{table.layout}, {'text' if found.text else 'tokens'} in {text!r}"
    layout += f" and {found.pair!r}" if found.pair else ""
    layout += f", {reading.how}" + (f", ids in {found.id!r}" if found.id else "")
    notation = reading.notation
    return Corpus(path, layout, examples, faults, len(reading.rows), reading.answer,
                  found if table.found is None else None, notation.ends if notation else None,
                  notation.unit if notation else None, tuple(reading.notes))


def _damage(text: str, *, labelled: bool) -> list[tuple[str, str, str | None]]:
    """Damaged characters; only a warning in an unlabelled file, because each of its rows has to be answered."""
    prefix = "" if labelled else "unlabelled_"
    return [(prefix + kind, message, repair) for kind, message, repair in find_damage(text)]
