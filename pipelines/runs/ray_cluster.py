"""Joins a Ray cluster, or starts one on this machine; where that fails, one line says why."""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading

from pipelines.errors import UserError

LOCAL = "local"
SECONDS_TO_CONNECT = 10
SECONDS_TO_JOIN = 40  # Ray itself gives up after minutes, or ends the whole process after 60 s


def join_cluster(address: str, *, cores: int | None = None) -> None:
    """Connects this process, without usage statistics, dashboard and the output of workers.

    Args:
        address: `local` for a cluster on this machine, `auto`, or an address such as
            `ray://host:10001`.
        cores: of a local cluster; default: those of the machine.

    Raises:
        UserError: where Ray is not installed or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # and not its warning
    try:
        import ray  # noqa: F401
    except ImportError:
        raise UserError(
            "--ray needs Ray, which is not installed; pip install 'ray>=2.50,<3' (the extra `ray`)"
        ) from None
    _refuse_unreachable(address)
    try:
        if address == LOCAL:
            _init(None, cores)
        else:
            _init_in_time(address)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        raise _unreachable(address, error) from None


def _init(address: str | None, cores: int | None = None) -> None:
    import ray

    ray.init(
        address=address,
        num_cpus=cores,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _init_in_time(address: str) -> None:
    """`ray.init`, which waits long for what listens and does not answer as a cluster does."""
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "error")  # its warnings say no more than ours
    results: queue.Queue[BaseException | None] = queue.Queue()

    def connect() -> None:
        try:
            _init(address)
            results.put(None)
        except BaseException as error:
            results.put(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        error = results.get(timeout=SECONDS_TO_JOIN)
    except queue.Empty:
        raise TimeoutError(f"no answer of Ray within {SECONDS_TO_JOIN} s") from None
    if error is not None:
        raise error


def _refuse_unreachable(address: str) -> None:
    """Raises a `UserError` where nothing listens; Ray itself would try for minutes."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator:
        return
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_CONNECT).close()
    except (OSError, ValueError) as error:
        raise _unreachable(address, error) from None


def _unreachable(address: str, error: BaseException) -> UserError:
    reason = " ".join(str(error).split())[:200]
    return UserError(f"--ray {address}: no cluster can be reached: {reason}")
