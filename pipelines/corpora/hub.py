"""Data sets of the Hugging Face Hub, and saved ones: the one reader that needs `datasets`."""

from __future__ import annotations

import logging
from pathlib import Path

import datasets

from pipelines.corpora.corpus import Table
from pipelines.errors import UserError
from pipelines.examples import JsonObject

logger = logging.getLogger(__name__)


def read_dataset(source: str) -> Table:
    """Reads one split; the numbers of a `ClassLabel` become its names.

    Args:
        source: `owner/name`, `owner/name:split` or `owner/name:config:split`; or a folder that
            `save_to_disk` wrote, also with `:split`. A data set with a single split needs no name
            for it.

    Raises:
        UserError: when it could not be loaded, or has several splits and none is named.
    """
    name, *rest = source.split(":")
    config = rest[0] if len(rest) > 1 else None
    split = rest[-1] if rest else None
    is_folder = Path(name).is_dir()
    if not is_folder:
        # A warning, as a path may be misspelled; the Hub takes its time to answer.
        logger.warning("%s: no such file; looking for a data set of this name on the Hub", name)
    try:
        dataset = (
            datasets.load_from_disk(name) if is_folder else datasets.load_dataset(name, config)
        )
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"{source}: neither a file nor a data set that could be loaded from the Hub "
            f"({reason}); check the name, the network, or give a file"
        ) from None
    if isinstance(dataset, dict):
        first = next(iter(dataset))
        if split is None and len(dataset) == 1:
            split = first
        if split not in dataset:
            raise UserError(
                f"{source}: wanted one of its splits {', '.join(dataset)}; name it, as in "
                f"{name}:{first}"
            )
        dataset = dataset[split]
    rows = [_with_names(row, dataset.features) for row in dataset.to_list()]
    which = dataset.split or split
    return Table(list(enumerate(rows)), f"data set {name}" + (f", split {which}" if which else ""))


def _with_names(row: JsonObject, features: datasets.Features) -> JsonObject:
    named = dict(row)
    for column, feature in features.items():
        value, item = row[column], getattr(feature, "feature", None)
        if isinstance(feature, datasets.ClassLabel):
            # Test sets have -1 instead of a class.
            named[column] = _name(feature, value, default=None)
        elif isinstance(item, datasets.ClassLabel) and value is not None:
            named[column] = [_name(item, number, default=number) for number in value]
    return named


def _name(feature: datasets.ClassLabel, number: int | None, *, default: object) -> object:
    if number is None or not 0 <= number < len(feature.names):
        return default
    return feature.names[number]
