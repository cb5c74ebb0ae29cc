"""Experiment trackers of `--report_to`: which there are, and where TensorBoard's files go.

Importing this module loads no deep learning library, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipelines.errors import UserError

# Tracker -> the package that it needs; further ones of transformers are passed on to it.
PACKAGES = {
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "azure_ml": "azureml",
    "clearml": "clearml",
    "codecarbon": "codecarbon",
    "comet_ml": "comet_ml",
    "dagshub": "dagshub",
    "dvclive": "dvclive",
    "flyte": "flytekit",
    "neptune": "neptune",
    "swanlab": "swanlab",
}
TENSORBOARD_FOLDER = "TENSORBOARD_LOGGING_DIR"  # the variable that transformers reads


def refuse_missing(report_to: str | Sequence[str] | None) -> None:
    """Refuses a tracker that is unknown or not installed, before anything is loaded.

    Args:
        report_to: the value of `--report_to`.

    Raises:
        UserError: naming each of them, and what installs the missing ones.
    """
    names = [report_to] if isinstance(report_to, str) else list(report_to or ())
    named = [name for name in names if name not in ("none", "all")]
    unknown = [name for name in named if name not in PACKAGES]
    if unknown:
        wanted = ", ".join(PACKAGES)
        raise UserError(f"got --report_to {' '.join(unknown)}; wanted none, or some of {wanted}")
    missing = [PACKAGES[name] for name in named if find_spec(PACKAGES[name]) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise UserError(
            f"got --report_to {' '.join(named)}, but {', '.join(missing)} {are} not installed; run "
            f"`pip install {' '.join(missing)}`, or leave --report_to out"
        )


def name_runs(groups: Sequence[Any], name: str) -> None:
    """Gives a run its folder's name in the trackers, where `--run_name` gives it none."""
    for group in groups:
        if getattr(group, "report_to", None) and not group.run_name:
            group.run_name = name


@contextlib.contextmanager
def tensorboard_in(folder: Path) -> Iterator[None]:
    """TensorBoard's files go to a folder while the body runs, unless the user has named another.

    Otherwise transformers puts them among the checkpoints, below the name of the machine.
    """
    if TENSORBOARD_FOLDER in os.environ:
        yield
        return
    os.environ[TENSORBOARD_FOLDER] = str(folder)
    try:
        yield
    finally:
        del os.environ[TENSORBOARD_FOLDER]
