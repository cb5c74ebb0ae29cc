"""Answers shards with the model of a run: the same in this process and in an actor of Ray.

A worker holds one block of rows and one batch of answers at a time, however long a shard is. It
reads the next block when the answers of the last one are written, so that a slow model or disk
holds up the reading, and nothing piles up.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pipelines.bulk.reading import ShardError, blocks, refuse_rows
from pipelines.bulk.shards import Shard, file_system
from pipelines.bulk.writing import OutputFolder, Writer, writer
from pipelines.corpora.corpus import ColumnNames, Fault
from pipelines.corpora.stream import batches
from pipelines.errors import EngineLost, UserError
from pipelines.evaluation.thresholds import answers_above
from pipelines.examples import BATCH, Example, JsonObject, Prediction
from pipelines.runs.run import Run

# A composite loads its members anew for each batch. A multiple of `BATCH`: the same bytes.
BATCHES = {"composite": 16 * BATCH}
SERVED = 4 * BATCH  # a server is idle while the last answers of a batch are awaited
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Job:
    """What a worker has to know; it travels to other machines, with absolute paths.

    Attributes:
        run_dir: the run's folder, which every machine has at the same path.
        input: the pattern or URL of the shards.
        output: the folder of the output, or its URL.
        format: of the shards.
        ending: of output shards, `.jsonl.gz`.
        names: the columns of the corpus; `None` where no shard had a row that can be read.
        batch_tokens, min_score: options of `pipelines predict`.
        max_failed: rows that may fail before the job stops.
        server: the URL of a vLLM server that answers in place of the model.
        at_a_time: requests to it that are under way together.
    """

    run_dir: str
    input: str
    output: str
    format: str
    ending: str
    names: ColumnNames | None
    batch_tokens: int | None = None
    min_score: float | None = None
    max_failed: int = 0
    server: str | None = None
    at_a_time: int | None = None

    def output_name(self, shard: Shard) -> str:
        """The name of a shard's answers, below the output folder."""
        return shard.stem + self.ending

    def failed_name(self, shard: Shard) -> str:
        """The name of the file with a shard's failed rows."""
        return f"failed/{shard.stem}.jsonl"


@dataclass(frozen=True)
class Progress:
    """What became of a batch of a shard, or of all of it.

    Attributes:
        rows: rows that were read, good or bad.
        failed: a line for each row that failed.
        finished: whether the shard has its output.
        fault: why the shard has none and will get none.
        full_disk: whether that is so because no space is left, as for all other shards.
        lost: whether the worker died, so that the shard begins anew.
    """

    rows: int = 0
    failed: tuple[str, ...] = ()
    finished: bool = False
    fault: str | None = None
    full_disk: bool = False
    lost: bool = False


class _TooManyFailed(Exception):
    """Ends a shard without an output; the job stops on its last progress."""

    def __init__(self, progress: Progress):
        super().__init__()
        self.progress = progress


class Worker:
    """The model of a run, and the shards that it answers."""

    def __init__(self, job: Job):
        """Loads the model, or asks the server for it.

        Raises:
            UserError: when the run has none, or it cannot be loaded.
        """
        self.job = job
        self.folder = OutputFolder(job.output)
        self.family: ModuleType
        self.family, path = Run.open(job.run_dir).model_folder()
        self.loaded: Any
        self.batch = BATCHES.get(self.family.__name__.rpartition(".")[2], BATCH)
        if job.server is None:
            self.loaded = self.family.load(path)
        else:
            more = {"at_a_time": job.at_a_time} if job.at_a_time else {}
            self.loaded, self.batch = self.family.connect(path, job.server, **more), SERVED
        self.keywords = {"batch_tokens": job.batch_tokens} if job.batch_tokens else {}

    def answer(self, shard: Shard) -> Iterator[Progress]:
        """Writes the answers of a shard, batch by batch; a fault of the shard is the last item."""
        try:
            yield from self._answer(shard)
        except _TooManyFailed as stop:
            yield stop.progress
        except ShardError as error:
            yield Progress(fault=str(error))
        except OSError as error:
            is_full = error.errno in FULL
            reason = "no space is left on the disk" if is_full else " ".join(str(error).split())
            yield Progress(fault=f"{shard.path}: {reason}", full_disk=is_full)

    def _answer(self, shard: Shard) -> Iterator[Progress]:
        failed = FailedRows(shard.path)
        with self.folder.replacing(self.job.output_name(shard)) as file:
            with writer(file, self.job.ending) as out:
                for batch in batches(self._examples(shard, failed), self.batch):
                    yield self._write(out, batch, failed)
            rest = failed.new()
            if len(failed.rows) > self.job.max_failed:
                raise _TooManyFailed(Progress(rows=len(rest), failed=rest))
            self._write_failed(shard, failed)
        yield Progress(rows=len(rest), failed=rest, finished=True)

    def _examples(self, shard: Shard, failed: FailedRows) -> Iterator[Example]:
        """The good rows; the bad ones are set aside."""
        system, _ = file_system(self.job.input)
        with system.open(shard.path, "rb") as stream:
            if self.job.names is None:
                refuse_rows(stream, shard.path, self.job.format)
                return
            for corpus in blocks(stream, shard.path, self.job.format, self.job.names):
                failed.add_faults(corpus.faults)
                if len(failed.rows) > self.job.max_failed:
                    return  # what is read so far is reported, and the job stops
                yield from corpus.examples

    def _write(self, out: Writer, batch: Sequence[Example], failed: FailedRows) -> Progress:
        budget = self.job.max_failed - len(failed.rows)
        bad: list[tuple[Example, str]] = []
        out.write(self._answers(batch, bad, budget))
        n_unread = failed.n_new
        for example, reason in bad:
            failed.add(example.id, reason, text=example.text)
        return Progress(rows=len(batch) + n_unread, failed=failed.new())

    def _answers(
        self, batch: Sequence[Example], bad: list[tuple[Example, str]], budget: int
    ) -> list[Prediction]:
        """The answers of a batch, which is halved where it fails until the bad rows are alone."""
        if len(bad) > budget:
            return []  # the job stops
        try:
            answers = self.family.predict(self.loaded, batch, progress=False, **self.keywords)
            if self.job.min_score is not None:
                answers = answers_above(answers, self.job.min_score)
            return list(answers)
        except Exception as error:  # whatever a model makes of an odd row
            is_full = isinstance(error, OSError) and error.errno in FULL
            if is_full or isinstance(error, EngineLost):
                raise
            if len(batch) == 1:
                name = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
                bad.append((batch[0], f"{name}{error}"))
                return []
        middle = len(batch) // 2
        first = self._answers(batch[:middle], bad, budget)
        return first + self._answers(batch[middle:], bad, budget)

    def _write_failed(self, shard: Shard, failed: FailedRows) -> None:
        """Writes the rows set aside, before the output: an output is complete with its failures."""
        name = self.job.failed_name(shard)
        if failed.rows:
            with self.folder.replacing(name) as f:
                for row in failed.rows:
                    f.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        elif self.folder.system.exists(f"{self.folder.path}/{name}"):
            self.folder.remove(name)  # of a worker that died before the output had its name


class FailedRows:
    """The rows of a shard that are set aside, each with its reason."""

    def __init__(self, path: str):
        self.path = path
        self.rows: list[JsonObject] = []
        self._n_reported = 0

    @property
    def n_new(self) -> int:
        """How many `new` has not given yet."""
        return len(self.rows) - self._n_reported

    def add(self, id: str | None, reason: str, **more: object) -> None:
        """Adds a row."""
        self.rows.append({"id": id, "reason": " ".join(reason.split())[:500], **more})

    def add_faults(self, faults: Sequence[Fault]) -> None:
        """Adds the rows that cannot be read."""
        by_row: dict[int, list[Fault]] = {}
        for fault in faults:
            if not fault.is_warning:
                by_row.setdefault(fault.row, []).append(fault)
        for number, found in by_row.items():
            reason = "; ".join(f"{fault.kind}: {fault.message}" for fault in found)
            self.add(found[0].id, reason, **{found[0].unit: number})

    def new(self) -> tuple[str, ...]:
        """A line for each row since the last call."""
        rows = self.rows[self._n_reported :]
        self._n_reported = len(self.rows)
        return tuple(self._line(row) for row in rows)

    def _line(self, row: JsonObject) -> str:
        places = [f"{name} {row[name]}" for name in ("line", "row", "id") if row.get(name)]
        return f"{self.path}, {', '.join(places)}: {row['reason']}"
