"""brat: a folder with `NAME.txt`, the text, and `NAME.ann`, its mentions, for each document."""

from __future__ import annotations

import re
from pathlib import Path

from pipelines.corpora.corpus import ColumnNames, Columns, Table, Unreadable, counted
from pipelines.corpora.source import Source
from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.formatting import some

_MENTION = re.compile(r"(T\S+)\t(\S+) ([\d; ]+)\t(.*)")
MAX_DIGITS = 40  # of the offsets of one piece


def sniff(source: Source) -> bool:
    """Whether it is an `.ann` file, or a folder with some."""
    if source.ends_with(".ann"):
        return True
    return source.is_folder and any(Path(source.path).rglob("*.ann"))


def read(source: Source, columns: Columns) -> Table:
    """Reads each `.txt` with its `.ann`; a document without one was never annotated: left out.

    Raises:
        UserError: for a single `.ann` file, or a folder without texts.
    """
    folder = Path(source.path)
    if not folder.is_dir():
        raise UserError(
            f"{source.path}: annotations of brat alone; give the folder that holds the .txt files "
            "too"
        )
    texts = sorted(folder.rglob("*.txt"))
    if not texts:
        raise UserError(
            f"{folder}: .ann files without .txt files beside them; wanted NAME.txt and NAME.ann"
        )
    labelled = any(path.with_suffix(".ann").exists() for path in texts)
    rows: list[tuple[int, object]] = []
    left_out: list[str] = []
    for number, path in enumerate(texts):
        if labelled and not path.with_suffix(".ann").exists():
            left_out.append(path.name)
        else:
            name = path.relative_to(folder).with_suffix("").as_posix()
            rows.append((number, _document(path, name, labelled)))
    table = Table(rows, "brat documents", unit="file", ends="half-open", offsets="character")
    entities = "entities" if labelled else None
    table.column_names = ColumnNames("text", entities=entities, id="id")
    annotations = sorted(folder.rglob("*.ann"))
    alone = [path.name for path in annotations if not path.with_suffix(".txt").exists()]
    if left_out:
        n = counted(len(left_out), "text")
        table.notes.append(f"{n} without .ann left out: {some(left_out)}")
    if alone:
        n = counted(len(alone), ".ann file")
        table.notes.append(f"{n} without .txt left out: {some(alone)}")
    return table


def _document(path: Path, name: str, labelled: bool) -> JsonObject | Unreadable:
    try:
        # Offsets count every character, so line ends stay as they are.
        text = path.read_bytes().decode("utf-8")
        annotations = path.with_suffix(".ann").read_bytes().decode("utf-8") if labelled else ""
    except UnicodeDecodeError as error:
        return Unreadable(f"{name}: not UTF-8 at byte {error.start}; convert it to UTF-8")
    lines = annotations.split("\n")
    mentions = [_mention(line) for line in lines if line.startswith("T")]
    return {"id": name, "text": text, "entities": mentions}


def _mention(line: str) -> object:
    match = _MENTION.fullmatch(line.rstrip("\r"))
    if match is None:
        return line  # a string that is no mention of the text: a fault that shows the line
    pieces = [
        [int(offset) for offset in piece.split()] if len(piece) < MAX_DIGITS else piece
        for piece in match[3].split(";")
    ]
    return {"id": match[1], "type": match[2], "offsets": pieces, "text": match[4]}
