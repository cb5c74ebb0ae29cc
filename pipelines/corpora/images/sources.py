"""Where pictures are: in the folder of their class, in a zip archive, or named by a table."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from pipelines.corpora.corpus import Columns, Unreadable
from pipelines.corpora.images.paths import (
    ENDINGS,
    archive_file,
    archive_of,
    archive_part,
    inside,
    is_picture,
)
from pipelines.corpora.layouts import read_table
from pipelines.corpora.source import Source
from pipelines.errors import UserError
from pipelines.examples import Fields
from pipelines.formatting import some

MAX_BYTES = 256 * 2**20  # of a file in an archive, unpacked
MAX_RATIO = 200  # unpacked size by packed size; a picture is hardly ever packed 10 times smaller
LAYOUT = "images"  # what `--layout` calls it
SPLITS = {
    "train": ("train", "training"),
    "dev": ("dev", "val", "valid", "validation"),
    "test": ("test", "testing"),
}
LABEL_NAMES = ("label", "class", "category", "target", "kind")
_SPLIT_NAMES = {name for names in SPLITS.values() for name in names}
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}
_NAMED = re.compile(rf"\S({'|'.join(map(re.escape, ENDINGS))})\b", re.IGNORECASE)


class Entry(NamedTuple):
    """A picture that a source names.

    Attributes:
        row: 0-based number of the row or file.
        path: of the picture; "" where the row names none.
        fault: why it cannot be read, where that is known without opening it.
    """

    row: int
    id: str | None
    path: str
    label: str | None = None
    group: str | None = None
    fault: str | None = None


class Listing(NamedTuple):
    """The pictures of a source and how they are arranged.

    Attributes:
        unit: what `Entry.row` counts.
        columns: path and class of a table: (path, class, id, group), each perhaps None.
        empty: class folders without a file.
    """

    entries: list[Entry]
    layout: str
    unit: str
    columns: tuple[str | None, ...] = (None, None, None, None)
    notes: Sequence[str] = ()
    empty: Sequence[str] = ()


def holds_pictures(source: Source, columns: Columns | None = None) -> bool:
    """Whether a source is a folder or an archive of pictures, or a table of their paths."""
    layout = columns.layout if columns else None
    if layout is not None:
        return layout == LAYOUT
    if source.path == "-" or source.is_dataset:
        return False
    if source.is_folder:
        return _is_image_folder(Path(source.path))
    part = archive_part(source.path)
    if part is not None:
        return any(map(is_picture, archive_file(str(part[0])).namelist()))
    return Path(source.path).is_file() and _names_pictures(source)


def _is_image_folder(folder: Path) -> bool:
    """Whether there are pictures, and below the folder itself no texts that might be meant."""
    has_picture = False
    for path in _files_in(folder):
        is_text = path.suffix == ".ann" or (path.suffix == ".txt" and len(path.parts) > 1)
        if is_text:
            return False
        has_picture = has_picture or is_picture(path.name)
    return has_picture


def _names_pictures(source: Source) -> bool:
    """Whether most of the first lines of a text file name a picture."""
    with open(source.path, "rb") as f:
        head = f.read(4096)
    if (
        head[:2] == b"\x1f\x8b"
        or b"\0" in head
        or not _NAMED.search(head.decode("utf-8", "ignore"))
    ):
        return False
    if not source.ends_with(".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".txt"):
        return False
    naming = [line for line in source.head if _NAMED.search(line)]
    if 2 * len(naming) < len(source.head):
        return False
    try:
        objects = read_table(source, Columns()).objects
    except UserError:
        return False
    return bool(_path_columns(objects[:100]))


def listing(source: Source, columns: Columns) -> Listing:
    """The pictures that a source names.

    Raises:
        UserError: for a source without any, or a table whose columns are uncertain.
    """
    part = archive_part(source.path)
    if source.is_folder:
        folder = Path(source.path)
        files = list(_files_in(folder))
        entries, notes = _by_folder(files, [folder / path for path in files])
        folders = [path.name for path in sorted(folder.iterdir()) if path.is_dir()]
        found = Listing(entries, "a folder of pictures for each class", "file", notes=notes)
        found = found._replace(empty=_without_files(folders, files))
    elif part is not None:
        found = _in_archive(*part, max_bytes=columns.max_unzipped * 2**20)
    else:
        found = _in_table(source, columns)
    if not found.entries:
        raise UserError(
            f"{source.path}: no picture in it; wanted CLASS/NAME.jpg (or {', '.join(ENDINGS[1:])}) "
            "in a folder or a zip archive, or a table with a column of paths"
        )
    return found


def _files_in(folder: Path) -> Iterable[PurePosixPath]:
    """The files below a folder, without hidden ones, in the order of their names."""
    paths = []
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_clutter(name)]
        base = Path(parent).relative_to(folder)
        paths += [base / name for name in names if not _is_clutter(name)]
    return [PurePosixPath(path.as_posix()) for path in sorted(paths)]


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER


def _without_files(folders: Iterable[str], files: Iterable[PurePosixPath]) -> list[str]:
    filled = {path.parts[0] for path in files}
    return [name for name in folders if name not in filled and not _is_clutter(name)]


def _by_folder(
    files: Sequence[PurePosixPath], places: Sequence[object]
) -> tuple[list[Entry], list[str]]:
    """An entry for each file; its class is its folder, below that of a split."""
    entries, beside = [], []
    for row, (path, place) in enumerate(zip(files, places, strict=True)):
        folders = list(path.parts[:-1])
        if folders and folders[0].lower() in _SPLIT_NAMES:
            folders.pop(0)
        label = folders[0] if folders else None
        fault = None
        if not is_picture(path.name):
            if not folders:
                beside.append(path.name)
                continue
            fault = f"no picture by its name; wanted {', '.join(ENDINGS)}"
        entries.append(Entry(row, path.as_posix(), str(place), label, fault=fault))
    notes = [f"not read, beside the folders: {some(beside)}"] if beside else []
    return entries, notes


def _in_archive(archive: Path, folder: str, *, max_bytes: int) -> Listing:
    """The pictures of a zip archive, which are read where they are: nothing is unpacked.

    Raises:
        UserError: for an archive that unpacks to more than is allowed.
    """
    members, faults = [], {}
    total = 0
    for member in archive_file(str(archive)).infolist():
        path = PurePosixPath(member.filename)
        if member.is_dir() or (any(map(_is_clutter, path.parts)) and ".." not in path.parts):
            continue
        if folder and not path.is_relative_to(folder):
            continue
        total += member.file_size
        members.append(path)
        reason = _unsafe(member)
        if reason:
            faults[path] = reason
    if total > max_bytes:
        raise UserError(
            f"{archive}: unpacks to {total / 2**20:,.0f} MiB; --max_unzipped allows more than "
            f"{max_bytes // 2**20} MiB"
        )
    members.sort()
    names = [path.relative_to(folder) if folder else path for path in members]
    entries, notes = _by_folder(names, [inside(archive, str(path)) for path in members])
    reasons = {inside(archive, str(path)): reason for path, reason in faults.items()}
    entries = [entry._replace(fault=reasons.get(entry.path, entry.fault)) for entry in entries]
    return Listing(entries, "a zip archive with a folder for each class", "file", notes=notes)


def _unsafe(member: zipfile.ZipInfo) -> str | None:
    """Why a member of an archive is not read."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return "its name leads out of the archive; pack it again"
    if member.flag_bits & 1:
        return "encrypted; pack it without a password"
    if member.file_size > MAX_BYTES:
        return f"unpacks to {member.file_size:,} bytes; wanted at most {MAX_BYTES:,}"
    if member.file_size > 2**20 and member.file_size > MAX_RATIO * max(member.compress_size, 1):
        return f"packed more than {MAX_RATIO} times smaller, as no picture is"
    return None


def _in_table(source: Source, columns: Columns) -> Listing:
    """The pictures that the rows of a table name, relative to its folder or where we are."""
    # The layout is that of the table; `--layout images` only says what its paths are.
    table = read_table(source, Columns())
    path_column = _path_column(source.path, table.objects, columns)
    label_column = _label_column(source.path, table.objects, columns, path_column)
    id_column = _id_column(table.objects, columns, path_column)
    named = {"group": columns.group_column, "id": columns.id_column}
    for what, name in named.items():
        if name is not None and not any(name in row for row in table.objects):
            raise UserError(f"{source.path}: got --{what}_column {name}, which it does not have")
    group_column = columns.group_column
    if group_column is None and any("group" in row for row in table.objects):
        group_column = "group"
    entries = []
    for position, (_, value) in enumerate(table.rows):
        if isinstance(value, Unreadable) or not isinstance(value, dict):
            reason = value.reason if isinstance(value, Unreadable) else "no row of a table"
            entries.append(Entry(position, None, "", fault=reason))
            continue
        cells = [
            _cell(value, name) for name in (path_column, label_column, id_column, group_column)
        ]
        path, label, id, group = cells
        own_id = str(position) if id_column is None else id
        if path is None:
            fault = f"no path in {path_column!r}"
            entries.append(Entry(position, own_id, "", label, group, fault))
            continue
        entries.append(Entry(position, own_id, _found(path, Path(source.path)), label, group))
    names = (path_column, label_column, id_column, group_column)
    how = f"a table of pictures, their paths in {path_column!r}"
    how += f", classes in {label_column!r}" if label_column else ", without classes"
    how += f", ids in {id_column!r}" if id_column else ""
    return Listing(entries, how, "row", names)


def _cell(row: Fields, name: str | None) -> str | None:
    value = None if name is None else row.get(name)
    return None if value is None or str(value).strip() == "" else str(value).strip()


def _found(path: str, table: Path) -> str:
    """A path of a table: relative to the table where there is such a file, else as it is."""
    place = archive_of(path)
    if place is not None:
        archive, member = place
        return inside(_found(archive, table), member)
    beside = table.parent / path
    return str(beside) if beside.exists() else str(Path(path).expanduser())


def _path_columns(objects: Sequence[Fields]) -> list[str]:
    """The columns of which every value names a picture."""
    if not objects:
        return []
    found = []
    for name in objects[0]:
        values = [row.get(name) for row in objects]
        known = [value for value in values if value not in (None, "")]
        if known and all(isinstance(v, str) and is_picture(_file_part(v)) for v in known):
            found.append(name)
    # Ids may be names of files too.
    return [name for name in found if name.lower() != "id"] or found


def _file_part(path: str) -> str:
    place = archive_of(path)
    return path if place is None else place[1]


def _path_column(path: str, objects: Sequence[Fields], columns: Columns) -> str:
    names = list(objects[0]) if objects else []
    if columns.text_column is not None:
        if columns.text_column not in names:
            raise UserError(
                f"{path}: got --text_column {columns.text_column}; it has {some(names)}"
            )
        return columns.text_column
    found = _path_columns(objects)
    if len(found) == 1:
        return found[0]
    got = f"{' and '.join(found)} all name pictures" if found else "no column names pictures"
    raise UserError(f"{path}: {got}; say by --text_column which of {some(names)} does")


def _label_column(
    path: str, objects: Sequence[Fields], columns: Columns, path_column: str
) -> str | None:
    names = list(objects[0])
    if columns.label_column is not None:
        if columns.label_column not in names:
            raise UserError(
                f"{path}: got --label_column {columns.label_column}; it has {some(names)}"
            )
        return columns.label_column
    known = [name for name in names if name.lower() in LABEL_NAMES]
    if len(known) == 1:
        return known[0]
    given = (path_column, columns.id_column, columns.group_column, "id", "group")
    others = [name for name in names if name not in given]
    if not known and len(others) <= 1:
        return others[0] if others else None
    raise UserError(
        f"{path}: {some(known or others)} may hold the classes; say which by --label_column"
    )


def _id_column(objects: Sequence[Fields], columns: Columns, path_column: str) -> str | None:
    """The column of ids: as named, `id`, or that of the paths where each is another."""
    if columns.id_column is not None:
        return columns.id_column
    if all("id" in row for row in objects):
        return "id"
    paths = [row.get(path_column) for row in objects]
    return path_column if len(set(paths)) == len(paths) else None
