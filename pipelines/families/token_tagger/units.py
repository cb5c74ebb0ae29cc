"""Texts as windows of sub-words, and as the units that have a tag.

A *unit* is what has a tag: a token of a tokenised corpus, else a piece from `spans.word_units`,
which is a single character in scripts written without blanks. The tag is that of its first
sub-word; units that one sub-word covers are one unit. Each unit is tagged in exactly one window,
the one in which it has the most context on both sides.

Control tokens in a text (`[SEP]`, `</s>`) are text: they become ordinary sub-words.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from pipelines.examples import Example
from pipelines.families.tag_units import tagged_units
from pipelines.networks import encoder_config
from pipelines.spans import is_unspaced, word_units


@dataclass(frozen=True, slots=True)
class TaggerSettings:
    """How texts are cut into windows and tags are decoded.

    Attributes:
        decode: `argmax` (each unit by itself), `viterbi` (the most probable legal BIO tags), `crf`
            (the most probable path under the model's own transition scores), `spans` (whole spans
            are scored, without tags).
        window: sub-words of a window at most, special ones included.
        stride: sub-words that neighbouring windows of a long text share.
    """

    decode: str = "viterbi"
    window: int = encoder_config.UNLIMITED
    stride: int = 128


class Window(NamedTuple):
    """A part of a text as sub-words.

    Attributes:
        input_ids: (T,).
        words: (T,), the string that each sub-word covers; empty for a special one.
        positions: (U,), where the first sub-words of the units are that are tagged here.
        units: (U,), the indices of these units.
        word_of: (T,), the index in `Encoded.words` of the word that each sub-word begins in; -1
            for a special one.
        offsets: (T,), the characters that each sub-word covers; None for a special one.
    """

    input_ids: list[int]
    words: list[str]
    positions: list[int]
    units: list[int]
    word_of: list[int]
    offsets: Sequence[tuple[int, int] | None] = ()


class Encoded(NamedTuple):
    """A text as windows.

    Attributes:
        offsets: (U, 2), character offsets of its units, in order.
        windows: those in which a unit is tagged.
        words: (W,), what it has as units before a tokenizer joins or drops any.
    """

    offsets: list[tuple[int, int]]
    windows: list[Window]
    words: list[str]


class _SubWords(NamedTuple):
    """A window from the tokenizer: (T,) ids and character offsets, None for special sub-words."""

    ids: list[int]
    offsets: list[tuple[int, int] | None]


def encode(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, settings: TaggerSettings
) -> list[Encoded]:
    """Cuts texts into overlapping windows of sub-words and finds the first sub-word of each unit.

    Where one unknown sub-word covers several units, because the vocabulary lacks a character of
    theirs, the characters of scripts written without blanks, and symbols such as emoji, are
    tokenised again one by one. A unit without any sub-word (a character that the tokenizer drops)
    is left out: no tag reaches it.
    """
    if not examples:
        return []
    windows = _windows([example.text for example in examples], tokenizer, settings)
    merged: dict[int, list[tuple[int, int]]] = {}
    for index, example in enumerate(examples):
        units = _merged_units(example, windows[index], tokenizer.unk_token_id)
        if units:
            merged[index] = units
    if merged:
        spread = [_spread(examples[index].text, units) for index, units in merged.items()]
        again = _windows([text for text, _ in spread], tokenizer, settings)
        for index, parts, (_, source) in zip(merged, again, spread, strict=True):
            windows[index] = [_in_source(part, source) for part in parts]
    return [_encoded(example, parts) for example, parts in zip(examples, windows, strict=True)]


def _windows(
    texts: Sequence[str], tokenizer: PreTrainedTokenizerBase, settings: TaggerSettings
) -> list[list[_SubWords]]:
    room = settings.window - tokenizer.num_special_tokens_to_add()
    encoding = tokenizer(
        list(texts),
        truncation=True,
        max_length=settings.window,
        stride=max(0, min(settings.stride, room - 1)),
        split_special_tokens=True,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    unknown = tokenizer.unk_token_id
    # In a vocabulary of whole words, `[PAD]` itself may be a word of a text.
    control = set() if unknown is None else set(tokenizer.all_special_ids) - {unknown}
    windows: list[list[_SubWords]] = [[] for _ in texts]
    for row, index in enumerate(encoding["overflow_to_sample_mapping"]):
        window = _SubWords([], [])
        for id, offset, is_special in zip(
            encoding["input_ids"][row],
            encoding["offset_mapping"][row],
            encoding["special_tokens_mask"][row],
            strict=True,
        ):
            window.ids.append(unknown if id in control and not is_special else id)
            window.offsets.append(None if is_special else offset)
        windows[index].append(window)
    return windows


def _merged_units(
    example: Example, windows: Iterable[_SubWords], unknown: int | None
) -> list[tuple[int, int]]:
    """Units that need no blank beside them, and that one unknown sub-word covers with others."""
    if example.tokens is not None or example.text.isascii() or unknown is None:
        return []
    units = word_units(example.text)
    unit_at = _unit_at(units, len(example.text))
    merged: set[int] = set()
    for window in windows:
        for id, offset in zip(window.ids, window.offsets, strict=True):
            if id != unknown or not offset:
                continue
            covered = {unit for unit in unit_at[slice(*offset)] if unit >= 0}
            if len(covered) > 1:
                merged |= covered
    in_order = [units[unit] for unit in sorted(merged)]
    return [(start, end) for start, end in in_order if _stands_alone(example.text[start])]


def _stands_alone(character: str) -> bool:
    """Whether a mention may begin or end here without a blank: unspaced scripts, emoji."""
    return is_unspaced(character) or unicodedata.category(character)[0] == "S"


def _spread(text: str, units: Iterable[tuple[int, int]]) -> tuple[str, list[int]]:
    """Puts blanks around units.

    Returns:
        The new text, and for each of its offsets that in the given text.
    """
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
    """The sub-words of a spread text, with offsets into the text itself."""
    offsets: list[tuple[int, int] | None] = []
    for offset in window.offsets:
        if offset is None:
            offsets.append(None)
        else:
            # The end is that of the last character, not that of a blank behind it.
            offsets.append((source[offset[0]], source[offset[1] - 1] + 1))
    return _SubWords(window.ids, offsets)


def _encoded(example: Example, windows: Sequence[_SubWords]) -> Encoded:
    sub_words = [offset for window in windows for offset in window.offsets if offset]
    words = tagged_units(example)
    word_at = _unit_at(words, len(example.text))
    units = _units(words, word_at, sub_words)
    best = _best_positions(example.text, units, windows)
    reached = sorted(best)
    positions: list[list[int]] = [[] for _ in windows]
    tagged: list[list[int]] = [[] for _ in windows]
    for index, unit in enumerate(reached):
        window, position = best[unit]
        positions[window].append(position)
        tagged[window].append(index)
    kept = [
        Window(
            part.ids,
            _covered(example.text, part),
            positions[number],
            tagged[number],
            _first_words(word_at, part),
            part.offsets,
        )
        for number, part in enumerate(windows)
        if tagged[number]
    ]
    strings = [example.text[start:end] for start, end in words]
    return Encoded([units[unit] for unit in reached], kept, strings)


def _first_words(word_at: Sequence[int], window: _SubWords) -> list[int]:
    words = []
    for offset in window.offsets:
        inside = (word for word in word_at[slice(*offset)] if word >= 0) if offset else ()
        words.append(next(iter(inside), -1))
    return words


def _covered(text: str, window: _SubWords) -> list[str]:
    return [text[slice(*offset)] if offset else "" for offset in window.offsets]


def _best_positions(
    text: str, units: Sequence[tuple[int, int]], windows: Sequence[_SubWords]
) -> dict[int, tuple[int, int]]:
    """Where each unit is tagged: window and position of its first sub-word.

    Of several windows the one with the most sub-words between the unit and the nearer edge.
    """
    unit_at = _unit_at(units, len(text))
    context: dict[int, int] = {}
    best: dict[int, tuple[int, int]] = {}
    for number, (_, offsets) in enumerate(windows):
        seen = {-1}
        for position, offset in enumerate(offsets):
            unit = max(unit_at[slice(*offset)], default=-1) if offset else -1
            if not offset or unit in seen:
                continue
            seen.add(unit)
            # A window may begin inside a unit: its first sub-word is then in another window.
            is_first = not text[units[unit][0] : offset[0]].strip()
            distance = min(position, len(offsets) - 1 - position) if is_first else -1
            if unit not in best or distance > context[unit]:
                context[unit], best[unit] = distance, (number, position)
    return best


def _units(
    units: Sequence[tuple[int, int]],
    unit_at: Sequence[int],
    sub_words: Iterable[tuple[int, int]],
) -> list[tuple[int, int]]:
    """Character offsets of the units; those that one sub-word covers together are one."""
    joined = [False] * len(units)  # with the unit before
    for start, end in sub_words:
        inside = [unit for unit in unit_at[start:end] if unit >= 0]
        if inside:
            after_first = slice(inside[0] + 1, inside[-1] + 1)
            joined[after_first] = [True] * (inside[-1] - inside[0])
    merged: list[tuple[int, int]] = []
    for unit, with_last in zip(units, joined, strict=True):
        if with_last:
            merged[-1] = merged[-1][0], unit[1]
        else:
            merged.append(unit)
    return merged


def _unit_at(units: Sequence[tuple[int, int]], length: int) -> list[int]:
    """The index of the unit that each character is in; -1 for none."""
    unit_at = [-1] * length
    for index, (start, end) in enumerate(units):
        unit_at[start:end] = [index] * (end - start)
    return unit_at
