"""Files that are written whole or not at all."""

from __future__ import annotations

import io
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from pipelines.errors import UserError
from pipelines.examples import Fields, Prediction, prediction_to_json


@contextmanager
def replacing(
    path: str | Path, mode: str = "w", *, inputs: Iterable[str | Path] = ()
) -> Iterator[IO[Any]]:
    """Opens a temporary file beside `path` that takes its name only when the body has succeeded.

    A link stays, and its target is replaced; a file that is replaced keeps its permissions. `-` is
    standard output, written when the body has succeeded.

    Args:
        path: the file to write.
        mode: as for `open`, to write.
        inputs: files that the command reads and must not replace.

    Raises:
        UserError: for a folder, a device, a pipe, or one of the inputs.
    """
    if str(path) == "-":
        memory = io.BytesIO() if "b" in mode else io.StringIO(newline="")
        yield memory
        _write_out(memory.getvalue())
        return
    target = Path(os.path.realpath(path))
    permissions = _permissions(Path(path), target, inputs)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Not from `tempfile`, whose files are private: this one has the permissions of any new file.
    temporary = target.with_name(f".{target.name[:50]}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        encoding, newline = (None, None) if "b" in mode else ("utf-8", "")
        with os.fdopen(handle, mode, encoding=encoding, newline=newline) as f:
            yield f
        if permissions is not None:
            os.chmod(temporary, permissions)
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _permissions(path: Path, target: Path, inputs: Iterable[str | Path]) -> int | None:
    """The permissions of the file to be replaced, None where there is none yet.

    Raises:
        UserError: when it must not be replaced.
    """
    for source in inputs:
        if os.path.realpath(source) == str(target) or _is_same_file(target, Path(source)):
            raise UserError(
                f"{path}: one of this command's own inputs; wanted another file to "
                "write to; choose another name"
            )
    try:
        mode = target.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISDIR(mode):
        raise UserError(f"{path}: a folder; wanted a file to write to; give the name of one in it")
    if stat.S_ISLNK(mode):
        raise UserError(f"{path}: a link to itself; wanted a file to write to; remove it")
    if not stat.S_ISREG(mode):
        raise UserError(
            f"{path}: a device, pipe or socket; wanted a file to write to; `-` writes to "
            "standard output"
        )
    return stat.S_IMODE(mode)


def _is_same_file(target: Path, source: Path) -> bool:
    # Two names of one file (hard links, or a file system that ignores case) share an inode.
    try:
        return target.samefile(source)
    except OSError:
        return False


def _write_out(content: str | bytes) -> None:
    """Writes to standard output, in UTF-8 whatever the terminal's encoding is."""
    written = content.encode("utf-8") if isinstance(content, str) else content
    sys.stdout.flush()
    if not hasattr(sys.stdout, "buffer"):  # a notebook's
        sys.stdout.write(written.decode("utf-8"))
        return
    sys.stdout.buffer.write(written)
    sys.stdout.buffer.flush()


def write_jsonl(path: str | Path, rows: Iterable[Fields]) -> None:
    """Writes one JSON object a line; the file appears whole or not at all."""
    with replacing(path) as f:
        for row in rows:
            f.write(json.dumps(row, ensure_ascii=False) + "\n")


def write_predictions(path: str | Path, predictions: Iterable[Prediction]) -> None:
    """Writes predictions as JSON lines."""
    write_jsonl(path, map(prediction_to_json, predictions))
