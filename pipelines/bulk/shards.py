"""The shards of a corpus: the files that a pattern matches, all of one format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pipelines.errors import UserError, without_passwords
from pipelines.examples import Fields
from pipelines.formatting import some

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# Ending -> format; each but Parquet also with `.gz`.
FORMATS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
}
_MAGIC = re.compile(r"[*?\[]")
# What file systems call the state of a file, the surest first.
_STAMPS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created")


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of the corpus.

    Attributes:
        name: its path below the folder that all have in common.
        path: its path in its file system.
        size: in bytes.
        stamp: what the file system says of its content: an ETag, or when it was changed.
    """

    name: str
    path: str
    size: int
    stamp: str

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return self.name.removesuffix(self.ending)

    @property
    def ending(self) -> str:
        """The ending, in the letters that the name has: `.parquet`, `.jsonl.gz`."""
        plain = self.name[:-3] if self.name.lower().endswith(".gz") else self.name
        return PurePosixPath(plain).suffix + self.name[len(plain) :]


def file_system(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a path or URL, and the path in it.

    Raises:
        UserError: for a protocol that fsspec does not know, or whose package is not installed.
    """
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{without_passwords(url)}: not a path or URL to read: {reason}") from None
    return system, str(path)


def has_pattern(path: str) -> bool:
    """Whether a path holds `*`, `?` or `[`."""
    return _MAGIC.search(path) is not None


def find_shards(pattern: str, *, output: str) -> list[Shard]:
    """The files that a pattern matches, by name; hidden ones and those of the output are left out.

    Args:
        pattern: a path or URL with `*`, `?`, `[…]` or `**`, or the name of one file.
        output: the folder of the output, which the pattern may match too.

    Raises:
        UserError: when nothing matches, or the files have no format or several.
    """
    system, path = file_system(pattern)
    output_system, output_path = file_system(output)
    try:
        found = system.glob(path, detail=True)
    except OSError as error:
        raise UserError(f"{without_passwords(pattern)}: cannot be listed: {error}") from None
    magic = _MAGIC.search(path)
    base = path[: magic.start() if magic else len(path)].rpartition("/")[0]
    shards = []
    for file, info in sorted(found.items()):
        is_output = system == output_system and file.startswith(f"{output_path.rstrip('/')}/")
        name = file[len(base) :].lstrip("/")
        is_hidden = any(part.startswith(".") for part in name.split("/"))
        if info["type"] == "file" and not is_output and not is_hidden:
            shards.append(Shard(name, file, int(info["size"] or 0), _stamp(info)))
    shown = without_passwords(pattern)
    if not shards:
        raise UserError(f"{shown}: no file matches; quote the pattern, and check folder and ending")
    _refuse_formats(shown, shards)
    return shards


def format_of(shards: list[Shard]) -> str:
    """The format of shards that `find_shards` found."""
    return FORMATS[shards[0].ending.lower().removesuffix(".gz")]


def _stamp(info: Fields) -> str:
    return next((str(info[name]) for name in _STAMPS if info.get(name) is not None), "")


def _refuse_formats(pattern: str, shards: list[Shard]) -> None:
    """Raises a `UserError` where the files have no format that is read, or several."""
    first = {shard.ending.lower(): shard.name for shard in reversed(shards)}
    unknown = [name for ending, name in first.items() if not _is_read(ending)]
    if unknown:
        raise UserError(
            f"{pattern}: matches {some(sorted(unknown), 3)}; wanted shards that end in "
            f"{', '.join(FORMATS)}, or in these with .gz (but Parquet)"
        )
    if len(first) > 1:
        kinds = ", ".join(f"{ending} ({name})" for ending, name in sorted(first.items()))
        raise UserError(f"{pattern}: shards of several formats: {kinds}; give one pattern for each")


def _is_read(ending: str) -> bool:
    plain = ending.removesuffix(".gz")
    return plain in FORMATS and ending != ".parquet.gz"
