"""The submission of a run: rehearsed before its training, written after its predictions."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines import submission
from pipelines.corpora.splits import classes_of
from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject, Prediction
from pipelines.runs.arguments import DataArguments
from pipelines.runs.run import Run

logger = logging.getLogger(__name__)


def rehearse(
    examples: Mapping[str, Sequence[Example]], options: DataArguments, *, answer: str
) -> None:
    """Tries the sample with made-up answers, so that a bad one stops the run early.

    Args:
        examples: split -> examples; `test` (or `dev`) holds the texts that are asked for, `train`
            the answers that there are.
        answer: what the model will predict, `spans`, `label` or `value`.

    Raises:
        UserError, DataError: for a sample without a test file, or one that does not fit.
    """
    if not options.sample_submission:
        return
    asked = examples.get("test", examples.get("dev"))
    if asked is None:
        raise UserError(
            "got --sample_submission without --test_file; give the file with the texts that are "
            "asked for"
        )
    counts: list[int] | None
    train = examples["train"]
    if answer == "spans":
        labels = {span.label for example in train for span in example.spans or ()} or {"Disease"}
        counts = sorted({len(example.spans or ()) for example in train}) or [1]
    else:
        labels = {label for example in train for label in classes_of(example)}
        several = any(isinstance(example.label, tuple) for example in train)
        counts = sorted({len(classes_of(example)) for example in train}) if several else None
    submission.rehearse_submission(
        asked,
        options.sample_submission,
        answer=answer,
        labels=sorted(labels),
        counts=counts,
        **_layout_options(options),
    )


def _layout_options(options: DataArguments) -> JsonObject:
    return {
        "format": options.submission_format,
        "answer_column": options.answer_column,
        "positive_class": options.positive_class,
    }


def write(
    run: Run, examples: Sequence[Example], predictions: Sequence[Prediction], options: DataArguments
) -> None:
    """Writes the submission as the sample has it; without one `id,entities`, as JSON lists."""
    sample = Path(options.sample_submission or run.folder / "sample_submission.csv")
    if not options.sample_submission:
        if not all(prediction.spans is not None for prediction in predictions):
            return
        with replacing(sample) as f:
            csv.writer(f).writerows(
                [("id", "entities"), *((example.id, "[]") for example in examples)]
            )
    written = submission.write_submission(
        predictions, examples, sample=sample, out=run.submission, **_layout_options(options)
    )
    for note in written.notes:
        logger.info("%s", note)
