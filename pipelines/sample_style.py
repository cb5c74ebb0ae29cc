"""How a sample submission writes its answers: separators, the form of an item, names in JSON, the scheme of tags."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.corpora.columns import list_in
from pipelines.errors import UserError
from pipelines.sample_csv import Sample
from pipelines.spans import detect_scheme, looks_like_tag

NO_MENTION = ("none", "null", "nan", "n/a", "na", "-", "no", "empty")
SEPARATORS = "|;\t~,"
# Layout -> pattern of one item of a list; then its form and what stands between two, where the sample shows none.
ITEMS = {"offsets": (r"\d+ \d+ [^\W\d][\w-]*|(?:[^\W\d][\w-]* )?\d+ \d+", "{start} {end}", ";"),
         "ranges": (r"\d+[-:]\d+", "{start}-{end}", " "),
         "type_ranges": (r"\d+-\d+", "{start}-{end}", " ")}
JSON_KEYS = {"start": ("start", "begin", "start_offset", "start_char"),
             "end": ("end", "stop", "end_offset", "end_char"),
             "label": ("label", "type", "entity_type", "class", "tag", "category", "entity_group"),
             "text": ("text", "mention", "string", "word", "span", "name", "entity_text")}


class Style(NamedTuple):
    """What the sample's own answers say about how to write ours.

    Attributes:
        separator: what stands between two items of a list.
        item: form of one item, with ``{start}``, ``{end}`` and perhaps ``{label}``.
        nothing: the answer where there is no mention.
        keys: names in a JSON object, in order -> which of ``start``, ``end``, ``label``, ``text`` they mean.
        scheme: of tags.
    """

    separator: str
    item: str
    nothing: str
    keys: Mapping[str, str]
    scheme: str


def style_of(form: Sample, name: str, separator: str | None, *, valid: Callable[[str], bool]) -> Style:
    """What a sample's answers, read as a layout, say about how to write ours.

    Args:
        name: of the layout.
        separator: what stands between two items, where it is not as in the sample.
        valid: whether a cell can be of this layout.

    Raises:
        UserError: for strings without a separator, or objects with unknown keys.
    """
    cells = form.column(form.answer_column)
    nothing = Counter(cell for cell in cells if cell.strip().casefold() in NO_MENTION
                      and valid(cell)).most_common(1)
    pattern, item, _ = ITEMS.get(name, ("", "", ""))
    item = next((_form(match[0]) for cell in cells if item and (match := re.search(pattern, cell))), item)
    items = [item for cell in cells for item in json_list(cell) or () if isinstance(item, dict)]
    keys = {key: meaning for key in (items[0] if items else ("start", "end", "label"))
            for meaning, names in JSON_KEYS.items() if key.casefold() in names}
    if items and set(items[0]) - set(keys):
        raise UserError(f"{form.path}: its JSON objects have the keys {list(items[0])}; wanted names for start, end, "
                        f"label and text, such as {', '.join(JSON_KEYS)}")
    tagged = [cell for cell in cells if all(map(looks_like_tag, tag_parts(cell)))]
    tags = list(map(tag_parts, tagged))
    scheme = detect_scheme([[tag for parts in tags for tag in parts]] if name == "token_tags" else tags)
    separator = separator or _separator(form, name, tagged if name == "tags" else cells)
    return Style(separator, item, nothing[0][0] if nothing else "", keys, scheme)


def _separator(form: Sample, name: str, cells: Sequence[str]) -> str:
    """What mostly stands between two items of the sample's answers."""
    if name == "strings":
        found = [match[0] for sign in SEPARATORS for cell in cells for match in re.finditer(rf" *[{sign}]+ *", cell)]
        # The first sign that there is, with the blanks it mostly has: a comma may be part of a mention.
        found = [match for match in found if match.strip(" ") == found[0].strip(" ")]
        if not found:
            raise UserError(f"{form.path}: its answers show no separator between two strings; give it with --separator")
        default = ""
    elif name == "tags":
        found, default = [match for cell in cells for match in re.findall(r"[\s,;|]+", cell.strip())], " "
    elif name in ITEMS:
        item, _, default = ITEMS[name]
        found = [match[1] for cell in cells for match in re.finditer(rf"(?:{item})([^\w-]+)(?={item})", cell)]
    else:
        return ""
    return Counter(found).most_common(1)[0][0] if found else default


def _form(item: str) -> str:
    """``{label} {start} {end}`` for ``Disease 0 3``."""
    numbers = iter(("{start}", "{end}"))
    return re.sub(r"\d+|[^\W\d][\w-]*", lambda part: next(numbers) if part[0].isdecimal() else "{label}", item)


def tag_parts(cell: str) -> list[str]:
    """The tags in a cell: a JSON list, or apart by blanks, commas or the like."""
    items = json_list(cell)
    return re.findall(r"[^\s,;|]+", cell) if items is None else list(map(str, items))


def json_list(cell: str) -> list[Any] | None:
    items = list_in(cell)
    return items if isinstance(items, list) else None
