"""Joins the predictions of several models."""

from __future__ import annotations

import argparse
from dataclasses import fields

from pipelines.commands.columns import add_columns, columns_of
from pipelines.commands.outputs import check_output
from pipelines.corpora.corpus import Columns
from pipelines.errors import UserError

HELP = (
    "join what several models answered to the same examples: spans and classes by votes, "
    "numbers by their mean; or make a run of runs that vote"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "predictions",
        nargs="*",
        metavar="P.jsonl",
        help="answers, a file for each model; also those of outside systems",
    )
    parser.add_argument("--out", metavar="OUT.jsonl", help="where to write the joint answers")
    parser.add_argument(
        "--runs",
        nargs="+",
        metavar="RUN",
        help="instead of files: finished runs, whose models vote on new texts too",
    )
    parser.add_argument("--run_dir", metavar="RUN", help="for --runs: folder of the new run")
    parser.add_argument(
        "--texts",
        metavar="FILE",
        help="the examples that were answered: gives ids to answers of outside systems",
    )
    add_columns(parser)


def run(options: argparse.Namespace) -> int:
    if options.runs is not None or options.run_dir is not None:
        return _of_runs(options)
    if not options.predictions or options.out is None:
        raise UserError(
            "vote wants files of predictions and --out for joint answers, or --runs and --run_dir "
            "for a run of runs"
        )
    return _of_files(options)


def _of_runs(options: argparse.Namespace) -> int:
    if not options.runs or not options.run_dir or options.predictions:
        raise UserError("a run of runs wants --runs R1 R2 … and --run_dir R, and no other files")
    changed = [f"--{name}" for name in ("out", "texts") if getattr(options, name) is not None]
    columns, defaults = columns_of(options), Columns()
    changed += [
        f"--{field.name}"
        for field in fields(Columns)
        if getattr(columns, field.name) != getattr(defaults, field.name)
    ]
    if changed:
        raise UserError(
            f"{', '.join(changed)}: no effect beside --runs, which read their texts as they did "
            "when they were trained; leave it out"
        )
    if len(options.runs) < 2:
        raise UserError("got one run; wanted two or more, three for a majority")
    from pipelines.commands.composites import Members, make_run
    from pipelines.families.composite import Composite

    members = Members(options.runs)
    make_run(members, Composite("vote", members.members), options.run_dir)
    print(f"{options.run_dir}: vote of {', '.join(members.names)}")
    return 0


def _of_files(options: argparse.Namespace) -> int:
    from pipelines.corpora import good_rows, read_corpus
    from pipelines.corpora.predictions import read_any_predictions
    from pipelines.corpora.writing import write_predictions
    from pipelines.evaluation.voting import vote

    if len(options.predictions) < 2:
        raise UserError(
            "got one file of predictions; wanted those of two models or more, three for a majority"
        )
    check_output(options.out)
    columns, examples = columns_of(options), None
    if options.texts:
        corpus = read_corpus(options.texts, columns=columns, answer="text")
        examples = good_rows(corpus, skip_bad_rows=options.skip_bad_rows)
    answers = [
        read_any_predictions(path, examples, columns=columns) for path in options.predictions
    ]
    joint = vote(answers, names=options.predictions)
    write_predictions(options.out, joint)
    n_kept, *n_given = (
        sum(len(answer.spans or ()) for answer in model) for model in (joint, *answers)
    )
    spans = (
        f"; {n_kept} spans, of the models' {', '.join(map(str, n_given))}" if any(n_given) else ""
    )
    print(f"{options.out}: {len(joint)} answers of {len(answers)} models{spans}")
    return 0
