"""JSON as the standard has it: no key twice, no `NaN`, one kind of error for everything wrong."""

from __future__ import annotations

import json
from collections import Counter

from pipelines.examples import JsonObject

__all__ = ["DuplicateKey", "loads"]

_SPACE = " \t\n\r"  # what JSON allows between values


class DuplicateKey(ValueError):
    """An object has the same key twice, and nobody can say which of the two values is meant."""


def loads(text: str, *, allow_nan: bool = False) -> object:
    """Parses JSON, but refuses what Python's own parser lets pass.

    Args:
        text: one JSON value.
        allow_nan: accept `NaN`, `Infinity` and `-Infinity`, which Python and pandas write.

    Raises:
        json.JSONDecodeError: where it is not JSON.
        DuplicateKey: naming the key, and its row where the value is a list.
        ValueError: for `NaN`, a number that is too long, and a value that is nested too deeply.
    """
    decoder = _LENIENT if allow_nan else _STRICT
    try:
        return decoder.decode(text)
    except json.JSONDecodeError:
        raise
    except DuplicateKey as error:
        row = _row_of_error(text, decoder)
        raise DuplicateKey(str(error) if row is None else f"{error} in row {row}") from None
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None
    except ValueError as error:
        # The message of Python's own error is about interpreter settings.
        if "integer string conversion" in str(error):
            raise ValueError("a number has too many digits") from None
        raise


def _row_of_error(text: str, decoder: json.JSONDecoder) -> int | None:
    """The 0-based row of a list that holds the duplicate key; None where `text` is no list."""
    position = _skip_space(text, 0)
    if text[position] != "[":
        return None
    row = 0
    while True:
        position = _skip_space(text, position + 1)
        try:
            _, position = decoder.raw_decode(text, position)
        except DuplicateKey:
            return row
        position = _skip_space(text, position)
        row += 1


def _skip_space(text: str, position: int) -> int:
    while text[position] in _SPACE:
        position += 1
    return position


def _unique_keys(pairs: list[tuple[str, object]]) -> JsonObject:
    value = dict(pairs)
    if len(value) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        [(key, count)] = counts.most_common(1)
        times = "twice" if count == 2 else f"{count} times"
        raise DuplicateKey(f"the key {key!r} occurs {times}")
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a value of JSON; write null where there is none")


_STRICT = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
_LENIENT = json.JSONDecoder(object_pairs_hook=_unique_keys)
