"""What each column of a sample is: an id, a constant that the competition gives, or an answer."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.formatting import some
from pipelines.spans import whitespace_tokens
from pipelines.submission.sample import ID_NAME, Sample

# Kaggle's column that says which leaderboard a row counts for, and what it holds.
USAGE = re.compile(r"usage", re.IGNORECASE)
USAGES = {"public", "private", "ignored"}
# `class_id` is an answer, `text_id` is not.
ANSWER_ID = re.compile(r"class|label|target|categor|cluster|predict|tag", re.IGNORECASE)
# The parts of a mention that can have a column each, and the names that such columns have.
PARTS = {
    "start": ("start", "begin", "start_offset", "start_char", "start_position", "starts"),
    "end": ("end", "stop", "end_offset", "end_char", "end_position", "ends"),
    "label": (
        "label",
        "type",
        "entity_type",
        "class",
        "tag",
        "category",
        "entity_group",
        "labels",
        "types",
        "classes",
        "tags",
        "categories",
    ),
    "text": (
        "text",
        "mention",
        "string",
        "entity",
        "entity_text",
        "mention_text",
        "span_text",
        "selected_text",
        "answer",
        "mentions",
        "strings",
        "entities",
        "answers",
    ),
}


class TokenRows(NamedTuple):
    """A sample with a row for each token.

    Attributes:
        order: for each row the running number of its token in the examples.
        columns: positions of the columns that name the token: document, number, word.
    """

    order: list[int]
    columns: frozenset[int]


def kept_columns(sample: Sample, examples: Sequence[Example]) -> set[int]:
    """The columns that a submission leaves as they are: ids, `Usage`, and the texts themselves."""
    by_id = {example.id: example for example in examples}
    asked = [by_id.get(id) for id in sample.ids]
    kept = {sample.id_column}
    for position in range(sample.width):
        name, cells = sample.name(position), sample.column(position)
        is_id = ID_NAME.fullmatch(name) and not ANSWER_ID.search(name)
        is_text = any(_is_text(asked, cells, field) for field in ("text", "pair"))
        if is_id or is_text or _is_index(name, cells) or _is_usage(name, cells):
            kept.add(position)
    return kept


def _is_index(name: str, cells: Sequence[str]) -> bool:
    """Whether a column is the row number that pandas writes in front."""
    if name and not name.startswith("Unnamed:"):
        return False
    return cells in [[str(row + first) for row in range(len(cells))] for first in (0, 1)]


def _is_usage(name: str, cells: Sequence[str]) -> bool:
    return bool(USAGE.fullmatch(name)) or {cell.strip().casefold() for cell in cells} <= USAGES


def _is_text(asked: Sequence[Example | None], cells: Sequence[str], field: str) -> bool:
    texts = [getattr(example, field) or "" for example in asked if example is not None]
    if not any(texts):
        return False
    return [text.strip() for text in texts] == [cell.strip() for cell in cells]


def answer_columns(sample: Sample, kept: set[int], names: str | None) -> list[int]:
    """Positions of the columns to fill.

    Args:
        sample: the sample.
        kept: positions of the columns that a submission leaves as they are.
        names: names of the columns to fill, with commas between them; by default all that are
            not kept.

    Raises:
        UserError: for names that no column has, and where no column is left to fill.
    """
    positions = {sample.name(position): position for position in range(sample.width)}
    if names is None:
        answers = [position for position in range(sample.width) if position not in kept]
        if answers:
            return answers
        raise UserError(
            f"{sample.path}: got the columns {some(list(positions))}, each an id or a "
            "constant; choose the one to fill with --answer_column"
        )
    asked = [names] if names in positions else [name.strip() for name in names.split(",")]
    unknown = [name for name in asked if name not in positions]
    if unknown or positions.get(asked[0]) == sample.id_column:
        raise UserError(
            f"{sample.path}: --answer_column {names} names {some(unknown or asked)}; wanted one "
            f"or several of {some(list(positions), 20)}, and not the column of ids"
        )
    return [positions[name] for name in asked]


def classes_of_columns(names: Sequence[str], classes: Sequence[str]) -> list[str | None] | None:
    """The class that each column is named after, in any case, behind a shared prefix or not.

    Returns:
        For each column its class, or None where it has none; None where no column has one.
    """
    end = max(map(names[0].rfind, "_-. ")) + 1
    prefix = names[0][:end] if len(names) > 1 else ""
    if not all(name.startswith(prefix) for name in names):
        prefix = ""
    spellings: tuple[Callable[[str], str], ...] = (
        str,
        str.casefold,
        lambda name: name.removeprefix(prefix),
        lambda name: name.removeprefix(prefix).casefold(),
    )
    for spelling in spellings:
        by_name = {spelling(name): name for name in classes}
        matches = [by_name.get(spelling(name)) for name in names]
        if len(by_name) == len(classes) and any(name is not None for name in matches):
            return matches
    return None


def parts_of_columns(names: Sequence[str]) -> list[str] | None:
    """The part of a mention that each column holds by its name; None unless all are clear."""
    by_name = {name: part for part, known in PARTS.items() for name in known}
    parts = [by_name.get(re.sub(r"[\W_]+", "_", name).strip("_").casefold()) for name in names]
    known = [part for part in parts if part is not None]
    if len(set(known)) < len(names) or ("start" in known) != ("end" in known):
        return None
    return known if {"start", "text"} & set(known) else None


# Rows of tokens


def tokens_of(example: Example) -> Sequence[tuple[int, int]]:
    """Character offsets of the tokens of an example; without tokens, of its words."""
    return whitespace_tokens(example.text) if example.tokens is None else example.tokens


def token_rows(sample: Sample, examples: Sequence[Example]) -> TokenRows | None:
    """How the rows of a sample are the tokens of the examples; None where they are not."""
    counts = [len(tokens_of(example)) for example in examples]
    columns = [sample.column(position) for position in range(sample.width)]
    if len(columns[0]) != sum(counts):
        return None
    sizes = {example.id: count for example, count in zip(examples, counts, strict=True) if count}
    documents = [i for i, cells in enumerate(columns) if Counter(cells) == sizes]
    names = list(_token_names(examples, counts))
    for order in _orders(columns, documents, examples, counts):
        known = [[cells[token] for token in order] for cells in names]
        named = frozenset(i for i, cells in enumerate(columns) if cells in known)
        # A column that numbers the rows may look as if it numbered the tokens.
        if named.issuperset(documents):
            return TokenRows(order, named)
    return None


def _orders(
    columns: Sequence[Sequence[str]],
    documents: Sequence[int],
    examples: Sequence[Example],
    counts: Sequence[int],
) -> Iterator[list[int]]:
    """Orders that the columns can mean: by number in a document, by running id, in order."""
    firsts = [0, *accumulate(counts)]
    starts = {example.id: first for example, first in zip(examples, firsts, strict=False)}
    sizes = {example.id: count for example, count in zip(examples, counts, strict=True)}
    for document in documents:
        for numbers in columns:
            order = _order_by_number(columns[document], numbers, starts, sizes)
            if order is not None:
                yield order
    for cells in columns:
        distinct = set(cells)
        for keys in _running_ids(examples, counts):
            index = {key: i for i, key in enumerate(keys)}
            if len(index) == len(cells) and index.keys() == distinct:
                yield [index[cell] for cell in cells]
    for document in documents:
        following = dict(starts)
        order = []
        for name in columns[document]:
            order.append(following[name])
            following[name] += 1
        yield order


def _order_by_number(
    documents: Sequence[str],
    numbers: Sequence[str],
    starts: Mapping[str, int],
    sizes: Mapping[str, int],
) -> list[int] | None:
    """The order by numbers that count the tokens of each document, from 0 or from 1 up."""
    if not all(number.isdecimal() for number in numbers):
        return None
    for first in (0, 1):
        order = []
        for document, number in zip(documents, numbers, strict=True):
            index = int(number) - first
            if 0 <= index < sizes[document]:
                order.append(starts[document] + index)
        if len(set(order)) == len(documents):
            return order
    return None


def _running_ids(examples: Sequence[Example], counts: Sequence[int]) -> Iterator[list[str]]:
    for first in (0, 1):
        yield [str(number + first) for number in range(sum(counts))]
        for joint in "_-:.":
            yield [
                f"{example.id}{joint}{number + first}"
                for example, count in zip(examples, counts, strict=True)
                for number in range(count)
            ]


def _token_names(examples: Sequence[Example], counts: Sequence[int]) -> Iterator[list[str]]:
    """Every way in which a column can name the tokens, in the order of the examples."""
    yield from _running_ids(examples, counts)
    sized = list(zip(examples, counts, strict=True))
    yield [example.id for example, count in sized for _ in range(count)]
    for first in (0, 1):
        yield [str(number + first) for _, count in sized for number in range(count)]
    yield [example.text[start:end] for example in examples for start, end in tokens_of(example)]
