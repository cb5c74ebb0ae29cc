"""One run in a folder at a time, and the line and the exit code of an interrupted one."""

import errno
import fcntl
import io
import os
import signal
import socket
import threading

import pytest
from tqdm.auto import tqdm

from pipelines.errors import UserError
from pipelines.runs.lock import interruptible, run_lock

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


# The lock


def test_a_second_run_is_refused_and_names_the_first(tmp_path):
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    with run_lock(tmp_path):
        for _ in range(2):
            with pytest.raises(UserError, match=f"is in use by {holder}; wait until it ends"):
                run_lock(tmp_path).__enter__()
    with run_lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def forked(body):
    """Runs the body in a child; returns its process id once the body has begun to wait."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        body(lambda: os.write(writer, b"."))
        os._exit(0)
    assert os.read(reader, 1) == b"."
    os.close(reader)
    os.close(writer)
    return child


def test_the_lock_of_another_process_ends_with_it_when_it_is_killed(tmp_path):
    def hold(ready):
        with run_lock(tmp_path):
            ready()
            signal.pause()

    child = forked(hold)
    try:
        with pytest.raises(UserError, match=f"in use by process {child} on "):
            run_lock(tmp_path).__enter__()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    left = tmp_path / ".lock"
    assert left.read_text().startswith(f"process {child} on ")
    left.write_text("of a longer name" * 10)
    with run_lock(tmp_path):
        assert left.read_text() == f"process {os.getpid()} on {socket.gethostname()}"


def test_a_lock_file_that_its_holder_deletes_meanwhile_keeps_nobody_out_of_step(
    tmp_path, monkeypatch
):
    lock, calls = fcntl.flock, []

    def delete_first(handle, operation):
        if not calls:
            (tmp_path / ".lock").unlink()
        calls.append(handle)
        lock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", delete_first)
    with run_lock(tmp_path):
        assert len(calls) == 2
        with pytest.raises(UserError, match="in use by"):
            run_lock(tmp_path).__enter__()


def test_a_file_system_without_locks_is_reported(tmp_path, monkeypatch, caplog):
    def fail(handle, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with run_lock(tmp_path):
        assert "has no locks (No locks available); start no second run" in caplog.text


# Interruptions


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_an_interrupted_run_says_what_is_saved(number, code, tmp_path, caplog):
    for step in (9, 10):
        folder = tmp_path / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").touch()
        os.utime(folder / "manifest.json", (step, step))
    (tmp_path / "checkpoints" / "checkpoint-11").mkdir()  # cut off
    before = [signal.getsignal(other) for other, _ in SIGNALS]
    with pytest.raises(SystemExit) as stop, interruptible(tmp_path):
        os.kill(os.getpid(), number)
    assert stop.value.code == code
    [message] = caplog.messages
    assert message == (
        f"interrupted by {number.name}: {tmp_path} holds checkpoints/checkpoint-10; to continue, "
        f"run the same command with --run_dir {tmp_path} --resume_from_checkpoint true"
    )
    assert [signal.getsignal(other) for other, _ in SIGNALS] == before


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        ([], "no checkpoint is saved yet; to start again, run the same command with --run_dir "),
        (["model"], "holds model; to continue, run"),
        (["model", "else/checkpoint-2"], "holds model and else/checkpoint-2; to continue, run"),
    ],
)
def test_what_an_interrupted_run_holds(saved, expected, tmp_path, caplog):
    for name in saved:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").touch()
    checkpoints = tmp_path / "else"
    with pytest.raises(SystemExit), interruptible(tmp_path, checkpoints=checkpoints):
        os.kill(os.getpid(), signal.SIGTERM)
    assert expected in caplog.text


def test_progress_bars_are_closed_before_the_line(tmp_path):
    screen = io.StringIO()
    bar = tqdm(total=3, file=screen)
    with pytest.raises(SystemExit), interruptible(tmp_path):
        os.kill(os.getpid(), signal.SIGTERM)
    assert screen.getvalue().endswith("\n")
    bar.update()
    assert screen.getvalue().endswith("\n")


def test_a_forked_worker_ends_as_if_there_were_no_handler(tmp_path, caplog):
    def wait(ready):
        ready()
        signal.pause()

    with interruptible(tmp_path):
        child = forked(wait)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert not caplog.messages


def test_other_errors_and_other_threads_are_left_alone(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), interruptible(tmp_path):
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) == before
    done = []

    def body():
        with interruptible(tmp_path):
            done.append(True)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert done
