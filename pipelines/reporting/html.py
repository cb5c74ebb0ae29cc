"""The page of one report: its numbers, pictures and examples, in one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.evaluation.mistakes import KINDS
from pipelines.evaluation.reports import Report
from pipelines.evaluation.tasks import TASKS
from pipelines.examples import Example, Fields, Prediction, joined_by_id
from pipelines.reporting.browser import browser
from pipelines.reporting.page import Section, write_page
from pipelines.reporting.run_facts import Facts
from pipelines.reporting.sections import headline, report_sections, scored_on


def write_report(
    report: Report,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    out: str | Path,
    *,
    facts: Facts | None = None,
    trainer_log: Sequence[Fields] = (),
    title: str | None = None,
    more: Sequence[Section] = (),
) -> None:
    """Writes a page that can be read, browsed and printed without a network.

    Args:
        report: what a task's `evaluate` made of these examples and predictions, with `cost` and
            `warnings` where it has them.
        examples: with gold answers.
        predictions: in any order; a missing one is shown as empty. Of several runs, those of the
            first.
        out: the HTML file.
        facts: what was run, as `run_facts` gives it, for the header.
        trainer_log: the trainer's `log_history`; adds the learning curves.
        title: by default the task.
        more: sections to stand after those of the report.

    Raises:
        DataError: when predictions have other ids than the examples.
    """
    answer = TASKS[report["task"]].answer
    pairs = joined_by_id(
        examples, predictions, allow_missing=lambda id: Prediction(id, spans=(), label=())
    )
    note = scored_on(report)
    if report.get("runs"):
        note += " The examples show the first run."
    write_page(
        out,
        template="report.html",
        title=title or report["task"].replace("_", " ").capitalize(),
        headline=headline(report),
        note=note,
        facts=facts,
        warnings=report.get("warnings", ()),
        sections=[*report_sections(report, trainer_log=trainer_log), *more],
        browser=browser(pairs, answer),
        spans=answer == "spans",
        kinds=KINDS,
    )
