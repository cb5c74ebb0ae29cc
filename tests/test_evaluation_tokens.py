"""Tag scores: agreement with scikit-learn and seqeval, and the view from spans."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report as seqeval_report
from seqeval.scheme import IOB2
from sklearn.metrics import accuracy_score, classification_report

from pipelines.evaluation.token_scores import tagged_pairs, token_scores
from pipelines.examples import Example, Prediction, Span

CASES = pytest.mark.parametrize("cases", [100, pytest.param(200, marks=pytest.mark.slow)])
TAGS = st.sampled_from(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
SENTENCES = st.lists(
    st.lists(st.tuples(TAGS, TAGS), min_size=1, max_size=8), min_size=1, max_size=4
)


def quietly(cases):
    return settings(max_examples=cases, deadline=None, derandomize=True, database=None)


def test_worked_case():
    gold = [["B-PER", "I-PER", "O", "B-LOC"]]
    predicted = [["B-PER", "O", "O", "B-PER"]]
    scores = token_scores(gold, predicted)
    assert scores["accuracy"] == 2 / 4
    assert scores["accuracy_without_o"] == 1 / 3
    assert scores["confusion"] == {
        "labels": ["LOC", "PER", "O"],
        "matrix": [[0, 1, 0], [0, 1, 1], [0, 0, 1]],
    }
    assert scores["per_type"]["PER"]["precision"] == 1 / 2
    assert scores["per_tag"]["O"]["recall"] == 1.0
    assert scores["seqeval_strict"]["f1"] == scores["weighted_entity_f1"] == 0.0


def test_default_reads_what_strict_drops():
    scores = token_scores([["B-PER", "I-PER"]], [["I-PER", "I-PER"]])
    assert (scores["seqeval_default"]["f1"], scores["seqeval_strict"]["f1"]) == (1.0, 0.0)


def test_weighted_entity_f1_weighs_types_by_gold_mentions():
    gold = [["B-PER", "B-PER", "B-PER", "B-LOC"]]
    predicted = [["B-PER", "B-PER", "B-PER", "O"]]
    assert token_scores(gold, predicted)["weighted_entity_f1"] == 0.75


@CASES
def test_tags_agree_with_scikit_learn(cases):
    @quietly(cases)
    @given(SENTENCES)
    def check(sentences):
        gold, predicted = ([[pair[side] for pair in row] for row in sentences] for side in (0, 1))
        flat_gold, flat_predicted = (
            [tag for row in side for tag in row] for side in (gold, predicted)
        )
        scores = token_scores(gold, predicted)
        theirs = classification_report(flat_gold, flat_predicted, output_dict=True, zero_division=0)
        rows = scores["per_tag"] | {
            "macro avg": scores["macro"],
            "weighted avg": scores["weighted"],
        }
        for name, row in rows.items():
            for mine, its in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
                assert row[mine] == pytest.approx(theirs[name][its], abs=1e-12)
        assert scores["accuracy"] == pytest.approx(
            accuracy_score(flat_gold, flat_predicted), abs=1e-12
        )
        assert np.sum(scores["confusion"]["matrix"]) == len(flat_gold)

    check()


@CASES
def test_entities_agree_with_seqeval_in_both_modes(cases):
    @quietly(cases)
    @given(SENTENCES)
    def check(sentences):
        gold, predicted = ([[pair[side] for pair in row] for row in sentences] for side in (0, 1))
        scores = token_scores(gold, predicted)
        for name, options in (
            ("seqeval_default", {}),
            ("seqeval_strict", {"mode": "strict", "scheme": IOB2}),
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if scores[name]["support"] == 0 and scores[name]["f1"] == 1.0:
                    continue  # nothing to find and nothing predicted: seqeval has no report of it
                theirs = seqeval_report(gold, predicted, output_dict=True, **options)
            for mine, its in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
                assert scores[name][mine] == pytest.approx(theirs["micro avg"][its], abs=1e-12)
            if name == "seqeval_default":
                assert scores["weighted_entity_f1"] == pytest.approx(
                    theirs["weighted avg"]["f1-score"], abs=1e-12
                )

    check()


def test_tags_that_a_model_wrote_are_read_as_written():
    example = Example("0", "a b c", spans=(Span(0, 3, "A"),), tokens=((0, 1), (2, 3), (4, 5)))
    spans = (Span(0, 3, "A"),)
    gold, predicted = tagged_pairs([(example, Prediction("0", spans=spans, raw="I-A I-A O"))])
    assert (gold, predicted) == ([["B-A", "I-A", "O"]], [["I-A", "I-A", "O"]])
    assert tagged_pairs([(example, Prediction("0", spans=spans, raw="none"))])[1] == [
        ["B-A", "I-A", "O"]
    ]


def test_lengths_that_differ_raise():
    with pytest.raises(ValueError, match="as many"):
        token_scores([["O", "O"]], [["O"]])
