"""The line that says when a network still gives one answer to everything."""

import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import load_recipe

from pipelines.evaluation.thresholds import decision_scores
from pipelines.examples import Example, Span
from pipelines.families.training.majority import watch_classes, watch_mentions

TARGETS = np.array([0, 1, 1, 1])


def lines_of(watch, metrics, caplog):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        watch.on_evaluate(None, SimpleNamespace(epoch=1.0), None, metrics=metrics)
    return [record.message for record in caplog.records]


def scores_of(predicted):
    logits = np.eye(2)[predicted]
    return {f"eval_{name}": value for name, value in decision_scores(logits, TARGETS).items()}


def test_one_class_for_all_texts(caplog):
    [watch] = watch_classes(["no", "yes"], TARGETS)
    [line] = lines_of(watch, scores_of([1, 1, 1, 1]), caplog)
    assert line.startswith("after 1 epochs the network still gives all texts of dev the same class")
    assert lines_of(watch, scores_of([0, 0, 0, 0]), caplog)
    assert not lines_of(watch, scores_of([0, 1, 1, 1]), caplog)
    # Right as often as the majority, but by another answer.
    assert not lines_of(watch, scores_of([0, 0, 1, 1]), caplog)
    assert not lines_of(watch, {"train_accuracy": 0.75}, caplog)


def test_nothing_to_watch():
    assert not watch_classes(["no", "yes"], np.array([1, 1]))
    assert not watch_classes(["no", "yes"], np.array([[1, 0], [0, 1]]))
    assert not watch_mentions([])
    assert not watch_mentions([Example("0", "fine", spans=())])


def test_no_mention(caplog):
    [watch] = watch_mentions([Example("0", "a flu", spans=(Span(2, 5, "Disease"),))])
    zero = {"eval_strict_f1": 0.0, "eval_strict_precision": 0.0, "eval_strict_recall": 0.0}
    assert "still finds no mention of dev" in lines_of(watch, zero, caplog)[0]
    assert not lines_of(watch, zero | {"eval_strict_f1": 0.1}, caplog)


@pytest.mark.slow
def test_a_classifier_that_gives_one_class_says_so(tmp_path, capsys, monkeypatch):
    train = [("good film", "yes"), ("bad film", "no"), ("fine play", "yes"), ("dull play", "no")]
    alike = [("the same words", label) for label in ("yes", "no", "yes")]
    arguments = ["--network", "bag_of_embeddings", "--num_train_epochs", 1]
    arguments += ["--run_dir", tmp_path / "run"]
    for split, rows in (("train", train), ("dev", alike), ("test", alike)):
        file = tmp_path / f"{split}.csv"
        lines = [f"{split}-{number},{text},{label}" for number, (text, label) in enumerate(rows)]
        file.write_text("\n".join(["id,text,label", *lines]) + "\n")
        arguments += [f"--{split}_file", file]
    monkeypatch.setattr(sys, "argv", ["train_text_classifier.py", *map(str, arguments)])
    load_recipe("train_text_classifier").main()
    printed = "".join(capsys.readouterr())
    assert "after 1 epochs the network still gives all texts of dev the same class" in printed
