"""Scores predictions against gold examples."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from pipelines.commands.columns import add_columns, columns_of, number
from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject

if TYPE_CHECKING:
    from pipelines.evaluation.risk_control import Goal

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
    _add_thresholds(parser)
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


def _add_thresholds(parser: argparse.ArgumentParser) -> None:
    """Scores from which answers are kept: chosen on these examples with a guarantee, or given."""
    parser.add_argument(
        "--guarantee",
        metavar="MEASURE=LEVEL",
        help="recall=0.95 or precision=0.9: find the score from which answers are kept so that "
        "new documents reach this level, calibrated on these examples",
    )
    parser.add_argument(
        "--guarantee_delta",
        type=float,
        metavar="DELTA",
        help="the chance that the guarantee may fail (default: 0.1 for precision; recall is "
        "guaranteed in expectation)",
    )
    parser.add_argument(
        "--min_score",
        type=number,
        metavar="SCORE",
        help="leave out answers with a lower score first, as `pipelines predict` does",
    )


def run(options: argparse.Namespace) -> int:
    from pipelines.checks.predictions import check_predictions, known_labels
    from pipelines.corpora import read_examples
    from pipelines.corpora.predictions import read_any_predictions
    from pipelines.corpora.writing import replacing
    from pipelines.evaluation.comparison import evaluate_runs
    from pipelines.evaluation.guarantee import check_reached, guarantee
    from pipelines.evaluation.tasks import answer_kind, task_of
    from pipelines.evaluation.thresholds import answers_above
    from pipelines.reporting.text import report_as_text

    goal = _goal(options)
    columns = columns_of(options)
    # The kind of answers decides what is read of the gold file, with which those of an outside
    # system are aligned.
    unaligned = [
        read_any_predictions(path, columns=columns, quiet=True) for path in options.predictions
    ]
    kind = answer_kind([prediction for run in unaligned for prediction in run])
    _check_kind(options, kind)

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
    if goal is not None:
        calibrated = guarantee(examples, runs[0], goal, allow_missing=options.allow_missing)
    if options.min_score is not None:
        runs = [answers_above(run, options.min_score) for run in runs]
    task = task_of(examples, runs[0])
    report = (
        task.evaluate(examples, runs[0], **keywords)
        if len(runs) == 1
        else evaluate_runs(task, examples, runs, **keywords)
    )
    if goal is not None:
        report["guarantee"] = calibrated
    if options.json:
        with replacing(options.json, inputs=[options.gold, *options.predictions]) as f:
            json.dump(report, f, indent=1, ensure_ascii=False, allow_nan=False)
    if options.html:
        from pipelines.reporting.html import write_report

        facts = {"gold": options.gold, "predictions": options.predictions}
        write_report(report, examples, runs[0], options.html, facts=facts)
    print(report_as_text(report))
    check_reached(report)
    return 0


def _goal(options: argparse.Namespace) -> Goal | None:
    """The goal of --guarantee.

    Raises:
        UserError: for a goal that is none, and for options that it does not go with.
    """
    from pipelines.evaluation.guarantee import parse_goal

    if options.min_score is not None and (options.guarantee or options.tune_threshold):
        chooser = "--guarantee" if options.guarantee else "--tune_threshold"
        raise UserError(
            f"{chooser} chooses a score and --min_score gives one; leave one of the two out"
        )
    if options.guarantee is None:
        if options.guarantee_delta is not None:
            raise UserError("--guarantee_delta without --guarantee has no effect; leave it out")
        return None
    if len(options.predictions) > 1:
        raise UserError(
            f"--guarantee got {len(options.predictions)} files of predictions; wanted one: a score "
            "threshold belongs to one model"
        )
    return parse_goal(options.guarantee, options.guarantee_delta)


def _check_kind(options: argparse.Namespace, kind: str) -> None:
    """Checks that the options suit the kind of answers.

    Raises:
        UserError: naming the first that does not.
    """
    if options.allow_missing and kind == "value":
        raise UserError(
            '--allow_missing got predictions with "value"; a missing number has no empty stand-in, '
            "predict it"
        )
    if options.tune_threshold and kind != "spans":
        raise UserError(
            f'--tune_threshold got predictions with "{kind}"; wanted "spans" that have scores'
        )
    of_scores = [
        f"--{name}" for name in ("guarantee", "min_score") if getattr(options, name) is not None
    ]
    if of_scores and kind == "value":
        raise UserError(
            f'{of_scores[0]} got predictions with "value"; wanted "spans" or "label" with scores'
        )
