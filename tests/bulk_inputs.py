"""Shards and a model for the tests of `pipelines.bulk`: it needs no training, and fails on some texts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import ModuleType

import pyarrow
import pyarrow.parquet

from pipelines.examples import Prediction, Span


def rows(count, *, name="r", text="text {n} says gout"):
    return [{"id": f"{name}{n}", "text": text.format(n=n)} for n in range(count)]


def family():
    """Marks the first two letters of a text; a text with BOOM is more than it can bear."""
    module = ModuleType("pipelines.families.scripted")

    def predict(loaded, examples, **keywords):
        if any("BOOM" in example.text for example in examples):
            raise ValueError("boom,\nand on two lines")
        return [
            Prediction(e.id, spans=(Span(0, 2, "D", 0.5),), certainty=len(e.text) / 100)
            for e in examples
        ]

    module.load, module.predict = lambda folder: None, predict
    return module


def write(path: Path, content: list[dict]) -> Path:
    """Writes rows in the format that the ending names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.name.partition(".")[2].removesuffix(".gz")
    if kind == "parquet":
        table = pyarrow.Table.from_pylist(
            content, schema=pyarrow.schema(dict.fromkeys(("id", "text"), pyarrow.string()))
        )
        pyarrow.parquet.write_table(table, path, row_group_size=700)
        return path
    if kind == "jsonl":
        text = "".join(json.dumps(row) + "\n" for row in content)
    elif kind == "csv":
        cells = ['{},"{}"\n'.format(row["id"], row["text"].replace('"', '""')) for row in content]
        text = "".join(["id,text\n", *cells])
    else:
        text = "".join(row["text"] + "\n" for row in content)
    encoded = text.encode()
    path.write_bytes(gzip.compress(encoded) if path.suffix == ".gz" else encoded)
    return path


def files(folder: Path) -> dict[str, bytes]:
    """Path below the folder -> content, of all files but hidden ones."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}
