"""Splits: documents stay whole, sizes and shares are met, and the input is not written over."""

import json
import os
import random
import time
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from conftest import run_python
from hypothesis import given, reject
from hypothesis import strategies as st

from pipelines.corpora import Columns, read_corpus
from pipelines.corpora.class_splits import read_class_splits
from pipelines.corpora.splits import (
    copies,
    documents_in,
    parse_sizes,
    split_examples,
    splits_as_text,
    stratified_folds,
    stratified_split,
    write_split,
)
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Span

SIZES = {"train": 0.8, "dev": 0.1, "test": 0.1}


def classified(counts, copied=0):
    rows = [
        Example(f"{label}{i}", f"{label} text {i}", label=label)
        for label, n in counts.items()
        for i in range(n)
    ]
    return rows + [
        Example(f"copy{i}", rows[i].text.upper(), label=rows[i].label) for i in range(copied)
    ]


def marked(id, *mentions):
    """An example whose text is its id and its mentions, each a string and a type."""
    text, spans = f"sentence {id}", []
    for string, type in mentions:
        spans.append(Span(len(text) + 1, len(text) + 1 + len(string), type))
        text += f" {string}"
    return Example(id, text, spans=tuple(spans))


def strings(examples):
    return {e.text[span.start : span.end].casefold() for e in examples for span in e.spans or ()}


def sizes_of(parts):
    return {name: len(part) for name, part in parts.items()}


def ids_of(parts):
    return {name: [e.id for e in part] for name, part in parts.items()}


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


# Files


def test_a_split_is_written_in_the_form_of_convert(tmp_path):
    rows = [
        Example("1", "one", label=("a", "b"), pair="two"),
        Example("2", "flu", spans=(Span(0, 3, "Disease"),), label="x", tokens=((0, 3),), group="g"),
        Example("3", "none", spans=()),
        Example("4", "half", label=0.5),
        Example("5", "who knows"),
    ]
    write_split(tmp_path / "s.jsonl", rows)
    written = [
        json.loads(line) for line in (tmp_path / "s.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert written == [
        {"id": "1", "text": "one", "pair": "two", "label": ["a", "b"]},
        {
            "id": "2",
            "text": "flu",
            "spans": [{"start": 0, "end": 3, "label": "Disease"}],
            "label": "x",
            "group": "g",
        },
        {"id": "3", "text": "none", "spans": []},
        {"id": "4", "text": "half", "label": 0.5},
        {"id": "5", "text": "who knows"},
    ]


@pytest.mark.parametrize(
    "rows",
    [
        [
            Example("1", "one", label=("a", "b"), pair="two"),
            Example("x", "three", label=(), pair="four"),
        ],
        [Example("1", "flu now", spans=(Span(0, 3, "Disease"),)), Example("2", "none", spans=())],
        [Example("1", "good", label="pos"), Example("2", "bad", label="neg")],
        [Example("1", "good", label=2.5), Example("2", "bad", label=-0.75)],
        [Example("1", "good"), Example("2", "bad")],
    ],
    ids=["classes", "mentions", "class", "value", "unlabelled"],
)
def test_a_split_is_read_back_as_it_was(tmp_path, rows):
    write_split(tmp_path / "s.jsonl", rows)
    assert read_corpus(tmp_path / "s.jsonl", answer=None).examples == rows


def test_the_table_counts_what_each_part_has():
    rows = [
        marked("a-0", ("flu", "Disease"), ("BRCA1", "Gene")),
        marked("a-1"),
        marked("b-0", ("Flu", "Disease")),
        marked("b-1", ("ataxia", "Disease")),
        replace(marked("c-0"), text="sentence A-1"),
    ]
    table = splits_as_text(rows, {"train": rows[:2], "test": rows[2:4]})
    assert [line.split() for line in table.splitlines()[2:8]] == [
        ["examples", "2", "2"],
        ["documents", "1", "1"],
        ["mentions", "2", "2"],
        ["type", "Disease", "1", "2"],
        ["type", "Gene", "1", "0"],
        ["mentions", "seen", "in", "train", "50.0", "%"],
    ]
    assert table.splitlines()[-1] == (
        "1 copies of a text, each in the part of the first; 1 of 5 examples in no part"
    )


def write_rows(path, n=40):
    rows = [
        {"id": f"{i // 4}-{i % 4}", "text": f"text {i}", "label": "ab"[i // 4 % 2]}
        for i in range(n)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def split(*arguments):
    return run_python("-m", "pipelines.cli", "split", *arguments)


def written(folder, name):
    return [
        json.loads(line)
        for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    ]


def test_the_split_command(tmp_path):
    file = write_rows(tmp_path / "all.jsonl")
    done = split(file, "--out", tmp_path / "s", "--sizes", "train=0.6,dev=0.4", "--seed", 3)
    assert done.returncode == 0, done.stderr
    train, dev = (written(tmp_path / "s", name) for name in ("train", "dev"))
    assert Counter(row["label"] for row in train) == {"a": 12, "b": 12}
    assert Counter(row["label"] for row in dev) == {"a": 8, "b": 8}
    assert not {row["id"].split("-")[0] for row in train} & {row["id"].split("-")[0] for row in dev}
    lines = [line.split() for line in done.stdout.splitlines()]
    for line in (["examples", "24", "16"], ["documents", "6", "4"], ["class", "a", "12", "8"]):
        assert line in lines
    assert "10 documents kept together, as their ids say" in done.stdout
    assert "0-0" in done.stdout.split("examples")[0]  # the first example
    # What a recipe cuts from the same file is the same.
    examples = read_corpus(file, answer=None).examples
    assert [row["id"] for row in dev] == ids_of(
        split_examples(examples, {"train": 0.6, "dev": 0.4}, seed=3)
    )["dev"]


def test_the_split_command_keeps_groups_and_mentions_apart(tmp_path):
    rows = [
        {
            "id": str(i),
            "text": f"sentence {i} has m{i // 3}",
            "paper": f"p{i % 20}",
            "spans": [
                {
                    "start": len(f"sentence {i} has "),
                    "end": len(f"sentence {i} has m{i // 3}"),
                    "label": "D",
                }
            ],
        }
        for i in range(60)
    ]
    file = tmp_path / "all.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = split(
        file, "--out", tmp_path / "g", "--group_column", "paper", "--sizes", "train=0.5,test=0.5"
    )
    assert done.returncode == 0, done.stderr
    train, test = (written(tmp_path / "g", name) for name in ("train", "test"))
    assert len(train) == len(test) == 30
    assert not {row["group"] for row in train} & {row["group"] for row in test}
    assert "20 documents kept together, as their groups say" in done.stdout
    done = split(
        file, "--out", tmp_path / "m", "--unseen_mentions", "--sizes", "train=0.5,test=0.5"
    )
    assert done.returncode == 0, done.stderr
    train, test = (
        {row["text"].split()[-1] for row in written(tmp_path / "m", name)}
        for name in ("train", "test")
    )
    assert len(train) + len(test) == 20
    assert not train & test
    assert "0.0 %" in done.stdout


def test_an_unlabelled_file_is_drawn_at_random_and_that_is_said(tmp_path):
    file = tmp_path / "all.jsonl"
    file.write_text(
        "".join(json.dumps({"text": f"text {i}"}) + "\n" for i in range(20)), encoding="utf-8"
    )
    done = split(file, "--out", tmp_path / "s", "--sizes", "train=0.5,dev=0.5")
    assert done.returncode == 0, done.stderr
    assert "no labels to stratify by: drawn at random" in done.stdout
    assert len(written(tmp_path / "s", "dev")) == 10


LABELS = {
    "class": lambda i: {"label": "abc"[i % 7 % 3]},
    "number": lambda i: {"label": i % 3},
    "fraction": lambda i: {"label": i % 3 / 2},
    "list": lambda i: {"label": ["a", "b", "c"][: i % 4]},
    "columns": lambda i: {"toxic": int(i % 2 == 0), "insult": int(i % 5 == 0)},
    "mentions": lambda i: {"spans": [{"start": 0, "end": 4, "label": "DE"[i % 4 // 3]}][: i % 3]},
}
# Without these, columns of 0 and 1 are no classes for the command, and fractions are values.
READ_BY = {
    "fraction": {"answer": "label"},
    "columns": {"answer": "label"},
    "mentions": {"mention_type": "D"},
}


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", LABELS)
def test_splits_made_by_different_recipes_from_one_file_are_the_same(tmp_path, kind, grouped):
    texts = [f"text {i % 55}" for i in range(60)]  # five are copies
    rows = [{"id": f"x{i}", "text": text, **LABELS[kind](i % 55)} for i, text in enumerate(texts)]
    if grouped:
        rows = [{**row, "paper": f"p{i // 2 % 25}"} for i, row in enumerate(rows)]
    file = tmp_path / "all.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    columns = READ_BY.get(kind, {}) | ({"group_column": "paper"} if grouped else {})
    sizes = "train=0.6,dev=0.2,test=0.2"

    options = [text for name, value in columns.items() for text in (f"--{name}", value)]
    done = split(file, "--out", tmp_path / "s", "--sizes", sizes, "--seed", 5, *options)
    assert done.returncode == 0, done.stderr
    by_command = {name: [row["id"] for row in written(tmp_path / "s", name)] for name in SIZES}
    # finetune_classifier and grid_search_head both read their files so.
    files = {"train": str(file)}
    splits = read_class_splits(
        files, columns=Columns(**columns), sizes=sizes, seed=5, report=lambda line: None
    )
    assert ids_of(splits.splits) == by_command
    assert by_command["train"] != [row["id"] for row in rows[:36]]


@pytest.mark.parametrize(
    "link", ["none", "symlink", "hard link", "folder", "symlink to the folder"]
)
def test_the_input_is_not_written_over(tmp_path, link):
    out = tmp_path / "data"
    out.mkdir()
    file = write_rows(tmp_path / "all.jsonl")
    source = file
    if link == "none":
        source = file.rename(out / "train.jsonl")
    elif link == "symlink":
        (out / "dev.jsonl").symlink_to(file)
    elif link == "hard link":
        os.link(file, out / "dev.jsonl")
    elif link == "folder":
        source = tmp_path
    else:
        source = file.rename(out / "train.jsonl")
        (tmp_path / "other").symlink_to(out)
        out = tmp_path / "other"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    done = split(source, "--out", out)
    assert done.returncode == 2
    assert "choose another --out" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["../x", "sub/x", "{}/x", ".."])
def test_nothing_is_written_outside_out(tmp_path, name):
    file = write_rows(tmp_path / "all.jsonl")
    done = split(file, "--out", tmp_path / "s", "--sizes", f"train=0.5,{name.format(tmp_path)}=0.5")
    assert done.returncode == 2
    assert "wanted a plain name" in done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["all.jsonl"]


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
