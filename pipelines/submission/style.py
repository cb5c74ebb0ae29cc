"""How a sample writes its answers: separators, the form of an item, names in JSON, tag scheme."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from pipelines.corpora.column_profiles import list_in
from pipelines.errors import UserError
from pipelines.formatting import some
from pipelines.spans import detect_scheme, looks_like_tag
from pipelines.submission.sample import Sample, is_number

NO_ANSWER = ("none", "null", "nan", "n/a", "na", "-", "no", "empty")
# Signs between mentions, those that are rarely a part of one first.
SEPARATORS = "|;\t~,"
# How a sample writes that something is not so, and that it is.
MARKS = (("0", "1"), ("0.0", "1.0"), ("False", "True"), ("false", "true"))


class Items(NamedTuple):
    """Attributes: `pattern` of one item; its `form` and `separator` where the sample shows none."""

    pattern: str
    form: str
    separator: str


ITEMS = {
    "offsets": Items(r"\d+ \d+ [^\W\d][\w-]*|(?:[^\W\d][\w-]* )?\d+ \d+", "{start} {end}", ";"),
    "ranges": Items(r"\d+[-:]\d+", "{start}-{end}", " "),
    "type_ranges": Items(r"\d+-\d+", "{start}-{end}", " "),
}
JSON_KEYS = {
    "start": ("start", "begin", "start_offset", "start_char"),
    "end": ("end", "stop", "end_offset", "end_char"),
    "label": ("label", "type", "entity_type", "class", "tag", "category", "entity_group"),
    "text": ("text", "mention", "string", "word", "span", "name", "entity_text"),
}


class Style(NamedTuple):
    """What the sample's own answers show about how to write ours.

    Attributes:
        parts: for each answer column the class, or the part of a mention, that it holds.
        separator: between two items; None where the sample does not show it.
        item: form of one item, with `{start}`, `{end}` and perhaps `{label}`.
        no_answer: for each answer column what is written where nothing is predicted.
        shows_no_answer: whether the sample or the caller says so.
        keys: names in a JSON object, in order -> `start`, `end`, `label` or `text`.
        scheme: of tags.
        as_list: whether classes are written as a JSON list.
        marks: how a class that does not apply is written, and one that does.
        point: the decimal point.
    """

    parts: tuple[str, ...]
    separator: str | None = None
    item: str = ""
    no_answer: tuple[str, ...] = ("",)
    shows_no_answer: bool = True
    keys: Mapping[str, str] = {}
    scheme: str = "BIO"
    as_list: bool = False
    marks: tuple[str, str] = MARKS[0]
    point: str = "."


def style_of(
    sample: Sample,
    name: str,
    columns: Sequence[int],
    parts: Sequence[str],
    *,
    classes: Collection[str] = (),
    separator: str | None = None,
    no_answer: str | None = None,
) -> Style:
    """What a sample's answers, read in a layout, show about how to write ours.

    Args:
        sample: the sample.
        name: of the layout.
        columns: positions of the answer columns.
        parts: for each of them the class, or the part of a mention, that it holds.
        classes: of the predictions, which a separator must leave whole.
        separator: between two items, if it is not as in the sample.
        no_answer: what is written where nothing is predicted, if it is not as in the sample.

    Raises:
        UserError: for strings without a separator, two kinds of separators, or unknown JSON keys.
    """
    cells = [cell for column in columns for cell in sample.answers(column)]
    empty = _no_answer(sample, name, columns, classes)
    if no_answer is not None:
        empty = (no_answer,) * len(columns)
    if separator is None:
        separator = _separator(sample, name, columns, cells, classes)
        as_list = name == "label" and any(json_list(cell) is not None for cell in cells)
    else:
        as_list = False
    if as_list and no_answer is None and (empty is None or "[]" in cells):
        empty = ("[]",)
    has_comma = any(re.fullmatch(r"[-+]?\d+,\d+", cell) for cell in cells)
    return Style(
        tuple(parts),
        separator,
        _item_form(name, cells),
        empty or ("",) * len(columns),
        empty is not None,
        _json_keys(sample, cells) if name == "json_objects" else {},
        _scheme(name, cells),
        as_list,
        next((marks for marks in MARKS if cells and set(cells) <= set(marks)), MARKS[0]),
        "," if has_comma else ".",
    )


def _no_answer(
    sample: Sample, name: str, columns: Sequence[int], classes: Collection[str]
) -> tuple[str, ...] | None:
    """What the sample writes where there is no answer; None where it does not show it."""
    rows = zip(*(map(str.strip, sample.column(column)) for column in columns), strict=True)
    words = {"", *NO_ANSWER} - {name.casefold() for name in classes}
    if name == "span_columns":
        words |= {"-1"}
    empty = Counter(row for row in rows if {cell.casefold() for cell in row} <= words)
    spelled = Counter({row: count for row, count in empty.items() if any(row)})
    if spelled and name in ITEMS | {"strings": None, "label": None, "span_columns": None}:
        # A sample that leaves its other answers open has empty cells too.
        return spelled.most_common(1)[0][0]
    return ("",) * len(columns) if empty else None


def _are_tags(cell: str) -> bool:
    return all(map(looks_like_tag, tag_parts(cell)))


def _scheme(name: str, cells: Sequence[str]) -> str:
    """The tag scheme that the sample shows."""
    if name not in ("tags", "json_tags", "token_tags"):
        return "BIO"
    tags = [tag_parts(cell) for cell in cells if _are_tags(cell)]
    # Rows of tokens are one sequence: a row by itself has no tag before it.
    sequences = [list(chain.from_iterable(tags))] if name == "token_tags" else tags
    return detect_scheme(sequences)


def _item_form(name: str, cells: Sequence[str]) -> str:
    if name not in ITEMS:
        return ""
    matches = (re.search(ITEMS[name].pattern, cell) for cell in cells)
    match = next((match for match in matches if match), None)
    if match is None:
        return ITEMS[name].form
    # `Disease 0 3` -> `{label} {start} {end}`.
    numbers = iter(("{start}", "{end}"))
    return re.sub(
        r"\d+|[^\W\d][\w-]*",
        lambda part: next(numbers) if part[0].isdecimal() else "{label}",
        match[0],
    )


def _json_keys(sample: Sample, cells: Sequence[str]) -> dict[str, str]:
    items = chain.from_iterable(json_list(cell) or [] for cell in cells)
    first = next((item for item in items if isinstance(item, dict)), None)
    if first is None:
        return {"start": "start", "end": "end", "label": "label"}
    meanings = {key: part for part, names in JSON_KEYS.items() for key in names}
    keys = {key: meanings[key.casefold()] for key in first if key.casefold() in meanings}
    if len(keys) < len(first):
        raise UserError(
            f"{sample.path}: its JSON objects have the keys {list(first)}; wanted names for "
            f"start, end, label and text, such as {', '.join(JSON_KEYS)}"
        )
    return keys


# Separators


def _separator(
    sample: Sample,
    name: str,
    columns: Sequence[int],
    cells: Sequence[str],
    classes: Collection[str],
) -> str | None:
    """The separator of two items in the sample's answers; None where nothing shows it.

    Raises:
        UserError: where the sample shows two, or shows none and the layout has no default.
    """
    default = None
    if name == "strings":
        separators = _between_strings(cells)
    elif name == "label":
        separators = _between_classes(cells, classes)
    elif name == "span_columns":
        separators = _between_parts([sample.column(column) for column in columns])
    elif name == "tags":
        tagged = [cell for cell in cells if _are_tags(cell)]
        separators = [match for cell in tagged for match in re.findall(r"[\s,;|]+", cell)]
        default = " "
    elif name in ITEMS:
        item, default = ITEMS[name].pattern, ITEMS[name].separator
        between = rf"(?:{item})([^\w-]+)(?={item})"
        separators = [match[1] for cell in cells for match in re.finditer(between, cell)]
    else:
        return None
    if len({sign.strip(" ") for sign in separators}) > 1:
        signs = " and ".join(repr(sign) for sign in sorted(set(separators))[:3])
        raise UserError(
            f"{sample.path}: its answers show {signs} between two items; choose one with "
            "--separator"
        )
    if separators:
        return Counter(separators).most_common(1)[0][0]
    if name == "strings":
        raise UserError(
            f"{sample.path}: its answers show no separator between two strings; give it with "
            "--separator"
        )
    return default


def _between_strings(cells: Sequence[str]) -> list[str]:
    """The signs between strings. A comma may be a part of a mention where another sign is."""
    signs = [sign for cell in cells for sign in re.findall(rf" *[{SEPARATORS}]+ *", cell)]
    rare = [sign for sign in signs if "," not in sign]
    return rare or signs


def _between_classes(cells: Sequence[str], classes: Collection[str]) -> list[str]:
    """The signs between classes: between known ones, else any sign that may."""
    signs: list[str] = []
    names = "|".join(re.escape(name) for name in sorted(classes, key=len, reverse=True) if name)
    for cell in cells:
        if cell in classes or cell.casefold() in NO_ANSWER or json_list(cell) is not None:
            continue
        gaps = re.split(f"(?:{names})", cell) if names else [cell]
        is_list = len(gaps) > 2 and not gaps[0] and not gaps[-1]
        if is_list and not any(re.search(r"\w", gap) for gap in gaps):
            signs += gaps[1:-1]
        elif between := re.findall(r"\s*[|;\t~,/+&#]+\s*", cell):
            signs += between
        elif set(cell.split()) & set(classes):
            signs += re.findall(r"\s+", cell)
    return signs


def _between_parts(columns: Sequence[Sequence[str]]) -> list[str]:
    """The sign that cuts all columns of a row into as many parts, at least one row into several."""
    cells = [cell for column in columns for cell in column]
    # A blank may be a part of a mention or of a type, but not of an offset.
    blank = "" if any(re.search(r"[^\d\s]", cell) for cell in cells) else " "
    for sign in SEPARATORS + blank:
        counts = [[cell.count(sign) for cell in row] for row in zip(*columns, strict=True)]
        if all(len(set(row)) == 1 for row in counts) and any(row[0] for row in counts):
            return [m for cell in cells for m in re.findall(f" *{re.escape(sign)} *", cell)]
    return []


# Cells


def tag_parts(cell: str) -> list[str]:
    """The tags in a cell: a JSON list, or separated by blanks, commas or the like."""
    items = json_list(cell)
    return re.findall(r"[^\s,;|]+", cell) if items is None else list(map(str, items))


def json_list(cell: str) -> list[object] | None:
    """The list that a cell spells in JSON or Python, or None."""
    items = list_in(cell)
    return items if isinstance(items, list) else None


def check_numbers(sample: Sample, columns: Sequence[int]) -> None:
    """Refuses columns of numbers that hold words.

    Raises:
        UserError: naming the column and what it holds.
    """
    for column in columns:
        cells = dict.fromkeys(sample.answers(column))
        words = [cell for cell in cells if not is_number(cell)]
        if not {word.casefold() for word in words} <= {"true", "false"}:
            raise UserError(
                f"{sample.path}: column {sample.name(column)!r} has {some(words, 3)}; wanted "
                "numbers, to which the predictions can be written"
            )
