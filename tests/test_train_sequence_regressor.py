"""The recipe from the command line: one run or a comparison, the commands on its runs, and bad input."""

import json
import os
import pickle
import signal
from functools import partial

import numpy as np
import pytest
import recipe_cases
from recipe_cases import one_error

from pipelines import cli, job
from pipelines.corpora.predictions import read_predictions

TINY = ["--hidden_size", 4, "--num_train_epochs", 2, "--report_to", "none"]


call = partial(recipe_cases.call, "train_sequence_regressor")


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files of sequences whose number is the mean of their first column."""
    folder, random = tmp_path_factory.mktemp("sequences"), np.random.default_rng(0)
    made = {}
    for split, size in (("train", 64), ("dev", 24), ("test", 24)):
        rows = []
        for n in range(size):
            steps = random.normal(size=(2 + n % 5, 2)).round(2)
            value = round(float(steps[:, 0].mean()), 4)
            rows.append({"id": f"{split}{n}", "features": steps.tolist(), "value": value})
        made[split] = write(folder / f"{split}.jsonl", rows)
    return made


def options(files):
    return [part for split, file in files.items() for part in (f"--{split}_file", file)]


@pytest.fixture(scope="module")
def compared(files, tmp_path_factory):
    """The folder of a comparison of two networks with two seeds."""
    folder = tmp_path_factory.mktemp("compared") / "runs"
    networks = ["--networks", "shared,truncated", "--seeds", 2, "--best_mse", 0.001]
    assert call(*TINY, *options(files), *networks, "--run_dir", folder) == 0
    return folder


@pytest.mark.slow
def test_a_comparison_has_a_run_for_each_network_and_seed(compared):
    names = {path.name for path in compared.iterdir()}
    runs = {f"{network}-{seed}" for network in ("shared", "truncated") for seed in (42, 43)}
    assert names == runs | {"comparison.json", "comparison.html"}
    for run in runs:
        files = {path.name for path in (compared / run).iterdir()}
        assert {"config.yaml", "provenance.json", "report.json", "report.html", "model"} <= files
    comparison = json.loads((compared / "comparison.json").read_text())
    assert comparison["best_mse"] == 0.001
    assert comparison["seeds"] == 2
    for name in ("shared", "truncated"):
        row = comparison["networks"][name]
        reports = [
            json.loads((compared / f"{name}-{seed}" / "report.json").read_text())
            for seed in (42, 43)
        ]
        assert row["test"]["mse"] == pytest.approx(np.mean([one["mse"] for one in reports]))
        assert row["train_mse"] == pytest.approx(np.mean([r["train"]["mse"] for r in reports]))
        assert row["gap"] == pytest.approx(row["train_mse"] - row["dev"]["mse"])
        assert row["epochs"] == 2
    assert comparison["networks"]["shared"]["parameters"] == 2 * 4 + 16 + 4 + 5
    assert comparison["networks"]["truncated"]["parameters"] == 2 * (2 * 4 + 16 + 4) + 5
    assert len(comparison["verdicts"]["dev"]) == 1


def test_seeds_give_other_networks(compared):
    weights = [
        (compared / f"shared-{seed}" / "model" / "model.safetensors").read_bytes()
        for seed in (42, 43)
    ]
    assert weights[0] != weights[1]


@pytest.mark.slow
def test_it_goes_on_with_each_run(compared, files, capsys):
    before = (compared / "comparison.json").read_text()
    networks = ["--networks", "shared,truncated", "--seeds", 2, "--best_mse", 0.001]
    same = [*TINY, *options(files), *networks, "--run_dir", compared]
    assert call(*same) == 2
    assert "holds a trained run" in capsys.readouterr().err
    assert call(*same, "--resume_from_checkpoint", "true") == 0
    now = json.loads((compared / "comparison.json").read_text())
    for name, row in json.loads(before)["networks"].items():
        assert now["networks"][name]["test"] == row["test"]


@pytest.mark.slow
def test_an_interruption_says_how_all_runs_go_on(files, tmp_path, monkeypatch, capsys):
    def stop(work):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(job.Job, "cost", stop)
    several = ["--networks", "shared,padded", "--seeds", 1, "--run_dir", tmp_path / "runs"]
    assert call(*TINY, *options(files), *several) == 130
    again = f"--run_dir {tmp_path / 'runs'} --resume_from_checkpoint true"
    assert (
        f"continue with all of them, run the same command with {again}" in capsys.readouterr().err
    )
    monkeypatch.undo()
    assert call(*TINY, *options(files), *several, "--resume_from_checkpoint", "true") == 0
    assert (tmp_path / "runs" / "comparison.html").is_file()


def test_the_commands_work_on_its_runs(compared, files, tmp_path, capsys):
    run, out = compared / "shared-42", tmp_path / "p.jsonl"
    predict = ["predict", "--run", run, "--input", files["test"], "--output", out]
    assert cli.main(list(map(str, predict))) == 0
    assert out.read_bytes() == (run / "predictions" / "test.jsonl").read_bytes()
    capsys.readouterr()
    evaluate = ["evaluate", "--gold", files["test"], "--train", files["train"]]
    evaluate += ["--predictions", out, "--json", tmp_path / "r.json", "--html", tmp_path / "r.html"]
    assert cli.main(list(map(str, evaluate))) == 0
    report = json.loads((tmp_path / "r.json").read_text())
    wanted = json.loads((run / "report.json").read_text())
    for key in ("mse", "mse_interval", "by_length", "residuals", "baselines", "gold_sha256"):
        assert report[key] == wanted[key]
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    for shown in ("Residuals", "Predicted against gold", "By length", "mse of mean, baseline"):
        assert shown in page
    assert cli.main(["compare", str(run), str(compared / "truncated-42")]) == 0
    assert "mse" in capsys.readouterr().out
    sample = tmp_path / "sample.csv"
    ids = [prediction.id for prediction in read_predictions(out)]
    sample.write_text("id,value\n" + "".join(f"{id},0.0\n" for id in ids))
    submit = ["submit", "--predictions", out, "--sample", sample, "--out", tmp_path / "s.csv"]
    assert cli.main(list(map(str, submit))) == 0
    rows = (tmp_path / "s.csv").read_text().splitlines()
    assert rows[0] == "id,value"
    assert float(rows[1].split(",")[1]) == pytest.approx(read_predictions(out)[0].value)


def test_other_layouts_are_predicted_alike(compared, files, tmp_path):
    rows = [json.loads(line) for line in files["test"].read_text().splitlines()]
    arrays = [np.array(row["features"], dtype=np.float32) for row in rows]
    (tmp_path / "test.pkl").write_bytes(pickle.dumps(arrays))
    out = tmp_path / "p.jsonl"
    predict = ["predict", "--run", compared / "truncated-42", "--input", tmp_path / "test.pkl"]
    assert cli.main([*map(str, predict), "--output", str(out)]) == 0
    known = read_predictions(compared / "truncated-42" / "predictions" / "test.jsonl")
    assert [one.value for one in read_predictions(out)] == [one.value for one in known]


def test_a_file_of_another_width_is_refused_by_predict(compared, tmp_path, capsys):
    rows = [{"features": [[1, 2, 3]]}, {"features": [[1, 2, 3], [4, 5, 6]]}]
    wide = write(tmp_path / "wide.jsonl", rows)
    predict = ["predict", "--run", compared / "shared-42", "--input", wide, "--output", "-"]
    with pytest.raises(SystemExit) as stop:
        cli.main(list(map(str, predict)))
    assert stop.value.code == 2
    assert "2 with steps of 3 numbers (id 0, 1)" in capsys.readouterr().err


def test_an_unlabelled_test_file_is_predicted(files, tmp_path):
    rows = [json.loads(line) for line in files["test"].read_text().splitlines()]
    for row in rows:
        del row["value"]
    hidden = write(tmp_path / "test.jsonl", rows)
    given = options(files | {"test": hidden})
    run = tmp_path / "run"
    assert call(*TINY, *given, "--networks", "shared", "--seeds", 1, "--run_dir", run) == 0
    assert len(read_predictions(run / "predictions" / "test.jsonl")) == 24
    assert json.loads((run / "report.json").read_text())["split"] == "dev"


def test_one_run_has_the_best_possible_mse_beside(files, tmp_path):
    run, one = tmp_path / "run", ["--networks", "padded", "--seeds", 1, "--best_mse", 0.125]
    assert call(*TINY, *options(files), *one, "--run_dir", run) == 0
    assert json.loads((run / "report.json").read_text())["best_mse"] == 0.125
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "best possible" in page
    assert "0.125" in page


def test_bad_input_is_one_list_of_all_faults(files, tmp_path, capsys):
    faulty = tmp_path / "train.jsonl"
    rows = [json.loads(line) for line in files["train"].read_text().splitlines()]
    bad = [
        {"features": [], "value": 1.5},
        {"features": [[1, float("nan")]], "value": 1.5},
        {"features": [[1, float("inf")]], "value": 1.5},
        {"features": [[1, 2, 3]], "value": 1.5},
        {"features": [[1, 2], [3]], "value": 1.5},
        {"features": [[1, None]], "value": 1.5},
        {"features": [["a", 2]], "value": 1.5},
        {"features": [[1, 2]], "value": None},
    ]
    write(faulty, [*rows, *bad])
    dev = write(tmp_path / "dev.jsonl", [{"features": [[1]], "value": 1.5}])
    given = options(files | {"train": faulty, "dev": dev})
    assert call(*given, "--run_dir", tmp_path / "run") == 2
    shown = capsys.readouterr()
    assert "the data has faults (above)" in one_error(shown.err)
    said = shown.out + shown.err
    kinds = [
        "empty_sequence",
        "not_finite",
        "not_finite",
        "wrong_width",
        "wrong_width",
        "missing_value",
    ]
    for line, kind in enumerate([*kinds, "wrong_type", "missing_value"], start=65):
        assert f"train.jsonl, line {line} (id {line - 1}): {kind}" in said
    assert "dev.jsonl, line 1 (id 0): wrong_width" in said
    assert not (tmp_path / "run").exists()


def test_texts_with_numbers_are_refused(files, tmp_path, capsys):
    texts = write(tmp_path / "t.jsonl", [{"text": f"text {n}", "label": n / 3} for n in range(9)])
    given = options({"train": texts, "dev": texts})
    assert call(*given, "--run_dir", tmp_path / "run") == 2
    assert "id 0: no sequence of vectors" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


class Payload:
    def __reduce__(self):
        return print, ("executed",)


def test_a_pickle_that_names_another_class_is_refused(files, tmp_path, capsys):
    path = tmp_path / "train.pkl"
    path.write_bytes(pickle.dumps([np.ones((2, 2)), Payload()]))
    assert call(*options(files | {"train": path}), "--run_dir", tmp_path / "run") == 2
    written = capsys.readouterr()
    assert "the pickle names builtins.print, which could run code" in written.err
    assert "executed" not in written.out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--networks", "shared,lstm"], "wanted some of shared, truncated, padded"),
        (["--networks", "shared,shared"], "each once"),
        (["--align", "middle"], "wanted one of start, end"),
        (["--networks", "shared", "--align", "end"], "does not read --align"),
        (["--seeds", 0], "wanted 1 or more"),
        (["--hidden_size", 0, "--networks", "shared", "--seeds", 1], "1 or more"),
        (["--resume_from_checkpoint", "some/folder"], "for several runs"),
        (["--label_smoothing_factor", 0.1], "no classes to smooth"),
        (["--metric_for_best_model", "f1"], "wanted one of mse, loss"),
    ],
)
def test_options_that_do_not_fit_are_refused(given, message, files, tmp_path, capsys):
    assert call(*options(files), "--run_dir", tmp_path / "run", *given) == 2
    assert message in capsys.readouterr().err


def test_a_damaged_process_file_is_one_line(files, tmp_path, capsys):
    train = tmp_path / "train.jsonl"
    train.write_bytes(files["train"].read_bytes())
    (tmp_path / "process.json").write_text('{"best_mse": ')
    assert call(*options(files | {"train": train}), "--run_dir", tmp_path / "run") == 2
    assert "no number `best_mse`" in capsys.readouterr().err


@pytest.mark.slow
def test_the_shared_network_learns_the_sample(tmp_path):
    """Within twice the noise that no network can predict, and far below the training mean."""
    run = tmp_path / "run"
    assert call("--networks", "shared", "--seeds", 1, "--run_dir", run) == 0
    report = json.loads((run / "report.json").read_text())
    assert 0.2 < report["mse"] < 0.6 < report["baselines"]["mean"]["mse"]
