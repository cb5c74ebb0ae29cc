"""docs/errors.md: each message that it quotes is still one of the sources, word for word."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from conftest import ROOT

PAGE = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
VARIES = "…"


def as_quoted(node: ast.expr) -> str | None:
    """A string of the sources with `…` for each value in it; None for other expressions."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(as_quoted(part) or VARIES for part in node.values)
    return None


@cache
def messages() -> list[str]:
    """All strings of the package and the recipes, docstrings aside."""
    found = []
    for top in ("pipelines", "recipes"):
        for file in sorted((ROOT / top).rglob("*.py")):
            nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
            stated = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
            strings = [n for n in nodes if isinstance(n, ast.expr) and id(n) not in stated]
            found += [text for text in map(as_quoted, strings) if text]
    return [re.sub(r"%[sdr]|%\.\dg", VARIES, text) for text in found]


def pattern_of(quoted: str) -> re.Pattern[str]:
    """What a quoted message matches: `…` stands for anything."""
    return re.compile(".*".join(map(re.escape, quoted.split(VARIES))), re.DOTALL)


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_message_is_in_the_sources(quoted):
    fragments = [part.strip(" .,;:()") for part in quoted.split(VARIES)]
    assert any(len(fragment) > 6 for fragment in fragments), "nothing to recognise it by"
    pattern = pattern_of(quoted)
    assert any(pattern.match(message) for message in messages()), quoted


def test_a_message_that_was_changed_is_noticed():
    assert not any(pattern_of("… holds a trained model;").match(text) for text in messages())


def test_the_page_quotes_messages_in_each_section():
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert all(re.search(r"^\| `", section, re.MULTILINE) for section in sections)
    assert len(QUOTED) == len(set(QUOTED)) >= 50
