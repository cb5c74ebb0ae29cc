"""What a training took, over all the sessions in which it was interrupted and resumed.

`training.json` in the run folder has one entry a session. It is written at every log and at every
checkpoint, so that a session that is killed counts too.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.examples import JsonObject

FILE = "training.json"


class SessionRecorder(TrainerCallback):
    """Records seconds, epochs and steps of the sessions of a training.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: str | Path):
        self.folder = folder
        self.begin = 0.0

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: object,
    ) -> None:
        """Begins a session."""
        self.begin = time.perf_counter()
        if state.is_world_process_zero:
            _write(self.folder, [*sessions(self.folder), {}])
            self._record(state)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: object,
    ) -> None:
        """Records how far the session is."""
        self._record(state)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: object,
    ) -> None:
        """Records how far the session is."""
        self._record(state)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: object,
    ) -> None:
        """Records the whole session."""
        self._record(state)

    def _record(self, state: TrainerState) -> None:
        if state.is_world_process_zero:
            record(
                self.folder,
                seconds=round(time.perf_counter() - self.begin, 4),
                epochs=round(state.epoch or 0.0, 4),
                steps=state.global_step,
            )


def sessions(folder: str | Path) -> list[JsonObject]:
    """The sessions of a run, oldest first; none without `training.json`.

    Raises:
        UserError: when the file is damaged.
    """
    file = Path(folder, FILE)
    if not file.is_file():
        return []
    try:
        entries: list[JsonObject] = json.loads(file.read_text(encoding="utf-8"))["sessions"]
    except (ValueError, TypeError, KeyError):
        raise UserError(
            f"{file} is damaged; delete it, and the report lacks what earlier sessions took"
        ) from None
    return entries


def record(folder: str | Path, **figures: object) -> None:
    """Adds figures to the last session, which is begun where there is none.

    Args:
        figures: such as `seconds` of the session; `epochs`, `steps` and `tokens` since the start of
            the training; `parameters` and `trained_parameters`.
    """
    *earlier, last = sessions(folder) or [{}]
    _write(folder, [*earlier, {**last, **figures}])


def total(folder: str | Path) -> JsonObject:
    """The latest of each figure, and the sum of the `seconds`; empty without sessions."""
    figures: JsonObject = {}
    for session in sessions(folder):
        seconds = figures.get("seconds", 0.0) + session.get("seconds", 0.0)
        figures |= {**session, "seconds": round(seconds, 4)}
    return figures


def _write(folder: str | Path, entries: list[JsonObject]) -> None:
    with replacing(Path(folder, FILE)) as f:
        json.dump({"sessions": entries}, f, indent=1)
