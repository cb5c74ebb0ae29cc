"""Splits: sizes are met, and classes, mentions and values are in proportion."""

import random
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from split_inputs import SIZES, classified, ids_of, marked, sizes_of

from pipelines.corpora.splits import (
    copies,
    parse_sizes,
    split_examples,
    stratified_folds,
    stratified_split,
)
from pipelines.errors import DataError, UserError
from pipelines.examples import Example

# Sizes


@pytest.mark.parametrize(
    "sizes",
    [
        "train",
        "train=0.8,dev=x",
        "train=2.5",
        "train=0.5,train=0.5",
        "=3",
        "train=nan",
        "train=inf",
        "train=0.5,Train=0.5",
    ],
)
def test_sizes_that_are_none(sizes):
    with pytest.raises(UserError, match="wanted a name and a share"):
        parse_sizes(sizes)


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "/x", "..", ".x", "a\\b", "-x", "a:b", "a\nb", "a b"]
)
def test_a_part_must_have_a_plain_name(name):
    with pytest.raises(UserError, match="wanted a plain name"):
        parse_sizes(f"train=0.5,{name}=0.5")


def test_plain_names_are_taken():
    assert parse_sizes("train=0.5, fold-1_a.b=20") == {"train": 0.5, "fold-1_a.b": 20}


def test_more_than_there_is():
    with pytest.raises(UserError, match="there are 20 texts"):
        stratified_split(classified({"a": 20}), {"train": 0.9, "dev": 0.2})


def test_a_part_without_an_example_is_refused():
    with pytest.raises(DataError, match="the part test would be empty"):
        split_examples([Example(str(i), f"text {i}") for i in range(3)], SIZES)
    with pytest.raises(DataError, match="got no examples"):
        split_examples([], SIZES)


# Examples that are alone


def test_sizes_are_met_exactly_and_classes_in_proportion():
    parts = stratified_split(classified({"a": 60, "b": 30, "c": 10}), SIZES, seed=3)
    counted = {name: Counter(e.label for e in part) for name, part in parts.items()}
    assert counted == {
        "train": {"a": 48, "b": 24, "c": 8},
        "dev": {"a": 6, "b": 3, "c": 1},
        "test": {"a": 6, "b": 3, "c": 1},
    }
    numbers = stratified_split(classified({"a": 60, "b": 40}), {"train": 50, "dev": 10})
    assert sizes_of(numbers) == {"train": 50, "dev": 10}


@given(
    st.dictionaries(st.sampled_from("abcde"), st.integers(3, 40), min_size=1),
    st.integers(0, 3),
    st.integers(0, 9),
    st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.34, 0.33, 0.33)]),
)
def test_nothing_is_lost_doubled_or_on_two_sides(counts, copied, seed, shares):
    rows = classified(counts, copied)
    parts = stratified_split(
        rows, dict(zip(("train", "dev", "test"), shares, strict=True)), seed=seed
    )
    assert sorted(e.id for part in parts.values() for e in part) == sorted(e.id for e in rows)
    side = {e.id: name for name, part in parts.items() for e in part}
    for group in copies(rows):
        assert len({side[rows[position].id] for position in group}) == 1
    for part in parts.values():
        assert {e.label for e in part} == set(counts)


@given(st.lists(st.integers(10, 60), min_size=1, max_size=8), st.integers(0, 5))
def test_each_class_is_within_one_text_of_its_share(counts, seed):
    rows = classified({f"class {i}": count for i, count in enumerate(counts)})
    parts = split_examples(rows, SIZES, seed=seed)
    assert abs(len(parts["dev"]) - len(rows) / 10) <= 1
    for name, part in parts.items():
        counted = Counter(e.label for e in part)
        for i, count in enumerate(counts):
            assert abs(counted[f"class {i}"] - SIZES[name] * count) <= 2, (name, i)


type_lists = st.lists(st.sampled_from(["Gene", "Drug", "Disease"]), max_size=4)


@given(st.lists(type_lists, min_size=30, max_size=90), st.integers(0, 3))
def test_mentions_and_sizes_are_in_proportion(types, seed):
    rows = [marked(f"x{i}", *((f"m{i}", type) for type in row)) for i, row in enumerate(types)]
    n_dev = len(rows) // 5
    parts = split_examples(rows, {"train": len(rows) - n_dev, "dev": n_dev}, seed=seed)
    assert sizes_of(parts) == {"train": len(rows) - n_dev, "dev": n_dev}
    whole, dev = (Counter(s.label for e in part for s in e.spans) for part in (rows, parts["dev"]))
    for type, count in whole.items():
        # One sentence of each type can be in the wrong part.
        assert abs(dev[type] - count * n_dev / len(rows)) <= 12, (type, dev, whole)


def test_several_classes_and_values_are_stratified():
    draw = random.Random(0)
    for seed in range(5):
        rows = [
            Example(str(i), f"text {i}", label=tuple(c for c in "abcdef" if draw.random() < 0.3))
            for i in range(500)
        ]
        parts = split_examples(rows, {"train": 400, "test": 100}, seed=seed)
        assert sizes_of(parts) == {"train": 400, "test": 100}
        whole, test = (Counter(c for e in part for c in e.label) for part in (rows, parts["test"]))
        assert all(abs(test[c] - whole[c] / 5) <= 4 for c in "abcdef"), (whole, test)

    rows = [Example(str(i), f"text {i}", label=draw.gauss(0, 1)) for i in range(500)]
    parts = split_examples(rows, {"train": 400, "test": 100})
    deciles = sorted(e.label for e in rows)[::50]
    bins = Counter(sum(e.label >= edge for edge in deciles) for e in parts["test"])
    assert bins == dict.fromkeys(range(1, 11), 10)


def test_a_class_with_fewer_texts_than_parts_is_named_with_its_rows():
    with pytest.raises(DataError, match=r"class 'rare': 2 \(id rare0, rare1\)"):
        stratified_split(classified({"a": 20, "rare": 2}), SIZES)


def test_folds_each_have_all_classes_or_name_what_they_lack():
    with pytest.raises(
        DataError, match=r"parts \(5\)[^\n]*\nclass 'rare': 4 \(id rare0, rare1, rare2, rare3\)"
    ):
        stratified_folds(classified({"a": 30, "rare": 4}), 5)
    for n in range(20, 33):
        rows = classified({"a": n, "rare": 5})
        assert [
            sum(rows[place].label == "rare" for place in fold) for fold in stratified_folds(rows, 5)
        ] == [1] * 5


def test_texts_without_a_class_are_refused_by_class_and_drawn_at_random_else():
    rows = [Example(str(i), f"text {i}") for i in range(20)]
    with pytest.raises(DataError, match="20 of 20 texts have no class, such as id 0"):
        stratified_split(rows, {"train": 0.5})
    with pytest.raises(DataError, match="20 of 20 texts have no class"):
        stratified_folds(rows, 2)
    parts = split_examples(rows, {"train": 0.75, "dev": 0.25})
    assert sizes_of(parts) == {"train": 15, "dev": 5}
    assert ids_of(parts)["dev"] != [str(i) for i in range(15, 20)]


@pytest.mark.slow
@pytest.mark.parametrize("unseen_mentions", [False, True])
def test_a_hundred_thousand_examples_take_seconds(unseen_mentions):
    draw = random.Random(0)
    rows = []
    for i in range(100_000):
        names = [int(draw.paretovariate(0.3)) % 40_000 for _ in range(i % 3)]
        rows.append(marked(f"x{i}", *((f"m{name}", f"type {name % 50}") for name in names)))
    start = time.monotonic()
    parts = split_examples(rows, SIZES, unseen_mentions=unseen_mentions)
    assert time.monotonic() - start < 20
    assert min(map(len, parts.values())) > 5_000
