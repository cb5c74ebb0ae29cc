"""Detects the columns of text, tokens, answers and ids by their names and by what they hold.

A name is evidence for a reading, values are evidence for or against it. Where two columns fit
equally well, the file is refused with the option that decides.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from itertools import islice

from pipelines.corpora.class_columns import find_class_columns, only_one
from pipelines.corpora.column_profiles import (
    ENTITY_NAMES,
    ID_NAMES,
    PAIR_NAMES,
    SAMPLE_SIZE,
    STRING_NAMES,
    TEXT_NAMES,
    TOKEN_NAMES,
    Profile,
    best_named,
    is_id_name,
    list_in,
    name_parts,
    name_rank,
    profile_of,
    ranked,
)
from pipelines.corpora.corpus import ColumnNames, Columns
from pipelines.errors import UserError
from pipelines.examples import Fields
from pipelines.spans import looks_like_tag

Rows = Sequence[Fields]
Profiles = Mapping[str, Profile]


def find_columns(
    path: str,
    rows: Rows,
    columns: Columns,
    *,
    answer: str | None,
    labelled: bool = True,
    like: ColumnNames | None = None,
) -> ColumnNames:
    """Detects the columns by their names and by what they hold.

    Args:
        path: named in messages.
        rows: the rows that are objects; not empty.
        columns: what the user named.
        answer: what is asked for; `text` ignores the answers, `None` takes what there is.
        labelled: whether a named column of answers has to exist; a test file may lack it.
        like: the columns of the training file, which are taken where this file has them too.

    Raises:
        UserError: when a named column does not exist, no column looks like text, or two fit
            equally well.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    label_names = tuple(columns.label_column.split(",")) if columns.label_column else ()
    _check_named(path, names, columns, label_names, labelled)
    profiles = {name: profile_of(rows, name) for name in names if not _is_pandas_index(name)}
    reserved = {columns.entities_column, columns.id_column, columns.group_column, *label_names}
    free = {
        name: profile
        for name, profile in profiles.items()
        if name not in reserved and not is_id_name(name)
    }
    text, tokens, pair = _text_columns(path, names, free, profiles, columns, like)
    taken = {text, tokens, pair, columns.id_column, columns.group_column}
    others = {name: profile for name, profile in profiles.items() if name not in taken}
    entities = None
    if answer in (None, "spans"):
        known = columns.entities_column or (like.entities if like else None)
        entities = known if known in names else None
        entities = entities or _entities_column(
            path, others, rows, text, tokens, is_asked_for=answer == "spans"
        )
    labels: tuple[str, ...] = ()
    if answer in (None, "label", "value"):
        labels = tuple(name for name in label_names if name in names)
        if not labels and like and like.labels:
            labels = _labels_like(path, names, like, {text, pair}, labelled)
        elif not labels and not label_names:
            rest = {name: profile for name, profile in others.items() if name != entities}
            # Without a header no name can say what a column is.
            has_header = not all(map(str.isdecimal, names))
            is_asked_for = answer is not None or not has_header
            labels = find_class_columns(path, rest, len(rows), is_asked_for=is_asked_for)
    id_column = columns.id_column or (like.id if like and like.id in others else None)
    if id_column is None:
        unread = [name for name in others if name not in (entities, *labels)]
        id_column = find_id(rows, unread)
    return ColumnNames(text, tokens, pair, entities, labels, id_column, columns.group_column)


def _is_pandas_index(name: str) -> bool:
    """pandas writes its index into a column without a name."""
    return not name.strip() or (name.startswith("Unnamed: ") and name[9:].isdecimal())


def _check_named(
    path: str, names: Sequence[str], columns: Columns, labels: Sequence[str], labelled: bool
) -> None:
    answers = (columns.entities_column, *labels) if labelled else ()
    inputs = (columns.text_column, columns.pair_column, columns.id_column, columns.group_column)
    for name in (*inputs, *answers):
        if name is not None and name not in names:
            nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
            hint = f" (nearest: {nearest[0]})" if nearest else ""
            raise UserError(f"{path}: no column {name!r}; it has {', '.join(names)}{hint}")


def _labels_like(
    path: str, names: Sequence[str], like: ColumnNames, texts: set[str | None], labelled: bool
) -> tuple[str, ...]:
    """The class columns of train, or none: a search could find others, with another meaning."""
    if set(like.labels) <= set(names) - texts:
        return like.labels
    if labelled:
        raise UserError(
            f"{path}: no column {like.labels[0]!r}, which holds the classes of train; it has "
            f"{', '.join(names)}"
        )
    return ()


# Texts


def _text_columns(
    path: str,
    names: Sequence[str],
    free: Profiles,
    profiles: Profiles,
    columns: Columns,
    like: ColumnNames | None,
) -> tuple[str | None, str | None, str | None]:
    """The columns of text, tokens and second text."""
    if like is not None and _has_texts(like, free):
        return like.text, like.tokens, like.pair
    lists = [name for name, profile in free.items() if profile.shape == "strings"]
    named = columns.text_column
    if named is not None:
        if named in profiles and profiles[named].shape == "strings":
            return None, named, columns.pair_column
        others = [name for name in lists if name != named]
        return named, best_named(TOKEN_NAMES[:2], others), columns.pair_column
    texts = [name for name, profile in free.items() if profile.is_text]
    if columns.pair_column is None:
        by_lower = {name.lower(): name for name in texts}
        for first, second in PAIR_NAMES:
            if first in by_lower and second in by_lower:
                return by_lower[first], None, by_lower[second]
    texts = [name for name in texts if name != columns.pair_column]
    text, tokens = best_named(TEXT_NAMES, texts), best_named(TOKEN_NAMES, lists)
    if text is None and tokens is None:
        text = _only_text(path, names, texts, free)
    return text, tokens, columns.pair_column


def _has_texts(like: ColumnNames, free: Profiles) -> bool:
    """Whether a file has the text columns of another, with texts (or tokens) in them."""
    texts = all(name in free and free[name].is_text for name in (like.text, like.pair) if name)
    if like.tokens is None:
        return texts
    return texts and like.tokens in free and free[like.tokens].shape == "strings"


def _only_text(path: str, names: Sequence[str], texts: Sequence[str], free: Profiles) -> str | None:
    """The only column that can be the text without its name saying so: by words, or variety."""
    wordy = [name for name in texts if free[name].n_words >= 2]
    varied = [name for name in texts if free[name].is_varied]
    for likely in (wordy, varied, texts):
        if likely:
            return only_one(path, "text", likely, "--text_column")
    raise UserError(
        f"{path}: no column with the text; it has {', '.join(names) or 'no columns'}; "
        "name the right one with --text_column"
    )


# Mentions and ids


def _entities_column(
    path: str,
    others: Profiles,
    rows: Rows,
    text: str | None,
    tokens: str | None,
    *,
    is_asked_for: bool,
) -> str | None:
    """The column of mentions or tags."""
    shapes = {name: profile.shape for name, profile in others.items()}
    lists = [
        name
        for name, shape in shapes.items()
        if shape in ("numbers", "list", "object", "empty")
        or (shape == "strings" and (tokens or _are_mentions(name, rows, text)))
    ]
    strings = [name for name, shape in shapes.items() if shape == "string"]
    bare = [name for name in strings if set(STRING_NAMES) & set(name_parts(name))]
    tagged = [name for name in strings if _are_tags(others[name].values)]
    candidates = (
        ranked(ENTITY_NAMES, lists)
        or ranked(STRING_NAMES, bare)
        or ranked(("ner", "iob", "bio", "tag"), tagged)
    )
    if candidates:
        best = candidates[0]
        rivals = [name for rank, name in candidates if rank == best[0] and shapes[name] != "empty"]
        return only_one(path, "mentions", rivals, "--entities_column") if rivals else best[1]
    # Strings that are not in the text are faults where mentions are asked for, and classes else.
    string_lists = [name for name, shape in shapes.items() if shape == "strings"]
    if not (is_asked_for or string_lists):
        return None
    return best_named(("entity", "mention", "disease", "ner", "span"), string_lists)


def _are_mentions(name: str, rows: Rows, text: str | None) -> bool:
    """Whether lists of strings are mentions (found in their texts, or tags), and not classes."""
    if text is None:
        return True
    n_found = n_strings = 0
    for row in islice(rows, SAMPLE_SIZE):
        value = list_in(row.get(name))
        if not isinstance(value, list) or not isinstance(row.get(text), str):
            continue
        strings = [item for item in value if isinstance(item, str)]
        n_strings += len(strings)
        if all(map(looks_like_tag, strings)):
            n_found += len(strings)
        else:
            n_found += sum(string in row[text] for string in strings)
    # Under a clear name a few are enough: the others are faults.
    is_named = name_rank(("entity", "ner", "span", "mention", "disease", "annotation"), name)
    return (10 if is_named else 2) * n_found >= n_strings


def _are_tags(values: Sequence[object]) -> bool:
    """Whether strings spell a tag for each token: `O O B-Disease`."""
    parts = [part for value in values if isinstance(value, str) for part in value.split()]
    return "O" in parts and 2 * sum(map(looks_like_tag, parts)) > len(parts)


def find_id(rows: Rows, names: Sequence[str]) -> str | None:
    """The first column named like an id; except for `id`, its values have to differ, or nearly."""
    by_lower = {name.lower(): name for name in reversed(names)}
    likely = [by_lower[name] for name in ID_NAMES if name in by_lower]
    likely += [name for name in names if name_parts(name)[-1:] == ["id"] and name not in likely]
    for name in likely:
        values = [row.get(name) for row in rows]
        if name.lower() == "id":
            return name
        are_ids = all(isinstance(value, str | int | float) for value in values)
        if are_ids and len(set(values)) >= 0.9 * len(values):
            return name
    return None


def repeated_ids(rows: Rows, column_names: ColumnNames) -> str | None:
    """An unread column that is named like the id of a text, though some of its values repeat."""
    used = column_names.all_names()
    names = dict.fromkeys(name for row in rows[:100] for name in row if name not in used)
    owners = {"user", "author", "document", "doc", "group", "annotator"}
    for name in names:
        parts = name_parts(name)
        if parts[-1:] == ["id"] and not owners & set(parts):
            values = [row.get(name) for row in rows if isinstance(row.get(name), str | int)]
            if len(set(values)) < len(values) < 2 * len(set(values)):
                return name
    return None
