"""Fits a learning curve: what more examples would give, and how many a goal needs.

The law, `error(n) = a + b · n^-c`, is in `pipelines.evaluation.power_law`. Points weigh as much as
they have examples, because models on fewer examples vary more; Figueroa et al. 2012 weight points
by their rank, for the same reason.

Intervals are those of a model that is trained anew and measured on such a dev file. From the
measured curve, 2,000 others are drawn. They differ in
- the dev units, drawn with replacement: the same ones for all points, which share dev;
- the noise of training: a moderated variance of the residuals (as in Smyth 2004). Its floor is
  half of the variance of the difference between the last two points over resampled dev units: two
  models that are trained on different draws of examples differ in their answers about that much;
- the form of the law, drawn by its likelihood from a power law, one with an asymptote, and one that
  is linear in log n: a few points seldom tell them apart (Mahmood et al. 2022, "How much more data
  do I need?").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.errors import DataError
from pipelines.evaluation import significance
from pipelines.evaluation.power_law import (
    HALF,
    LOGARITHMIC,
    POWER,
    SHIFTED,
    Laws,
    fit_law,
    fit_laws,
)
from pipelines.evaluation.significance import Statistic

DRAWS = 2000
SEED = 0
FARTHEST = 20  # times the examples that there are; beyond that nothing is said
FEWEST_FOR_ASYMPTOTE = 4  # points
FLOOR_WEIGHT = 3  # residuals that the floor of the training noise counts as
NORMAL_WIDTH = 2 * 1.959964  # standard deviations in a 95 % interval
SHARED = 0.75  # variance of dev that two points have in common, where their counts are not known
SIGNIFICANT = 3.84  # 95 % quantile of chi-square, for one more parameter
NOT_REACHABLE = "not reachable under this law"
TOO_FAR = f"more than {FARTHEST} times what there is: too far to extrapolate"


@dataclass(frozen=True, slots=True, eq=False)
class Point:
    """A model that was trained on a part of the training examples.

    Attributes:
        fraction: of the training examples.
        examples: their number.
        score: on dev, between 0 and 1, greater is better.
        counts: sums of each dev unit, of shape (n_units, n_counts), as in `significance`; the same
            units for all points. None where only the interval is known.
        interval: of the score, 95 %.
        mentions: in those training examples, for span extraction.
        run: the folder of the run.
    """

    fraction: float
    examples: int
    score: float
    counts: np.ndarray | None = None
    interval: tuple[float, float] | None = None
    mentions: int | None = None
    run: str = ""


@dataclass(frozen=True, slots=True)
class Needed:
    """How many examples a goal needs.

    Attributes:
        examples: under the fitted law.
        low: lower end of the 95 % interval.
        high: upper end; None where it is over `FARTHEST` times the examples there are.
    """

    examples: int
    low: int
    high: int | None


@dataclass(frozen=True, eq=False)
class Curve:
    """A fitted learning curve.

    Attributes:
        points: ascending by number of examples.
        law: fitted to the points.
        fixed: what was not fitted, in words; empty where all three numbers were.
        draws: laws of resampled curves.
        training_noise: standard deviation of a score at the last point over trained models.
        drawn_noise: an error of a newly trained model for each of the draws.
    """

    points: tuple[Point, ...]
    law: Laws
    fixed: str
    draws: Laws
    training_noise: float
    drawn_noise: np.ndarray

    @property
    def last(self) -> Point:
        """The point with the most examples."""
        return self.points[-1]

    @property
    def is_flat(self) -> bool:
        """Whether more examples make no difference under the fitted law."""
        return bool(self.law.c[0] == 0 or self.law.b[0] == 0)

    def predict(self, n: float) -> tuple[float, float, float]:
        """The score of a newly trained model, with its 95 % interval.

        Args:
            n: training examples.
        """
        score = 1 - float(self.law.errors(n)[0])
        scale = max(1.0, self.last.examples / n) ** 0.5  # models on less data vary more
        drawn = np.clip(1 - self.draws.errors(n) + scale * self.drawn_noise, 0, 1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        return score, min(score, float(low)), max(score, float(high))

    def examples_for(self, goal: float) -> tuple[Needed | None, str]:
        """How many examples are needed for a score.

        The interval is that of the expected score, without the noise of one more training.

        Returns:
            The numbers and an empty string, or None and the reason.
        """
        needed = float(self.law.examples_for(1 - goal)[0])
        farthest = FARTHEST * self.last.examples
        if needed > farthest:
            is_under = not self.is_flat and 1 - goal > self.law.a[0]
            return None, TOO_FAR if is_under else NOT_REACHABLE
        # Without interpolation, since some of the draws are infinite.
        ends = np.quantile(self.draws.examples_for(1 - goal), [0.025, 0.975], method="nearest")
        low, high = (min(float(ends[0]), needed), max(float(ends[1]), needed))
        return Needed(
            examples=_whole(needed),
            low=_whole(low),
            high=_whole(high) if high <= farthest else None,
        ), ""


def _whole(examples: float) -> int:
    return max(1, int(np.ceil(examples - 1e-6)))


def fit_curve(
    points: Sequence[Point], *, statistic: Statistic | None = None, draws: int = DRAWS
) -> Curve:
    """Fits a power law to the points of a learning curve.

    With three points or fewer an asymptote cannot be told from a slow decline, and a = 0.

    Args:
        points: two or more with different numbers of examples, in any order.
        statistic: from sums of their counts to a score, as in `pipelines.evaluation.significance`.
            Without counts, points need intervals; three quarters of their variance are then taken
            to be shared by all points.
        draws: curves that the intervals are taken from.

    Raises:
        DataError: for fewer than two points, and for points without counts and interval.
    """
    points = tuple(sorted(points, key=lambda point: point.examples))
    n = np.array([point.examples for point in points], dtype=float)
    if len(set(n)) < max(2, len(points)):
        listed = ", ".join(f"{number:,.0f}" for number in n) or "none"
        raise DataError(
            f"got a learning curve of models trained on {listed} examples; wanted two or more "
            "different numbers"
        )
    errors = np.array([1 - point.score for point in points])
    weights = n / n[-1]
    drawn_scores, floor = _dev_draws(points, statistic, draws)
    form, fixed = POWER, f"a = 0, since {len(points)} points cannot identify it"
    law = fit_law(n, errors, weights, form=POWER)
    noise, degrees = _training_noise(law, n, errors, weights, floor, n_fitted=2)
    if len(points) >= FEWEST_FOR_ASYMPTOTE:
        fixed = "a = 0, since an asymptote does not fit significantly better"
        shifted = fit_law(n, errors, weights, form=SHIFTED)
        noise_of_shifted = _training_noise(shifted, n, errors, weights, floor, n_fitted=3)
        gain = _squares(law, n, errors, weights) - _squares(shifted, n, errors, weights)
        if gain > SIGNIFICANT * noise_of_shifted[0] ** 2:
            form, fixed, law = SHIFTED, "", shifted
            noise, degrees = noise_of_shifted
    if law.c[0] == 0 or law.b[0] == 0:
        fixed = "flat, since the scores do not rise"
    forms = dict.fromkeys((form, POWER, HALF, LOGARITHMIC))
    # As in Student's t: the noise itself is known only as well as its degrees of freedom allow.
    generator = np.random.default_rng(SEED + 1)
    deviations = noise * (degrees / generator.chisquare(degrees, size=draws)) ** 0.5  # (D,)
    excess = np.maximum(deviations[:, None] ** 2 / weights - floor**2, 0) ** 0.5  # (D, K)
    drawn_errors = 1 - drawn_scores + excess * generator.standard_normal(excess.shape)
    return Curve(
        points=points,
        law=law,
        fixed=fixed,
        draws=_drawn_laws(n, np.clip(drawn_errors, 0, 1), weights, deviations, tuple(forms)),
        training_noise=noise,
        drawn_noise=deviations * generator.standard_normal(draws),
    )


def _squares(law: Laws, n: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> float:
    return float((law.errors(n)[0] - errors) ** 2 @ weights)


def _training_noise(
    law: Laws,
    n: np.ndarray,
    errors: np.ndarray,
    weights: np.ndarray,
    floor: float,
    *,
    n_fitted: int,
) -> tuple[float, int]:
    """The moderated standard deviation of the last point, and its degrees of freedom."""
    degrees = FLOOR_WEIGHT + len(n) - n_fitted
    variance = (FLOOR_WEIGHT * floor**2 + _squares(law, n, errors, weights)) / degrees
    return max(floor, variance**0.5), degrees


def _dev_draws(
    points: Sequence[Point], statistic: Statistic | None, draws: int
) -> tuple[np.ndarray, float]:
    """Scores of the points on resampled dev units (D, K), and the floor of the training noise.

    The floor is the deviation of one of the last two points, apart from what they share.
    """
    counts = [point.counts for point in points if point.counts is not None]
    if statistic is not None and len(counts) == len(points):
        scores = significance.resampled_scores(counts, statistic, resamples=draws, seed=SEED)
        return scores, float((scores[:, -1] - scores[:, -2]).std() / 2**0.5)
    intervals = [point.interval for point in points if point.interval is not None]
    if len(intervals) < len(points):
        raise DataError("a learning curve needs the counts of all its points, or their intervals")
    deviations = np.array([(high - low) / NORMAL_WIDTH for low, high in intervals])
    generator = np.random.default_rng(SEED)
    shared = generator.standard_normal((draws, 1))
    own = generator.standard_normal((draws, len(points)))
    noise = SHARED**0.5 * shared + (1 - SHARED) ** 0.5 * own
    scores = np.array([point.score for point in points]) + deviations * noise
    return np.clip(scores, 0, 1), float(deviations[-1] * (1 - SHARED) ** 0.5)


def _drawn_laws(
    n: np.ndarray,
    errors: np.ndarray,
    weights: np.ndarray,
    deviations: np.ndarray,
    forms: Sequence[str],
) -> Laws:
    """A law for each drawn curve, of a form drawn by its likelihood.

    Args:
        n: numbers of examples, of shape (K,).
        errors: with noise of dev and of training, of shape (D, K).
        weights: of shape (K,).
        deviations: standard deviation at the last point, of shape (D,).
        forms: of the law.
    """
    generator = np.random.default_rng(SEED + 2)
    fits = [fit_laws(n, errors, weights, form=form) for form in forms]
    squares = np.stack([squares for _, squares in fits])  # (forms, D)
    likelihood = np.exp((squares.min(axis=0) - squares) / (2 * np.maximum(deviations, 1e-9) ** 2))
    cumulated = np.cumsum(likelihood / likelihood.sum(axis=0), axis=0)
    chosen = (generator.random(len(errors)) > cumulated[:-1]).sum(axis=0)  # (D,)
    rows = np.arange(len(errors))
    columns = [np.stack([getattr(laws, name) for laws, _ in fits])[chosen, rows] for name in "abc"]
    return Laws(*columns)
