"""Cuts a corpus into train, dev and test."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.commands.columns import add_columns, columns_of
from pipelines.commands.outputs import check_output, refuse_input

HELP = (
    "cut a corpus into train, dev and test, stratified, documents and copies of a text in one part"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        help="a corpus in any format of data/README.md; its documents are named by "
        "--group_column, by ids such as DOCUMENT-NUMBER, or by the file",
    )
    parser.add_argument(
        "--sizes",
        default="train=0.8,dev=0.1,test=0.1",
        metavar="train=0.8,dev=0.1,…",
        help="shares, or numbers of examples (default: %(default)s)",
    )
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="where train.jsonl, dev.jsonl … are written"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="another one draws other examples (default: %(default)s)",
    )
    parser.add_argument(
        "--unseen_mentions",
        action="store_true",
        help="keep mentions apart: none of dev or test occurs in train; examples that connect both "
        "sides are left out",
    )
    add_columns(parser)


def run(options: argparse.Namespace) -> int:
    from pipelines.corpora import good_rows, read_corpus
    from pipelines.corpora.splits import (
        documents_in,
        parse_sizes,
        split_examples,
        splits_as_text,
        write_split,
    )

    sizes = parse_sizes(options.sizes)
    paths = {name: Path(options.out, f"{name}.jsonl") for name in sizes}
    refuse_input(options.file, paths.values())
    columns = columns_of(options)
    # As the recipes for classes read it, so that they cut the same parts.
    answer = columns.answer or (None if columns.mention_type is None else "label")
    corpus = read_corpus(options.file, columns=columns, answer=answer)
    examples = good_rows(corpus, skip_bad_rows=options.skip_bad_rows)
    parts = split_examples(
        examples, sizes, seed=options.seed, unseen_mentions=options.unseen_mentions
    )
    # All of them before the first is written.
    for path in paths.values():
        check_output(str(path))
    for name, part in parts.items():
        write_split(paths[name], part)

    for line in corpus.described():
        print(line)
    if corpus.answer is None:
        print("no labels to stratify by: drawn at random; --label_column names a column of classes")
    documents = documents_in(examples)
    if documents is not None:
        named_by = "groups" if any(example.group is not None for example in examples) else "ids"
        print(f"{len(set(documents)):,} documents kept together, as their {named_by} say")
    print(splits_as_text(examples, parts))
    return 0
