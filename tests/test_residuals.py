"""Residuals and scores by length: cases worked by hand."""

import numpy as np
import pytest

from pipelines.evaluation.reports import evaluate_values, gold_sha256
from pipelines.evaluation.residuals import POINTS, mse_by_length, residuals
from pipelines.examples import Example, Prediction, Steps


def sequence(number, length, label):
    return Example(str(number), "", label=label, features=Steps(bytes(4 * length), 1))


def test_residuals_by_hand():
    found = residuals(np.array([0.0, 1.0, 2.0, 3.0]), np.array([1.0, 1.5, 2.0, 2.5]))
    assert found["mean"] == pytest.approx(0.25)  # 1, 0.5, 0, -0.5
    assert found["sd"] == pytest.approx((1.25 / 4) ** 0.5)
    assert found["p50"] == pytest.approx(0.25)
    assert found["correlation"] == pytest.approx(-1.0)
    assert found["points"] == [[0, 1], [1, 1.5], [2, 2], [3, 2.5]]


@pytest.mark.parametrize(("gold", "predicted"), [([1.0], [2.0]), ([1.0, 1.0], [0.0, 2.0])])
def test_no_correlation_where_nothing_varies(gold, predicted):
    assert residuals(np.array(gold), np.array(predicted))["correlation"] is None


def test_many_points_are_thinned():
    points = residuals(np.arange(2000.0), np.zeros(2000))["points"]
    assert len(points) == POINTS
    assert (points[0][0], points[-1][0]) == (0, 1999)


def test_mse_by_length_by_hand():
    lengths = [1, 1, 2, 3, 4, 4, 9, 9]
    errors = np.array([1.0, 3.0, 2.0, 0.0, 1.0, 1.0, 4.0, 0.0])
    examples = [sequence(n, length, 0.0) for n, length in enumerate(lengths)]
    parts = mse_by_length(examples, np.zeros(8), errors)
    assert {name: (row["examples"], row["mse"]) for name, row in parts.items()} == {
        "1": (2, 5.0),
        "2–3": (2, 2.0),
        "4": (2, 1.0),
        "9": (2, 8.0),
    }
    total = sum(row["examples"] * row["mse"] for row in parts.values())
    assert total == pytest.approx((errors**2).sum())


def test_no_parts_without_sequences_or_with_one_length():
    texts = [Example("0", "a text", label=1.0)]
    assert mse_by_length(texts, np.ones(1), np.ones(1)) == {}
    alike = [sequence(n, 4, 1.0) for n in range(5)]
    assert mse_by_length(alike, np.ones(5), np.ones(5)) == {}


def test_a_report_of_numbers_has_both():
    examples = [sequence(n, 1 + n % 5, float(n)) for n in range(20)]
    answers = [Prediction(one.id, value=float(one.label) + 1) for one in examples]
    report = evaluate_values(examples, answers)
    assert report["residuals"]["mean"] == pytest.approx(1.0)
    assert all(row["mse"] == pytest.approx(1.0) for row in report["by_length"].values())


def test_gold_of_other_sequences_is_other_gold():
    one, other = sequence(0, 3, 1.0), sequence(0, 4, 1.0)
    assert gold_sha256([one]) == gold_sha256([sequence(0, 3, 1.0)]) != gold_sha256([other])
