"""`pipelines predict` on a corpus of shards: one output each, failures set aside, and what is refused."""

import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time

import fsspec
import pyarrow
import pyarrow.parquet
import pytest
from bulk_inputs import family, files, rows, write
from conftest import ROOT

from pipelines.bulk import reading, writing
from pipelines.bulk.engine import Engine, predict_shards
from pipelines.cli import main
from pipelines.corpora.corpus import ColumnNames
from pipelines.errors import UserError
from pipelines.runs.run import Run


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run whose model is `bulk_inputs.family`."""
    folder = tmp_path / "run"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights").write_text("1")
    module = family()
    monkeypatch.setattr(Run, "model_folder", lambda self: (module, self.model))
    return folder


def shards(tmp_path, **contents):
    for name, content in contents.items():
        write(tmp_path / "in" / f"{name}.jsonl", content)
    return str(tmp_path / "in" / "*.jsonl")


def command(run, pattern, out, *more):
    return main(
        ["predict", "--run", str(run), "--input", str(pattern), "--output", str(out), *more]
    )


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        command(*arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_bad_rows_are_set_aside_with_their_reasons_and_the_job_goes_on(run, tmp_path, capsys):
    content = rows(2600)
    content[17]["text"], content[1800]["text"] = "BOOM", 5
    pattern = shards(tmp_path, a=content, b=rows(3, name="b"), empty=[])
    out = tmp_path / "out"
    assert command(run, pattern, out) == 0
    answered = [json.loads(line)["id"] for line in (out / "a.jsonl").open()]
    assert answered == [row["id"] for n, row in enumerate(content) if n not in (17, 1800)]
    assert (out / "empty.jsonl").read_bytes() == b""
    assert sorted(files(out)) == ["a.jsonl", "b.jsonl", "empty.jsonl", "failed/a.jsonl", "job.json"]
    failed = [json.loads(line) for line in (out / "failed" / "a.jsonl").open()]
    assert {row["id"]: row["reason"] for row in failed} == {
        "r17": "ValueError: boom, and on two lines",
        "r1800": "wrong_type: 'text' holds a number; wanted a string",
    }
    said = capsys.readouterr()
    assert "3 of 3 shards finished; 2603 rows read" in said.out
    assert "2 rows set aside" in said.out
    assert "empty.jsonl: empty, and so is its output" in said.err


@pytest.mark.parametrize("bad", [{"text": "BOOM"}, {"text": 5}])
def test_more_failures_than_allowed_stop_the_job_and_keep_what_is_finished(
    bad, run, tmp_path, capsys
):
    content = rows(3000)
    for number in range(1500, 1600):
        content[number] |= bad
    pattern, out = shards(tmp_path, a=rows(5), b=content), tmp_path / "out"
    said = refusal(capsys, run, pattern, out, "--max_failed", "99")
    assert "more than 99 rows failed" in said
    assert "1 of 2 shards are finished, --resume does the others" in said
    assert sorted(files(out)) == ["a.jsonl", "job.json"]
    assert command(run, pattern, out, "--resume", "--max_failed", "100") == 0
    assert len((out / "failed" / "b.jsonl").read_text().splitlines()) == 100
    # What failed before counts: nothing is left to do, and nothing more may fail.
    write(tmp_path / "in" / "c.jsonl", [{"id": "x", "text": "good"}, {"id": "y", **bad}])
    assert "more than 100" in refusal(capsys, run, pattern, out, "--resume")


def test_shards_that_cannot_be_read_are_named_and_the_others_answered(run, tmp_path, capsys):
    pattern = shards(tmp_path, a=rows(20), other=[{"id": "1", "abstract": "x"}], cut=rows(20))
    folder, out = tmp_path / "in", tmp_path / "out"
    cut = folder / "cut.jsonl"
    cut.write_bytes(cut.read_bytes()[:-9])
    (folder / "binary.jsonl").write_bytes(b"\x80\xff\n")
    (folder / "prose.jsonl").write_text("No JSON at all.\n")
    said = refusal(capsys, run, pattern, out)
    assert "4 shards could not be answered; 1 of 5 shards are finished" in said
    for name, reason in {
        "cut": "cut off in line 20",
        "other": "of another schema: no column 'text'",
        "binary": "not UTF-8",
        "prose": "not one readable row",
    }.items():
        assert f"{name}.jsonl: {reason}" in said
    assert sorted(files(out)) == ["a.jsonl", "job.json"]
    # Repaired, the others are done, and what was finished is not touched.
    before = (out / "a.jsonl").stat().st_mtime_ns
    write(cut, rows(20))
    for name in ("other", "binary", "prose"):
        (folder / f"{name}.jsonl").unlink()
    assert command(run, pattern, out, "--resume") == 0
    assert (out / "a.jsonl").read_bytes() == (out / "cut.jsonl").read_bytes()
    assert (out / "a.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"No JSON at all.\n", "not one readable row at its beginning (line 1: "),
        (b"\x80\xff\n", "not UTF-8"),
        (b"[1]\n", "not one readable row at its beginning (line 1: got [1])"),
    ],
)
def test_where_no_shard_can_be_read_none_is_taken_as_empty(content, reason, run, tmp_path, capsys):
    pattern, out = shards(tmp_path, a=[], b=[]), tmp_path / "out"
    (tmp_path / "in" / "b.jsonl").write_bytes(content)
    said = refusal(capsys, run, pattern, out)
    assert "1 shard could not be answered; 1 of 2 shards are finished" in said
    assert f"b.jsonl: {reason}" in said
    assert sorted(files(out)) == ["a.jsonl", "job.json"]
    # Repaired, its columns are taken.
    write(tmp_path / "in" / "b.jsonl", rows(20))
    assert command(run, pattern, out, "--resume") == 0
    assert len(files(out)["b.jsonl"].splitlines()) == 20


def test_a_parquet_file_that_is_cut_off_is_refused_alone(run, tmp_path, capsys):
    whole = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a cold", "a cough"]}), whole)
    file = tmp_path / "cut.parquet"
    file.write_bytes(whole.getvalue()[:-9])
    said = refusal(capsys, run, str(file), tmp_path / "out")
    assert "cut.parquet: cut off, or not Parquet" in said


def test_a_folder_with_another_jobs_shards_is_refused(run, tmp_path, capsys):
    pattern, out = shards(tmp_path, a=rows(5), b=rows(6)), tmp_path / "out"
    assert command(run, pattern, out) == 0
    before = files(out)
    assert "holds 2 of 2 shards of a job; --resume" in refusal(capsys, run, pattern, out)
    said = refusal(capsys, run, pattern, out, "--resume", "--min_score", "0.6")
    assert "options min_score was None, is 0.6" in said
    said = refusal(capsys, run, pattern, out, "--resume", "--output_format", "csv")
    assert "format output was .jsonl, is .csv" in said
    write(tmp_path / "in" / "b.jsonl", rows(7))
    assert "shards changed since they were answered: b.jsonl" in refusal(
        capsys, run, pattern, out, "--resume"
    )
    (tmp_path / "in" / "a.jsonl").unlink()
    assert "shards that the input lacks: a.jsonl" in refusal(capsys, run, pattern, out, "--resume")
    write(tmp_path / "in" / "a.jsonl", rows(5))
    (run / "model" / "weights").write_text("2")
    assert "run model_sha256 was" in refusal(capsys, run, pattern, out, "--resume")
    assert files(out) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    assert "holds notes.txt, and no job.json" in refusal(capsys, run, pattern, tmp_path / "mine")


@pytest.mark.parametrize(
    ("pattern", "more", "said"),
    [
        ("none/*.jsonl", (), "no file matches; quote the pattern"),
        ("in/*", (), "shards of several formats: .jsonl (a.jsonl), .parquet (p.parquet)"),
        ("run/model/*", (), "matches weights; wanted shards that end in .jsonl"),
        ("nowhere://in/*.jsonl", (), "Protocol not known: nowhere"),
        ("in/*.jsonl", ("--workers", "2"), "--workers is an option of --engine ray and vllm"),
        ("in/*.jsonl", ("--engine", "vllm"), "--engine vllm serves language models"),
        ("in/*.jsonl", ("--max_failed", "-1"), "wanted 0 or more"),
        ("in/*.jsonl", ("--output_format", "xml"), "wanted one of jsonl, parquet, csv"),
        ("in/*.jsonl", ("--skip_bad_rows", "true"), "--max_failed"),
        ("in/*.jsonl", ("--layout", "json"), "the ending says the format"),
        ("in/*.jsonl", ("--text_column", "abstract"), "no column 'abstract'"),
    ],
)
def test_what_cannot_be_done_is_one_line(pattern, more, said, run, tmp_path, monkeypatch, capsys):
    shards(tmp_path, a=rows(2))
    write(tmp_path / "in" / "p.parquet", rows(2))
    monkeypatch.chdir(tmp_path)
    error = refusal(capsys, run, pattern, tmp_path / "out", *more)
    assert said in error
    assert error.count("\n") == 1


def test_a_file_is_no_place_for_shards(run, tmp_path, capsys):
    shard = write(tmp_path / "a.parquet", rows(2))
    assert "wanted a folder" in refusal(capsys, run, shard, tmp_path / "p.jsonl")
    assert not (tmp_path / "p.jsonl").exists()


def test_ray_that_is_not_installed_is_named_with_its_extra(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    pattern = shards(tmp_path, a=rows(2))
    said = refusal(capsys, run, pattern, tmp_path / "out", "--engine", "ray")
    assert "pip install 'ner-pipelines[ray]'" in said
    assert said.count("\n") == 1


def test_a_full_disk_ends_the_job_and_keeps_what_is_finished(run, tmp_path, monkeypatch, capsys):
    pattern, out = shards(tmp_path, a=rows(5), b=rows(7)), tmp_path / "out"
    plain = writing.JsonLines.write

    def write_little(self, predictions):
        if len(predictions) > 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        plain(self, predictions)

    monkeypatch.setattr(writing.JsonLines, "write", write_little)
    said = refusal(capsys, run, pattern, out)
    assert "b.jsonl: no space is left on the disk; 1 of 2 shards are finished" in said
    assert said.count("\n") == 1
    assert sorted(files(out)) == ["a.jsonl", "job.json"]


def test_a_job_without_a_finished_shard_leaves_the_folder_free(run, tmp_path, capsys):
    pattern, out = shards(tmp_path, a=[*rows(5), {"id": "x", "text": "BOOM"}]), tmp_path / "out"
    assert "more than 0 rows" in refusal(capsys, run, pattern, out, "--max_failed", "0")
    assert sorted(files(out)) == ["job.json"]
    assert command(run, pattern, out, "--output_format", "csv") == 0
    assert sorted(files(out)) == ["a.csv", "failed/a.jsonl", "job.json"]


def test_shards_of_several_folders_keep_them_and_their_own_output_is_no_input(run, tmp_path):
    for name in ("x/a", "y/a"):
        write(tmp_path / "in" / f"{name}.jsonl", rows(2, name=name[0]))
    pattern, out = str(tmp_path / "in" / "**" / "*.jsonl"), tmp_path / "in" / "out"
    predict_shards(run, pattern, str(out))
    assert sorted(files(out)) == ["job.json", "x/a.jsonl", "y/a.jsonl"]
    assert predict_shards(run, pattern, str(out), resume=True).finished == 2


def test_any_file_system_of_fsspec(run):
    with fsspec.open("memory://in/a.txt", "w") as f:
        f.write("One text.\n\nAnother.\n")
    tally = predict_shards(run, "memory://in/*.txt", "memory://out")
    assert (tally.finished, tally.rows) == (1, 2)
    memory = fsspec.filesystem("memory")
    assert sorted(memory.find("/out")) == ["/out/a.jsonl", "/out/job.json"]
    assert [json.loads(line)["id"] for line in memory.cat("/out/a.jsonl").splitlines()] == [
        "0",
        "1",
    ]


def test_a_long_shard_is_read_block_by_block():
    stream = io.BytesIO(b'{"text": "some words"}\n' * 200_000)
    blocks = reading.blocks(stream, "a", "jsonl", ColumnNames("text"))
    assert len(next(blocks).examples) == 1000
    assert stream.tell() < 2**20


def test_an_interruption_leaves_no_temporary_file(run, tmp_path, monkeypatch, capsys):
    def interrupted(self, job, shards):
        work = plain(self, job, shards)
        yield next(work)
        with contextlib.closing(work):
            raise KeyboardInterrupt

    plain = Engine.progress
    monkeypatch.setattr(Engine, "progress", interrupted)
    pattern, out = shards(tmp_path, a=rows(3000)), tmp_path / "out"
    assert command(run, pattern, out) == 130
    assert "--resume does the others" in capsys.readouterr().err
    assert sorted(files(out)) == ["job.json"]


def test_two_jobs_in_one_folder(run, tmp_path):
    pattern, out = shards(tmp_path, a=rows(3)), tmp_path / "out"

    class Second(Engine):
        def progress(self, job, shards):
            predict_shards(run, pattern, str(out), resume=True)
            yield from ()

    with pytest.raises(UserError, match=r"is in use by .*give another --output"):
        predict_shards(run, pattern, str(out), engine=Second())


SLOW_DRIVER = """
import sys, time
from bulk_inputs import family
from pipelines import cli
from pipelines.runs.run import Run
module = family()
plain = module.predict
def predict(loaded, examples, **keywords):
    time.sleep(0.3)
    return plain(loaded, examples, **keywords)
module.predict = predict
Run.model_folder = lambda run: (module, run.model)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_killed_at_several_moments_it_loses_and_repeats_nothing(run, tmp_path):
    contents = {name: rows(2100, name=name) for name in "abcd"}
    contents["b"][5]["text"] = contents["d"][2050]["text"] = "BOOM"
    pattern, whole, out = shards(tmp_path, **contents), tmp_path / "whole", tmp_path / "out"
    predict_shards(run, pattern, str(whole))
    words = ["predict", "--run", run, "--input", pattern, "--output", out, "--resume"]
    start = [sys.executable, "-c", SLOW_DRIVER, *map(str, words)]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    for number, wait in enumerate((0.1, 0.5, 0.9)):
        running = subprocess.Popen(start, env=environment, stderr=subprocess.DEVNULL)
        # Each dies in the middle of a shard: a temporary file is there.
        while not any(out.glob(".*.jsonl.????????")):
            assert running.poll() is None
            time.sleep(0.02)
        time.sleep(wait)
        running.send_signal(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
        for name in set(files(out)) & set(files(whole)):
            assert (out / name).read_bytes() == (whole / name).read_bytes(), (number, name)
    predict_shards(run, pattern, str(out), resume=True)
    assert files(out) == files(whole)
