"""Uploaded files: read by the reader of all commands, answered in batches, written to a folder."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.corpora.images.sources import holds_pictures
from pipelines.corpora.source import Source
from pipelines.corpora.stream import stream_examples
from pipelines.corpora.writing import replacing, write_predictions
from pipelines.demo.answering import ServedRun, answers_in_batches, check_texts
from pipelines.demo.marking import csv_of
from pipelines.errors import UserError
from pipelines.examples import Example, Prediction

KEPT = 3600  # seconds that answers of a file can be downloaded
PREFIX = "answers-"


@dataclass(frozen=True, slots=True)
class Step:
    """How far a file is answered.

    Attributes:
        done: texts that are answered, those of each run counted.
        total: texts of all runs.
        files: where the answers are, at the end.
    """

    done: int
    total: int
    files: tuple[Path, ...] = ()


def read_upload(file: str | Path, run: ServedRun, *, max_chars: int) -> list[Example]:
    """The texts of an uploaded file, in any layout of data/README.md.

    Messages name the file as the user does, without the folder that it was uploaded to.

    Raises:
        UserError: for a file that cannot be read, that names pictures, or whose texts are too long.
    """
    path = Path(file)
    try:
        # A table of paths would be read from the server's disk, not from the user's.
        source = Source(str(path), max_unzipped=run.columns.max_unzipped, labelled=False)
        if holds_pictures(source, run.columns):
            raise UserError(f"{path.name}: holds or names pictures; wanted texts")
        examples = list(stream_examples(str(path), columns=run.columns, like=run.like))
        if any(example.features is not None for example in examples):
            raise UserError(f"{path.name}: holds vectors; wanted texts")
        if run.pairs and any(example.pair is None for example in examples):
            raise UserError(f"{path.name}: one text a row, where the run learnt pairs; give both")
        check_texts(examples, max_chars=max_chars)
    except UserError as error:
        raise UserError(str(error).replace(f"{path.parent}/", "")) from None
    except RecursionError:
        raise UserError(f"{path.name}: nested too deeply; give one object a row") from None
    return examples


def answer_file(
    file: str | Path, runs: Sequence[ServedRun], *, folder: Path, max_chars: int
) -> Iterator[Step]:
    """Answers an uploaded file by each run; the last step holds a JSONL and a CSV file of each.

    Closing the iterator stops the work with the batch that is being answered, and leaves no file.

    Args:
        folder: where the files go, in a folder of their own.
    """
    remove_old_answers(folder)
    examples = [read_upload(file, run, max_chars=max_chars) for run in runs]
    total, done = sum(map(len, examples)), 0
    out = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
    files: list[Path] = []
    try:
        yield Step(0, total)
        for run, own in zip(runs, examples, strict=True):
            predictions: list[Prediction] = []
            for batch in answers_in_batches(run, own):
                predictions += batch
                done += len(batch)
                yield Step(done, total)
            files += _write(out, run.name, own, predictions)
    except BaseException:  # a closed iterator too
        shutil.rmtree(out)
        raise
    yield Step(done, total, tuple(files))


def _write(
    folder: Path, name: str, examples: Sequence[Example], predictions: Sequence[Prediction]
) -> list[Path]:
    answers, table = folder / f"{name}.jsonl", folder / f"{name}.csv"
    write_predictions(answers, predictions)
    with replacing(table) as f:
        f.write(csv_of([example.text for example in examples], predictions))
    return [answers, table]


def remove_old_answers(folder: Path, *, age: float = KEPT) -> None:
    """Removes the answers of files that were written more than `age` seconds ago."""
    for old in folder.glob(f"{PREFIX}*"):
        if time.time() - old.stat().st_mtime > age:
            shutil.rmtree(old, ignore_errors=True)
