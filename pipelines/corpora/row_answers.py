"""The answer of one row: spans from tags or mentions, one class, several classes, or a number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from pipelines.corpora.column_profiles import is_empty, is_null, list_in, whole_number
from pipelines.corpora.corpus import ColumnNames, Columns, Table
from pipelines.corpora.mentions import BadMention, RawMention, parse_mentions, with_token_ranges
from pipelines.corpora.notation import MarkedText, Notation
from pipelines.corpora.rows import Row, class_name, type_name
from pipelines.corpora.span_placement import to_spans
from pipelines.errors import UserError
from pipelines.examples import Span
from pipelines.formatting import some
from pipelines.spans import Offsets, illegal_tags, looks_like_tag, tags_to_spans, whitespace_tokens

NO_MENTION_CLASS = "none"  # the class of a text without a mention of the type that makes the class
_BITS = {"0": False, "1": True, "0.0": False, "1.0": True}


def kind_of_entities(path: str, rows: Sequence[Row], names: Sequence[str] | None) -> str | None:
    """`tags`, `mentions`, or `None` for a file in which nothing is labelled.

    Raises:
        UserError: for numeric tags without names.
    """
    cells = [row.cell for row in rows if not is_null(row.cell)]
    if not cells:
        return None
    lists = [cell.split() if isinstance(cell, str) else cell for cell in cells]
    lists = [cell for cell in lists if isinstance(cell, list) and cell]
    if not lists or 2 * len(lists) < sum(map(bool, cells)):
        return "mentions"
    numeric = [cell for cell in lists if all(_tag_number(x, names) is not None for x in cell)]
    if 2 * len(numeric) > len(lists):
        return _kind_of_numbers(path, numeric, names)
    strings = [cell for cell in lists if all(isinstance(x, str) for x in cell)]
    if 2 * len(strings) < len(lists):
        return "mentions"
    if 2 * sum(all(map(looks_like_tag, cell)) for cell in strings) > len(strings):
        return "tags"
    # Bare types: a string for each token, `O` among them.
    n_one_each = sum(_has_one_each(row) for row in rows)
    has_outside = any("O" in cell or "o" in cell for cell in strings)
    return "tags" if has_outside and 2 * n_one_each > len(strings) else "mentions"


def _has_one_each(row: Row) -> bool:
    """Whether a row lists as many values as it has tokens."""
    if not isinstance(row.cell, list) or not row.words:
        return False
    return len(row.cell) == len(row.words)


def _kind_of_numbers(
    path: str, cells: Sequence[Sequence[object]], names: Sequence[str] | None
) -> str | None:
    whole = {whole_number(x) for cell in cells for x in cell}
    numbers = sorted(number for number in whole if number is not None)
    if numbers and numbers[-1] < 0:
        return None  # the hidden tags of a test set, -1 or -100
    if names is None:
        raise UserError(
            f"{path}: numeric tags {some(numbers, 12)} without names; name them in order, by "
            "--tag_names O,B-Disease,I-Disease"
        )
    return "tags"


# Tags


def set_tags(row: Row, names: Sequence[str] | None) -> None:
    """Sets the tags of a row as strings, or reports why it has none that fit its tokens."""
    cell = row.cell.split() if isinstance(row.cell, str) else row.cell
    was_misspelled = row.is_misspelled
    if row.tokens is None:
        row.tokens = whitespace_tokens(row.text)
    if not row.has_text:
        return
    if is_null(cell):
        row.report("missing_value", "no tags, though other rows have them")
    elif not isinstance(cell, list):
        row.report("wrong_type", f"the tags are a {type_name(cell)}; wanted a list")
    elif len(cell) == len(row.tokens):
        row.tags = _tag_strings(row, cell, names)
    elif was_misspelled and len(cell) == len(row.words or ()):
        _report_misspelled(row)
    else:
        row.report("length_mismatch", f"{len(row.tokens)} tokens but {len(cell)} tags")


def _tag_strings(row: Row, cell: Sequence[object], names: Sequence[str] | None) -> list[str] | None:
    tags: list[str] = []
    for position, tag in enumerate(cell):
        number = None if names is None else _tag_number(tag, names)
        if number is not None and names is not None:
            if not 0 <= number < len(names):
                what = f"tag {str(tag)[:20]} at token {position}"
                row.report("unknown_tag", f"{what}; the names go from 0 to {len(names) - 1}")
                return None
            tag = names[number]
        elif not isinstance(tag, str):
            message = f"the tag at token {position} is {tag!r}; wanted a string"
            row.report("wrong_type", message)
            return None
        tags.append(tag)
    return tags


def _tag_number(tag: object, names: Sequence[str] | None) -> int | None:
    """A numeric tag; digits in a string are one where tags have names."""
    if isinstance(tag, str) and names is not None and tag.isdecimal() and tag not in names:
        return int(tag) if len(tag) < 10 else 10**9
    return whole_number(tag)


def _report_misspelled(row: Row) -> None:
    repair = "fix them, or read the tokens alone by --text_column NAME"
    row.report("length_mismatch", f"its tokens do not spell its text {row.text[:60]!r}", repair)


def read_tags(row: Row, scheme: str, columns: Columns) -> None:
    """Sets the spans of a row with tags; illegal tags are read as conlleval reads them."""
    if row.tags is None:
        return
    for position, reason in illegal_tags(row.tags, scheme=scheme):
        tag = row.tags[position] if position < len(row.tags) else None
        message = f"{reason}, at token {position} ({scheme})"
        if tag is not None and not looks_like_tag(tag):
            kind = "unknown_tag"
        elif columns.strict_tags:
            kind = "illegal_tags"
        else:
            kind = "repaired_tags"
            if tag not in (None, "O"):
                message += ", read as a mention that opens there"
        row.report(kind, message, _legal_tag(tag, scheme))
    spans = tags_to_spans(row.tags, row.tokens or (), scheme=scheme)
    row.spans = [Span(span.start, span.end, span.label or columns.default_type) for span in spans]
    for span in row.spans:
        if not row.text[span.start : span.end].strip():
            message = f"a tag on the blank token at {span.start}:{span.end}"
            row.report("empty_span", message, "tag it O")


def _legal_tag(tag: str | None, scheme: str) -> str | None:
    """The one tag that makes an illegal opening legal, if it is that simple."""
    prefix = {"BIO": "B", "IOB1": "I"}.get(scheme)
    if tag is None or prefix is None or tag[:2] not in ("I-", "B-", "I", "B"):
        return None
    return f"write {prefix}{tag[1:]} there"


# Mentions


def parse_rows(rows: Sequence[Row], names: ColumnNames, table: Table, columns: Columns) -> None:
    """Sets the mentions of rows, as they are written."""
    type_names = columns.tag_names or table.tag_names or table.type_names
    # Where mentions are bare strings, an empty cell is a text without one.
    are_bare = all(isinstance(row.cell, str) or is_null(row.cell) for row in rows)
    cells = [row.cell for row in rows]
    if names.tokens is not None:
        cells = with_token_ranges(cells)
    for row, cell in zip(rows, cells, strict=True):
        if not row.has_text:
            continue
        may_be_empty = are_bare or (table.missing_is_empty and row.is_missing)
        if is_null(cell) and not may_be_empty:
            message = "no mentions given, though other rows have them"
            row.report("missing_value", message, "write [] if it has none")
        for mention in parse_mentions(cell, row.text):
            if isinstance(mention, BadMention):
                row.report(*mention.finding)
            else:
                row.mentions.append(_with_type_name(row, mention, type_names))
    # "entity": "Disease" is a type, also in a row whose text has that word.
    types = {mention.label for row in rows for mention in row.mentions} - {None}
    for row in rows:
        row.mentions = [_with_type(mention, types) for mention in row.mentions]


def _with_type(mention: RawMention, types: set[str | None]) -> RawMention:
    if mention.start is not None and mention.label is None and mention.text in types:
        return replace(mention, text=None, label=mention.text)
    return mention


def _with_type_name(row: Row, mention: RawMention, names: Sequence[str] | None) -> RawMention:
    """The mention; a numeric type becomes its name, where types have names."""
    label = mention.label
    if names is None or label is None or label in names or not label.isdecimal():
        return mention
    number = int(label) if len(label) < 10 else len(names)
    if number < len(names):
        return replace(mention, label=names[number])
    row.report("unknown_tag", f"type {label[:20]}; the names go from 0 to {len(names) - 1}")
    return mention


def marked_texts(rows: Sequence[Row]) -> list[MarkedText]:
    """The rows whose offsets can be checked: not those whose tokens do not spell the text."""
    return [
        MarkedText(row.text, _tokens_of(row), row.mentions) for row in rows if not row.is_misspelled
    ]


def _tokens_of(row: Row) -> Offsets | None:
    """The tokens of a row; blanks separate them where only keys such as `start_token` name them."""
    if row.tokens is not None or not any(mention.by_token for mention in row.mentions):
        return row.tokens
    return whitespace_tokens(row.text)


def set_spans(row: Row, notation: Notation, columns: Columns) -> None:
    """Sets the spans of a row from its mentions, and reports what is wrong with them."""
    has_offsets = any(mention.start is not None for mention in row.mentions)
    if row.is_misspelled and notation.unit == "token" and has_offsets:
        _report_misspelled(row)
        return
    row.spans, findings = to_spans(
        row.mentions,
        row.text,
        _tokens_of(row),
        notation,
        label=columns.default_type,
        nested=columns.nested,
    )
    row.findings += findings


# Classes and numbers


def may_have_several(rows: Sequence[Row], names: ColumnNames, columns: Columns) -> bool:
    """Whether a text may have several classes: columns of 0 and 1, a separator, or lists."""
    if len(names.labels) > 1 or columns.label_separator is not None:
        return True
    return any(isinstance(list_in(row.cell), list) for row in rows)


def read_class(row: Row, names: ColumnNames, *, is_multi_label: bool, columns: Columns) -> None:
    """Sets the class of a row, or the tuple of its classes where a text may have several."""
    if len(names.labels) > 1:
        _read_binary_columns(row, names)
        return
    name, value = names.labels[0], list_in(row.cell)
    if is_null(value) or (value == "" and columns.label_separator is None):
        row.report("missing_value", f"no class in {name!r}, though other rows have one")
        return
    parts = value if isinstance(value, list) else [value]
    if any(is_null(part) or isinstance(part, list | dict | bool) for part in parts):
        message = f"{name!r} holds {_shown(value)}; wanted a class, or a list of classes"
        row.report("wrong_type", message)
        return
    if is_multi_label:
        if not isinstance(value, list):
            parts = class_name(value).split(columns.label_separator)
        row.label = tuple(sorted({class_name(part) for part in parts} - {""}))
    else:
        row.label = class_name(value)
    for label in [row.label] if isinstance(row.label, str) else row.label:
        check_name(row, label, "class")


def _read_binary_columns(row: Row, names: ColumnNames) -> None:
    cells = dict(zip(names.labels, row.cell, strict=True))
    bits = {name: _BITS.get(str(value)) for name, value in cells.items()}
    wrong = [f"{name}={cells[name]!r:.20}" for name, bit in bits.items() if bit is None]
    if wrong:
        row.report("wrong_type", f"got {some(wrong)}; wanted 0 or 1 in the column of each class")
    row.label = tuple(name for name, bit in bits.items() if bit)


def read_number(row: Row, name: str) -> None:
    """Sets the number of a row."""
    if is_empty(row.cell):
        row.report("missing_value", f"no number in {name!r}, though other rows have one")
        return
    try:
        number = float(row.cell) if not isinstance(row.cell, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if math.isfinite(number):
        row.label = number
    else:
        row.report("wrong_type", f"{name!r} holds {_shown(row.cell)}; wanted a number")


def set_class_of_mentions(row: Row, label: str) -> None:
    """Sets the class of a text: the type, where it has a mention of it."""
    if row.spans is not None:
        has_type = any(span.label == label for span in row.spans)
        row.label = label if has_type else NO_MENTION_CLASS


def check_name(row: Row, name: str, what: str) -> None:
    """Reports a class or type with control characters or half a surrogate pair in its name."""
    if any(
        character < " " or "\x7f" <= character < "\xa0" or "\ud800" <= character <= "\udfff"
        for character in name
    ):
        row.report("control_character", f"the {what} {name!r} holds a control character")


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list of lists or objects"
    return f"{value!r:.40}"
