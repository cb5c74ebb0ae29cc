"""Which column holds the text, the tokens, the mentions and the id."""

from __future__ import annotations

import difflib
import json
import math
import re
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pipelines.corpora.corpus import Columns
from pipelines.errors import UserError

# In order of preference. A column matches by its whole name first, else by a part of it: `sentence_text`, `nerTags`.
TEXT_NAMES = ("text", "sentence", "content", "abstract", "passage", "document", "body", "title")
TOKEN_NAMES = ("token", "word", "text", "sentence", "content")
ENTITY_NAMES = ("entity", "ner", "ent", "span", "annotation", "mention", "disease", "iob", "bio", "label",
                "tag", "target")
STRING_NAMES = ("entity", "mention", "disease")  # a column so named may hold one bare string
ID_NAMES = ("id", "guid", "uid", "uuid", "example_id", "sentence_id", "sent_id", "text_id", "sample_id", "row_id",
            "idx", "index", "key", "pmid", "doc_id", "document_id")
OTHER_PARTS = {"id", "ids", "idx", "index", "num", "count", "len", "length", "pos", "chunk", "source", "type", "lang"}
SHAPES = ("string", "strings", "list", "object", "numbers", "number", "empty")  # on a tie the earlier one
SAMPLE = 500


@dataclass(frozen=True, slots=True)
class Found:
    """Names of the columns in use; ``tokens`` may go with ``text``, and ``None`` = there is none."""

    text: str | None
    tokens: str | None
    entities: str | None
    id: str | None


def find_columns(path: str, rows: Sequence[Mapping[str, Any]], columns: Columns, *, labelled: bool = True) -> Found:
    """Finds the columns by their names and by what they hold.

    Args:
        path: named in messages.
        rows: the rows that are objects; not empty.
        columns: what the user named.
        labelled: whether a named column of mentions has to be there.

    Raises:
        UserError: when a named column is not there, or no column looks like text.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    unlabelled = not labelled and columns.entities is not None and columns.entities not in names
    for wanted in (columns.text, None if unlabelled else columns.entities, columns.id):
        if wanted is not None and wanted not in names:
            near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.0)
            raise UserError(f"{path}: no column {wanted!r}; it has {', '.join(names)}"
                            + (f" (nearest: {near[0]})" if near else ""))
    shapes = {name: _shape(rows, name) for name in names}
    named = [columns.text] if columns.text else [name for name in names if name not in (columns.entities, columns.id)]
    text = _best(TEXT_NAMES, [name for name in named if shapes[name] == "string"])
    tokens = _best(TOKEN_NAMES, [name for name in named if shapes[name] == "strings"])
    if columns.text:
        text, tokens = (columns.text, None) if shapes[columns.text] != "strings" else (None, columns.text)
        if text:
            tokens = _best(TOKEN_NAMES[:2], [n for n in names if shapes[n] == "strings" and n != columns.entities])
    if text is None and tokens is None:
        raise UserError(f"{path}: no column with the text; it has {', '.join(names) or 'no columns'}; "
                        "name the right one with --text_column")
    others = [name for name in names if name not in (text, tokens, columns.id)]
    entities = None if unlabelled else columns.entities or _entities(others, shapes)
    return Found(text, tokens, entities, columns.id or find_id(rows, [name for name in others if name != entities]))


def _shape(rows: Sequence[Mapping[str, Any]], name: str) -> str | None:
    """The commonest shape of a column's values, see ``_shape_of``; ``None`` where all are null."""
    values = islice((row[name] for row in rows if not is_null(row.get(name))), SAMPLE)
    shapes: dict[str, int] = {}
    for value in values:
        shape = _shape_of(list_in(value))
        shapes[shape] = shapes.get(shape, 0) + 1
    if len(shapes) > 1:
        shapes.pop("empty", None)
    return max(SHAPES, key=lambda shape: shapes.get(shape, 0)) if shapes else None


def _shape_of(value: Any) -> str:
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "object"
    if not isinstance(value, list):
        return "number"
    if not value:
        return "empty"
    if 2 * sum(isinstance(x, str) for x in value) > len(value):
        return "strings"
    return "numbers" if 2 * sum(isinstance(x, int | float) for x in value) > len(value) else "list"


def is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def whole(value: Any) -> int | None:
    """A whole number, also as pandas writes it beside gaps (``1.0``); ``None`` for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def list_in(value: Any) -> Any:
    """The list that a string spells in JSON or Python, as a CSV file keeps it; any other value as it is."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        for read in (json.loads, literal_eval):
            try:
                found = read(value.strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(found, list):
                return found
    return value


def name_parts(name: str) -> list[str]:
    """Words of a column's or key's name, in the singular: ``nerTags`` and ``NER-tags`` are ``["ner", "tag"]``."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
    return [_singular(word.lower()) for word in words]


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def _best(wanted: Sequence[str], names: Sequence[str], also: Callable[[str], bool] = lambda name: True) -> str | None:
    ranked = []
    for name in names:
        parts = name_parts(name)
        whole = [0 if parts == [word] else 1 for word in wanted if word in parts]
        if whole and also(name) and not (len(parts) > 1 and OTHER_PARTS & set(parts)):
            ranked.append((min(whole), min(wanted.index(word) for word in wanted if word in parts), name))
    return min(ranked, default=(0, 0, None), key=lambda rank: rank[:2])[2]


def _entities(names: Sequence[str], shapes: Mapping[str, str | None]) -> str | None:
    listed = [name for name in names if shapes[name] in ("strings", "numbers", "list", "object", "empty")]
    bare = [name for name in names if shapes[name] == "string" and set(STRING_NAMES) & set(name_parts(name))]
    tagged = [name for name in names if shapes[name] == "string"]
    return _best(ENTITY_NAMES, listed) or _best(STRING_NAMES, bare) or _best(("ner", "iob", "bio", "tag"), tagged)


def find_id(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    """The first column named like an id; one not named just ``id`` has to tell the rows apart, or nearly."""
    by_name = {name.lower(): name for name in reversed(names)}
    for wanted in ID_NAMES:
        name = by_name.get(wanted)
        if name is None:
            continue
        values = [row.get(name) for row in rows]
        if wanted == "id":
            return name
        if all(isinstance(value, str | int | float) for value in values) and len(set(values)) >= 0.9 * len(values):
            return name
    return None
