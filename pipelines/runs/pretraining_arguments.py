"""Dataclasses of options of the recipes that continue pretraining on texts.

Importing this module loads no deep learning library, so that `--help` answers at once.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields
from typing import ClassVar

from pipelines.corpora.text_files import DOCUMENTS, TextFile, expand, survey
from pipelines.errors import UserError
from pipelines.runs.arguments import DataArguments, RunTrainingArguments, option

logger = logging.getLogger(__name__)


@dataclass
class PretrainingArguments(DataArguments):
    """Which texts are read, how often, and for how long."""

    text_files: list[str] | None = option(
        None,
        "further text: lines, JSON lines (.jsonl) or Parquet, gzipped or not; names and globs",
        group="text",
    )
    text_files_column: str = option(
        "text", "of the text, in JSON lines and Parquet of --text_files"
    )
    documents: str | None = option(
        None,
        "what a document is in lines of text: line, or what stands between blank lines "
        "(blank_line; default: that, where a file has blank lines)",
    )
    task_weight: int = option(
        1, "how often the texts of train, dev and test are read for one pass over --text_files"
    )
    held_out: float = option(
        0.01, "share of the documents of --text_files on which the loss is compared, at most"
    )
    max_minutes: float | None = option(
        None, "train for N minutes at most; the learning rate ends there", group="training"
    )
    batch_tokens: int | None = option(
        None,
        "batches of rows of one length with at most N sub-words; 0: batches of "
        "per_device_train_batch_size rows",
    )
    half_copies: bool | None = option(
        None, "compute in bf16 copies of the weights (default: on a CPU that computes bf16 fast)"
    )

    def check(self) -> None:
        """Refuses options that no run could follow, before anything is read."""
        from pipelines.families.training import time_budget

        if self.ablate:
            raise UserError(
                "got --ablate for a recipe without a score on dev; ablate the recipe that starts "
                "from its model"
            )
        of_answers = ("sample_submission", "submission_format", "answer_column", "positive_class")
        given = [f"--{name}" for name in of_answers if getattr(self, name) is not None]
        if given:
            raise UserError(f"{', '.join(given)}: no effect, since nothing is predicted; leave out")
        if self.max_minutes is not None:
            time_budget.check_minutes(self.max_minutes)
        if self.documents not in (None, *DOCUMENTS):
            wanted = ", ".join(DOCUMENTS)
            raise UserError(f"got --documents {self.documents}; wanted one of {wanted}")
        if self.task_weight < 0:
            raise UserError(f"got --task_weight {self.task_weight}; wanted 0 or more")
        if not 0 <= self.held_out < 1:
            raise UserError(f"got --held_out {self.held_out:g}; wanted a share from 0 to below 1")
        if self.text_files:
            return
        of_files = ("text_files_column", "documents", "task_weight", "held_out")
        defaults = {one.name: one.default for one in fields(PretrainingArguments)}
        changed = [f"--{name}" for name in of_files if getattr(self, name) != defaults[name]]
        if changed:
            raise UserError(f"{', '.join(changed)}: no effect without --text_files; leave it out")

    def survey(self) -> list[TextFile]:
        """Reads `text_files` through and logs what they hold; names and globs become files.

        Raises:
            UserError: for names that stand for no file.
            DataError: naming every file that cannot be read, and why.
        """
        if not self.text_files:
            return []
        self.text_files = expand(self.text_files)
        files = survey(self.text_files, column=self.text_files_column, documents=self.documents)
        for file in files:
            logger.info("%s", file.described())
        return files


@dataclass
class PretrainingTrainingArguments(RunTrainingArguments):
    """Stands before transformers' `TrainingArguments`: defaults for pretraining."""

    trainer: ClassVar[str] = "pretraining"

    learning_rate: float = option(1e-4, "largest learning rate", group="training")
    num_train_epochs: float = option(3.0, "passes over the texts")
    logging_strategy: str = option("epoch", "when the loss is logged")
    save_strategy: str = option("epoch", "when a checkpoint is written")
    save_total_limit: int | None = option(2, "checkpoints kept")
