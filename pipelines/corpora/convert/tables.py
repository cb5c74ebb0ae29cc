"""CSV and TSV: a row for each example, with spans and several classes as JSON in their cell."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

from pipelines.corpora.convert.content import Content, Losses
from pipelines.corpora.writing import replacing
from pipelines.examples import Example, span_to_json


def write_csv(path: Path, content: Content, losses: Losses) -> None:
    """Writes commas between cells, and quotes where they are needed."""
    # Quotes carry commas and line ends, but readers disagree on carriage returns in a cell.
    _write(path, content, losses, ",", "\r", "csv cannot represent carriage returns")


def write_tsv(path: Path, content: Content, losses: Losses) -> None:
    """Writes tabs between cells, and none in them."""
    # Many readers of TSV know no quotes, so that a tab or line end in a cell would break the row.
    _write(path, content, losses, "\t", "\t\r\n", "tsv cannot represent tabs and line ends")


def _write(
    path: Path, content: Content, losses: Losses, delimiter: str, unsafe: str, loss: str
) -> None:
    """Writes a table; the unsafe characters become blanks, which is the loss."""
    columns = ["id", "text"]
    if content.has_pairs:
        columns.append("pair")
    if content.answer is not None:
        columns.append("spans" if content.answer == "spans" else "label")
    blanks = str.maketrans(unsafe, " " * len(unsafe))
    with replacing(path) as f:
        writer = csv.writer(f, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns)
        for example in content.examples:
            parts = (example.id, example.text, example.pair or "")
            n_unsafe = sum(part.count(mark) for part in parts for mark in unsafe)
            if n_unsafe:
                losses.add(f"{loss}, they become blanks", example.id, n_unsafe)
            id, text, pair = (part.translate(blanks) for part in parts)
            writer.writerow(_cells(replace(example, id=id, text=text, pair=pair), columns))


def _cells(example: Example, columns: list[str]) -> list[str]:
    cells = {"id": example.id, "text": example.text, "pair": example.pair or ""}
    if example.spans is not None:
        # What a span covers says how its offsets count.
        spans = [
            span_to_json(span) | {"text": example.text[span.start : span.end]}
            for span in example.spans
        ]
        cells["spans"] = json.dumps(spans, ensure_ascii=False)
    if isinstance(example.label, tuple):
        cells["label"] = json.dumps(example.label, ensure_ascii=False)
    elif example.label is not None:
        cells["label"] = str(example.label)
    return [cells.get(name, "") for name in columns]
