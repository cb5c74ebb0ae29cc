"""Checkpoints of a training: which are whole, and which one a resumed run continues from.

A checkpoint is whole when every file in it has the size and the SHA-256 of its `manifest.json`.
The manifest is written last: a checkpoint that was cut off while it was written has none.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import rotate_checkpoints

from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.runs.provenance import sha256
from pipelines.runs.run import CHECKPOINT_MANIFEST

logger = logging.getLogger(__name__)


class CheckpointManifest(TrainerCallback):
    """Writes a manifest into each checkpoint once it is complete, and then deletes older ones.

    The Trainer applies `save_total_limit` before it calls `on_save`: a kill in between would leave
    no checkpoint with a manifest. So the limit is lifted during training and applied here.
    """

    def __init__(self) -> None:
        self.limit: int | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: object,
    ) -> None:
        """Takes over `save_total_limit`."""
        self.limit, args.save_total_limit = args.save_total_limit, None

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: object,
    ) -> None:
        """Writes the manifest and deletes the oldest checkpoints beyond the limit."""
        PartialState().wait_for_everyone()  # each process has written its random state by then
        if not args.should_save:
            return
        folder = str(args.output_dir)
        write_manifest(Path(folder, f"checkpoint-{state.global_step}"))
        if self.limit:
            # Left by a session before the resume: counted as newest, they would displace this one.
            for path, step in steps_of_checkpoints(folder).items():
                if step > state.global_step:
                    shutil.rmtree(path, ignore_errors=True)
        rotate_checkpoints(
            output_dir=folder,
            save_total_limit=self.limit,
            best_model_checkpoint=state.best_model_checkpoint,
        )

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: object,
    ) -> None:
        """Gives `save_total_limit` back."""
        args.save_total_limit = self.limit


def write_manifest(checkpoint: Path) -> None:
    """Writes size and SHA-256 of every file of a checkpoint into its `manifest.json`."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    manifest = {
        path.relative_to(checkpoint).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
        for path in files
        if path.name != CHECKPOINT_MANIFEST
    }
    with replacing(checkpoint / CHECKPOINT_MANIFEST) as f:
        json.dump(manifest, f, indent=1)


def fault_of(checkpoint: Path, *, with_best: bool = False) -> str | None:
    """A file of a checkpoint and what is wrong with it; None for a whole checkpoint.

    Args:
        with_best: check the best checkpoint so far too, which the Trainer loads at the end.
    """
    fault = _fault_of_files(checkpoint)
    if fault or not with_best:
        return fault
    state = json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    best = state.get("best_model_checkpoint")
    # By its name: the run folder may have been moved.
    best_folder = checkpoint.with_name(Path(best).name) if best else checkpoint
    fault = None if best_folder == checkpoint else _fault_of_files(best_folder)
    return f"the best checkpoint so far, {best_folder.name}, is damaged: {fault}" if fault else None


def _fault_of_files(checkpoint: Path) -> str | None:
    manifest = checkpoint / CHECKPOINT_MANIFEST
    if not manifest.is_file():
        return f"no {CHECKPOINT_MANIFEST}: the checkpoint was cut off while it was written"
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))
        expected = {name: (entry["bytes"], entry["sha256"]) for name, entry in files.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return f"{CHECKPOINT_MANIFEST} is damaged"
    if TRAINER_STATE_NAME not in expected:
        return f"{CHECKPOINT_MANIFEST} does not list {TRAINER_STATE_NAME}"
    for name, (size, digest) in expected.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} bytes instead of {size:,}"
        if sha256(path) != digest:
            return f"the content of {name} has changed since it was written"
    return None


def steps_of_checkpoints(folder: str | Path) -> dict[Path, int]:
    """Each `checkpoint-N` in a folder, and its N; none for a folder that does not exist."""
    steps = {}
    for path in Path(folder).glob("checkpoint-*"):
        number = path.name.removeprefix("checkpoint-")
        if path.is_dir() and number.isdecimal():
            steps[path] = int(number)
    return steps


def last_whole_checkpoint(folder: str | Path, *, with_best: bool = False) -> Path | None:
    """The whole checkpoint of the most steps; a warning names each damaged one that is skipped.

    Args:
        folder: holds `checkpoint-N` folders; may be missing.
        with_best: skip one whose best checkpoint so far is damaged, too.
    """
    steps = steps_of_checkpoints(folder)
    for checkpoint in sorted(steps, key=lambda path: steps[path], reverse=True):
        fault = fault_of(checkpoint, with_best=with_best)
        if fault is None:
            return checkpoint
        logger.warning("%s is damaged and skipped: %s", checkpoint, fault)
    return None


def checkpoint_to_resume(
    choice: str | bool | None, folder: str | Path, *, with_best: bool = False
) -> str | None:
    """The checkpoint to continue from, which is logged; None to train from the start.

    With several processes, all of them have to call it; the main one chooses.

    Args:
        choice: value of `--resume_from_checkpoint`: `true` for the last whole checkpoint in
            `folder`, the path of one, or `false` or None for none.
        with_best: whether the best checkpoint is loaded at the end, so that it has to be whole.

    Raises:
        UserError: for a path that does not exist or is damaged.
    """
    name = str(choice or "false")
    if name.lower() == "false":
        return None
    if name.lower() == "true":
        last = None
        if PartialState().is_main_process:
            last = last_whole_checkpoint(folder, with_best=with_best)
        [chosen] = broadcast_object_list([str(last) if last else None])
    else:
        chosen = _checked(name, with_best=with_best)
    if chosen:
        logger.info("resuming from %s", chosen)
    else:
        logger.info("no whole checkpoint in %s: training from the start", folder)
    return chosen


def _checked(path: str, *, with_best: bool) -> str:
    fault: str | None = "no such folder"
    if Path(path).is_dir():
        fault = fault_of(Path(path), with_best=with_best)
    if fault:
        raise UserError(
            f"--resume_from_checkpoint {path}: {fault}; give a whole checkpoint-N folder, or "
            "true for the last one of the run"
        )
    return path
