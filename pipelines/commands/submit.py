"""Writes predictions as a competition's CSV, or runs as a course's package."""

from __future__ import annotations

import argparse

from pipelines.commands.columns import add_columns, columns_of
from pipelines.errors import UserError

HELP = "write predictions as a competition's CSV, and push it; or a course's package of runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--predictions", metavar="P.jsonl", help="answers to every row of the sample")
    parser.add_argument("--sample", metavar="sample_submission.csv",
                        help="gives the columns, the ids, their order and the layout of an answer")
    parser.add_argument("--out", required=True, metavar="submission.csv", help="the file to write; a zip with --bundle")
    parser.add_argument("--input", metavar="FILE",
                        help="the test file, where answers are strings or tokens: predictions hold offsets only")
    add_columns(parser, mentions=True)
    parser.add_argument("--format", help="layout of an answer, where the sample does not tell it")
    parser.add_argument("--separator",
                        help="what stands between two strings, tags or offsets; default: as in the sample")
    parser.add_argument("--push", metavar="COMPETITION", help="hand the file to Kaggle's client")
    parser.add_argument("--message", help="what to tell Kaggle about it; default: the name of the predictions file")
    parser.add_argument("--bundle", choices=("milestone", "leaderboard", "final"),
                        help="write a zip with predictions, configs and weights of --runs, and their checksums: dev "
                             "predictions, test predictions of one run, or both")
    parser.add_argument("--runs", nargs="+", metavar="RUN", help="run folders, for --bundle")
    parser.add_argument("--dev_file", metavar="FILE", help="for --bundle: default, the dev file that the run names")
    parser.add_argument("--test_file", metavar="FILE", help="for --bundle: default, the test file that the run names")


def run(options: argparse.Namespace) -> int:
    from pipelines.corpora import read_examples
    from pipelines.examples import read_predictions
    from pipelines.submission import LAYOUTS, push, write_submission

    if options.bundle:
        return _bundle(options)
    if not options.predictions or not options.sample or options.runs:
        raise UserError("submit wants --predictions and --sample for a competition's CSV, or --bundle and --runs for a "
                        "course's package")
    predictions = read_predictions(options.predictions)
    examples = read_examples(options.input, columns=columns_of(options), labelled=False,
                             skip_bad_rows=options.skip_bad_rows) if options.input else None
    layout = write_submission(predictions, examples, sample=options.sample, out=options.out, format=options.format,
                              separator=options.separator)
    how = "as asked" if options.format else "inferred from the sample"
    print(f"{options.out}: {len(predictions)} answers; layout {layout} ({LAYOUTS[layout].what}), {how}")
    if options.push:
        push(options.out, options.push, options.message or options.predictions)
    return 0


def _bundle(options: argparse.Namespace) -> int:
    from pipelines.bundles import BUNDLES, write_bundle

    if options.predictions or options.sample or options.push:
        raise UserError("--bundle takes its predictions from --runs; leave --predictions, --sample and --push away")
    names = write_bundle(options.runs or [], options.out, kind=options.bundle,
                         files={"dev": options.dev_file, "test": options.test_file})
    print("\n".join(names))
    print(f"\n{options.out}: {len(names)} files, {BUNDLES[options.bundle].what}; opened again and valid")
    return 0
