"""Silver data: votes, confidence and agreement by hand, and the texts that are left."""

import pytest

from pipelines.evaluation.silver import agreement, confidence, pairwise_f1, silver_text
from pipelines.evaluation.voting import proposed_spans, vote
from pipelines.examples import Example, Prediction, Span

FLU, COLD = Span(0, 3, "D", 0.9), Span(4, 8, "D", 0.6)
ANSWERS = [[FLU, COLD], [Span(0, 3, "D")], [Span(0, 3, "D", 0.8), Span(4, 8, "D", 0.3)]]


def test_every_span_has_the_mean_of_all_scores():
    proposed = proposed_spans(ANSWERS)
    assert proposed == (FLU, COLD)
    # A teacher without scores is sure; one without the span gives 0.
    assert [span.score for span in proposed] == pytest.approx([2.7 / 3, 0.9 / 3])


def test_the_joint_answer_is_that_of_the_vote():
    text = silver_text(Example("1", "flu cold"), ANSWERS)
    predictions = [[Prediction("1", spans=tuple(spans))] for spans in ANSWERS]
    [joint] = vote(predictions, names=["a", "b", "c"])
    assert text.spans == joint.spans == (FLU,)
    assert text.to_json() == {
        "id": "1",
        "text": "flu cold",
        "spans": [{"start": 0, "end": 3, "label": "D"}],
    }
    votes = text.votes_to_json()
    assert [span["score"] for span in votes["spans"]] == [0.9, 0.3]
    assert votes["certainty"] == 0.7
    # The three teachers gave five spans, of which three are the vote's: 2 * 3 / (3 + 5).
    assert votes["agreement"] == 0.75


def test_confidence_is_that_of_the_least_sure_decision():
    assert confidence(()) == 1
    assert confidence([Span(0, 1, "D", 0.9), Span(2, 3, "D", 0.2)]) == pytest.approx(0.8)
    assert confidence([Span(0, 1, "D", 0.5)]) == 0.5


def test_agreement_of_teachers_with_their_vote():
    assert agreement([[], []], []) == 1
    assert agreement([[FLU], [FLU]], [FLU]) == 1
    assert agreement([[FLU], []], []) == 0
    assert agreement([[FLU], [Span(0, 3, "E")], [FLU]], [FLU]) == pytest.approx(2 * 2 / 6)


def test_pairs_of_teachers():
    first = [Prediction("1", spans=(FLU,)), Prediction("2", spans=(FLU, COLD))]
    second = [Prediction("1", spans=(FLU,)), Prediction("2", spans=())]
    rows = pairwise_f1([first, second, second], ["a", "b", "c"])
    assert [(row["first"], row["second"]) for row in rows] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [row["f1"] for row in rows] == [0.5, 0.5, 1.0]
