"""Sends requests to `pipelines demo` all at once, several times, and measures its memory.

    python benchmarks/demo_requests.py
    python benchmarks/demo_requests.py --run runs/tagger --requests 1000 --rounds 5

Each request is a POST that queues a text and a GET that stays open until its answer is there; all
of a round are open together, on loopback. Without `--run` a dictionary is trained on the sample
corpus. Prints a line a round; memory that stays flat after the first rounds is no leak.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
TEXT = "Parkinson disease in a 55-year-old woman, case {number}: ataxia and <b>dementia</b>."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--run", help="run folder (default: a dictionary of the sample corpus)")
    parser.add_argument("--requests", type=int, default=1000, help="of a round (default: 1000)")
    parser.add_argument("--rounds", type=int, default=5, help="(default: 5)")
    parser.add_argument("--queue", type=int, default=1000, help="of the server (default: 1000)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or _train(Path(folder) / "dictionary")
        server = _start(run, options.queue)
        try:
            address = _address(server)
            asyncio.run(_rounds(address, server.pid, options.requests, options.rounds))
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait()
    return 0


def _train(folder: Path) -> str:
    recipe = str(ROOT / "recipes" / "train_tagger.py")
    command = [sys.executable, recipe, "--network", "dictionary", "--run_dir", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT, capture_output=True)
    return str(folder)


def _start(run: str, queue: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pipelines.cli", "demo", "--run", run, "--port", "0"]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command += ["--queue", str(queue)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stdout
    found = re.match(r"(http://\S+?)/?;", server.stdout.readline())
    if found is None:
        raise SystemExit("the server did not start")
    return found[1]


async def _rounds(address: str, pid: int, requests: int, rounds: int) -> None:
    process = psutil.Process(pid)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=600) as client:
        await _ask(client, 0)
        print(f"before: {_memory(process)} MiB, {process.num_threads()} threads", flush=True)
        for number in range(1, rounds + 1):
            started = time.perf_counter()
            outcomes = Counter(await asyncio.gather(*(_ask(client, n) for n in range(requests))))
            seconds = time.perf_counter() - started
            counted = ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
            memory = f"{_memory(process)} MiB, {process.num_threads()} threads"
            print(f"round {number}: {counted}; {seconds:.1f} s; {memory}", flush=True)


async def _ask(client: httpx.AsyncClient, number: int) -> str:
    """Sends one text, waits for its answer and says what came of it."""
    text = TEXT.format(number=number)
    queued = await client.post("/gradio_api/call/predict", json={"data": [text, "", ""]})
    if queued.status_code != 200:
        return f"refused with {queued.status_code} ({queued.text[:60]})"
    event = queued.json()["event_id"]
    answer = await client.get(f"/gradio_api/call/predict/{event}")
    lines = answer.text.split("\n")
    if "event: complete" not in lines:
        return f"failed ({answer.text[:60]!r})"
    data = next(line for line in lines if line.startswith("data: ["))
    return "answered" if "spans" in json.loads(data.removeprefix("data: "))[0] else "empty"


def _memory(process: psutil.Process) -> int:
    return int(process.memory_info().rss / 2**20)


if __name__ == "__main__":
    raise SystemExit(main())
