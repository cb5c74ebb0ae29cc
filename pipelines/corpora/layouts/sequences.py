"""Sequences of vectors, each with a number: JSON, `.npz`, `.npy`, and pickled arrays."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import NoReturn

import numpy as np

from pipelines.corpora.corpus import ColumnNames, Columns, Table
from pipelines.corpora.layouts import json_layout, sequence_arrays
from pipelines.corpora.source import Source
from pipelines.corpora.strict_json import loads
from pipelines.errors import UserError
from pipelines.examples import Fields
from pipelines.formatting import some

BINARY = sequence_arrays.ENDINGS
FEATURE_NAMES = ("features", "sequence", "sequences", "inputs", "x")
VALUE_NAMES = ("value", "values", "target", "targets", "label", "labels", "y")
ID_NAMES = ("id", "ids")
LENGTH_NAMES = ("lengths", "length")
_TEXT_NAMES = json_layout.COMMON_NAMES
_HEAD = 20_000  # characters in which the key of the first sequence has to be
_KEY = re.compile(rf'"({"|".join(FEATURE_NAMES)})"\s*:\s*\[', re.IGNORECASE)
_LOOKED_AT = 20  # rows


def sniff(source: Source) -> bool:
    """Whether the name ends as arrays do, or JSON has lists of lists of numbers under a key."""
    if source.is_folder:
        return False
    if source.ends_with(*BINARY):
        return True
    if not json_layout.sniff(source) or not _KEY.search(source.content[:_HEAD]):
        return False
    return any(map(_has_sequence, _first_objects(source)))


def _first_objects(source: Source) -> list[object]:
    """The first rows of JSON lines or of a list of objects, as far as they can be parsed."""
    content = source.content.lstrip()
    if content.startswith("["):
        return _first_of_list(content)
    rows: list[object] = []
    for _, line in islice(source.numbered_lines(), _LOOKED_AT):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    if not rows:  # an object over several lines
        with contextlib.suppress(ValueError, RecursionError):
            rows.append(json.loads(content))
    return rows


def _first_of_list(content: str) -> list[object]:
    decoder, rows, position = json.JSONDecoder(), list[object](), 1
    try:
        while len(rows) < _LOOKED_AT:
            gap = re.compile(r"[\s,]*").match(content, position)
            value, position = decoder.raw_decode(content, gap.end() if gap else position)
            rows.append(value)
    except (ValueError, RecursionError):
        pass  # the end of the list, or a fault that the reader reports
    return rows


def _has_sequence(row: object) -> bool:
    if not isinstance(row, dict) or any(str(name).lower() in _TEXT_NAMES for name in row):
        return False
    return any(_is_nested(row.get(name)) for name in _named(row, FEATURE_NAMES))


def _is_nested(value: object) -> bool:
    """Whether a value is a sequence, or a column of sequences: lists within a list, of numbers."""
    if not isinstance(value, list) or not any(isinstance(step, list) for step in value):
        return False
    cells = [cell for step in value if isinstance(step, list) for cell in step]
    is_column = any(map(_is_nested, value))
    return is_column or any(isinstance(cell, int | float) for cell in cells)


def _named(names: Mapping[str, object] | Sequence[str], known: Sequence[str]) -> list[str]:
    return [name for name in names if str(name).lower() in known]


def read(source: Source, columns: Columns) -> Table:
    """Reads sequences, with the number of each where the file has it.

    Raises:
        UserError: for a file without sequences, or with two columns that may be the answer; for a
            pickle that names anything but arrays and plain containers.
    """
    if source.ends_with(*BINARY):
        arrays, layout = sequence_arrays.arrays_in(source)
        table = _table_of_arrays(source.path, arrays, layout, columns)
    else:
        table = _json_table(source)
    table.column_names = _column_names(source.path, table, columns)
    return table


def _json_table(source: Source) -> Table:
    lines = list(islice(source.numbered_lines(), 2))
    if len(lines) == 1 and source.content.lstrip().startswith("{"):
        # A line by itself is a row, unless it holds columns.
        row: object = None
        with contextlib.suppress(ValueError):  # which the reader below reports
            row = loads(source.content, allow_nan=True)
        names = _named(row, FEATURE_NAMES) if isinstance(row, dict) else []
        if isinstance(row, dict) and names and max(_depth(row[name]) for name in names) < 3:
            return Table([(1, row)], "JSON lines", unit="line")
    return json_layout.read(source, Columns())


def _depth(value: object) -> int:
    """How deeply lists are nested."""
    return 1 + max(map(_depth, value[:3]), default=0) if isinstance(value, list) else 0


def _column_names(path: str, table: Table, columns: Columns) -> ColumnNames:
    """The columns of the sequences, the numbers and the ids, as named or by their usual names."""
    names = list(dict.fromkeys(name for row in table.objects for name in row))
    features = columns.text_column or _only(path, names, FEATURE_NAMES, "--text_column")
    if features is None or (table.objects and features not in names):
        wanted = columns.text_column or " or ".join(FEATURE_NAMES)
        raise UserError(
            f"{path}: no column {wanted}, but {some(names) or 'none'}; name the column of the "
            "sequences by --text_column"
        )
    value = columns.label_column or _only(path, names, VALUE_NAMES, "--label_column")
    id = columns.id_column or next(iter(_named(names, ID_NAMES)), None)
    return ColumnNames(
        features=features,
        labels=(value,) if value is not None and value in names else (),
        id=id if id in names else None,
        group=columns.group_column,
    )


def _only(path: str, names: Sequence[str], known: Sequence[str], option: str) -> str | None:
    """The one name that is known; None without one.

    Raises:
        UserError: where there are several.
    """
    likely = _named(names, known)
    if len(likely) > 1:
        raise UserError(
            f"{path}: got the columns {some(likely)}, each of which may be meant; name one by "
            f"{option}"
        )
    return likely[0] if likely else None


# Arrays


def _table_of_arrays(path: str, value: object, layout: str, columns: Columns) -> Table:
    """The rows of what a file of arrays holds."""
    if isinstance(value, Mapping):
        if not all(isinstance(name, str) for name in value):
            _refuse(path, f"a dict with the keys {some(value)}")
        return _rows_of_columns(path, value, layout, columns)
    if isinstance(value, np.ndarray) and value.dtype != object and value.ndim == 3:
        return _rows(path, {"features": list(value)}, layout)
    items = _items(value)
    if items is None:
        _refuse(path, f"a {type(value).__name__}")
    if items and all(isinstance(item, Mapping) for item in items):
        return Table(list(enumerate(items)), f"{layout} of dicts")
    if len(items) == 2 and _are_columns(items):
        return _rows(path, {"features": _items(items[0]), "value": _items(items[1])}, layout)
    if items and all(_is_pair(item) for item in items):
        pairs = [_items(item) or [] for item in items]
        rows = [{"features": sequence, "value": _scalar(value)} for sequence, value in pairs]
        return Table(list(enumerate(rows)), f"{layout} of pairs")
    if not items or any(_is_sequence(item) for item in items):
        return _rows(path, {"features": items}, layout)
    _refuse(path, f"{len(items)} items of {type(items[0]).__name__}")


def _refuse(path: str, got: str) -> NoReturn:
    raise UserError(
        f"{path}: got {got}; wanted sequences of shape (T, D), alone, each in a pair with its "
        "number, or as a column `features` beside a column `value`"
    )


def _items(value: object) -> list[object] | None:
    """The items of a list, tuple or array; None for anything else."""
    if isinstance(value, np.ndarray):
        return list(value) if value.ndim else None
    return list(value) if isinstance(value, list | tuple) else None


def _is_sequence(value: object) -> bool:
    """Whether a value has steps: an array of two axes, or a list whose items are lists."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.ndim == 2
    items = _items(value)
    return items is not None and (not items or _items(items[0]) is not None)


def _scalar(value: object) -> object:
    """A number out of an array that holds just one."""
    return value.item() if isinstance(value, np.ndarray | np.generic) and value.size == 1 else value


def _is_pair(value: object) -> bool:
    items = _items(value)
    if items is None or len(items) != 2:
        return False
    return _is_sequence(items[0]) and not isinstance(_scalar(items[1]), list | tuple | np.ndarray)


def _are_columns(items: Sequence[object]) -> bool:
    """Whether two items are the sequences and, as many, their numbers."""
    sequences, values = map(_items, items)
    if sequences is None or values is None or len(sequences) != len(values):
        return False
    are_numbers = not any(isinstance(_scalar(one), list | tuple | np.ndarray) for one in values)
    return are_numbers and any(map(_is_sequence, sequences))


def _rows_of_columns(path: str, arrays: Fields, layout: str, columns: Columns) -> Table:
    """The rows of named arrays; padded or concatenated sequences are cut by their lengths."""
    lengths_name = _only(path, list(arrays), LENGTH_NAMES, "another name")
    kept = {name: array for name, array in arrays.items() if name != lengths_name}
    features = columns.text_column or _only(path, list(kept), FEATURE_NAMES, "--text_column")
    if features not in kept:
        _refuse(path, f"the arrays {some(arrays) or 'none'}")
    sequences = _items(kept[features])
    if sequences is None:
        _refuse(path, f"a single value in {features!r}")
    if lengths_name is not None:
        sequences = _cut(path, kept[features], np.asarray(arrays[lengths_name]))
    table_columns: dict[str, list[object] | None] = {features: sequences}
    for name, column in kept.items():
        if name != features:
            table_columns[name] = _items(column)
    return _rows(path, table_columns, layout)


def _cut(path: str, values: object, lengths: np.ndarray) -> list[object]:
    """The sequences of an array (N, T, D) that is padded, or (sum of lengths, D)."""
    n_steps = int(lengths.sum()) if lengths.ndim == 1 and lengths.dtype.kind in "iu" else -1
    if isinstance(values, np.ndarray) and n_steps >= 0 and (lengths >= 0).all():
        is_padded = values.ndim == 3 and len(values) == len(lengths)
        if is_padded and lengths.max(initial=0) <= values.shape[1]:
            return [steps[:length] for steps, length in zip(values, lengths, strict=True)]
        if values.ndim == 2 and len(values) == n_steps:
            return list(np.split(values, np.cumsum(lengths)[:-1]))
    shape = getattr(values, "shape", "no array")
    raise UserError(
        f"{path}: the lengths do not fit: features {shape}, {len(np.atleast_1d(lengths))} lengths; "
        "wanted features (N, T, D) with N lengths of at most T, or (sum of the lengths, D)"
    )


def _rows(path: str, columns: Mapping[str, list[object] | None], layout: str) -> Table:
    """The rows of columns, all of one length; the others are noted.

    Raises:
        UserError: where they have different lengths.
    """
    lists = {name: column for name, column in columns.items() if column is not None}
    if len({len(column) for column in lists.values()}) != 1:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in lists.items())
        raise UserError(f"{path}: columns of different lengths ({lengths}); wanted as many of each")
    plain = {name: list(map(_plain, column)) for name, column in lists.items()}
    rows = [dict(zip(plain, cells, strict=True)) for cells in zip(*plain.values(), strict=True)]
    return Table(list(enumerate(rows)), layout)


def _plain(value: object) -> object:
    """A scalar of NumPy as Python's own; an array of two axes as it is."""
    return value.item() if isinstance(value, np.generic) else value
