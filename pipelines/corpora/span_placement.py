"""Mentions of one text -> spans, by the notation of the file; and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.alignment.strings import Generated, Mention, align
from pipelines.alignment.word_boundaries import find_occurrences, find_variant, inside_word
from pipelines.corpora.corpus import Finding
from pipelines.corpora.mentions import RawMention
from pipelines.corpora.notation import (
    ENDS,
    Notation,
    character_offsets,
    is_whole,
    same_string,
    unit_positions,
)
from pipelines.examples import Span
from pipelines.spans import Offsets, overlapping_pairs

KEEP_BOTH = " (--nested true keeps both)"


def to_spans(
    mentions: Sequence[RawMention],
    text: str,
    tokens: Offsets | None,
    notation: Notation,
    *,
    label: str,
    nested: bool = False,
) -> tuple[list[Span], list[Finding]]:
    """Converts the mentions of one row to spans.

    Args:
        mentions: those with offsets are placed by them, the others by their text.
        text: the row's text.
        tokens: half-open character offsets of its tokens, where it has them.
        notation: what the file's offsets count.
        label: type of the mentions without one.
        nested: whether mentions may overlap; the same span of the same type twice is a fault still.

    Returns:
        Sorted spans, and what is wrong with mentions and spans.
    """
    spans: list[Span] = []
    findings: list[Finding] = []
    for mention in mentions:
        if mention.start is None:
            continue
        offsets, finding = _by_offsets(mention, text, tokens, notation)
        if finding:
            findings.append(finding)
        if offsets:
            spans.append(Span(*offsets, mention.label or label))
            is_by_character = mention.text is None and notation.unit != "token"
            if is_by_character and not is_whole(text, offsets):
                findings.append(_cut_word(text, offsets))
    strings = [Generated(m.text or "", m.label or label) for m in mentions if m.start is None]
    for aligned in align(text, strings, nested=nested):
        finding = _not_placed(aligned, text)
        if finding:
            findings.append(finding)
        elif aligned.span:
            spans.append(aligned.span)
    findings += [
        _overlap(text, first, second)
        for first, second in overlapping_pairs(spans)
        if first == second or not nested
    ]
    return sorted(spans), findings


def _by_offsets(
    mention: RawMention, text: str, tokens: Offsets | None, notation: Notation
) -> tuple[tuple[int, int] | None, Finding | None]:
    start, end, claimed = mention.start or 0, mention.end or 0, mention.text
    offsets = character_offsets(mention, text, tokens, notation)
    written = f"{notation.unit} offsets {start}:{end}"
    covered = text[slice(*offsets)] if offsets else ""
    if offsets and (claimed is None or same_string(covered, claimed, notation.unit)):
        if covered.strip():
            return offsets, None
        return None, ("empty_span", f"{written} hold only blanks", None)
    repair = None if claimed is None else _repaired(claimed, text, tokens, notation, start)
    if offsets:
        return None, ("wrong_offsets", f"{written} hold {covered!r}, not {claimed!r}", repair)
    if end + ENDS[notation.ends] <= start:
        return None, ("empty_span", f"{written} hold nothing", repair)
    size = f"{len(text)} characters"
    if notation.unit == "token":
        size = f"{len(tokens or ())} tokens"
    return None, ("wrong_offsets", f"{written} are not in the text, which has {size}", repair)


def _repaired(
    claimed: str, text: str, tokens: Offsets | None, notation: Notation, start: int
) -> str | None:
    """The offsets, in the file's own notation, of the claimed text: the nearest, if several."""
    if notation.unit == "token" and tokens is not None:
        ranges = _token_ranges(claimed, text, tokens)
    else:
        starts = [match.start() for match in re.finditer(f"(?={re.escape(claimed)})", text)]
        ranges = [(first, first + len(claimed)) for first in starts if claimed]
        if notation.unit != "character":
            positions = unit_positions(text, notation.unit)
            units = {position: offset for offset, position in positions.items()}
            ranges = [(units.get(s, s), units.get(e, e)) for s, e in ranges]
    if not ranges:
        span = align(text, [Generated(claimed, "mention")])[0].span
        if span is None:
            return None
        return f"the text has {text[span.start : span.end]!r} at {span.start}:{span.end}"
    first, past = min(ranges, key=lambda offsets: abs(offsets[0] - start))
    which = "its only occurrence"
    if len(ranges) > 1:
        which = f"the nearest of {len(ranges)} occurrences"
    shift = first - start
    what = f"{shift:+d} {notation.unit}s" if shift else "the end was wrong"
    return f"start {first}, end {past - ENDS[notation.ends]} ({which}, {what})"


def _token_ranges(claimed: str, text: str, tokens: Offsets) -> list[tuple[int, int]]:
    """The ranges of tokens that spell a string."""
    ranges = []
    for first, (start, _) in enumerate(tokens):
        for past, (_, end) in enumerate(tokens[first:], start=first + 1):
            if same_string(text[start:end], claimed, "token"):
                ranges.append((first, past))
    return ranges


def _not_placed(aligned: Mention, text: str) -> Finding | None:
    """What is wrong with a string that the text does not have letter for letter, as whole words."""
    string, span = aligned.string, aligned.span
    if not string:
        return "empty_span", "an empty mention", "leave it out"
    if span is None and aligned.status != "not_in_text":
        n = len(list(find_occurrences(text, string)))
        message = f"{string!r} is listed more often than it occurs ({n} times)"
        return "not_in_text", message, "leave one out"
    missing = f"{string!r} is not in the text"
    if span is None:
        variant = find_variant(text, string)
        return "not_in_text", missing, f"the text has {variant!a}" if variant else None
    if aligned.status != "exact":
        return "not_in_text", missing, f"the text has {text[span.start : span.end]!r}"
    if inside_word(text, span.start) or inside_word(text, span.end):
        repair = f"give offsets (start {span.start}, end {span.end}), or write the whole word"
        return "not_in_text", f"{string!r} occurs only within a word", repair
    return None


def _overlap(text: str, first: Span, second: Span) -> Finding:
    shown = " and ".join(
        f"{text[span.start : span.end]!r} ({span.start}:{span.end})" for span in (first, second)
    )
    if (first.start, first.end) == (second.start, second.end):
        is_same = first.label == second.label
        types = "" if is_same else f", as {first.label} and as {second.label}{KEEP_BOTH}"
        return "overlapping_spans", f"the same span twice: {shown}{types}", "leave one out"
    is_nested = second.end <= first.end or first.start == second.start
    repair = "keep the longer one" if is_nested else None
    return "overlapping_spans", f"spans overlap: {shown}{KEEP_BOTH}", repair


def _cut_word(text: str, offsets: tuple[int, int]) -> Finding:
    start, end = offsets
    shown = f"{text[max(0, start - 10) : start]}[{text[start:end]}]{text[end : end + 10]}"
    message = f"the mention {start}:{end} does not begin and end at words: {shown!r}"
    return "cuts_word", message, None
