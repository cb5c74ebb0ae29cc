"""Thresholds that control a mean loss: conformal risk control, and Learn then Test.

Conformal risk control (Angelopoulos, Bates, Fisch, Lei, Schuster 2022,
https://arxiv.org/abs/2208.02814) bounds the expectation of a loss that does not fall as the
threshold rises. Learn then Test (Angelopoulos, Bates, Candès, Jordan, Lei 2021,
https://arxiv.org/abs/2110.01052) bounds the mean of any loss, with a given probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipelines.evaluation.classification import last_of_equals

PILOT_SHARE = 0.2  # of the units, which only choose where the tests of precision begin
SEED = 0  # of the choice of the pilot units
ROUNDING = 1e-9  # sums of fractions such as 1/3 are not exact


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be guaranteed.

    Attributes:
        measure: `recall` or `precision`.
        level: its least mean, between 0 and 1.
        alpha: the greatest mean loss, 1 − level.
        delta: the chance that the guarantee fails; None: it holds in expectation.
    """

    measure: str
    level: float
    alpha: float
    delta: float | None

    def __str__(self) -> str:
        return f"{self.measure}={self.level:g}"


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers of a corpus with their scores.

    Attributes:
        score: of shape (n_answers,).
        correct: whether each is right, of shape (n_answers,).
        unit: the unit that each belongs to, of shape (n_answers,).
        gold: gold answers of each unit, of shape (n_units,).
    """

    score: np.ndarray
    correct: np.ndarray
    unit: np.ndarray
    gold: np.ndarray

    def of_units(self, chosen: np.ndarray) -> Answers:
        """The answers of the units that a mask of shape (n_units,) chooses."""
        rows = chosen[self.unit]
        unit = (np.cumsum(chosen) - 1)[self.unit[rows]]
        return Answers(self.score[rows], self.correct[rows], unit, self.gold[chosen])


@dataclass(frozen=True, slots=True)
class Losses:
    """The losses of units when answers are kept from each distinct score on, highest score first.

    Attributes:
        threshold: distinct scores in falling order, of shape (n_scores,).
        total: the sum of the units' losses, each between 0 and 1, of shape (n_scores,).
        units: how many units have a loss, of shape (n_scores,).
    """

    threshold: np.ndarray
    total: np.ndarray
    units: np.ndarray


def miss_rates(answers: Answers) -> Losses:
    """Of each unit with gold answers, the share that is not found: 1 − its recall."""
    has_gold = answers.gold > 0
    n_units = int(has_gold.sum())
    order = np.argsort(-answers.score, kind="stable")
    gold = np.maximum(answers.gold[answers.unit[order]], 1)
    found = np.cumsum(answers.correct[order] / gold)
    last = last_of_equals(answers.score[order]) if len(order) else np.zeros(0, dtype=np.int64)
    threshold = answers.score[order][last]
    return Losses(threshold, np.maximum(n_units - found[last], 0.0), np.full(len(last), n_units))


def error_rates(answers: Answers) -> Losses:
    """Of each unit with a kept answer, the share of these that is wrong: 1 − its precision."""
    if not len(answers.score):
        return Losses(*(np.zeros(0) for _ in range(3)))
    # Within a unit, highest score first: its rate after each of its answers.
    order = np.lexsort((-answers.score, answers.unit))
    unit, wrong = answers.unit[order], ~answers.correct[order]
    is_first = np.append(True, unit[1:] != unit[:-1])
    first = np.maximum.accumulate(np.where(is_first, np.arange(len(unit)), 0))
    n_wrong = np.cumsum(wrong)
    n_wrong = n_wrong - (n_wrong - wrong)[first]
    rate = n_wrong / (np.arange(len(unit)) - first + 1)
    change = np.diff(rate, prepend=0.0)
    change[is_first] = rate[is_first]
    # Over the corpus, highest score first: the sum of the rates after each answer.
    score = answers.score[order]
    by_score = np.argsort(-score, kind="stable")
    last = last_of_equals(score[by_score])
    total = np.maximum(np.cumsum(change[by_score])[last], 0.0)
    return Losses(score[by_score][last], total, np.cumsum(is_first[by_score])[last])


def risk_p_values(total: np.ndarray, units: np.ndarray, alpha: float) -> np.ndarray:
    """P-values of Hoeffding and Bentkus for "the mean loss is above alpha".

    Bates, Angelopoulos, Lei, Malik, Jordan 2021, https://arxiv.org/abs/2101.02703, theorem 5 and
    proposition 6: min(exp(−n h(min(R, α), α)), e · P(Binomial(n, α) ≤ ⌈n R⌉)), where R is the mean
    of n losses and h the relative entropy of two Bernoulli variables.

    Args:
        total: sums of losses between 0 and 1, of shape (...).
        units: how many losses each sum has, of the same shape.
        alpha: the mean loss that is tested.

    Returns:
        Of the same shape; 1 without a loss.
    """
    from scipy.special import bdtr, rel_entr

    units = np.asarray(units, dtype=float)
    n = np.maximum(units, 1)
    mean = np.minimum(np.asarray(total) / n, alpha)
    entropy = rel_entr(mean, alpha) + rel_entr(1 - mean, 1 - alpha)
    losses = np.minimum(np.ceil(np.asarray(total) - ROUNDING), n)
    bentkus = math.e * bdtr(np.maximum(losses, 0), n, alpha)
    return np.where(units > 0, np.minimum(np.exp(-n * entropy), np.minimum(bentkus, 1)), 1.0)


def _conformal_threshold(losses: Losses, n_units: int, alpha: float) -> float | None:
    """The highest threshold with (total + 1) / (n + 1) ≤ alpha: equation 4, with B = 1."""
    holds = losses.total + 1 <= alpha * (n_units + 1) + ROUNDING
    return float(losses.threshold[np.argmax(holds)]) if holds.any() else None


def _tested_recall_threshold(losses: Losses, alpha: float, delta: float) -> float | None:
    """The highest threshold up to which, from the lowest on, every test rejects."""
    p = risk_p_values(losses.total, losses.units, alpha)[::-1]
    count = _leading(p <= delta)
    return float(losses.threshold[::-1][count - 1]) if count else None


def _tested_precision_threshold(answers: Answers, alpha: float, delta: float) -> float | None:
    """The lowest threshold down to which, from a start on, every test rejects.

    At a high threshold too few units keep an answer for any test to reject, so that the sequence
    has to begin lower. Pilot units choose where, and the others are tested: their p-values are
    valid, since the start does not depend on them. The tests go through all thresholds below the
    start; p-values change only at the scores.
    """
    pilot = pilot_units(len(answers.gold))
    start = _start(error_rates(answers.of_units(pilot)), pilot, alpha, delta)
    losses = error_rates(answers.of_units(~pilot))
    if start is None or not len(losses.threshold) or losses.threshold[0] < start:
        return None
    first = int((losses.threshold >= start).sum()) - 1  # what the start keeps
    p = risk_p_values(losses.total[first:], losses.units[first:], alpha)
    count = _leading(p <= delta)
    return min(start, float(losses.threshold[first + count - 1])) if count else None


def pilot_units(n_units: int) -> np.ndarray:
    """Which units are the pilot, a mask of shape (n_units,)."""
    pilot = np.zeros(n_units, dtype=bool)
    order = np.random.default_rng(SEED).permutation(n_units)
    pilot[order[: math.ceil(PILOT_SHARE * n_units)]] = True
    return pilot


def _start(losses: Losses, pilot: np.ndarray, alpha: float, delta: float) -> float | None:
    """The highest threshold at which a test of the other units should reject with some margin."""
    if not len(losses.threshold):
        return None
    n_pilot = int(pilot.sum())
    expected_units = losses.units * ((len(pilot) - n_pilot) / n_pilot)
    # One more unit with the loss alpha: a handful of units without an error prove little.
    mean = (losses.total + alpha) / (losses.units + 1)
    n = np.round(expected_units)
    p = risk_p_values(mean * n, n, alpha)
    enough = p <= delta / 4
    return float(losses.threshold[np.argmax(enough) if enough.any() else np.argmin(p)])


def _leading(values: np.ndarray) -> int:
    """How many are true before the first that is not."""
    return len(values) if values.all() else int(np.argmin(values))


def threshold_for(answers: Answers, goal: Goal) -> float | None:
    """The threshold that the goal allows: answers with this score or a higher one are kept.

    For recall the highest, which keeps the fewest answers; for precision the lowest.

    Returns:
        None where no threshold is known to reach the level.
    """
    if goal.measure == "precision":
        assert goal.delta is not None
        return _tested_precision_threshold(answers, goal.alpha, goal.delta)
    losses = miss_rates(answers)
    if goal.delta is None:
        return _conformal_threshold(losses, int((answers.gold > 0).sum()), goal.alpha)
    return _tested_recall_threshold(losses, goal.alpha, goal.delta)


def fewest_units(goal: Goal) -> int:
    """The number of units with which the level can be reached if there is no error at all.

    1/α − 1 in expectation; ln δ / ln(1 − α) with a probability, which the pilot of precision adds
    to.
    """
    if goal.delta is None:
        return math.ceil(1 / goal.alpha - 1 - ROUNDING)
    tested = math.ceil(math.log(goal.delta) / math.log1p(-goal.alpha) - ROUNDING)
    if goal.measure == "recall":
        return tested
    units = tested
    while units - math.ceil(PILOT_SHARE * units) < tested:
        units += 1
    return units
