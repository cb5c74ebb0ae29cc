"""The page of one report: its numbers, pictures and examples, in one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.evaluation.mistakes import KINDS
from pipelines.evaluation.tasks import TASKS
from pipelines.examples import Example, Prediction, joined_by_id
from pipelines.reporting.browser import browser
from pipelines.reporting.page import write_page
from pipelines.reporting.sections import facts, headline, report_sections


def write_report(report: dict[str, Any], examples: Sequence[Example], predictions: Sequence[Prediction],
                 out: str | Path, *, trainer_log: Sequence[Mapping[str, Any]] | None = None,
                 title: str | None = None) -> None:
    """Writes a page that can be read, browsed and printed without a network.

    Args:
        report: what a task's ``evaluate`` made of these examples and predictions, with ``cost`` where it is known.
        examples: with gold answers.
        predictions: in any order; a missing one is shown as empty. Of several runs, the first one's.
        out: the HTML file.
        trainer_log: the trainer's ``log_history``; adds the learning curves.
        title: by default the task.

    Raises:
        DataError: when predictions have other ids than the examples.
    """
    answer = TASKS[report["task"]].answer
    pairs = joined_by_id(examples, predictions, allow_missing=lambda id: Prediction(id, spans=(), label=()))
    shown = facts(report) + (" The examples show the first run." if report.get("runs") else "")
    write_page("report.html", out, title=title or report["task"].replace("_", " ").capitalize(),
               headline=headline(report), facts=shown, sections=report_sections(report, trainer_log=trainer_log or ()),
               browser=browser(pairs, answer), spans=answer == "spans", kinds=KINDS)
