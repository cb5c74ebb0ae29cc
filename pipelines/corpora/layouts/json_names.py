"""Names of numeric tags and types that a JSON file gives beside its rows."""

from __future__ import annotations

from pipelines.corpora.column_profiles import name_parts
from pipelines.examples import Fields
from pipelines.spans import looks_like_tag


def feature_names(features: object) -> tuple[str, ...] | None:
    """The names of a `ClassLabel` among the features that the datasets server lists."""
    for feature in features if isinstance(features, list) else ():
        kind = feature.get("type") if isinstance(feature, dict) else None
        inner = kind.get("feature", kind) if isinstance(kind, dict) else None
        names = inner.get("names") if isinstance(inner, dict) else None
        if isinstance(names, list) and "O" in names:
            return tuple(map(str, names))
    return None


def tag_names(value: object) -> tuple[str, ...] | None:
    """Finds the names of numeric tags: `["O", "B-Disease", …]` or `{"0": "O", …}`."""
    if is_tag_names(value):
        return _names(value)
    if isinstance(value, dict):
        return next(filter(None, map(tag_names, value.values())), None)
    return None


def is_tag_names(value: object) -> bool:
    """Whether a value lists tags, `O` among them."""
    names = _names(value)
    if names is None or len(names) < 2:
        return False
    return "O" in names and all(map(looks_like_tag, names))


def type_names(beside: Fields) -> tuple[str, ...] | None:
    """Finds the names of numeric types: `"names": ["Disease", "Gene"]`, `"id2label": {…}`."""
    for key, value in beside.items():
        if {"name", "label", "type", "class"} & set(name_parts(key)) and (names := _names(value)):
            return names
    return None


def _names(value: object) -> tuple[str, ...] | None:
    """A list of different names, or an object from numbers to names or the other way round."""
    if isinstance(value, dict) and value:
        by_number = all(isinstance(name, str) for name in value.values())
        pairs = value.items() if by_number else zip(value.values(), value, strict=True)
        named = {str(number): name for number, name in pairs}
        numbers = list(map(str, range(len(value))))
        if set(named) != set(numbers):
            return None
        value = [named[number] for number in numbers]
    if isinstance(value, list) and value and all(isinstance(name, str) for name in value):
        return tuple(value) if len(set(value)) == len(value) else None
    return None
