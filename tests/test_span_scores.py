"""Span scores: worked cases, agreement with seqeval and with brute force, and what must not matter."""

from __future__ import annotations

import itertools
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import classification_report
from seqeval.scheme import IOB2

from pipelines.evaluation.span_scores import (
    normalised,
    precision_recall_f1,
    score_spans,
    string_counts,
)
from pipelines.examples import Span
from pipelines.spans import tags_to_token_ranges

CASES = pytest.mark.parametrize("cases", [100, pytest.param(300, marks=pytest.mark.slow)])
LABELS = st.sampled_from(["PER", "LOC", "ORG"])
# A sentence as runs of tokens: outside, or a mention of a type.
RUNS = st.lists(st.tuples(st.none() | LABELS, st.integers(1, 3)), max_size=6)
SPANS = st.lists(
    st.builds(
        lambda start, length, label: Span(start, start + length, label),
        st.integers(0, 9),
        st.integers(1, 5),
        LABELS,
    ),
    max_size=5,
)


def quietly(cases):
    return settings(max_examples=cases, deadline=None, derandomize=True, database=None)


def tags_of(runs):
    return [
        tag
        for label, length in runs
        for tag in (
            ["O"] * length if label is None else [f"B-{label}"] + [f"I-{label}"] * (length - 1)
        )
    ]


def spans_of(tags):
    return [Span(*entity) for entity in tags_to_token_ranges(tags)]


def f1(scores):
    return {
        scheme: round(scores[scheme]["f1"], 12) for scheme in ("strict", "exact", "partial", "type")
    }


def test_worked_case():
    # Right; right offsets with the wrong type; right type with other offsets; other offsets and type; missed; spurious.
    gold = [
        [
            Span(0, 5, "A"),
            Span(10, 15, "A"),
            Span(20, 25, "A"),
            Span(30, 35, "A"),
            Span(40, 45, "A"),
        ]
    ]
    predicted = [
        [
            Span(0, 5, "A"),
            Span(10, 15, "B"),
            Span(22, 25, "A"),
            Span(28, 33, "B"),
            Span(90, 95, "B"),
        ]
    ]
    scores = score_spans(gold, predicted)
    assert f1(scores) == {
        "strict": 1 / 5,
        "exact": 2 / 5,
        "partial": (2 + 0.5 * 2) / 5,
        "type": 2 / 5,
    }
    assert scores["strict"]["support"] == 5
    assert scores["strict"]["per_type"]["A"] == {
        "precision": 1 / 2,
        "recall": 1 / 5,
        "f1": 2 / 7,
        "support": 5,
        "predicted": 2,
    }
    assert scores["strict"]["per_type"]["B"]["f1"] == 0.0
    assert scores["strict"]["macro"]["f1"] == pytest.approx(1 / 7)
    assert scores["strict"]["weighted"]["f1"] == pytest.approx(2 / 7)


def test_sums_over_the_corpus_and_not_means_of_examples():
    gold = [[Span(0, 1, "A")], [Span(i, i + 1, "A") for i in range(9)]]
    predicted = [[Span(0, 1, "A")], []]
    assert score_spans(gold, predicted)["strict"]["f1"] == pytest.approx(2 / 11)


def test_nothing_to_find_and_nothing_predicted_is_one_by_definition():
    scores = score_spans([[], []], [[], []])
    assert f1(scores) == {"strict": 1.0, "exact": 1.0, "partial": 1.0, "type": 1.0}
    assert scores["strict"]["macro"]["f1"] == scores["strict"]["weighted"]["f1"] == 1.0
    assert f1(score_spans([[]], [[Span(0, 1, "A")]])) == {
        "strict": 0.0,
        "exact": 0.0,
        "partial": 0.0,
        "type": 0.0,
    }


def test_type_that_is_only_predicted_counts_against_precision():
    scores = score_spans([[Span(0, 1, "A")]], [[Span(0, 1, "A"), Span(2, 3, "B")]])["strict"]
    assert (scores["precision"], scores["recall"]) == (0.5, 1.0)
    assert scores["per_type"]["B"]["precision"] == 0.0
    assert (scores["macro"]["f1"], scores["weighted"]["f1"]) == (0.5, 1.0)


def test_doubled_prediction_finds_one_gold_span():
    twice = [Span(0, 5, "A"), Span(0, 5, "A")]
    assert score_spans([[Span(0, 5, "A")]], [twice])["strict"]["precision"] == 0.5
    assert score_spans([twice], [twice])["strict"]["f1"] == 1.0


def test_spans_of_other_examples_are_no_match():
    assert f1(score_spans([[Span(0, 5, "A")], []], [[], [Span(0, 5, "A")]]))["partial"] == 0.0


def test_identical_spans_are_paired_before_overlapping_ones():
    # A greedy matcher that takes the first overlap gives (0, 9) to the gold (0, 4).
    gold, predicted = [[Span(0, 4, "A"), Span(0, 9, "A")]], [[Span(0, 9, "A"), Span(2, 3, "A")]]
    assert score_spans(gold, predicted)["partial"]["f1"] == pytest.approx(0.75)


def test_matching_is_maximum():
    # The second prediction overlaps both gold spans, the first only one.
    gold, predicted = [[Span(0, 4, "A"), Span(5, 9, "A")]], [[Span(1, 3, "A"), Span(2, 7, "A")]]
    assert score_spans(gold, predicted)["type"]["f1"] == 1.0


def test_lengths_that_differ_raise():
    with pytest.raises(ValueError, match="2 gold and 1 predicted"):
        score_spans([[], []], [[]])


@CASES
def test_strict_agrees_with_seqeval(cases):
    @quietly(cases)
    @given(st.lists(st.tuples(RUNS, RUNS), min_size=1, max_size=5))
    def check(sentences):
        gold, predicted = [], []
        for left, right in sentences:
            left, right = tags_of(left), tags_of(right)
            length = max(len(left), len(right), 1)
            gold.append(left + ["O"] * (length - len(left)))
            predicted.append(right + ["O"] * (length - len(right)))
        ours = score_spans(list(map(spans_of, gold)), list(map(spans_of, predicted)))["strict"]
        if ours["support"] == ours["predicted"] == 0:
            return  # seqeval has no report of nothing; ours is 1.0 by definition
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = classification_report(
                gold, predicted, mode="strict", scheme=IOB2, output_dict=True
            )
        rows = {
            "micro avg": ours,
            "macro avg": ours["macro"],
            "weighted avg": ours["weighted"],
        } | ours["per_type"]
        assert rows.keys() == theirs.keys()
        for name, row in rows.items():
            for mine, its in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
                assert row[mine] == pytest.approx(theirs[name][its], abs=1e-12)

    check()


def best_pairing(gold, predicted, *, by_label):
    """The most pairs with the same offsets, and with these the most pairs in all, by trying every pairing."""
    short, long = sorted((gold, predicted), key=len)
    best = 0, 0
    for chosen in itertools.permutations(long, len(short)):
        same = overlapping = 0
        for a, b in zip(short, chosen, strict=True):
            if a.start < b.end and b.start < a.end and (a.label == b.label or not by_label):
                overlapping += 1
                same += (a.start, a.end) == (b.start, b.end)
        best = max(best, (same, overlapping))
    return best


@CASES
def test_all_schemes_agree_with_brute_force(cases):
    @quietly(cases)
    @given(st.lists(st.tuples(SPANS, SPANS), min_size=1, max_size=3))
    def check(sentences):
        gold, predicted = [row for row, _ in sentences], [row for _, row in sentences]
        scores = score_spans(gold, predicted)
        total = sum(map(len, gold)) + sum(map(len, predicted))
        untyped = [best_pairing(*rows, by_label=False) for rows in sentences]
        typed = [best_pairing(*rows, by_label=True) for rows in sentences]
        credit = {
            "strict": sum(same for same, _ in typed),
            "exact": sum(same for same, _ in untyped),
            "partial": sum(same + (pairs - same) / 2 for same, pairs in untyped),
            "type": sum(pairs for _, pairs in typed),
        }
        for scheme, points in credit.items():
            assert scores[scheme]["f1"] == pytest.approx(
                2 * points / total if total else 1.0, abs=1e-12
            )

    check()


@CASES
def test_order_of_spans_does_not_matter(cases):
    @quietly(cases)
    @given(SPANS, SPANS, st.randoms(use_true_random=False))
    def check(gold, predicted, random):
        shuffled = random.sample(predicted, len(predicted))
        assert score_spans([gold], [predicted]) == score_spans([gold], [shuffled])

    check()


@CASES
def test_schemes_are_ordered_and_sides_can_be_swapped(cases):
    @quietly(cases)
    @given(SPANS, SPANS)
    def check(gold, predicted):
        scores, swapped = score_spans([gold], [predicted]), score_spans([predicted], [gold])
        assert scores["strict"]["f1"] <= scores["exact"]["f1"] <= scores["partial"]["f1"]
        assert scores["strict"]["f1"] <= scores["type"]["f1"]
        assert f1(scores) == f1(swapped)
        assert scores["partial"]["precision"] == swapped["partial"]["recall"]

    check()


def test_long_run_of_overlaps_is_matched_whole():
    gold = [[Span(10 * i, 10 * i + 8, "A") for i in range(500)]]
    predicted = [[Span(10 * i + 5, 10 * i + 13, "A") for i in range(500)]]
    assert score_spans(gold, predicted)["type"]["f1"] == 1.0


def test_string_scores_forget_offsets_and_repeats():
    gold = [[("the Flu", "A"), ("flu", "A"), ("cold", "A")]]
    predicted = [[("flu", "A"), ("Cold.", "A"), ("cough", "A")]]
    counts = string_counts(gold, predicted)
    # As a set without articles, punctuation and case: flu, cold | flu, cold, cough.
    assert precision_recall_f1(*counts["string_set"][0]) == {
        "precision": 2 / 3,
        "recall": 1.0,
        "f1": 0.8,
        "support": 2,
        "predicted": 3,
    }
    # As a multiset only case is folded: the flu, flu, cold | flu, cold., cough.
    assert counts["string_multiset"].tolist() == [[1, 3, 3]]
    assert string_counts([[("a", "A")]], [[("a", "B")]])["string_multiset"].tolist() == [[0, 1, 1]]


def test_normalised_keeps_words_that_hold_an_article():
    assert normalised("The anaemia, a  disease") == "anaemia disease"
