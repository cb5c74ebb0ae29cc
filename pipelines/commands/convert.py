"""Writes a corpus in the format of another tool."""

from __future__ import annotations

import argparse
import sys

from pipelines.commands.columns import add_columns, columns_of
from pipelines.commands.outputs import check_output

HELP = (
    "write what was read from a corpus, or a model's answers to it, in the format of another tool"
)

# Stated here too, so that `pipelines --help` need not import the writers.
NAMES = (
    "jsonl",
    "conll",
    "csv",
    "tsv",
    "brat",
    "label-studio",
    "doccano",
    "prodigy",
    "spacy",
    "arrow",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a corpus in any format of data/README.md")
    parser.add_argument(
        "--out",
        required=True,
        metavar="OUT",
        help="where to write; its ending chooses the format; brat and arrow write a folder",
    )
    parser.add_argument(
        "--to", metavar="NAME", help=f"the format, whatever the ending: {', '.join(NAMES)}"
    )
    parser.add_argument(
        "--predictions",
        metavar="P.jsonl",
        help="write a model's answers to these texts, such as for correction in an annotation tool",
    )
    add_columns(parser)


def run(options: argparse.Namespace) -> int:
    from pipelines.corpora import good_rows, read_corpus
    from pipelines.corpora.convert import convert, format_of, gold_content, predicted_content
    from pipelines.corpora.corpus import printable
    from pipelines.corpora.predictions import read_any_predictions

    format = format_of(options.out, options.to)
    if not format.is_folder:
        check_output(options.out)
    columns = columns_of(options)
    # Gold is not looked at where a model's answers take its place.
    answer = "text" if options.predictions else columns.answer
    corpus = read_corpus(options.file, columns=columns, answer=answer)
    examples = good_rows(corpus, skip_bad_rows=options.skip_bad_rows)
    if options.predictions:
        predictions = read_any_predictions(options.predictions, examples, columns=columns)
        content = predicted_content(examples, predictions, path=options.predictions)
    else:
        content = gold_content(examples, corpus.answer)
    written = convert(content, options.out, to=options.to)
    for line in (f"{options.file}: {corpus.layout}", *corpus.notes):
        print(printable(line))
    print(
        f"{options.out}: {written.n_examples} of {len(examples)} examples as {format.name}; "
        f"{content.described()}"
    )
    print(f"first: {content.first_example()}")
    for line in written.losses:
        print(f"not carried: {line}", file=sys.stderr)
    return 0
