"""Warnings about a run that has learnt nothing, or less than a baseline: hand-worked cases."""

import pytest

from pipelines.evaluation.comparison import evaluate_runs
from pipelines.evaluation.reports import evaluate_classes, evaluate_spans, evaluate_values
from pipelines.evaluation.tasks import SPAN_EXTRACTION
from pipelines.examples import Example, Prediction, Span

GOLD = [
    Example("0", "colon cancer runs here", spans=(Span(0, 12, "D"),)),
    Example("1", "no ataxia", spans=(Span(3, 9, "D"),)),
    Example("2", "nothing", spans=()),
]
PERFECT = [Prediction(example.id, spans=example.spans) for example in GOLD]
NOTHING = [Prediction(example.id, spans=()) for example in GOLD]
# The dictionary of this has one of the two mentions: P 1, R 1/2, F1 2/3.
TRAIN = [Example("t", "an ataxia", spans=(Span(3, 9, "D"),))]


def test_a_run_that_predicts_no_mention():
    assert evaluate_spans(GOLD, NOTHING)["warnings"] == [
        "no mention is predicted (every tag is O), but the gold has 2 mentions; give more "
        "training examples, or train longer or with another learning rate"
    ]
    assert not evaluate_spans(GOLD, PERFECT)["warnings"]
    assert not evaluate_spans(GOLD[2:], NOTHING[2:])["warnings"]  # there is nothing to predict


def test_a_run_below_its_dictionary():
    wrong = [PERFECT[0], Prediction("1", spans=(Span(0, 2, "D"),)), NOTHING[2]]  # F1 1/2
    [sentence] = evaluate_spans(GOLD, wrong, train=TRAIN)["warnings"]
    assert sentence == (
        "strict F1 50.00 is worse than the 66.67 of a dictionary of the training mentions; give "
        "more training examples, or train longer or with another learning rate"
    )
    equal = [PERFECT[0], *NOTHING[1:]]
    assert not evaluate_spans(GOLD, equal, train=TRAIN)["warnings"]
    assert not evaluate_spans(GOLD, wrong)["warnings"]


def classes(labels, predicted, train):
    examples = [Example(str(i), f"text {i}", label=label) for i, label in enumerate(labels)]
    answers = [Prediction(str(i), label=label) for i, label in enumerate(predicted)]
    known = [Example(str(i), "text", label=label) for i, label in enumerate(train)]
    return evaluate_classes(examples, answers, train=known)["warnings"]


def test_a_run_that_predicts_one_class():
    # As good as always predicting the majority, and so not worse.
    assert classes("aab", "aaa", "aaab") == [
        "only the class 'a' is predicted, but the gold has 2 classes; give more training "
        "examples, or train longer or with another learning rate"
    ]
    assert not classes("aaa", "aaa", "aaab")
    several = [("a",), ("a", "b"), ("b",)]
    [sentence, _] = classes(several, [(), (), ()], several)
    assert sentence.startswith("no class is predicted, but the gold has 2 classes;")


def test_a_run_below_the_majority():
    # Accuracy 1/4, macro F1 (2/5 + 0) / 2; the majority has 3/4 and (6/7 + 0) / 2.
    [sentence] = classes("aaab", "abba", "aaab")
    assert sentence.startswith(
        "accuracy 25.00 is worse than the 75.00 of always predicting the most frequent class;"
    )


def test_what_macro_f1_gains_may_cost_accuracy():
    # Accuracy 1/2 against 3/4 of the majority; macro F1 (1/2 + 1/2) / 2 against 3/7.
    assert not classes("aaab", "abbb", "aaab")


def test_a_baseline_knows_sets_of_classes():
    """A set of classes is a class of its own, in the order that the labels have."""
    several = [("a", "b"), ("a", "b"), ("b",)]
    examples = [Example(str(i), "text", label=label) for i, label in enumerate(several)]
    answers = [Prediction(str(i), label=("a",)) for i in range(3)]
    report = evaluate_classes(examples, answers, train=examples)
    assert report["baselines"]["majority"]["accuracy"] == pytest.approx(2 / 3)
    assert any("66.67 of always predicting" in sentence for sentence in report["warnings"])


def test_a_run_above_the_mean_error():
    examples = [Example(str(i), "", label=float(i)) for i in range(3)]
    far = [Prediction(str(i), value=9.0) for i in range(3)]
    # Squared errors 81 + 64 + 49; of the mean 1: 1 + 0 + 1.
    [sentence] = evaluate_values(examples, far, train=examples)["warnings"]
    assert sentence.startswith(
        "MSE 64.67 is worse than the 0.6667 of always predicting the training mean;"
    )
    near = [Prediction(str(i), value=float(i)) for i in range(3)]
    assert not evaluate_values(examples, near, train=examples)["warnings"]


def test_of_several_runs_each_warning_has_its_run():
    report = evaluate_runs(SPAN_EXTRACTION, GOLD, [PERFECT, NOTHING])
    assert [sentence.split(" (")[0] for sentence in report["warnings"]] == [
        "run 2: no mention is predicted"
    ]
