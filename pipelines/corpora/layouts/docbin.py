"""spaCy's DocBin (`.spacy`), read by spaCy itself, where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipelines.corpora.corpus import Columns, Found, Table
from pipelines.corpora.source import Source
from pipelines.errors import UserError


def sniff(source: Source) -> bool:
    return source.ends_with(".spacy") and not source.is_folder


def read(source: Source, columns: Columns) -> Table:
    """Reads texts with their entities, and classes where documents have categories.

    Raises:
        UserError: without spaCy, and for a file that is no DocBin.
    """
    if not Path(source.path).exists():
        source.raw  # noqa: B018 - says that there is no such file
    try:
        import spacy
        from spacy.tokens import DocBin
    except ImportError:
        raise UserError(f"{source.path}: a DocBin is read by spaCy; install it (`pip install spacy`), or write the "
                        "documents as JSON lines") from None
    try:
        documents = list(DocBin().from_bytes(source.raw).get_docs(spacy.blank("xx").vocab))
    except Exception as error:  # msgpack, zlib and spaCy each have errors of their own
        raise UserError(f"{source.path}: no DocBin of spaCy ({type(error).__name__}: {error})") from None
    rows: list[tuple[int, Any]] = []
    for number, document in enumerate(documents):
        row: dict[str, Any] = {"text": document.text}
        if document.has_annotation("ENT_IOB"):
            row["entities"] = [[span.start_char, span.end_char, span.label_] for span in document.ents]
        if document.cats:
            row["label"] = [name for name, score in document.cats.items() if score >= 0.5]
        rows.append((number, row))
    labelled = any("entities" in row for _, row in rows)
    classes = any("label" in row for _, row in rows)
    if classes and all(len(row.get("label", ())) == 1 for _, row in rows):
        rows = [(number, row | {"label": row["label"][0]}) for number, row in rows]
    found = Found("text", entities="entities" if labelled else None, labels=("label",) if classes else ())
    return Table(rows, "spaCy documents", found=found, ends="half-open", offsets="character", missing_is_empty=True)
