"""Prompts of a language model, and how its answer becomes spans: prompts and answer formats.

`FORMATS` names three ways to write the mentions of a text. Each is a pair: `render` writes the
answer that a model is trained on, `parse` reads whatever a model wrote. Mentions are written in
order of appearance, with repeats.

| format | one type | several types | no mention |
| --- | --- | --- | --- |
| list | `a; b` | `PER: a; b | LOC: c | PER: d` (the type is written where it changes) | `none` |
| json | `["a", "b"]` | `[{"PER": "a"}, {"LOC": "c"}]` | `[]` |
| tagged | `the <Disease>colon cancer</Disease> gene` | the same | the text |

Escapes in a list: a backslash before `;`, `|`, a backslash, and a blank at either end; a line break
is `\\n`; a mention that reads `none` is `n\\one`. In a tagged text: a backslash before text that
looks like a mark; backslashes right before any mark are written twice.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import NamedTuple

from pipelines.alignment.copies import offsets_in
from pipelines.alignment.strings import Generated, Mention, align, repair_status
from pipelines.errors import UserError
from pipelines.examples import Span


class Parsed(NamedTuple):
    """A parsed answer: spans sorted by offset, mentions in generated order, `ok` or `unparsable`.

    `unparsable`: the answer leaves the format; what could be parsed of it is kept.
    """

    spans: tuple[Span, ...]
    mentions: tuple[Mention, ...]
    status: str


class PromptFormat(NamedTuple):
    """One way to write mentions.

    Attributes:
        render: `(text, spans, labels) -> answer`. Empty spans and spans of other labels are left
            out.
        parse: `(answer, text, labels, *, cut_off=False, nested=False) -> Parsed`. Never raises.
            With `cut_off` (the length limit was hit) a last, perhaps half-written mention is
            dropped. With `nested` mentions may overlap (see `align`).
        instruction: `(labels) -> one line` for a chat model.
        cue: the end of a base model's prompt, with `{}` for the types.
    """

    render: Callable[[str, Iterable[Span], Sequence[str]], str]
    parse: Callable[..., Parsed]
    instruction: Callable[[Sequence[str]], str]
    cue: str


class Labels(tuple[str, ...]):
    """The types of mentions in order, with what the formats look up about them, prepared once.

    A function that takes labels takes these too: to render many rows with many types, make them
    once by `Labels.of`.
    """

    @staticmethod
    def of(labels: Sequence[str]) -> Labels:
        """The labels as `Labels`."""
        return labels if isinstance(labels, Labels) else _prepared(tuple(labels))

    @cached_property
    def members(self) -> frozenset[str]:
        """The labels as a set."""
        return frozenset(self)

    @cached_property
    def by_casefold(self) -> dict[str, str]:
        """The first label of each spelling without case."""
        return {label.casefold(): label for label in reversed(self)}

    @cached_property
    def by_escaped(self) -> dict[str, str]:
        """Each label by its spelling in a list."""
        return {escaped(label): label for label in self}

    @cached_property
    def mark(self) -> re.Pattern[str]:
        """An opening or closing mark with the backslashes before it: groups 1 to 3."""
        names = "|".join(re.escape(label) for label in sorted(self, key=len, reverse=True))
        # Without looking behind, a run of n backslashes would be tried from each of them.
        return re.compile(rf"(?<!\\)(\\*)<(/?)({names})>")

    def known(self, written: str) -> str | None:
        """The label that is written, in any case; None for others."""
        return written if written in self.members else self.by_casefold.get(written.casefold())


@lru_cache(maxsize=16)
def _prepared(labels: tuple[str, ...]) -> Labels:
    return Labels(labels)


def prompt_format(name: str) -> PromptFormat:
    """Looks a format up by name.

    Raises:
        UserError: for an unknown name.
    """
    if name not in FORMATS:
        raise UserError(f"got the prompt format {name!r}; wanted one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _parsed(text: str, items: Sequence[Generated], well_formed: bool, *, nested: bool) -> Parsed:
    mentions = align(text, items, nested=nested)
    spans = tuple(sorted(mention.span for mention in mentions if mention.span))
    return Parsed(spans, mentions, "ok" if well_formed else "unparsable")


def _in_order(spans: Iterable[Span], labels: Labels) -> list[Span]:
    """Spans to write, in order of appearance, the longer one first where two begin together."""
    written = [span for span in spans if span.start < span.end and span.label in labels.members]
    return sorted(written, key=lambda span: (span.start, -span.end, span.label))


# list


def _render_list(text: str, spans: Iterable[Span], labels: Sequence[str]) -> str:
    labels = Labels.of(labels)
    parts: list[str] = []
    previous = None
    for span in _in_order(spans, labels):
        if len(labels) > 1 and span.label != previous:
            separator = " | " if parts else ""
            parts.append(f"{separator}{escaped(span.label)}: ")
        elif parts:
            parts.append("; ")
        parts.append(escaped(text[span.start : span.end]))
        previous = span.label
    return "".join(parts) or "none"


def escaped(string: str) -> str:
    """A mention or type as it is written in a list."""
    if string.casefold() == "none":
        return f"{string[0]}\\{string[1:]}"

    def escape(special: re.Match[str]) -> str:
        return "\\n" if special[0] == "\n" else "\\" + special[0]

    # At the ends a blank would be taken for layout.
    return re.sub(r"[\\;|\n]|^\s|\s\Z", escape, string)


def unescaped(string: str) -> str:
    """A mention or type from its spelling in a list."""

    def unescape(pair: re.Match[str]) -> str:
        return "\n" if pair[1] == "n" else pair[1]

    return re.sub(r"\\(.)", unescape, string, flags=re.DOTALL)


def split_list(string: str, separator: str) -> list[str]:
    """Splits at separators that no backslash precedes, and strips blanks that none precedes."""
    parts: list[list[str]] = [[]]
    pieces = rf"\\.|[^{separator}\\]+|[{separator}\\]"
    for piece in re.findall(pieces, string, flags=re.DOTALL):
        if piece == separator:
            parts.append([])
        else:
            parts[-1].append(piece)
    return [_strip_layout("".join(part)) for part in parts]


def _strip_layout(part: str) -> str:
    """Strips blanks at both ends, but for a last one that a backslash escapes."""
    short = part.rstrip()
    is_escaped = (len(short) - len(short.rstrip("\\"))) % 2
    return part[: len(short) + is_escaped].lstrip()


def _parse_list(
    answer: str,
    text: str,
    labels: Sequence[str],
    *,
    cut_off: bool = False,
    nested: bool = False,
) -> Parsed:
    labels = Labels.of(labels)
    has_types = len(labels) > 1
    line = answer.lstrip().split("\n", 1)[0]
    groups = split_list(line, "|") if has_types else [line]
    generated: list[Generated] = []
    for index, group in enumerate(groups, start=1):
        written, items = label_and_rest(group, labels) if has_types else (labels[0], group)
        strings = split_list(items, ";")
        if cut_off and index == len(groups):
            strings.pop()
        strings = [string for string in strings if string]
        if [string.casefold() for string in strings] != ["none"]:
            label = labels.known(written)
            generated += [Generated(unescaped(string), label, written) for string in strings]
    is_none = line.strip().casefold() == "none"
    any_known = any(item.label for item in generated)
    return _parsed(text, generated, cut_off or is_none or any_known, nested=nested)


def label_and_rest(group: str, labels: Labels) -> tuple[str, str]:
    """A group of a list cut into its type, the longest known one that fits, and its mentions."""
    longest = max(map(len, labels.by_escaped), default=0)
    colon = group.rfind(":", 0, longest + 1)
    while colon >= 0:
        if group[:colon] in labels.by_escaped:
            return labels.by_escaped[group[:colon]], group[colon + 1 :]
        colon = group.rfind(":", 0, colon)
    written, separator, rest = group.partition(":")
    return (unescaped(written), rest) if separator else ("", group)


# json


def _render_json(text: str, spans: Iterable[Span], labels: Sequence[str]) -> str:
    labels = Labels.of(labels)
    items: list[str | dict[str, str]] = []
    for span in _in_order(spans, labels):
        string = text[span.start : span.end]
        items.append(string if len(labels) == 1 else {span.label: string})
    return json.dumps(items, ensure_ascii=False)


def _parse_json(
    answer: str,
    text: str,
    labels: Sequence[str],
    *,
    cut_off: bool = False,
    nested: bool = False,
) -> Parsed:
    labels = Labels.of(labels)
    items, complete = _json_items(answer)
    only_label = labels[0] if len(labels) == 1 else ""
    generated: list[Generated] = []
    for item in items:
        by_label = item if isinstance(item, dict) else {only_label: item}
        for written, value in by_label.items():
            strings = value if isinstance(value, list) else [value]
            whole = [string for string in strings if isinstance(string, str)]
            complete = complete and len(whole) == len(strings)
            label, written = labels.known(written), _without_surrogates(written)
            for string in whole:
                generated.append(Generated(_without_surrogates(string), label, written))
    return _parsed(text, generated, complete or cut_off, nested=nested)


def _json_items(answer: str) -> tuple[list[object], bool]:
    """The elements of the first JSON array (or object) that are whole, and whether all are."""
    opening = re.search(r"[\[{]", answer)
    if not opening:
        return [], False
    decoder = json.JSONDecoder()
    with suppress(ValueError, RecursionError):
        value, _ = decoder.raw_decode(answer, opening.start())
        return value if isinstance(value, list) else [value], True
    items: list[object] = []
    position = _behind(r"\s*", answer, opening.end())
    with suppress(ValueError, RecursionError):
        while opening[0] == "[" and position < len(answer):
            item, end = decoder.raw_decode(answer, position)
            items.append(item)
            position = _behind(r"\s*,?\s*", answer, end)
    return items, False


def _behind(pattern: str, string: str, position: int) -> int:
    match = re.compile(pattern).match(string, position)
    return match.end() if match else position


def _without_surrogates(string: str) -> str:
    # JSON can spell half of a surrogate pair, which no file can hold.
    return string.encode(errors="replace").decode()


# tagged


def _render_tagged(text: str, spans: Iterable[Span], labels: Sequence[str]) -> str:
    labels = Labels.of(labels)
    spans = _in_order(spans, labels)
    marks = [(span.end, 0, -index, f"</{span.label}>") for index, span in enumerate(spans)]
    marks += [(span.start, 1, index, f"<{span.label}>") for index, span in enumerate(spans)]
    parts: list[str] = []
    done = 0
    for offset, _, _, mark in sorted(marks):
        piece = _escaped_marks(text[done:offset], labels)
        slashes = len(piece) - len(piece.rstrip("\\"))
        parts += [piece, "\\" * slashes, mark]
        done = offset
    return "".join([*parts, _escaped_marks(text[done:], labels)])


def _escaped_marks(text: str, labels: Labels) -> str:
    return labels.mark.sub(lambda mark: mark[1] + "\\" + mark[0], text)


def _parse_tagged(
    answer: str,
    text: str,
    labels: Sequence[str],
    *,
    cut_off: bool = False,
    nested: bool = False,
) -> Parsed:
    plain, marked, balanced = _without_marks(answer, Labels.of(labels))
    offsets, is_copy = offsets_in(text, plain, cut_off=cut_off)
    known = [offset for offset in offsets if offset is not None]
    # The number of characters with an offset before each index: where to look in `known`.
    ranks = [0, *accumulate(offset is not None for offset in offsets)]
    generated = []
    for start, end, label in marked:
        string, position = plain[start:end], None
        if ranks[start] < ranks[end]:
            first, past = known[ranks[start]], known[ranks[end] - 1] + 1
            if repair_status(string, text[first:past]):
                position = first, past
        generated.append(Generated(string, label, label, position))
    return _parsed(text, generated, is_copy and (balanced or cut_off), nested=nested)


def _without_marks(answer: str, labels: Labels) -> tuple[str, list[tuple[int, int, str]], bool]:
    """Takes the marks out of an answer.

    Returns:
        The answer without its marks; what they enclose (offsets into it, type); and whether all
        marks have a partner.
    """
    parts: list[str] = []
    done = length = 0
    balanced = True
    opened: defaultdict[str, list[int]] = defaultdict(list)
    marked: list[tuple[int, int, str]] = []
    for mark in labels.mark.finditer(answer):
        slashes = len(mark[1])
        before = answer[done : mark.start()] + "\\" * (slashes // 2)
        parts.append(before)
        length += len(before)
        done = mark.end()
        if slashes % 2:
            parts.append(mark[0][slashes:])
            length += len(parts[-1])
        elif not mark[2]:
            opened[mark[3]].append(length)
        elif opened[mark[3]]:
            marked.append((opened[mark[3]].pop(), length, mark[3]))
        else:
            balanced = False
    marked.sort(key=lambda item: (item[0], -item[1]))
    return "".join([*parts, answer[done:]]), marked, balanced and not any(opened.values())


# The table


def _named(labels: Sequence[str]) -> str:
    return f"Copy every {', '.join(labels)} mention from the text, in order, as "


def _instruct_list(labels: Sequence[str]) -> str:
    shape = "a; b" if len(labels) == 1 else f"{labels[0]}: a; b | {labels[1]}: c"
    return f"{_named(labels)}`{shape}`, or write `none`."


def _instruct_json(labels: Sequence[str]) -> str:
    shape: list[object] = ["a", "b"] if len(labels) == 1 else [{labels[0]: "a"}, {labels[1]: "b"}]
    return f"{_named(labels)}JSON: {json.dumps(shape, ensure_ascii=False)}, or []."


def _instruct_tagged(labels: Sequence[str]) -> str:
    return (
        f"Repeat the text with every {', '.join(labels)} mention marked, as in "
        f"<{labels[0]}>a</{labels[0]}>."
    )


FORMATS: dict[str, PromptFormat] = {
    "list": PromptFormat(_render_list, _parse_list, _instruct_list, "{}:"),
    "json": PromptFormat(_render_json, _parse_json, _instruct_json, "{} as JSON:"),
    "tagged": PromptFormat(_render_tagged, _parse_tagged, _instruct_tagged, "{} marked:"),
}
