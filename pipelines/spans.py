"""Tags, token ranges and character spans: the conversions between them (pure, no model, no file).

A *token range* is `(first, past, label)`, half-open in tokens. A *span* is half-open in characters.
*Token offsets* are a sequence of half-open character offsets, one pair a token, in order and
without overlap.

Schemes: `BIO` (IOB2: every mention opens with B), `IOB1` (B only between two touching mentions of
one type), `BIOES` (also written BILOU or BMES: E closes, S is a single token) and `IO` (bare types,
no prefix).
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from functools import cache

from pipelines.examples import Span

TokenRange = tuple[int, int, str]
Offsets = Sequence[tuple[int, int]]

SCHEMES = ("BIO", "IOB1", "BIOES", "IO")
_TAG = re.compile(r"([BIESLUM])(?:[-_](.+))?", re.DOTALL)
_CANONICAL = {"L": "E", "U": "S", "M": "I"}
# Letters of the scripts that are written without blanks between words, as the inside of a character
# class. Their digits are left out: a number is one unit there too.
UNSPACED = (
    "\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\U00020000-\U000323af"  # Han beyond the first plane
    "\u3041-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001aff0-\U0001b16f"  # Kana
    "\u0e01-\u0e3a\u0e40-\u0e4e"  # Thai
    "\u0e81-\u0eba\u0ebc-\u0ece\u0edc-\u0edf"  # Lao
    "\u1000-\u103f\u104c-\u108f\u109a-\u109f\ua9e0-\ua9ef\ua9fa-\ua9ff\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17d3\u17d7-\u17dd"  # Khmer
)
_UNSPACED = re.compile(f"[{UNSPACED}]")
_ASCII_UNITS = re.compile(r"[^\W_]+|[^\w\s]|_")


def join_tokens(tokens: Sequence[str]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Joins tokens by one blank.

    Returns:
        The text, and the half-open character offsets of each token in it.
    """
    offsets, start = [], 0
    for token in tokens:
        offsets.append((start, start + len(token)))
        start += len(token) + 1
    return " ".join(tokens), tuple(offsets)


def whitespace_tokens(text: str) -> tuple[tuple[int, int], ...]:
    """Half-open character offsets of the runs of non-blank characters in `text`."""
    return tuple(match.span() for match in re.finditer(r"\S+", text))


def word_units(text: str) -> list[tuple[int, int]]:
    """Half-open character offsets of the units that are tagged in natural text.

    A unit is a run of letters and digits, or a single other character that is not a blank. In
    scripts written without blanks between words (Han, Hiragana, Katakana, Thai, Lao, Myanmar,
    Khmer) each letter is a unit, so that a mention may begin and end at any of them. Combining
    marks belong to the character before them.
    """
    # ASCII has no marks and no scripts without blanks: the same units in a third of the time.
    pattern = _ASCII_UNITS if text.isascii() else _unit_pattern()
    return [match.span() for match in pattern.finditer(text)]


def is_unspaced(character: str) -> bool:
    """Whether a character is a letter of a script that is written without blanks between words."""
    return _UNSPACED.match(character) is not None


@cache
def _unit_pattern() -> re.Pattern[str]:
    marks = f"[{_combining_marks()}]*"
    letter = rf"(?![{UNSPACED}])[^\W_]"
    return re.compile(rf"[{UNSPACED}]{marks}|(?:{letter}{marks})+|(?:[^\w\s]|_){marks}")


@cache
def _combining_marks() -> str:
    """All combining marks (Unicode category M), as the inside of a character class."""
    # There are none below U+0300, and beyond U+1FFFF only the variation selectors.
    characters = map(chr, range(0x300, 0x20000))
    marks = [character for character in characters if unicodedata.category(character)[0] == "M"]
    return "".join(marks) + "\U000e0100-\U000e01ef"


def split_tag(tag: str, scheme: str = "BIO") -> tuple[str, str]:
    """Splits a tag into prefix and type: `B-Disease` is `("B", "Disease")`, `O` is `("O", "")`.

    BILOU's L and U and BMES's M become E, S and I. In the scheme `IO` the whole tag is the type.
    """
    if tag == "O":
        return "O", ""
    match = None if scheme == "IO" else _TAG.fullmatch(tag)
    if match is None:
        return "I", tag
    prefix, label = match.groups()
    return _CANONICAL.get(prefix, prefix), label or ""


def looks_like_tag(string: str) -> bool:
    """Whether a string has the form of a tag with a prefix, or is `O`."""
    return string == "O" or _TAG.fullmatch(string) is not None


def detect_scheme(sequences: Iterable[Sequence[str]]) -> str:
    """Names the scheme that a corpus is tagged in.

    IOB1 and BIO differ in how a mention opens that does not touch another of its type: the majority
    of those decides. In BIOES most mentions are closed by an E or S: a stray one among others is a
    wrong tag, not a scheme.
    """
    opens_with: dict[str, int] = {"B": 0, "I": 0, "E": 0, "S": 0}
    bare = prefixed = opened = closed = 0
    for tags in sequences:
        before = ("O", "")
        for tag in tags:
            prefix, label = split_tag(tag)
            closed += prefix in ("E", "S")
            opened += prefix in ("B", "S") or (prefix == "I" and before[0] == "O")
            if prefix != "O":
                has_prefix = looks_like_tag(tag)
                prefixed += has_prefix
                bare += not has_prefix
                if before[0] == "O" or before[1] != label:
                    opens_with[prefix] += 1
            before = (prefix, label)
    if bare > prefixed:
        return "IO"
    if 2 * closed > opened:
        return "BIOES"
    return "IOB1" if opens_with["I"] > opens_with["B"] else "BIO"


def _closes(before: tuple[str, str], now: tuple[str, str]) -> bool:
    """Whether a mention with the tag `before` ends ahead of the tag `now`."""
    return before[0] in ("E", "S") or now[0] in ("O", "B", "S") or before[1] != now[1]


def tags_to_token_ranges(tags: Sequence[str], *, scheme: str = "BIO") -> list[TokenRange]:
    """Reads tags as conlleval does: every sequence of tags can be read, illegal ones too.

    A mention opens at B or S, at a change of type, and at I or E after O; it ends ahead of O, B, S
    or another type, and behind E or S.

    Args:
        tags: sequence of length T.
        scheme: one of `SCHEMES`; only `IO` is read differently from the others.

    Returns:
        Half-open token ranges with types, in order, without overlap.
    """
    ranges: list[TokenRange] = []
    first: int | None = None
    before = ("O", "")
    for position, tag in enumerate([*tags, "O"]):
        now = split_tag(tag, scheme)
        if first is not None and _closes(before, now):
            ranges.append((first, position, before[1]))
            first = None
        if first is None and now[0] != "O":
            first = position
        before = now
    return ranges


def token_ranges_to_tags(
    ranges: Iterable[TokenRange], length: int, *, scheme: str = "BIO"
) -> list[str]:
    """Writes token ranges as tags.

    Args:
        ranges: half-open, not empty, without overlap.
        length: number of tokens, T.
        scheme: one of `SCHEMES`. `IO` loses the border between touching mentions of one type.

    Returns:
        List of T tags.

    Raises:
        ValueError: when a range is empty, overlaps another or leaves `[0, length]`.
    """
    tags = ["O"] * length
    before_past, before_label = -1, ""
    for first, past, label in sorted(ranges):
        if not max(0, before_past) <= first < past <= length:
            raise ValueError(
                f"token range {first}:{past} is empty, overlaps another or is not within 0:{length}"
            )
        touches = first == before_past and label == before_label
        tags[first:past] = _tags_of_range(past - first, label, scheme, touches)
        before_past, before_label = past, label
    return tags


def _tags_of_range(length: int, label: str, scheme: str, touches: bool) -> list[str]:
    """The tags of one mention; `touches` says that another of its type ends where it begins."""
    if scheme == "IO":
        return [label] * length
    ending = f"-{label}" if label else ""
    tags = [f"I{ending}"] * length
    if scheme != "IOB1" or touches:
        tags[0] = f"B{ending}"
    if scheme == "BIOES":
        tags[-1] = f"S{ending}" if length == 1 else f"E{ending}"
    return tags


def illegal_tags(tags: Sequence[str], *, scheme: str = "BIO") -> list[tuple[int, str]]:
    """Finds what breaks the scheme.

    Returns:
        (position, reason) of each illegal tag; position T for a mention that is not closed.
    """
    if scheme == "IO":
        return []
    faults = []
    before, before_tag = ("O", ""), "the start"
    needs_open = ("B",) if scheme == "IOB1" else ("I", "E")
    for position, tag in enumerate([*tags, "O"]):
        now = split_tag(tag, scheme)
        is_open = before[0] in ("B", "I")
        continues = is_open and now[1] == before[1]
        if not looks_like_tag(tag) or (now[0] in ("E", "S") and scheme != "BIOES"):
            faults.append((position, f"{tag!r} is no {scheme} tag"))
        elif scheme == "BIOES" and is_open and not (continues and now[0] in ("I", "E")):
            following = "the end" if position == len(tags) else tag
            faults.append((position, f"{before_tag} is not closed before {following}"))
        elif now[0] in needs_open and not continues:
            faults.append((position, f"{tag} follows {before_tag}"))
        before, before_tag = now, tag
    return faults


def token_ranges_to_spans(ranges: Iterable[TokenRange], tokens: Offsets) -> list[Span]:
    """Turns half-open token ranges into character spans, by (T, 2) character offsets of tokens."""
    return [Span(tokens[first][0], tokens[past - 1][1], label) for first, past, label in ranges]


def spans_to_token_ranges(spans: Iterable[Span], tokens: Offsets) -> list[TokenRange]:
    """Gives each span the tokens that it touches, even in part, in the order of the spans.

    A span that touches no token is left out.
    """
    starts, ends = [start for start, _ in tokens], [end for _, end in tokens]
    ranges = []
    for span in spans:
        first, past = bisect_right(ends, span.start), bisect_left(starts, span.end)
        if first < past:
            ranges.append((first, past, span.label))
    return ranges


def tags_to_spans(tags: Sequence[str], tokens: Offsets, *, scheme: str = "BIO") -> list[Span]:
    """Reads T tags over tokens with (T, 2) character offsets; see `tags_to_token_ranges`."""
    return token_ranges_to_spans(tags_to_token_ranges(tags, scheme=scheme), tokens)


def spans_to_tags(spans: Iterable[Span], tokens: Offsets, *, scheme: str = "BIO") -> list[str]:
    """Writes spans as T tags over tokens with (T, 2) character offsets.

    This is the one rule for all taggers, scores and submissions: a span tags every token that it
    touches. Of spans that touch the same token, the one with the highest score is kept, then the
    longest, then the first. Gold spans have no scores.
    """

    def priority(span: Span) -> tuple[float, int, Span]:
        return -(span.score or 0.0), span.start - span.end, span

    kept: list[TokenRange] = []
    taken: set[int] = set()
    for first, past, label in spans_to_token_ranges(sorted(spans, key=priority), tokens):
        if taken.isdisjoint(range(first, past)):
            kept.append((first, past, label))
            taken.update(range(first, past))
    return token_ranges_to_tags(kept, len(tokens), scheme=scheme)


def overlap(a: Span, b: Span) -> bool:
    """Whether two spans have a character in common, whatever their types."""
    return max(a.start, b.start) < min(a.end, b.end)


def overlapping_pairs(spans: Iterable[Span]) -> list[tuple[Span, Span]]:
    """All pairs of spans that have a character in common, each pair in order of offsets."""
    pairs: list[tuple[Span, Span]] = []
    open_spans: list[Span] = []
    for span in sorted(spans):
        open_spans = [other for other in open_spans if other.end > span.start]
        pairs.extend((other, span) for other in open_spans if overlap(other, span))
        open_spans.append(span)
    return pairs


def are_nested(texts: Iterable[Iterable[Span]]) -> bool:
    """Whether mentions of some text overlap: lie within one another, cross, or share a span."""
    return any(overlapping_pairs(spans) for spans in texts)


def longest_without_overlaps(spans: Iterable[Span]) -> list[Span]:
    """Of spans that overlap the longest, then the first: what tags can hold of them, in order."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start - span.end, span)):
        if not any(overlap(span, other) for other in kept):
            kept.append(span)
    return sorted(kept)
