"""Data sets of the Hugging Face Hub, and those saved to a folder: the one reader that needs `datasets`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import datasets

from pipelines.corpora.corpus import Table
from pipelines.errors import UserError


def read_dataset(source: str) -> Table:
    """Reads one split; the names of a ``ClassLabel`` take the place of its numbers.

    Args:
        source: ``owner/name``, ``owner/name:split`` or ``owner/name:config:split``; or a folder that ``save_to_disk``
            wrote, also with ``:split``. A data set with a single split needs no name for it.

    Raises:
        UserError: when it could not be loaded, or has several splits and none is named.
    """
    name, *rest = source.split(":")
    config, split = rest[0] if len(rest) > 1 else None, rest[-1] if rest else None
    if not Path(name).is_dir():
        print(f"{name}: no such file here; asking the Hub for a data set of this name", file=sys.stderr)
    try:
        found = datasets.load_from_disk(name) if Path(name).is_dir() else datasets.load_dataset(name, config)
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{source}: no file here, and no data set of this name could be loaded from the Hub "
                        f"({reason}); check the name, the network, or give a file") from None
    if isinstance(found, dict):
        split = split or (next(iter(found)) if len(found) == 1 else None)
        if split not in found:
            raise UserError(f"{source}: wanted one of its splits {', '.join(found)}; name it, as in "
                            f"{name}:{next(iter(found))}")
        found = found[split]
    rows = [_named(row, found.features) for row in found.to_list()]
    which = found.split or split
    return Table(list(enumerate(rows)), f"data set {name}" + (f", split {which}" if which else ""))


def _named(row: dict[str, Any], features: datasets.Features) -> dict[str, Any]:
    named = dict(row)
    for column, feature in features.items():
        inner = getattr(feature, "feature", None)
        if isinstance(feature, datasets.ClassLabel):
            number = row[column]  # -1 is what test sets have in place of a class
            named[column] = feature.names[number] if number is not None and number >= 0 else None
        elif isinstance(inner, datasets.ClassLabel) and row[column] is not None:
            named[column] = [inner.names[tag] if tag is not None and 0 <= tag < len(inner.names) else tag
                             for tag in row[column]]
    return named
