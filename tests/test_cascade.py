"""Cascades worked by hand: how sure an answer is, which texts go on, what that scores and costs."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import DataError, UserError
from pipelines.evaluation import cascade
from pipelines.evaluation.cascade import (
    EVERY_TEXT,
    Cascade,
    cascade_curve,
    cascaded,
    certainties,
    certainty,
    goes_on,
)
from pipelines.evaluation.tasks import CLASSIFICATION, REGRESSION, SPAN_EXTRACTION
from pipelines.examples import Example, Prediction, Span, prediction_from_json, prediction_to_json


def spans(*found, id="0", **more):
    return Prediction(id, spans=tuple(Span(*span) for span in found), **more)


def classed(id, label, **scores):
    return Prediction(id, label=label, scores=scores or None)


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (spans((0, 2, "D", 0.9), (4, 6, "D", 0.6)), 0.6),
        (spans((0, 2, "D", 0.9), certainty=0.4), 0.4),  # a mention that was nearly found
        (spans(certainty=0.7), 0.7),
        (spans(), None),
        (spans((0, 2, "D", None)), None),
        (spans((0, 2, "D", 0.9), status="ok"), 0.9),
        (spans(status="unparsable"), 0.0),
        (spans((0, 2, "D", 0.9), status="cut_off"), 0.0),
        (classed("0", "x", x=0.7, y=0.3), 0.7),
        (classed("0", "y", x=0.7, y=0.3), 0.3),  # decided against the score, by a threshold
        (classed("0", "x"), None),
        (classed("0", ("x",), x=0.7, y=0.2), 0.7),
        (classed("0", (), x=0.1, y=0.45), 0.55),
    ],
)
def test_how_sure_an_answer_is(prediction, expected):
    assert certainty(prediction) == (None if expected is None else pytest.approx(expected))


def test_certainties_of_many():
    assert certainties([spans(), spans((0, 2, "D", 0.3))]).tolist() == [1.0, 0.3]
    with pytest.raises(UserError, match="have no scores"):
        certainties([spans(), spans((0, 2, "D", None))])
    with pytest.raises(
        UserError, match=r"id 7: a certainty of 1\.5; wanted a score between 0 and 1"
    ):
        certainties([spans(), spans((0, 2, "D", 1.5), id="7")])


def test_a_certainty_is_written_and_read_and_does_not_make_an_answer_another():
    answer = spans((0, 2, "D", 0.9), certainty=0.4)
    row = json.loads(json.dumps(prediction_to_json(answer)))
    assert row["certainty"] == 0.4
    assert prediction_from_json(row).certainty == 0.4
    assert "certainty" not in prediction_to_json(spans())
    assert answer == spans((0, 2, "D", 0.9))
    with pytest.raises(ValueError, match="the certainty is 'sure'; wanted a number"):
        prediction_from_json(row | {"certainty": "sure"})


# Four texts; the cheap model is right on the first two and sure of the first and the third.
GOLD = [Example(str(i), f"text {i}", label="x") for i in range(4)]
CHEAP = [
    classed("0", "x", x=0.9, y=0.1),
    classed("1", "x", x=0.6, y=0.4),
    classed("2", "y", x=0.2, y=0.8),
    classed("3", "y", x=0.3, y=0.7),
]
EXPENSIVE = [classed(str(i), "x") for i in (3, 2, 1, 0)]  # right, in another order, without scores


def test_which_texts_go_on():
    def labels(threshold):
        return [answer.label for answer in cascaded(CHEAP, EXPENSIVE, threshold)]

    assert cascaded(CHEAP, EXPENSIVE, 0.0) == CHEAP
    assert cascaded(CHEAP, EXPENSIVE, EVERY_TEXT) == EXPENSIVE[::-1]
    assert labels(0.7) == ["x", "x", "y", "y"]  # only text 1, of 0.6: 0.7 is not below 0.7
    assert labels(0.75) == ["x", "x", "y", "x"]
    assert not goes_on(spans(), 1.0)
    assert goes_on(spans(), EVERY_TEXT)


def test_the_curve_worked_by_hand():
    curve = cascade_curve(CLASSIFICATION, GOLD, CHEAP, EXPENSIVE, 4.0, 40.0, names=("a", "b"))
    assert (curve["cheap"], curve["expensive"], curve["metric"]) == ("a", "b", "accuracy")
    rows = [tuple(point.values()) for point in curve["points"]]
    assert rows == [
        pytest.approx((0.0, 0.0, 0.5, 1.0)),  # the cheap model everywhere
        pytest.approx((0.7, 0.25, 0.5, 1 + 2.5)),
        pytest.approx((0.8, 0.5, 0.75, 1 + 5)),
        pytest.approx((0.9, 0.75, 1.0, 1 + 7.5)),
        pytest.approx((EVERY_TEXT, 1.0, 1.0, 1 + 10)),  # the expensive one everywhere, and more
    ]
    assert curve["alone"] == [
        {"score": 0.5, "seconds_per_text": 1.0},
        {"score": 1.0, "seconds_per_text": 10.0},
    ]
    # The expensive model is right everywhere, so that its interval is [1, 1]: all of it is kept.
    assert curve["chosen"] == curve["points"][3] | {
        "difference": {"delta": 0.0, "interval": [0.0, 0.0]}
    }
    assert curve["reason"] == cascade.RULE
    json.dumps(curve, allow_nan=False)


def test_none_is_chosen_where_none_is_cheaper():
    slow = cascade_curve(CLASSIFICATION, GOLD, CHEAP, EXPENSIVE, 40.0, 4.0)
    assert slow["chosen"] is None
    assert slow["reason"].startswith("No cascade is cheaper: the run that was given as the cheap")
    # Sending on three texts of four would keep the score, but costs 4 + 0.75 * 10 > 10.
    dear = cascade_curve(CLASSIFICATION, GOLD, CHEAP, EXPENSIVE, 16.0, 40.0)
    assert dear["chosen"] is None
    assert dear["reason"].startswith("No cascade that is cheaper than the expensive run keeps")


def test_the_cheap_model_by_itself_where_it_is_as_good():
    curve = cascade_curve(
        CLASSIFICATION, GOLD, [classed(a.id, "x", x=0.9) for a in GOLD], CHEAP, 1, 9
    )
    assert curve["chosen"]["share"] == 0
    assert curve["reason"].endswith("No text has to go on: use the cheap run by itself.")


def test_a_score_within_the_interval_by_luck_is_not_enough():
    """Not below the lower end by its own score, but by the lower end of the paired difference."""
    gold = [Example(str(i), str(i), label="x") for i in range(40)]
    expensive = [classed(str(i), "x" if i < 36 else "y") for i in range(40)]  # 0.9, from 0.8
    labels = ["x" if i >= 7 else "y" for i in range(40)]  # 0.825
    cheap = [classed(str(i), label, **{label: 0.5 + i / 100}) for i, label in enumerate(labels)]
    made = Cascade(CLASSIFICATION, gold, cheap, expensive, 1.0, 100.0)
    assert made.point(0.0)["score"] == pytest.approx(0.825)
    low = made.difference(0.0)["interval"][0]
    assert low < -0.1  # 0.9 - 0.1 is the lower end of the expensive model's interval
    points = [made.point(threshold) for threshold in made.thresholds()]
    chosen, _ = made.choose(points)
    assert chosen is not None
    assert chosen["share"] > 0


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300))
def test_thresholds_are_few_and_spread_over_the_shares(permilles):
    gold = [Example(str(i), str(i), label="x") for i in range(len(permilles))]
    cheap = [classed(str(i), "x", x=permille / 1000) for i, permille in enumerate(permilles)]
    made = Cascade(CLASSIFICATION, gold, cheap, cheap, 1.0, 1.0)
    thresholds = made.thresholds()
    assert thresholds[0] == 0.0
    assert thresholds[-1] == EVERY_TEXT
    assert len(thresholds) <= cascade.MOST_POINTS
    shares = [made.point(threshold)["share"] for threshold in thresholds]
    assert shares[0] == 0
    assert shares[-1] == 1
    assert all(a < b for a, b in pairwise(shares))
    if len(set(permilles)) == len(permilles):
        steps = [b - a for a, b in pairwise(shares)]
        assert max(steps) <= 1 / 49 + 1 / len(permilles) + 1e-9


def test_spans_and_faults():
    gold = [Example("0", "abcd", spans=(Span(0, 2, "D"),)), Example("1", "abcd", spans=())]
    cheap = [spans(id="0", certainty=0.5), spans(id="1", certainty=0.9)]
    expensive = [spans((0, 2, "D"), id="0"), spans((0, 1, "D"), id="1")]
    curve = cascade_curve(SPAN_EXTRACTION, gold, cheap, expensive, 1.0, 10.0)
    scores = [point["score"] for point in curve["points"]]
    assert scores == pytest.approx([0.0, 1.0, 2 / 3])  # the cascade beats both
    with pytest.raises(DataError, match="missing from the predictions"):
        cascade_curve(SPAN_EXTRACTION, gold, cheap[:1], expensive, 1.0, 10.0)
    with pytest.raises(UserError, match="a cascade of sequence_regression runs: numbers come"):
        cascade_curve(REGRESSION, gold, cheap, expensive, 1.0, 10.0)
    with pytest.raises(UserError, match="got no labelled examples"):
        cascade_curve(SPAN_EXTRACTION, [], [], [], 1.0, 10.0)
