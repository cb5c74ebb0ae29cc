"""The authors of a course's package: what is read, and what is refused."""

from __future__ import annotations

import pytest

from pipelines.errors import UserError
from pipelines.submission.authors import Author, file_suffix, parse_authors

AUTHORS = [Author("Ada Lovelace", "al12"), Author("Bo Ek", "be3")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Ada Lovelace <al12>", AUTHORS[:1]),
        (" Ada Lovelace<al12> ,Bo Ek <be3>", AUTHORS),
        ("Ñusta O'Neil-Öz <n.o_1>", [Author("Ñusta O'Neil-Öz", "n.o_1")]),
    ],
)
def test_authors(text, expected):
    assert parse_authors(text) == expected


@pytest.mark.parametrize(
    "text",
    ["Ada", "Ada <>", "<al12>", "Ada <al 12>", "Ada <../x>", "Ada <a>;", "Ada <a>, ", "A <a>, B"],
)
def test_authors_that_are_refused(text):
    with pytest.raises(UserError, match=r"got --authors with .*; wanted \"NAME <ID>") as caught:
        parse_authors(text)
    assert "\n" not in str(caught.value)


def test_an_author_twice_is_refused():
    with pytest.raises(UserError, match="al12 twice; wanted each person once"):
        parse_authors("Ada <al12>, Bo <AL12>")
    assert file_suffix(AUTHORS) == "_al12_be3"
