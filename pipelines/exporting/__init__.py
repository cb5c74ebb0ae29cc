"""A run's model in a file format that other programs run, compared with the run on its dev set.

Each format is a module with `DTYPES` (the default first), `check(source)` and
`check_model(source, loaded)`, which refuse what it cannot hold, `room(loaded, dtype)`, and
`write(source, loaded, examples, folder, dtype)`. What is written is loaded by the family of
the run, so that prediction is the run's own.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from pipelines.errors import UserError
from pipelines.evaluation.tasks import TASKS, answer_kind, metric_name
from pipelines.examples import Example, Fields, JsonObject
from pipelines.exporting.comparison import TOLERANCE, Measured, measure, rows_of
from pipelines.exporting.source import open_source
from pipelines.formatting import size
from pipelines.runs.provenance import hardware, sha256
from pipelines.runs.run import EXPORT_FILE, Run
from pipelines.runs.secrets import without_folders, without_secrets

FORMATS = ("merged", "onnx", "gguf")
PROVENANCE = ("recipe", "started", "commit", "python", "libraries", "precision", "reading")
logger = logging.getLogger(__name__)


def export(
    run: Run,
    *,
    to: str,
    out: Path,
    dtype: str | None = None,
    dev_file: str | None = None,
    progress: bool = True,
) -> JsonObject:
    """Writes a run's model in another format, loads it again, and compares both on the dev set.

    The folder appears when all of it is written and compared.

    Args:
        run: a finished run.
        to: one of `FORMATS`.
        out: a folder that does not exist.
        dtype: of the weights, one of the format's; by default its first.
        dev_file: labelled examples to compare on, instead of the run's own dev set.
        progress: show bars on a terminal.

    Returns:
        The content of `export.json`.

    Raises:
        UserError: when the format cannot hold the model, a library is missing, the folder exists,
            there is nothing to compare on, or no room for it.
    """
    module = import_module(f"pipelines.exporting.{to}_format")
    chosen = _dtype(to, module, dtype)
    _check_folder(run, out)
    source = open_source(run, to)
    examples = _dev_examples(run, dev_file)
    module.check(source)
    loaded = source.load()
    module.check_model(source, loaded)
    _check_room(out, loaded, module.room(loaded, chosen))
    before = measure(source.family, source.load_as_run(), examples, progress=progress)
    with _new_folder(out) as folder:
        facts = module.write(source, loaded, examples, folder, chosen)
        del loaded
        _write_run_files(run, folder)
        exported = source.family.load(folder)
        after = measure(source.family, exported, examples, progress=progress)
        content: JsonObject = {
            "format": to,
            "dtype": chosen,
            "run": run.folder.resolve().name,
            "family": source.name,
            **facts,
            "files": _files(folder),
            "hardware": hardware(),
            "comparison": _comparison(
                examples,
                (before, after),
                names=("run", f"{to} {chosen}"),
                sizes=(source.bytes_on_disk(), _size_of(folder)),
            ),
        }
        _write_json(folder / EXPORT_FILE, content)
    return content


def _dtype(to: str, module: ModuleType, dtype: str | None) -> str:
    known: tuple[str, ...] = module.DTYPES
    if dtype is None or dtype in known:
        return dtype or known[0]
    others = [
        name
        for name in FORMATS
        if dtype in import_module(f"pipelines.exporting.{name}_format").DTYPES
    ]
    hint = f"; {dtype} is of --to {' and '.join(others)}" if others else ""
    raise UserError(f"got {dtype} with --to {to}, which holds {', '.join(known)}{hint}")


def _check_folder(run: Run, out: Path) -> None:
    if (run.folder / EXPORT_FILE).is_file():
        raise UserError(f"{run.folder}: an export itself ({EXPORT_FILE}); give the run it is of")
    if out.exists():
        raise UserError(f"{out}: exists already; choose another --out, or remove it")


def _dev_examples(run: Run, dev_file: str | None) -> list[Example]:
    if dev_file is not None:
        examples = run.read_examples(dev_file)
    elif run.split_file("dev") is None:
        raise UserError(
            f"{run.folder}: has no dev set to compare the export on; give labelled examples by "
            "--dev_file"
        )
    else:
        try:
            examples = run.examples("dev")
        except UserError as error:
            raise UserError(f"{error} by --dev_file") from None
    if not examples:
        raise UserError(f"{run.folder}: its dev set is empty; give labelled examples by --dev_file")
    return examples


def _check_room(out: Path, loaded: Any, needed: int) -> None:
    """Refuses what the disk has no room for, before anything is computed."""
    parent = out.resolve().parent
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if free < needed:
        raise UserError(
            f"{out}: the disk has {size(free)} left, the export takes about {size(needed)}; free "
            "some space or choose another --out"
        )


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """An empty folder that gets its name at the end, and is removed where anything fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _write_run_files(run: Run, folder: Path) -> None:
    """Writes how the run read its files, without secrets and folders of this machine."""
    config = without_folders(without_secrets(run.config()))
    (folder / "config.yaml").write_text(
        yaml.safe_dump(config, sort_keys=True, allow_unicode=True), encoding="utf-8"
    )
    known = run.provenance()
    kept = {name: known[name] for name in PROVENANCE if name in known}
    _write_json(folder / "provenance.json", without_folders(kept))


def _files(folder: Path) -> dict[str, Fields]:
    return {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": sha256(path),
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _comparison(
    examples: list[Example],
    measured: tuple[Measured, Measured],
    *,
    names: tuple[str, str],
    sizes: tuple[int, int],
) -> JsonObject:
    """What `export.json` says of both models on the dev set, and a warning where they differ."""
    kind = answer_kind(measured[0].predictions)
    task = next(task for task in TASKS.values() if task.answer == kind)
    rows = rows_of(task, examples, measured, names=names, sizes=sizes)
    difference = rows[1]["score"] - rows[0]["score"]
    within = abs(difference) <= TOLERANCE
    if not within:
        logger.warning(
            "the %s of the export differs by %+.2f from the run's, more than %.1f: take another "
            "format or dtype",
            metric_name(task.primary_metric),
            100 * difference,
            100 * TOLERANCE,
        )
    return {
        "examples": len(examples),
        "metric": task.primary_metric,
        "tolerance": TOLERANCE,
        "within_tolerance": within,
        "models": rows,
    }


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")
