"""Tasks, several runs, paired comparison."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.errors import DataError, UserError
from pipelines.evaluation.comparison import (
    compare_predictions,
    compare_seeds,
    evaluate_runs,
    holm,
)
from pipelines.evaluation.reports import (
    evaluate_classes,
    evaluate_language_model,
    evaluate_spans,
    evaluate_values,
    gold_sha256,
)
from pipelines.evaluation.tasks import TASKS, metric, task_of
from pipelines.examples import Example, Prediction, Span

TEXT = "colon cancer and flu"
CANCER, FLU = Span(0, 12, "D"), Span(17, 20, "D")


def corpus(n=40):
    return [Example(f"{i // 2}-{i % 2}", TEXT, spans=(CANCER, FLU)) for i in range(n)]


def answers(examples, right):
    """Answers that find both mentions in the first `right` examples, and one in the others."""
    return [
        Prediction(example.id, spans=(CANCER, FLU) if i < right else (CANCER,))
        for i, example in enumerate(examples)
    ]


def test_every_task_has_its_primary_metric_in_its_report():
    spans = corpus()
    classes = [Example(str(i), "a b", label="x" if i % 2 else "y") for i in range(12)]
    values = [Example(str(i), "a b", label=float(i)) for i in range(12)]
    given = {
        "span_extraction": (spans, answers(spans, 10)),
        "sequence_classification": (classes, [Prediction(str(i), label="x") for i in range(12)]),
        "sequence_regression": (values, [Prediction(str(i), value=1.0) for i in range(12)]),
        "language_modelling": (
            [Example(str(i), "a b") for i in range(12)],
            [Prediction(str(i), value=1.0) for i in range(12)],
        ),
    }
    assert given.keys() == TASKS.keys()
    for name, (examples, predictions) in given.items():
        task = task_of(examples, predictions)
        assert task.name == name
        report = task.evaluate(examples, predictions)
        counts = task.counts(list(zip(examples, predictions, strict=True)))
        assert task.statistic(counts.sum(axis=0)) == pytest.approx(
            metric(report, task.primary_metric)
        )
        assert all(metric(report, path) is not None for path in task.metrics)


def test_mixed_answers_are_refused():
    with pytest.raises(UserError, match=r"spans \(id 0\) and label \(id 1\)"):
        task_of([], [Prediction("0", spans=()), Prediction("1", label="x")])


def test_metric_of_a_path_that_is_not_there():
    assert metric({"accuracy": 0.5}, "accuracy.f1") is None


def test_unlabelled_gold_and_answers_of_another_kind_are_refused():
    with pytest.raises(DataError, match="1 of 1 gold examples have no spans"):
        evaluate_spans([Example("0", TEXT)], [Prediction("0", spans=())])
    with pytest.raises(DataError, match='1 predictions have no "spans", such as id 0'):
        evaluate_spans([Example("0", TEXT, spans=())], [Prediction("0", label="x")])


def test_gold_fingerprint_knows_answers_and_not_order():
    examples = corpus(4)
    assert gold_sha256(examples) == gold_sha256(examples[::-1])
    assert gold_sha256(examples) != gold_sha256(
        [*examples[:3], Example("1-1", TEXT, spans=(CANCER,))]
    )


def test_missing_answers_count_as_empty_when_allowed():
    examples = corpus()
    report = evaluate_spans(examples, answers(examples, 40)[:30], allow_missing=True)
    assert (report["missing_counted_as_empty"], report["strict"]["recall"]) == (10, 0.75)
    with pytest.raises(DataError, match="10 ids missing"):
        evaluate_spans(examples, answers(examples, 40)[:30])
    classes = [Example(str(i), "a", label="x") for i in range(4)]
    report = evaluate_classes(classes, [Prediction("0", label="x")], allow_missing=True)
    assert (report["accuracy"], report["missing_counted_as_empty"]) == (0.25, 3)


def test_strings_that_a_generator_wrote_count_even_if_the_text_has_them_not():
    wrote = ({"string": "Colon cancer", "label": "D"}, {"string": "diabetes", "label": "D"})
    report = evaluate_spans(
        corpus(2), [Prediction(f"0-{i}", spans=(CANCER,), mentions=wrote) for i in range(2)]
    )
    assert (report["strict"]["precision"], report["string_set"]["precision"]) == (1.0, 0.5)


def test_class_report_with_scores():
    examples = [Example(str(i), "a", label="x" if i < 6 else "y") for i in range(12)]
    predictions = [
        Prediction(str(i), label="x" if i < 7 else "y", scores={"x": 1 - i / 12, "y": i / 12})
        for i in range(12)
    ]
    report = evaluate_classes(examples, predictions, train=examples)
    assert report["accuracy"] == pytest.approx(11 / 12)
    assert report["per_class"]["x"]["roc_auc"] == 1.0
    assert report["accuracy_interval"][0] < 11 / 12 < report["accuracy_interval"][1] + 1e-9
    low, high = report["macro"]["interval"]
    assert low < report["macro"]["f1"] <= high
    assert report["baselines"]["majority"]["accuracy"] == 0.5
    assert report["calibration"]["answers"] == 12


def test_label_sets():
    examples = [Example("0", "a", label=("x", "y")), Example("1", "a", label=())]
    report = evaluate_classes(
        examples, [Prediction("0", label=("y", "x")), Prediction("1", label=("x",))]
    )
    assert (report["accuracy"], report["micro"]["f1"]) == (0.5, 0.8)


def test_numbers_have_a_baseline():
    examples = [Example(str(i), "a", label=float(i)) for i in range(5)]
    report = evaluate_values(
        examples, [Prediction(str(i), value=i + 1.0) for i in range(5)], train=examples
    )
    assert (report["mse"], report["mae"], report["r2"]) == (1.0, 1.0, 0.5)
    assert report["baselines"]["mean"]["mse"] == 2.0
    assert report["mse_interval"] == [1.0, 1.0]


def test_perplexity_per_token_and_per_word_from_sums():
    examples = [Example("0", "a b c"), Example("1", "a")]
    predictions = [
        Prediction("0", value=6 * math.log(2), scores={"tokens": 6}),
        Prediction("1", value=2 * math.log(4), scores={"tokens": 2}),
    ]
    report = evaluate_language_model(examples, predictions)
    assert (report["tokens"], report["words"]) == (8, 4)
    assert report["perplexity"] == pytest.approx(2 ** (10 / 8))
    assert report["perplexity_per_word"] == pytest.approx(2 ** (10 / 4))
    assert report["perplexity_interval"] == pytest.approx([2, 4])


def test_mean_and_spread_over_runs():
    examples = corpus()
    runs = [answers(examples, right) for right in (0, 20, 40)]
    report = evaluate_runs(TASKS["span_extraction"], examples, runs)
    f1s = [2 * (40 + right) / (80 + 40 + right) for right in (0, 20, 40)]
    assert report["spread"]["strict.f1"] == pytest.approx(
        {"mean": np.mean(f1s), "sd": np.std(f1s, ddof=1), "min": f1s[0], "max": f1s[2]}
    )
    assert report["strict"]["f1"] == pytest.approx(np.mean(f1s))
    assert report["strict"]["support"] == 80
    assert report["error_budget"]["missed"]["gold"] == pytest.approx((40 + 20 + 0) / 3)
    assert report["strict"]["interval"][0] <= np.mean(f1s) <= report["strict"]["interval"][1]
    assert [run["strict"]["f1"] for run in report["runs"]] == pytest.approx(f1s)
    # Two of three runs miss the flu of the last twenty.
    assert len(report["label_audit"]) == 20
    assert report["label_audit"][0]["answer"] is None


def test_clear_difference_is_reported():
    examples = corpus()
    test = compare_predictions(
        TASKS["span_extraction"], examples, answers(examples, 40), answers(examples, 10)
    )
    assert (test["better"], test["unit"], test["units"]) == ("a", "document", 20)
    assert test["delta"] == pytest.approx(test["a"] - test["b"])
    assert test["interval"][0] > 0
    assert test["p"] < 0.01
    mirrored = compare_predictions(
        TASKS["span_extraction"], examples, answers(examples, 10), answers(examples, 40)
    )
    assert (mirrored["better"], mirrored["delta"]) == ("b", pytest.approx(-test["delta"]))


def test_small_difference_is_a_tie():
    examples = corpus()
    test = compare_predictions(
        TASKS["span_extraction"], examples, answers(examples, 21), answers(examples, 20)
    )
    assert test["better"] is None
    assert test["delta"] > 0


def test_classes_are_compared_by_mcnemar():
    examples = [Example(str(i), "a", label="x") for i in range(30)]
    a = [Prediction(str(i), label="x" if i < 29 else "y") for i in range(30)]
    b = [Prediction(str(i), label="x" if i < 20 else "y") for i in range(30)]
    test = compare_predictions(TASKS["sequence_classification"], examples, a, b)
    assert (test["test"], test["better"], test["p"]) == ("mcnemar", "a", pytest.approx(2 * 0.5**9))


def test_lower_error_is_better():
    examples = [Example(str(i), "a", label=0.0) for i in range(30)]
    a, b = ([Prediction(str(i), value=error + i / 100) for i in range(30)] for error in (2.0, 1.0))
    test = compare_predictions(TASKS["sequence_regression"], examples, a, b)
    assert test["better"] == "b"
    assert test["delta"] > 0


def right_in(examples, pattern):
    """Answers that are right where the pattern has a 1."""
    pairs = zip(examples, pattern, strict=True)
    return [Prediction(e.id, label="x" if right == "1" else "y") for e, right in pairs]


def test_seeds_are_swapped_together_example_by_example():
    task = TASKS["sequence_classification"]
    gold = [Example(f"e{i}", "a b", label="x") for i in range(4)]
    a = [right_in(gold, "1111"), right_in(gold, "1110")]
    b = [right_in(gold, "0111"), right_in(gold, "0000")]
    found = compare_seeds(task, gold, a, b)
    assert (found["a"], found["b"]) == (7 / 8, 3 / 8)
    assert found["delta"] == pytest.approx(0.5)
    # The examples differ by 2, 1, 1 and 0 answers: of the 16 swaps, 4 leave all on one side.
    assert found["p"] == 4 / 16
    assert found["better"] is None
    assert found["test"] == "approximate_randomisation"
    turned = compare_seeds(task, gold, b, a)
    assert (turned["delta"], turned["p"]) == (-found["delta"], found["p"])


def test_one_seed_is_compared_like_two_systems():
    task, gold = TASKS["span_extraction"], corpus()
    a, b = answers(gold, 40), answers(gold, 5)
    assert compare_seeds(task, gold, [a], [b]) == compare_predictions(task, gold, a, b)
    assert compare_seeds(task, gold, [a, a], [b, b])["better"] == "a"
    assert compare_seeds(task, gold, [a, b], [b, a])["p"] == 1
    with pytest.raises(ValueError, match="got 2 and 1 runs"):
        compare_seeds(task, gold, [a, b], [a])


def test_several_tests_are_adjusted_for_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
