"""What columns are called and what they hold: the evidence by which columns are detected."""

from __future__ import annotations

import json
import math
import re
from ast import literal_eval
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from pipelines.examples import Fields

# In order of preference. A column matches by its whole name first, else by a part of it:
# `sentence_text`, `nerTags`.
# fmt: off
TEXT_NAMES = (
    "text", "sentence", "content", "review", "comment", "tweet", "message", "abstract", "passage",
    "document", "body", "description", "question", "query", "premise", "title", "utterance",
    "headline", "post", "data",
)
TOKEN_NAMES = ("token", "word", "text", "sentence", "content")
ENTITY_NAMES = (
    "entity", "ner", "ent", "span", "annotation", "mention", "disease", "iob", "bio", "label",
    "tag", "target",
)
# A column so named may hold one bare string.
STRING_NAMES = ("entity", "mention", "disease")
CLASS_NAMES = (
    "label", "class", "category", "target", "topic", "sentiment", "polarity", "genre", "rating",
    "star", "score", "intent", "emotion", "gold", "y", "airline_sentiment",
)
ID_NAMES = (
    "id", "guid", "uid", "uuid", "example_id", "sentence_id", "sent_id", "text_id", "sample_id",
    "row_id", "idx", "index", "key", "pmid", "doc_id", "document_id",
)
PAIR_NAMES = (
    ("sentence1", "sentence2"), ("text1", "text2"), ("question1", "question2"),
    ("text_a", "text_b"), ("sentence_a", "sentence_b"), ("premise", "hypothesis"),
    ("question", "answer"), ("question", "sentence"), ("query", "passage"), ("query", "document"),
    ("text", "text_pair"), ("text", "pair"),
)
# Words in a name by which a column describes another: `text_id`, `entity_count`.
OTHER_PARTS = {
    "id", "ids", "idx", "index", "num", "count", "len", "length", "pos", "chunk", "source", "type",
    "lang",
}
# fmt: on
SHAPES = ("string", "strings", "list", "object", "numbers", "number", "empty")  # in case of a tie
SAMPLE_SIZE = 500
_NO_TEXT = re.compile(  # a number, a date, an address or the name of a file
    r"\s*(?:[-+]?\d[\d.,:/ -]*(?:[eE][-+]?\d+)?|(?:https?|ftp|file)://\S+|www\.\S+"
    r"|[\w./\\-]+\.[A-Za-z]{2,4}\d?|[0-9a-fA-F-]{16,})\s*"
)


@dataclass(frozen=True, slots=True)
class Profile:
    """What a column holds, by a sample of its values that are not null.

    Attributes:
        shape: the commonest of `SHAPES`; `None` where all values are null.
        is_text: strings, most of which are neither numbers, dates, addresses nor file names.
        n_words: mean number of words of the strings.
        n_distinct: number of different values.
        values: the sample.
    """

    shape: str | None
    is_text: bool
    n_words: float
    n_distinct: int
    values: list[object]

    @property
    def is_varied(self) -> bool:
        """Whether more than half of the values differ."""
        return self.n_distinct > max(2, len(self.values) // 2)

    @property
    def is_binary(self) -> bool:
        """Whether all values are 0 or 1."""
        values = {str(value) for value in self.values}
        return bool(values) and values <= {"0", "1", "0.0", "1.0"}


def profile_of(rows: Sequence[Fields], name: str) -> Profile:
    """The profile of a column, by its first values."""
    filled = (row[name] for row in rows if not is_empty(row.get(name)))
    values = [list_in(value) for value in islice(filled, SAMPLE_SIZE)]
    shapes = Counter(map(_shape_of, values))
    if len(shapes) > 1:
        del shapes["empty"]
    shape = max(SHAPES, key=lambda shape: shapes[shape]) if shapes else None
    strings = [value for value in values if isinstance(value, str)]
    n_texts = sum(_NO_TEXT.fullmatch(value) is None for value in strings)
    n_words = sum(len(value.split()) for value in strings) / max(len(strings), 1)
    # A few rows are too few to say that a column of texts holds none.
    is_small = len(values) < 10 and name.lower() in TEXT_NAMES
    is_text = shape == "string" and (2 * n_texts > len(strings) or is_small)
    return Profile(shape, is_text, n_words, len(set(map(repr, values))), values)


def _shape_of(value: object) -> str:
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "object"
    if not isinstance(value, list):
        return "number"
    if not value:
        return "empty"
    if 2 * sum(isinstance(item, str) for item in value) > len(value):
        return "strings"
    n_numbers = sum(isinstance(item, int | float) for item in value)
    return "numbers" if 2 * n_numbers > len(value) else "list"


# Values


def is_null(value: object) -> bool:
    """Whether a value is null or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_empty(value: object) -> bool:
    """Whether a cell is null, NaN or an empty string."""
    return is_null(value) or value == ""


def whole_number(value: object) -> int | None:
    """A whole number, also as pandas writes it beside gaps (`1.0`); `None` for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def list_in(value: object) -> object:
    """The list that a string spells in JSON or Python, as in CSV files; other values unchanged."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("[") and text.endswith("]"):
        for parse in (json.loads, literal_eval):
            try:
                items = parse(text)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(items, list):
                return [list(item) if isinstance(item, tuple) else item for item in items]
    return value


# Names


def name_parts(name: str) -> list[str]:
    """Words of a name, in the singular: `nerTags` and `NER-tags` are `["ner", "tag"]`."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
    return [_singular(word.lower()) for word in words]


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("sses"):
        return word[:-2]
    is_plural = len(word) > 3 and word.endswith("s") and not word.endswith("ss")
    return word[:-1] if is_plural else word


def is_header_name(name: str) -> bool:
    """Whether a cell is the name of a column rather than a value."""
    known = {*TEXT_NAMES, *TOKEN_NAMES, *ENTITY_NAMES, *CLASS_NAMES}
    known.update(*PAIR_NAMES)
    if name.lower() in known or name.lower() in ID_NAMES:
        return True
    parts = name_parts(name)
    return bool(parts) and len(name) < 30 and set(parts) <= known


def is_id_name(name: str) -> bool:
    """Whether a column is named like ids."""
    last_part = name_parts(name)[-1:]
    return name.lower() in ID_NAMES or last_part in (["id"], ["uuid"], ["guid"])


def name_rank(names: Sequence[str], name: str) -> tuple[int, int] | None:
    """How well a name fits: whole names before parts, earlier names before later ones."""
    parts = name_parts(name)
    matching = [word for word in names if word in parts]
    if not matching or (len(parts) > 1 and OTHER_PARTS & set(parts)):
        return None
    return 0 if parts == matching[:1] else 1, names.index(matching[0])


def ranked(names: Sequence[str], columns: Sequence[str]) -> list[tuple[tuple[int, int], str]]:
    """The columns whose names fit, each with its rank, the best first."""
    ranks = [(name_rank(names, column), column) for column in columns]
    return sorted(
        ((rank, column) for rank, column in ranks if rank is not None), key=lambda pair: pair[0]
    )


def best_named(names: Sequence[str], columns: Sequence[str]) -> str | None:
    """The column whose name fits best."""
    return next((column for _, column in ranked(names, columns)), None)
