"""Nested subsets of a training file: nested, stratified, groups together, in any order."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_inputs import classified, marked

from pipelines.corpora.splits.nested import nested_subsets
from pipelines.errors import DataError, UserError
from pipelines.examples import Example

FRACTIONS = [0.1, 0.25, 0.5, 1]


def ids(subset):
    return [example.id for example in subset]


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(1, 4), min_size=40, max_size=80),
    st.permutations(FRACTIONS),
    st.integers(0, 100),
)
def test_subsets_are_nested_and_keep_documents_and_the_order(lengths, fractions, seed):
    rows = [
        marked(f"{document}-{i}", *[("m", "Gene")] * ((document + i) % 2))
        for document, length in enumerate(lengths)
        for i in range(length)
    ]
    subsets = nested_subsets(rows, fractions, seed=seed)
    assert list(subsets) == FRACTIONS
    assert subsets[1] == rows
    assert subsets == nested_subsets(rows, FRACTIONS, seed=seed)
    position = {row.id: i for i, row in enumerate(rows)}
    documents = Counter(row.id.split("-")[0] for row in rows)
    larger = set(position)
    for fraction in reversed(FRACTIONS):
        got = ids(subsets[fraction])
        assert set(got) <= larger
        larger = set(got)
        assert got == sorted(got, key=position.get)
        assert abs(len(got) - fraction * len(rows)) <= 4
        for document, count in Counter(id.split("-")[0] for id in got).items():
            assert count == documents[document]


@settings(deadline=None, max_examples=25)
@given(st.tuples(*[st.integers(20, 90)] * 3), st.integers(0, 100))
def test_classes_keep_their_shares(counts, seed):
    rows = classified(dict(zip("abc", counts, strict=True)))
    for fraction, subset in nested_subsets(rows, FRACTIONS, seed=seed).items():
        got = Counter(example.label for example in subset)
        assert len(subset) == round(fraction * len(rows))
        for label, count in zip("abc", counts, strict=True):
            assert abs(got[label] - fraction * count) < 3  # a rounding at each of three cuts


def test_types_and_empty_examples_keep_their_shares():
    rows = [
        marked(f"r{i}", *[("x", "Gene")] * (i % 2), *[("y", "Drug")] * (i % 4 == 1))
        for i in range(400)
    ]
    for fraction, subset in nested_subsets(rows, FRACTIONS, seed=1).items():
        types = Counter(span.label for example in subset for span in example.spans)
        assert abs(types["Gene"] - 200 * fraction) <= 2
        assert abs(types["Drug"] - 100 * fraction) <= 2
        assert abs(sum(not example.spans for example in subset) - 200 * fraction) <= 2


def test_copies_stay_together_and_another_row_order_draws_the_same():
    rows = classified({"a": 60, "b": 60}, copied=20)
    subsets = nested_subsets(rows, FRACTIONS, seed=3)
    turned = nested_subsets(rows[::-1], FRACTIONS, seed=3)
    for fraction, subset in subsets.items():
        assert set(ids(subset)) == set(ids(turned[fraction]))
        texts = {example.text.lower() for example in subset}
        assert len(subset) == sum(row.text.lower() in texts for row in rows)
    assert ids(nested_subsets(rows, FRACTIONS, seed=4)[0.1]) != ids(subsets[0.1])


def test_many_rare_classes_do_not_fill_the_small_subset():
    rows = classified({"common": 900} | {f"rare {i}": 1 for i in range(100)})
    subset = nested_subsets(rows, [0.1, 1], seed=0)[0.1]
    assert len(subset) == 100
    assert 85 <= sum(example.label == "common" for example in subset) <= 95


@pytest.mark.parametrize(
    ("fractions", "listed"),
    [([0, 1], "0,1"), ([0.5, 1.5], "0.5,1.5"), ([0.5, 0.5], "0.5,0.5"), ([], "none")],
)
def test_bad_fractions_are_refused(fractions, listed):
    with pytest.raises(UserError, match=rf"got the fractions {listed}; wanted different shares"):
        nested_subsets(classified({"a": 9, "b": 9}), fractions, seed=0)


def test_a_subset_with_one_class_names_the_least_fraction_that_works():
    rows = classified({"a": 96, "b": 4})
    with pytest.raises(DataError, match=r"fraction 0.01 .* one class only .*at least") as error:
        nested_subsets(rows, [0.01, 1], seed=0)
    least = float(str(error.value).split()[-1])
    assert {row.label for row in nested_subsets(rows, [least, 1], seed=0)[least]} == {"a", "b"}


def test_train_without_answers_has_no_learning_curve():
    for example, fault in (
        (Example("", ""), "no label"),
        (Example("", "", spans=()), "no mention"),
        (Example("", "", label="a"), "one class only"),
    ):
        rows = [Example(f"{i}", f"text {i}", example.spans, example.label) for i in range(20)]
        with pytest.raises(DataError, match=f"train has {fault}"):
            nested_subsets(rows, [0.5, 1], seed=0)


def test_two_fractions_of_one_size_are_refused():
    with pytest.raises(DataError, match=r"0.5 and 0.52 .* same 10 examples"):
        nested_subsets(classified({"a": 10, "b": 10}), [0.5, 0.52], seed=0)
