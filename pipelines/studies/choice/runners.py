"""Runs the commands of a choice and waits for each: here, or on a Ray cluster."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from pipelines.studies.workers import (
    Command,
    end_processes,
    environment,
    reason_of_failure,
    start_process,
)

POLL_SECONDS = 0.05
Beat = Callable[[float], None]  # gets the seconds since it was last called


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        reason: why it failed, in one line; empty where it did not.
        out_of_time: whether it was stopped at its limit.
    """

    reason: str = ""
    out_of_time: bool = False


class Stopped(Exception):
    """The choice is being stopped; nothing new is started."""


class Runner(Protocol):
    """Runs commands from several threads."""

    jobs: int

    def run(self, command: Command, *, limit: Callable[[], float], beat: Beat) -> Ended:
        """Runs a command to its end, or until `limit()` seconds are no longer left.

        Raises:
            Stopped: when the choice was stopped meanwhile.
        """

    def stop(self) -> None:
        """Ends all commands that run."""


@contextlib.contextmanager
def stopping(runner: Runner) -> Iterator[None]:
    """Ends the runner's commands when something is raised, for which threads would wait else."""
    try:
        yield
    except BaseException:
        runner.stop()
        raise


class LocalRunner:
    """Runs commands on this machine; its threads are divided among the jobs."""

    def __init__(self, jobs: int):
        self.jobs = jobs
        self._is_stopped = False
        self._slots: set[int] = set()
        self._running: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def run(self, command: Command, *, limit: Callable[[], float], beat: Beat) -> Ended:
        with self._slot() as slot:
            process = self._start(command, slot)
            last = time.monotonic()
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
                now = time.monotonic()
                beat(now - last)
                last = now
                if limit() <= 0:
                    end_processes([process])
                    return Ended("the budget was used up", out_of_time=True)
            if self._is_stopped:
                raise Stopped
            code = process.returncode
            return Ended(reason_of_failure(code, command.log) if code else "")

    def stop(self) -> None:
        with self._lock:
            self._is_stopped = True
            running = list(self._running)
        end_processes(running)

    def _start(self, command: Command, slot: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._is_stopped:
                raise Stopped
            process = start_process(command, environment(slot, self.jobs))
            self._running = [other for other in self._running if other.poll() is None]
            self._running.append(process)
            return process

    @contextlib.contextmanager
    def _slot(self) -> Iterator[int]:
        with self._lock:
            slot = next(number for number in range(self.jobs) if number not in self._slots)
            self._slots.add(slot)
        try:
            yield slot
        finally:
            with self._lock:
                self._slots.discard(slot)
