"""The loss of a run's model on held-out text, before and after training."""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING

from pipelines.examples import JsonObject
from pipelines.runs.run import Run

if TYPE_CHECKING:
    from pipelines.families.language_model.text_rows import WeightedRows
    from pipelines.families.training.held_out import TokenLoss

FILE = "held_out.json"
logger = logging.getLogger(__name__)


def losses(run: Run) -> JsonObject:
    """What was compared so far: `before`, `after`, and on how much text; empty without any."""
    file = run.folder / FILE
    known: JsonObject = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return known


def compare(
    run: Run,
    trainer: TokenLoss,
    rows: WeightedRows | None,
    when: str,
    *,
    what: str,
    batch_tokens: int,
) -> None:
    """Measures the loss and writes it; that of before is kept when a run is resumed.

    Only the first process does, and only where there is held-out text.

    Args:
        when: `before` or `after`.
        what: is predicted, `masked words` or `next tokens`, for the log.
        batch_tokens: tokens of a batch at most, padding included.
    """
    known = losses(run)
    is_known = when == "before" and when in known
    if not rows or is_known or not trainer.is_world_process_zero():
        return
    found = trainer.held_out_loss(rows, batch_tokens=batch_tokens)
    perplexity = math.exp(found.loss)
    known |= {
        "sub_words": rows.n_tokens,
        "predicted": found.predicted,
        when: {"loss": round(found.loss, 4), "perplexity": round(perplexity, 2)},
    }
    run.write_json(FILE, known)
    logger.info(
        "held-out text, %s: loss %.3f nats, perplexity of %s %.1f",
        when,
        found.loss,
        what,
        perplexity,
    )
