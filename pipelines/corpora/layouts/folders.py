"""Text files, each in the folder of its class; files that lie in the folder itself have none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.corpora.corpus import Columns, Found, Table, Unreadable
from pipelines.corpora.source import Source
from pipelines.errors import UserError


def sniff(source: Source) -> bool:
    return source.is_folder


def read(source: Source, columns: Columns) -> Table:
    folder = Path(source.path)
    files = sorted(path for path in folder.rglob("*.txt")
                   if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    if not files:
        raise UserError(f"{folder}: a folder without a .txt file in it or in a folder in it; wanted a file, such as "
                        f"{folder / 'train.json'}, or {folder}/CLASS/NAME.txt, or NAME.txt and NAME.ann (brat)")
    rows: list[tuple[int, Any]] = []
    for number, path in enumerate(files):
        place = path.relative_to(folder)
        row: dict[str, Any] = {"id": place.as_posix(), "label": place.parts[0] if len(place.parts) > 1 else None}
        try:
            rows.append((number, row | {"text": path.read_bytes().decode("utf-8-sig").strip()}))
        except UnicodeDecodeError as error:
            rows.append((number, Unreadable(f"{place}: not UTF-8 at byte {error.start}; convert it to UTF-8")))
    labelled = any(isinstance(row, dict) and row["label"] for _, row in rows)
    found = Found("text", labels=("label",) if labelled else (), id="id")
    return Table(rows, "a folder of text files for each class", unit="file", found=found)
