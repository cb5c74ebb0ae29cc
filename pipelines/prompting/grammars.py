"""Grammars of well-formed answers, which constrain a generator to a prompt format."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

from pipelines.alignment.word_boundaries import find_occurrences, inside_word
from pipelines.prompting.formats import (
    Labels,
    escaped,
    label_and_rest,
    prompt_format,
    split_list,
    unescaped,
)


def grammar(format: str, text: str, labels: Sequence[str], *, lead: str = "") -> str | None:
    """An llguidance grammar of the well-formed answers whose mentions are whole words of the text.

    Mentions in another order, or more often than the text has them, are admitted too.

    Args:
        lead: what comes before the answer, such as the blank after a plain prompt.

    Returns:
        Lark rules, or None where the format has no grammar (tagged).
    """
    prompt_format(format)
    if format not in GRAMMARS:
        return None
    rules = GRAMMARS[format](text, labels)
    return f"start: START\nSTART: {json.dumps(lead)} ANSWER\n{rules}"


def grammar_after(
    format: str, text: str, labels: Sequence[str], answer: str, *, nested: bool = False
) -> str | None:
    """The grammar of what may follow an answer that has just ended a mention: mentions in order.

    The next mention begins after the earliest occurrence of the one before. This excludes no answer
    that `render` writes, and most repetitions that the text does not have.

    Args:
        answer: what is written so far.
        nested: whether the next mention may begin where the one before begins.

    Returns:
        Lark rules; None where the answer does not end in a separator, or the format has no such
        grammar.
    """
    is_separated = answer.endswith((";", "|")) and not answer.endswith(("\\;", "\\|"))
    if format != "list" or not is_separated:
        return None
    has_types = len(labels) > 1
    strings: list[str] = []
    for group in split_list(answer, "|") if has_types else [answer]:
        items = label_and_rest(group.strip(), Labels.of(labels))[1] if has_types else group
        strings += filter(None, map(unescaped, split_list(items, ";")))
    remaining = _after_nested(text, strings) if nested else _after(text, strings)
    if not remaining.strip():
        return 'start: ""'
    rest = "GROUP"
    if has_types:
        next_rule = "TYPED" if answer.endswith("|") else "GROUP"
        rest = f'{next_rule} (" | " TYPED)*'
    return f'start: START\nSTART: " " {rest}\n{_list_rules(remaining, labels)}'


def _after(text: str, strings: Sequence[str]) -> str:
    """The text behind the earliest occurrences of strings, one after the other."""
    end = 0
    for string in strings:
        end += next(find_occurrences(text[end:], string), (0, 0))[1]
    return text[end:]


def _after_nested(text: str, strings: Sequence[str]) -> str:
    """The text from where the last of these mentions begins, which may overlap, in order."""
    before = (0, -len(text) - 1)
    for string in strings:
        keys = ((start, -end) for start, end in find_occurrences(text, string))
        before = next((key for key in keys if key >= before), before)
    return text[before[0] :]


def _words(text: str) -> list[str]:
    """The text cut wherever a mention may begin or end."""
    edges = [offset for offset in range(len(text) + 1) if not inside_word(text, offset)]
    return [text[start:end] for start, end in pairwise(edges)]


# An answer is one terminal (names in capitals): between terminals the lexer takes the longest
# match and never goes back, so that after "gene" a blank would commit it to a mention that goes on.


def _list_rules(text: str, labels: Sequence[str]) -> str:
    if not text.strip():
        return 'ANSWER: "none"'
    group = 'GROUP: MENTION ("; " MENTION)*'
    rules = f'ANSWER: "none" | GROUP\n{group}'
    if len(labels) > 1:
        names = " | ".join(
            json.dumps(f"{escaped(label)}: ", ensure_ascii=False) for label in labels
        )
        rules = f'ANSWER: "none" | TYPED (" | " TYPED)*\nTYPED: ({names}) GROUP\n{group}'
    chunks = [re.sub(r"[\\;|]", r"\\\g<0>", word).replace("\n", "\\n") for word in _words(text)]
    return f"{rules}\nMENTION: {_substring(chunks)}"


def _json_rules(text: str, labels: Sequence[str]) -> str:
    if not text.strip():
        return 'ANSWER: "[]"'
    item = r'"\"" MENTION "\""'
    if len(labels) > 1:
        names = [json.dumps(label, ensure_ascii=False) for label in labels]
        keys = " | ".join(json.dumps(f"{{{name}: ", ensure_ascii=False) for name in names)
        item = f'({keys}) {item} "}}"'
    chunks = [json.dumps(word, ensure_ascii=False)[1:-1] for word in _words(text)]
    return f'ANSWER: "[" (ITEM (", " ITEM)*)? "]"\nITEM: {item}\nMENTION: {_substring(chunks)}'


def _substring(chunks: Sequence[str]) -> str:
    """Some chunks in a row, without a blank at either end."""
    return f"%regex {json.dumps({'substring_chunks': chunks})} & /\\S(?s:.*\\S)?/"


GRAMMARS: dict[str, Callable[[str, Sequence[str]], str]] = {
    "list": _list_rules,
    "json": _json_rules,
}
