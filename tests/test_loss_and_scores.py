"""Answers to the written questions about losses and scores, against numbers worked by hand."""

import math

import pytest
import torch
from sklearn.metrics import f1_score

from pipelines.studies.loss_and_scores import (
    AFTER,
    BEFORE,
    GOLD,
    evaluations,
    f1_along_a_step,
    f1_by_batches,
    f1_of,
    loss_and_f1,
    opposite_epochs,
    softmax_twice,
)


def test_the_loss_falls_while_f1_falls_by_hand():
    before, after = loss_and_f1(BEFORE), loss_and_f1(AFTER)
    assert before.loss == pytest.approx(-math.log(0.51))
    assert after.loss == pytest.approx(-(3 * math.log(0.9) + math.log(0.45)) / 4)
    assert (before.f1, after.f1) == (1.0, 0.0)
    assert after.loss < before.loss
    assert GOLD == (0, 0, 0, 1)


def test_f1_is_that_of_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        gold, predicted = torch.randint(0, 2, (2, 9), generator=generator)
        assert f1_of(predicted, gold) == pytest.approx(f1_score(gold, predicted, zero_division=0))


def test_epochs_at_which_loss_and_score_move_alike():
    log = [
        {"epoch": 1, "eval_loss": 1.0, "eval_strict_f1": 0.5},
        {"epoch": 1.5, "loss": 0.3},
        {"epoch": 2, "eval_loss": 0.8, "eval_strict_f1": 0.6},
        {"epoch": 3, "eval_loss": 0.7, "eval_strict_f1": 0.5},
        {"epoch": 4, "eval_loss": 0.9, "eval_strict_f1": 0.7},
        {"epoch": 5, "eval_loss": 0.9, "eval_strict_f1": 0.9},
    ]
    found = opposite_epochs(log, "strict_f1")
    assert [(epoch, round(loss, 6), round(score, 6)) for epoch, loss, score in found] == [
        (3, -0.1, -0.1),
        (4, 0.2, 0.2),
    ]


def test_f1_has_no_slope_and_the_loss_has_one_everywhere():
    rows = f1_along_a_step()
    assert all(slope < 0 for _, _, slope, _ in rows)
    assert all(slope == 0 for *_, slope in rows)
    assert {both.f1 for _, both, _, _ in rows} == {0.0, 1.0}
    whole, halves = f1_by_batches()
    assert whole == pytest.approx(2 * 3 / (4 + 5))
    assert halves == [1.0, 0.0]


@pytest.mark.parametrize("confidence", [-2.0, 0.0, 1.5, 8.0])
def test_a_softmax_too_many(confidence):
    one = softmax_twice(confidence)
    share = math.exp(confidence) / (math.exp(confidence) + 8)
    assert one.cross_entropy == pytest.approx(-math.log(share))
    assert one.nll == pytest.approx(one.cross_entropy)
    assert one.gradient == pytest.approx(share - 1)
    assert one.least == pytest.approx(-math.log(math.e / (math.e + 8)))
    assert one.softmax_twice > one.least
    assert abs(one.softmax_twice_gradient) < abs(one.gradient)


def test_what_evaluation_keeps():
    right, with_gradient, with_dropout = evaluations(sentences=4, tokens=9)
    assert (right.kept, right.equal) == (0, True)
    assert with_gradient.equal
    assert with_gradient.kept > 4 * 9 * 256 * 4  # at least the states, in float32
    assert (with_dropout.kept, with_dropout.equal) == (0, False)
