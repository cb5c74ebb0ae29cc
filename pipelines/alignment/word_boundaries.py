"""Where words begin and end in a text, and which characters belong to one letter."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

# Overlapping occurrences of one string are looked for up to this length.
OVERLAPPING_LENGTH = 1000


def inside_word(text: str, offset: int) -> bool:
    """Whether an offset cuts a word in two (it is between letters or digits), or a letter.

    Scripts without case (Chinese, Thai, Arabic) write words, or prefixes, together: any offset is
    a boundary there, but for one that cuts a combining mark off its letter.
    """
    if not 0 < offset < len(text):
        return False
    if is_mark(text[offset]):
        return cuts_mark(text, offset)
    if not _of_word(text[offset]):
        return False
    base = offset - 1
    while base and is_mark(text[base]):
        base -= 1
    return _of_word(text[base]) and not is_mark(text[base])


def _of_word(character: str) -> bool:
    return character.isdecimal() or character.lower() != character.upper()


def is_mark(character: str) -> bool:
    """Whether a character is written on the one before: an accent, a vowel sign, a final."""
    if character < "\u0300":
        return False
    # Hangul in pieces: its vowels and finals are letters by category, but parts of one syllable.
    return unicodedata.category(character)[0] == "M" or "\u1160" <= character <= "\u11ff"


def cuts_mark(text: str, offset: int) -> bool:
    """Whether an offset cuts a combining mark off its letter. After a blank it has none."""
    return 0 < offset < len(text) and is_mark(text[offset]) and not text[offset - 1].isspace()


def on_boundaries(text: str, offsets: tuple[int, int]) -> bool:
    """Whether a half-open range begins and ends at words."""
    return not inside_word(text, offsets[0]) and not inside_word(text, offsets[1])


def find_all(text: str, string: str) -> list[tuple[int, int]]:
    """The half-open ranges of a string in a text, inside words too, from left to right."""
    # A long string that overlaps itself ("aaaa…") would cost its length at every letter.
    step = 1 if len(string) <= OVERLAPPING_LENGTH else len(string)
    ranges, start = [], text.find(string)
    while start >= 0:
        ranges.append((start, start + len(string)))
        start = text.find(string, start + step)
    return ranges


def find_variant(text: str, string: str) -> str | None:
    """Finds what a text has instead of a string that is not in it: the same letters, other marks.

    Either the same characters in other code points (é as one code point or as e and a combining
    accent), or the letters with other marks. They may look the same: show them by `ascii`.
    """
    bare = "".join(letter for letter, _ in _bare_letters(string))
    if not bare:
        return None
    pairs = list(_bare_letters(text))
    letters = "".join(letter for letter, _ in pairs)
    candidates = []
    for start, past in find_all(letters, bare):
        end = pairs[past - 1][1] + 1
        while end < len(text) and cuts_mark(text, end):
            end += 1
        if on_boundaries(text, (pairs[start][1], end)):
            candidates.append(text[pairs[start][1] : end])
    composed = unicodedata.normalize("NFC", string)
    equivalent = [c for c in candidates if unicodedata.normalize("NFC", c) == composed]
    return next(iter(equivalent or candidates), None)


def _bare_letters(text: str) -> Iterator[tuple[str, int]]:
    """The letters of a text without marks, white space and case, each with its offset."""
    for offset, character in enumerate(text):
        if character.isspace():
            continue
        for letter in unicodedata.normalize("NFD", character.casefold()):
            if not is_mark(letter):
                yield letter, offset


def find_occurrences(text: str, string: str) -> Iterator[tuple[int, int]]:
    """Yields the occurrences of a string on word boundaries, in the same case, from left to right.

    They do not overlap one another. An empty string occurs nowhere.
    """
    start = 0
    while string and (start := text.find(string, start)) >= 0:
        end = start + len(string)
        if inside_word(text, start) or inside_word(text, end):
            start += 1
        else:
            yield start, end
            start = end
