"""What a run was made of: command, versions, machine, commit, data, and how its files were read."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

from pipelines.corpora import Corpus
from pipelines.corpora.images.paths import archive_part
from pipelines.examples import JsonObject
from pipelines.networks import precision
from pipelines.runs.arguments import DataArguments
from pipelines.runs.secrets import without_secrets

LIBRARIES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "tokenizers",
    "scikit-learn",
    "numpy",
)


def reading_of(corpora: Mapping[str, Corpus]) -> JsonObject:
    """What a run has to keep of how it read its files, so that others are read alike."""
    if not corpora:
        return {}
    first = next(iter(corpora.values()))
    return {
        "answer": first.answer,
        "found": dataclasses.asdict(first.column_names) if first.column_names else None,
        "ends": first.ends,
        "offsets": first.offsets,
    }


def provenance(files: Sequence[str | Path], **more: object) -> JsonObject:
    """Command, versions, machine, and the data by its SHA-256: what it takes to repeat a run.

    Secrets are left out, and paths below the home folder start with `~/`.
    """
    facts = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _commit(),
        "python": platform.python_version(),
        "libraries": {name: metadata.version(name) for name in LIBRARIES},
        "hardware": hardware(),
        "data": digests(files),
        "precision": precision.described(),
        **more,
    }
    written: JsonObject = without_secrets(facts)
    return written


def hardware() -> JsonObject:
    import torch

    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        names = [
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _commit() -> str | None:
    try:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def digests(files: Sequence[str | Path]) -> dict[str, str]:
    """File -> its SHA-256; of a folder, that of the names and contents of all its files.

    Of a part of a zip archive it is that of the whole archive.
    """
    found = {}
    for file in files:
        part = archive_part(file)
        if Path(file).is_dir():
            found[str(file)] = _sha256_of_folder(Path(file))
        elif Path(file).is_file() or part is not None:
            found[str(file)] = sha256(part[0] if part else file)
    return found


def _sha256_of_folder(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            digest.update(f"{name}\0{sha256(path)}\n".encode())
    return digest.hexdigest()


def sha256(file: str | Path) -> str:
    """The SHA-256 of the content of a file, in hexadecimal."""
    with open(file, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def files_named_by(options: DataArguments) -> list[str]:
    """Files that the options name, such as a lexicon: a change of one refuses a resume."""
    named: list[str] = []
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        values = value if isinstance(value, list) else [value]
        named += [one for one in values if isinstance(one, str) and Path(one).is_file()]
    return named
