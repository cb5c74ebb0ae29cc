"""PubTator: `id|t|title`, `id|a|abstract`, then a mention a line: `id start end text type`."""

from __future__ import annotations

import re

from pipelines.corpora.corpus import ColumnNames, Columns, Table, Unreadable, counted
from pipelines.corpora.source import Source
from pipelines.examples import JsonObject

_PASSAGE = re.compile(r"([^|\t\n]+)\|([ta])\|(.*)")
# Its second field names the relation, where a mention has its start.
_RELATION = re.compile(r"[^\t]+\t[A-Za-z_-]+\t")
_OFFSET = re.compile(r"\d{1,18}")


def sniff(source: Source) -> bool:
    """Whether the file begins with a title or an abstract."""
    return _PASSAGE.match(source.head[0]) is not None


def read(source: Source, columns: Columns) -> Table:
    """Reads documents: title and abstract with one blank between, as the offsets count.

    Lines of relations are skipped. A file without any mention line is unlabelled.
    """
    rows: list[tuple[int, JsonObject | Unreadable]] = []
    labelled, n_relations = False, 0
    for number, line in source.numbered_lines():
        passage = _PASSAGE.fullmatch(line)
        document = rows[-1][1] if rows else None
        if passage and (passage[2] == "t" or document is None):
            rows.append((number, {"id": passage[1], "text": passage[3], "entities": []}))
        elif isinstance(document, Unreadable):
            continue
        elif _RELATION.match(line):
            n_relations += 1
        elif document and passage and passage[1] == document["id"]:
            document["text"] += " " + passage[3]
        elif document and (mention := _mention(line, document["id"])):
            document["entities"].append(mention)
            labelled = True
        else:
            reason = f"{line[:60]!r} is no line of this document"
            rows[-1:] = [
                (number, Unreadable(f"{reason}; wanted id, start, end, text and type, by tabs"))
            ]
    if not labelled:
        for _, document in rows:
            if isinstance(document, dict):
                del document["entities"]
    names = ColumnNames("text", entities="entities" if labelled else None, id="id")
    table = Table(rows, "PubTator documents", unit="line", column_names=names)
    if n_relations:
        table.notes.append(f"{counted(n_relations, 'line')} of relations skipped")
    return table


def _mention(line: str, id: str) -> JsonObject | None:
    fields = line.split("\t")
    if len(fields) < 5 or fields[0] != id:
        return None
    start, end, text, label = fields[1:5]
    if not _OFFSET.fullmatch(start) or not _OFFSET.fullmatch(end):
        return None
    return {"start": int(start), "end": int(end), "text": text, "type": label}
