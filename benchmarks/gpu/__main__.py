"""Checks and measures what a GPU does here, in under 8 minutes: `make gpu-check`.

    python benchmarks/gpu                                   # all parts
    python benchmarks/gpu --parts correctness sft --output gpu.json
    python benchmarks/gpu --small                           # tiny shapes: whether it runs at all

Nothing is fetched: weights are random, in the shape of TinyLlama (1.1 B) and BERT-base, the texts
are those of the sample corpus, and SmolLM2 is read where `local:smollm2` is installed. Each part
runs in a process of its own within a time limit; what it measured before an error or the limit
counts. A library that is missing skips its cases by name. Without a GPU all is small, and no
figure says anything about speed. The exit code is 1 where a check of `correctness` did not pass.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

# Part -> seconds that it may take: 7.5 minutes together.
PARTS = {
    "correctness": 75.0,
    "sft": 190.0,
    "qlora": 60.0,
    "fp16": 35.0,
    "generation": 55.0,
    "encoders": 35.0,
}
LIBRARIES = (
    "torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "llguidance",
    "flash-attn", "liger-kernel", "triton",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--small", action="store_true", help="tiny shapes, on a GPU too")
    parser.add_argument("--output", type=Path, help="write the rows as JSON")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)  # of one part, in its process
    options = parser.parse_args(arguments)
    if options.rows:
        run_part(options.parts[0], options.rows, small=options.small)
        return 0
    from gpu.rows import Row, read_rows, table

    machine = describe_machine()
    print(machine["device"], "  ".join(f"{k} {v}" for k, v in machine["libraries"].items()))
    rows: list[Row] = []
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for number, name in enumerate(options.parts, start=1):
            print(f"[{number}/{len(options.parts)}] {name}", file=sys.stderr, flush=True)
            path = Path(folder) / f"{name}.jsonl"
            reason = in_own_process(name, path, small=options.small)
            rows += read_rows(path)
            if reason:
                rows.append(Row(name, "the part itself", "error", reason=reason))
    print("\n".join(table(rows)))
    print(f"{time.monotonic() - start:.0f} s")
    if machine["device"] == "cpu":
        print("no GPU: tiny shapes, so that no figure says anything about speed")
    if options.output:
        content = {**machine, "rows": [vars(row) for row in rows]}
        options.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    checks = [row for row in rows if row.part == "correctness"]
    return int(any(row.status in ("failed", "error") for row in checks))


def describe_machine() -> dict:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    libraries = {}
    for name in LIBRARIES:
        try:
            libraries[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            libraries[name] = "-"
    return {"device": device, "python": platform.python_version(), "libraries": libraries}


def limit_of(name: str) -> float:
    """Seconds of a part; longer without a GPU, where the limit only ends what hangs."""
    import torch

    return PARTS[name] * (1 if torch.cuda.is_available() else 8)


def in_own_process(name: str, path: Path, *, small: bool) -> str:
    """Runs a part in a process of its own; why it ended early, or nothing."""
    command = [sys.executable, __file__, "--parts", name, "--rows", str(path)]
    quiet = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "PYTHONWARNINGS": "ignore"}
    # Deterministic products of matrices ask for it; it has to be set before CUDA starts.
    quiet["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    process = subprocess.Popen(
        command + ["--small"] * small, env=os.environ | quiet, start_new_session=True
    )
    limit = limit_of(name) + 10  # the part itself starts no case past its limit
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return f"stopped after {limit:.0f} s"
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return f"exit code {code}" if code else ""


def run_part(name: str, path: Path, *, small: bool) -> None:
    """Runs a part in this process and writes its rows to a file."""
    import torch

    from gpu.inputs import Setting
    from gpu.rows import Recorder

    device = "cuda" if torch.cuda.is_available() else "cpu"
    recorder = Recorder(name, path, limit_of(name))
    try:
        part = importlib.import_module(f"gpu.{name}")
    except ImportError as error:
        recorder.skip("all", f"needs {error.name or error}")
        return
    with tempfile.TemporaryDirectory() as folder:
        part.run(Setting(device, small or device == "cpu", Path(folder)), recorder)


if __name__ == "__main__":
    sys.exit(main())
