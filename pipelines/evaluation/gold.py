"""Gold classes and numbers from JSON: rows with an id, a text and a label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.corpora import read_examples
from pipelines.corpora.disease_json import read_json
from pipelines.errors import DataError, UserError
from pipelines.examples import Example


def read_gold(path: str | Path, answer: str, *, skip_bad_rows: bool = False) -> list[Example]:
    """Reads examples with what the predictions are to be scored against.

    Args:
        answer: ``spans``: any format of ``pipelines.corpora``. ``label`` or ``value``: JSON or JSON lines with ``text``
            and ``label`` (a string, a list of strings, or a number); texts without a label are scored for perplexity.
        skip_bad_rows: leave out bad rows of a span corpus.
    """
    if answer == "spans":
        return read_examples(path, skip_bad_rows=skip_bad_rows)
    try:
        table = read_json(str(path), Path(path).read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: {error}; wanted a JSON file of labelled texts") from None
    examples, faults = [], []
    for number, (place, row) in enumerate(table.rows):
        try:
            examples.append(_example(number, row, answer))
        except ValueError as error:
            faults.append(f"{path}, {table.unit} {place}: {error}")
    if faults:
        raise DataError("\n".join(faults))
    return examples


def _example(number: int, row: Any, answer: str) -> Example:
    if not isinstance(row, Mapping) or not isinstance(row.get("text"), str):
        raise ValueError('no object with a "text"; wanted rows such as {"id": "1", "text": "…", "label": "…"}')
    label = row.get("label")
    if label is not None and answer == "value":
        if isinstance(label, bool) or not isinstance(label, int | float) or label != label:
            raise ValueError(f"the label is {label!r}; the predictions are numbers and want a number")
        return Example(str(row.get("id", number)), row["text"], label=float(label))
    if isinstance(label, list):
        return Example(str(row.get("id", number)), row["text"], label=tuple(map(str, label)))
    return Example(str(row.get("id", number)), row["text"], label=None if label is None else str(label))
