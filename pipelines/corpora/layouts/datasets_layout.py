"""Data sets of the Hugging Face Hub, and those that `datasets` saved to a folder."""

from __future__ import annotations

from pipelines.corpora.corpus import Columns, Table
from pipelines.corpora.layouts.exports import with_plain_columns
from pipelines.corpora.source import Source


def sniff(source: Source) -> bool:
    """Whether it is a saved data set, or names one of the Hub."""
    return source.is_dataset


def read(source: Source, columns: Columns) -> Table:
    """Reads one split, see `hub.read_dataset`, or a data set in memory."""
    from pipelines.corpora.hub import read_dataset, table_of  # their import takes a second

    if source.dataset is not None:
        return with_plain_columns(table_of(source.dataset, source.path))
    return with_plain_columns(read_dataset(source.path))
