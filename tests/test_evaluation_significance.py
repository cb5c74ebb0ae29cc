"""Intervals and paired tests: against closed forms, scipy, and exhaustive enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.evaluation.significance import (
    Units,
    approximate_randomisation,
    bootstrap_interval,
    mcnemar,
    mean,
    micro_f1,
    paired_bootstrap,
    resampling_units,
)
from pipelines.examples import Example

CASES = pytest.mark.parametrize("cases", [100, pytest.param(1000, marks=pytest.mark.slow)])


def quietly(cases):
    return settings(max_examples=cases, deadline=None, derandomize=True, database=None)


def each_its_own(n):
    return Units("example", np.arange(n))


def with_ones(values):
    return np.stack([np.asarray(values, dtype=float), np.ones(len(values))], axis=1)


def test_documents_are_resampled_where_ids_carry_them():
    units = resampling_units(
        [Example(f"{document}-{i}", "") for document in range(12) for i in range(3)]
    )
    assert (units.kind, units.count) == ("document", 12)
    assert units.index.tolist() == [document for document in range(12) for _ in range(3)]


@pytest.mark.parametrize(
    "ids",
    [
        [f"dev-{i}" for i in range(100)],  # one document is none
        [str(i) for i in range(100)],
        [f"doc{i}-0" for i in range(100)],  # no document has a second sentence
        [f"{i // 3}-{i}" for i in range(80)] + [f"x{i}" for i in range(20)],
    ],
)
def test_examples_are_resampled_elsewhere(ids):
    units = resampling_units([Example(id, "") for id in ids])
    assert (units.kind, units.count) == ("example", 100)


def test_sums_of_documents():
    assert Units("document", np.array([0, 1, 0])).sums(
        np.array([[1, 2], [3, 4], [5, 6]])
    ).tolist() == [[6, 8], [3, 4]]


def test_f1_of_sums():
    assert micro_f1(np.array([[1, 2, 2], [0, 0, 0], [0, 1, 0]])).tolist() == [0.5, 1.0, 0.0]


@CASES
def test_interval_of_a_share_has_the_binomials_quantiles(cases):
    """A resample of n coins of which k are heads has Binomial(n, k / n) heads."""

    @quietly(cases)
    @given(st.integers(5, 40), st.data())
    def check(n, data):
        heads = data.draw(st.integers(0, n))
        interval = bootstrap_interval(
            with_ones([1.0] * heads + [0.0] * (n - heads)), mean, each_its_own(n)
        )
        for end, tail in zip(interval, (0.025, 0.975), strict=True):
            # 2,000 resamples know a tail of 0.025 to within 0.012, at more than three standard errors.
            low, high = scipy.stats.binom.ppf(
                [max(tail - 0.012, 1e-9), min(tail + 0.012, 1 - 1e-9)], n, heads / n
            )
            assert low - 1e-9 <= end * n <= high + 1e-9

    check()


def test_interval_of_f1_agrees_with_scipys_bootstrap():
    generator = np.random.default_rng(0)
    counts = np.stack(
        [
            generator.integers(0, 3, 200),
            generator.integers(2, 5, 200),
            generator.integers(2, 5, 200),
        ],
        1,
    )
    ours = bootstrap_interval(counts, micro_f1, each_its_own(200), resamples=5000)
    theirs = scipy.stats.bootstrap(
        tuple(counts.T),
        lambda *columns, axis: micro_f1(
            np.stack([column.sum(axis) for column in columns], axis=-1)
        ),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=5000,
        rng=1,
    ).confidence_interval
    assert ours == pytest.approx(list(theirs), abs=0.006)


def test_interval_of_clustered_errors_is_wider_by_documents():
    """Sentences of a document that are all right or all wrong: 30 answers, not 300."""
    right = np.repeat(np.random.default_rng(0).integers(0, 2, 30), 10)
    low, high = bootstrap_interval(
        with_ones(right), mean, Units("document", np.repeat(np.arange(30), 10))
    )
    naive_low, naive_high = bootstrap_interval(with_ones(right), mean, each_its_own(300))
    assert (high - low) / (naive_high - naive_low) == pytest.approx(10**0.5, rel=0.15)


def test_intervals_of_several_scores_at_once_are_those_of_each():
    counts = np.random.default_rng(0).integers(1, 5, (50, 6))
    both = bootstrap_interval(
        counts, lambda sums: micro_f1(sums.reshape(len(sums), 2, 3)), each_its_own(50)
    )
    for interval, part in zip(both, (counts[:, :3], counts[:, 3:]), strict=True):
        assert interval == pytest.approx(
            bootstrap_interval(part, micro_f1, each_its_own(50)), abs=0.02
        )


def test_interval_of_a_large_corpus_has_the_normal_width():
    right = np.random.default_rng(0).random(100_000) < 0.8
    low, high = bootstrap_interval(with_ones(right), mean, each_its_own(100_000))
    assert high - low == pytest.approx(2 * 1.96 * (0.8 * 0.2 / 100_000) ** 0.5, rel=0.1)


def test_resamples_drawn_in_several_blocks(monkeypatch):
    values = np.random.default_rng(0).normal(0, 1, 300)
    whole = bootstrap_interval(with_ones(values), mean, each_its_own(300))
    monkeypatch.setattr("pipelines.evaluation.significance.BLOCK_BYTES", 8 * 300 * 7)
    assert bootstrap_interval(with_ones(values), mean, each_its_own(300)) == pytest.approx(
        whole, abs=0.02
    )


@CASES
def test_randomisation_is_scipys_exact_permutation_test(cases):
    @quietly(cases)
    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=7))
    def check(pairs):
        a, b = np.array(pairs, dtype=float).T
        ours = approximate_randomisation(with_ones(a), with_ones(b), mean, each_its_own(len(a)))
        theirs = scipy.stats.permutation_test(
            (a, b),
            lambda x, y, axis: np.abs(np.mean(x - y, axis=axis)),
            vectorized=True,
            permutation_type="samples",
            alternative="greater",
            n_resamples=10_000,
        )
        assert ours == pytest.approx(theirs.pvalue, abs=1e-12)

    check()


def test_randomisation_by_chance_is_near_the_exact_p():
    generator = np.random.default_rng(1)
    a, b = generator.integers(0, 4, (12, 3)) + 1, generator.integers(0, 4, (12, 3)) + 1
    a[:, 0] = np.minimum(a[:, 0], np.minimum(a[:, 1], a[:, 2]))
    exact = []
    observed = abs(micro_f1(a.sum(0)) - micro_f1(b.sum(0)))
    for swaps in itertools.product([False, True], repeat=12):
        swapped = np.array(swaps)[:, None]
        delta = micro_f1(np.where(swapped, b, a).sum(0)) - micro_f1(np.where(swapped, a, b).sum(0))
        exact.append(abs(delta) >= observed - 1e-12)
    # 2 ** 12 swaps are more than the resamples, so that they are drawn.
    p = approximate_randomisation(a, b, micro_f1, each_its_own(12), resamples=4000)
    assert p == pytest.approx(np.mean(exact), abs=0.03)


def test_paired_bootstrap_of_equal_systems():
    counts = np.random.default_rng(0).integers(1, 5, (50, 3))
    assert paired_bootstrap(counts, counts, micro_f1, each_its_own(50)) == {
        "delta": 0.0,
        "interval": [0.0, 0.0],
        "p": 1.0,
    }


def test_paired_bootstrap_is_near_the_normal_form_and_knows_the_direction():
    generator = np.random.default_rng(0)
    a, b = generator.normal(0.3, 1, 400), generator.normal(0, 1, 400)
    test = paired_bootstrap(with_ones(a), with_ones(b), mean, each_its_own(400))
    error = (a - b).std() / 20
    assert test["delta"] == pytest.approx((a - b).mean())
    assert test["interval"] == pytest.approx(
        [test["delta"] - 1.96 * error, test["delta"] + 1.96 * error], abs=0.02
    )
    mirrored = paired_bootstrap(with_ones(b), with_ones(a), mean, each_its_own(400))
    assert mirrored["interval"] == pytest.approx([-test["interval"][1], -test["interval"][0]])
    assert test["p"] < 0.01


def test_p_values_keep_their_promise():
    """Of systems that do not differ, a twentieth is called different at 0.05."""
    generator = np.random.default_rng(0)
    p_values = []
    for _ in range(200):
        a, b = generator.integers(0, 2, (2, 40))
        p_values.append(
            approximate_randomisation(
                with_ones(a), with_ones(b), mean, each_its_own(40), resamples=300
            )
        )
    assert np.mean(np.array(p_values) <= 0.05) < 0.1


@CASES
def test_mcnemar_is_a_binomial_test_of_the_discordant(cases):
    @quietly(cases)
    @given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
    def check(pairs):
        a, b = np.array(pairs).T
        only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
        expected = scipy.stats.binomtest(only_a, only_a + only_b).pvalue if only_a + only_b else 1.0
        assert mcnemar(a, b) == pytest.approx(expected, abs=1e-12)

    check()
