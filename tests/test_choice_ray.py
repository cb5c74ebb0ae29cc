"""`choose_model.py --ray local`: the rungs run as tasks of a Ray cluster on this machine."""

import pytest
from test_choice import LADDER, choose, files, result, rung, starts, statuses  # noqa: F401

ray = pytest.importorskip("ray")


@pytest.fixture(autouse=True)
def cluster(monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    yield
    ray.shutdown()


@pytest.mark.extensive
@pytest.mark.slow
def test_rungs_run_on_ray_and_give_the_same_answer(choose, tmp_path):
    choose(LADDER, "--goal", 0.9)
    here = result(tmp_path)
    (tmp_path / "choice").rename(tmp_path.parent / f"{tmp_path.name}-here")
    code, _, _ = choose(LADDER, "--goal", 0.9, "--ray", "local")
    assert code == 0
    found = result(tmp_path)
    assert found["answer"]["chosen"] == here["answer"]["chosen"]
    assert [row["score"] for row in found["rungs"]] == [row["score"] for row in here["rungs"]]


@pytest.mark.extensive
@pytest.mark.slow
def test_a_rung_that_fails_on_ray_is_reported(choose, tmp_path):
    choose({"base": rung(), "broken": rung(fail="it broke")}, "--ray", "local")
    assert statuses(tmp_path) == {"base": "finished", "broken": "failed"}
    assert result(tmp_path)["rungs"][1]["reason"] == "it broke (see parts/probe/broken.log)"


@pytest.mark.extensive
@pytest.mark.slow
def test_the_budget_ends_a_task(choose, tmp_path):
    ladder = {"base": rung(), "endless": rung(wait_for=str(tmp_path / "never"))}
    choose(ladder, "--ray", "local", "--budget", "40s")
    row = result(tmp_path)["rungs"][1]
    assert "the budget was used up" in row["reason"]


def test_a_cluster_that_cannot_be_reached_is_one_line(choose, tmp_path):
    code, _, errors = choose({"base": rung()}, "--ray", "127.0.0.1:1")
    assert code == 2
    assert "no cluster can be reached" in errors
    assert errors.count("\n") == 1
