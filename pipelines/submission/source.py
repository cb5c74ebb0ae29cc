"""The project's own source for a course's package: without runs, caches, weights and `.git`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import UserError
from pipelines.formatting import some
from pipelines.runs.run import SIGNS

logger = logging.getLogger(__name__)

# Signs that a folder is the checkout of this project.
PROJECT = ("pyproject.toml", "pipelines/cli.py", "recipes")
SKIPPED_FOLDERS = {"runs", "build", "dist", "site", "node_modules", "__pycache__", "venv", "env"}
# Weights, archives, keys and other tools' results.
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".pkl", ".ckpt", ".onnx", ".gguf")
SKIPPED_ENDINGS = (*WEIGHTS, ".zip", ".tar", ".tgz", ".whl", ".pyc", ".pem", ".key", ".egg-info")
SKIPPED_NAMES = {"kaggle.json"}
LARGEST = 1 << 20  # bytes of a file: data, not source


def source_files(root: str | Path | None = None) -> dict[str, Path]:
    """The files by their names below the project's folder, in order.

    Hidden files are left out but for `.gitignore` and `.ci`; links too. What is left out for its
    size is logged.

    Args:
        root: the project's folder; by default the one that this package is imported from.

    Raises:
        UserError: where that is no checkout, but an installed package for example.
    """
    folder = Path(root) if root else Path(__file__).resolve().parents[2]
    if not all((folder / sign).exists() for sign in PROJECT):
        raise UserError(
            f"--with_source wants the project's checkout, got {folder}; install the project by "
            "`pip install -e .` from its folder, or leave --with_source out"
        )
    files: dict[str, Path] = {}
    large = []
    for path in _walk(folder):
        name = path.relative_to(folder).as_posix()
        if path.stat().st_size > LARGEST:
            large.append(name)
        else:
            files[name] = path
    if large:
        logger.info("--with_source leaves out files over 1 MiB: %s", some(large))
    return files


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.is_symlink() or _is_skipped(entry.name):
            continue
        if entry.is_dir():
            if not _is_no_source(path):
                yield from _walk(path)
        elif entry.is_file():
            yield path


def _is_skipped(name: str) -> bool:
    if name.startswith("."):
        return name not in (".gitignore", ".ci")
    return name in SKIPPED_FOLDERS | SKIPPED_NAMES or name.endswith(SKIPPED_ENDINGS)


def _is_no_source(folder: Path) -> bool:
    """Whether a folder is a virtual environment, a run or an ablation."""
    signs = [sign for sign in SIGNS if (folder / sign).exists()]
    is_run = "provenance.json" in signs or len(signs) > 1
    return is_run or (folder / "pyvenv.cfg").exists()
