"""Rows of a table -> examples and faults, whatever container they came in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.corpora.columns import Found, find_columns, is_null, list_in, whole
from pipelines.corpora.corpus import WARNINGS, Columns, Corpus, Fault, Table, Unreadable
from pipelines.corpora.damage import find_damage
from pipelines.corpora.mentions import (
    BadEntity,
    Finding,
    Mention,
    detect_notation,
    parse_mentions,
    to_spans,
    with_token_ranges,
)
from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.spans import (
    Offsets,
    detect_scheme,
    illegal_tags,
    join_tokens,
    looks_like_tag,
    tags_to_spans,
    whitespace_tokens,
)

_HALF_PAIR = re.compile("[\ud800-\udfff]")  # no tokenizer and no file takes half a surrogate pair


@dataclass(slots=True)
class _Row:
    """One row on its way to an example."""

    id: str | None
    is_read: bool = False  # whether its text is there, so that its mentions can be looked at
    text: str = ""
    words: list[str] | None = None
    tokens: Offsets | None = None
    given: Any = None  # the value of its entities column
    mentions: list[Mention] = field(default_factory=list)
    spans: list[Span] | None = None
    findings: list[Finding] = field(default_factory=list)


def examples_from(path: str, table: Table, columns: Columns, *, labelled: bool = True) -> Corpus:
    """Reads a table's rows as examples.

    Args:
        path: named in messages.
        table: the rows of one file.
        columns: what the user named.
        labelled: whether a named column of mentions has to be there.

    Raises:
        UserError: when the rows as a whole cannot be understood: no objects, no text column, a named column that is not
            there, numeric tags without names.
    """
    values = [_flattened(value) for _, value in table.rows]
    objects = [value for value in values if isinstance(value, Mapping)]
    if not objects:
        reason = next((value.reason for value in values if isinstance(value, Unreadable)), "no row is an object")
        raise UserError(f"{path}: not one readable row in {table.layout} ({reason}); wanted rows such as "
                        '{"id": "1", "text": "…", "entities": […]}')
    found = find_columns(path, objects, columns, labelled=labelled)
    rows = [_read_row(ordinal, value, found) for ordinal, value in enumerate(values)]
    _mark_doubled_ids(rows, table)
    _set_text(rows, found)
    names = columns.tag_names or table.tag_names
    kind = _kind_of_entities(path, rows, names)
    if kind == "tags":
        notation = f"{_read_tags(rows, names, columns.label)} tags in {found.entities!r}"
    elif kind == "mentions":
        notation = f"{_read_mentions(rows, found, names or table.type_names, columns.label)} in {found.entities!r}"
    else:
        notation = "unlabelled"
    has_labels = kind is not None
    for row in rows:
        row.findings += _damage(row.text, labelled=has_labels)
        if not row.text.strip() and not row.findings:
            row.findings.append(("empty_text", "the text is empty", None))
    text = found.text or found.tokens
    layout = f"{table.layout}, {'text' if found.text else 'tokens'} in {text!r}, {notation}"
    return _corpus(path, table, layout + (f", ids in {found.id!r}" if found.id else ""), rows, has_labels)


def _corpus(path: str, table: Table, layout: str, rows: Sequence[_Row], labelled: bool) -> Corpus:
    examples, faults = [], []
    for (number, _), row in zip(table.rows, rows, strict=True):
        faults += [Fault(path, number, row.id, *finding, table.unit) for finding in row.findings]
        if row.id is not None and all(kind in WARNINGS for kind, _, _ in row.findings):
            spans = tuple(row.spans or ()) if labelled else None
            text = _HALF_PAIR.sub("\ufffd", row.text)
            examples.append(Example(row.id, text, spans, tokens=None if row.tokens is None else tuple(row.tokens)))
    return Corpus(path, layout, examples, faults, len(rows))


def _flattened(value: Any) -> Any:
    """Lifts the text out of Label Studio's ``{"data": {…}}`` and spaCy's ``[text, {"entities": […]}]``."""
    if isinstance(value, dict) and isinstance(value.get("data"), dict):
        return {**value["data"], **{key: inner for key, inner in value.items() if key != "data"}}
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict):
        return {"text": value[0], **value[1]}
    return value


def _read_row(ordinal: int, value: Any, found: Found) -> _Row:
    if isinstance(value, Unreadable):
        return _Row(None, findings=[("unreadable_row", value.reason, None)])
    if not isinstance(value, Mapping):
        return _Row(None, findings=[("wrong_type", f"the row is a {_type(value)}; wanted an object", None)])
    row = _Row(str(ordinal), given=list_in(value.get(found.entities)) if found.entities else None)
    text = value.get(found.text) if found.text else ""
    words = list_in(value.get(found.tokens)) if found.tokens else None
    for name, part in ((found.text, text), (found.tokens, words)):
        if name is not None and is_null(part):
            row.findings.append(("missing_value", f"nothing in the column {name!r}", None))
    if isinstance(text, str):
        row.text = text
    elif not is_null(text):
        row.findings.append(("wrong_type", f"{found.text!r} holds a {_type(text)}; wanted a string", None))
    if isinstance(words, list):
        row.words = words
        for i, word in enumerate(words):
            if not isinstance(word, str):
                row.findings.append(("wrong_type", f"token {i} is {word!r}; wanted a string", f'write "{word}"'))
                row.words = None
    elif not is_null(words):
        row.findings.append(("wrong_type", f"{found.tokens!r} holds a {_type(words)}; wanted a list of strings", None))
    row.is_read = not row.findings
    if found.id is not None and not is_null(value.get(found.id)):
        row.id, problem = _read_id(value[found.id], ordinal)
        row.findings += problem
    return row


def _read_id(value: Any, ordinal: int) -> tuple[str, list[Finding]]:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and not value.isprintable():
        return str(ordinal), [("control_character", f"the id {value!r} holds a control character", None)]
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value), []
    return str(ordinal), [("wrong_type", f"the id is a {_type(value)}; wanted a string or a number", None)]


def _type(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "true/false", int: "number", float: "number"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def _mark_doubled_ids(rows: Sequence[_Row], table: Table) -> None:
    first: dict[str, int] = {}
    for (number, _), row in zip(table.rows, rows, strict=True):
        if row.id is None:
            continue
        if row.id in first:
            message = f"the id {row.id} is already that of {table.unit} {first[row.id]}"
            row.findings.append(("duplicate_id", message, "give each row an id of its own"))
        else:
            first[row.id] = number


def _set_text(rows: Sequence[_Row], found: Found) -> None:
    """Gives every row its text and token offsets: tokens joined by blanks, or found in the text beside them."""
    for row in rows:
        if row.words is not None and found.text is None:
            row.text, row.tokens = join_tokens(row.words)
        elif row.words is not None:
            row.tokens = _aligned(row.words, row.text)


def _aligned(words: Sequence[str], text: str) -> Offsets | None:
    """Offsets of the words in a text that holds them in order with nothing but blanks between, else ``None``."""
    offsets, end = [], 0
    for word in words:
        start = text.find(word, end)
        if start < 0 or text[end:start].strip():
            return None
        end = start + len(word)
        offsets.append((start, end))
    return None if text[end:].strip() else offsets


def _kind_of_entities(path: str, rows: Sequence[_Row], names: Sequence[str] | None) -> str | None:
    """``tags``, ``mentions``, or ``None`` for a file in which nothing is labelled."""
    given = [row.given for row in rows if not is_null(row.given)]
    flat = [value.split() if isinstance(value, str) else value for value in given if isinstance(value, str | list)]
    flat = [value for value in flat if value]
    if not given:
        return None
    if not flat or len(flat) * 2 < len([value for value in given if value]):
        return "mentions"
    numeric = [value for value in flat if all(_number(x, names) is not None for x in value)]
    if 2 * len(numeric) > len(flat):
        if names is None:
            numbers = sorted({number for value in numeric for x in value if (number := _number(x, names)) is not None})
            raise UserError(f"{path}: numeric tags {', '.join(map(str, numbers[:12]))} without names; name them in "
                            "order, by --tag_names O,B-Disease,I-Disease")
        return "tags"
    strings = [value for value in flat if all(isinstance(x, str) for x in value)]
    if 2 * len(strings) < len(flat):
        return "mentions"
    if 2 * sum(all(map(looks_like_tag, value)) for value in strings) > len(strings):
        return "tags"
    one_each = [row for row in rows if isinstance(row.given, list) and row.words and len(row.given) == len(row.words)]
    return "tags" if 2 * len(one_each) > len(strings) and any("O" in value for value in strings) else "mentions"


def _read_tags(rows: Sequence[_Row], names: Sequence[str] | None, label: str) -> str:
    """Fills in the spans of rows with tags; returns the scheme."""
    tags_of: list[list[str] | None] = []
    for row in rows:
        tags, findings = _tags(row, names)
        tags_of.append(tags)
        row.findings += findings
    scheme = detect_scheme(tags for tags in tags_of if tags)
    for row, tags in zip(rows, tags_of, strict=True):
        if tags is None:
            continue
        for position, reason in illegal_tags(tags, scheme=scheme):
            message = f"{reason}, at token {position} ({scheme})"
            row.findings.append(("illegal_tags", message, _retagged(tags, position, scheme)))
        spans = tags_to_spans(tags, row.tokens or (), scheme=scheme)
        row.spans = [Span(span.start, span.end, span.label or label) for span in spans]
        row.findings += [("empty_span", f"a tag on the blank token at {s.start}:{s.end}", "tag it O")
                         for s in row.spans if not row.text[s.start:s.end].strip()]
    return scheme


def _tags(row: _Row, names: Sequence[str] | None) -> tuple[list[str] | None, list[Finding]]:
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
        return None, [("wrong_type", f"the tags are a {_type(given)}; wanted a list", None)]
    if len(given) != len(row.tokens):
        if unspelled and len(given) == len(row.words or ()):
            return None, [_unspelled(row)]
        return None, [("length_mismatch", f"{len(row.tokens)} tokens but {len(given)} tags", None)]
    tags: list[str] = []
    for position, tag in enumerate(given):
        number = _number(tag, names)
        if number is not None and names is not None:
            if not 0 <= number < len(names):
                message = f"tag {tag} at token {position}; the names go from 0 to {len(names) - 1}"
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
        return int(tag)
    return whole(tag)


def _unspelled(row: _Row) -> Finding:
    message = f"its tokens do not spell its text {row.text[:60]!r}"
    return "length_mismatch", message, "mend them, or read the tokens alone by --text_column NAME"


def _retagged(tags: Sequence[str], position: int, scheme: str) -> str | None:
    """The one tag that makes an illegal opening legal, where it is that simple."""
    if position == len(tags) or tags[position][:2] not in ("I-", "B-", "I", "B"):
        return None
    wanted = {"BIO": "B", "IOB1": "I"}.get(scheme)
    return None if wanted is None else f"write {wanted}{tags[position][1:]} there"


def _read_mentions(rows: Sequence[_Row], found: Found, names: Sequence[str] | None, label: str) -> str:
    """Fills in the spans of rows with mentions; returns how they are written."""
    bare = all(isinstance(row.given, str) or is_null(row.given) for row in rows)
    givens = [row.given for row in rows]
    if found.tokens is not None:
        givens = with_token_ranges(givens)
    for row, given in zip(rows, givens, strict=True):
        if not row.is_read:
            continue
        if is_null(given) and not bare:
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
        row.mentions = [replace(mention, text=None, label=mention.text)
                        if mention.start is not None and mention.label is None and mention.text in types else mention
                        for mention in row.mentions]
    unspelled = [row.words is not None and row.tokens is None for row in rows]
    tokens = [row.tokens if row.tokens is not None else whitespace_tokens(row.text) for row in rows]
    notation = detect_notation([(row.text, offsets, row.mentions)
                                for row, offsets, odd in zip(rows, tokens, unspelled, strict=True) if not odd],
                               has_tokens=found.tokens is not None, has_text=found.text is not None)
    for row, offsets, odd in zip(rows, tokens, unspelled, strict=True):
        if odd and notation.unit == "token" and any(mention.start is not None for mention in row.mentions):
            row.findings.append(_unspelled(row))
            continue
        row.spans, findings = to_spans(row.mentions, row.text, offsets, notation, label=label)
        row.findings += findings
    if any(mention.start is not None for row in rows for mention in row.mentions):
        return f"mentions by {notation.unit} offsets ({notation.convention})"
    return "mentions as strings"


def _named(mention: Mention, names: Sequence[str] | None, findings: list[Finding]) -> Mention:
    """A mention whose numeric type has its name, where types have names."""
    if names is None or mention.label is None or mention.label in names or not mention.label.isdecimal():
        return mention
    if int(mention.label) < len(names):
        return replace(mention, label=names[int(mention.label)])
    findings.append(("unknown_tag", f"type {mention.label}; the names go from 0 to {len(names) - 1}", None))
    return mention


def _damage(text: str, *, labelled: bool) -> list[Finding]:
    """Damaged characters; only a warning in an unlabelled file, because each of its rows has to be answered."""
    prefix = "" if labelled else "unlabelled_"
    return [(prefix + kind, message, repair) for kind, message, repair in find_damage(text)]
