"""Joins the predictions of several models."""

from __future__ import annotations

import argparse

from pipelines.commands.columns import add_columns, columns_of
from pipelines.commands.outputs import check_output
from pipelines.errors import UserError

HELP = (
    "join what several models answered to the same examples: spans and classes by votes, "
    "numbers by their mean"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "predictions",
        nargs="+",
        metavar="P.jsonl",
        help="answers, a file for each model; also those of outside systems",
    )
    parser.add_argument(
        "--out", required=True, metavar="OUT.jsonl", help="where to write the joint answers"
    )
    parser.add_argument(
        "--texts",
        metavar="FILE",
        help="the examples that were answered: gives ids to answers of outside systems",
    )
    add_columns(parser)


def run(options: argparse.Namespace) -> int:
    from pipelines.corpora import good_rows, read_corpus
    from pipelines.corpora.predictions import read_any_predictions
    from pipelines.evaluation.voting import vote
    from pipelines.examples import write_predictions

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
