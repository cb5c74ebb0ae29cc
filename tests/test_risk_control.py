"""Thresholds that control a mean loss: hand-worked cases, p-values, and coverage by simulation."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from pipelines.evaluation import risk_control
from pipelines.evaluation.guarantee import figures, parse_goal
from pipelines.evaluation.risk_control import (
    Answers,
    error_rates,
    fewest_units,
    miss_rates,
    pilot_units,
    risk_p_values,
    threshold_for,
)


def documents(scores, *, right=True):
    """A document with one gold mention for each score, which is found with that score, or not."""
    count = len(scores)
    correct = np.full(count, right)
    return Answers(np.array(scores), correct, np.arange(count), np.ones(count))


TENTHS = [0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 0.8, 0.4, 0.6]


def test_recall_worked_by_hand():
    # With n = 9, (misses + 1) / 10 <= 0.2 allows one miss, <= 0.1 none, <= 0.3 two.
    thresholds = [threshold_for(documents(TENTHS), parse_goal(f"recall=0.{n}")) for n in (8, 9, 7)]
    assert thresholds == [0.2, 0.1, 0.3]


def test_answers_of_one_score_are_kept_together():
    # One miss is allowed, but 0.1 and 0.2 have become one score: dropping it would miss two.
    tied = [max(score, 0.2) for score in TENTHS]
    assert threshold_for(documents(tied), parse_goal("recall=0.8")) == 0.2
    assert threshold_for(documents(tied), parse_goal("recall=0.7")) == 0.3
    assert miss_rates(documents(tied)).total.tolist() == [8, 7, 6, 5, 4, 3, 2, 0]


def random_answers(generator, n_units, *, missed=0.05):
    """Documents that differ in how well they are answered; higher scores are right more often."""
    count = generator.poisson(3, n_units)
    unit = np.repeat(np.arange(n_units), count)
    score = generator.beta(3, 1, len(unit)).round(3)
    hardness = generator.choice([0.5, 3.0], n_units)[unit]
    correct = generator.random(len(unit)) < score**hardness
    found = np.bincount(unit, weights=correct, minlength=n_units)
    return Answers(score, correct, unit, found + generator.poisson(missed, n_units))


@pytest.mark.parametrize("seed", range(5))
def test_losses_of_every_threshold_are_those_of_the_kept_answers(seed):
    answers = random_answers(np.random.default_rng(seed), 40)
    misses, errors = miss_rates(answers), error_rates(answers)
    assert (np.diff(misses.total) <= 1e-12).all()  # a lower threshold misses no more
    assert (np.diff(errors.total) < 0).any()  # errors rise and fall
    for row, threshold in enumerate(misses.threshold):
        kept = figures(answers, threshold)
        assert misses.total[row] / misses.units[row] == pytest.approx(1 - kept["recall"])
        assert errors.total[row] / errors.units[row] == pytest.approx(1 - kept["precision"])
    assert errors.units[-1] == len(set(answers.unit))


def test_p_values_worked_by_hand():
    # Without a loss 0.95^45 = 0.0994; e · 0.95^45 is greater.
    assert risk_p_values(np.array([0.0]), np.array([45]), 0.05) == pytest.approx(0.95**45)
    hoeffding = math.exp(-100 * (0.01 * math.log(0.1) + 0.99 * math.log(0.99 / 0.9)))
    bentkus = math.e * binom.cdf(1, 100, 0.1)
    assert hoeffding != pytest.approx(bentkus)
    p = risk_p_values(np.array([0.6, 1.0, 10.0, 50.0]), np.array([100, 100, 100, 100]), 0.1)
    assert p[1] == pytest.approx(min(hoeffding, bentkus))
    assert p[0] <= p[1]
    assert p[2:].tolist() == [1.0, 1.0]  # a mean of alpha or more proves nothing
    assert risk_p_values(np.array([0.0]), np.array([0]), 0.1) == 1.0


@pytest.mark.parametrize("n", [10, 47, 300])
@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5])
def test_p_values_are_valid_at_the_boundary(n, alpha):
    # The chance of each number of losses is exact: P(p <= delta) over them is at most delta.
    losses = np.arange(n + 1)
    p = risk_p_values(losses, np.full(n + 1, n), alpha)
    assert (np.diff(p) >= 0).all()
    for delta in (0.01, 0.05, 0.1, 0.3):
        assert binom.pmf(losses, n, alpha)[p <= delta].sum() <= delta


def test_the_tests_of_precision_stop_at_the_first_that_does_not_reject():
    answers = random_answers(np.random.default_rng(3), 600)
    goal = parse_goal("precision=0.8")
    threshold = threshold_for(answers, goal)
    losses = error_rates(answers.of_units(~pilot_units(600)))
    p = risk_p_values(losses.total, losses.units, goal.alpha)
    row = int(np.flatnonzero(losses.threshold >= threshold)[-1])
    assert p[row] <= 0.1 < p[row + 1]
    assert p[0] > 0.1  # at the highest score too few are kept: the sequence begins below


def simulate(text, delta, *, draws=200, n_units=200):
    """The true risk of the threshold of each draw, 0 where there is none; from many documents."""
    goal, generator = parse_goal(text, delta), np.random.default_rng(0)
    losses_of = miss_rates if goal.measure == "recall" else error_rates
    new = losses_of(random_answers(generator, 20_000))
    risks = []
    for _ in range(draws):
        threshold = threshold_for(random_answers(generator, n_units), goal)
        row = 0 if threshold is None else int((new.threshold >= threshold).sum()) - 1
        risks.append(0.0 if threshold is None else new.total[row] / new.units[row])
    return np.array(risks), goal


def test_recall_holds_in_expectation_over_draws():
    risks, goal = simulate("recall=0.8", None)
    error = risks.std() / math.sqrt(len(risks))
    assert goal.alpha - 0.02 < risks.mean() <= goal.alpha + 2 * error
    assert 0.2 < (risks > goal.alpha).mean() < 0.8  # but not in each draw


@pytest.mark.parametrize("text", ["recall=0.8", "precision=0.8"])
def test_with_delta_it_fails_in_few_draws(text):
    risks, goal = simulate(text, 0.1)
    assert (risks > goal.alpha).mean() <= 0.1
    assert (risks > 0).mean() > 0.5  # and most draws give a threshold


def test_it_fails_in_too_many_draws_without_the_tests(monkeypatch):
    monkeypatch.setattr(risk_control, "risk_p_values", lambda total, n, alpha: total > alpha * n)
    risks, goal = simulate("precision=0.8", 0.1)
    assert (risks > goal.alpha).mean() > 0.2


def test_fewest_units():
    assert [fewest_units(parse_goal(f"recall={level}")) for level in (0.95, 0.9, 0.5)] == [19, 9, 1]
    assert fewest_units(parse_goal("recall=0.95", 0.1)) == 45
    assert fewest_units(parse_goal("precision=0.95")) == 57  # 12 of them are the pilot
