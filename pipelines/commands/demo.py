"""Shows one run, or two side by side, on a page: paste a text, drop a file, or use its HTTP API.

pipelines demo --run runs/tagger
pipelines demo --run runs/crf --run runs/tagger --port 7861
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from importlib.util import find_spec

from pipelines.errors import UserError

HELP = "show one run, or two side by side, on a page with an HTTP API"
PASSWORD = "PIPELINES_DEMO_PASSWORD"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
SHORTEST_PASSWORD = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "--run",
        required=True,
        action="append",
        dest="runs",
        metavar="RUN",
        help="run folder, with model/ or merged/; given twice, both models answer side by side",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default: 127.0.0.1, this machine only); another one needs a "
        f"password, from the variable {PASSWORD} or asked for",
    )
    parser.add_argument("--port", type=int, default=7860, help="0 takes a free one (default: 7860)")
    parser.add_argument(
        "--share",
        action="store_true",
        help="a public address through Gradio's servers, for a week at most; needs a password",
    )
    parser.add_argument(
        "--max_chars", type=int, default=20_000, help="characters of a text (default: 20000)"
    )
    parser.add_argument(
        "--max_file_mb", type=float, default=10.0, help="size of a file, in MB (default: 10)"
    )
    parser.add_argument(
        "--queue", type=int, default=1000, help="requests that may wait (default: 1000)"
    )


def run(options: argparse.Namespace) -> int:
    _check(options)
    if find_spec("gradio") is None:
        raise UserError(
            "gradio is not installed; install it by `pip install 'ner-pipelines[demo]'`"
        )
    password = os.environ.pop(PASSWORD, None)
    is_open = options.share or options.host not in LOOPBACK
    if is_open and password is None:
        password = _asked_password()
    if password is not None and len(password) < SHORTEST_PASSWORD:
        raise UserError(
            f"got a password of {len(password)} characters; wanted {SHORTEST_PASSWORD} or more"
        )
    from pipelines.demo.answering import open_runs
    from pipelines.demo.server import USER, Serving, serving, wait_for_end

    settings = Serving(
        host=options.host,
        port=options.port,
        share=options.share,
        password=password,
        max_chars=options.max_chars,
        max_file_mb=options.max_file_mb,
        queue=options.queue,
    )
    with serving(open_runs(options.runs), settings) as address:
        login = f", user {USER}" if password else ""
        print(f"{address}{login}; its API: docs/demo.md; Ctrl+C stops it", flush=True)
        wait_for_end()
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuses limits that nothing could pass, all of them at once."""
    faults = [
        f"got --{name} {getattr(options, name)}; wanted more than 0"
        for name in ("max_chars", "max_file_mb", "queue")
        if not getattr(options, name) > 0
    ]
    if not 0 <= options.port < 65536:
        faults.append(f"got --port {options.port}; wanted 0 to 65535")
    if len(options.runs) > 2:
        faults.append(f"got --run {len(options.runs)} times; wanted one or two")
    if faults:
        raise UserError("\n".join(faults))


def _asked_password() -> str:
    if not sys.stdin.isatty():
        raise UserError(
            f"the page would be open to others: set a password in the variable {PASSWORD}"
        )
    return getpass.getpass("Password for the page: ")
