"""Writes predictions as a competition's CSV, or runs as a course's package."""

from __future__ import annotations

import argparse
import io
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.commands.columns import add_columns, columns_of
from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.submission.authors import Author

logger = logging.getLogger(__name__)

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
        "dev predictions, test predictions, or both",
    )
    parser.add_argument("--runs", nargs="+", metavar="RUN", help="run folders, for --bundle")
    _add_package_options(parser)


def _add_package_options(parser: argparse.ArgumentParser) -> None:
    """What a course's package holds beside its runs."""
    parser.add_argument(
        "--authors",
        metavar='"NAME <ID>, …"',
        help="for --bundle, and required by final: to stand in manifest, README and file names",
    )
    parser.add_argument(
        "--with_source",
        action="store_true",
        help="for --bundle: add the project's source, without runs, caches, weights and .git",
    )
    parser.add_argument(
        "--with_report",
        action="store_true",
        help="for --bundle: add what `pipelines report` writes about the runs, as PDF",
    )
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
    of_package = ("authors", "with_source", "with_report", "dev_file", "test_file")
    given = [f"--{name}" for name in of_package if getattr(options, name)]
    if given:
        raise UserError(f"{', '.join(given)} without --bundle has no effect; leave it out")
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
    from pipelines.submission.authors import file_suffix, parse_authors
    from pipelines.submission.package import BUNDLES, check_runs, write_bundle
    from pipelines.submission.source import source_files

    without_effect = ("predictions", "sample", "push", *SAMPLE_OPTIONS)
    if any(getattr(options, name) is not None for name in without_effect):
        raise UserError(
            "--bundle takes its predictions from --runs; leave --predictions, --sample, --push and "
            "the options of a sample away"
        )
    runs, kind = [Path(run) for run in options.runs or []], options.bundle
    files = {"dev": options.dev_file, "test": options.test_file}
    authors = parse_authors(options.authors or "")
    check_runs(runs, kind, authors)
    out = Path(options.out)
    if options.out.endswith(("/", os.sep)) or out.is_dir():
        out /= f"{kind}{file_suffix(authors)}.zip"
    names = write_bundle(
        runs,
        out,
        kind=kind,
        files=files,
        authors=authors,
        parameters={run.resolve().name: _sizes(run) for run in runs},
        report=_report(runs, authors, files) if options.with_report else None,
        source=source_files() if options.with_source else None,
    )
    print("\n".join(name for name in names if not name.startswith("source/")))
    in_source = sum(name.startswith("source/") for name in names)
    if in_source:
        print(f"source/: {in_source} files")
    print(f"\n{out}: {len(names)} files, {BUNDLES[kind].what}; opened again and valid")
    return 0


def _sizes(folder: Path) -> str:
    """The parameter table of a run, or why there is none: a package needs none to be complete."""
    from pipelines.commands.parameters import sizes_of
    from pipelines.runs.run import Run

    try:
        return sizes_of(Run.open(folder))
    except UserError as error:
        logger.warning("%s: the README has no parameter table (%s)", folder, error)
        return f"not listed: {error}"


def _report(
    runs: Sequence[Path], authors: Sequence[Author], files: Mapping[str, str | None]
) -> bytes:
    """The PDF of `pipelines report`."""
    from pipelines.reporting.documents import document_of
    from pipelines.reporting.pdf import write_pages
    from pipelines.runs.run import Run

    gold = files.get(Run.open(runs[0]).report().get("split", "test"))
    document = document_of(runs, authors=[str(author) for author in authors], gold=gold)
    pdf = io.BytesIO()
    write_pages(document, pdf)
    return pdf.getvalue()
