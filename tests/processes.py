"""Runs command lines of recipes in N processes: `python tests/processes.py N PLAN.json FOLDER`.

The libraries are loaded once, and the processes are forks with the variables that `accelerate
launch` sets by recipes/accelerate/cpu2.yaml: a launch of their own for each would take 20 seconds.
The plan is a list of `[recipe, [arguments]]`. Each process writes `FOLDER/RANK.json`: for each
command its exit code and what it wrote to stderr.
"""

import io
import json
import os
import socket
import sys
import traceback
from contextlib import redirect_stderr
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


def fork(count: int, work) -> list[int]:
    """Calls `work(rank)` in each of several processes; their exit codes."""
    os.environ |= {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "ACCELERATE_USE_CPU": "true",
        "ACCELERATE_MIXED_PRECISION": "no",
    }
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            try:
                work(rank)
                code = 0
            except BaseException:
                traceback.print_exc()
                code = 1
            sys.stderr.flush()
            os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def float32_is_faster(dtype) -> float:
    """Stands in for the trial of dtypes: sums of bf16 depend on how rows are batched."""
    return 0.0 if "float32" in str(dtype) else 1.0


def run_commands(plan: list, folder: Path, rank: int) -> None:
    import torch.distributed
    from conftest import load_recipe

    from pipelines.networks import precision

    precision._matmul_seconds = float32_is_faster
    done = []
    for name, arguments in plan:
        sys.argv = [f"{name}.py", *arguments]
        stderr, code = io.StringIO(), 0
        with redirect_stderr(stderr):
            try:
                load_recipe(name).main()
            except SystemExit as stop:
                code = stop.code
            except BaseException:
                traceback.print_exc()
                code = "crashed"
        done.append([code, stderr.getvalue()])
        (folder / f"{rank}.json").write_text(json.dumps(done))
        if torch.distributed.is_initialized():
            torch.distributed.barrier()


if __name__ == "__main__":
    import trl  # noqa: F401 - and with it all else, before the forks

    count, plan, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    commands = json.loads(Path(plan).read_text())
    sys.exit(max(map(abs, fork(count, lambda rank: run_commands(commands, folder, rank)))))
