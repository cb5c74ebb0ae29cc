"""The options that say where a file holds what."""

from __future__ import annotations

import argparse
from typing import Any


def add_columns(parser: argparse.ArgumentParser, *, mentions: bool = False, classes: bool = False,
                 skip: bool = True) -> None:
    """Adds what every command takes that reads examples, for the files that do not tell by themselves."""
    parser.add_argument("--text_column", metavar="NAME", help="column with the text or its tokens")
    if mentions:
        parser.add_argument("--entities_column", metavar="NAME", help="column with the mentions or tags")
        parser.add_argument("--tag_names", type=lambda names: tuple(names.split(",")), metavar="O,B-Disease,…",
                            help="what numeric tags mean, from 0 up")
    if classes:
        parser.add_argument("--pair_column", metavar="NAME", help="column with the second text of a pair")
        parser.add_argument("--label_column", metavar="NAME[,NAME…]",
                            help="column with the class, or several of 0 and 1")
        parser.add_argument("--label_separator", metavar="MARK", help="what stands between several classes of a text")
        parser.add_argument("--mention_type", metavar="TYPE", help="the mention that makes the class, in an NER corpus")
    parser.add_argument("--id_column", metavar="NAME", help="column with the ids")
    if skip:
        parser.add_argument("--skip_bad_rows", action="store_true", help="leave out rows with faults")


def columns_of(options: argparse.Namespace) -> Any:
    from pipelines.corpora import Columns

    return Columns(options.text_column, options.entities_column, options.id_column, options.tag_names)


def class_columns_of(options: argparse.Namespace) -> Any:
    from pipelines.corpora.tables import ClassColumns

    return ClassColumns(options.text_column, options.pair_column, options.label_column, options.id_column,
                        options.label_separator, options.mention_type)
