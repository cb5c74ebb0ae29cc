"""Which options of a job differ from their defaults."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pipelines.examples import JsonObject
from pipelines.runs.run import config_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RESOLVED = {"greater_is_better"}  # follows from the metric
PLAIN = (str, int, float, bool, list, tuple, dict, type(None))


def changed_options(*groups: DataclassInstance) -> JsonObject:
    """The options that differ from the defaults of their dataclasses, without secrets.

    A trainer's dataclass resolves some fields when it is made. Those that go from one empty value
    or a word to another empty value (None to False, "auto" to None) and those that become objects
    are not counted as changed.

    Args:
        groups: the dataclasses of a job's options.
    """
    plain = config_of(*groups)
    changed = {}
    for group in groups:
        for field in dataclasses.fields(group):
            if field.name not in plain or field.name in RESOLVED:
                continue
            value, default = getattr(group, field.name), _default(field)
            is_empty = value is None or value is False or value in ("", [])
            is_resolved = is_empty and (not default or isinstance(default, str))
            if isinstance(value, PLAIN) and value != default and not is_resolved:
                changed[field.name] = plain[field.name]
    return changed


def _default(field: dataclasses.Field[object]) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None
