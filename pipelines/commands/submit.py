"""Writes predictions as a competition's CSV, or runs as a course's package."""

from __future__ import annotations

import argparse

from pipelines.commands.columns import add_columns, columns_of
from pipelines.errors import UserError

HELP = "write predictions as a competition's CSV, and push it; or a course's package of runs"
# The options of a competition's CSV that go to `write_submission` as they are.
SAMPLE_OPTIONS = ("format", "separator", "answer_column", "positive_class", "no_answer")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--predictions", metavar="P.jsonl", help="answers to every row of the sample"
    )
    parser.add_argument(
        "--sample",
        metavar="sample_submission.csv",
        help="gives the columns, the ids, their order and the layout of an answer",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="submission.csv",
        help="the file to write; a zip with --bundle",
    )
    parser.add_argument(
        "--input",
        metavar="FILE",
        help="the test file, where answers are strings or tokens: predictions hold offsets only",
    )
    add_columns(parser)
    _add_sample_options(parser)
    parser.add_argument("--push", metavar="COMPETITION", help="hand the file to Kaggle's client")
    parser.add_argument(
        "--message", help="what to write to Kaggle about it; default: the predictions file"
    )
    parser.add_argument(
        "--bundle",
        choices=("milestone", "leaderboard", "final"),
        help="write a zip with predictions, configs and weights of --runs, and their checksums: "
        "dev predictions, test predictions of one run, or both",
    )
    parser.add_argument("--runs", nargs="+", metavar="RUN", help="run folders, for --bundle")
    for split in ("dev", "test"):
        parser.add_argument(
            f"--{split}_file",
            metavar="FILE",
            help=f"for --bundle: default, the {split} file that the run names",
        )


def _add_sample_options(parser: argparse.ArgumentParser) -> None:
    """The options that decide where a sample can be read in two ways."""
    parser.add_argument(
        "--format", metavar="LAYOUT", help="layout of an answer, if the sample does not show it"
    )
    parser.add_argument(
        "--separator",
        help="what stands between two strings, tags, offsets or classes; default: as in the sample",
    )
    parser.add_argument(
        "--answer_column",
        metavar="NAME[,NAME…]",
        help="columns to fill; default: all but ids, `Usage` and the texts of --input",
    )
    parser.add_argument(
        "--positive_class",
        metavar="CLASS",
        help="the class whose probability is asked for, where one column holds it",
    )
    parser.add_argument(
        "--no_answer",
        metavar="TEXT",
        help="what is written where nothing is predicted; default: as in the sample",
    )


def run(options: argparse.Namespace) -> int:
    from pipelines.corpora import read_examples
    from pipelines.corpora.predictions import read_predictions
    from pipelines.submission import LAYOUTS, push, write_submission

    if options.bundle:
        return _bundle(options)
    if not options.predictions or not options.sample or options.runs:
        raise UserError(
            "submit wants --predictions and --sample for a competition's CSV, or --bundle and "
            "--runs for a course's package"
        )
    predictions = read_predictions(options.predictions)
    examples = None
    if options.input:
        examples = read_examples(
            options.input,
            columns=columns_of(options),
            labelled=False,
            skip_bad_rows=options.skip_bad_rows,
        )
    chosen = {name: getattr(options, name) for name in SAMPLE_OPTIONS}
    written = write_submission(
        predictions, examples, sample=options.sample, out=options.out, **chosen
    )
    how = "as asked" if options.format else "inferred from the sample"
    what = LAYOUTS[written.layout].what
    print(f"{options.out}: {len(predictions)} answers; layout {written.layout} ({what}), {how}")
    columns, first_row = ", ".join(written.columns), _one_line(written.first_row)
    print(f"columns filled: {columns}; first row: {first_row}")
    if options.push:
        push(options.out, options.push, options.message or options.predictions)
    return 0


def _one_line(row: str, limit: int = 200) -> str:
    """A row for the terminal: control characters are escaped, and what is long is cut."""
    line = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in row)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def _bundle(options: argparse.Namespace) -> int:
    from pipelines.submission.package import BUNDLES, write_bundle

    without_effect = ("predictions", "sample", "push", *SAMPLE_OPTIONS)
    if any(getattr(options, name) is not None for name in without_effect):
        raise UserError(
            "--bundle takes its predictions from --runs; leave --predictions, --sample, --push and "
            "the options of a sample away"
        )
    files = {"dev": options.dev_file, "test": options.test_file}
    names = write_bundle(options.runs or [], options.out, kind=options.bundle, files=files)
    print("\n".join(names))
    what = BUNDLES[options.bundle].what
    print(f"\n{options.out}: {len(names)} files, {what}; opened again and valid")
    return 0
