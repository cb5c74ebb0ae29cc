"""The errors a user can fix, and how a command ends on one: a clear line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NoReturn

_DISK_FULL = (
    "the disk is full; free some space and run the same command again: finished files and "
    "checkpoints are kept"
)
_WRONG_KIND = {
    errno.EISDIR: "a folder; wanted a file",
    errno.ENOTDIR: "below a file, not a folder",
    errno.EEXIST: "a file; wanted a folder",
    errno.ENAMETOOLONG: "the name is too long",
}
# What safetensors and torch write in errors of their own when the system has no space.
_SIGNS_OF_FULL_DISK = (
    "No space left on device",
    "os error 28",
    "os error 27",
    "PytorchStreamWriter failed writing",
    "unexpected pos",
)
# What comes before a secret, and the secret.
_SECRETS = (
    r"(\b\w[\w+.-]*://[^/\s:@]*:)\S+(?=@)",  # scheme://user:password@host
    r"((?i:[?&\s](?:password|passwd|token|secret|api_?key))=)[^&\s'\"]+",
    r"(\bhf_)[A-Za-z0-9]{16,}",  # access token of the Hub
)


class UserError(Exception):
    """Bad input. The message says what was got, what was wanted, and what to do."""


class EngineLost(UserError):
    """What computes the answers is gone, so that no other row would fare better."""


class DataError(UserError):
    """Faults in the rows of a data file, all of them at once."""


# Whether errors go to the caller, who is a program, instead of ending this one with one line.
_raises: ContextVar[bool] = ContextVar("raises", default=False)


@contextlib.contextmanager
def errors_for_caller() -> Iterator[None]:
    """Lets errors through `one_line_errors`, for a caller from Python."""
    token = _raises.set(True)
    try:
        yield
    finally:
        _raises.reset(token)


def without_passwords(text: str) -> str:
    """Text with `***` for passwords in URLs and for access tokens of the Hub."""
    for pattern in _SECRETS:
        text = re.sub(pattern, r"\1***", text)
    return text


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the program with one line on stderr and exit code 2 where the body fails on bad input.

    Everything else keeps its traceback: that is our fault, not the user's. So does everything
    within `errors_for_caller`.
    """
    if _raises.get():
        yield
        return
    try:
        yield
    except UserError as error:
        _exit(str(error))
    except BrokenPipeError:
        # The reader, such as `| head`, has seen enough: what is still to be flushed goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        message = _system_fault(error)
        if message is None:
            raise
        _exit(message)


def _system_fault(error: Exception) -> str | None:
    """The message for an error of the system that a user can fix; None for others."""
    if not isinstance(error, OSError):
        is_full = any(sign in str(error) for sign in _SIGNS_OF_FULL_DISK)
        return f"{_DISK_FULL} ({error})" if is_full else None
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{_DISK_FULL} ({error.filename or error})"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"no permission to write or read {error.filename}; choose another folder"
    if error.errno in _WRONG_KIND:
        # When a file is replaced, the error names the temporary file first, then the path.
        path = error.filename2 or error.filename
        return f"{path}: {_WRONG_KIND[error.errno]}; choose another path"
    return None


def _exit(message: str) -> NoReturn:
    close_progress_bars()
    print(f"error: {without_passwords(message)}", file=sys.stderr)
    sys.exit(2)


def close_progress_bars() -> None:
    """Ends the lines of open progress bars, which would otherwise be drawn over a message."""
    if "tqdm" in sys.modules:
        for bar in list(getattr(sys.modules["tqdm"].tqdm, "_instances", ())):
            bar.close()
