"""BioC JSON: documents of passages, at offsets that the mentions count from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipelines.corpora.corpus import ColumnNames, Table, Unreadable
from pipelines.examples import Fields, JsonObject

MAX_GAP = 10**6  # characters between two passages


def sniff(objects: Sequence[Fields]) -> bool:
    """Whether rows have passages."""
    return any(isinstance(row.get("passages"), list) for row in objects)


def read(table: Table) -> Table:
    """The passages of a document make one text, each at its offset."""
    labelled = any(map(_annotations, table.objects))
    rows: list[tuple[int, object]] = []
    for number, document in table.rows:
        if not isinstance(document, Mapping) or not isinstance(document.get("passages"), list):
            reason = "not a BioC document: it has no list of passages"
            rows.append((number, Unreadable(reason)))
            continue
        row = {"id": document.get("id"), "text": _text(document)}
        if labelled:
            row["entities"] = [_mention(annotation) for annotation in _annotations(document)]
        rows.append((number, row))
    names = ColumnNames("text", entities="entities" if labelled else None, id="id")
    return Table(rows, "BioC documents", column_names=names)


def _objects(value: object) -> list[Fields]:
    items = value if isinstance(value, list) else ()
    return [item for item in items if isinstance(item, Mapping)]


def _annotations(document: Fields) -> list[Fields]:
    """The annotations of passages, and of their sentences where the passages have some."""
    annotations = []
    for passage in _objects(document.get("passages")):
        for part in (passage, *_objects(passage.get("sentences"))):
            annotations += _objects(part.get("annotations"))
    return annotations


def _text(document: Fields) -> str:
    parts: list[Fields] = []
    for passage in _objects(document["passages"]):
        has_text = isinstance(passage.get("text"), str)
        parts += [passage] if has_text else _objects(passage.get("sentences"))
    text = ""
    for part in parts:
        offset, own = part.get("offset"), part.get("text")
        if isinstance(offset, int) and len(text) < offset <= len(text) + MAX_GAP:
            text = text.ljust(offset)
        elif text and not isinstance(offset, int):
            text += " "
        text += own if isinstance(own, str) else ""
    return text


def _mention(annotation: Fields) -> JsonObject:
    infons = annotation.get("infons")
    label = infons.get("type") if isinstance(infons, Mapping) else None
    text, locations = annotation.get("text"), annotation.get("locations")
    return {"text": text, "type": label, "locations": locations}
