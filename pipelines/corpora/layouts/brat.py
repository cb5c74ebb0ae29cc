"""brat: a folder with `NAME.txt`, the text, and `NAME.ann`, its mentions, for each document."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pipelines.corpora.corpus import Columns, Found, Table, Unreadable
from pipelines.corpora.source import Source
from pipelines.errors import UserError

_MENTION = re.compile(r"(T\S+)\t(\S+) ([\d; ]+)\t(.*)")


def sniff(source: Source) -> bool:
    if source.ends_with(".ann"):
        return True
    return source.is_folder and any(Path(source.path).rglob("*.ann"))


def read(source: Source, columns: Columns) -> Table:
    """Reads each `.txt` with the `.ann` beside it; a document without one was never annotated and is left out.

    Raises:
        UserError: for a single `.ann` file, or a folder without texts.
    """
    folder = Path(source.path)
    if not folder.is_dir():
        raise UserError(f"{source.path}: annotations of brat alone; give the folder that holds the .txt files too")
    texts = sorted(folder.rglob("*.txt"))
    if not texts:
        raise UserError(f"{folder}: .ann files without .txt files beside them; wanted NAME.txt and NAME.ann")
    labelled = any(path.with_suffix(".ann").exists() for path in texts)
    alone = sorted(path.name for path in folder.rglob("*.ann") if not path.with_suffix(".txt").exists())
    rows: list[tuple[int, Any]] = []
    left_out: list[str] = []
    for number, path in enumerate(texts):
        annotations = path.with_suffix(".ann")
        if labelled and not annotations.exists():
            left_out.append(path.name)
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        try:
            # Offsets count every character, so line ends stay as they are.
            text = path.read_bytes().decode("utf-8")
            lines = annotations.read_bytes().decode("utf-8").split("\n") if labelled else []
        except UnicodeDecodeError as error:
            rows.append((number, Unreadable(f"{name}: not UTF-8 at byte {error.start}; convert it to UTF-8")))
            continue
        rows.append((number, {"id": name, "text": text, "entities": [_mention(line) for line in lines
                                                                      if line.startswith("T")]}))
    table = Table(rows, "brat documents", unit="file", ends="half-open", offsets="character",
                  found=Found("text", entities="entities" if labelled else None, id="id"))
    if left_out:
        table.notes.append(f"{folder}: {len(left_out)} texts without .ann were left out: {', '.join(left_out[:10])}")
    if alone:
        table.notes.append(f"{folder}: {len(alone)} .ann files without .txt were left out: {', '.join(alone[:10])}")
    return table


def _mention(line: str) -> Any:
    match = _MENTION.fullmatch(line.rstrip("\r"))
    if match is None:
        return line  # a string that is no mention of the text: a fault that shows the line
    pieces = [[int(offset) for offset in piece.split()] if len(piece) < 40 else piece for piece in match[3].split(";")]
    return {"id": match[1], "type": match[2], "offsets": pieces, "text": match[4]}
