"""Answers shards on a Ray cluster: an actor for each device or core, a shard for each actor.

These are plain actors, not Ray Data: its `map_batches` would scatter the rows of a shard over
blocks, and its writers name files by task and block, so that one output for each input, a rename at
its end and resumption by shard are not to be had from it. Here the rows never travel: an actor
reads, answers and writes a shard by itself. The driver asks each actor for one batch at a time, so
that one batch an actor is in flight, and hears of a death at the next.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.bulk.shards import Shard
from pipelines.bulk.worker import Job, Progress, Worker
from pipelines.corpora.corpus import counted
from pipelines.errors import UserError
from pipelines.runs.ray_cluster import LOCAL, join_cluster

if TYPE_CHECKING:
    import ray

logger = logging.getLogger(__name__)

MAX_DEATHS = 3  # of workers on one shard, which then is to blame
SECONDS_OF_PATIENCE = 60


class ShardActor:
    """A `Worker` in a process of its own, which goes on by a batch when it is asked to."""

    def __init__(self, job: Job):
        # Tokenizers would start a thread for each core of the machine, in each worker.
        os.environ.setdefault("RAYON_NUM_THREADS", "1")
        self.job = job
        self.worker: Worker | None = None
        self.shard: Shard | None = None
        self.work: Iterator[Progress] = iter(())

    def load(self) -> str | None:
        """Loads the model; returns why that cannot be done."""
        try:
            self.worker = Worker(self.job)
        except UserError as error:
            return str(error)
        return None

    def advance(self, shard: Shard) -> Progress:
        """Answers the next batch of a shard."""
        assert self.worker is not None
        if shard != self.shard:
            self.shard, self.work = shard, self.worker.answer(shard)
        return next(self.work)


class Pool:
    """The actors and what each is asked for."""

    def __init__(self, job: Job, *, gpus: int):
        import ray

        self.job = job
        # Ray sets OMP_NUM_THREADS to the cores of an actor: each computes with one thread. A death
        # is ours to handle: Ray would repeat a batch in an actor that has not begun the shard.
        self.remote: Any = ray.remote(
            num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0
        )(ShardActor)
        # What is awaited -> the actor, and its shard; no shard while it loads the model.
        self.asked: dict[ray.ObjectRef, tuple[Any, Shard | None]] = {}

    def add_actor(self) -> None:
        actor = self.remote.remote(self.job)
        self.asked[actor.load.remote()] = actor, None

    def ask(self, actor: Any, shard: Shard) -> None:
        self.asked[actor.advance.remote(shard)] = actor, shard

    def answers(self) -> Iterator[tuple[Any, Shard | None, Any]]:
        """(actor, shard, answer) of those that have answered; an exception where one has died."""
        import ray

        ready, _ = ray.wait(list(self.asked), timeout=SECONDS_OF_PATIENCE)
        n_waiting = sum(shard is None for _, shard in self.asked.values())
        if not ready and n_waiting:
            _refuse_dead_cluster()
            free = ray.available_resources()
            logger.warning(
                "%s not started yet; free on the cluster: %g cores, %g GPUs",
                counted(n_waiting, "worker"),
                free.get("CPU", 0),
                free.get("GPU", 0),
            )
        for reference in ready:
            actor, shard = self.asked.pop(reference)
            try:
                yield actor, shard, ray.get(reference)
            except (ray.exceptions.RayActorError, ray.exceptions.OutOfMemoryError) as error:
                yield actor, shard, error

    def close(self) -> None:
        import ray

        for actor, _ in self.asked.values():
            ray.kill(actor)


def ray_progress(
    job: Job, shards: Sequence[Shard], *, address: str, workers: int | None
) -> Generator[tuple[Shard, Progress], None, None]:
    """Answers shards, the largest first, and says of each batch what became of it.

    Args:
        address: see `join_cluster`.
        workers: actors; default: one for each GPU of the cluster, without any for each core.

    Raises:
        UserError: where the cluster cannot be reached, is too small or dies, or the model is not
            loaded.
    """
    import_ray_or_say_so()
    import ray

    was_connected = ray.is_initialized()
    if not was_connected:
        join_cluster(address, cores=workers if address == LOCAL else None)
    try:
        count, gpus = _workers(workers)
        count = min(count, len(shards))
        kind = "one GPU and one core" if gpus else "one core"
        logger.info("Ray: %s of %s", counted(count, "worker"), kind)
        yield from _progress(Pool(job, gpus=gpus), shards, count)
    finally:
        if not was_connected:
            ray.shutdown()


def import_ray_or_say_so() -> None:
    """Raises a `UserError` where Ray is not installed."""
    try:
        import ray  # noqa: F401
    except ImportError:
        raise UserError(
            "--engine ray needs Ray, which is not installed; pip install 'ner-pipelines[ray]' or "
            "'ray>=2.50,<3'"
        ) from None


def _workers(asked: int | None) -> tuple[int, int]:
    """The number of actors, and the GPUs of each: one, or none where the cluster has none."""
    import ray

    total = ray.cluster_resources()
    gpus, cores = int(total.get("GPU", 0)), int(total.get("CPU", 0))
    has_room = gpus or cores
    if asked is not None and asked > has_room:
        kind = "GPU" if gpus else "core"
        raise UserError(
            f"got --workers {asked}; the cluster has {counted(has_room, kind)}, and each worker "
            "takes one"
        )
    return asked or max(1, has_room), min(gpus, 1)


def _refuse_dead_cluster() -> None:
    """Raises a `UserError` where no machine of the cluster is alive: no worker can start."""
    import ray

    if not any(node["Alive"] for node in ray.nodes()):
        raise UserError(
            "the Ray cluster has no machine left; wanted one for the workers; what is finished is "
            "kept: repeat the command with --resume"
        )


def _progress(pool: Pool, shards: Sequence[Shard], count: int) -> Iterator[tuple[Shard, Progress]]:
    queue = deque(sorted(shards, key=lambda shard: -shard.size))
    deaths: dict[Shard | None, int] = {}
    for _ in range(count):
        pool.add_actor()
    try:
        while pool.asked:
            for actor, shard, answer in pool.answers():
                if isinstance(answer, Exception):
                    deaths[shard] = deaths.get(shard, 0) + 1
                    yield from _after_death(shard, deaths[shard], answer, queue)
                    pool.add_actor()
                    continue
                if shard is None:
                    if answer is not None:
                        raise UserError(answer)
                else:
                    yield shard, answer
                    if not (answer.finished or answer.fault):
                        pool.ask(actor, shard)
                        continue
                if queue:
                    pool.ask(actor, queue.popleft())
    finally:
        pool.close()


def _after_death(
    shard: Shard | None, n_deaths: int, error: Exception, queue: deque[Shard]
) -> Iterator[tuple[Shard, Progress]]:
    """Puts the shard of a dead worker back, unless it has killed several."""
    reason = " ".join(str(error).split())[:200]
    if shard is None:
        if n_deaths >= MAX_DEATHS:
            raise UserError(f"{n_deaths} workers died while they loaded the model: {reason}")
    elif n_deaths < MAX_DEATHS:
        logger.warning("%s: its worker died; another one begins it anew", shard.path)
        queue.appendleft(shard)
        yield shard, Progress(lost=True)
    else:
        yield shard, Progress(lost=True)
        yield shard, Progress(fault=f"{shard.path}: {n_deaths} workers died on it: {reason}")
