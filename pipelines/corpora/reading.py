"""Files -> corpora: the one way from any layout and for any answer, for all files of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.corpora.answers import (
    RECIPES,
    Reading,
    answer_of,
    read_classes,
    read_mentions_as_classes,
    read_spans,
)
from pipelines.corpora.columns import find_columns, repeated_ids
from pipelines.corpora.corpus import (
    ANSWERS,
    WARNINGS,
    ColumnNames,
    Columns,
    Corpus,
    Fault,
    Finding,
    Table,
    Unreadable,
)
from pipelines.corpora.images.sources import holds_pictures
from pipelines.corpora.layouts import read_table
from pipelines.corpora.mojibake import find_mojibake
from pipelines.corpora.notation import ENDS, UNITS
from pipelines.corpora.rows import Row, mark_duplicate_ids, mark_widths, read_row, set_text
from pipelines.corpora.source import Source
from pipelines.errors import UserError


def read_corpora(
    files: Mapping[str, str | Path | Source],
    *,
    columns: Columns | None = None,
    answer: str | None = None,
    unlabelled: Sequence[str] = ("test",),
    like: ColumnNames | None = None,
    alike: bool = True,
) -> dict[str, Corpus]:
    """Reads the files of one run: in one notation and with the same columns for all.

    Args:
        files: split -> a file, gzipped or not; a folder; `-` for standard input; `owner/name` of
            the Hub, with `:split` if it has several. The first is read first, and the others like
            it.
        columns: what the user named; `columns.answer` decides where `answer` is `None`.
        answer: what is asked for, `spans`, `label` or `value`; `text` ignores the answers; `None`
            takes the one that a file has.
        unlabelled: splits that may lack the answers.
        like: columns of a file that was read before, which are taken where these have them too.
        alike: whether the files have the columns of the first.

    Returns:
        Split -> its good rows as examples, and a fault for everything wrong with the others.

    Raises:
        UserError: when a file as a whole cannot be read, or can be read in two ways: naming both,
            and the option that decides.
    """
    columns = columns or Columns()
    answer = _checked_answer(columns, answer)
    readings: dict[str, Reading] = {}
    pictures: dict[str, Corpus] = {}
    for split, file in files.items():
        if isinstance(file, Source):
            source = file
        else:
            labelled = split not in unlabelled
            source = Source(file, max_unzipped=columns.max_unzipped, labelled=labelled)
        if holds_pictures(source, columns):
            from pipelines.corpora.images.reading import read_image_corpus  # Pillow takes its time

            pictures[split] = read_image_corpus(source, columns=columns, answer=answer)
            continue
        reading = readings[split] = _opened(source, columns, answer, like=like)
        if alike and like is None and reading.table.column_names is None:
            like = reading.names
    _refuse_different_answers(list(readings.values()))
    mark_widths([reading.rows for reading in readings.values()])
    read_spans([one for one in readings.values() if one.answer == "spans"], columns)
    for reading in readings.values():
        if reading.answer in ("label", "value"):
            read_classes(reading, columns)
        elif reading.answer == "spans" and answer == "label" and columns.mention_type is not None:
            read_mentions_as_classes(reading, columns.mention_type)
    texts = {split: _corpus(reading) for split, reading in readings.items()}
    return {split: (pictures | texts)[split] for split in files}


def read_corpus(
    source: str | Path | Source,
    *,
    columns: Columns | None = None,
    answer: str | None = None,
    labelled: bool = True,
    like: ColumnNames | None = None,
) -> Corpus:
    """Reads one file by itself; see `read_corpora`."""
    unlabelled = () if labelled else ("file",)
    corpora = read_corpora(
        {"file": source}, columns=columns, answer=answer, like=like, unlabelled=unlabelled
    )
    return corpora["file"]


def corpus_of_texts(path: str, table: Table, names: ColumnNames, *, first_row: int = 0) -> Corpus:
    """Reads the texts of rows whose columns are known, as `read_corpus(…, answer="text")` does.

    Args:
        path: of the file, for messages.
        table: rows of the file, or of a part of it.
        first_row: number of rows before them, from which rows without an id are counted.
    """
    rows = [
        read_row(number, value, names)
        for number, (_, value) in enumerate(table.rows, start=first_row)
    ]
    mark_duplicate_ids(rows, table)
    set_text(rows, names)
    return _corpus(Reading(path, table, names, rows, False))


def _checked_answer(columns: Columns, answer: str | None) -> str | None:
    """The answer that is asked for.

    Raises:
        UserError: for options with unknown values, or two answers asked for.
    """
    for name, value, known in (
        ("answer", columns.answer, ANSWERS),
        ("ends", columns.ends, ENDS),
        ("offsets", columns.offsets, UNITS),
    ):
        if value is not None and value not in known:
            raise UserError(f"got --{name} {value}; wanted one of {', '.join(known)}")
    if answer in ANSWERS and columns.answer not in (None, answer):
        hint = f"; use {RECIPES[columns.answer]}" if columns.answer in RECIPES else ""
        raise UserError(f"got --answer {columns.answer}, where {answer} is read{hint}")
    return answer or columns.answer


def _opened(
    source: Source, columns: Columns, answer: str | None, *, like: ColumnNames | None
) -> Reading:
    """Reads the rows of a file, finds its columns, and which answer it has."""
    table = read_table(source, columns)
    n_before = source.first_line if table.unit == "line" else source.first_row
    if n_before:
        table.rows = [(number + n_before, value) for number, value in table.rows]
    if not table.objects:
        raise UserError(f"{source.path}: {_no_rows(table)}")
    asked = "spans" if answer == "label" and columns.mention_type is not None else answer
    names = table.column_names
    if names is None:
        names = find_columns(
            source.path, table.objects, columns, answer=asked, labelled=source.labelled, like=like
        )
    else:
        id_column, group = columns.id_column or names.id, columns.group_column or names.group
        names = replace(names, id=id_column, group=group)
    rows = [
        read_row(number, value, names)
        for number, (_, value) in enumerate(table.rows, start=source.first_row)
    ]
    reading = Reading(source.path, table, names, rows, source.labelled, notes=[*table.notes])
    if names.id is None and (repeated := repeated_ids(table.objects, names)):
        reading.notes.append(
            f"the values of {repeated!r} repeat, so that rows have their numbers as ids; "
            f"--id_column {repeated} reads them as ids all the same"
        )
    mark_duplicate_ids(rows, table)
    set_text(rows, names)
    reading.answer = answer_of(reading, columns, asked)
    return reading


def _no_rows(table: Table) -> str:
    """What is wrong with a table without a readable row."""
    reason = "no row is an object"
    if not table.rows and table.notes:
        reason = "; ".join(table.notes)
    for number, value in table.rows:
        if isinstance(value, Unreadable):
            reason = f"{table.unit} {number}: {value.reason}"
            break
    return (
        f"not one readable row in {table.layout} ({reason}); wanted rows such as "
        '{"id": "1", "text": "…", "entities": […]}'
    )


def _refuse_different_answers(readings: Sequence[Reading]) -> None:
    labelled = [reading for reading in readings if reading.answer is not None]
    if len({reading.answer for reading in labelled}) > 1:
        answers = " and ".join(f"{reading.path} ({reading.answer})" for reading in labelled)
        raise UserError(
            f"the files hold different answers: {answers}; say which to read by --answer"
        )


def _corpus(reading: Reading) -> Corpus:
    table, names, notation = reading.table, reading.names, reading.notation
    examples, faults = [], []
    for (number, _), row in zip(table.rows, reading.rows, strict=True):
        _check_text(row, has_spans=reading.kind is not None)
        faults += [Fault(reading.path, number, row.id, *one, table.unit) for one in row.findings]
        if _is_good(row):
            row.spans = list(row.spans or ()) if reading.kind is not None else None
            examples.append(row.example())
    what, name = ("text", names.text) if names.text else ("tokens", names.tokens)
    if names.features:
        what, name = "sequences", names.features
    layout = f"{table.layout}, {what} in {name!r}"
    layout += f" and {names.pair!r}" if names.pair else ""
    layout += f", {reading.how}" + (f", ids in {names.id!r}" if names.id else "")
    return Corpus(
        reading.path,
        layout,
        examples,
        faults,
        len(reading.rows),
        reading.answer,
        names if table.column_names is None else None,
        notation.ends if notation else None,
        notation.unit if notation else None,
        tuple(f"{reading.path}: {note}" for note in reading.notes),
    )


def _check_text(row: Row, *, has_spans: bool) -> None:
    """Reports odd characters, which move the offsets of mentions, and an empty text."""
    if row.features is not None:
        return
    row.findings += _mojibake(row.text, is_warning=not has_spans)
    if row.pair:
        row.findings += _mojibake(row.pair, is_warning=True)
    if not row.text.strip() and _is_good(row):
        row.report("empty_text", "the text is empty")


def _is_good(row: Row) -> bool:
    return row.id is not None and all(kind in WARNINGS for kind, _, _ in row.findings)


def _mojibake(text: str, *, is_warning: bool) -> list[Finding]:
    """Only a warning without spans: an unlabelled row has to be answered all the same."""
    prefix = "unlabelled_" if is_warning else ""
    return [(prefix + kind, message, repair) for kind, message, repair in find_mojibake(text)]
