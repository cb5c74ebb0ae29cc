"""Where the errors are: the budget, slices, baselines, confidence, label audit."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import UserError
from pipelines.evaluation.baselines import (
    dictionary_predictions,
    linear_svm_predictions,
    majority_predictions,
    most_frequent_tag_predictions,
)
from pipelines.evaluation.calibration import calibration, scored_spans
from pipelines.evaluation.label_audit import label_audit
from pipelines.evaluation.mistakes import error_budget, find_mistakes
from pipelines.evaluation.reports import evaluate_spans
from pipelines.evaluation.slices import is_abbreviation
from pipelines.evaluation.span_scores import score_spans
from pipelines.evaluation.thresholds import best_span_threshold
from pipelines.examples import Example, Prediction, Span

TEXT = "colon cancer and rectal cancer in APC carriers with cancer"
SPANS = st.lists(
    st.builds(
        lambda start, length, label, score: Span(start, start + length, label, score),
        st.integers(0, 12),
        st.integers(1, 5),
        st.sampled_from("AB"),
        st.sampled_from([0.2, 0.5, 0.9]),
    ),
    max_size=5,
)


def quietly(cases):
    return settings(max_examples=cases, deadline=None, derandomize=True, database=None)


def one(gold, predicted, text=TEXT, **answer):
    return [
        (Example("0", text, spans=tuple(gold)), Prediction("0", spans=tuple(predicted), **answer))
    ]


def kinds(pairs):
    return [(mistake.kind, mistake.gold, mistake.predicted) for mistake in find_mistakes(pairs)]


@pytest.mark.parametrize(
    ("kind", "gold", "predicted"),
    [
        ("type", Span(0, 12, "D"), Span(0, 12, "G")),
        ("boundary", Span(0, 12, "D"), Span(6, 12, "D")),
        ("boundary_and_type", Span(0, 12, "D"), Span(6, 12, "G")),
        ("wrong_occurrence", Span(52, 58, "D"), Span(24, 30, "D")),
        ("missed", Span(0, 12, "D"), None),
        ("spurious", None, Span(0, 12, "D")),
    ],
)
def test_each_class_of_mistake(kind, gold, predicted):
    pairs = one([gold] if gold else [], [predicted] if predicted else [])
    assert kinds(pairs) == [(kind, gold, predicted)]


def test_same_string_of_another_type_is_no_wrong_occurrence():
    assert [kind for kind, *_ in kinds(one([Span(52, 58, "D")], [Span(24, 30, "G")]))] == [
        "spurious",
        "missed",
    ]


def test_correct_spans_are_no_mistakes_and_lend_nothing():
    right = Span(6, 12, "D")
    assert kinds(one([right], [right, Span(0, 12, "D")])) == [("spurious", None, Span(0, 12, "D"))]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"status": "unparsable"}, {"unparsable": 2}),
        ({"status": "ok"}, {"missed": 2}),
        (
            {"status": "cut_off", "spans": (Span(17, 30, "D"),)},
            {"missed": 1, "cut_off": 1, "spurious": 1},
        ),
        (
            {
                "status": "ok",
                "mentions": ({"string": "colon cancers", "label": "D", "status": "not_in_text"},),
            },
            {"not_in_text": 1, "missed": 1},
        ),
        # A string that resembles nothing, or that was placed, explains no miss.
        (
            {
                "status": "ok",
                "mentions": (
                    {"string": "diabetes", "label": "D", "status": "not_in_text"},
                    {"string": "colon cancer", "label": "D", "status": "duplicate"},
                ),
            },
            {"missed": 2},
        ),
    ],
)
def test_mistakes_of_generators(answer, expected):
    example = Example("0", TEXT, spans=(Span(0, 12, "D"), Span(52, 58, "D")))
    found = find_mistakes([(example, Prediction("0", **{"spans": (), **answer}))])
    assert {
        kind: sum(m.kind == kind for m in found) for kind in {m.kind for m in found}
    } == expected


def test_budget_by_hand():
    gold = [Span(0, 12, "D"), Span(17, 30, "D"), Span(34, 37, "D"), Span(52, 58, "D")]
    predicted = [Span(0, 12, "D"), Span(24, 30, "D"), Span(34, 37, "G"), Span(13, 16, "D")]
    report = evaluate_spans(*zip(*one(gold, predicted), strict=True))
    assert report["strict"]["f1"] == 0.25
    budget = report["error_budget"]
    assert budget["boundary"] == {"gold": 1, "predicted": 1, "lost": 0.25, "f1_if_fixed": 0.5}
    assert budget["missed"] == {"gold": 1, "predicted": 0, "lost": 0.125, "f1_if_fixed": 2 * 2 / 9}
    assert budget["spurious"] == {"gold": 0, "predicted": 1, "lost": 0.125, "f1_if_fixed": 2 / 7}
    assert "unparsable" not in budget


@pytest.mark.parametrize("cases", [100, pytest.param(300, marks=pytest.mark.slow)])
def test_budget_adds_up_and_promises_what_mending_gives(cases):
    @quietly(cases)
    @given(st.lists(st.tuples(SPANS, SPANS), min_size=1, max_size=3))
    def check(rows):
        pairs = [
            (Example(str(i), TEXT, spans=tuple(gold)), Prediction(str(i), spans=tuple(predicted)))
            for i, (gold, predicted) in enumerate(rows)
        ]
        gold = [list(example.spans) for example, _ in pairs]
        strict = score_spans(gold, [list(prediction.spans) for _, prediction in pairs])["strict"]
        mistakes = find_mistakes(pairs)
        budget = error_budget(mistakes, strict, generator=False)
        assert sum(row["lost"] for row in budget.values()) == pytest.approx(
            1 - strict["f1"], abs=1e-12
        )
        for kind, row in budget.items():
            fixed = [
                fix(
                    example,
                    prediction,
                    [m for m in mistakes if m.id == example.id and m.kind == kind],
                )
                for example, prediction in pairs
            ]
            assert row["f1_if_fixed"] == pytest.approx(
                score_spans(gold, fixed)["strict"]["f1"], abs=1e-12
            )
            assert row["f1_if_fixed"] >= strict["f1"] - 1e-12

    check()


def fix(example, prediction, mistakes):
    spans = list(prediction.spans)
    for mistake in mistakes:
        if mistake.predicted:
            spans.remove(mistake.predicted)
        if mistake.gold:
            spans.append(mistake.gold)
    return spans


def test_empty_budget():
    empty = {"support": 0, "predicted": 0}
    assert {row["f1_if_fixed"] for row in error_budget([], empty, generator=True).values()} == {1.0}


def documents():
    """Two sentences in each of ten documents: a mention seen in training, and none."""
    examples = []
    for i in range(10):
        examples.append(
            Example(f"{i}-0", "APC and Colon cancer", spans=(Span(0, 3, "D"), Span(8, 20, "D")))
        )
        examples.append(Example(f"{i}-1", "nothing", spans=()))
    return examples


def test_slices_by_hand():
    examples = documents()
    answers = [
        Prediction(
            example.id, spans=(Span(8, 20, "D"),) if example.spans else (Span(0, 7, "D"),) * (i < 4)
        )
        for i, example in enumerate(examples)
    ]
    train = [
        Example("t", "Colon Cancer, colon cancer", spans=(Span(0, 12, "D"), Span(14, 26, "D")))
    ]
    slices = evaluate_spans(examples, answers, train=train)["slices"]
    assert slices["seen_in_train"]["seen"]["f1"] == 1.0
    assert slices["seen_in_train"]["new"]["support"] == 10
    assert slices["seen_in_train"]["new"]["predicted"] == 2
    assert slices["train_frequency"].keys() == {"0", "2 to 9"}
    assert slices["length"]["2 words"]["recall"] == 1.0
    assert slices["abbreviation"]["abbreviation"]["recall"] == 0.0
    assert slices["place_in_text"]["first third"]["support"] == 10
    assert slices["sentence_of_document"].keys() == {"first", "second to fifth"}
    assert slices["no_mention"] == {
        "examples": 10,
        "with_false_alarm": 2,
        "predicted": 2,
        "rate": 0.2,
    }


@pytest.mark.parametrize(
    ("string", "answer"),
    [
        ("APC", True),
        ("A-T", True),
        ("T-PLL", True),
        ("mRNA", True),
        ("BRCA1", True),
        ("Cancer", False),
        ("was", False),
        ("A", False),
        ("AB CD", False),
        ("VonHippel", False),
    ],
)
def test_abbreviations(string, answer):
    assert is_abbreviation(string) is answer


def test_dictionary_takes_the_longest_match_on_word_borders_in_any_case():
    train = [
        Example(
            "0",
            "Cancer; colon cancer; the A-T gene",
            spans=(Span(0, 6, "D"), Span(8, 20, "D"), Span(26, 29, "G")),
        )
    ]
    text = "COLON CANCER, cancers, a-t, colon"
    (found,) = dictionary_predictions(train, [Example("1", text)])
    assert found.spans == (Span(0, 12, "D"), Span(23, 26, "G"))


def test_dictionary_finds_a_shorter_entry_at_the_end_of_the_text():
    train = [Example("0", "colon cancer, colon", spans=(Span(0, 12, "D"), Span(14, 19, "D")))]
    assert dictionary_predictions(train, [Example("1", "the colon")])[0].spans == (Span(4, 9, "D"),)


def test_most_frequent_tag():
    train = [
        Example("0", "big colon cancer", spans=(Span(4, 16, "D"),)),
        Example("1", "the colon", spans=()),
    ] * 2 + [Example("2", "colon", spans=(Span(0, 5, "D"),))]
    (found,) = most_frequent_tag_predictions(
        train, [Example("3", "a colon cancer, cancer", spans=())]
    )
    assert found.spans == (Span(2, 14, "D"), Span(16, 22, "D"))


def test_class_baselines():
    train = [
        Example("0", "good fine good", label="+"),
        Example("1", "fine", label="+"),
        Example("2", "bad", label="-"),
    ]
    examples = [Example("3", "bad bad"), Example("4", "fine")]
    assert [answer.label for answer in majority_predictions(train, examples)] == ["+", "+"]
    assert [answer.label for answer in linear_svm_predictions(train, examples)] == ["-", "+"]


def test_calibration_by_hand():
    report = calibration(np.array([0.95, 0.95, 0.35, 0.35]), np.array([True, True, True, False]))
    assert [row["count"] for row in report["reliability"]] == [2, 2]
    assert report["ece"] == pytest.approx((2 * 0.15 + 2 * 0.05) / 4 - (2 * 0.15 - 2 * 0.15) / 4)
    assert report["risk_coverage"] == [
        {"score": 0.95, "coverage": 0.5, "risk": 0.0},
        {"score": 0.35, "coverage": 1.0, "risk": 0.25},
    ]
    assert report["aurc"] == 0.125


def test_calibration_of_honest_scores_is_near_zero():
    scores = np.random.default_rng(0).random(50_000)
    honest = calibration(scores, np.random.default_rng(1).random(50_000) < scores)
    assert honest["ece"] < 0.01
    assert calibration(scores, scores > 2)["ece"] == pytest.approx(0.5, abs=0.01)


def test_scores_that_are_no_probabilities_have_a_curve_and_no_diagram():
    report = calibration(np.array([-3.0, 4.0]), np.array([False, True]))
    assert report["reliability"] is report["ece"] is None
    assert [row["risk"] for row in report["risk_coverage"]] == [0.0, 0.5]


def test_score_of_one_is_in_the_last_bin():
    assert calibration(np.array([1.0, 0.0]), np.array([True, False]))["ece"] == 0.0


@pytest.mark.parametrize("cases", [100, pytest.param(300, marks=pytest.mark.slow)])
def test_best_span_threshold_is_the_best_of_all(cases):
    @quietly(cases)
    @given(st.lists(st.tuples(SPANS.filter(bool), SPANS.filter(bool)), min_size=1, max_size=3))
    def check(rows):
        def f1_above(cut):
            kept = [[span for span in row if span.score >= cut] for _, row in rows]
            return score_spans([gold for gold, _ in rows], kept)["strict"]["f1"]

        pairs = [
            (Example(str(i), TEXT, spans=tuple(gold)), Prediction(str(i), spans=tuple(row)))
            for i, (gold, row) in enumerate(rows)
        ]
        cut, best = best_span_threshold(pairs)
        assert best == pytest.approx(f1_above(cut), abs=1e-12)
        assert best == pytest.approx(max(map(f1_above, (0.2, 0.5, 0.9))), abs=1e-12)

    check()


def test_threshold_needs_scores():
    assert scored_spans(one([], [Span(0, 5, "D")])) is None
    with pytest.raises(UserError, match="score"):
        best_span_threshold(one([], [Span(0, 5, "D")]))


def test_threshold_says_what_it_gains():
    examples = [Example(str(i), TEXT, spans=(Span(0, 12, "D"),)) for i in range(20)]
    answers = [
        Prediction(str(i), spans=(Span(0, 12, "D", 0.8), Span(13, 16, "D", 0.3))) for i in range(20)
    ]
    threshold = evaluate_spans(examples, answers, tuning=(examples[:9], answers[:9]))["threshold"]
    assert (threshold["cut"], threshold["before"], threshold["after"]) == (
        0.8,
        pytest.approx(2 / 3),
        1.0,
    )
    assert threshold["gain"] == pytest.approx(1 / 3)
    assert threshold["tuning"] == {"before": pytest.approx(2 / 3), "after": 1.0}


def test_label_audit_by_hand():
    text = "colon cancer, flu and flu"
    examples = [
        Example("a", text, spans=(Span(0, 12, "D"), Span(14, 17, "D"))),
        Example("b", text, spans=()),
    ]
    flu = Span(22, 25, "D", 0.5)
    runs = [
        [
            Prediction("a", spans=(Span(6, 12, "D"), Span(14, 17, "D"))),
            Prediction("b", spans=(flu,)),
        ],
        [
            Prediction("a", spans=(Span(6, 12, "D"), Span(14, 17, "D"))),
            Prediction("b", spans=(flu,)),
        ],
        [Prediction("a", spans=(Span(0, 12, "D"),)), Prediction("b", spans=())],
    ]
    boundary, absent = label_audit(examples, runs)
    # Run 3 alone misses the flu of a: no agreement. Spans in all: 2 gold, and 7 / 3 a run.
    assert (boundary["gold"]["string"], boundary["answer"]["string"], boundary["runs"]) == (
        "colon cancer",
        "cancer",
        2,
    )
    assert boundary["cost"] == pytest.approx(2 * 2 / 3 / (2 + 7 / 3))
    assert (absent["id"], absent["gold"], absent["answer"]["start"], absent["score"]) == (
        "b",
        None,
        22,
        0.5,
    )


def test_label_audit_wants_two_runs_and_more_than_half():
    examples = [Example("a", TEXT, spans=(Span(0, 12, "D"),))]
    finds, misses = [Prediction("a", spans=(Span(0, 12, "D"),))], [Prediction("a", spans=())]
    assert label_audit(examples, [misses, finds]) == []
    assert label_audit(examples, [misses, misses, finds, finds]) == []
    assert len(label_audit(examples, [misses, misses, finds])) == 1


def test_label_audit_puts_repeated_disagreement_first():
    examples = [
        Example(str(i), "WAS was", spans=(Span(4, 7, "D"),) if i else (Span(0, 3, "D"),))
        for i in range(4)
    ]
    run = [Prediction(str(i), spans=()) for i in range(4)]
    entries = label_audit(examples, [run, run])
    assert [entry["gold"]["string"] for entry in entries] == ["was", "was", "was", "WAS"]
    assert entries[0]["pattern_cost"] == pytest.approx(3 * entries[0]["cost"])


def test_report_does_not_depend_on_the_order_of_the_answers():
    shuffle = random.Random(0).shuffle
    examples = documents()
    answers = [
        Prediction(
            example.id,
            spans=(
                Span(0, 3, "D", 0.4),
                Span(8, 20, "D", 0.7),
                Span(8, 20, "D", 0.5),
                Span(4, 12, "E", 0.7),
                Span(5, 20, "D", 0.9),
            ),
        )
        for example in examples
    ]
    other = []
    for answer in answers:
        spans = list(answer.spans)
        shuffle(spans)
        other.append(Prediction(answer.id, spans=tuple(spans)))
    shuffle(other)
    assert repr(evaluate_spans(examples, answers, train=examples)) == repr(
        evaluate_spans(examples, other, train=examples)
    )
