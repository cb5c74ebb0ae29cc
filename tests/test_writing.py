"""Writing: a file appears whole or not at all, where it was asked for, and never over what is not a file."""

import json
import os
import stat
import subprocess
import sys
import threading

import pytest

from pipelines.corpora.writing import replacing
from pipelines.errors import UserError


def write(path, content="new", **options):
    with replacing(path, **options) as f:
        f.write(content)


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "deep").mkdir()
    target, link = tmp_path / "deep" / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to("deep/target.json")
    write(link)
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["deep", "link.json"]
    assert os.listdir(tmp_path / "deep") == ["target.json"]


def test_a_link_to_a_file_that_is_not_there_makes_it(tmp_path):
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "absent" / "target.json")
    write(link)
    assert link.is_symlink()
    assert (tmp_path / "absent" / "target.json").read_text() == "new"


def test_what_is_no_file_is_refused_and_left_alone(tmp_path):
    folder, fifo, loop = tmp_path / "folder", tmp_path / "fifo", tmp_path / "loop"
    folder.mkdir()
    os.mkfifo(fifo)
    loop.symlink_to(loop)
    link = tmp_path / "link"
    link.symlink_to(os.devnull)
    for path, message in (
        (folder, "a folder"),
        (fifo, "a device, pipe or socket"),
        (loop, "a link to itself"),
        (os.devnull, "a device"),
        (link, "a device"),
    ):
        with pytest.raises(UserError, match=message) as raised:
            write(path)
        assert str(raised.value).startswith(f"{path}: ")
        assert "\n" not in str(raised.value)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["fifo", "folder", "link", "loop"]


@pytest.mark.parametrize(
    "name", ["in.json", "./in.json", "link.json", "hard.json", "sub/../in.json"]
)
def test_a_command_never_writes_on_its_own_input(name, tmp_path):
    source = tmp_path / "in.json"
    source.write_text("kept")
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.json").symlink_to(source)
    os.link(source, tmp_path / "hard.json")
    with pytest.raises(UserError, match="own inputs"):
        write(os.path.join(tmp_path, name), inputs=[tmp_path / "other", source])
    assert source.read_text() == "kept"
    write(tmp_path / "out.json", inputs=[source])
    assert (tmp_path / "out.json").read_text() == "new"


def test_an_input_that_is_absent_must_not_be_made_either(tmp_path):
    with pytest.raises(UserError, match="own inputs"):
        write(tmp_path / "a", inputs=[tmp_path / "b" / ".." / "a"])


def test_permissions_stay_and_new_files_have_the_usual_ones(tmp_path):
    secret = tmp_path / "secret.json"
    secret.touch(mode=0o600)
    write(secret)
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    usual = tmp_path / "usual"
    usual.touch()
    write(tmp_path / "new")
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


def test_threads_that_write_one_file_leave_one_of_their_contents(tmp_path):
    path = tmp_path / "file"
    contents = [str(number) * 10_000 for number in range(8)]
    threads = [threading.Thread(target=write, args=(path, content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in contents
    assert os.listdir(tmp_path) == ["file"]


def test_the_longest_name_can_be_written(tmp_path):
    write(tmp_path / ("ä" * 127))
    assert os.listdir(tmp_path) == ["ä" * 127]


CODE = """
from pipelines.corpora.writing import replacing
with replacing("-", {mode!r}) as f:
    f.write({content!r})
    if {fails}: raise ValueError
"""


@pytest.mark.parametrize(
    ("mode", "content", "fails", "out"),
    [
        ("w", "é\r\n", False, "é\r\n".encode()),
        ("wb", b"\xff\0", False, b"\xff\0"),
        ("w", "half", True, b""),
    ],
)
def test_a_hyphen_is_standard_output_which_gets_all_or_nothing(mode, content, fails, out):
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(mode=mode, content=content, fails=fails)],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert done.stdout == out
    assert done.returncode == fails


def test_standard_output_can_be_captured(capfd):
    with replacing("-") as f:
        json.dump({"a": 1}, f)
    assert capfd.readouterr().out == '{"a": 1}'
    assert not os.path.exists("-")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_the_old_file_stays_when_the_new_one_fails(error, tmp_path):
    path = tmp_path / "deep" / "file.json"
    with replacing(path) as f:
        f.write("old")
    with pytest.raises(error), replacing(path) as f:  # noqa: PT012 (the body of `replacing` is what fails)
        f.write("new")
        f.flush()
        raise error("halfway")
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_nobody_sees_half_a_file(tmp_path):
    path = tmp_path / "file.bin"
    with replacing(path, "wb") as f:
        f.write(b"new")
        f.flush()
        assert not path.exists()
    assert path.read_bytes() == b"new"


def test_a_new_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").write_text(json.dumps({}))
    with replacing(tmp_path / "ours") as f:
        f.write("{}")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "usual").stat().st_mode
    )
