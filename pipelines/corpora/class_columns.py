"""Detects the columns of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.corpora.column_profiles import CLASS_NAMES, ID_NAMES, Profile, name_parts
from pipelines.errors import UserError
from pipelines.spans import looks_like_tag

MAX_CLASSES = 50  # of a column whose name does not say that it holds classes


def find_class_columns(
    path: str, profiles: Mapping[str, Profile], n_rows: int, *, is_asked_for: bool
) -> tuple[str, ...]:
    """The column of the classes by its name; else columns of 0 and 1; else the only other column.

    Args:
        path: named in messages.
        profiles: the columns that are not read as anything else.
        is_asked_for: whether classes are asked for, so that a column may be taken without its name
            saying so.

    Raises:
        UserError: when two columns fit equally well.
    """
    plausible = [name for name, profile in profiles.items() if _holds_classes(profile.values)]
    varied = [name for name in plausible if profiles[name].n_distinct > 1] or plausible
    whole = _with_word(plausible, whole_name=True)
    # Where several columns fit, one with a single value is no answer.
    whole = [name for name in whole if name in varied] or whole
    certain = [name for name in whole if name_parts(name) == ["label"]]
    if whole:
        return (certain[0] if certain else only_one(path, "class", whole, "--label_column"),)
    binary = [name for name, profile in profiles.items() if profile.is_binary]
    if len(binary) > 1:
        return tuple(binary)
    partial = _with_word(varied, whole_name=False)
    if partial:
        return (only_one(path, "class", partial, "--label_column"),)
    if not is_asked_for:
        return ()
    rest = [
        name
        for name in plausible
        if name.lower() not in ID_NAMES and name_parts(name)[-1:] != ["id"]
    ]
    if all(map(str.isdecimal, profiles)):  # without a header: a column whose values repeat
        repeating = [
            name for name in rest if 1 < profiles[name].n_distinct < len(profiles[name].values)
        ]
        return (only_one(path, "class", repeating, "--label_column"),) if repeating else ()
    max_classes = max(2, min(MAX_CLASSES, n_rows // 5))
    few = [name for name in rest if profiles[name].n_distinct <= max_classes]
    return tuple(few) if len(few) == len(rest) == 1 else ()


def only_one(path: str, what: str, names: Sequence[str], option: str) -> str:
    """The only name.

    Raises:
        UserError: naming several, and the option that decides.
    """
    if len(names) == 1:
        return names[0]
    rivals = " or ".join(map(repr, names[:5]))
    raise UserError(f"{path}: the {what} may be in {rivals}; name the right column with {option}")


def _with_word(names: Sequence[str], *, whole_name: bool) -> list[str]:
    """The columns that are named like a class, those of likelier names first."""
    matching = []
    for word in CLASS_NAMES:
        for name in names:
            parts = name_parts(name)
            is_whole = name.lower() == word or parts == [word]
            is_part = word in parts and not {"id", "text", "confidence"} & set(parts)
            if is_whole if whole_name else is_part:
                matching.append(name)
    return list(dict.fromkeys(matching))


def _holds_classes(values: Sequence[object]) -> bool:
    """Mostly strings, numbers, or lists of strings that are not tags; others are faults of rows."""
    lists = [value for value in values if isinstance(value, list)]
    if not lists:
        n_named = sum(isinstance(value, str | int | float) for value in values)
        return 2 * n_named > len(values)
    parts = [part for value in lists for part in value]
    n_named = sum(isinstance(part, str | int) for part in parts)
    are_tags = bool(parts) and all(looks_like_tag(str(part)) for part in parts)
    return 2 * len(lists) > len(values) and 2 * n_named >= len(parts) and not are_tags
