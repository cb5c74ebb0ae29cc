"""Paths of pictures, which may be in a zip archive: nothing is unpacked to the disk."""

from __future__ import annotations

import os
import zipfile
from functools import lru_cache
from pathlib import Path

from pipelines.errors import UserError

ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
_ZIP = "zip://"


def is_picture(name: str) -> bool:
    """Whether a file has the name of a picture."""
    return name.lower().endswith(ENDINGS)


def inside(archive: str | Path, member: str) -> str:
    """The path of a file in a zip archive, `zip://MEMBER::ARCHIVE`, as fsspec writes it."""
    return f"{_ZIP}{member}::{archive}"


def archive_of(path: str) -> tuple[str, str] | None:
    """Archive and member of a path that `inside` made; None for other paths."""
    if not path.startswith(_ZIP):
        return None
    member, _, archive = path.removeprefix(_ZIP).rpartition("::")
    return archive, member


def relative_to(path: str, folder: str | Path) -> str:
    """The path of a picture from a folder on."""
    place = archive_of(path)
    if place is not None:
        archive, member = place
        return inside(relative_to(archive, folder), member)
    return Path(os.path.relpath(path, folder)).as_posix()


def archive_part(path: str | Path) -> tuple[Path, str] | None:
    """Archive and folder of `windows.zip` or `windows.zip/test`; None for other paths."""
    whole = Path(path)
    for archive in (whole, *whole.parents):
        if archive.is_file():
            if archive.suffix.lower() != ".zip" or not zipfile.is_zipfile(archive):
                return None
            return archive, "/".join(whole.relative_to(archive).parts)
    return None


def is_there(path: str | Path) -> bool:
    """Whether there is such a file or folder, perhaps in an archive."""
    if Path(path).exists():
        return True
    part = archive_part(path)
    if part is None:
        return False
    names = archive_file(str(part[0])).namelist()
    return any(name.startswith(f"{part[1]}/") for name in names)


def archive_file(path: str) -> zipfile.ZipFile:
    """A zip archive, opened once for all its pictures.

    Raises:
        UserError: for a damaged archive.
    """
    about = Path(path).stat()
    return _archive(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4)
def _archive(path: str, _changed: int, _size: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(f"{path}: a damaged zip archive ({error}); copy it again") from None
