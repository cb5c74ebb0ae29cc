"""Which columns hold the text, the tokens, the answers and the ids: found by name and by what they hold.

A name is evidence for a reading, values are evidence for or against it. Where two columns fit equally well, the file is
refused with the option that decides.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from ast import literal_eval
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pipelines.corpora.corpus import Columns, Found
from pipelines.errors import UserError
from pipelines.spans import looks_like_tag

# In order of preference. A column matches by its whole name first, else by a part of it: `sentence_text`, `nerTags`.
TEXT_NAMES = ("text", "sentence", "content", "review", "comment", "tweet", "message", "abstract", "passage", "document",
              "body", "description", "question", "query", "premise", "title", "utterance", "headline", "post", "data")
TOKEN_NAMES = ("token", "word", "text", "sentence", "content")
ENTITY_NAMES = ("entity", "ner", "ent", "span", "annotation", "mention", "disease", "iob", "bio", "label",
                "tag", "target")
STRING_NAMES = ("entity", "mention", "disease")  # a column so named may hold one bare string
CLASS_NAMES = ("label", "class", "category", "target", "topic", "sentiment", "polarity", "genre", "rating", "star",
               "score", "intent", "emotion", "gold", "y", "airline_sentiment")
ID_NAMES = ("id", "guid", "uid", "uuid", "example_id", "sentence_id", "sent_id", "text_id", "sample_id", "row_id",
            "idx", "index", "key", "pmid", "doc_id", "document_id")
PAIR_NAMES = (("sentence1", "sentence2"), ("text1", "text2"), ("question1", "question2"), ("text_a", "text_b"),
              ("sentence_a", "sentence_b"), ("premise", "hypothesis"), ("question", "answer"), ("question", "sentence"),
              ("query", "passage"), ("query", "document"), ("text", "text_pair"), ("text", "pair"))
OTHER_PARTS = {"id", "ids", "idx", "index", "num", "count", "len", "length", "pos", "chunk", "source", "type", "lang"}
SHAPES = ("string", "strings", "list", "object", "numbers", "number", "empty")  # on a tie the earlier one
SAMPLE = 500
_NO_TEXT = re.compile(  # a number, a date, an address or the name of a file
    r"\s*(?:[-+]?\d[\d.,:/ -]*(?:[eE][-+]?\d+)?|(?:https?|ftp|file)://\S+|www\.\S+|[\w./\\-]+\.[A-Za-z]{2,4}\d?|"
    r"[0-9a-fA-F-]{16,})\s*")


@dataclass(frozen=True, slots=True)
class Profile:
    """What a column holds, by a sample of its values that are not null.

    Attributes:
        shape: the commonest of ``SHAPES``; ``None`` where all values are null.
        is_text: strings, most of which are neither numbers, dates, addresses nor names of files.
        words: mean number of words of the strings.
        classes: number of different values.
        values: the sample.
    """

    shape: str | None
    is_text: bool
    words: float
    classes: int
    values: list[Any]


def find_columns(path: str, rows: Sequence[Mapping[str, Any]], columns: Columns, *, answer: str | None,
                 labelled: bool = True, like: Found | None = None) -> Found:
    """Finds the columns by their names and by what they hold.

    Args:
        path: named in messages.
        rows: the rows that are objects; not empty.
        columns: what the user named.
        answer: what is asked for; ``text`` leaves the answers alone, ``None`` takes what there is.
        labelled: whether a named column of answers has to be there; a test file may lack it.
        like: the columns of the training file: those that are here too are taken.

    Raises:
        UserError: when a named column is not there, no column looks like text, or two fit equally well.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    given_labels = tuple(columns.label_column.split(",")) if columns.label_column else ()
    _check_named(path, names, columns, given_labels, labelled)
    # pandas writes its index into a column without a name.
    candidates = [name for name in names if name.strip() and not re.fullmatch(r"Unnamed: \d+", name)]
    profiles = {name: _profile(rows, name) for name in candidates}
    kept = {name for name in (columns.entities_column, columns.id_column, columns.group_column, *given_labels) if name}
    free = {name: profile for name, profile in profiles.items() if name not in kept and not is_id_name(name)}
    text: str | None
    tokens: str | None
    if like is not None and _fits(like, free):
        text, tokens, pair = like.text, like.tokens, like.pair
    else:
        text, tokens, pair = _text_columns(path, names, free, profiles, columns)
    others = {name: profile for name, profile in profiles.items()
              if name not in (text, tokens, pair, columns.id_column, columns.group_column)}
    entities = labels = None
    if answer in (None, "spans"):
        entities = _known(columns.entities_column, names) or (like.entities if like and like.entities in names else
                                                              None)
        entities = entities or _entities(path, others, rows, text, tokens, explicit=answer == "spans")
    if answer in (None, "label", "value"):
        labels = tuple(name for name in given_labels if name in names)
        if not labels and like and like.labels:
            # The columns of train, or none: a search could find others, which mean something else.
            labels = like.labels if set(like.labels) <= set(names) - {text, pair} else ()
            if labelled and not labels:
                raise UserError(f"{path}: no column {like.labels[0]!r}, which the classes of train are in; it has "
                                f"{', '.join(names)}")
        elif not labels and not given_labels:
            rest = {name: profile for name, profile in others.items() if name != entities}
            headed = not all(map(str.isdecimal, names))  # without a header no name can say what a column is
            labels = _label_columns(path, rest, len(rows), insist=answer is not None or not headed)
    used = (entities, *(labels or ()))
    id_column = columns.id_column or (like.id if like and like.id in others else
                                      find_id(rows, [name for name in others if name not in used]))
    return Found(text, tokens, pair, entities, labels or (), id_column, columns.group_column)


def _fits(like: Found, free: Mapping[str, Profile]) -> bool:
    """Whether a file has the text columns of another, with texts (or tokens) in them."""
    texts = all(name in free and free[name].is_text for name in (like.text, like.pair) if name)
    return texts and (like.tokens is None or (like.tokens in free and free[like.tokens].shape == "strings"))


def _known(name: str | None, names: Sequence[str]) -> str | None:
    return name if name in names else None


def _check_named(path: str, names: Sequence[str], columns: Columns, labels: Sequence[str], labelled: bool) -> None:
    answers = (columns.entities_column, *labels) if labelled else ()
    for wanted in (columns.text_column, columns.pair_column, columns.id_column, columns.group_column, *answers):
        if wanted is not None and wanted not in names:
            near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.0)
            raise UserError(f"{path}: no column {wanted!r}; it has {', '.join(names)}"
                            + (f" (nearest: {near[0]})" if near else ""))


def _profile(rows: Sequence[Mapping[str, Any]], name: str) -> Profile:
    held = (row[name] for row in rows if not is_null(row.get(name)) and row.get(name) != "")
    values = [list_in(value) for value in islice(held, SAMPLE)]
    shapes: dict[str, int] = {}
    for value in values:
        shapes[_shape_of(value)] = shapes.get(_shape_of(value), 0) + 1
    if len(shapes) > 1:
        shapes.pop("empty", None)
    shape = max(SHAPES, key=lambda shape: shapes.get(shape, 0)) if shapes else None
    strings = [value for value in values if isinstance(value, str)]
    texts = sum(_NO_TEXT.fullmatch(value) is None for value in strings)
    words = sum(len(value.split()) for value in strings) / len(strings) if strings else 0.0
    # A few rows are too few to say that a column of texts holds none.
    is_text = 2 * texts > len(strings) or (len(values) < 10 and name.lower() in TEXT_NAMES)
    return Profile(shape, shape == "string" and is_text, words, len(set(map(repr, values))), values)


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
    if isinstance(value, str) and value.lstrip().startswith("[") and value.rstrip().endswith("]"):
        for read in (json.loads, literal_eval):
            try:
                found = read(value.strip())
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(found, list):
                return [list(item) if isinstance(item, tuple) else item for item in found]
    return value


def name_parts(name: str) -> list[str]:
    """Words of a column's or key's name, in the singular: ``nerTags`` and ``NER-tags`` are ``["ner", "tag"]``."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)
    return [_singular(word.lower()) for word in words]


def _singular(word: str) -> str:
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("sses"):
        return word[:-2]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def is_header_name(name: str) -> bool:
    """Whether a cell is the name of a column rather than a value."""
    known = {*TEXT_NAMES, *TOKEN_NAMES, *ENTITY_NAMES, *CLASS_NAMES, *(one for pair in PAIR_NAMES for one in pair)}
    parts = name_parts(name)
    return name.lower() in ID_NAMES or name.lower() in known or bool(parts and len(name) < 30 and set(parts) <= known)


# Texts


def _text_columns(path: str, names: Sequence[str], free: Mapping[str, Profile], profiles: Mapping[str, Profile],
                  columns: Columns) -> tuple[str | None, str | None, str | None]:
    """The columns of text, tokens and second text."""
    if columns.text_column:
        named = columns.text_column
        if profiles.get(named) is not None and profiles[named].shape == "strings":
            return None, named, columns.pair_column
        tokens = _best(TOKEN_NAMES[:2], [name for name in free if free[name].shape == "strings" and name != named])
        return named, tokens, columns.pair_column
    lower = {name.lower(): name for name in free if free[name].is_text}
    if columns.pair_column is None:
        for first, second in PAIR_NAMES:
            if first in lower and second in lower:
                return lower[first], None, lower[second]
    texts = [name for name in free if free[name].is_text and name != columns.pair_column]
    text = _best(TEXT_NAMES, texts)
    tokens = _best(TOKEN_NAMES, [name for name in free if free[name].shape == "strings"])
    if text is None and tokens is None:
        text = _only_text(path, names, texts, free)
    return text, tokens, columns.pair_column


def _only_text(path: str, names: Sequence[str], texts: Sequence[str],
               free: Mapping[str, Profile]) -> str | None:
    """The one column that can be the text where none is named like it: it has several words, or many values."""
    wordy = [name for name in texts if free[name].words >= 2]
    varied = [name for name in texts if free[name].classes > max(2, len(free[name].values) // 2)]
    for likely in (wordy, varied, texts):
        if len(likely) == 1:
            return likely[0]
        if likely:
            raise UserError(f"{path}: the text may be in {' or '.join(map(repr, likely[:5]))}; name the right column "
                            "with --text_column")
    raise UserError(f"{path}: no column with the text; it has {', '.join(names) or 'no columns'}; "
                    "name the right one with --text_column")


def _rank(wanted: Sequence[str], name: str) -> tuple[int, int] | None:
    """How well a name fits: whole names before parts, earlier words before later ones."""
    parts = name_parts(name)
    fits = [word for word in wanted if word in parts]
    if not fits or (len(parts) > 1 and OTHER_PARTS & set(parts)):
        return None
    return 0 if parts == [fits[0]] else 1, wanted.index(fits[0])


def _ranked(wanted: Sequence[str], names: Sequence[str]) -> list[tuple[tuple[int, int], str]]:
    ranked = [(rank, name) for name in names if (rank := _rank(wanted, name)) is not None]
    return sorted(ranked, key=lambda pair: pair[0])


def _best(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for _, name in _ranked(wanted, names)), None)


# Answers


def _entities(path: str, others: Mapping[str, Profile], rows: Sequence[Mapping[str, Any]], text: str | None,
              tokens: str | None, *, explicit: bool) -> str | None:
    """The column of mentions or tags."""
    listed = [name for name, profile in others.items()
              if profile.shape in ("strings", "numbers", "list", "object", "empty")
              and (profile.shape != "strings" or tokens or _are_mentions(name, rows, text))]
    bare = [name for name, profile in others.items()
            if profile.shape == "string" and set(STRING_NAMES) & set(name_parts(name))]
    tagged = [name for name, profile in others.items() if profile.shape == "string" and _are_tags(profile.values)]
    ranked = _ranked(ENTITY_NAMES, listed) or _ranked(STRING_NAMES, bare) or \
        _ranked(("ner", "iob", "bio", "tag"), tagged)
    rivals = [name for rank, name in ranked if rank == ranked[0][0] and others[name].shape != "empty"]
    if len(rivals) > 1:
        raise UserError(f"{path}: the mentions may be in {' or '.join(map(repr, rivals))}; name the right column with "
                        "--entities_column")
    if ranked:
        return rivals[0] if rivals else ranked[0][1]
    # Strings that are not in the text are faults where mentions are asked for, and classes else.
    strings = [name for name, profile in others.items() if profile.shape == "strings"]
    return _best(("entity", "mention", "disease", "ner", "span"), strings) if explicit or strings else None


def _are_mentions(name: str, rows: Sequence[Mapping[str, Any]], text: str | None) -> bool:
    """Whether lists of strings are mentions (they stand in their texts, or are tags), and not classes."""
    if text is None:
        return True
    found = total = 0
    for row in islice(rows, SAMPLE):
        value = list_in(row.get(name))
        if isinstance(value, list) and isinstance(row.get(text), str):
            strings = [item for item in value if isinstance(item, str)]
            total += len(strings)
            found += len(strings) if strings and all(map(looks_like_tag, strings)) else \
                sum(string in row[text] for string in strings)
    named = _rank(("entity", "ner", "span", "mention", "disease", "annotation"), name) is not None
    return 2 * found >= total if not named else 10 * found >= total


def _are_tags(values: Sequence[Any]) -> bool:
    """Whether strings spell a tag for each token: ``O O B-Disease``."""
    parts = [part for value in values if isinstance(value, str) for part in value.split()]
    return "O" in parts and 2 * sum(map(looks_like_tag, parts)) > len(parts)


def _label_columns(path: str, others: Mapping[str, Profile], n_rows: int, *, insist: bool) -> tuple[str, ...]:
    """The column of the classes by its name; else several columns of 0 and 1; else the only other column.

    Args:
        insist: whether classes are asked for, so that a column may be taken without its name saying so.
    """
    plausible = [name for name, profile in others.items() if profile.values and _holds_classes(profile.values)]
    varied = [name for name in plausible if others[name].classes > 1] or plausible
    exact = [name for word in CLASS_NAMES for name in plausible if name.lower() == word or name_parts(name) == [word]]
    # Where several columns fit, one with a single value is no answer.
    exact = list(dict.fromkeys(name for name in exact if name in varied)) or list(dict.fromkeys(exact))
    if exact:
        certain = [name for name in exact if name_parts(name) == ["label"] or name.lower() == "label"]
        if len(exact) > 1 and not certain:
            raise UserError(f"{path}: the class may be in {' or '.join(map(repr, exact[:5]))}; name the right column "
                            "with --label_column")
        return ((certain or exact)[0],)
    binary = [name for name, profile in others.items()
              if profile.values and {str(value) for value in profile.values} <= {"0", "1", "0.0", "1.0"}]
    if len(binary) > 1:
        return tuple(binary)
    partial = [name for word in CLASS_NAMES for name in varied
               if word in name_parts(name) and not {"id", "text", "confidence"} & set(name_parts(name))]
    partial = list(dict.fromkeys(partial))
    if len(partial) > 1:
        raise UserError(f"{path}: the class may be in {' or '.join(map(repr, partial[:5]))}; name the right column "
                        "with --label_column")
    if partial:
        return (partial[0],)
    if not insist:
        return ()
    rest = [name for name in plausible if name.lower() not in ID_NAMES and "id" not in name_parts(name)[-1:]]
    if all(map(str.isdecimal, others)):  # without a header: a column whose values come again
        again = [name for name in rest if 1 < others[name].classes < len(others[name].values)]
        if len(again) > 1:
            raise UserError(f"{path}: the class may be in column {' or '.join(again[:5])}; say which by --label_column")
        return tuple(again)
    few = [name for name in rest if others[name].classes <= max(2, min(50, n_rows // 5))]
    return tuple(few) if len(few) == len(rest) == 1 else ()


def _holds_classes(values: Sequence[Any]) -> bool:
    """Mostly strings, numbers, or lists of strings that are no tags of tokens; the others are faults of their rows."""
    lists = [value for value in values if isinstance(value, list)]
    if lists:
        parts = [part for value in lists for part in value]
        named = sum(isinstance(part, str | int) for part in parts)
        are_tags = bool(parts) and all(looks_like_tag(str(part)) for part in parts)
        return 2 * len(lists) > len(values) and 2 * named >= len(parts) and not are_tags
    return 2 * sum(isinstance(value, str | int | float) for value in values) > len(values)


def is_id_name(name: str) -> bool:
    return name.lower() in ID_NAMES or name_parts(name)[-1:] in (["id"], ["uuid"], ["guid"])


def repeated_ids(rows: Sequence[Mapping[str, Any]], found: Found) -> str | None:
    """A column that is named like the id of a text but does not tell the rows apart."""
    used = (found.text, found.tokens, found.pair, found.entities, found.group, *found.labels)
    names = [name for name in dict.fromkeys(name for row in rows[:100] for name in row) if name not in used]
    for name in names:
        parts = name_parts(name)
        if parts[-1:] == ["id"] and not {"user", "author", "document", "doc", "group", "annotator"} & set(parts):
            values = [row.get(name) for row in rows if isinstance(row.get(name), str | int)]
            if len(set(values)) < len(values) and 2 * len(set(values)) > len(values):
                return name
    return None


def find_id(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    """The first column named like an id; one not named just ``id`` has to tell the rows apart, or nearly."""
    by_name = {name.lower(): name for name in reversed(names)}
    likely = [by_name[wanted] for wanted in ID_NAMES if wanted in by_name]
    likely += [name for name in names if name_parts(name)[-1:] == ["id"] and name not in likely]
    for name in likely:
        values = [row.get(name) for row in rows]
        if name.lower() == "id":
            return name
        if all(isinstance(value, str | int | float) for value in values) and len(set(values)) >= 0.9 * len(values):
            return name
    return None


