"""`--ablate` with a recipe that takes a moment: what is run, kept, resumed, reported and refused."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import fmean, stdev

import fake_recipe
import pytest
import yaml
from conftest import ROOT, class_files, run_python

from pipelines.corpora import read_examples
from pipelines.corpora.predictions import read_predictions
from pipelines.corpora.writing import write_predictions
from pipelines.evaluation.comparison import compare_seeds
from pipelines.evaluation.tasks import CLASSIFICATION
from pipelines.examples import Prediction

RECIPE = ROOT / "tests" / "fake_recipe.py"


@pytest.fixture
def files(tmp_path):
    return class_files(tmp_path, train=40, dev=60, test=50)


@pytest.fixture
def ablate(files, tmp_path, monkeypatch, capsys):
    """Runs the recipe in this process; gives exit code, output and errors."""

    def call(*words, data=None):
        folder = ["--run_dir", str(tmp_path / "ablation")]
        command = [str(RECIPE), *(files if data is None else data), *folder, *map(str, words)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as stop:
            fake_recipe.main()
        written = capsys.readouterr()
        return stop.value.code, written.out, written.err

    return call


def results_of(folder):
    return json.loads((folder / "ablation.json").read_text(encoding="utf-8"))


def rows_of(folder):
    return {row["name"]: row for row in results_of(folder)["variants"]}


def contents(folder):
    """File -> when it was written, of all runs."""
    return {p: p.stat().st_mtime_ns for p in folder.glob("*/**/seed-*/**/*") if p.is_file()}


def starts(run):
    return (run / "starts.txt").read_text(encoding="utf-8").splitlines()


def test_each_variant_and_seed_is_a_run_and_the_table_says_what_differs(ablate, tmp_path):
    folder = tmp_path / "ablation"
    code, out, _ = ablate("--ablate", "quality=0.9,0.1", "fast=true", "--seeds", 2, "--jobs", 2)
    assert code == 0
    rows = rows_of(folder)
    assert list(rows) == ["quality=0.9", "baseline", "fast=true", "quality=0.1"]
    for name, quality in (("baseline", None), ("quality=0.9", 0.9), ("quality=0.1", 0.1)):
        for seed in (1, 2):
            options = yaml.safe_load((folder / name / f"seed-{seed}" / "config.yaml").read_text())
            assert options.get("quality") == quality
            assert options["seed"] == seed
            assert "test_file" not in options  # no variant sees test
    assert sum(line.startswith("[") for line in out.splitlines()) == 8
    assert "p is adjusted" in out
    page = (folder / "ablation.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "quality=0.9" in page


def test_differences_are_paired_by_example_and_seed(ablate, tmp_path, files):
    folder = tmp_path / "ablation"
    ablate("--ablate", "quality=0.9", "--seeds", 3)
    row, baseline = rows_of(folder)["quality=0.9"], rows_of(folder)["baseline"]
    gold = read_examples(files[3])
    runs = {
        name: [
            read_predictions(folder / name / f"seed-{s}/predictions/dev.jsonl") for s in (1, 2, 3)
        ]
        for name in ("quality=0.9", "baseline")
    }
    accuracies = [
        fmean(p.label == e.label for p, e in zip(run, gold, strict=True))
        for run in runs["quality=0.9"]
    ]
    assert list(row["values"].values()) == accuracies
    assert row["value"] == pytest.approx(fmean(accuracies))
    assert row["sd"] == pytest.approx(stdev(accuracies))
    assert row["delta"] == pytest.approx(row["value"] - baseline["value"])
    expected = compare_seeds(CLASSIFICATION, gold, runs["quality=0.9"], runs["baseline"])
    assert (row["p"], row["interval"]) == (expected["p"], expected["interval"])
    assert row["better"] == "variant"
    assert "delta" not in baseline


@pytest.mark.slow
def test_a_finished_run_is_never_trained_again(ablate, tmp_path):
    folder = tmp_path / "ablation"
    command = ("--ablate", "quality=0.9,0.1", "--seeds", 2)
    ablate(*command)
    before = contents(folder)
    code, out, _ = ablate(*command)
    assert code == 0
    assert "finished before" in out
    assert contents(folder) == before
    # A further value adds its runs alone.
    ablate("--ablate", "quality=0.9,0.1,0.7", "--seeds", 2)
    assert contents(folder).items() >= before.items()
    assert "quality=0.7" in rows_of(folder)


@pytest.mark.extensive
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_ablation_that_is_stopped_goes_on_where_it_was(number, files, tmp_path):
    folder, gate = tmp_path / "ablation", tmp_path / "gate"
    config = tmp_path / "ablation.yaml"
    variants = {"quality": [0.9], "waits": {"wait_for": str(gate), "quality": 0.2}}
    config.write_text(yaml.safe_dump({"ablate": variants, "seeds": 2, "jobs": 1}))
    words = [str(RECIPE), "--config", str(config), *files, "--run_dir", str(folder)]
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    waiting = folder / "waits" / "seed-1" / "starts.txt"
    wait_until(lambda: waiting.is_file() and waiting.read_text(), process)
    child = int(waiting.read_text().split()[0])
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    wait_until(lambda: not Path(f"/proc/{child}").exists())
    if number == signal.SIGTERM:
        assert process.returncode == 128 + number
        [line] = errors.splitlines()[-1:]
        assert line.startswith("interrupted by SIGTERM: 2 of 6 runs are finished; to continue")
    before = contents(folder)
    assert any(path.name == "report.json" for path in before)
    gate.touch()
    done = run_python(*words, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    after = contents(folder)
    finished = {path.parent for path in before if path.name == "report.json"}
    for path in before:
        assert (after[path] == before[path]) == any(run in path.parents for run in finished)
    again = starts(folder / "waits" / "seed-1")
    assert len(again) == 2
    assert "--resume_from_checkpoint true" in again[1]
    assert len(rows_of(folder)["waits"]["values"]) == 2


def wait_until(condition, process=None):
    deadline = time.monotonic() + 120
    while not condition():
        assert process is None or process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.extensive
@pytest.mark.slow
def test_a_variant_that_fails_is_reported_and_the_rest_goes_on(ablate, tmp_path):
    code, _, errors = ablate("--ablate", "network=broken", "quality=0.9", "--seeds", 2)
    folder = tmp_path / "ablation"
    assert code == 1
    assert rows_of(folder).keys() == {"baseline", "quality=0.9"}
    [failed] = results_of(folder)["failed"]
    assert failed["reason"] == "the network broke"
    assert f"see {folder}/network=broken/seed-1.log" in errors
    assert "network=broken, seed 1 failed: the network broke" in (
        folder / "ablation.html"
    ).read_text(encoding="utf-8")


def test_nothing_goes_on_after_a_baseline_that_fails(ablate, tmp_path):
    code, _, errors = ablate("--network", "broken", "--ablate", "quality=0.9", "--jobs", 1)
    assert code == 2
    assert "error: the baseline failed" in errors
    assert "the network broke" in errors
    assert not (tmp_path / "ablation" / "quality=0.9" / "seed-1").exists()


@pytest.mark.extensive
@pytest.mark.slow
def test_companions_are_tried_with_the_first_seed_and_the_best_stands_for_the_variant(
    ablate, tmp_path
):
    config = tmp_path / "ablation.yaml"
    variants = {"two layers": {"layers": 2, "quality": [0.2, 0.8, 0.6]}}
    config.write_text(yaml.safe_dump({"ablate": variants, "seeds": 2}))
    folder = tmp_path / "ablation"
    assert ablate("--config", config)[0] == 0
    row = rows_of(folder)["two layers"]
    assert row["options"] == {"layers": 2, "quality": 0.8}
    tried = {own["name"]: own["value"] for own in row["tried"]}
    assert tried.keys() == {"quality=0.2", "quality=0.8", "quality=0.6"}
    assert max(tried.values()) == tried["quality=0.8"] == row["values"]["1"]
    runs = {str(path.parent.relative_to(folder)) for path in folder.glob("two*/*/*/report.json")}
    assert runs == {
        "two-layers/quality=0.2/seed-1",
        "two-layers/quality=0.8/seed-1",
        "two-layers/quality=0.6/seed-1",
        "two-layers/quality=0.8/seed-2",
    }


@pytest.mark.slow
def test_test_is_scored_once_and_says_whether_the_ranking_held(ablate, files, tmp_path):
    folder = tmp_path / "ablation"
    command = ("--ablate", "quality=0.9,0.7,0.3,0.1", "--seeds", 1)
    ablate(*command)
    gold = read_examples(files[5])
    # On test the baseline is the best; the order of the others is that of dev.
    for name, right in (
        ("baseline", 50),
        ("quality=0.9", 40),
        ("quality=0.3", 20),
        ("quality=0.1", 10),
    ):
        answers = [
            Prediction(e.id, label=e.label if n < right else "wrong") for n, e in enumerate(gold)
        ]
        write_predictions(folder / "test" / name / "seed-1.jsonl", answers)
    code, out, _ = ablate(*command, "--final_k", 4)
    assert code == 0
    test = results_of(folder)["test"]
    assert [row["name"] for row in test["variants"]] == [
        "baseline",
        "quality=0.9",
        "quality=0.3",
        "quality=0.1",
    ]
    assert [row["value"] for row in test["variants"]] == [1.0, 0.8, 0.4, 0.2]
    assert test["swapped"] == [["quality=0.9", "baseline"]]
    assert test["kendall"] == pytest.approx(4 / 6)
    assert "Dev's ranking did not hold on test (Kendall's τ = 0.67)" in out
    assert "quality=0.9 is the best of these on dev, baseline on test" in out
    # Other answers by now change nothing: test was scored.
    write_predictions(
        folder / "test" / "baseline" / "seed-1.jsonl", [Prediction(e.id, label="x") for e in gold]
    )
    code, out, _ = ablate(*command, "--final_k", 5)
    assert "it is scored once" in out
    assert results_of(folder)["test"] == test


@pytest.mark.extensive
@pytest.mark.slow
def test_dev_that_is_cut_from_train_is_cut_once(ablate, files, tmp_path):
    folder = tmp_path / "ablation"
    sizes = "train=0.5,dev=0.25,test=0.25"
    code, _, errors = ablate("--ablate", "quality=0.9", "--sizes", sizes, data=files[:2])
    assert code == 0, errors
    options = [yaml.safe_load(path.read_text()) for path in folder.glob("*/seed-*/config.yaml")]
    assert {own["dev_file"] for own in options} == {str(folder / "splits" / "dev.jsonl")}
    assert {own["train_file"] for own in options} == {str(folder / "splits" / "train.jsonl")}
    assert results_of(folder)["examples"] == 10
    parts = [
        read_examples(folder / "splits" / f"{part}.jsonl") for part in ("train", "dev", "test")
    ]
    assert sorted(e.id for part in parts for e in part) == sorted(f"train{n}" for n in range(40))


REFUSED = {
    "qualty=0.9": "there is no option qualty; did you mean quality?",
    "quality=high": "quality=high: wanted a number",
    "layers=1.5": "layers=1.5: wanted a whole number",
    "fast=perhaps": "fast=perhaps: wanted true or false",
    "network=large": "network=large: --network large has 2 layers or more",
    "widths=3": "widths takes a list; name its values in a config file",
    "quality": "wanted quality=a,b",
    "seed=3,4": "seed is not varied: take --seeds",
    "dev_file=a.json": "dev_file is not varied: variants are compared on one dev file",
    "quality=0.5": "no variant differs from the baseline",
}


@pytest.mark.parametrize("word", REFUSED)
def test_what_no_variant_can_be_made_of_is_refused_before_anything_runs(word, ablate, tmp_path):
    code, _, errors = ablate("--ablate", word)
    assert code == 2
    [line] = errors.splitlines()
    assert line.startswith("error: --ablate: ")
    assert REFUSED[word] in line
    assert not (tmp_path / "ablation").exists()


def test_all_faults_are_named_at_once(ablate):
    _, _, errors = ablate("--ablate", "qualty=0.9", "layers=x", "network=large")
    assert "qualty" in errors
    assert "layers=x" in errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seeds", 0], "got --seeds 0; wanted 1 or more"),
        (["--final_k", 1], "got --final_k 1; wanted 2 or more"),
        (["--jobs", 0], "got --jobs 0; wanted 1 or more"),
        (["--resume_from_checkpoint", "a/b"], "goes on by itself"),
    ],
)
def test_numbers_that_make_no_ablation(words, message, ablate):
    code, _, errors = ablate("--ablate", "quality=0.9", *words)
    assert code == 2
    assert message in errors


@pytest.mark.parametrize("words", [["--seeds", 2], ["--final_k", 3], ["--jobs", 2]])
def test_an_option_of_an_ablation_alone_has_no_effect(words, ablate):
    code, _, errors = ablate(*words)
    assert code == 2
    assert f"{words[0]} has no effect without --ablate" in errors


def test_final_k_wants_a_labelled_test_file(ablate, files, tmp_path):
    words = ("--ablate", "quality=0.9", "--final_k", 3)
    assert "without a labelled --test_file" in ablate(*words, data=files[:4])[2]
    rows = [json.loads(line) for line in Path(files[5]).read_text().splitlines()]
    lines = [json.dumps({"id": row["id"], "text": row["text"]}) for row in rows]
    Path(files[5]).write_text("\n".join(lines))
    assert "without a labelled --test_file" in ablate(*words)[2]
    assert not (tmp_path / "ablation").exists()


def test_other_options_or_data_do_not_go_on_with_an_ablation(ablate, files, tmp_path):
    words = ("--ablate", "quality=0.9", "--seeds", 1)
    ablate(*words)
    code, _, errors = ablate(*words, "--layers", 3)
    assert code == 2
    assert "the ablation was started otherwise: --layers not set, now 3" in errors
    dev = Path(files[3])
    dev.write_text("".join(dev.read_text().splitlines(keepends=True)[:-1]))
    code, _, errors = ablate(*words)
    assert code == 2
    assert "dev.jsonl was changed since the ablation was started" in errors


def test_a_folder_with_an_ordinary_run_is_refused(ablate, tmp_path):
    (tmp_path / "ablation" / "model").mkdir(parents=True)
    code, _, errors = ablate("--ablate", "quality=0.9")
    assert code == 2
    assert "holds a trained run" in errors


def test_threads_are_divided_among_the_runs(ablate, tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.studies.workers.cores", lambda: 8)
    ablate("--ablate", "quality=0.9", "--seeds", 1, "--jobs", 2)
    assert starts(tmp_path / "ablation" / "baseline" / "seed-1")[0].split()[-1] == "4"


def test_a_run_starts_only_where_memory_is_left_for_the_largest_one(monkeypatch):
    from pipelines.studies.workers import Workers

    workers = Workers(3)
    workers.need = 100
    monkeypatch.setattr("pipelines.studies.workers.free_memory", lambda: 50)
    assert workers.may_start()  # one run always goes on
    workers.running = [object()]
    assert not workers.may_start()
    monkeypatch.setattr("pipelines.studies.workers.free_memory", lambda: 150)
    assert workers.may_start()
    workers.running = [object()] * 3
    assert not workers.may_start()


def test_a_launcher_is_refused(ablate, monkeypatch):
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    code, _, errors = ablate("--ablate", "quality=0.9")
    assert code == 2
    assert "got --ablate under a launcher" in errors
