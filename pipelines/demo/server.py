"""Serves the page from a temporary folder, until it is interrupted."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from pipelines.demo.answering import ServedRun
from pipelines.errors import UserError

if TYPE_CHECKING:
    import gradio

USER = "demo"
MB = 1_000_000
# Gradio writes, asks and shows by these; what its own variables say is not asked for here.
ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "GRADIO_SHARE": "False",
    "GRADIO_NUM_WORKERS": "0",
    "GRADIO_ALLOWED_PATHS": "",
    "GRADIO_ROOT_PATH": "",
    # Gradio remembers 10,000 requests by default, at some 10 KiB each.
    "GRADIO_ANALYTICS_MAX_EVENTS": "100",
}


@dataclass(frozen=True, slots=True)
class Serving:
    """Where the page is, and what it reads at most.

    Attributes:
        port: 0 takes a free one.
        password: of the user `demo`; None asks for none.
        max_chars: of a text.
        max_file_mb: of a file, in millions of bytes.
        queue: requests that may wait.
    """

    host: str = "127.0.0.1"
    port: int = 7860
    share: bool = False
    password: str | None = None
    max_chars: int = 20_000
    max_file_mb: float = 10.0
    queue: int = 1_000


@contextmanager
def serving(runs: Sequence[ServedRun], options: Serving) -> Iterator[str]:
    """Serves the page while the body runs, and removes what was uploaded and written.

    Yields:
        The address.

    Raises:
        UserError: when the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="pipelines-demo-") as name:
        folder = Path(name)
        os.environ |= {
            **ENVIRONMENT,
            "GRADIO_TEMP_DIR": str(folder),
            "GRADIO_EXAMPLES_CACHE": str(folder / "examples"),
        }
        from pipelines.demo import page  # reads the environment when it is imported

        blocks = page.build(
            runs,
            folder=folder,
            max_chars=options.max_chars,
            max_file_mb=options.max_file_mb,
            queue=options.queue,
        )
        try:
            address = _launch(blocks, options, folder)
            yield address
        finally:
            blocks.close(verbose=False)


def _launch(blocks: gradio.Blocks, options: Serving, folder: Path) -> str:
    from gradio import networking, tunneling
    from starlette.middleware import Middleware

    from pipelines.demo.limits import Limits
    from pipelines.demo.marking import STYLE
    from pipelines.demo.page import size_check, theme

    # A tunnel is a program that Gradio downloads, and a certificate: they go with the rest.
    tunneling.BINARY_FOLDER = folder / "tunnel"
    tunneling.BINARY_PATH = str(tunneling.BINARY_FOLDER / tunneling.BINARY_FILENAME)
    networking.CERTIFICATE_PATH = str(folder / "tunnel" / "certificate.pem")
    most = int(options.max_file_mb * MB)
    limits = Middleware(Limits, max_chars=options.max_chars, max_file_bytes=most)
    try:
        _, local, public = blocks.launch(
            server_name=options.host,
            server_port=options.port or None,
            share=options.share,
            auth=(USER, options.password) if options.password else None,
            max_file_size=most,
            app_kwargs={"middleware": [limits]},
            theme=theme(),
            css=STYLE,
            head=size_check(options.max_file_mb),
            footer_links=["api"],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            inbrowser=False,
            quiet=True,
            prevent_thread_lock=True,
            state_session_capacity=100,
            # No request to the page itself, which fails behind a proxy and on a busy machine.
            _frontend=False,
        )
    except OSError as error:
        raise UserError(
            f"port {options.port} of {options.host}: {error}; give another --port, 0 for a free one"
        ) from None
    return public or local


def wait_for_end() -> None:
    """Waits for an interrupt or a termination, after either of which the work is cleaned up."""
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    ended.wait()
    print("stopping", file=sys.stderr)
