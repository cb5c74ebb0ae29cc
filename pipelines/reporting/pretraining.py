"""The end of a run that continued pretraining: its report, card, and what the log says of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from pipelines.examples import Example, JsonObject
from pipelines.reporting.card import write_card
from pipelines.runs import held_out
from pipelines.runs.run import Run

LOSSES_SHOWN = 12
logger = logging.getLogger(__name__)


def report_pretraining(
    run: Run, cost: JsonObject, examples: Mapping[str, Sequence[Example]], *, what: str
) -> None:
    """Writes the report and the card, and logs what pretraining cost and gained.

    Args:
        cost: see `Job.cost`.
        examples: split -> its examples, which the card counts.
        what: the loss is of: `masked words`, or `next tokens`.
    """
    compared = held_out.losses(run)
    run.write_json("report.json", {"cost": cost} | ({"held_out": compared} if compared else {}))
    write_card(run, {}, examples)
    losses = [f"{entry['loss']:.2f}" for entry in run.training_log() if "loss" in entry]
    if losses:
        shown = losses[:: -(-len(losses) // LOSSES_SHOWN)]
        logger.info("loss of %s, in nats: %s", what, ", ".join(shown))
    logger.info(
        "%.0f s, %.0f sub-words/s, peak memory %.2f GiB\n",
        cost["seconds"]["training"],
        cost["training_tokens_per_second"],
        cost["peak_memory"] / 2**30,
    )
    run.log_files("test")
