"""Data sets of the Hugging Face Hub, saved ones, and `datasets.Dataset` objects in and out.

examples = examples_of(datasets.load_dataset("owner/name", split="train"))
dataset = dataset_of(examples)
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import datasets

from pipelines.corpora import read_examples
from pipelines.corpora.convert import arrow
from pipelines.corpora.convert.content import Content
from pipelines.corpora.corpus import Columns, Table
from pipelines.corpora.source import Source
from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject

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
    which = dataset.split or split
    return table_of(dataset, f"data set {name}" + (f", split {which}" if which else ""))


def table_of(dataset: datasets.Dataset, layout: str) -> Table:
    """The rows of a data set, with the names of its classes and tags.

    Args:
        layout: what it is, for messages.
    """
    rows = [_with_names(row, dataset.features) for row in dataset.to_list()]
    return Table(list(enumerate(rows)), layout)


def examples_of(
    dataset: datasets.Dataset,
    *,
    columns: Columns | None = None,
    answer: str | None = None,
    labelled: bool = True,
    skip_bad_rows: bool = False,
) -> list[Example]:
    """The rows of a data set as examples, read as those of a file are.

    Args:
        dataset: one split.
        columns: where it holds what, if that is not certain.
        answer: `spans`, `label` or `value`, where it holds several.
        labelled: whether the answers have to be there.
        skip_bad_rows: leave bad rows out, with a warning that lists them.

    Raises:
        DataError: naming every fault with its row.
        UserError: when it can be read in two ways, or is several splits.
    """
    if isinstance(dataset, dict):
        raise UserError(
            f"got the splits {', '.join(dataset)}; wanted one of them, such as "
            f"dataset[{next(iter(dataset), 'train')!r}]"
        )
    source = Source("data set", labelled=labelled, dataset=dataset)
    return read_examples(
        source, columns=columns, answer=answer, labelled=labelled, skip_bad_rows=skip_bad_rows
    )


def dataset_of(examples: Sequence[Example], *, answer: str | None = None) -> datasets.Dataset:
    """Examples of texts as a data set, which `examples_of` reads back.

    Args:
        answer: `spans`, `label` or `value`, where the examples have several.

    Returns:
        A row an example: `id`, `text`, `pair` where there are pairs, and `spans` (`start`, `end`,
        `label`: half-open character offsets) or `label` (a list where a text may have several). The
        answer of an unlabelled example is None. Tokens and documents are not kept.

    Raises:
        UserError: for pictures and sequences, and for several kinds of answers.
    """
    if any(example.features is not None for example in examples):
        raise UserError("got examples with pictures or sequences; wanted texts")
    found = {name for name in map(_answer_of, examples) if name is not None}
    if answer is None and len(found) > 1:
        raise UserError(f"got examples with {' and '.join(sorted(found))}; say which by answer=")
    return arrow.dataset_of(Content(examples, answer or next(iter(found), None)))


def _answer_of(example: Example) -> str | None:
    if example.spans is not None:
        return "spans" if example.label is None else "spans and classes"
    if example.label is None:
        return None
    return "value" if isinstance(example.label, int | float) else "label"


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
