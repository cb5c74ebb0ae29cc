"""The errors a user can fix, and how a command ends on one: a clear line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator

_FULL = "the disk is full; free some space and go on with the same command: finished files and checkpoints are kept"

_NO_FILE = {errno.EISDIR: "a folder, where a file is wanted", errno.ENOTDIR: "below a file, which is no folder",
            errno.EEXIST: "a file, where a folder is wanted", errno.ENAMETOOLONG: "the name is too long"}


class UserError(Exception):
    """Bad input. The message says what was got, what was wanted, and what to do."""


class DataError(UserError):
    """Faults in the rows of a data file, all of them at once."""


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Ends the program with one line on stderr and exit code 2 where the body fails on bad input.

    A traceback is kept for everything else: that is our fault, not the user's.
    """
    try:
        yield
    except UserError as error:
        sys.exit(_told(error))
    except BrokenPipeError:
        # The reader, such as `| head`, has seen enough. What the interpreter still has to flush goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            sys.exit(_told(f"{_FULL} ({error.filename or error})"))
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            sys.exit(_told(f"no permission to write or read {error.filename}; choose another folder"))
        if error.errno in _NO_FILE:
            # What is put in a file's place names first the temporary file, then the place.
            sys.exit(_told(f"{error.filename2 or error.filename}: {_NO_FILE[error.errno]}; choose another path"))
        raise
    except Exception as error:
        # safetensors and torch wrap what the system says in errors of their own.
        if any(sign in str(error) for sign in ("No space left on device", "os error 28", "os error 27",
                                               "PytorchStreamWriter failed writing", "unexpected pos")):
            sys.exit(_told(f"{_FULL} ({error})"))
        raise


def _told(message: object) -> int:
    # A progress bar leaves the cursor in the middle of its line.
    print(f"{chr(10) if 'tqdm' in sys.modules else ''}error: {message}", file=sys.stderr)
    return 2
