"""Joins the predictions of several models."""

from __future__ import annotations

import argparse

from pipelines.commands.places import check_output
from pipelines.errors import UserError

HELP = ("join what several models answered to the same examples: spans and classes by votes, numbers by "
        "their mean")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("predictions", nargs="+", metavar="P.jsonl", help="answers, a file for each model")
    parser.add_argument("--out", required=True, metavar="OUT.jsonl", help="where the joint answers go")


def run(options: argparse.Namespace) -> int:
    from pipelines.examples import read_predictions, write_predictions
    from pipelines.voting import vote

    if len(options.predictions) < 2:
        raise UserError("got one file of predictions; wanted those of two models or more, three for a majority")
    check_output(options.out)
    answers = [read_predictions(path) for path in options.predictions]
    joint = vote(answers, names=options.predictions)
    write_predictions(options.out, joint)
    kept, *given = (sum(len(answer.spans or ()) for answer in model) for model in (joint, *answers))
    spans = f"; {kept} spans, of the models' {', '.join(map(str, given))}" if any(given) else ""
    print(f"{options.out}: {len(joint)} answers of {len(answers)} models{spans}")
    return 0
