"""`job.json` of an output folder: whose shards it holds, and what has to be the same to go on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pipelines.bulk.shards import Shard
from pipelines.bulk.worker import Job
from pipelines.bulk.writing import OutputFolder
from pipelines.corpora.corpus import ColumnNames, Columns, counted
from pipelines.errors import UserError, without_passwords
from pipelines.examples import Fields, JsonObject
from pipelines.families.composite import digest
from pipelines.formatting import some
from pipelines.runs.run import Run

MANIFEST = "job.json"
LOCK = ".lock"


def identity_of(
    *, run: Run, job: Job, columns: Columns, shards: Sequence[Shard], names: ColumnNames | None
) -> JsonObject:
    """What `job.json` says of a job."""
    _, folder = run.model_folder()
    return {
        "run": {"folder": str(Path(job.run_dir).resolve()), "model_sha256": digest(folder)},
        "input": without_passwords(job.input),
        "format": {"input": job.format, "output": job.ending},
        "options": {
            "batch_tokens": job.batch_tokens,
            "min_score": job.min_score,
            # Those of this process and of Ray write the same bytes.
            "engine": "vllm" if job.server else None,
            "text_column": columns.text_column,
            "pair_column": columns.pair_column,
            "id_column": columns.id_column,
        },
        "columns": None if names is None else asdict(names),
        "shards": [
            {
                "name": shard.name,
                "size": shard.size,
                "stamp": shard.stamp,
                "output": job.output_name(shard),
            }
            for shard in shards
        ],
    }


def read_manifest(folder: OutputFolder, present: set[str], *, resume: bool) -> JsonObject | None:
    """The manifest of an earlier start, `None` where no shard is finished.

    Raises:
        UserError: when the folder holds other files, or a job that is not to be resumed.
    """
    visible = sorted(name for name in present if not name.rpartition("/")[2].startswith("."))
    if MANIFEST not in present:
        if visible:
            raise UserError(
                f"{folder.url}: holds {some(visible, 3)}, and no {MANIFEST}; wanted an empty or a "
                "new folder"
            )
        return None
    try:
        content = json.loads(folder.read(MANIFEST))
        outputs = {row["output"] for row in content["shards"]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder.url}/{MANIFEST}: damaged ({type(error).__name__}: {error}); give another "
            "folder"
        ) from None
    if not outputs & present:
        return None  # it ended before its first shard: nothing of it would be mixed in
    if not resume:
        finished = f"{len(outputs & present)} of {counted(len(outputs), 'shard')}"
        raise UserError(
            f"{folder.url}: holds {finished} of a job; --resume goes on with it, or give another "
            "folder"
        )
    manifest: JsonObject = content
    return manifest


def refuse_other_job(folder: OutputFolder, old: Fields, new: Fields, present: set[str]) -> None:
    """Requires that all finished output is of this job, of shards that have not changed since.

    Shards without output may have changed, and others may have come: they are still to be read.

    Raises:
        UserError: naming all differences.
    """
    changed = []
    for part in ("run", "format", "options"):
        before, now = old.get(part, {}), new[part]
        keys = [key for key in now if key != "folder" and before.get(key) != now[key]]
        changed += [f"{part} {key} was {before.get(key)}, is {now[key]}" for key in keys]
    shards = {shard["name"]: shard for shard in new["shards"]}
    finished = [shard for shard in old["shards"] if shard["output"] in present]
    gone = [shard["name"] for shard in finished if shard["name"] not in shards]
    other = [shard["name"] for shard in finished if shards.get(shard["name"], shard) != shard]
    if gone:
        changed.append(f"its output is of shards that the input lacks: {some(gone, 3)}")
    if other:
        changed.append(f"shards changed since they were answered: {some(other, 3)}")
    if changed:
        raise UserError(
            f"{folder.url}: holds another job's shards ({'; '.join(changed)}); give another folder"
        )
