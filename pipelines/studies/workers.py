"""Commands in processes of their own, several at a time, which end with this process."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol

from pipelines.errors import close_progress_bars
from pipelines.runs.lock import Interrupted

logger = logging.getLogger(__name__)

FIRST_GUESS = 2 * 2**30  # bytes that a run needs, before one has finished
POLL_SECONDS = 0.1
SECONDS_TO_END = 20  # after SIGTERM
# Asks Linux to end the process with its parent (prctl(2), PR_SET_PDEATHSIG), however that ends:
# what is left over would hold the run's folder.
TIED_TO_PARENT = (
    "import ctypes, os, signal, sys\n"
    "ctypes.CDLL(None).prctl(1, signal.SIGKILL)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])"
)


@dataclass(frozen=True)
class Command:
    """A command for a process of its own.

    Attributes:
        name: what it is called in the log.
        words: the command line.
        log: the file that gets its output.
    """

    name: str
    words: Sequence[str]
    log: Path


@dataclass
class Worker:
    """A command that runs."""

    command: Command
    process: subprocess.Popen[bytes]
    slot: int
    begin: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begin


def default_jobs() -> int:
    """How many runs fit side by side: one a GPU, else by cores and free memory."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.device_count()
    return max(1, min(cores(), free_memory() // FIRST_GUESS))


def cores() -> int:
    """The cores that this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def free_memory() -> int:
    """Bytes that new processes can take without swapping; much where the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            name, _, amount = line.partition(":")
            if name == "MemAvailable":
                return int(amount.split()[0]) * 1024
    return 2**50


class Stoppable(Protocol):
    """What runs commands, and ends them when told to."""

    def stop(self) -> None: ...


def start_process(command: Command, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts a command; its output goes to its log, and it ends with this process."""
    command.log.parent.mkdir(parents=True, exist_ok=True)
    words = list(command.words)
    if sys.platform == "linux":
        words = [sys.executable, "-c", TIED_TO_PARENT, str(os.getpid()), *words]
    with open(command.log, "wb") as log:
        return subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | variables,
            start_new_session=True,  # Ctrl-C is for this process, which ends the others
        )


def environment(slot: int, jobs: int) -> dict[str, str]:
    """Variables that give a process its share of the threads, and one GPU of several.

    Args:
        slot: the process' place among those that run.
        jobs: how many run at a time.
    """
    threads = str(max(1, cores() // jobs))
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    variables = dict.fromkeys(names, threads)
    gpus = _visible_gpus()
    if len(gpus) > 1:
        variables["CUDA_VISIBLE_DEVICES"] = gpus[slot % len(gpus)]
    return variables


def end_processes(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends processes and what they started: politely, and after a while at once."""
    left = list(processes)
    for number, patience in ((signal.SIGTERM, SECONDS_TO_END), (signal.SIGKILL, None)):
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        for process in left:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
        left = [process for process in left if process.poll() is None]


class Workers:
    """At most `jobs` commands at a time; the threads of the machine are divided among them."""

    def __init__(self, jobs: int):
        self.jobs = jobs
        self.running: list[Worker] = []
        self.need = 0  # bytes of the largest run so far

    def may_start(self) -> bool:
        """Whether there is a free place, and memory for another run as large as the largest."""
        if not self.running:
            return True
        return len(self.running) < self.jobs and free_memory() > self.need

    def start(self, command: Command) -> None:
        """Starts a command; its output goes to its log."""
        taken = {worker.slot for worker in self.running}
        slot = next(number for number in range(self.jobs) if number not in taken)
        process = start_process(command, environment(slot, self.jobs))
        self.running.append(Worker(command, process, slot))

    def wait(self) -> list[Worker]:
        """Waits until a command has ended; returns all that have."""
        while True:
            ended = [worker for worker in self.running if worker.process.poll() is not None]
            if ended:
                self.running = [worker for worker in self.running if worker not in ended]
                return ended
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Ends all commands: politely, and after a while at once."""
        end_processes([worker.process for worker in self.running])
        self.running = []


def _visible_gpus() -> list[str]:
    """The GPUs that this process sees, as `CUDA_VISIBLE_DEVICES` names them."""
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    return [str(number) for number in range(torch.cuda.device_count())]


def reason_of_failure(code: int, log: Path) -> str:
    """Why a command failed, in one line: its own last words, or the signal that ended it.

    Args:
        code: its exit code.
        log: its output.
    """
    if code < 0:
        name = signal.Signals(-code).name
        return f"ended by {name}{' (out of memory?)' if -code == signal.SIGKILL else ''}"
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    last = (errors or lines or [f"exit code {code}"])[-1]
    return last.removeprefix("error:").strip()


@contextlib.contextmanager
def ending_workers(workers: Stoppable, state: Callable[[], str]) -> Iterator[None]:
    """Ends the commands with this process; on SIGINT or SIGTERM with one line and its exit code.

    Args:
        state: what is finished, and how to go on, for that line.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    except Interrupted as stop:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        close_progress_bars()
        workers.stop()
        logger.warning("interrupted by %s: %s", stop, state())
        sys.exit(128 + stop.number)
    finally:
        workers.stop()
        for number, handler in before.items():
            signal.signal(number, handler)
