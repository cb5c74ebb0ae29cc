"""Runs the commands of a choice on a Ray cluster whose machines share its folder."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.runs.ray_cluster import LOCAL, join_cluster
from pipelines.studies.choice.runners import Beat, Ended, Stopped
from pipelines.studies.workers import (
    Command,
    cores,
    end_processes,
    reason_of_failure,
    start_process,
)

if TYPE_CHECKING:
    import ray

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2


class RayRunner:
    """Each command is a Ray task; so it runs where the cluster has room for it."""

    def __init__(self, jobs: int, *, address: str):
        """Joins a cluster.

        Args:
            jobs: commands at a time.
            address: `local` for one on this machine, `auto`, or an address such as
                `ray://host:10001`.

        Raises:
            UserError: where Ray is not installed or the cluster cannot be reached.
        """
        join_cluster(address)
        import ray

        self.jobs = jobs
        self._is_stopped = False
        self._tasks: set[ray.ObjectRef] = set()
        self._lock = threading.Lock()
        total = ray.cluster_resources()
        self._cores = max(1, int(total.get("CPU", 1)) // jobs if address == LOCAL else cores())
        self._gpus = 1 if total.get("GPU") else 0
        logger.info("Ray: %g cores, %g GPUs", total.get("CPU", 0), total.get("GPU", 0))

    def run(self, command: Command, *, limit: Callable[[], float], beat: Beat) -> Ended:
        """See `Runner.run`."""
        import ray

        task = self._start(command)
        last = time.monotonic()
        while not ray.wait([task], timeout=POLL_SECONDS)[0]:
            now = time.monotonic()
            beat(now - last)
            last = now
            if limit() <= 0:
                ray.cancel(task)
                return Ended("the budget was used up", out_of_time=True)
        with self._lock:
            self._tasks.discard(task)
        if self._is_stopped:
            raise Stopped
        try:
            code = int(ray.get(task))
        except ray.exceptions.RayError as error:
            return Ended(" ".join(str(error).split())[:200])
        beat(time.monotonic() - last)
        return Ended(reason_of_failure(code, command.log) if code else "")

    def stop(self) -> None:
        """Ends all commands that run."""
        import ray

        with self._lock:
            self._is_stopped = True
            tasks = list(self._tasks)
        for task in tasks:
            ray.cancel(task)

    def _start(self, command: Command) -> ray.ObjectRef:
        import ray

        remote = ray.remote(num_cpus=self._cores, num_gpus=self._gpus, max_retries=0)(run_words)
        with self._lock:
            if self._is_stopped:
                raise Stopped
            task = remote.remote(command.name, list(command.words), str(command.log), self._cores)
            self._tasks.add(task)
            return task


def run_words(name: str, words: list[str], log: str, threads: int) -> int:
    """Runs a command on the machine of a Ray worker; returns its exit code."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    process = start_process(Command(name, words, Path(log)), dict.fromkeys(names, str(threads)))
    try:
        return process.wait()
    finally:  # when the task is cancelled
        if process.poll() is None:
            end_processes([process])
