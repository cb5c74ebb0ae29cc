"""Answers a file with the run of this bundle: `python predict.py test.json predictions.jsonl`.

Further options are those of `pipelines predict`. Run `python install.py` before.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main(folder: Path, arguments: list[str]) -> int:
    """Runs `pipelines predict`; returns its exit code."""
    if len(arguments) < 2:
        raise SystemExit("error: wanted two files: python predict.py INPUT OUTPUT")
    source, output, *more = arguments
    command = [sys.executable, "-m", "pipelines.cli", "predict", "--run", str(folder / "run")]
    return subprocess.run([*command, "--input", source, "--output", output, *more]).returncode


if __name__ == "__main__":
    sys.exit(main(Path(__file__).resolve().parent, sys.argv[1:]))
