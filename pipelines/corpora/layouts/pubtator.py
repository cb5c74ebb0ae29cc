"""PubTator: `id|t|title`, `id|a|abstract`, then a mention a line, `id  start  end  text  type`, by tabs."""

from __future__ import annotations

import re
from typing import Any

from pipelines.corpora.corpus import Columns, Found, Table, Unreadable
from pipelines.corpora.source import Source

PASSAGE = re.compile(r"([^|\t\n]+)\|([ta])\|(.*)")
RELATION = re.compile(r"[^\t]+\t[A-Za-z_-]+\t")  # its second field names the relation, where a mention has its start
_OFFSET = re.compile(r"\d{1,18}")


def sniff(source: Source) -> bool:
    return PASSAGE.match(source.head[0]) is not None


def read(source: Source, columns: Columns) -> Table:
    """Reads documents; a text is title and abstract with one blank between, as the offsets count.

    Lines of relations are skipped. A file without any mention line is unlabelled.
    """
    rows: list[tuple[int, Any]] = []
    labelled, relations = False, 0
    for number, line in enumerate(source.content.split("\n"), start=1):
        passage, fields = PASSAGE.fullmatch(line), line.split("\t")
        document = rows[-1][1] if rows else None
        if passage and (passage[2] == "t" or document is None):
            rows.append((number, {"id": passage[1], "text": passage[3], "entities": []}))
        elif not line.strip() or isinstance(document, Unreadable):
            continue
        elif RELATION.match(line):
            relations += 1
        elif document and passage and passage[1] == document["id"]:
            document["text"] += " " + passage[3]
        elif document and len(fields) >= 5 and fields[0] == document["id"] and all(map(_OFFSET.fullmatch, fields[1:3])):
            start, end, text, label = fields[1:5]
            document["entities"].append({"start": int(start), "end": int(end), "text": text, "type": label})
            labelled = True
        else:
            reason = f"{line[:60]!r} is no line of this document; wanted id, start, end, text and type, by tabs"
            rows[-1:] = [(number, Unreadable(reason))]
    for _, document in rows:
        if not labelled and isinstance(document, dict):
            del document["entities"]
    table = Table(rows, "PubTator documents", unit="line",
                  found=Found("text", entities="entities" if labelled else None, id="id"))
    if relations:
        table.notes.append(f"{source.path}: {relations} lines of relations are skipped")
    return table
