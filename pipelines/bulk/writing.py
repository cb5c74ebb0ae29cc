"""Writes the output folder: each file under a temporary name first, in one of three formats."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from pipelines.bulk.shards import file_system
from pipelines.corpora.writing import replacing
from pipelines.examples import JsonObject, Prediction, prediction_to_json

if TYPE_CHECKING:
    import pyarrow

OUTPUT_FORMATS = ("jsonl", "parquet", "csv")
# Columns of Parquet and CSV: the same for all runs and shards, an empty one too.
COLUMNS = (
    "id",
    "spans",
    "label",
    "labels",
    "scores",
    "value",
    "certainty",
    "raw",
    "status",
    "mentions",
)
ROW_GROUP = 2**16  # rows of Parquet that are kept until they are written
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}$")  # what `replacing` writes to, here and elsewhere


class OutputFolder:
    """A folder, here or at any URL that fsspec writes to.

    Args:
        url: its path or URL.
    """

    def __init__(self, url: str):
        from fsspec.implementations.local import LocalFileSystem

        self.url = url
        self.system, path = file_system(url)
        self.path = path.rstrip("/")
        self.is_local = isinstance(self.system, LocalFileSystem)

    def names(self) -> set[str]:
        """The paths of all files, below the folder."""
        self.system.invalidate_cache()
        found = self.system.find(self.path)
        return {file[len(self.path) :].lstrip("/") for file in found}

    def read(self, name: str) -> bytes:
        """The content of a file."""
        content: bytes = self.system.cat_file(f"{self.path}/{name}")
        return content

    def remove(self, name: str) -> None:
        """Removes a file."""
        self.system.rm_file(f"{self.path}/{name}")

    @contextlib.contextmanager
    def replacing(self, name: str) -> Iterator[IO[bytes]]:
        """Opens a temporary file that takes its name only when the body has succeeded."""
        if self.is_local:
            with replacing(Path(self.path, name), "wb") as f:
                yield f
                f.flush()
                os.fsync(f.fileno())
            return
        final = f"{self.path}/{name}"
        folder, _, last = final.rpartition("/")
        temporary = f"{folder}/.{last}.{secrets.token_hex(4)}"
        self.system.makedirs(folder, exist_ok=True)
        try:
            with self.system.open(temporary, "wb") as f:
                yield f
            self.system.mv(temporary, final)
        except BaseException:
            with contextlib.suppress(OSError):
                self.system.rm_file(temporary)
            raise

    def write_json(self, name: str, content: JsonObject) -> None:
        """Writes an object, as JSON for people."""
        with self.replacing(name) as f:
            f.write((json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())

    def remove_temporaries(self, names: set[str]) -> None:
        """Removes what an interrupted job left of unfinished files."""
        for name in names:
            if _TEMPORARY.match(name.rpartition("/")[2]):
                with contextlib.suppress(FileNotFoundError):
                    self.remove(name)


class Writer(Protocol):
    """Writes predictions to an open file, which it leaves open."""

    def write(self, predictions: Sequence[Prediction]) -> None: ...

    def close(self) -> None: ...


@contextlib.contextmanager
def writer(file: IO[bytes], ending: str) -> Iterator[Writer]:
    """Opens a writer for a file.

    Args:
        file: open in binary mode.
        ending: `.jsonl`, `.csv` or `.parquet`; the first two also with `.gz`.
    """
    plain = ending.removesuffix(".gz")
    packed = None
    if plain != ending:
        # Without name and time, so that the same answers are the same bytes.
        packed = gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0)
    target: IO[bytes] = packed or file  # type: ignore[assignment]
    kinds: dict[str, Callable[[IO[bytes]], Writer]]
    kinds = {".jsonl": JsonLines, ".csv": Csv, ".parquet": Parquet}
    opened = kinds[plain](target)
    try:
        yield opened
    except BaseException:
        with contextlib.suppress(Exception):  # the file is given up; a library would complain
            opened.close()
        raise
    opened.close()
    if packed is not None:
        packed.close()


class JsonLines:
    """The lines of `pipelines predict`, byte for byte."""

    def __init__(self, file: IO[bytes]):
        self.file = file

    def write(self, predictions: Sequence[Prediction]) -> None:
        """Writes a line for each."""
        for prediction in predictions:
            row = prediction_to_json(prediction)
            self.file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())

    def close(self) -> None:
        """Does nothing."""


class Csv:
    """A header and `COLUMNS`; lists and objects are JSON in their cells."""

    def __init__(self, file: IO[bytes]):
        self.text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        self.rows = csv.DictWriter(self.text, COLUMNS, lineterminator="\n")
        self.rows.writeheader()

    def write(self, predictions: Sequence[Prediction]) -> None:
        """Writes a record for each."""
        for prediction in predictions:
            row = flat_row(prediction)
            for name, value in row.items():
                if isinstance(value, list):
                    row[name] = json.dumps(value, ensure_ascii=False)
            self.rows.writerow(row)

    def close(self) -> None:
        """Writes what is buffered; the file stays open."""
        self.text.flush()
        self.text.detach()


class Parquet:
    """Columns with the types of `parquet_schema`."""

    def __init__(self, file: IO[bytes]):
        import pyarrow.parquet

        self.schema = parquet_schema()
        self.file = pyarrow.parquet.ParquetWriter(file, self.schema, compression="zstd")
        self.rows: list[JsonObject] = []

    def write(self, predictions: Sequence[Prediction]) -> None:
        """Keeps rows until they are a row group."""
        self.rows += map(flat_row, predictions)
        if len(self.rows) >= ROW_GROUP:
            self._flush()

    def close(self) -> None:
        """Writes the last rows and the footer."""
        if self.rows:
            self._flush()
        self.file.close()

    def _flush(self) -> None:
        import pyarrow

        self.file.write_table(pyarrow.Table.from_pylist(self.rows, schema=self.schema))
        self.rows = []


def flat_row(prediction: Prediction) -> JsonObject:
    """A prediction with one type a column: several classes in `labels`, scores as a list."""
    row = prediction_to_json(prediction)
    if isinstance(row.get("label"), tuple):
        row["labels"] = list(row.pop("label"))
    if "scores" in row:
        row["scores"] = [{"label": name, "score": one} for name, one in row["scores"].items()]
    if "mentions" in row:
        row["mentions"] = json.dumps(row["mentions"], ensure_ascii=False)
    return row


def parquet_schema() -> pyarrow.Schema:
    """The types of `COLUMNS`; of the alignment of a generator's mentions, the JSON."""
    import pyarrow

    text, number, whole = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
    span = {"start": whole, "end": whole, "label": text, "score": number}
    types = dict.fromkeys(COLUMNS, text) | {
        "spans": pyarrow.list_(pyarrow.struct(span)),
        "labels": pyarrow.list_(text),
        "scores": pyarrow.list_(pyarrow.struct({"label": text, "score": number})),
        "value": number,
        "certainty": number,
    }
    return pyarrow.schema(types)
