"""The steps that every recipe for entity mentions takes before and after it trains."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pipelines.checks.audit import as_text, audit
from pipelines.corpora import good_rows, read_corpora, refuse_unlabelled
from pipelines.corpora.stream import batches
from pipelines.errors import DataError
from pipelines.evaluation.reports import evaluate_spans
from pipelines.examples import Example, Prediction, write_predictions
from pipelines.job import rehearse_submission, submit
from pipelines.reporting.html import write_report
from pipelines.reporting.text import report_as_text
from pipelines.runs.cost import CostMeter
from pipelines.runs.options import DataArguments
from pipelines.runs.provenance import reading_of
from pipelines.runs.run import Run, tell


class Predicted(NamedTuple):
    report: dict[str, Any]  # of the last split that has gold mentions; {} where none has
    examples: Sequence[Example]  # of that split
    predictions: dict[str, list[Prediction]]  # by split


def checked_examples(files: dict[str, str], options: DataArguments, *, format: str | None = None,
                     show: bool) -> tuple[dict[str, list[Example]], dict[str, Any]]:
    """Reads the splits, audits them, and tries the sample with made-up answers.

    Returns:
        Split -> examples, and what the run has to keep of how they were read.

    Args:
        format: of the prompts, whose losses the audit then tells.

    Raises:
        DataError: listing every fault, unless bad rows are to be skipped; for training without mentions.
        UserError: for a sample that asks for other ids, or in a layout that is none.
    """
    corpora = read_corpora(files, columns=options.columns(), answer="spans")
    found = audit(list(corpora.values()), format=format)
    tell(show, as_text(found))
    if not found.ok and not options.skip_bad_rows:
        raise DataError("the data has faults (above); fix them, or leave those rows out by --skip_bad_rows true")
    examples = {split: good_rows(corpus, skip_bad_rows=options.skip_bad_rows) for split, corpus in corpora.items()}
    for split in ("train", "dev"):
        refuse_unlabelled(files.get(split, split), examples.get(split, []), "spans")
    rehearse_submission(examples, options, answer="spans")
    return examples, reading_of(corpora)


def predict_splits(predict: Callable[[list[Example]], list[Prediction]], examples: dict[str, list[Example]], run: Run,
                   meter: CostMeter, *, first: bool = True) -> Predicted:
    """Predicts dev and test, writes the predictions and scores the splits that have gold mentions.

    Args:
        first: whether this is the main process, which alone writes and scores.
    """
    report: dict[str, Any] = {}
    scored: list[Example] = []
    predictions: dict[str, list[Prediction]] = {}
    for split in [split for split in ("dev", "test") if split in examples]:
        with meter.stage(f"predict_{split}"):
            predictions[split] = [answer for batch in batches(examples[split]) for answer in predict(batch)]
        if first:
            write_predictions(run.predictions(split), predictions[split])
            if all(example.spans is not None for example in examples[split]):
                scored = examples[split]
                report = {"split": split, **evaluate_spans(scored, predictions[split], train=examples["train"])}
    return Predicted(report, scored, predictions)


def finish(predicted: Predicted, examples: dict[str, list[Example]], run: Run, options: DataArguments,
           cost: dict[str, Any]) -> dict[str, Any]:
    """Writes submission, report and page, prints the summary, and returns the report with its cost."""
    report = {**predicted.report, "cost": cost}
    split = "test" if "test" in examples else "dev"
    run.write_json("report.json", report)
    if options.sample_submission or "test" in examples:
        submit(run, examples[split], predicted.predictions[split], options)
    if predicted.report:
        log = run.folder / "trainer_log.json"
        write_report(report, predicted.examples, predicted.predictions[report["split"]], run.folder / "report.html",
                     title=run.folder.name,
                     trainer_log=json.loads(log.read_text(encoding="utf-8")) if log.is_file() else [])
        print(report_as_text(report))
        print(f"\n{summary(report)}")
    print()
    run.print_files(split)
    return report


def summary(report: dict[str, Any]) -> str:
    """Precision, recall, strict F1, its interval, seconds and memory, as a table of one row."""
    strict, cost = report["strict"], report["cost"]
    low, high = strict["interval"]
    return (f"{'split':<6} {'precision':>9} {'recall':>7} {'strict F1':>9} {'95 % interval':>16} {'seconds':>8} "
            f"{'peak memory':>12}\n"
            f"{report['split']:<6} {strict['precision']:>9.4f} {strict['recall']:>7.4f} {strict['f1']:>9.4f} "
            f"{f'{low:.4f}–{high:.4f}':>16} {sum(cost['seconds'].values()):>8.0f} "
            f"{cost['peak_memory'] / 2**30:>8.2f} GiB")
