"""Texts longer than a generator's context: overlapping windows, and one answer from theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from pipelines.examples import Example, Prediction, Span
from pipelines.spans import word_units

# The worst of the windows' statuses is that of the text.
WORST_FIRST = ("unparsable", "cut_off", "ok")
CONTEXT = 4  # a window sees a quarter of its own part again on each side


class TextWindow(NamedTuple):
    """A part of a text, in character offsets.

    Attributes:
        start: where the text that is read begins.
        end: where it ends.
        first: mentions that begin here or later are taken from this window,
        past: up to those that begin before this offset.
    """

    start: int
    end: int
    first: int
    past: int


def text_windows(text: str, fits: Callable[[str], bool], *, parts: int = 2) -> list[TextWindow]:
    """Splits a text between its units into a few equal windows that fit, with context around each.

    Args:
        text: the text.
        fits: whether a string is short enough.
        parts: the number of windows to try first.

    Returns:
        The windows, in order; none if not even a single unit fits.
    """
    units = word_units(text)
    if len(units) < 2:
        return []
    parts = min(len(units), max(2, parts))
    while True:
        windows = _windows(text, units, parts)
        if all(fits(text[window.start : window.end]) for window in windows):
            return windows
        if parts == len(units):
            return []
        parts = min(len(units), parts + max(1, parts // 4))


def _windows(text: str, units: Sequence[tuple[int, int]], parts: int) -> list[TextWindow]:
    edges = [round(part * len(units) / parts) for part in range(parts + 1)]
    context = max(1, len(units) // parts // CONTEXT)
    windows = []
    for first, past in pairwise(edges):
        start = units[max(0, first - context)][0]
        end = units[min(len(units), past + context) - 1][1]
        own_start = units[first][0] if first else 0
        own_end = units[past][0] if past < len(units) else len(text)
        windows.append(TextWindow(start, end, own_start, own_end))
    return windows


def merged_prediction(
    example: Example, windows: Sequence[TextWindow], answers: Sequence[Prediction]
) -> Prediction:
    """One prediction from those of a text's windows: each mention from the window it begins in."""
    spans: list[Span] = []
    mentions: list[Mapping[str, object]] = []
    for window, answer in zip(windows, answers, strict=True):
        for span in answer.spans or ():
            moved = replace(span, start=span.start + window.start, end=span.end + window.start)
            if window.first <= moved.start < window.past:
                spans.append(moved)
        for mention in answer.mentions or ():
            offsets = mention["place"] and [offset + window.start for offset in mention["place"]]
            if offsets is None or window.first <= offsets[0] < window.past:
                mentions.append({**mention, "place": offsets})
    statuses = {answer.status for answer in answers}
    return Prediction(
        example.id,
        spans=tuple(sorted(spans)),
        raw="\n".join(answer.raw or "" for answer in answers),
        status=next(status for status in WORST_FIRST if status in statuses),
        mentions=tuple(mentions),
    )
