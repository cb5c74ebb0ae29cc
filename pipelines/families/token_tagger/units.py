"""Texts as windows of sub-words, and as the units that bear a tag.

A *unit* is what bears a tag: a token of a tokenised corpus, else what `spans.word_units` cuts, which is a
single character in scripts written without blanks. Its first sub-word carries the tag; units that one
sub-word covers are one unit. Each unit is tagged in exactly one window, the one in which it has the most
context on both sides.

Control tokens in a text (`[SEP]`, `</s>`) are text: they are cut into ordinary sub-words.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pipelines.examples import Example, Span
from pipelines.networks import encoder_config
from pipelines.spans import (
    Offsets,
    TokenRange,
    is_unspaced,
    spans_to_token_ranges,
    tags_to_spans,
    token_ranges_to_tags,
    word_units,
)

SHOWN_IDS = 20


@dataclass(frozen=True, slots=True)
class Settings:
    """How texts are cut and tags are read.

    Attributes:
        decode: `argmax` (each unit by itself), `viterbi` (the likeliest tags that are legal BIO), `crf` (the
            best path of the model's own transition scores).
        window: sub-words of a window at most, special ones counted.
        stride: sub-words that neighbouring windows of a long text share.
    """

    decode: str = "viterbi"
    window: int = encoder_config.UNLIMITED
    stride: int = 128


class Window(NamedTuple):
    """A part of a text as sub-words.

    Attributes:
        input_ids: (T,).
        words: the string that each sub-word covers; empty for a special one. (T,)
        positions: places of the first sub-words of the units that are tagged here.
        units: the numbers of these units.
    """

    input_ids: list[int]
    words: list[str]
    positions: list[int]
    units: list[int]


class Encoded(NamedTuple):
    """A text as windows; `offsets` are the character offsets of its units, in order."""

    offsets: list[tuple[int, int]]
    windows: list[Window]


class _SubWords(NamedTuple):
    """A window as the tokenizer gives it: ids and character offsets, None for special sub-words. (T,)"""

    ids: list[int]
    offsets: list[tuple[int, int] | None]


def encode(examples: Sequence[Example], tokenizer: Any, settings: Settings) -> list[Encoded]:
    """Cuts texts into overlapping windows of sub-words and finds the first sub-word of each unit.

    Where one unknown sub-word stands for a run of several units, because the vocabulary lacks a character
    in it, the characters of scripts written without blanks, and symbols such as emoji, are read again one
    by one. A unit without any sub-word (a character that the tokenizer drops) is left
    out: no tag reaches it.
    """
    if not examples:
        return []
    windows = _windows([example.text for example in examples], tokenizer, settings)
    merged = {number: units for number, example in enumerate(examples)
              if (units := _merged_units(example, windows[number], tokenizer.unk_token_id))}
    if merged:
        spread = [_spread(examples[number].text, units) for number, units in merged.items()]
        again = _windows([text for text, _ in spread], tokenizer, settings)
        for number, parts, (_, source) in zip(merged, again, spread, strict=True):
            windows[number] = [_in_source(part, source) for part in parts]
    return [_encoded(example, parts) for example, parts in zip(examples, windows, strict=True)]


def _windows(texts: Sequence[str], tokenizer: Any, settings: Settings) -> list[list[_SubWords]]:
    room = settings.window - tokenizer.num_special_tokens_to_add()
    encoding = tokenizer(list(texts), truncation=True, max_length=settings.window,
                         stride=max(0, min(settings.stride, room - 1)), split_special_tokens=True,
                         return_overflowing_tokens=True, return_offsets_mapping=True,
                         return_special_tokens_mask=True)
    unknown = tokenizer.unk_token_id
    # A vocabulary of whole words may have `[PAD]` itself as the word that a text holds.
    control = set() if unknown is None else set(tokenizer.all_special_ids) - {unknown}
    windows: list[list[_SubWords]] = [[] for _ in texts]
    for row, number in enumerate(encoding["overflow_to_sample_mapping"]):
        ids, offsets = encoding["input_ids"][row], encoding["offset_mapping"][row]
        is_special = encoding["special_tokens_mask"][row]
        windows[number].append(_SubWords(
            [unknown if id in control and not special else id
             for id, special in zip(ids, is_special, strict=True)],
            [None if special else offset for offset, special in zip(offsets, is_special, strict=True)]))
    return windows


def _merged_units(example: Example, windows: Iterable[_SubWords],
                  unknown: int | None) -> list[tuple[int, int]]:
    """Units that stand by themselves, and that an unknown sub-word covers together with others."""
    if example.tokens is not None or example.text.isascii() or unknown is None:
        return []
    units = word_units(example.text)
    unit_at = _unit_at(units, len(example.text))
    merged: set[int] = set()
    for window in windows:
        for id, offset in zip(window.ids, window.offsets, strict=True):
            if id == unknown and offset:
                covered = {unit for unit in unit_at[slice(*offset)] if unit >= 0}
                merged |= covered if len(covered) > 1 else set()
    return [units[number] for number in sorted(merged) if _stands_alone(example.text[units[number][0]])]


def _stands_alone(character: str) -> bool:
    """Whether a mention may begin or end beside a character without a blank: unspaced scripts, emoji."""
    return is_unspaced(character) or unicodedata.category(character)[0] == "S"


def _spread(text: str, units: Iterable[tuple[int, int]]) -> tuple[str, list[int]]:
    """The text with a blank on both sides of each unit, and for each of its offsets that in the text."""
    edges = {edge for unit in units for edge in unit}
    letters: list[str] = []
    source: list[int] = []
    for offset, letter in enumerate(text):
        if offset in edges:
            letters.append(" ")
            source.append(offset)
        letters.append(letter)
        source.append(offset)
    return "".join(letters), [*source, len(text)]


def _in_source(window: _SubWords, source: Sequence[int]) -> _SubWords:
    """The sub-words of a spread text with offsets into the text itself."""
    # What ends behind a character ends right behind it in the text, and not behind the blank put in.
    offsets = [offset and (source[offset[0]], source[offset[1] - 1] + 1) for offset in window.offsets]
    return _SubWords(window.ids, offsets)


def _encoded(example: Example, windows: Sequence[_SubWords]) -> Encoded:
    units = _units(example, [offset for window in windows for offset in window.offsets if offset])
    unit_at = _unit_at(units, len(example.text))
    # For each unit, its best place: most sub-words to the nearer edge of the window, window, position.
    best: dict[int, tuple[int, int, int]] = {}
    for number, (_, offsets) in enumerate(windows):
        seen = set()
        for position, offset in enumerate(offsets):
            unit = max(unit_at[offset[0]:offset[1]], default=-1) if offset else -1
            # A window may begin in the middle of a unit: its first sub-word is then in another one.
            if offset and unit >= 0 and unit not in seen:
                seen.add(unit)
                whole = not example.text[units[unit][0]:offset[0]].strip()
                context = min(position, len(offsets) - 1 - position) if whole else -1
                if unit not in best or context > best[unit][0]:
                    best[unit] = context, number, position
    kept = sorted(best)
    places: list[list[tuple[int, int]]] = [[] for _ in windows]
    for unit, old in enumerate(kept):
        _, number, position = best[old]
        places[number].append((position, unit))
    return Encoded([units[old] for old in kept], [
        Window(window.ids,
               [example.text[offset[0]:offset[1]] if offset else "" for offset in window.offsets],
               [position for position, _ in sorted(place)],
               [unit for _, unit in sorted(place)])
        for window, place in zip(windows, places, strict=True) if place])


def _units(example: Example, sub_words: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Character offsets of the units; those that one sub-word covers together are one."""
    units = tagged_units(example)
    joined = [False] * len(units)  # with the unit before
    unit_at = _unit_at(units, len(example.text))
    for start, end in sub_words:
        inside = [unit for unit in unit_at[start:end] if unit >= 0]
        for number in range(inside[0] + 1, inside[-1] + 1) if inside else ():
            joined[number] = True
    merged: list[tuple[int, int]] = []
    for unit, with_last in zip(units, joined, strict=True):
        if with_last:
            merged[-1] = merged[-1][0], unit[1]
        else:
            merged.append(unit)
    return merged


def _unit_at(units: Sequence[tuple[int, int]], length: int) -> list[int]:
    """The number of the unit that each character is in; -1 for none."""
    unit_at = [-1] * length
    for number, (start, end) in enumerate(units):
        unit_at[start:end] = [number] * (end - start)
    return unit_at


def tagged_units(example: Example) -> list[tuple[int, int]]:
    """Character offsets of what bears a tag, whatever a tokenizer makes of it."""
    if example.tokens is None:
        return word_units(example.text)
    return [(start, end) for start, end in example.tokens if example.text[start:end].strip()]


def tags_for(examples: Sequence[Example]) -> list[str]:
    """The BIO tags of the types that occur, `O` first."""
    types = sorted({span.label for example in examples for span in example.spans or ()})
    return ["O", *(f"{prefix}-{label}" for label in types for prefix in "BI")]


def gold_tags(example: Example, offsets: Offsets) -> list[str]:
    """BIO tags of the units; of spans that touch the same unit, the longest is kept."""
    kept: list[TokenRange] = []
    for span in sorted(example.spans or (), key=lambda span: (span.start - span.end, span)):
        for first, past, label in spans_to_token_ranges([span], offsets):
            if all(past <= other[0] or other[1] <= first for other in kept):
                kept.append((first, past, label))
    return token_ranges_to_tags(kept, len(offsets))


def unreachable(example: Example, tags: Sequence[str], offsets: Offsets) -> list[Span]:
    """Gold spans that perfect tags would not give back: they overlap another or cut through a unit."""
    reached = set(tags_to_spans(tags, offsets))
    return [span for span in example.spans or () if span not in reached]


def describe_unreachable(lost: Sequence[tuple[str, Span]]) -> str:
    """One line that counts and names mentions that tags cannot express, by example id and offsets."""
    return (f"{len(lost)} mentions cannot be expressed by tags (they overlap another, cut through a word, or "
            "hold no character that the tagger sees): "
            + shown([f"{id} {span.start}:{span.end}" for id, span in lost]))


def shown(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN_IDS} more" if len(names) > SHOWN_IDS else ""
    return ", ".join(names[:SHOWN_IDS]) + more
