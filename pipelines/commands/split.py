"""Cuts labelled texts into train, dev and test."""

from __future__ import annotations

import argparse

from pipelines.commands.columns import add_columns, class_columns_of

HELP = "cut labelled texts into train, dev and test by class, all copies of a text in one of them"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="texts with classes, see docs/classification.md")
    parser.add_argument("--sizes", default="train=0.8,dev=0.1,test=0.1", metavar="train=0.8,dev=0.1,…",
                        help="shares, or numbers of texts (default: %(default)s)")
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where train.jsonl, dev.jsonl … are written")
    parser.add_argument("--seed", type=int, default=0, help="another one draws other texts (default: %(default)s)")
    add_columns(parser, classes=True)


def run(options: argparse.Namespace) -> int:
    from pipelines.corpora.splits import parse_sizes, splits_as_text, stratified_split, write_split
    from pipelines.corpora.tables import read_classes

    examples = read_classes(options.file, columns=class_columns_of(options), skip_bad_rows=options.skip_bad_rows)
    parts = stratified_split(examples, parse_sizes(options.sizes), seed=options.seed)
    for name, part in parts.items():
        write_split(f"{options.out}/{name}.jsonl", part)
    print(splits_as_text(examples, parts))
    return 0
