"""The value of an entities column -> mentions as they were written: objects, triples, strings, objects of lists."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.corpora.columns import is_null, name_parts, whole

# Keys of an entity object, by the words in their names: `start_offset`, `startOffset` and `begin` are all starts.
OFFSET_KEYS = {
    "end": {"end", "stop"},
    "length": {"length", "len"},
    "start": {"start", "begin", "offset"},
}
TEXT_KEYS = ("text", "word", "mention", "name", "surface", "string", "term", "phrase", "value", "form", "token")
LABEL_KEYS = ("type", "label", "class", "category", "tag", "group", "ner")
PAIR_KEYS = {"offset", "span", "location", "position", "indice", "index", "range"}
NO_MENTION = {"", "none", "nan", "null", "n/a", "no disease", "[]"}

MAX_DEPTH = 20  # of objects in objects


class BadEntity(Exception):
    """An entity that cannot be understood; ``args`` are kind of fault, message and repair."""


@dataclass(frozen=True, slots=True)
class Mention:
    """A mention as written: any of offsets, claimed text and type may be missing."""

    start: int | None = None
    end: int | None = None
    text: str | None = None
    label: str | None = None
    by_token: bool = False


def parse_mentions(value: Any, text: str, *, label: str | None = None, depth: int = 0) -> Iterator[Mention | BadEntity]:
    """Takes the value of an entities column apart; each entity that cannot be understood comes out as its fault.

    Args:
        value: list of objects, sequences or strings; an object of lists by type, or of parallel lists; a string.
        text: the row's text, which tells a claimed text from a type.
        label: type of the mentions that name none themselves.
    """
    if is_null(value):
        return
    if depth > MAX_DEPTH:
        yield BadEntity("wrong_type", f"objects in objects, more than {MAX_DEPTH} deep; wanted a list", None)
    elif isinstance(value, str):
        if value.strip().lower() in NO_MENTION and value.strip() not in text.split():
            return
        parts = [value] if value in text else re.split(r"\s*[;|]\s*", value)
        yield from (Mention(text=part.strip(), label=label) for part in parts)
    elif isinstance(value, dict):
        yield from _from_object_of_lists(value, text, label, depth)
    elif isinstance(value, list):
        for item in value:
            yield _one_mention(item, text, label)
    else:
        yield BadEntity("wrong_type", f"the entities are {_short(value)}; wanted a list", None)


def with_token_ranges(values: Sequence[Any]) -> list[Any]:
    """Spells lists of token numbers, ``"index": [4, 5, 6]``, out as token offsets, ``"token_index": [[4, 7]]``.

    A file in which each list holds two numbers, and some of them are not neighbours, has pairs of offsets instead.
    """
    lists = [inner for value in values if isinstance(value, list) for item in value if isinstance(item, dict)
             for key, inner in item.items() if _numbers_tokens(key, inner)]
    if all(len(inner) == 2 for inner in lists) and any(len(_runs(inner)) > 1 for inner in lists):
        return [*values]
    return [[{f"token_{key}" if _numbers_tokens(key, inner) else key:
              _runs(inner) if _numbers_tokens(key, inner) else inner for key, inner in item.items()}
             if isinstance(item, dict) else item for item in value] if isinstance(value, list) else value
            for value in values]


def _numbers_tokens(key: str, value: Any) -> bool:
    return (name_parts(key) in (["index"], ["indice"]) and isinstance(value, list) and bool(value)
            and all(isinstance(number, int) and not isinstance(number, bool) for number in value))


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Half-open ranges of numbers that follow one another."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number:
            runs[-1][1] += 1
        else:
            runs.append([number, number + 1])
    return runs


def _from_object_of_lists(value: dict[str, Any], text: str, label: str | None,
                          depth: int) -> Iterator[Mention | BadEntity]:
    own_keys = OFFSET_KEYS["start"] | {"text", "mention"}
    keys = {key for key in value if own_keys & set(name_parts(key))}
    lists = {key: inner for key, inner in value.items() if isinstance(inner, list)}
    if keys and keys <= lists.keys():  # parallel lists, as `datasets` wrote them before version 4
        if len({len(inner) for inner in lists.values()}) > 1:
            yield BadEntity("length_mismatch", f"lists of different lengths: {', '.join(lists)}", None)
        for items in zip(*lists.values(), strict=False):
            yield _one_mention(dict(zip(lists, items, strict=True)), text, label)
    elif keys:
        yield _one_mention(value, text, label)
    elif label is not None and value and all(map(_are_pairs, value.values())):
        # CLUENER: {"name": {"Ada": [[0, 2]]}}, offsets by type and by the mention's own text.
        for string, pairs in value.items():
            for start, end in pairs:
                yield Mention(start, end, string, label)
    else:
        for name, inner in value.items():
            own = label if name_parts(name)[-1:] in (["entity"], ["span"], ["mention"]) else name
            yield from parse_mentions(inner, text, label=own, depth=depth + 1)


def _are_pairs(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(
        isinstance(pair, list) and len(pair) == 2 and all(type(number) is int for number in pair) for pair in value)


def _one_mention(item: Any, text: str, label: str | None) -> Mention | BadEntity:
    try:
        if isinstance(item, str):
            return Mention(text=item.strip(), label=label)
        if isinstance(item, dict):
            return _from_object(item, text, label)
        if isinstance(item, list):
            return _from_sequence(item, text, label)
    except BadEntity as error:
        return error
    return BadEntity("wrong_type", f"the entity {_short(item)} is neither an object nor a list nor a string", None)


def _from_sequence(item: Sequence[Any], text: str, label: str | None) -> Mention:
    """``[start, end, type]`` in any order of numbers and strings, ``[text, type]``, ``[type, [start, end]]``."""
    numbers, strings = [], []
    for part in (inner for x in item for inner in (x if isinstance(x, list) else [x])):
        if isinstance(part, str):
            strings.append(part)
        elif not is_null(part):
            numbers.append(_whole(part))
    claimed = None
    if len(strings) > 1 or not numbers:
        claimed = next((s for s in strings if s in text), strings[0] if strings else None)
    if len(numbers) not in (0, 2) or not (strings or numbers):
        raise BadEntity("wrong_type", f"the entity {_short(item)}; wanted [start, end, type] or [text, type]", None)
    start, end = numbers or (None, None)
    return Mention(start, end, claimed, next((s for s in strings if s is not claimed), label))


def _from_object(item: dict[str, Any], text: str, label: str | None) -> Mention:
    if isinstance(item.get("value"), dict):  # Label Studio's results, without the task around them
        item = item["value"]
    words = {key: name_parts(key) for key in item}
    start, end, by_token = _written_offsets(item, words)
    several = next((value for key, value in item.items() if isinstance(value, list) and len(value) > 1
                    and {"label", "type"} & set(words[key]) and all(isinstance(x, str) for x in value)), None)
    if several:
        raise BadEntity("wrong_type", f"a mention with {len(several)} types, {', '.join(several[:5])}",
                        "keep one, or write a mention for each")
    own_label = _named_string(item, words, LABEL_KEYS)
    if own_label is None:
        numbers = {key: str(number) for key, value in item.items() if (number := whole(value)) is not None}
        own_label = _named_string(numbers, words, LABEL_KEYS)
    rest = {key: item[key] for key in item if not set(LABEL_KEYS) & set(words[key])}
    claimed = _named_string(rest, words, TEXT_KEYS)
    entity = _named_string(rest, words, ("entity", "disease"))
    if claimed is None and entity is not None and (own_label is not None or start is None or entity in text):
        claimed = entity
    elif own_label is None and entity is not None:
        own_label = entity
    if start is not None and end is None and claimed is not None and not by_token:
        end = start + len(claimed)
    if start is None or end is None:
        if claimed is None:
            raise BadEntity("wrong_type", f"the entity {_short(item)} has neither start and end nor a text", None)
        return Mention(text=claimed.strip(), label=own_label or label)
    return Mention(start, end, claimed, own_label or label, by_token)


def _written_offsets(item: dict[str, Any], words: dict[str, list[str]]) -> tuple[int | None, int | None, bool]:
    """Start, end, and whether they count tokens; of an object with both kinds the characters."""
    written: dict[tuple[str, bool], int] = {}
    for key, parts in words.items():
        value, by_token = item[key], bool({"token", "tok", "word"} & set(parts))
        if isinstance(value, list):
            if PAIR_KEYS & set(parts):
                written["start", by_token], written["end", by_token] = _pair(value)
        elif not is_null(value):
            role = next((role for role, names in OFFSET_KEYS.items() if names & set(parts)), None)
            if role:
                written[role, by_token] = _whole(value)
    by_token = not any(role == "start" and not token for role, token in written)
    start, end, length = (written.get((role, by_token)) for role in ("start", "end", "length"))
    if start is not None and end is None and length is not None:
        end = start + length
    return start, end, by_token and start is not None


def _pair(value: list[Any]) -> tuple[int, int]:
    """``[s, e]``, ``[[s, e]]``, ``[{"offset": s, "length": n}]``."""
    if len(value) == 1 and isinstance(value[0], dict):
        inner = value[0]
        start = inner.get("offset", inner.get("start"))
        length = inner.get("length")
        return _whole(start), _whole(inner.get("end")) if length is None else _whole(start) + _whole(length)
    if value and all(isinstance(inner, list) and len(inner) == 2 for inner in value):
        pairs = [(_whole(start), _whole(end)) for start, end in value]
        if len(pairs) > 1:
            hull = f"{min(start for start, _ in pairs)}, {max(end for _, end in pairs)}"
            raise BadEntity("discontinuous_span", f"a mention in {len(pairs)} pieces {value}", f"write [[{hull}]]")
        return pairs[0]
    if len(value) == 2:
        return _whole(value[0]), _whole(value[1])
    raise BadEntity("wrong_type", f"the offsets {_short(value)}; wanted [start, end]", None)


def _named_string(item: dict[str, Any], words: dict[str, list[str]], wanted: Sequence[str]) -> str | None:
    """The string under the key that best matches; a list of one string counts as that string."""
    for name in wanted:
        for key, value in item.items():
            parts = words[key]
            if isinstance(value, list) and len(value) == 1:
                value = value[0]
            if isinstance(value, str) and name in parts and not {"id", "start", "end"} & set(parts):
                return value
    return None


def _whole(number: Any) -> int:
    if isinstance(number, str) and re.fullmatch(r"\s*-?\d{1,18}\s*", number):
        return int(number)
    if isinstance(number, float) and number.is_integer():
        return int(number)
    if isinstance(number, bool) or not isinstance(number, int):
        raise BadEntity("wrong_type", f"the offset {_short(number)} is not a whole number", None)
    return number


def _short(value: Any) -> str:
    try:
        shown = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of thousands of digits
        return f"a {type(value).__name__}"
    return shown if len(shown) <= 100 else f"{shown[:99]}…"
