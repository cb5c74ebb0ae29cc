"""Splits: documents, copies of a text and, if asked for, mentions stay in one part."""

import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, reject
from hypothesis import strategies as st
from split_inputs import SIZES, classified, marked, sizes_of, strings

from pipelines.corpora.splits import (
    documents_in,
    split_examples,
    stratified_folds,
    stratified_split,
)
from pipelines.errors import DataError, UserError
from pipelines.examples import Example

# What has to stay together


@st.composite
def corpora(draw, kinds=("spans", "label", "labels", "value", None)):
    """Documents of several sentences, of which some occur in other documents too."""
    kind = draw(st.sampled_from(kinds))
    named_by_id = draw(st.booleans())
    n_documents = draw(st.integers(25, 60))
    lengths = draw(
        st.lists(st.integers(1, 5), min_size=n_documents, max_size=n_documents).filter(
            lambda x: sum(x) > 50
        )
    )
    random_numbers = random.Random(draw(st.integers(0, 10**6)))
    rows = []
    for document, length in enumerate(lengths):
        for number in range(length):
            id = f"{document}-{number}" if named_by_id else f"row {len(rows)}"
            types = random_numbers.choices(["Gene", "Drug"], k=random_numbers.randrange(3))
            example = marked(id, *((f"m{random_numbers.randrange(40)}", type) for type in types))
            if kind != "spans":
                label = {
                    "label": "ab"[random_numbers.random() < 0.4],
                    "labels": tuple({*types}),
                    "value": random_numbers.random(),
                    None: None,
                }[kind]
                example = replace(example, spans=None, label=label)
            if len(rows) > 10 and random_numbers.random() < 0.05:
                copied = random_numbers.choice(rows[:10])
                example = replace(
                    example, text=f" {copied.text.upper()}", spans=None if kind != "spans" else ()
                )
            rows.append(example if named_by_id else replace(example, group=f"doc {document}"))
    return rows


def together(rows):
    """The sets of positions that share a document or a text: a label spreads until none changes."""
    label = list(range(len(rows)))
    documents = documents_in(rows)
    by_key = defaultdict(list)
    for position, row in enumerate(rows):
        by_key["document", documents[position]].append(position)
        by_key["text", " ".join(row.text.casefold().split())].append(position)
    changed = True
    while changed:
        changed = False
        for members in by_key.values():
            lowest = min(label[position] for position in members)
            changed |= any(label[position] != lowest for position in members)
            for position in members:
                label[position] = lowest
    groups = defaultdict(set)
    for position, lowest in enumerate(label):
        groups[lowest].add(position)
    return list(groups.values())


@given(corpora(), st.integers(0, 20))
def test_no_document_and_no_copy_is_in_two_parts(rows, seed):
    sizes = {"train": 0.6, "dev": 0.2, "test": 0.2}
    parts = split_examples(rows, sizes, seed=seed)
    assert sorted(e.id for part in parts.values() for e in part) == sorted(e.id for e in rows)
    side = {e.id: name for name, part in parts.items() for e in part}
    groups = together(rows)
    assert max(map(len, groups)) > 1
    for group in groups:
        assert len({side[rows[position].id] for position in group}) == 1
    largest = max(map(len, groups))
    for name, part in parts.items():
        # A part takes what does not fit anywhere at most once.
        assert len(part) < sizes[name] * len(rows) + 1 + largest, name


@given(corpora(), st.integers(0, 20))
def test_only_content_sizes_and_seed_decide(rows, seed):
    sizes = {"train": 0.7, "test": 0.2}
    parts = split_examples(rows, sizes, seed=seed)
    assert split_examples(list(rows), dict(sizes), seed=seed) == parts
    shuffled = random.Random(seed).sample(rows, len(rows))
    again = split_examples(shuffled, sizes, seed=seed)
    assert {name: {e.id for e in part} for name, part in again.items()} == {
        name: {e.id for e in part} for name, part in parts.items()
    }
    order = {e.id: position for position, e in enumerate(rows)}
    assert all(part == sorted(part, key=lambda e: order[e.id]) for part in parts.values())


@pytest.mark.parametrize("n_classes", [3, 5])
def test_rounding_does_not_bring_the_order_of_rows_back(n_classes):
    sizes = {"train": 0.6, "dev": 0.2, "test": 0.2}
    for seed in range(10):
        draw = random.Random(seed)
        rows = [
            Example(str(i), f"t {i}", label=tuple(draw.sample("abcdefgh", n_classes)))
            for i in range(150)
        ]
        shuffled = [
            replace(e, label=tuple(draw.sample(e.label, n_classes)))
            for e in draw.sample(rows, len(rows))
        ]
        first, second = (split_examples(part, sizes)["test"] for part in (rows, shuffled))
        assert {e.id for e in first} == {e.id for e in second}


def test_the_seed_draws_other_examples():
    rows = classified({"a": 20, "b": 20})
    first, same, other = (
        stratified_split(rows, {"train": 0.5, "dev": 0.5}, seed=seed)["dev"] for seed in (1, 1, 2)
    )
    assert first == same != other
    folds, others = (stratified_folds(rows, 4, seed=seed) for seed in (1, 2))
    assert folds == stratified_folds(rows, 4, seed=1) != others


def test_tokens_and_ids_without_documents_do_not_decide():
    rows = [marked(f"x{i}", *[("flu", "Disease")] * (i % 3)) for i in range(60)]
    tokenised = [replace(e, id=f"y{i}", tokens=((0, 3),)) for i, e in enumerate(rows)]
    first, second = (split_examples(part, SIZES) for part in (rows, tokenised))
    assert [[e.text for e in part] for part in first.values()] == [
        [e.text for e in part] for part in second.values()
    ]


def skewed_documents(seed=0, n_documents=300):
    """Documents of 1 to 30 sentences, each about one type of mention."""
    draw = random.Random(seed)
    rows = []
    for document in range(n_documents):
        type = draw.choices(["Gene", "Drug", "Disease"], [6, 3, 1])[0]
        for number in range(min(30, int(1 + draw.expovariate(0.15)))):
            id = f"d{document}-{number}"
            rows.append(marked(id, *[(f"m{draw.randrange(99)}", type)] * draw.randrange(3)))
    return rows


@pytest.mark.parametrize("seed", range(6))
def test_shares_of_whole_documents_are_within_a_bound(seed):
    rows = skewed_documents(seed)
    parts = split_examples(rows, SIZES, seed=seed)
    whole = Counter(s.label for e in rows for s in e.spans)
    for name, part in parts.items():
        assert abs(len(part) - SIZES[name] * len(rows)) <= 2
        counted = Counter(s.label for e in part for s in e.spans)
        for type, count in whole.items():
            assert abs(counted[type] - SIZES[name] * count) <= 0.02 * count, (name, type)


def test_large_documents_go_to_all_parts():
    n_held_out = 0
    for seed in range(6):
        rows = skewed_documents(seed)
        parts = split_examples(rows, SIZES, seed=seed)
        lengths = Counter(e.id.split("-")[0] for e in rows)
        large = {document for document, _ in lengths.most_common(30)}
        held_out = {e.id.split("-")[0] for e in [*parts["dev"], *parts["test"]]}
        n_held_out += len(held_out & large)
    assert 24 <= n_held_out <= 42  # a fifth of 180 would be 36


def test_a_document_that_is_larger_than_every_part_is_named():
    rows = [Example(f"big-{i}", f"text {i}") for i in range(60)] + [
        Example(f"d{i}-0", f"other {i}") for i in range(9)
    ]
    with pytest.raises(
        DataError, match=r"the 60 examples of document big- stay together.*\(train, 55\)"
    ) as error:
        split_examples(rows, SIZES)
    assert "\n" not in str(error.value)
    linked = [
        Example(f"d{i}-{j}", f"text {i} {j}" if j else "Methods:")
        for i in range(30)
        for j in range(3)
    ]
    with pytest.raises(
        DataError, match=r"documents? d0-, d1-.*share texts such as 'methods:' \(30 times\)"
    ):
        split_examples(linked, SIZES)


def test_what_names_the_documents():
    def documents(*pairs):
        return documents_in([Example(id, f"text {id}", group=group) for id, group in pairs])

    assert documents(("7-0", None), ("7-1", None), ("8-0", None)) == ["7-", "7-", "8-"]
    assert documents(("7-0", "a"), ("7-1", "b"), ("8-0", "a")) == ["a", "b", "a"]
    first, second, third = documents(("0", "a"), ("1", None), ("2", None))
    assert len({first, second, third}) == 3
    assert documents(("train-0", None), ("train-1", None)) is None  # one file, not one document
    assert documents(("0", "document 1"), ("1", "document 1")) is None
    assert documents(("0", None), ("1", None)) is None


# Mentions kept apart


@given(
    st.lists(st.lists(st.integers(0, 60), max_size=3), min_size=40, max_size=80),
    st.booleans(),
    st.integers(0, 5),
)
def test_no_mention_of_test_occurs_in_train(mentions, in_documents, seed):
    rows = [
        marked(
            f"{i // 2}-{i % 2}" if in_documents else f"x{i}",
            *((f"{'Mm'[(i + m) % 2]}ention{m}", "ab"[m % 2]) for m in row),
        )
        for i, row in enumerate(mentions)
    ]
    sizes = {"train": 0.6, "dev": 0.2, "test": 0.2}
    try:
        parts = split_examples(rows, sizes, seed=seed, unseen_mentions=True)
    except UserError:
        reject()  # they cannot be kept apart
    assert not strings(parts["train"]) & (strings(parts["dev"]) | strings(parts["test"]))
    used = [e.id for part in parts.values() for e in part]
    assert len(used) == len(set(used)) >= len(rows) / 2
    side = {e.id: name for name, part in parts.items() for e in part}
    if in_documents and documents_in(rows):
        for first, second in zip(rows[::2], rows[1::2], strict=False):
            assert side.get(first.id) == side.get(second.id)


def test_nothing_is_left_out_where_mentions_can_be_kept_apart():
    rows = [marked(f"x{i}", (f"mention {i // 5}", "Disease")) for i in range(300)]
    parts = split_examples(rows, SIZES, unseen_mentions=True)
    assert sizes_of(parts) == {"train": 240, "dev": 30, "test": 30}
    assert not strings(parts["train"]) & (strings(parts["dev"]) | strings(parts["test"]))
    usual = split_examples(rows, SIZES)
    assert strings(usual["train"]) & strings(usual["test"])


def test_what_joins_too_many_mentions_is_left_out_and_counted(caplog):
    draw = random.Random(0)
    rows = [
        marked(f"x{i}", *((f"m{draw.randrange(150)}", "Disease") for _ in range(1 + (i % 4 == 0))))
        for i in range(800)
    ]
    parts = split_examples(rows, SIZES, unseen_mentions=True)
    n_used = sum(map(len, parts.values()))
    assert 0 < len(rows) - n_used < 40
    assert f"left out {len(rows) - n_used} of 800 examples" in caplog.text
    assert all(abs(len(part) - SIZES[name] * n_used) <= 3 for name, part in parts.items())
    # Nearly all of those left out have mentions of both sides.
    used = {e.id for part in parts.values() for e in part}
    train, rest = strings(parts["train"]), strings(parts["dev"]) | strings(parts["test"])
    left_out = [strings([e]) for e in rows if e.id not in used]
    assert all(len(mentions) == 2 for mentions in left_out)
    assert sum(
        bool(mentions & train) and bool(mentions & rest) for mentions in left_out
    ) > 0.7 * len(left_out)


def test_mentions_that_cannot_be_kept_apart_are_refused():
    rows = [marked(f"x{i}", ("flu", "Disease")) for i in range(50)]
    with pytest.raises(DataError, match="mentions cannot be kept apart"):
        split_examples(rows, SIZES, unseen_mentions=True)
    draw = random.Random(0)
    dense = [
        marked(f"x{i}", *((f"m{name}", "Disease") for name in draw.sample(range(60), 4)))
        for i in range(200)
    ]
    with pytest.raises(DataError, match=r"1\d\d of 200 examples have mentions both of train and"):
        split_examples(dense, {"train": 0.5, "test": 0.5}, unseen_mentions=True)
    with pytest.raises(UserError, match="a corpus without mentions"):
        split_examples(classified({"a": 20}), SIZES, unseen_mentions=True)
