"""`pipelines predict --engine ray`: the bytes of the embedded engine, and workers that are killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bulk_inputs import files, rows, write
from demo_runs import write_dictionary

from pipelines.bulk.engine import Account, Engine, predict_shards
from pipelines.bulk.ray_engine import MAX_DEATHS
from pipelines.cli import main
from pipelines.errors import UserError

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A run, the pattern of its shards, and what the embedded engine answers."""
    folder = tmp_path_factory.mktemp("ray")
    run = write_dictionary(folder / "run")
    for name, count in (("a", 2500), ("b", 10), ("c", 3100), ("d", 0)):
        content = rows(count, name=name)
        if count > 2000:
            content[1200]["text"] = 5
        write(folder / "in" / f"{name}.jsonl", content)
    pattern = str(folder / "in" / "*.jsonl")
    predict_shards(run, pattern, str(folder / "local"))
    return run, pattern, files(folder / "local")


@pytest.fixture(scope="module")
def cluster():
    """A cluster on this machine, for all tests here."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def actors() -> list[int]:
    """The processes that answer shards, among the descendants of this one."""
    parents, named = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
            if b"ShardActor" in (folder / "cmdline").read_bytes():
                named.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in named if is_below(pid, parents)]


def is_below(pid: int, parents: dict[int, int]) -> bool:
    while pid in parents and pid != os.getpid():
        pid = parents[pid]
    return pid == os.getpid()


def test_a_cluster_that_cannot_be_reached_is_one_line(inputs, tmp_path, capsys):
    run, pattern, _ = inputs
    words = ["predict", "--run", str(run), "--input", pattern, "--output", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as stop:
        main([*words, "--engine", "ray", "--ray", "127.0.0.1:1"])
    said = capsys.readouterr().err
    assert stop.value.code == 2
    assert "--ray 127.0.0.1:1: no cluster can be reached" in said
    assert list(json.loads((tmp_path / "out" / "job.json").read_text())["shards"][0]) == [
        "name",
        "size",
        "stamp",
        "output",
    ]


@pytest.mark.extensive
@pytest.mark.slow
def test_the_bytes_are_those_of_the_embedded_engine(inputs, cluster, tmp_path, capsys):
    run, pattern, expected = inputs
    words = ["predict", "--run", str(run), "--input", pattern, "--output", str(tmp_path / "out")]
    assert main([*words, "--engine", "ray", "--workers", "2"]) == 0
    assert files(tmp_path / "out") == expected
    assert "2 rows set aside" in capsys.readouterr().out


@pytest.mark.extensive
@pytest.mark.slow
def test_a_killed_worker_loses_and_repeats_nothing(inputs, cluster, tmp_path, monkeypatch):
    run, pattern, expected = inputs
    plain, killed, counts = Account.add, [], []

    def add(self, shard, progress):
        # In the middle of a long shard, whose worker waits to be asked for its next batch.
        if not killed and progress.rows > 1000:
            killed.extend(actors())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
        plain(self, shard, progress)
        counts.append(progress.lost)

    monkeypatch.setattr(Account, "add", add)
    tally = predict_shards(run, pattern, str(tmp_path / "out"), engine=Engine("ray", workers=1))
    assert killed
    assert sum(counts) >= 1
    assert files(tmp_path / "out") == expected
    assert (tally.finished, tally.rows, tally.failed) == (4, 5610, 2)
    assert [name for name in os.listdir(tmp_path / "out") if name.startswith(".")] == []


@pytest.mark.extensive
@pytest.mark.slow
def test_a_shard_that_kills_its_workers_is_refused_and_the_others_answered(
    inputs, cluster, tmp_path, monkeypatch
):
    run, pattern, expected = inputs
    plain, deaths = Account.add, []

    def add(self, shard, progress):
        plain(self, shard, progress)
        if shard.name == "c.jsonl" and progress.rows > 1000 and not progress.finished:
            deaths.append(shard)
            for pid in actors():
                os.kill(pid, signal.SIGKILL)

    monkeypatch.setattr(Account, "add", add)
    with pytest.raises(UserError, match=rf"c\.jsonl: {MAX_DEATHS} workers died on it"):
        predict_shards(run, pattern, str(tmp_path / "out"), engine=Engine("ray", workers=1))
    assert len(deaths) == MAX_DEATHS
    monkeypatch.setattr(Account, "add", plain)
    predict_shards(run, pattern, str(tmp_path / "out"), resume=True)
    assert files(tmp_path / "out") == expected


@pytest.mark.extensive
@pytest.mark.slow
def test_more_workers_than_the_cluster_has_cores(inputs, cluster, tmp_path):
    run, pattern, _ = inputs
    with pytest.raises(UserError, match="got --workers 3; the cluster has 2 cores"):
        predict_shards(run, pattern, str(tmp_path / "out"), engine=Engine("ray", workers=3))


CLUSTER_DIES = """
import sys
import psutil
from pipelines.bulk import ray_engine
from pipelines.bulk.engine import Account
from pipelines.cli import main
ray_engine.SECONDS_OF_PATIENCE = 5
plain, dead = Account.add, []
def add(self, shard, progress):
    plain(self, shard, progress)
    if progress.rows > 1000 and not dead:
        below = psutil.Process().children(recursive=True)
        dead.extend(process for process in below if process.name() == "raylet")
        for process in dead:
            process.kill()
        # Its workers end themselves when they see that it is gone.
        psutil.wait_procs([process for process in below if "ray::" in process.name()], timeout=60)
Account.add = add
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.extensive
@pytest.mark.slow
def test_a_cluster_that_dies_is_one_line_and_nothing_is_lost(inputs, tmp_path):
    run, pattern, expected = inputs
    words = ["predict", "--run", str(run), "--input", pattern, "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-c", CLUSTER_DIES, *words, "--engine", "ray", "--workers", "1"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith(
        "what is finished is kept: repeat the command with --resume"
    )
    assert main([*words, "--resume"]) == 0
    assert files(tmp_path / "out") == expected
