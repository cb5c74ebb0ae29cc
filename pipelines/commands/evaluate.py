"""Scores predictions against gold examples."""

from __future__ import annotations

import argparse
import json

from pipelines.commands.columns import add_columns, columns_of
from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject

HELP = "score predictions against gold examples"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gold",
        required=True,
        metavar="FILE",
        help="labelled examples, in any format of data/README.md",
    )
    parser.add_argument(
        "--predictions",
        required=True,
        nargs="+",
        metavar="P.jsonl",
        help="answers to them; several files, such as one a seed, give mean and spread",
    )
    parser.add_argument(
        "--train",
        metavar="FILE",
        help="training examples: adds baselines, and slices by what training has",
    )
    parser.add_argument(
        "--tune_threshold",
        nargs=2,
        metavar=("DEV_GOLD", "DEV_PREDICTIONS"),
        help="choose the score from which spans are kept on these, and report the gain",
    )
    parser.add_argument(
        "--allow_missing", action="store_true", help="count missing answers as empty"
    )
    parser.add_argument(
        "--allow_new_labels",
        action="store_true",
        help="count predicted labels that neither gold nor training has as wrong",
    )
    add_columns(parser)
    parser.add_argument("--json", metavar="OUT", help="write the whole report there")
    parser.add_argument("--html", metavar="OUT", help="write a page to read and browse there")


def run(options: argparse.Namespace) -> int:
    from pipelines.checks.predictions import check_predictions, known_labels
    from pipelines.corpora import read_examples
    from pipelines.corpora.predictions import read_any_predictions
    from pipelines.evaluation.comparison import evaluate_runs
    from pipelines.evaluation.tasks import answer_kind, task_of
    from pipelines.examples import replacing
    from pipelines.reporting.text import report_as_text

    columns = columns_of(options)
    # The kind of answers decides what is read of the gold file, with which those of an outside
    # system are aligned.
    unaligned = [
        read_any_predictions(path, columns=columns, quiet=True) for path in options.predictions
    ]
    kind = answer_kind([prediction for run in unaligned for prediction in run])
    if options.allow_missing and kind == "value":
        raise UserError(
            '--allow_missing got predictions with "value"; a missing number has no empty stand-in, '
            "predict it"
        )
    if options.tune_threshold and kind != "spans":
        raise UserError(
            f'--tune_threshold got predictions with "{kind}"; wanted "spans" that have scores'
        )

    def gold(path: str) -> list[Example]:
        return read_examples(path, columns=columns, answer=kind, labelled=kind != "value")

    examples = gold(options.gold)
    runs = [read_any_predictions(path, examples, columns=columns) for path in options.predictions]
    keywords: JsonObject = {"allow_missing": options.allow_missing}
    if options.train:
        keywords["train"] = gold(options.train)
    labels = (
        None if options.allow_new_labels else known_labels([*examples, *keywords.get("train", [])])
    )
    for path, run in zip(options.predictions, runs, strict=True):
        check_predictions(
            run, examples, path=path, labels=labels, allow_missing=options.allow_missing
        )
    if options.tune_threshold:
        dev_gold, dev_predictions = options.tune_threshold
        dev_examples = gold(dev_gold)
        keywords["tuning"] = (
            dev_examples,
            read_any_predictions(dev_predictions, dev_examples, columns=columns),
        )
        check_predictions(keywords["tuning"][1], keywords["tuning"][0], path=dev_predictions)
    task = task_of(examples, runs[0])
    report = (
        task.evaluate(examples, runs[0], **keywords)
        if len(runs) == 1
        else evaluate_runs(task, examples, runs, **keywords)
    )
    if options.json:
        with replacing(options.json, inputs=[options.gold, *options.predictions]) as f:
            json.dump(report, f, indent=1, ensure_ascii=False, allow_nan=False)
    if options.html:
        from pipelines.reporting.html import write_report

        facts = {"gold": options.gold, "predictions": options.predictions}
        write_report(report, examples, runs[0], options.html, facts=facts)
    print(report_as_text(report))
    return 0
