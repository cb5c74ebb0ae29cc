"""The cell of an entities column -> mentions as written: objects, triples or strings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.corpora.column_profiles import is_null, name_parts, whole_number
from pipelines.corpora.corpus import Finding
from pipelines.examples import Fields, JsonObject
from pipelines.formatting import some

# Keys of a mention's object, by the words in their names: `start_offset`, `startOffset` and
# `begin` are all starts.
OFFSET_KEYS = {
    "end": {"end", "stop"},
    "length": {"length", "len"},
    "start": {"start", "begin", "offset"},
}
# fmt: off
TEXT_KEYS = (
    "text", "word", "mention", "name", "surface", "string", "term", "phrase", "value", "form",
    "token",
)
# fmt: on
LABEL_KEYS = ("type", "label", "class", "category", "tag", "group", "ner")
PAIR_KEYS = {"offset", "span", "location", "position", "indice", "index", "range"}
NO_MENTION = {"", "none", "nan", "null", "n/a", "no disease", "[]"}

MAX_DEPTH = 20  # of objects in objects


class BadMention(Exception):
    """A mention that cannot be understood, with what is wrong as a `finding`."""

    def __init__(self, kind: str, message: str, repair: str | None = None) -> None:
        super().__init__(message)
        self.finding: Finding = kind, message, repair


@dataclass(frozen=True, slots=True)
class RawMention:
    """A mention as written: any of offsets, claimed text and type may be missing.

    Attributes:
        by_token: whether its keys say that its offsets count tokens.
    """

    start: int | None = None
    end: int | None = None
    text: str | None = None
    label: str | None = None
    by_token: bool = False


def parse_mentions(
    value: object, text: str, *, label: str | None = None, depth: int = 0
) -> Iterator[RawMention | BadMention]:
    """Parses the cell of an entities column; yields a fault for what cannot be understood.

    Args:
        value: list of objects, sequences or strings; an object of lists by type, or of parallel
            lists; a string.
        text: the row's text, by which a claimed text is distinguished from a type.
        label: type of the mentions that have none themselves.
    """
    if is_null(value):
        return
    if depth > MAX_DEPTH:
        message = f"objects in objects, more than {MAX_DEPTH} deep; wanted a list"
        yield BadMention("wrong_type", message)
    elif isinstance(value, str):
        if value.strip().lower() in NO_MENTION and value.strip() not in text.split():
            return
        parts = [value] if value in text else re.split(r"\s*[;|]\s*", value)
        yield from (RawMention(text=part.strip(), label=label) for part in parts)
    elif isinstance(value, dict):
        yield from _from_object_of_lists(value, text, label, depth)
    elif isinstance(value, list):
        for item in value:
            yield _one_mention(item, text, label)
    else:
        yield BadMention("wrong_type", f"the entities are {_short(value)}; wanted a list")


# Token numbers


def with_token_ranges(cells: Sequence[object]) -> list[object]:
    """Converts lists of token numbers, `"index": [4, 5, 6]`, to ranges, `"token_index": [[4, 7]]`.

    Lists of two numbers each, some of which are not neighbours, are pairs of offsets instead.
    """
    items = [item for cell in cells if isinstance(cell, list) for item in cell]
    lists: list[list[int]] = []
    for item in items:
        if isinstance(item, dict):
            lists += [value for key, value in item.items() if _lists_tokens(key, value)]
    are_pairs = all(len(numbers) == 2 for numbers in lists)
    if are_pairs and any(len(_ranges(numbers)) > 1 for numbers in lists):
        return [*cells]
    return [[*map(_with_ranges, cell)] if isinstance(cell, list) else cell for cell in cells]


def _with_ranges(item: object) -> object:
    if not isinstance(item, dict):
        return item
    converted = {}
    for key, value in item.items():
        if _lists_tokens(key, value):
            converted[f"token_{key}"] = _ranges(value)
        else:
            converted[key] = value
    return converted


def _lists_tokens(key: str, value: object) -> bool:
    if name_parts(key) not in (["index"], ["indice"]) or not isinstance(value, list):
        return False
    return bool(value) and all(type(number) is int for number in value)


def _ranges(numbers: Sequence[int]) -> list[list[int]]:
    """Half-open ranges of consecutive numbers."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number:
            ranges[-1][1] += 1
        else:
            ranges.append([number, number + 1])
    return ranges


# One mention


def _from_object_of_lists(
    value: JsonObject, text: str, label: str | None, depth: int
) -> Iterator[RawMention | BadMention]:
    own_keys = OFFSET_KEYS["start"] | {"text", "mention"}
    keys = {key for key in value if own_keys & set(name_parts(key))}
    lists = {key: inner for key, inner in value.items() if isinstance(inner, list)}
    if keys and keys <= lists.keys():  # parallel lists, as `datasets` wrote them before version 4
        if len({len(inner) for inner in lists.values()}) > 1:
            message = f"lists of different lengths: {some(lists)}"
            yield BadMention("length_mismatch", message)
        for items in zip(*lists.values(), strict=False):
            yield _one_mention(dict(zip(lists, items, strict=True)), text, label)
    elif keys:
        yield _one_mention(value, text, label)
    elif label is not None and value and all(map(_are_pairs, value.values())):
        # CLUENER: {"name": {"Ada": [[0, 2]]}}, offsets by type and by the mention's own text.
        for string, pairs in value.items():
            for start, end in pairs:
                yield RawMention(start, end, string, label)
    else:
        for name, inner in value.items():
            is_no_type = name_parts(name)[-1:] in (["entity"], ["span"], ["mention"])
            own_label = label if is_no_type else name
            yield from parse_mentions(inner, text, label=own_label, depth=depth + 1)


def _are_pairs(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_pair, value))


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and [type(number) for number in value] == [int, int]


def _one_mention(item: object, text: str, label: str | None) -> RawMention | BadMention:
    try:
        if isinstance(item, str):
            return RawMention(text=item.strip(), label=label)
        if isinstance(item, dict):
            return _from_object(item, text, label)
        if isinstance(item, list):
            return _from_sequence(item, text, label)
    except BadMention as error:
        return error
    message = f"the entity {_short(item)} is neither an object nor a list nor a string"
    return BadMention("wrong_type", message)


def _from_sequence(item: Sequence[object], text: str, label: str | None) -> RawMention:
    """`[start, end, type]` in any order, also nested: `[type, [start, end]]`; or `[text, type]`."""
    parts: list[object] = []
    for part in item:
        parts += part if isinstance(part, list) else [part]
    strings = [part for part in parts if isinstance(part, str)]
    numbers = [_offset(part) for part in parts if not isinstance(part, str) and not is_null(part)]
    claimed = None
    if len(strings) > 1 or not numbers:
        in_text = [string for string in strings if string in text]
        claimed = next(iter(in_text or strings), None)
    if len(numbers) not in (0, 2) or not (strings or numbers):
        message = f"the entity {_short(item)}; wanted [start, end, type] or [text, type]"
        raise BadMention("wrong_type", message)
    start, end = numbers or (None, None)
    own_label = next((string for string in strings if string is not claimed), label)
    return RawMention(start, end, claimed, own_label)


def _from_object(item: JsonObject, text: str, label: str | None) -> RawMention:
    words = {key: name_parts(key) for key in item}
    start, end, by_token = _written_offsets(item, words)
    _refuse_several_types(item, words)
    own_label = _named_string(item, words, LABEL_KEYS)
    if own_label is None:
        numbers = {key: whole_number(value) for key, value in item.items()}
        strings = {key: str(number) for key, number in numbers.items() if number is not None}
        own_label = _named_string(strings, words, LABEL_KEYS)
    rest = {key: item[key] for key in item if not set(LABEL_KEYS) & set(words[key])}
    claimed = _named_string(rest, words, TEXT_KEYS)
    # `entity` may hold the mention's text or its type.
    entity = _named_string(rest, words, ("entity", "disease"))
    is_text = own_label is not None or start is None or (entity is not None and entity in text)
    if claimed is None and is_text:
        claimed = entity
    elif own_label is None:
        own_label = entity
    if start is not None and end is None and claimed is not None and not by_token:
        end = start + len(claimed)
    if start is not None and end is not None:
        return RawMention(start, end, claimed, own_label or label, by_token)
    if claimed is None:
        message = f"the entity {_short(item)} has neither start and end nor a text"
        raise BadMention("wrong_type", message)
    return RawMention(text=claimed.strip(), label=own_label or label)


def _refuse_several_types(item: Fields, words: Mapping[str, list[str]]) -> None:
    for key, value in item.items():
        is_list = isinstance(value, list) and len(value) > 1
        if (
            is_list
            and {"label", "type"} & set(words[key])
            and all(isinstance(x, str) for x in value)
        ):
            message = f"a mention with {len(value)} types, {some(value, 5)}"
            raise BadMention("wrong_type", message, "keep one, or write a mention for each")


def _written_offsets(
    item: JsonObject, words: dict[str, list[str]]
) -> tuple[int | None, int | None, bool]:
    """Start, end, and whether they count tokens; characters, where an object has both kinds."""
    written: dict[tuple[str, bool], int] = {}
    for key, parts in words.items():
        value, by_token = item[key], bool({"token", "tok", "word"} & set(parts))
        if isinstance(value, list):
            if PAIR_KEYS & set(parts):
                written["start", by_token], written["end", by_token] = _pair(value)
        elif not is_null(value):
            role = next((role for role, names in OFFSET_KEYS.items() if names & set(parts)), None)
            if role:
                written[role, by_token] = _offset(value)
    by_token = ("start", False) not in written
    start, end, length = (written.get((role, by_token)) for role in ("start", "end", "length"))
    if start is not None and end is None and length is not None:
        end = start + length
    return start, end, by_token and start is not None


def _pair(value: list[Any]) -> tuple[int, int]:
    """`[s, e]`, `[[s, e]]`, `[{"offset": s, "length": n}]`."""
    if len(value) == 1 and isinstance(value[0], dict):
        inner = value[0]
        start, length = _offset(inner.get("offset", inner.get("start"))), inner.get("length")
        return start, _offset(inner.get("end")) if length is None else start + _offset(length)
    if value and all(isinstance(inner, list) and len(inner) == 2 for inner in value):
        pairs = [(_offset(start), _offset(end)) for start, end in value]
        if len(pairs) > 1:
            hull = f"{min(start for start, _ in pairs)}, {max(end for _, end in pairs)}"
            message = f"a mention in {len(pairs)} pieces {value}"
            raise BadMention("discontinuous_span", message, f"write [[{hull}]]")
        return pairs[0]
    if len(value) == 2:
        return _offset(value[0]), _offset(value[1])
    raise BadMention("wrong_type", f"the offsets {_short(value)}; wanted [start, end]")


def _named_string(item: Fields, words: Mapping[str, list[str]], names: Sequence[str]) -> str | None:
    """The string under the key that best matches; a list of one string counts as that string."""
    for name in names:
        for key, value in item.items():
            parts = words[key]
            if isinstance(value, list) and len(value) == 1:
                value = value[0]
            is_other = {"id", "start", "end"} & set(parts)
            if isinstance(value, str) and name in parts and not is_other:
                return value
    return None


def _offset(value: object) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*-?\d{1,18}\s*", value):
        return int(value)
    number = whole_number(value)
    if number is None:
        raise BadMention("wrong_type", f"the offset {_short(value)} is not a whole number")
    return number


def _short(value: object) -> str:
    try:
        shown = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of thousands of digits
        return f"a {type(value).__name__}"
    return shown if len(shown) <= 100 else f"{shown[:99]}…"
