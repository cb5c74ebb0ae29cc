"""The errors a user can mend, and how a command ends on one: a clear line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import sys
from collections.abc import Iterator


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
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            sys.exit(_told(f"the disk is full while writing {error.filename or 'a file'}; free some space and run the "
                           "same command again: finished files are kept"))
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            sys.exit(_told(f"no permission to write or read {error.filename}; choose another folder"))
        raise


def _told(message: object) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
