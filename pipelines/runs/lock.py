"""Keeps a run folder sound: one run at a time in it, and a clear end when it is interrupted."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from pipelines.errors import UserError, close_progress_bars
from pipelines.runs.run import CHECKPOINT_MANIFEST

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"


@contextlib.contextmanager
def run_lock(folder: str | Path, *, option: str = "--run_dir") -> Iterator[None]:
    """Keeps a second run out of a folder; for the main process of a launch alone.

    The system releases the lock when the process ends, however it ends.

    Args:
        folder: of the run; has to exist.
        option: the option that names it.

    Raises:
        UserError: naming the process that holds the lock.
    """
    path = Path(folder, LOCK_FILE)
    handle = _locked(path, option)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def _locked(path: Path, option: str) -> int:
    """An open handle of the lock file, which holds the lock."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 200).decode(errors="replace") or "another process"
            os.close(handle)
            raise UserError(
                f"{path.parent} is in use by {holder}; wait until it ends, stop it, or give "
                f"another {option}"
            ) from None
        except OSError as error:
            logger.warning(
                "%s: this file system has no locks (%s); start no second run in this folder",
                path.parent,
                error.strerror,
            )
            return handle
        if _is_at(path, handle):
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return handle
        os.close(handle)


def _is_at(path: Path, handle: int) -> bool:
    """Whether an open file is still the one at the path: its last holder may have deleted it."""
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM. A `KeyboardInterrupt`, for libraries clean up quietly after one."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextlib.contextmanager
def interruptible(folder: str | Path, *, checkpoints: str | Path | None = None) -> Iterator[None]:
    """Ends the program on SIGINT or SIGTERM with one line: what is saved, and how to continue.

    The exit code is 130 for SIGINT and 143 for SIGTERM.

    Args:
        folder: of the run.
        checkpoints: where they are written; `checkpoints/` in the folder by default.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    owner = os.getpid()

    def interrupt(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker that was forked: it ends as if there were no handler
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise Interrupted(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    except Interrupted as stop:
        for number in before:  # a launcher passes on what Ctrl-C has sent already
            signal.signal(number, signal.SIG_IGN)
        close_progress_bars()
        saved = _what_is_saved(Path(folder), Path(checkpoints or Path(folder, "checkpoints")))
        logger.warning("interrupted by %s: %s", stop, saved)
        sys.exit(128 + stop.number)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _what_is_saved(folder: Path, checkpoints: Path) -> str:
    """The model and the last checkpoint of a run, and the options that continue from them."""
    manifests = list(checkpoints.rglob(f"checkpoint-*/{CHECKPOINT_MANIFEST}"))
    saved = ["model"] if (folder / "model").is_dir() else []
    if manifests:
        # By time, not by steps: of several models in one run each has its own count.
        last = max(manifests, key=lambda path: path.stat().st_mtime).parent
        saved.append(str(last.relative_to(folder) if last.is_relative_to(folder) else last))
    again = f"run the same command with --run_dir {folder}"
    if not saved:
        return f"no checkpoint is saved yet; to start again, {again}"
    names = " and ".join(saved)
    return f"{folder} holds {names}; to continue, {again} --resume_from_checkpoint true"
