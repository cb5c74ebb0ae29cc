"""A row's cells -> the answer that is asked for: spans, one class, several classes, or a number."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.corpora.columns import is_null, list_in, whole
from pipelines.corpora.corpus import Columns, Found, Table
from pipelines.corpora.mentions import BadEntity, Mention, parse_mentions, with_token_ranges
from pipelines.corpora.notation import Finding, Marked, Notation, to_spans
from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.spans import Offsets, illegal_tags, looks_like_tag, tags_to_spans, whitespace_tokens

NO_MENTION_CLASS = "none"  # the class of a text without a mention of the type that makes the class


@dataclass(slots=True)
class Row:
    """One row on its way to an example.

    Attributes:
        is_read: whether its text is there, so that its answer can be looked at.
        words: its tokens as strings; ``tokens`` are their offsets, ``None`` where they do not spell the text.
        given: the cell (or cells) with the answer.
        findings: what is wrong with it.
    """

    id: str | None
    is_read: bool = False
    text: str = ""
    pair: str | None = None
    group: str | None = None
    words: list[str] | None = None
    tokens: Offsets | None = None
    given: Any = None
    is_missing: bool = False
    tags: list[str] | None = None
    mentions: list[Mention] = field(default_factory=list)
    spans: list[Span] | None = None
    label: str | tuple[str, ...] | float | None = None
    findings: list[Finding] = field(default_factory=list)

    def example(self) -> Example:
        text = _HALF_PAIR.sub("\ufffd", self.text)
        return Example(self.id or "", text, None if self.spans is None else tuple(self.spans), self.label,
                       None if self.tokens is None else tuple(self.tokens), self.pair, self.group)


_HALF_PAIR = re.compile("[\ud800-\udfff]")  # no tokenizer and no file takes half a surrogate pair


# Spans


def kind_of_entities(path: str, rows: Sequence[Row], names: Sequence[str] | None) -> str | None:
    """``tags``, ``mentions``, or ``None`` for a file in which nothing is labelled.

    Raises:
        UserError: for numeric tags without names.
    """
    given = [row.given for row in rows if not is_null(row.given)]
    flat = [value.split() if isinstance(value, str) else value for value in given if isinstance(value, str | list)]
    flat = [value for value in flat if value]
    if not given:
        return None
    if not flat or len(flat) * 2 < len([value for value in given if value]):
        return "mentions"
    numeric = [value for value in flat if all(_number(x, names) is not None for x in value)]
    if 2 * len(numeric) > len(flat):
        numbers = sorted({number for value in numeric for x in value if (number := whole(x)) is not None})
        if numbers and numbers[-1] < 0:
            return None  # the hidden tags of a test set, -1 or -100
        if names is None:
            raise UserError(f"{path}: numeric tags {', '.join(map(str, numbers[:12]))} without names; name them in "
                            "order, by --tag_names O,B-Disease,I-Disease")
        return "tags"
    strings = [value for value in flat if all(isinstance(x, str) for x in value)]
    if 2 * len(strings) < len(flat):
        return "mentions"
    if 2 * sum(all(map(looks_like_tag, value)) for value in strings) > len(strings):
        return "tags"
    one_each = [row for row in rows if isinstance(row.given, list) and row.words and len(row.given) == len(row.words)]
    has_outside = any("O" in value or "o" in value for value in strings)
    return "tags" if 2 * len(one_each) > len(strings) and has_outside else "mentions"


def set_tags(row: Row, names: Sequence[str] | None) -> None:
    """Sets the tags of a row as strings, or says why it has none that fit its tokens."""
    row.tags, findings = _tags(row, names)
    row.findings += findings


def _tags(row: Row, names: Sequence[str] | None) -> tuple[list[str] | None, list[Finding]]:
    """The tags of a row as strings; ``None`` with the reason where it has none that fit its tokens."""
    given = row.given.split() if isinstance(row.given, str) else row.given
    unspelled = row.words is not None and row.tokens is None
    if row.tokens is None:
        row.tokens = whitespace_tokens(row.text)
    if not row.is_read:
        return None, []
    if is_null(given):
        return None, [("missing_value", "no tags, though other rows have them", None)]
    if not isinstance(given, list):
        return None, [("wrong_type", f"the tags are a {type_name(given)}; wanted a list", None)]
    if len(given) != len(row.tokens):
        if unspelled and len(given) == len(row.words or ()):
            return None, [_unspelled(row)]
        return None, [("length_mismatch", f"{len(row.tokens)} tokens but {len(given)} tags", None)]
    tags: list[str] = []
    for position, tag in enumerate(given):
        number = _number(tag, names)
        if number is not None and names is not None:
            if not 0 <= number < len(names):
                message = f"tag {str(tag)[:20]} at token {position}; the names go from 0 to {len(names) - 1}"
                return None, [("unknown_tag", message, None)]
            tags.append(names[number])
        elif isinstance(tag, str):
            tags.append(tag)
        else:
            return None, [("wrong_type", f"the tag at token {position} is {tag!r}; wanted a string", None)]
    return tags, []


def _number(tag: Any, names: Sequence[str] | None) -> int | None:
    """A numeric tag; strings of digits are some where tags have names."""
    if isinstance(tag, str) and names is not None and tag.isdecimal() and tag not in names:
        return int(tag) if len(tag) < 10 else 10**9
    return whole(tag)


def _unspelled(row: Row) -> Finding:
    message = f"its tokens do not spell its text {row.text[:60]!r}"
    return "length_mismatch", message, "fix them, or read the tokens alone by --text_column NAME"


def _retagged(tags: Sequence[str], position: int, scheme: str) -> str | None:
    """The one tag that makes an illegal opening legal, where it is that simple."""
    if position == len(tags) or tags[position][:2] not in ("I-", "B-", "I", "B"):
        return None
    wanted = {"BIO": "B", "IOB1": "I"}.get(scheme)
    return None if wanted is None else f"write {wanted}{tags[position][1:]} there"


def read_tags(row: Row, scheme: str, columns: Columns) -> None:
    """Sets the spans of a row with tags; an illegal tag is read as conlleval reads it, with a warning."""
    if row.tags is None:
        return
    for position, reason in illegal_tags(row.tags, scheme=scheme):
        unknown = position < len(row.tags) and not looks_like_tag(row.tags[position])
        kind = "unknown_tag" if unknown else "illegal_tags" if columns.strict_tags else "repaired_tags"
        message = f"{reason}, at token {position} ({scheme})"
        if kind == "repaired_tags" and position < len(row.tags) and row.tags[position] != "O":
            message += ", read as a mention that opens there"
        row.findings.append((kind, message, _retagged(row.tags, position, scheme)))
    spans = tags_to_spans(row.tags, row.tokens or (), scheme=scheme)
    row.spans = [Span(span.start, span.end, span.label or columns.default_type) for span in spans]
    row.findings += [("empty_span", f"a tag on the blank token at {span.start}:{span.end}", "tag it O")
                     for span in row.spans if not row.text[span.start:span.end].strip()]


def parse_rows(rows: Sequence[Row], found: Found, table: Table, columns: Columns) -> None:
    """Sets the mentions of rows, as they are written."""
    names = columns.tag_names or table.tag_names or table.type_names
    bare = all(isinstance(row.given, str) or is_null(row.given) for row in rows)
    givens = [row.given for row in rows]
    if found.tokens is not None:
        givens = with_token_ranges(givens)
    for row, given in zip(rows, givens, strict=True):
        if not row.is_read:
            continue
        empty = bare or (table.missing_is_empty and row.is_missing)
        if is_null(given) and not empty:
            message = "no mentions given, though other rows have them"
            row.findings.append(("missing_value", message, "write [] if it has none"))
        for mention in parse_mentions(given, row.text):
            if isinstance(mention, BadEntity):
                row.findings.append(mention.args)  # type: ignore[arg-type]
            else:
                row.mentions.append(_named(mention, names, row.findings))
    # "entity": "Disease" is a type, also in a row in whose text that word stands.
    types = {mention.label for row in rows for mention in row.mentions} - {None}
    for row in rows:
        row.mentions = [_typed(mention, types) for mention in row.mentions]


def _typed(mention: Mention, types: set[str | None]) -> Mention:
    if mention.start is not None and mention.label is None and mention.text in types:
        return replace(mention, text=None, label=mention.text)
    return mention


def _named(mention: Mention, names: Sequence[str] | None, findings: list[Finding]) -> Mention:
    """A mention whose numeric type has its name, where types have names."""
    if names is None or mention.label is None or mention.label in names or not mention.label.isdecimal():
        return mention
    number = int(mention.label) if len(mention.label) < 10 else len(names)
    if number < len(names):
        return replace(mention, label=names[number])
    findings.append(("unknown_tag", f"type {mention.label[:20]}; the names go from 0 to {len(names) - 1}", None))
    return mention


def marked(rows: Sequence[Row]) -> list[Marked]:
    """The rows whose offsets can be looked at: those in which tokens do not spell the text cannot."""
    kept = [row for row in rows if row.words is None or row.tokens is not None]
    return [Marked(row.text, _tokens_of(row), row.mentions) for row in kept]


def _tokens_of(row: Row) -> Offsets | None:
    """Tokens are cut at blanks where only keys such as `start_token` say that there are some."""
    if row.tokens is not None or not any(mention.by_token for mention in row.mentions):
        return row.tokens
    return whitespace_tokens(row.text)


def place_mentions(row: Row, notation: Notation, columns: Columns) -> None:
    """Sets the spans of a row from its mentions, and says what is wrong with them."""
    unspelled = row.words is not None and row.tokens is None
    if unspelled and notation.unit == "token" and any(mention.start is not None for mention in row.mentions):
        row.findings.append(_unspelled(row))
        return
    row.spans, findings = to_spans(row.mentions, row.text, _tokens_of(row), notation, label=columns.default_type)
    row.findings += findings


# Classes and numbers


def several_classes(rows: Sequence[Row], found: Found, columns: Columns) -> bool:
    """Whether a text may have several classes: columns of 0 and 1, a separator, or lists."""
    return len(found.labels) > 1 or columns.label_separator is not None or any(
        isinstance(list_in(row.given), list) for row in rows)


def read_class(row: Row, found: Found, *, several: bool, columns: Columns) -> None:
    """Sets the class (a tuple of classes where a text may have several) of a row."""
    if len(found.labels) > 1:
        cells = dict(zip(found.labels, row.given, strict=True))
        wrong = [f"{name}={value!r:.20}" for name, value in cells.items() if _bit(value) is None]
        if wrong:
            message = f"got {', '.join(wrong)}; wanted 0 or 1 in the column of each class"
            row.findings.append(("wrong_type", message, None))
        row.label = tuple(name for name, value in cells.items() if _bit(value))
        return
    name, value = found.labels[0], list_in(row.given)
    if is_null(value) or (value == "" and columns.label_separator is None):
        row.findings.append(("missing_value", f"no class in {name!r}, though other rows have one", None))
        return
    parts = value if isinstance(value, list) else [value]
    if any(is_null(part) or isinstance(part, list | dict | bool) for part in parts):
        message = f"{name!r} holds {_shown(value)}; wanted a class, or a list of classes"
        row.findings.append(("wrong_type", message, None))
        return
    if not several:
        row.label = class_name(value)
    else:
        split = parts if isinstance(value, list) else class_name(value).split(columns.label_separator)
        row.label = tuple(sorted({class_name(part) for part in split if class_name(part)}))
    for one in [row.label] if isinstance(row.label, str) else row.label:
        check_name(one, "class", row.findings)


def read_number(row: Row, name: str) -> None:
    """Sets the number of a row."""
    if is_null(row.given) or row.given == "":
        row.findings.append(("missing_value", f"no number in {name!r}, though other rows have one", None))
        return
    try:
        number = float(row.given) if not isinstance(row.given, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        row.findings.append(("wrong_type", f"{name!r} holds {_shown(row.given)}; wanted a number", None))
        return
    row.label = number


def class_of_mentions(row: Row, wanted: str) -> None:
    """Sets the class of a text by whether it has a mention of a type."""
    has = any(span.label == wanted for span in row.spans or ())
    row.label = None if row.spans is None else wanted if has else NO_MENTION_CLASS


def check_name(name: str, what: str, findings: list[Finding]) -> None:
    """Refuses names of classes and types that hold control characters or half a surrogate pair."""
    if any(ord(character) < 32 or 0x7f <= ord(character) < 0xa0 or "\ud800" <= character <= "\udfff"
           for character in name):
        findings.append(("control_character", f"the {what} {name!r} holds a control character", None))


def class_name(value: Any) -> str:
    """A class or id as a string: a spreadsheet's ``1.0`` is ``1``."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()


def _bit(value: Any) -> bool | None:
    text = str(value).removesuffix(".0") if isinstance(value, str | int | float) else ""
    return {"0": False, "1": True}.get(text)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list of lists or objects"
    return f"{value!r:.40}"


def type_name(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "true/false", int: "number", float: "number"}
    return names.get(type(value), "null" if value is None else type(value).__name__)
