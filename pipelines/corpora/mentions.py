"""Mentions in whatever notation -> spans: objects, triples, strings, by characters or tokens, ends in or out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipelines.alignment import Generated, align, inside_word
from pipelines.alignment import Mention as Placed
from pipelines.corpora.columns import is_null, name_parts, whole
from pipelines.examples import Span
from pipelines.spans import Offsets, find_occurrences, overlapping_pairs

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

# What to add to an end to make it half-open. Offsets counted from 1 are no convention here: in a small file they look
# like a shift by one, which is a fault with a repair.
CONVENTIONS = {"half-open": 0, "inclusive ends": 1}


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


@dataclass(frozen=True, slots=True)
class Notation:
    """How a file counts: ``unit`` is character or token, ``convention`` one of ``CONVENTIONS``."""

    unit: str
    convention: str


NOTATIONS = [Notation(unit, convention) for unit in ("character", "token") for convention in CONVENTIONS]


def parse_mentions(value: Any, text: str, *, label: str | None = None) -> Iterator[Mention | BadEntity]:
    """Takes the value of an entities column apart; each entity that cannot be understood comes out as its fault.

    Args:
        value: list of objects, sequences or strings; an object of lists by type, or of parallel lists; a string.
        text: the row's text, which tells a claimed text from a type.
        label: type of the mentions that name none themselves.
    """
    if is_null(value):
        return
    if isinstance(value, str):
        if value.strip().lower() in NO_MENTION and value.strip() not in text.split():
            return
        parts = [value] if value in text else re.split(r"\s*[;|]\s*", value)
        yield from (Mention(text=part.strip(), label=label) for part in parts)
    elif isinstance(value, dict):
        yield from _from_object_of_lists(value, text, label)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and isinstance(item.get("result"), list):  # Label Studio: one list an annotator
                yield from parse_mentions(item["result"], text, label=label)
            else:
                yield _one_mention(item, text, label)
    else:
        yield BadEntity("wrong_type", f"the entities are {value!r}; wanted a list", None)


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


def _from_object_of_lists(value: dict[str, Any], text: str, label: str | None) -> Iterator[Mention | BadEntity]:
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
    else:
        for name, inner in value.items():
            own = label if name_parts(name)[-1:] in (["entity"], ["span"], ["mention"]) else name
            yield from parse_mentions(inner, text, label=own)


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
    return BadEntity("wrong_type", f"the entity {item!r} is neither an object nor a list nor a string", None)


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
    if isinstance(item.get("value"), dict):  # Label Studio's results
        item = item["value"]
    words = {key: name_parts(key) for key in item}
    start, end, by_token = _written_offsets(item, words)
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
    return repr(value) if len(repr(value)) <= 100 else f"{repr(value)[:99]}…"


def detect_notation(rows: Iterable[tuple[str, Offsets | None, Sequence[Mention]]], *, has_tokens: bool,
                    has_text: bool) -> Notation:
    """Decides for a whole file what its offsets count, by the texts that the mentions claim.

    Where mentions claim no text: tokens if the rows give tokens and no end lies beyond the last (where they give a text
    too, only if as characters some mentions would cut words); ends are taken as inclusive if more mentions then lie on
    word boundaries (of tokens: within the row and not empty).

    Args:
        rows: (text, token offsets, mentions) of each row.
        has_tokens: whether the rows give tokens.
        has_text: whether the rows give a text.
    """
    claims: Counter[Notation] = Counter()
    shapes: Counter[Notation] = Counter()
    fits_tokens, by_token = True, False
    for text, tokens, mentions in rows:
        for mention in mentions:
            if mention.start is None or mention.end is None:
                continue
            by_token |= mention.by_token
            fits_tokens &= tokens is not None and mention.end <= len(tokens)
            for notation in NOTATIONS:
                place = _place(mention, text, tokens, notation)
                if place is None:
                    continue
                if mention.text is not None and _same(text[slice(*place)], mention.text, notation.unit):
                    claims[notation] += 1
                if notation.unit == "token" or _is_neat(text, *place):
                    shapes[notation] += 1
    if claims:
        return max(NOTATIONS, key=lambda notation: claims[notation])
    by_character, by_tokens = (max((n for n in NOTATIONS if n.unit == unit), key=lambda notation: shapes[notation])
                               for unit in ("character", "token"))
    counts_tokens = has_tokens and fits_tokens and (not has_text or shapes[by_tokens] > shapes[by_character])
    return by_tokens if by_token or counts_tokens else by_character


def _place(mention: Mention, text: str, tokens: Offsets | None, notation: Notation) -> tuple[int, int] | None:
    """Character offsets of a mention under a notation, ``None`` where they are empty or outside the text."""
    start, end = mention.start or 0, (mention.end or 0) + CONVENTIONS[notation.convention]
    if notation.unit == "token":
        return (tokens[start][0], tokens[end - 1][1]) if tokens and 0 <= start < end <= len(tokens) else None
    return (start, end) if 0 <= start < end <= len(text) else None


def _is_neat(text: str, start: int, end: int) -> bool:
    inner = text[start:end]
    return inner == inner.strip() and not inside_word(text, start) and not inside_word(text, end)


def _same(found: str, claimed: str, unit: str) -> bool:
    """Blanks of any sort are alike; between tokens they do not count at all."""
    by = "" if unit == "token" else " "
    return found == claimed or re.sub(r"\s", by, found) == re.sub(r"\s", by, claimed)


Finding = tuple[str, str, str | None]  # kind of fault, message, repair


def to_spans(mentions: Sequence[Mention], text: str, tokens: Offsets | None, notation: Notation, *,
             label: str) -> tuple[list[Span], list[Finding]]:
    """Turns the mentions of one row into spans, and names what is wrong with them.

    Args:
        mentions: those with offsets are taken by them, the others are placed by their text.
        text: the row's text.
        tokens: half-open character offsets of its tokens, where it has them.
        notation: what the file's offsets count.
        label: type of the mentions that name none.

    Returns:
        Sorted spans, and (kind, message, repair) of each fault.
    """
    spans: list[Span] = []
    findings: list[Finding] = []
    for mention in mentions:
        if mention.start is not None:
            place, finding = _by_offsets(mention, text, tokens, notation)
            if place:
                spans.append(Span(*place, mention.label or label))
            if finding:
                findings.append(finding)
    strings = [Generated(m.text or "", m.label or label) for m in mentions if m.start is None]
    for placed in align(text, strings):
        problem = _not_placed(placed, text)
        if problem:
            findings.append(problem)
        elif placed.span:
            spans.append(placed.span)
    for a, b in overlapping_pairs(spans):
        findings.append(_overlap(text, a, b))
    return sorted(spans), findings


def _by_offsets(mention: Mention, text: str, tokens: Offsets | None,
                notation: Notation) -> tuple[tuple[int, int] | None, Finding | None]:
    start, end, claimed = mention.start or 0, mention.end or 0, mention.text
    place = _place(mention, text, tokens, notation)
    if place is None:
        repair = None if claimed is None else _mended(claimed, text, tokens, notation, start)
        if end + CONVENTIONS[notation.convention] <= start:
            return None, ("empty_span", f"{notation.unit} offsets {start}:{end} hold nothing", repair)
        size = len(text) if notation.unit == "character" else len(tokens or ())
        return None, ("wrong_offsets", f"{notation.unit} offsets {start}:{end} leave the text, which has {size} "
                                       f"{notation.unit}s", repair)
    found = text[slice(*place)]
    if claimed is not None and not _same(found, claimed, notation.unit):
        return None, ("wrong_offsets", f"{notation.unit} offsets {start}:{end} hold {found!r}, not {claimed!r}",
                      _mended(claimed, text, tokens, notation, start))
    if not found.strip():
        return None, ("empty_span", f"{notation.unit} offsets {start}:{end} hold only blanks", None)
    return place, None


def _mended(claimed: str, text: str, tokens: Offsets | None, notation: Notation, start: int) -> str | None:
    """Offsets, in the file's own notation, at which the claimed text does stand: the nearest, if several."""
    if notation.unit == "token" and tokens is not None:
        places = [(i, j) for i in range(len(tokens)) for j in range(i + 1, len(tokens) + 1)
                  if _same(text[tokens[i][0]:tokens[j - 1][1]], claimed, "token")]
    else:
        places = [match.span() for match in re.finditer(f"(?=({re.escape(claimed)}))", text) if claimed]
        places = [(s, s + len(claimed)) for s, _ in places]
    if not places:
        placed = align(text, [Generated(claimed, "mention")])[0].span
        return f"the text has {text[placed.start:placed.end]!r} at {placed.start}:{placed.end}" if placed else None
    first, past = min(places, key=lambda place: abs(place[0] - start))
    shift = first - start
    why = "its only occurrence" if len(places) == 1 else f"the nearest of {len(places)} occurrences"
    why += f", {shift:+d} {notation.unit}s" if shift else ", the end was wrong"
    return f"start {first}, end {past - CONVENTIONS[notation.convention]} ({why})"


def _not_placed(placed: Placed, text: str) -> Finding | None:
    """What is wrong with a string that does not stand in the text letter for letter and on word boundaries."""
    string, span = placed.string, placed.span
    if not string:
        return "empty_span", "an empty mention", "leave it out"
    if span is None and placed.status != "not_in_text":
        n = len(list(find_occurrences(text, string)))
        return "not_in_text", f"{string!r} is listed more often than it occurs ({n} times)", "leave one out"
    if span is None:
        return "not_in_text", f"{string!r} is not in the text", None
    if placed.status != "exact":
        return "not_in_text", f"{string!r} is not in the text", f"the text has {text[span.start:span.end]!r}"
    if inside_word(text, span.start) or inside_word(text, span.end):
        repair = f"give offsets (start {span.start}, end {span.end}), or write the whole word"
        return "not_in_text", f"{string!r} occurs only within a word", repair
    return None


def _overlap(text: str, a: Span, b: Span) -> Finding:
    shown = f"{text[a.start:a.end]!r} ({a.start}:{a.end}) and {text[b.start:b.end]!r} ({b.start}:{b.end})"
    if a == b:
        return "overlapping_spans", f"the same span twice: {shown}", "leave one out"
    nested = b.end <= a.end or a.start == b.start
    return "overlapping_spans", f"spans overlap: {shown}", "keep the longer one" if nested else None
