"""Text files, each in the folder of its class; files in the folder itself have no class."""

from __future__ import annotations

from pathlib import Path

from pipelines.corpora.corpus import ColumnNames, Columns, Table, Unreadable
from pipelines.corpora.source import Source
from pipelines.errors import UserError


def sniff(source: Source) -> bool:
    """Whether it is a folder."""
    return source.is_folder


def read(source: Source, columns: Columns) -> Table:
    """Reads every `.txt` file, but for those in hidden folders.

    Raises:
        UserError: for a folder without such files.
    """
    folder = Path(source.path)
    paths = sorted(path.relative_to(folder) for path in folder.rglob("*.txt"))
    paths = [path for path in paths if not any(part.startswith(".") for part in path.parts)]
    if not paths:
        raise UserError(
            f"{folder}: a folder without a .txt file in it or in a folder in it; wanted a file, "
            f"such as {folder / 'train.json'}, or {folder}/CLASS/NAME.txt, or NAME.txt and "
            "NAME.ann (brat)"
        )
    rows: list[tuple[int, object]] = []
    for number, path in enumerate(paths):
        label = path.parts[0] if len(path.parts) > 1 else None
        try:
            text = (folder / path).read_bytes().decode("utf-8-sig").strip()
        except UnicodeDecodeError as error:
            reason = f"{path}: not UTF-8 at byte {error.start}; convert it to UTF-8"
            rows.append((number, Unreadable(reason)))
            continue
        rows.append((number, {"id": path.as_posix(), "label": label, "text": text}))
    table = Table(rows, "a folder of text files for each class", unit="file")
    labelled = any(row["label"] for row in table.objects)
    table.column_names = ColumnNames("text", labels=("label",) if labelled else (), id="id")
    return table
