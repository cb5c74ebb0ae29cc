"""Checks of the files that a command writes, before it computes anything for them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from pipelines.errors import UserError


def check_output(output: str, *inputs: str) -> None:
    """Checks that a file can be written.

    Args:
        output: its path, or `-` for standard output.
        inputs: files that it must not be.

    Raises:
        UserError: for a folder, a device or a pipe, and for one of the inputs.
        OSError: for what `one_line_errors` reports.
    """
    path = Path(output)
    if output == "-":
        return
    if path.is_dir():
        example = path / "predictions.jsonl"
        raise UserError(f"{output}: a folder; wanted the name of a file, such as {example}")
    if path.exists():
        if any(Path(name).exists() and path.samefile(name) for name in inputs):
            raise UserError(
                f"{output}: the input itself, which would be overwritten; choose another name"
            )
        if not path.is_file():
            raise UserError(
                f"{output}: a device or a pipe; wanted the name of a file, or `-` for "
                "standard output"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
        pass


def refuse_input(source: str, outputs: Iterable[Path]) -> None:
    """Refuses outputs that are the input, by whatever name, or that are in it.

    Raises:
        UserError: naming the first of them.
    """
    path = Path(source)
    if not path.exists():
        return  # a data set of the Hub; reading refuses anything else
    for output in outputs:
        if output.exists() and output.samefile(path):
            raise UserError(
                f"{output} is the input {source}, which would be overwritten; choose another --out"
            )
        if path.is_dir() and path.resolve() in output.resolve().parents:
            raise UserError(f"{output} is in the input {source}; choose another --out")
