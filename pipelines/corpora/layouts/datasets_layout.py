"""Data sets of the Hugging Face Hub, and those that `datasets` saved to a folder."""

from __future__ import annotations

from pipelines.corpora.corpus import Columns, Table
from pipelines.corpora.layouts.exports import reshaped
from pipelines.corpora.source import Source


def sniff(source: Source) -> bool:
    return source.is_dataset


def read(source: Source, columns: Columns) -> Table:
    from pipelines.corpora.hub import read_dataset  # its import takes a second

    return reshaped(source.path, read_dataset(source.path))
