"""What a language model is asked and how its answer becomes spans: prompts, answer formats, grammars.

``FORMATS`` names three ways to write the mentions of a text. Each is a pair: ``render`` writes the answer a model is
trained on, ``parse`` reads back whatever a model wrote. Mentions are written in order of appearance, repeats kept.

| format | one type | several types | no mention |
| --- | --- | --- | --- |
| list | ``a; b`` | ``PER: a; b | LOC: c | PER: d`` (the type is written where it changes) | ``none`` |
| json | ``["a", "b"]`` | ``[{"PER": "a"}, {"LOC": "c"}]`` | ``[]`` |
| tagged | ``the <Disease>colon cancer</Disease> gene`` | the same | the text |

Escapes in a list: a backslash before ``;``, ``|``, a backslash, and a blank at either end; a line break is ``\\n``; a
mention that reads ``none`` is ``n\\one``. In a tagged text: a backslash before what looks like a mark but is text;
backslashes right before any mark are doubled.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any, NamedTuple

from pipelines.alignment import Generated, Mention, align, inside_word, likeness
from pipelines.errors import UserError
from pipelines.examples import Span
from pipelines.spans import find_occurrences


class Parsed(NamedTuple):
    """A read answer: spans sorted by offset, mentions in generated order, and ``ok`` or ``unparsable``.

    ``unparsable`` = the answer leaves the format; what could be read of it is kept.
    """

    spans: tuple[Span, ...]
    mentions: tuple[Mention, ...]
    status: str


class PromptFormat(NamedTuple):
    """One way to write mentions.

    Attributes:
        render: ``(text, spans, labels) -> answer``. Empty spans and spans of other labels are left out.
        parse: ``(answer, text, labels, *, cut_off=False) -> Parsed``. Never raises. With ``cut_off`` (the generation
            hit its length limit) a last, perhaps half-written mention is dropped.
        instruction: ``(labels) -> one line`` for a chat model.
        cue: what stands before the answer of a base model, with a place for the types.
        grammar: ``(text, labels) -> Lark rules`` of its well-formed answers, or None.
    """

    render: Callable[[str, Iterable[Span], Sequence[str]], str]
    parse: Callable[..., Parsed]
    instruction: Callable[[Sequence[str]], str]
    cue: str
    grammar: Callable[[str, Sequence[str]], str] | None = None


# Prompts


def messages(text: str, *, format: str, labels: Sequence[str]) -> list[dict[str, str]]:
    """The conversation that asks a chat model for the mentions of a text.

    The instruction is the system message, which also keeps templates from putting in a longer one of their own.
    """
    return [{"role": "system", "content": prompt_format(format).instruction(labels)},
            {"role": "user", "content": text}]


def plain_prompt(text: str, format: str, labels: Sequence[str]) -> str:
    """The prompt of a base model, ``Text: …\\nDiseases:``; the answer follows after one blank."""
    cue = prompt_format(format).cue.format(_plural(labels[0]) if len(labels) == 1 else ", ".join(labels))
    return f"Text: {text}\n{cue}"


def _plural(label: str) -> str:
    return label + "s" if label[-1:].islower() and not label.endswith("s") else label


def format_hash(format: str, labels: Sequence[str], *, chat_template: str | None = None) -> str:
    """A hash of all that shapes prompt and answer: what this module makes of a probe, and the model's template.

    Taken from the outcome and not from a version number, so that no change of the code can be forgotten.
    """
    text = "A \\ <b>; \"none\" |\nend"
    spans = [Span(4, 7, labels[0]), Span(7, 17, labels[-1]), Span(0, 1, labels[-1])]
    shaped = [labels, messages(text, format=format, labels=labels), plain_prompt(text, format, labels), chat_template,
              prompt_format(format).render(text, spans, labels), prompt_format(format).render(text, (), labels)]
    return hashlib.sha256(json.dumps(shaped).encode()).hexdigest()[:16]


def prompt_format(name: str) -> PromptFormat:
    """Looks a format up by name.

    Raises:
        UserError: naming the formats there are.
    """
    if name not in FORMATS:
        raise UserError(f"got the prompt format {name!r}; wanted one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _parsed(text: str, generated: Sequence[Generated], well_formed: bool) -> Parsed:
    mentions = align(text, generated)
    spans = tuple(sorted(mention.span for mention in mentions if mention.span))
    return Parsed(spans, mentions, "ok" if well_formed else "unparsable")


def _in_order(spans: Iterable[Span], labels: Sequence[str]) -> list[Span]:
    """Spans to write, in order of appearance, the longer one first where two begin together."""
    return sorted((span for span in spans if span.start < span.end and span.label in labels),
                  key=lambda span: (span.start, -span.end, span.label))


def _known(written: str, labels: Sequence[str]) -> str | None:
    same = [label for label in labels if label.casefold() == written.casefold()]
    return written if written in labels else same[0] if same else None


# list


def _render_list(text: str, spans: Iterable[Span], labels: Sequence[str]) -> str:
    answer, previous = "", None
    for span in _in_order(spans, labels):
        if len(labels) > 1 and span.label != previous:
            answer += f"{' | ' if answer else ''}{_escaped(span.label)}: "
        elif answer:
            answer += "; "
        answer += _escaped(text[span.start:span.end])
        previous = span.label
    return answer or "none"


def _escaped(string: str) -> str:
    if string.casefold() == "none":
        return f"{string[0]}\\{string[1:]}"
    # At the ends a blank would be taken for layout.
    return re.sub(r"[\\;|\n]|^\s|\s\Z", lambda found: "\\n" if found[0] == "\n" else "\\" + found[0], string)


def _unescaped(string: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], string, flags=re.DOTALL)


def _split(string: str, separator: str) -> list[str]:
    """Splits at separators that no backslash precedes, and strips blanks that none precedes."""
    parts = [""]
    for piece in re.findall(rf"\\.|[^{separator}\\]+|[{separator}\\]", string, flags=re.DOTALL):
        if piece == separator:
            parts.append("")
        else:
            parts[-1] += piece
    stripped = []
    for part in parts:
        short = part.rstrip()
        lost = (len(short) - len(short.rstrip("\\"))) % 2
        stripped.append(part[:len(short) + lost].lstrip())
    return stripped


def _parse_list(answer: str, text: str, labels: Sequence[str], *, cut_off: bool = False) -> Parsed:
    line = answer.lstrip().split("\n", 1)[0]
    generated: list[Generated] = []
    groups = _split(line, "|") if len(labels) > 1 else [line]
    for number, group in enumerate(groups, start=1):
        written, items = _label_and_rest(group, labels) if len(labels) > 1 else (labels[0], group)
        strings = _split(items, ";")
        if cut_off and number == len(groups):
            strings.pop()
        if [string.casefold() for string in strings if string] != ["none"]:
            label = _known(written, labels)
            generated += [Generated(_unescaped(string), label, written) for string in strings if string]
    said_none = line.strip().casefold() == "none"
    return _parsed(text, generated, cut_off or said_none or any(item.label for item in generated))


def _label_and_rest(group: str, labels: Sequence[str]) -> tuple[str, str]:
    for label in sorted(labels, key=len, reverse=True):
        if group.startswith(f"{_escaped(label)}:"):
            return label, group[len(_escaped(label)) + 1:]
    written, colon, rest = group.partition(":")
    return (_unescaped(written), rest) if colon else ("", group)


# json


def _render_json(text: str, spans: Iterable[Span], labels: Sequence[str]) -> str:
    strings = [(span.label, text[span.start:span.end]) for span in _in_order(spans, labels)]
    items = [string if len(labels) == 1 else {label: string} for label, string in strings]
    return json.dumps(items, ensure_ascii=False)


def _parse_json(answer: str, text: str, labels: Sequence[str], *, cut_off: bool = False) -> Parsed:
    items, complete = _json_items(answer)
    generated: list[Generated] = []
    for item in items:
        by_label = item if isinstance(item, dict) else {labels[0] if len(labels) == 1 else "": item}
        for written, strings in by_label.items():
            for string in strings if isinstance(strings, list) else [strings]:
                if isinstance(string, str):
                    generated.append(Generated(_without_surrogates(string), _known(written, labels),
                                               _without_surrogates(written)))
                else:
                    complete = False
    return _parsed(text, generated, complete or cut_off)


def _json_items(answer: str) -> tuple[list[Any], bool]:
    """The elements of the first JSON array (or object) of an answer, as far as they are whole, and whether all are."""
    opening = re.search(r"[\[{]", answer)
    if not opening:
        return [], False
    decoder = json.JSONDecoder()
    with suppress(ValueError, RecursionError):
        value, _ = decoder.raw_decode(answer, opening.start())
        return value if isinstance(value, list) else [value], True
    items: list[Any] = []
    with suppress(ValueError, RecursionError):
        rest = answer[opening.end():].lstrip() if opening[0] == "[" else ""
        while rest:
            item, end = decoder.raw_decode(rest)
            items.append(item)
            rest = rest[end:].lstrip().removeprefix(",").lstrip()
    return items, False


def _without_surrogates(string: str) -> str:
    # JSON can spell half of a surrogate pair, which no file can hold.
    return string.encode(errors="replace").decode()


# tagged


def _mark(labels: Sequence[str]) -> re.Pattern[str]:
    names = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    return re.compile(rf"(\\*)<(/?)({names})>")


def _render_tagged(text: str, spans: Iterable[Span], labels: Sequence[str]) -> str:
    spans = _in_order(spans, labels)
    marks = [(span.end, 0, -index, f"</{span.label}>") for index, span in enumerate(spans)]
    marks += [(span.start, 1, index, f"<{span.label}>") for index, span in enumerate(spans)]
    answer, done = "", 0
    for offset, _, _, mark in sorted(marks):
        piece = _escaped_marks(text[done:offset], labels)
        slashes = len(piece) - len(piece.rstrip("\\"))
        answer += piece + "\\" * slashes + mark
        done = offset
    return answer + _escaped_marks(text[done:], labels)


def _escaped_marks(text: str, labels: Sequence[str]) -> str:
    return _mark(labels).sub(lambda found: found[1] + "\\" + found[0], text)


def _parse_tagged(answer: str, text: str, labels: Sequence[str], *, cut_off: bool = False) -> Parsed:
    plain, found, balanced = _without_marks(answer, labels)
    offsets, alike = _offsets_in(text, plain, cut_off)
    generated = []
    for start, end, label in found:
        string = plain[start:end]
        placed = [offset for offset in offsets[start:end] if offset is not None]
        place = (placed[0], placed[-1] + 1) if placed else None
        if place and not likeness(string, text[slice(*place)]):
            place = None
        generated.append(Generated(string, label, label, place))
    return _parsed(text, generated, alike and (balanced or cut_off))


def _without_marks(answer: str, labels: Sequence[str]) -> tuple[str, list[tuple[int, int, str]], bool]:
    """The answer without its marks, what they enclose (offsets into it, type), and whether all marks have a partner."""
    plain, done, balanced = "", 0, True
    opened: list[tuple[str, int]] = []
    found: list[tuple[int, int, str]] = []
    for mark in _mark(labels).finditer(answer):
        slashes = len(mark[1])
        plain += answer[done:mark.start()] + "\\" * (slashes // 2)
        done = mark.end()
        if slashes % 2:
            plain += mark[0][slashes:]
        elif not mark[2]:
            opened.append((mark[3], len(plain)))
        else:
            same = [index for index, (label, _) in enumerate(opened) if label == mark[3]]
            balanced &= bool(same)
            if same:
                found.append((opened.pop(same[-1])[1], len(plain), mark[3]))
    found.sort(key=lambda item: (item[0], -item[1]))
    return plain + answer[done:], found, balanced and not opened


def _offsets_in(text: str, copy: str, cut_off: bool) -> tuple[list[int | None], bool]:
    """Where each character of a copy, perhaps altered, stands in the text, and whether it is a copy at all."""
    if copy.strip() == text.strip():
        shift = (len(text) - len(text.lstrip())) - (len(copy) - len(copy.lstrip()))
        return [index + shift if 0 <= index + shift < len(text) else None for index in range(len(copy))], True
    words, copied = ([(word[0].lower(), word.start()) for word in re.finditer(r"\w+|[^\w\s]", string)]
                     for string in (text, copy))
    matcher = SequenceMatcher(None, [word for word, _ in words], [word for word, _ in copied], autojunk=False)
    offsets: list[int | None] = [None] * len(copy)
    matched = 0
    for block in matcher.get_matching_blocks():
        matched += block.size
        for (word, start), (_, copy_start) in zip(words[block.a:block.a + block.size],
                                                  copied[block.b:block.b + block.size], strict=True):
            for index in range(min(len(word), len(copy) - copy_start, len(text) - start)):
                offsets[copy_start + index] = start + index
    whole = len(copied) if cut_off else (len(words) + len(copied)) / 2
    return offsets, matched >= whole / 2


# Grammars for constrained generation


def grammar(format: str, text: str, labels: Sequence[str], *, lead: str = "") -> str | None:
    """An llguidance grammar of the well-formed answers whose mentions stand in the text, on word boundaries.

    Mentions in another order, or more often than the text has them, are admitted too.

    Args:
        lead: what stands before the answer, such as the blank after a plain prompt.

    Returns:
        Lark rules, or None where the format has no grammar (tagged).
    """
    rules = prompt_format(format).grammar
    return None if rules is None else f"start: START\nSTART: {json.dumps(lead)} ANSWER\n{rules(text, labels)}"


def grammar_after(format: str, text: str, labels: Sequence[str], answer: str) -> str | None:
    """The grammar of what may follow an answer that has just ended a mention, so that mentions come in order.

    A mention that follows begins after the earliest place of the one before, which excludes no answer that `render`
    writes, and most repetitions that the text does not have.

    Args:
        answer: what is written so far.

    Returns:
        Lark rules; None where the answer does not end in a separator, or the format has no such grammar.
    """
    if format != "list" or not answer.endswith((";", "|")) or answer.endswith(("\\;", "\\|")):
        return None
    end = 0
    for group in _split(answer, "|") if len(labels) > 1 else [answer]:
        items = _label_and_rest(group.strip(), labels)[1] if len(labels) > 1 else group
        for string in filter(None, map(_unescaped, _split(items, ";"))):
            end += next(find_occurrences(text[end:], string), (0, 0))[1]
    if not text[end:].strip():
        return 'start: ""'
    next_rule = "TYPED" if answer.endswith("|") else "GROUP"
    rest = f'{next_rule} (" | " TYPED)*' if len(labels) > 1 else "GROUP"
    return f'start: START\nSTART: " " {rest}\n{_grammar_list(text[end:], labels)}'


def _words(text: str) -> list[str]:
    """The text cut wherever a mention may begin or end."""
    edges = [offset for offset in range(len(text) + 1) if not inside_word(text, offset)]
    return [text[start:end] for start, end in pairwise(edges)]


# An answer is one terminal (names in capitals): between terminals the lexer takes the longest match and never goes
# back, so that after "gene" a blank would commit it to a mention that goes on.


def _grammar_list(text: str, labels: Sequence[str]) -> str:
    if not text.strip():
        return 'ANSWER: "none"'
    rules = 'ANSWER: "none" | GROUP\nGROUP: MENTION ("; " MENTION)*'
    if len(labels) > 1:
        names = " | ".join(json.dumps(f"{_escaped(label)}: ", ensure_ascii=False) for label in labels)
        rules = f'ANSWER: "none" | TYPED (" | " TYPED)*\nTYPED: ({names}) GROUP\n{rules.splitlines()[1]}'
    chunks = [re.sub(r"[\\;|]", r"\\\g<0>", word).replace("\n", "\\n") for word in _words(text)]
    return f"{rules}\nMENTION: {_substring(chunks)}"


def _grammar_json(text: str, labels: Sequence[str]) -> str:
    if not text.strip():
        return 'ANSWER: "[]"'
    item = r'"\"" MENTION "\""'
    if len(labels) > 1:
        names = (json.dumps(label, ensure_ascii=False) for label in labels)
        item = f'({" | ".join(json.dumps(f"{{{name}: ", ensure_ascii=False) for name in names)}) {item} "}}"'
    chunks = [json.dumps(word, ensure_ascii=False)[1:-1] for word in _words(text)]
    return f'ANSWER: "[" (ITEM (", " ITEM)*)? "]"\nITEM: {item}\nMENTION: {_substring(chunks)}'


def _substring(chunks: Sequence[str]) -> str:
    """Some chunks in a row, without a blank at either end."""
    return f'%regex {json.dumps({"substring_chunks": chunks})} & /\\S(?s:.*\\S)?/'


# The table


def _named(labels: Sequence[str]) -> str:
    return f"Copy every {', '.join(labels)} mention from the text, in order, as "


def _instruct_list(labels: Sequence[str]) -> str:
    shape = "a; b" if len(labels) == 1 else f"{labels[0]}: a; b | {labels[1]}: c"
    return f"{_named(labels)}`{shape}`, or write `none`."


def _instruct_json(labels: Sequence[str]) -> str:
    shape: list[Any] = ["a", "b"] if len(labels) == 1 else [{labels[0]: "a"}, {labels[1]: "b"}]
    return f"{_named(labels)}JSON: {json.dumps(shape, ensure_ascii=False)}, or []."


def _instruct_tagged(labels: Sequence[str]) -> str:
    return f"Repeat the text with every {', '.join(labels)} mention marked, as in <{labels[0]}>a</{labels[0]}>."


FORMATS: dict[str, PromptFormat] = {
    "list": PromptFormat(_render_list, _parse_list, _instruct_list, "{}:", _grammar_list),
    "json": PromptFormat(_render_json, _parse_json, _instruct_json, "{} as JSON:", _grammar_json),
    "tagged": PromptFormat(_render_tagged, _parse_tagged, _instruct_tagged, "{} marked:"),
}
