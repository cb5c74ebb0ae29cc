"""Learning curves: known laws are recovered, intervals cover, and sentences say what is there."""

import numpy as np
import pytest
from scipy.special import ndtri

from pipelines.errors import DataError
from pipelines.evaluation.learning_curve import (
    Point,
    curve_json,
    fit_curve,
    point_of,
    sentence,
)
from pipelines.evaluation.significance import mean
from pipelines.evaluation.tasks import CLASSIFICATION, SPAN_EXTRACTION
from pipelines.examples import Example, Prediction, Span
from pipelines.reporting.learning_curves import learning_curves

FRACTIONS = (0.1, 0.25, 0.5, 1)


def exact(a, b, c, fractions=FRACTIONS, width=0.0002):
    points = []
    for fraction in fractions:
        n = round(5000 * fraction)
        score = 1 - a - b * n**-c
        points.append(Point(fraction, n, score, None, (score - width / 2, score + width / 2)))
    return points


@pytest.mark.parametrize(("a", "b", "c"), [(0, 2, 0.3), (0.1, 3, 0.5), (0.05, 1.5, 0.4)])
def test_a_known_law_is_recovered(a, b, c):
    curve = fit_curve(exact(a, b, c))
    assert curve.law.a[0] == pytest.approx(a, abs=1e-3)
    assert curve.law.b[0] == pytest.approx(b, rel=0.02)
    assert curve.law.c[0] == pytest.approx(c, rel=0.01)
    score, low, high = curve.predict(10_000)
    assert score == pytest.approx(1 - a - b * 10_000**-c, abs=1e-4)
    assert low <= score <= high
    needed, reason = curve.examples_for(score)
    assert reason == ""
    assert needed.examples == pytest.approx(10_000, rel=0.01)
    assert needed.low <= needed.examples


def test_three_points_fix_the_asymptote_and_noise_does_not_buy_one():
    assert "3 points" in fit_curve(exact(0, 2, 0.3, FRACTIONS[:3])).fixed
    wide = fit_curve(exact(0.1, 3, 0.5, width=0.05))
    assert wide.law.a[0] == 0
    assert "not fit significantly better" in wide.fixed


def simulated(seed, a, b, c, noise):
    """Points of models on one dev of 500, with noise of training; the last has all labels, twice."""
    random = np.random.default_rng(seed)
    sizes = (500, 1250, 2500, 5000, 10_000)
    shared = random.standard_normal(500)
    points = []
    for n in sizes:
        error = a + b * n**-c + random.normal() * noise * (5000 / n) ** 0.5
        latent = 0.8**0.5 * shared + 0.2**0.5 * random.standard_normal(500)
        correct = latent > ndtri(np.clip(error, 0.001, 0.999))
        counts = np.stack([correct, np.ones(500)], axis=1).astype(float)
        points.append(Point(n / 5000, n, float(correct.mean()), counts))
    return points


def test_intervals_cover_newly_trained_models_and_are_not_absurdly_wide():
    laws = [(0, 2, 0.3, 0.004), (0.05, 3, 0.5, 0.004), (0.2, 3, 0.6, 0.002)]
    inside, widths = [], []
    for seed in range(45):
        points = simulated(seed, *laws[seed % 3])
        for n_fitted in (3, 4):
            curve = fit_curve(points[:n_fitted], statistic=mean, draws=300)
            _, low, high = curve.predict(points[n_fitted].examples)
            inside.append(low <= points[n_fitted].score <= high)
            widths.append(high - low)
    assert np.mean(inside) >= 0.9
    assert np.mean(widths) < 0.16  # dev alone, with 500 units: about 0.06


def test_predictions_rise_and_intervals_widen_away_from_the_points():
    curve = fit_curve(simulated(1, 0.05, 3, 0.5, 0.004)[:4], statistic=mean)
    scores, lows, highs = zip(*map(curve.predict, (1000, 5000, 10_000, 100_000)), strict=True)
    assert list(scores) == sorted(scores)
    assert highs[3] - lows[3] > highs[1] - lows[1]
    needs = [curve.examples_for(goal)[0] for goal in (0.88, 0.9, 0.92)]
    assert needs[0].examples < needs[1].examples < needs[2].examples


def test_counts_and_order_decide_nothing_else():
    points = simulated(2, 0.05, 3, 0.5, 0.004)[:4]
    first = fit_curve(points, statistic=mean).predict(10_000)
    assert fit_curve(points[::-1], statistic=mean).predict(10_000) == first


def test_goals_that_no_number_reaches_have_a_reason():
    curve = fit_curve(exact(0.1, 3, 0.5))
    assert curve.examples_for(0.95) == (None, "not reachable under this law")
    assert "whose limit is 90.0" in sentence(curve, "CRF", 0.95)
    needed, reason = fit_curve(exact(0, 2, 0.2)).examples_for(0.95)
    assert needed is None
    assert reason == "more than 20 times what there is: too far to extrapolate"


@pytest.mark.parametrize(
    ("scores", "words"),
    [((0.8, 0.79, 0.78, 0.77), "the curve falls, from 80.0 with 500"), ((0.8,) * 4, "is flat")],
)
def test_a_curve_that_does_not_rise_is_said_to_be_so(scores, words):
    points = [
        Point(f, round(5000 * f), score, None, (score - 0.02, score + 0.02))
        for f, score in zip(FRACTIONS, scores, strict=True)
    ]
    written = curve_json(points, 0.9, title="HMM")
    assert words in written["sentence"]
    assert written["law"]["fixed"] == "flat, since the scores do not rise"
    assert written["needed"] is None
    assert written["reason"] == "not reachable under this law"
    assert fit_curve(points).predict(10_000)[0] == pytest.approx(np.mean(scores), abs=0.02)


def test_the_sentence_gives_the_numbers_of_this_corpus():
    curve = fit_curve(exact(0, 2, 0.3))
    said = sentence(curve, "CRF", 0.88)
    start = "CRF: 84.5 with 5,000 examples; twice as many would give 87.4 [87."
    assert said.startswith(start)
    assert "; 88.0 needs about 12,000 [" in said
    assert said.endswith("].")


def test_the_json_has_a_check_a_band_and_what_the_goal_needs():
    written = curve_json(exact(0, 2, 0.3), 0.88, title="CRF")
    assert written["doubled"]["examples"] == 10_000
    assert written["check"]["inside"]
    assert written["check"]["actual"] == pytest.approx(1 - 2 * 5000**-0.3)
    assert written["needed"]["interval"][0] <= written["needed"]["examples"]
    assert written["reason"] == ""
    sizes = [row["examples"] for row in written["band"]]
    assert (sizes[0], sizes[-1]) == (500, 10_000)
    assert 5000 in sizes
    assert curve_json(exact(0, 2, 0.3)[1:2], 0.88, title="CRF")["law"] is None
    assert curve_json(exact(0, 2, 0.3)[2:], None, title="CRF")["check"] is None


def test_points_that_make_no_curve_are_refused():
    points = exact(0, 2, 0.3)
    with pytest.raises(DataError, match="wanted two or more different numbers"):
        fit_curve(points[:1])
    with pytest.raises(DataError, match="5,000, 5,000"):
        fit_curve([points[3], points[3]])
    with pytest.raises(DataError, match="counts of all its points"):
        fit_curve([Point(0.5, 10, 0.5), Point(1, 20, 0.6)])


def test_points_are_scored_as_their_task_is():
    dev = [Example("1", "a b", spans=(Span(0, 1, "T"),)), Example("2", "a", spans=())]
    answers = [Prediction("1", spans=(Span(0, 1, "T"),)), Prediction("2", spans=(Span(0, 1, "T"),))]
    point = point_of(SPAN_EXTRACTION, dev, answers, dev, fraction=0.5, run="rungs/crf")
    assert (point.examples, point.mentions, point.run) == (2, 1, "rungs/crf")
    assert point.score == pytest.approx(2 / 3)
    assert point.counts.shape == (2, 3)
    texts = [Example(f"{i}", "a", label="x") for i in range(4)]
    labels = [Prediction(f"{i}", label="xy"[i == 0]) for i in range(4)]
    point = point_of(CLASSIFICATION, texts, labels, texts, fraction=1)
    assert (point.score, point.mentions) == (0.75, None)


def test_the_picture_names_its_curves_and_the_goal():
    curves = {
        "CRF": curve_json(exact(0, 2, 0.3), 0.88, title="CRF"),
        "HMM": curve_json(exact(0, 2, 0.25)[:1], 0.88, title="HMM"),
    }
    picture = learning_curves(curves, goal=0.88, quality="strict F1")
    for text in ("CRF", "HMM", "goal", "strict F1", "labelled examples", "10,000"):
        assert f">{text}<" in picture
    with pytest.raises(ValueError, match="no curves"):
        learning_curves({})
