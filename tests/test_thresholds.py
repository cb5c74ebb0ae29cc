"""Thresholds of classes and spans: hand-worked cases, scikit-learn's scores, and the best of all."""

import numpy as np
import pytest
from sklearn import metrics

from pipelines.evaluation.thresholds import decide, decision_scores, has_rare_class, tune_offsets


def test_decisions_with_and_without_offsets():
    logits = np.array([[0.0, -1.0], [0.0, -3.0]])
    assert decide(logits, multi_label=False).tolist() == [0, 0]
    assert decide(logits, (0.0, 2.0), multi_label=False).tolist() == [1, 0]
    decided = decide(logits, (-1.0, 2.0), multi_label=True)
    assert decided.tolist() == [[False, True], [False, False]]


def test_two_classes_have_one_threshold():
    # Class 1 is right from a margin of -2 up; the plain decision says class 0 everywhere.
    margins = np.array([-5.0, -4.0, -3.0, -1.0, -0.5])
    logits, targets = np.stack([np.zeros(5), margins], axis=1), np.array([0, 0, 0, 1, 1])
    offsets = tune_offsets(logits, targets, "macro_f1")
    assert decide(logits, offsets, multi_label=False).tolist() == targets.tolist()
    assert offsets.tolist() == pytest.approx([-2.0, 0.0])


def test_of_several_classes_each_has_its_own():
    logits = np.array([[-3.0, -1.0], [-1.0, -4.0], [-2.5, -2.0]])
    targets = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    offsets = tune_offsets(logits, targets, "macro_f1")
    assert (decide(logits, offsets, multi_label=True) == targets).all()
    assert offsets.tolist() == [1.75, 3.0]


def test_three_classes_are_tuned_in_turn():
    logits = np.array([[4.0, 0.0, 0.0], [3.0, 2.0, 0.0], [3.0, 0.0, 2.5]])
    targets = np.array([0, 1, 2])
    assert decision_scores(logits, targets)["accuracy"] == pytest.approx(1 / 3)
    offsets = tune_offsets(logits, targets, "accuracy")
    assert decision_scores(logits, targets, offsets)["accuracy"] == 1.0


@pytest.mark.parametrize("objective", ["macro_f1", "matthews"])
def test_decisions_that_are_right_stay_as_they_are(objective):
    logits, targets = np.eye(3), np.arange(3)
    assert not tune_offsets(logits, targets, objective).any()


def test_scores_agree_with_scikit_learn():
    random = np.random.default_rng(1)
    logits, targets = random.normal(size=(50, 4)), random.integers(4, size=50)
    scores, predicted = decision_scores(logits, targets), logits.argmax(1)
    for average in ("macro", "micro", "weighted"):
        wanted = metrics.f1_score(targets, predicted, average=average)
        assert scores[f"{average}_f1"] == pytest.approx(wanted)
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(targets, predicted))
    assert scores["matthews"] == pytest.approx(metrics.matthews_corrcoef(targets, predicted))


def test_scores_of_several_classes_agree_with_scikit_learn():
    random = np.random.default_rng(2)
    logits, targets = random.normal(size=(50, 4)), random.integers(2, size=(50, 4))
    scores, predicted = decision_scores(logits, targets), logits > 0
    for average in ("macro", "micro", "weighted"):
        wanted = metrics.f1_score(targets, predicted, average=average)
        assert scores[f"{average}_f1"] == pytest.approx(wanted)
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(targets, predicted))


def test_a_class_below_half_its_even_share_is_rare():
    counts = {"a": 75, "b": 25}
    assert not has_rare_class(counts, n_examples=100, n_classes=2, multi_label=False)
    counts = {"a": 76, "b": 24}
    assert has_rare_class(counts, n_examples=100, n_classes=2, multi_label=False)
    # Of several classes a text, the even share of each is one half, however many classes there are.
    assert has_rare_class(counts, n_examples=100, n_classes=20, multi_label=True)
    assert not has_rare_class(counts, n_examples=100, n_classes=20, multi_label=False)
