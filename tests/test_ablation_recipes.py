"""`--ablate` in the recipes themselves."""

import json
import re

import pytest
import yaml
from conftest import ROOT, run_python
from recipe_cases import RECIPES, arguments_of, call, classes, data, models, pictures, sequences  # noqa: F401 - fixtures

from pipelines import cli

WITHOUT = ("grid_search_head", "pretrain_encoder", "pretrain_lm", "train_sequence_regressor")
ABLATING = [name for name in RECIPES if name.split()[0] not in WITHOUT]


@pytest.mark.parametrize("name", ABLATING)
def test_an_unknown_option_is_refused_before_anything_runs(name, models, data, tmp_path, capsys):
    words = [*arguments_of(name, models, data), "--run_dir", tmp_path / "ablation"]
    assert call(name, *words, "--ablate", "sed=1", "run_dri=a") == 2
    error = capsys.readouterr().err
    assert "there is no option run_dri" in error
    assert not (tmp_path / "ablation").exists()


def test_a_grid_and_a_recipe_without_a_score_are_refused(models, data, tmp_path, capsys):
    for name, message in (
        ("grid_search_head", "this recipe searches a grid"),
        ("pretrain_encoder", "without a score on dev"),
        ("pretrain_lm", "without a score on dev"),
        ("train_sequence_regressor", "by --networks and --seeds"),
    ):
        assert call(name, *arguments_of(name, models, data), "--ablate", "seed=1") == 2
        assert message in capsys.readouterr().err


def test_options_that_a_network_does_not_read_are_refused(models, data, tmp_path, capsys):
    words = arguments_of("train_text_classifier linear_svm", models, data)
    folder = tmp_path / "ablation"
    ablate = ["--ablate", "c=10", "hidden_size=64", "network=majority,rnn"]
    assert call("train_text_classifier", *words, "--run_dir", folder, *ablate) == 2
    error = capsys.readouterr().err
    assert "hidden_size=64: --network linear_svm does not read --hidden_size" in error
    assert "network=" not in error
    assert not folder.exists()


@pytest.mark.extensive
@pytest.mark.slow
def test_a_real_ablation_ends_on_test(data, tmp_path, capsys):
    files = data["classes"]
    config = tmp_path / "ablation.yaml"
    variants = {"c": [0.01], "majority": {"network": "majority"}}
    config.write_text(yaml.safe_dump({"network": "linear_svm", "ablate": variants, "seeds": 1}))
    words = [ROOT / "recipes" / "train_text_classifier.py", "--config", config]
    for split in ("train", "dev", "test"):
        words += [f"--{split}_file", files[split]]
    folder = tmp_path / "ablation"
    words += ["--run_dir", folder, "--final_k", 3, "--jobs", 2]
    done = run_python(*words)
    assert done.returncode == 0, done.stderr
    results = json.loads((folder / "ablation.json").read_text(encoding="utf-8"))
    rows = {row["name"]: row for row in results["variants"]}
    assert rows.keys() == {"baseline", "c=0.01", "majority"}
    assert rows["majority"]["value"] == 0.5
    for name, row in rows.items():
        report = json.loads((folder / name / "seed-42" / "report.json").read_text())
        assert (report["split"], report["accuracy"]) == ("dev", row["value"])
        assert not (folder / name / "seed-42" / "predictions" / "test.jsonl").exists()
    assert {row["name"] for row in results["test"]["variants"]} == rows.keys()
    assert results["test"]["examples"] == 6
    assert re.search(r"Dev's ranking (held|did not hold) on test", done.stdout)
    assert call("train_text_classifier", *words[1:]) == 0
    assert "it is scored once" in capsys.readouterr().out
    page = (folder / "ablation.html").read_text(encoding="utf-8")
    assert "Ablation of train_text_classifier" in page
    assert cli.main(["compare", *map(str, folder.glob("*/seed-42"))]) == 0
    compared = capsys.readouterr().out
    assert "what differs" in compared
    assert "c 0.01, network linear_svm" in compared
