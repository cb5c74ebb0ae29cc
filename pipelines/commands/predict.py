"""Answers the examples of a file with the model of a run."""

from __future__ import annotations

import argparse

from pipelines.commands.columns import add_columns, columns_of
from pipelines.commands.places import check_output, family_and_folder

HELP = "answer the examples of a file with the model of a run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, dest="run_dir", metavar="RUN",
                        help="run folder, with model/ or merged/")
    parser.add_argument("--input", required=True, metavar="FILE", help="examples, in any format of data/README.md")
    parser.add_argument("--output", required=True, metavar="P.jsonl", help="where the predictions go")
    add_columns(parser, mentions=True)
    parser.add_argument("--batch_tokens", type=int, help="tokens, padding counted, of a batch (default: the family's)")


def run(options: argparse.Namespace) -> int:
    from pipelines.corpora import read_examples
    from pipelines.examples import write_predictions

    check_output(options.output)
    examples = read_examples(options.input, columns=columns_of(options), labelled=False,
                             skip_bad_rows=options.skip_bad_rows)
    family, folder = family_and_folder(options.run_dir)
    batch_tokens = {"batch_tokens": options.batch_tokens} if options.batch_tokens else {}
    predictions = family.predict(family.load(folder), examples, **batch_tokens)
    write_predictions(options.output, predictions)
    print(f"{options.output}: {len(predictions)} answers of {folder}")
    return 0
