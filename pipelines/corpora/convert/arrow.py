"""A folder that `datasets.load_from_disk` reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.corpora.convert.content import Content, Losses
from pipelines.corpora.convert.jsonl import json_row
from pipelines.examples import JsonObject

if TYPE_CHECKING:
    from datasets import Dataset


def write(folder: Path, content: Content, losses: Losses) -> None:
    """Writes a data set with a column for each field."""
    dataset_of(content).save_to_disk(str(folder))


def dataset_of(content: Content) -> Dataset:
    """A data set with a column for each field."""
    from datasets import Dataset, Features, List, Value  # its import takes a second

    columns: JsonObject = {"id": Value("string"), "text": Value("string")}
    if content.has_pairs:
        columns["pair"] = Value("string")
    if content.answer == "spans":
        span = {"start": Value("int64"), "end": Value("int64"), "label": Value("string")}
        if content.has_scores:
            span["score"] = Value("float64")
        columns["spans"] = List(span)
    elif content.answer == "value":
        columns["label"] = Value("float64")
    elif content.answer == "label":
        columns["label"] = List(Value("string")) if content.is_multi_label else Value("string")
    if content.scores:
        columns["scores"] = List({"label": Value("string"), "score": Value("float64")})
    rows: list[JsonObject] = []
    for example in content.examples:
        row = json_row(example, content.scores.get(example.id))
        if "scores" in row:
            row["scores"] = [
                {"label": name, "score": score} for name, score in row["scores"].items()
            ]
        rows.append({name: row.get(name) for name in columns})
    return Dataset.from_list(rows, features=Features(columns))
