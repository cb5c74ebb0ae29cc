"""Searches of heads that are shared, killed and taken up again, and the recipe that runs them."""

import itertools
import json
import logging
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
from conftest import ROOT, load_recipe
from recipe_cases import call
from test_frozen_head import POINTS, data_for

from pipelines import cli
from pipelines.corpora.predictions import read_predictions
from pipelines.corpora.splits import stratified_folds
from pipelines.errors import DataError, UserError
from pipelines.examples import Example
from pipelines.families.frozen_head import head_search, head_study
from pipelines.families.frozen_head.head_search import search
from pipelines.families.frozen_head.head_study import search_study

RECIPE = ROOT / "recipes" / "grid_search_head.py"


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request, tmp_path):
    return (
        f"sqlite:///{tmp_path / 'heads.db'}"
        if request.param == "sqlite"
        else request.getfixturevalue("postgresql")
    )


@pytest.mark.slow
def test_a_study_is_shared_and_taken_up_again(storage, tmp_path, caplog):
    caplog.set_level(logging.INFO, "pipelines")
    data = data_for()
    points = POINTS[:6]
    plain = search(data, points, tmp_path / "plain", progress=False)
    killed = subprocess.Popen(["true"])
    killed.wait()
    with pytest.MonkeyPatch.context() as patch:
        # A process of this machine took some points and was killed.
        patch.setattr(os, "getpid", lambda: killed.pid)
        patch.setattr(head_study, "train_and_score", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            search_study(data, points, storage=storage, progress=False)
    rows = search_study(data, points, storage=storage, progress=False)
    assert [head_search.point_of(row) for row in rows] == points
    assert [row["accuracy"] for row in rows] == [row["accuracy"] for row in plain]
    again = search_study(data, points, storage=storage, progress=False)
    assert again == rows
    assert caplog.messages[-2].endswith("6 of 6 points are there already")
    assert caplog.messages[-1].endswith(
        "0 of 6 points trained here, the others elsewhere or before"
    )
    # Another grid on the same data takes what it has in common.
    more = search_study(data, POINTS[4:8], storage=storage, progress=False)
    assert more[:2] == rows[4:]
    assert caplog.messages[-2].endswith("2 of 4 points are there already")
    assert caplog.messages[-1].split(":")[1].startswith(" 2 of 4 points trained here")


def test_a_point_taken_by_a_process_killed_before_it_signed_is_given_out_again(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, "pipelines")
    data, storage = data_for(), f"sqlite:///{tmp_path / 'heads.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head_study.optuna.Trial, "set_user_attr", raising(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            search_study(data, POINTS[:3], storage=storage, progress=False)
    monkeypatch.setattr(head_study, "UNSIGNED_SECONDS", 0.2)
    monkeypatch.setattr(head_study, "WAIT_SECONDS", 0.1)
    rows = search_study(data, POINTS[:3], storage=storage, progress=False)
    assert [head_search.point_of(row) for row in rows] == POINTS[:3]
    assert "waiting for 1 points of another process" in caplog.messages


def raising(error):
    def raises(*arguments, **options):
        raise error

    return raises


def test_a_stack_that_takes_too_long_is_given_up_and_counts_all_the_same(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, "pipelines")
    data, storage = data_for(), f"sqlite:///{tmp_path / 'heads.db'}"
    original, first = head_study.train_and_score, [True]
    monkeypatch.setattr(head_study, "WAIT_SECONDS", 0.0)

    def overtaken(*arguments, **options):
        if first and first.pop():
            with monkeypatch.context() as patch:
                patch.setattr(head_study.platform, "node", lambda: "elsewhere")
                seconds = itertools.count(time.time() + head_study.GIVEN_UP_SECONDS - 100, 20)
                patch.setattr(
                    head_study,
                    "time",
                    SimpleNamespace(
                        time=lambda: next(seconds), sleep=time.sleep, monotonic=time.monotonic
                    ),
                )
                search_study(data, POINTS[:2], storage=storage, progress=False)
        return original(*arguments, **options)

    monkeypatch.setattr(head_study, "train_and_score", overtaken)
    rows = search_study(data, POINTS[:2], storage=storage, progress=False)
    assert [head_search.point_of(row) for row in rows] == POINTS[:2]
    assert [line for line in caplog.messages if "waiting" in line] == [
        f"waiting for 2 points of process {os.getpid()} on {platform.node()}"
    ]


@pytest.mark.parametrize(
    ("holder", "gone"),
    [
        ({"pid": "own"}, True),
        ({"pid": "parent"}, False),
        ({"pid": "parent", "since": -1801}, True),
        ({"pid": "own", "node": "elsewhere"}, False),
        ({"pid": "own", "node": "elsewhere", "since": -1801}, True),
    ],
)
def test_who_is_gone(holder, gone):
    import optuna

    pids = {"own": os.getpid(), "parent": os.getppid()}
    attributes = {
        "node": holder.get("node", platform.node()),
        "pid": pids[holder["pid"]],
        "since": time.time() + holder.get("since", 0),
    }
    trial = optuna.trial.create_trial(value=0.0, user_attrs={"holder": attributes})
    assert head_study._is_gone(trial, 0.0) == gone


@pytest.mark.parametrize(("seconds", "gone"), [(0.0, False), (19.0, False), (21.0, True)])
def test_who_has_not_signed_is_gone_after_a_while(seconds, gone):
    import optuna

    assert head_study._is_gone(optuna.trial.create_trial(value=0.0), seconds) == gone


def test_one_of_two_who_make_a_database_at_once_tries_again(tmp_path, monkeypatch):
    import optuna
    from sqlalchemy.exc import IntegrityError

    original, failing = (
        optuna.create_study,
        [IntegrityError("INSERT", {}, ValueError("alembic_version"))] * 2,
    )

    def create_study(**options):
        if failing:
            raise failing.pop()
        return original(**options)

    monkeypatch.setattr(optuna, "create_study", create_study)
    monkeypatch.setattr(head_study.time, "sleep", lambda seconds: None)
    assert (
        len(
            search_study(
                data_for(), POINTS[:1], storage=f"sqlite:///{tmp_path / 'h.db'}", progress=False
            )
        )
        == 1
    )


def test_a_search_is_named_by_what_its_features_are_made_of(tmp_path):
    data = data_for(origin="an encoder and some texts")
    other_cpu = replace(
        data, train={"mean": data.train["mean"] + 1e-7}, dev={"mean": data.dev["mean"] + 1e-7}
    )
    assert other_cpu.key() == data.key() != replace(data, origin="another encoder").key()
    assert replace(data, origin="").key() != replace(other_cpu, origin="").key()


def test_a_storage_that_cannot_be_opened_is_reported(tmp_path):
    with pytest.raises(UserError, match="wanted a database such as"):
        search_study(data_for(), POINTS[:1], storage=f"sqlite:///{tmp_path}/no/such/folder/x.db")


# The recipe


@pytest.fixture(scope="session")
def recipe_arguments(tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    words = {"fruit": "apple pear plum", "metal": "iron zinc lead", "beast": "wolf bear lynx"}
    rows = [
        {"text": f"the {words[label].split()[i % 3]} of day {i}", "label": label}
        for i in range(60)
        for label in words
    ]
    (folder / "all.json").write_text(json.dumps(rows), encoding="utf-8")
    return [
        "grid_search_head",
        "--model_name_or_path",
        tiny_bert,
        "--train_file",
        folder / "all.json",
        "--cache_dir",
        folder / "cache",
        "--learning_rate",
        "0.01",
        "0.1",
        "--epochs",
        "5",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "points"), [((), 24), (("--pooling", "token", "mean", "--folds", "3"), 16)]
)
def test_the_recipe_from_texts_to_a_checkpoint(
    options, points, recipe_arguments, tiny_bert, tmp_path
):
    assert call(*recipe_arguments, *options, "--run_dir", tmp_path / "run") == 0
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["split"] == "test"
    assert report["cost"]["seconds"]["predict_dev"] > 0
    assert len(json.loads((tmp_path / "run" / "grid.json").read_text())["points"]) == points
    page = (tmp_path / "run" / "grid.html").read_text()
    assert "learning_rate and pooling" in page or "pooling and learning_rate" in page
    arguments = [
        "predict",
        "--run",
        tmp_path / "run",
        "--input",
        recipe_arguments[4],
        "--output",
        tmp_path / "p.jsonl",
    ]
    assert cli.main(list(map(str, arguments))) == 0
    by_id = {p.id: p for p in read_predictions(tmp_path / "p.jsonl")}
    for prediction in read_predictions(tmp_path / "run" / "predictions" / "test.jsonl"):
        assert by_id[prediction.id].label == prediction.label
        assert by_id[prediction.id].scores == pytest.approx(prediction.scores, abs=1e-5)
    module = load_recipe("grid_search_head")
    with pytest.raises(UserError, match="holds a trained run"):
        module.run(
            module.RecipeArguments(
                model_name_or_path=str(tiny_bert),
                train_file=str(recipe_arguments[4]),
                run_dir=str(tmp_path / "run"),
            )
        )


def test_folds_hold_every_text_once_and_its_copies_with_it():
    examples = [
        Example(
            "same", f"text {number // 2 if number < 8 else number}", label="ab"[number % 10 == 9]
        )
        for number in range(60)
    ]
    folds = stratified_folds(examples, 3)
    assert sorted(number for fold in folds for number in fold) == list(range(60))
    for first in range(0, 8, 2):
        assert any({first, first + 1} <= set(fold) for fold in folds)
    assert [sum(examples[number].label == "b" for number in fold) for fold in folds] == [2, 2, 2]


def test_too_few_texts_for_the_folds_are_reported_before_any_is_encoded(
    tiny_bert, tmp_path, monkeypatch
):
    rows = [{"text": f"text {i}", "label": "a" if i > 3 else "rare"} for i in range(40)]
    (tmp_path / "all.json").write_text(json.dumps(rows), encoding="utf-8")
    module = load_recipe("grid_search_head")
    monkeypatch.setattr(module.features, "extract", raising(AssertionError))
    with pytest.raises(DataError, match=r"parts \(5\)[^\n]*\nclass 'rare': 4 \(id (\d, ){3}\d\)"):
        module.run(
            module.RecipeArguments(
                model_name_or_path=tiny_bert,
                train_file=str(tmp_path / "all.json"),
                folds=5,
                run_dir=str(tmp_path / "run"),
                sizes="train=0.5,dev=0.5",
            )
        )


@pytest.mark.slow
def test_a_search_that_was_killed_ends_with_the_same_table(recipe_arguments, tmp_path, capsys):
    grids = [
        "--hidden_layer",
        "0",
        "64",
        "--dropout",
        "0.1",
        "--epochs",
        "30",
        "--pooling",
        "mean",
        "cls",
    ]
    assert call(*recipe_arguments, *grids, "--run_dir", tmp_path / "whole") == 0
    process = subprocess.Popen(
        [
            sys.executable,
            RECIPE,
            *map(str, recipe_arguments[1:]),
            *grids,
            "--run_dir",
            str(tmp_path / "run"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "run").glob("search/*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "run" / "grid.json").exists()
    capsys.readouterr()
    assert call(*recipe_arguments, *grids, "--run_dir", tmp_path / "run") == 0
    out = capsys.readouterr().out
    assert "points are there from an earlier search" in out
    assert "train: 144 texts, 0 encoded now" in out
    # Dev was not encoded either: what answering it takes is unknown, not nothing.
    seconds = json.loads((tmp_path / "run" / "report.json").read_text())["cost"]["seconds"]
    assert "predict_dev" not in seconds
    assert (tmp_path / "run" / "grid.json").read_bytes() == (
        tmp_path / "whole" / "grid.json"
    ).read_bytes()


@pytest.mark.extensive
@pytest.mark.slow
def test_searches_share_a_study_and_one_that_was_killed_goes_on(
    storage, recipe_arguments, tmp_path
):
    grids = [
        "--hidden_layer",
        "0",
        "64",
        "--dropout",
        "0.1",
        "--epochs",
        "30",
        "--pooling",
        "mean",
        "cls",
    ]
    assert call(*recipe_arguments, *grids, "--run_dir", tmp_path / "alone") == 0

    def start(name):
        options = [*recipe_arguments[1:], *grids, "--study", storage, "--run_dir", tmp_path / name]
        return subprocess.Popen(
            [sys.executable, RECIPE, *map(str, options)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    killed, other = start("killed"), start("other")
    for line in killed.stdout:
        if "points; decided by" in line:
            break
    time.sleep(1)
    killed.kill()
    killed.communicate()
    again = start("killed")
    points = json.loads((tmp_path / "alone" / "grid.json").read_text())["points"]
    for process, name in ((other, "other"), (again, "killed")):
        printed, faults = process.communicate(timeout=300)
        assert process.returncode == 0, printed + faults
        found = json.loads((tmp_path / name / "grid.json").read_text())["points"]
        for mine, theirs in zip(found, points, strict=True):
            assert mine == pytest.approx(
                theirs, abs=0.03
            )  # a stack of other heads sums in another order
