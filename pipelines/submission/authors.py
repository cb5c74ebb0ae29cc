"""The authors of a course's package: `NAME <ID>, NAME <ID>`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from pipelines.errors import UserError
from pipelines.formatting import short_repr

WANTED = 'wanted "NAME <ID>, NAME <ID>", an ID of letters, digits, ".", "-" and "_"'
_AUTHOR = re.compile(r"\s*([^<>,]*[^<>,\s])\s*<([A-Za-z0-9][A-Za-z0-9._-]*)>\s*")


class Author(NamedTuple):
    """A name, and what the course calls the person: a NetID, a student number."""

    name: str
    id: str

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"


def parse_authors(text: str) -> list[Author]:
    """The authors in the order given; none in an empty text.

    Raises:
        UserError: for a part that is no author, and an ID that comes twice.
    """
    if not text.strip():
        return []
    authors = []
    for part in text.split(","):
        found = _AUTHOR.fullmatch(part)
        if not found or not found[1].isprintable():
            raise UserError(f"got --authors with {short_repr(part.strip())}; {WANTED}")
        authors.append(Author(*found.groups()))
    ids = [author.id.lower() for author in authors]
    twice = [id for id in dict.fromkeys(ids) if ids.count(id) > 1]
    if twice:
        raise UserError(f"got --authors with {', '.join(twice)} twice; wanted each person once")
    return authors


def file_suffix(authors: Sequence[Author]) -> str:
    """`_ab12_cd34`, for the names of files; empty without authors."""
    return "".join(f"_{author.id}" for author in authors)
