"""Classes, numbers and perplexity: agreement with scikit-learn and torch."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from pipelines.evaluation.classification import (
    average_precision,
    class_scores,
    confusion_matrix,
    multilabel_scores,
    roc_auc,
)
from pipelines.evaluation.regression import perplexity, value_scores

CASES = pytest.mark.parametrize("cases", [100, pytest.param(200, marks=pytest.mark.slow)])
LABELS = ("books", "dvd", "health")
PAIRS = st.lists(
    st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=1, max_size=20
)
# Few distinct scores, so that ties are common.
RANKED = st.lists(
    st.tuples(st.booleans(), st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])), min_size=2, max_size=20
)
NUMBERS = st.floats(-100, 100)


def quietly(cases):
    return settings(max_examples=cases, deadline=None, derandomize=True, database=None)


def close(ours, theirs):
    assert ours == pytest.approx(theirs, abs=1e-12)


@CASES
def test_classes_agree_with_scikit_learn(cases):
    @quietly(cases)
    @given(PAIRS)
    def check(pairs):
        gold, predicted = map(list, zip(*pairs, strict=True))
        scores = class_scores(gold, predicted)
        theirs = metrics.classification_report(gold, predicted, output_dict=True, zero_division=0)
        rows = scores["per_class"] | {
            "macro avg": scores["macro"],
            "weighted avg": scores["weighted"],
        }
        for name, row in rows.items():
            for mine, its in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
                close(row[mine], theirs[name][its])
        close(scores["accuracy"], metrics.accuracy_score(gold, predicted))
        close(scores["micro"]["f1"], metrics.f1_score(gold, predicted, average="micro"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on a single label
            close(scores["matthews"], metrics.matthews_corrcoef(gold, predicted))
            theirs = metrics.confusion_matrix(gold, predicted, labels=scores["confusion"]["labels"])
        assert scores["confusion"]["matrix"] == theirs.tolist()

    check()


@CASES
def test_ranking_agrees_with_scikit_learn(cases):
    @quietly(cases)
    @given(RANKED)
    def check(ranked):
        positive, scores = (
            np.array([row[0] for row in ranked]),
            np.array([row[1] for row in ranked]),
        )
        if positive.any():
            close(
                average_precision(positive, scores),
                metrics.average_precision_score(positive, scores),
            )
        if positive.any() and not positive.all():
            close(roc_auc(positive, scores), metrics.roc_auc_score(positive, scores))

    check()


def test_ranking_of_one_kind_alone_is_unknown():
    assert roc_auc(np.array([True, True]), np.array([0.1, 0.2])) is None
    assert average_precision(np.array([False]), np.array([0.1])) is None


def test_scores_of_three_classes_agree_with_one_against_rest():
    generator = np.random.default_rng(0)
    gold = [LABELS[i] for i in generator.integers(0, 3, 60)]
    given_scores = generator.dirichlet(np.ones(3), 60)
    scores = class_scores(
        gold, gold, [dict(zip(LABELS, map(float, row), strict=True)) for row in given_scores]
    )
    close(
        scores["macro"]["roc_auc"],
        metrics.roc_auc_score(gold, given_scores, multi_class="ovr", labels=LABELS),
    )


@CASES
def test_label_sets_agree_with_scikit_learn(cases):
    sets = st.lists(
        st.tuples(*[st.frozensets(st.sampled_from(LABELS))] * 2), min_size=1, max_size=10
    )

    @quietly(cases)
    @given(sets)
    def check(pairs):
        scores = multilabel_scores(
            [sorted(gold) for gold, _ in pairs], [sorted(given) for _, given in pairs]
        )
        labels = sorted(scores["per_class"])
        if len(labels) < 2:
            return  # scikit-learn takes a single column for two classes
        gold, predicted = (
            np.array([[label in row[side] for label in labels] for row in pairs]) for side in (0, 1)
        )
        for average in ("micro", "macro", "weighted"):
            close(
                scores[average]["f1"],
                metrics.f1_score(gold, predicted, average=average, zero_division=0),
            )
        close(scores["accuracy"], metrics.accuracy_score(gold, predicted))

    check()


def test_no_labels_at_all_is_right():
    scores = multilabel_scores([(), ()], [(), ()])
    assert scores["accuracy"] == scores["micro"]["f1"] == scores["macro"]["f1"] == 1.0


def test_confusion_has_gold_rows():
    assert confusion_matrix(["a", "a", "b"], ["a", "b", "b"], ["a", "b"]).tolist() == [
        [1, 1],
        [0, 1],
    ]


@CASES
def test_numbers_agree_with_scikit_learn(cases):
    @quietly(cases)
    @given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=20))
    def check(pairs):
        gold, predicted = np.array(pairs).T
        scores = value_scores(gold, predicted)
        assert scores["mse"] == pytest.approx(
            metrics.mean_squared_error(gold, predicted), rel=1e-12
        )
        assert scores["mae"] == pytest.approx(
            metrics.mean_absolute_error(gold, predicted), rel=1e-12
        )
        if np.ptp(gold) > 1e-3:
            assert scores["r2"] == pytest.approx(
                metrics.r2_score(gold, predicted), rel=1e-9, abs=1e-9
            )

    check()


def test_r2_of_equal_gold_values_is_unknown():
    assert value_scores(np.array([2.0, 2.0]), np.array([1.0, 3.0])) == {
        "mse": 1.0,
        "mae": 1.0,
        "r2": None,
    }


@CASES
def test_perplexity_is_exp_of_torchs_cross_entropy(cases):
    @quietly(cases)
    @given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(0, 2**31))
    def check(lengths, seed):
        generator = torch.Generator().manual_seed(seed)
        logits = torch.randn(sum(lengths), 7, generator=generator, dtype=torch.float64)  # (T, V)
        wanted = torch.randint(0, 7, (sum(lengths),), generator=generator)  # (T,)
        # Summed text by text, as predictions hold it: a mean of the texts' means would differ.
        nats = [
            torch.nn.functional.cross_entropy(*part, reduction="sum").item()
            for part in zip(logits.split(lengths), wanted.split(lengths), strict=True)
        ]
        expected = torch.nn.functional.cross_entropy(logits, wanted).exp().item()
        assert perplexity(sum(nats), sum(lengths)) == pytest.approx(expected, rel=1e-12)

    check()


def test_perplexity_of_a_uniform_guess_is_the_vocabulary():
    assert perplexity(10 * math.log(50), 10) == pytest.approx(50)
    assert perplexity(1e6, 1) == math.inf
