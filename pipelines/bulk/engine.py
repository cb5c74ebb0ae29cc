"""Answers a corpus of shards into a folder, in this process or on Ray, and goes on where it ended.

A shard is finished when its output has its name, which it gets whole and last. So a job that died
at any moment goes on with the shards that have none, and nothing is lost or there twice.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from pipelines.bulk.manifest import MANIFEST, identity_of, read_manifest, refuse_other_job
from pipelines.bulk.reading import ShardError, columns_of, first_table
from pipelines.bulk.shards import FORMATS, Shard, file_system, find_shards, format_of
from pipelines.bulk.worker import Job, Progress, Worker
from pipelines.bulk.writing import OUTPUT_FORMATS, OutputFolder
from pipelines.corpora.corpus import ColumnNames, Columns, counted, fault_lines
from pipelines.errors import EngineLost, UserError
from pipelines.examples import JsonObject
from pipelines.runs.lock import run_lock
from pipelines.runs.ray_cluster import LOCAL
from pipelines.runs.run import Run

logger = logging.getLogger(__name__)

ENGINES = ("local", "ray", "vllm")
MAX_FAILED = 100
# Families whose examples are no texts.
NOT_TEXTS = ("image_classifier", "sequence_regressor")


@dataclass(frozen=True)
class Engine:
    """Where the work is done.

    Attributes:
        name: one of `ENGINES`.
        address: of the Ray cluster, or the URL of the vLLM server.
        workers: of Ray; `None` = one for each GPU or core. Of vLLM, requests at a time.
    """

    name: str = "local"
    address: str = LOCAL
    workers: int | None = None

    def progress(
        self, job: Job, shards: Sequence[Shard]
    ) -> Generator[tuple[Shard, Progress], None, None]:
        """Answers shards, and says of each batch what became of it."""
        if self.name == "ray":
            from pipelines.bulk.ray_engine import ray_progress

            yield from ray_progress(job, shards, address=self.address, workers=self.workers)
            return
        worker = Worker(job)
        for shard in shards:
            for progress in worker.answer(shard):
                yield shard, progress


@dataclass
class Tally:
    """What was done, now and before.

    Attributes:
        shards: of the corpus.
        finished: of them, before too.
        rows: read now, of finished shards.
        failed: rows set aside, of all finished shards.
        seconds: of the work now, without those before the first batch.
        seconds_to_start: until the first batch was answered: workers and models are loaded.
    """

    shards: int
    finished: int
    rows: int = 0
    failed: int = 0
    seconds: float = 0.0
    seconds_to_start: float = 0.0

    def described(self) -> str:
        """The tally, in one line."""
        speed = f", {self.rows / self.seconds:,.0f} a second" if self.rows and self.seconds else ""
        failed = f", {counted(self.failed, 'row')} set aside in failed/" if self.failed else ""
        return (
            f"{self.finished} of {counted(self.shards, 'shard')} finished; "
            f"{counted(self.rows, 'row')} read now in {self.seconds:.1f} s{speed} (and "
            f"{self.seconds_to_start:.1f} s to start){failed}"
        )


def predict_shards(
    run_dir: str | Path,
    pattern: str,
    output: str,
    *,
    columns: Columns | None = None,
    engine: Engine | None = None,
    output_format: str | None = None,
    batch_tokens: int | None = None,
    min_score: float | None = None,
    max_failed: int = MAX_FAILED,
    resume: bool = False,
) -> Tally:
    """Answers the shards that a pattern matches with the model of a run.

    Args:
        run_dir: the run.
        pattern: path or URL of the shards; see `find_shards`.
        output: the folder of the output, new, empty, or with this job begun.
        columns: where a shard holds what, of the text, the second text and the id.
        output_format: one of `OUTPUT_FORMATS`; default: that of the input, JSON lines for text.
        batch_tokens, min_score: as for `pipelines predict`.
        max_failed: rows that may fail, in all shards, before the job stops.
        resume: go on with a job that was begun.

    Raises:
        UserError: for what cannot be done, and at the end for shards that could not be answered;
            what is finished is kept.
    """
    columns, engine, run = columns or Columns(), engine or Engine(), Run.open(run_dir)
    by_vllm = engine.name == "vllm"
    folder = OutputFolder(output)
    shards = find_shards(pattern, output=output)
    job = Job(
        str(Path(run_dir).resolve()),
        _absolute(pattern),
        _absolute(output),
        format_of(shards),
        _ending(shards[0], output_format),
        None,
        batch_tokens,
        min_score,
        max_failed,
        server=engine.address if by_vllm else None,
        at_a_time=engine.workers if by_vllm else None,
    )
    _refuse_same_output(job, shards)
    if Path(output).suffix in FORMATS:
        raise UserError(f"{output}: the name of a file; wanted a folder, for the shards")
    _refuse_family(run, job)
    with _only_job_in(folder):
        present = folder.names()
        old = read_manifest(folder, present, resume=resume)
        folder.remove_temporaries(present)
        names = _known_names(old) or _find_names(run, job, columns, shards)
        job = replace(job, names=names)
        manifest = identity_of(run=run, job=job, columns=columns, shards=shards, names=names)
        if old is not None:
            refuse_other_job(folder, old, manifest, present)
        if old != manifest:
            folder.write_json(MANIFEST, manifest)
        return _answer_all(folder, job, shards, present, engine)


def _answer_all(
    folder: OutputFolder, job: Job, shards: Sequence[Shard], present: set[str], engine: Engine
) -> Tally:
    done = [shard for shard in shards if job.output_name(shard) in present]
    todo = [shard for shard in shards if job.output_name(shard) not in present]
    tally = Tally(len(shards), len(done), failed=_failed_before(folder, job, done, present))
    if done:
        logger.info("%d of %s are finished already", len(done), counted(len(shards), "shard"))
    if not todo:
        return tally
    begin = time.perf_counter()
    work, account = engine.progress(job, todo), Account(folder.url, job.max_failed, tally)
    try:
        with contextlib.closing(account), contextlib.closing(work):
            for shard, progress in work:
                if not tally.seconds_to_start:
                    tally.seconds_to_start = time.perf_counter() - begin
                account.add(shard, progress)
    except EngineLost as error:
        raise UserError(f"{error}; {account.to_go_on()}") from None
    finally:
        folder.remove_temporaries(folder.names())  # of workers that died
    tally.seconds = time.perf_counter() - begin - tally.seconds_to_start
    account.refuse_faults()
    return tally


class Account:
    """Adds up what the workers say, shows it, and stops the job where it cannot go on.

    Args:
        url: the folder of the output, for messages.
        max_failed: rows that may fail.
        tally: what was done before; it is kept up to date.
    """

    def __init__(self, url: str, max_failed: int, tally: Tally):
        from tqdm import tqdm

        self.url, self.max_failed, self.tally = url, max_failed, tally
        self.faults: list[str] = []
        # Of shards that are not finished yet.
        self.rows: Counter[str] = Counter()
        self.failed: dict[str, list[str]] = {}
        self.bar = tqdm(unit=" rows", desc="predict", disable=not sys.stderr.isatty())

    def close(self) -> None:
        """Ends the bar."""
        self.bar.close()

    def add(self, shard: Shard, progress: Progress) -> None:
        """Counts what became of a batch.

        Raises:
            UserError: when too many rows failed, or no space is left.
        """
        if progress.lost:
            self.bar.update(-self.rows.pop(shard.name, 0))
            self.failed.pop(shard.name, None)
            return
        self.bar.update(progress.rows)
        self.rows[shard.name] += progress.rows
        self.failed.setdefault(shard.name, []).extend(progress.failed)
        if self.tally.failed + sum(map(len, self.failed.values())) > self.max_failed:
            shown = "\n".join(list(chain.from_iterable(self.failed.values()))[:5])
            raise UserError(
                f"{self.url}: more than {counted(self.max_failed, 'row')} failed; fix them or "
                f"raise --max_failed; {self.to_go_on()}\n{shown}"
            )
        if progress.full_disk:
            raise UserError(f"{progress.fault}; {self.to_go_on()}")
        if progress.fault:
            self.faults.append(progress.fault)
            self.failed.pop(shard.name)
        if progress.finished:
            self._finish(shard, self.rows.pop(shard.name), self.failed.pop(shard.name))
        refused = f", {len(self.faults)} refused" if self.faults else ""
        self.bar.set_postfix_str(f"{self.tally.finished}/{self.tally.shards} shards{refused}")

    def _finish(self, shard: Shard, n_rows: int, failed: Sequence[str]) -> None:
        self.tally.finished += 1
        self.tally.rows += n_rows
        self.tally.failed += len(failed)
        if n_rows == 0:
            logger.warning("%s: empty, and so is its output", shard.path)
        if failed:
            shown = "\n".join(fault_lines(failed[:5]))
            of_all = f"{counted(len(failed), 'row')} of {n_rows}"
            logger.warning("%s: %s set aside:\n%s", shard.path, of_all, shown)

    def refuse_faults(self) -> None:
        """Raises a `UserError` with a line for each shard that could not be answered."""
        if self.faults:
            lines = "\n".join(fault_lines(self.faults))
            raise UserError(
                f"{self.url}: {counted(len(self.faults), 'shard')} could not be answered; "
                f"{self.to_go_on()}\n{lines}"
            )

    def to_go_on(self) -> str:
        """What is finished, and how to do the rest."""
        finished = f"{self.tally.finished} of {counted(self.tally.shards, 'shard')}"
        return f"{finished} are finished, --resume does the others"


def _failed_before(folder: OutputFolder, job: Job, done: Sequence[Shard], present: set[str]) -> int:
    names = [job.failed_name(shard) for shard in done]
    return sum(folder.read(name).count(b"\n") for name in names if name in present)


def _known_names(manifest: JsonObject | None) -> ColumnNames | None:
    """The columns that an earlier start found."""
    found = manifest and manifest.get("columns")
    return ColumnNames(**(found | {"labels": tuple(found["labels"])})) if found else None


def _find_names(
    run: Run, job: Job, columns: Columns, shards: Sequence[Shard]
) -> ColumnNames | None:
    """The columns of the first shard that can be read and is not empty."""
    _, learnt = run.reading()
    system, _ = file_system(job.input)
    for shard in shards:
        try:
            with system.open(shard.path, "rb") as stream:
                table = first_table(stream, shard.path, job.format)
        except (ShardError, OSError):
            continue  # the worker says so
        if table is None or not table.objects:
            continue
        names = columns_of(shard.path, table, run.columns(columns), learnt)
        if learnt is not None and learnt.pair is not None and names.pair is None:
            raise UserError(
                f"{shard.path}: one text a row, where the run learnt pairs ({learnt.text!r} and "
                f"{learnt.pair!r}); give both, or name the column of the second by --pair_column"
            )
        inputs = filter(None, (names.text or names.tokens, names.pair))
        texts = " and ".join(map(repr, inputs))
        ids = f"ids in {names.id!r}" if names.id else "row numbers as ids"
        logger.info("%s: %s, text in %s, %s", shard.path, table.layout, texts, ids)
        return names
    return None


def _ending(shard: Shard, output_format: str | None) -> str:
    """The ending of output shards: as the input's, also `.gz`."""
    if output_format is not None and output_format not in OUTPUT_FORMATS:
        raise UserError(
            f"got --output_format {output_format}; wanted one of {', '.join(OUTPUT_FORMATS)}"
        )
    format = output_format or format_of([shard]).replace("text", "jsonl")
    packed = ".gz" if shard.ending.lower().endswith(".gz") and format != "parquet" else ""
    return f".{format}{packed}"


def _absolute(path: str) -> str:
    """A path that means the same on another machine that shares its disk."""
    is_url = "://" in path or "::" in path
    return path if is_url else str(Path(path).expanduser().absolute())


def _refuse_same_output(job: Job, shards: Sequence[Shard]) -> None:
    outputs = Counter(map(job.output_name, shards))
    same = [name for name, count in outputs.items() if count > 1]
    if same:
        raise UserError(f"{job.input}: several shards would write {same[0]}; rename one")


def _refuse_family(run: Run, job: Job) -> None:
    family, folder = run.model_folder()
    name = family.__name__.rpartition(".")[2]
    if name in NOT_TEXTS:
        raise UserError(f"{folder}: a model of the family {name}, which does not read texts")
    if job.server is not None and not hasattr(family, "connect"):
        raise UserError(
            f"{folder}: a model of the family {name}; --engine vllm serves language models, take "
            "--engine local or ray"
        )
    if job.server is not None and job.batch_tokens is not None:
        raise UserError("got --batch_tokens, which has no effect on --engine vllm; leave it out")


@contextlib.contextmanager
def _only_job_in(folder: OutputFolder) -> Iterator[None]:
    """Keeps a second job out of a local folder, which is made where there is none."""
    if not folder.is_local:
        yield
        return
    path = Path(folder.path)
    path.mkdir(parents=True, exist_ok=True)
    with run_lock(path, option="--output"):
        yield
