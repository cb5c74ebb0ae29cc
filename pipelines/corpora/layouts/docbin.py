"""spaCy's DocBin (`.spacy`), read by spaCy itself, where it is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.corpora.corpus import ColumnNames, Columns, Table, unwrap_single_classes
from pipelines.corpora.source import Source
from pipelines.errors import UserError
from pipelines.examples import JsonObject

if TYPE_CHECKING:
    from spacy.tokens import Doc


def sniff(source: Source) -> bool:
    """Whether the name ends in `.spacy`."""
    return source.ends_with(".spacy") and not source.is_folder


def documents(source: Source) -> list[Doc]:
    """The documents of a DocBin, as spaCy's `Doc`.

    Raises:
        UserError: without spaCy, and for a file that does not exist or is not a DocBin.
    """
    raw = source.raw
    try:
        import spacy
        from spacy.tokens import DocBin
    except ImportError:
        raise UserError(
            f"{source.path}: a DocBin is read by spaCy; install it (`pip install spacy`), or write "
            "JSON lines instead"
        ) from None
    try:
        return list(DocBin().from_bytes(raw).get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # msgpack, zlib and spaCy each have errors of their own
        raise UserError(
            f"{source.path}: not a DocBin of spaCy ({type(error).__name__}: {error}); write it "
            "again by DocBin.to_disk"
        ) from None


def read(source: Source, columns: Columns) -> Table:
    """Reads texts with their entities, and classes where documents have categories.

    Raises:
        UserError: see `documents`.
    """
    rows: list[JsonObject] = []
    for document in documents(source):
        row: JsonObject = {"text": document.text}
        if document.has_annotation("ENT_IOB"):
            row["entities"] = [[e.start_char, e.end_char, e.label_] for e in document.ents]
        if document.cats:
            row["label"] = [name for name, score in document.cats.items() if score >= 0.5]
        rows.append(row)
    unwrap_single_classes(rows, "label")
    entities = "entities" if any("entities" in row for row in rows) else None
    labels = ("label",) if any("label" in row for row in rows) else ()
    return Table(
        list(enumerate(rows)),
        "spaCy documents",
        column_names=ColumnNames("text", entities=entities, labels=labels),
        ends="half-open",
        offsets="character",
        missing_is_empty=True,
    )
