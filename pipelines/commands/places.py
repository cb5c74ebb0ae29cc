"""Where a command reads a model from, and where it writes to."""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from pipelines.errors import UserError

# The file that a family writes last into its model folder, and the family's module.
FAMILIES = {"prompt.json": "causal_lm", "lexical.json": "lexical", "tagger.json": "token_tagger",
            "classifier.json": "sequence_classifier"}


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


def family_and_folder(run_dir: str) -> tuple[Any, Path]:
    """The module of the family that a run's model belongs to, and the folder that it loads."""
    from pipelines.runs.run import Run

    run = Run(run_dir)
    found = next(((folder, name) for folder in (run.merged, run.model) for file, name in FAMILIES.items()
                  if (folder / file).is_file()), None)
    if found is None:
        raise UserError(f"{run_dir}: no model/ or merged/ with {' or '.join(FAMILIES)}; give the folder of "
                        "a run that finished training")
    folder, name = found
    return import_module(f"pipelines.families.{name}"), folder
