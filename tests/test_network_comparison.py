"""The comparison of networks: scores, verdicts and sentences follow from predictions worked by hand."""

import json

import numpy as np
import pytest

from pipelines.corpora.writing import write_predictions
from pipelines.evaluation.reports import evaluate_values
from pipelines.examples import Example, Prediction, Steps
from pipelines.reporting import network_comparison
from pipelines.reporting.network_comparison import compare_networks, epochs_near_best, holm
from pipelines.reporting.network_discussion import discussion
from pipelines.reporting.network_pages import networks_as_text, write_networks
from pipelines.runs.run import Run

COST = {"parameters": 10, "epochs": 4, "seconds": {"training": 1.0}, "peak_memory": 1}


def examples_of(split, n=40):
    random = np.random.default_rng(len(split))
    return [
        Example(
            f"{split}{i}",
            "",
            label=float(random.normal()),
            features=Steps(bytes(4 * (1 + i % 8)), 1),
        )
        for i in range(n)
    ]


SPLITS = {split: examples_of(split) for split in ("train", "dev", "test")}


def make_run(folder, errors, *, train_mse=0.1, curve=(4.0, 1.04, 1.0, 1.2), parameters=10):
    """A run whose predictions are off by `errors(i)`."""
    folder.mkdir(parents=True)
    run = Run(folder)
    for split in ("dev", "test"):
        answers = [
            Prediction(one.id, value=one.label + errors(i)) for i, one in enumerate(SPLITS[split])
        ]
        write_predictions(run.predictions(split), answers)
    report = {"split": "test", **evaluate_values(SPLITS["test"], answers)}
    cost = COST | {"parameters": parameters}
    run.write_json("report.json", report | {"cost": cost, "train": {"mse": train_mse}})
    log = [{"epoch": n + 1, "step": n, "eval_mse": mse} for n, mse in enumerate(curve)]
    run.write_json("trainer_log.json", log)
    return run


def sign(i):
    return 1 if i % 2 else -1


@pytest.fixture
def runs(tmp_path):
    return {
        "good": [
            make_run(tmp_path / "good-1", lambda i: 0.1 * sign(i), train_mse=0.01),
            make_run(tmp_path / "good-2", lambda i: 0.3 * sign(i), train_mse=0.03),
        ],
        "bad": [
            make_run(tmp_path / "bad-1", lambda i: 1.5 * sign(i), parameters=40),
            make_run(tmp_path / "bad-2", lambda i: (1 + i % 8) / 4 * sign(i), parameters=40),
        ],
    }


def test_scores_are_means_over_the_seeds(runs):
    comparison = compare_networks(runs, SPLITS, best_mse=0.04)
    good, bad = comparison["networks"]["good"], comparison["networks"]["bad"]
    assert good["test"]["mse"] == pytest.approx((0.01 + 0.09) / 2)
    assert good["test"]["sd"] == pytest.approx(np.std([0.01, 0.09], ddof=1))
    assert good["train_mse"] == pytest.approx(0.02)
    assert good["gap"] == pytest.approx(0.02 - 0.05)
    squares = np.mean([(n / 4) ** 2 for n in range(1, 9)])
    assert bad["dev"]["mse"] == pytest.approx((2.25 + squares) / 2)
    assert bad["test"]["by_length"]["1–2"] == pytest.approx((2.25 + (0.0625 + 0.25) / 2) / 2)
    assert (good["parameters"], bad["parameters"]) == (10, 40)
    assert good["epochs_near_best"] == 2
    gold = np.array([one.label for one in SPLITS["test"]])
    mean = np.mean([one.label for one in SPLITS["train"]])
    assert comparison["mean_mse"]["test"] == pytest.approx(((gold - mean) ** 2).mean())
    assert comparison["best_mse"] == 0.04


def test_a_pair_is_tested_on_the_mean_of_the_seeds(runs):
    [verdict] = compare_networks(runs, SPLITS)["verdicts"]["test"]
    networks = compare_networks(runs, SPLITS)["networks"]
    wanted = networks["good"]["test"]["mse"] - networks["bad"]["test"]["mse"]
    assert verdict["delta"] == pytest.approx(wanted)
    assert verdict["better"] == "a"
    assert verdict["p"] == verdict["p_adjusted"] < 0.05
    assert verdict["units"] == 40


def test_networks_that_do_not_differ_are_not_ranked(tmp_path):
    errors = np.random.default_rng(0).normal(size=40)
    runs = {
        "a": [make_run(tmp_path / "a", lambda i: errors[i])],
        "b": [make_run(tmp_path / "b", lambda i: 1.01 * errors[39 - i])],
    }
    comparison = compare_networks(runs, SPLITS)
    [verdict] = comparison["verdicts"]["test"]
    assert verdict["better"] is None
    assert comparison["networks"]["a"]["test"]["sd"] is None
    said = " ".join(discussion(comparison))
    assert "a and b cannot be told apart" in said
    assert "does not decide between" in said
    assert "is better than" not in said


def test_an_adjusted_p_decides(runs, monkeypatch):
    tested = {"delta": -1.0, "interval": [-2.0, -0.1], "p": 0.03, "better": "a", "metric": "mse"}
    monkeypatch.setattr(network_comparison, "compare_counts", lambda *_, **__: dict(tested))
    three = runs | {"third": runs["bad"]}
    verdicts = compare_networks(three, SPLITS)["verdicts"]["test"]
    assert [(one["p_adjusted"], one["better"]) for one in verdicts] == [(0.09, None)] * 3


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_epochs_to_within_five_percent():
    assert epochs_near_best([(1, 2.0), (2, 1.06), (3, 1.05), (4, 1.0)]) == 3
    assert epochs_near_best([]) is None


def test_each_sentence_follows_from_the_numbers(runs):
    said = discussion(compare_networks(runs, SPLITS, best_mse=0.04))
    assert said[0].startswith("On test, good has the lowest MSE (good 0.05, bad 1.")
    assert any(line.startswith("good is better than bad (Δ = -1.") for line in said)
    assert "Validation ranks good first too." in said
    assert "The best possible MSE is 0.04; good is 25 % above it." in said
    assert any("Overfitting is largest in bad (train 0.1, validation 1." in line for line in said)
    assert any(line.startswith("bad has the larger errors on long sequences") for line in said)
    assert "The MSE of good hardly depends on the length." in said
    assert "bad has 4.0 times the parameters of good (40 and 10)." in said
    assert any("which the interval of bad does not exclude" in line for line in said)


def test_other_numbers_give_other_sentences(tmp_path):
    runs = {
        "a": [make_run(tmp_path / "a", lambda i: 0.2 * sign(i), train_mse=0.04)],
        "b": [make_run(tmp_path / "b", lambda i: (9 - i % 8) / 20 * sign(i), train_mse=0.5)],
    }
    said = " ".join(discussion(compare_networks(runs, SPLITS, best_mse=0.04)))
    assert "No network fits its training examples much better than validation." in said
    assert "The interval includes it" in said
    assert "b has the larger errors on short sequences" in said
    assert "times the parameters" in said
    assert "does not exclude" not in said


def test_an_unlabelled_test_file_leaves_validation(runs):
    hidden = [Example(one.id, "", features=one.features) for one in SPLITS["test"]]
    comparison = compare_networks(runs, SPLITS | {"test": hidden})
    assert list(comparison["examples"]) == ["dev"]
    assert discussion(comparison)[0].startswith("On validation, good has the lowest")
    nothing = compare_networks(runs, {"train": SPLITS["train"], "test": hidden})
    assert discussion(nothing) == ["No split that is compared has numbers to score against."]
    assert "networks on" in networks_as_text(nothing)


def test_the_page_and_the_text_hold_the_numbers(runs, tmp_path):
    comparison = compare_networks(runs, SPLITS, best_mse=0.04)
    json.dumps(comparison, allow_nan=False)
    text = networks_as_text(comparison)
    write_networks(comparison, runs, tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    for shown in ("best possible", "training mean", "0.05", "1–2", "good − bad"):
        assert shown in text
        assert shown in page
    assert page.count("<svg") == 2
    for sentence in discussion(comparison):
        assert sentence in text
