"""Where a command writes to."""

from __future__ import annotations

import tempfile
from pathlib import Path

from pipelines.errors import UserError


def check_output(path: str, *inputs: str) -> None:
    """Sees to it that a file can be written there, before anything is computed for it.

    Args:
        path: a file, or `-` for standard output.
        inputs: files that it must not be.

    Raises:
        UserError: for a folder, a device or a pipe, and for one of the inputs.
        OSError: for what ``one_line_errors`` reports.
    """
    if path == "-":
        return
    if Path(path).exists():
        for given in inputs:
            if Path(given).exists() and Path(path).samefile(given):
                raise UserError(f"{path}: the input itself, which would be written over; choose another name")
        if not Path(path).is_dir() and not Path(path).is_file():
            raise UserError(f"{path}: a device or a pipe; wanted the name of a file, or `-` for standard output")
    if Path(path).is_dir():
        raise UserError(f"{path}: a folder; wanted the name of a file, such as {Path(path) / 'predictions.jsonl'}")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=Path(path).parent, prefix=f".{Path(path).name}."):
        pass
