"""Splits as files: written, read back, and never over the input."""

import json
import os
from collections import Counter
from dataclasses import replace

import pytest
from conftest import run_python
from recipe_cases import slow_but
from split_inputs import SIZES, ids_of, marked

from pipelines.corpora import Columns, read_corpus
from pipelines.corpora.class_splits import read_class_splits
from pipelines.corpora.splits import (
    split_examples,
    splits_as_text,
    write_split,
)
from pipelines.examples import Example, Span

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
@pytest.mark.parametrize("kind", slow_but("mentions", LABELS, pytest.mark.extensive))
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
    splits = read_class_splits(files, columns=Columns(**columns), sizes=sizes, seed=5)
    assert ids_of(splits.splits) == by_command
    assert by_command["train"] != [row["id"] for row in rows[:36]]


@pytest.mark.parametrize(
    "link",
    slow_but(
        "symlink",
        ["none", "symlink", "hard link", "folder", "symlink to the folder"],
        pytest.mark.extensive,
    ),
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


@pytest.mark.parametrize(
    "name", slow_but("../x", ["../x", "sub/x", "{}/x", ".."], pytest.mark.extensive)
)
def test_nothing_is_written_outside_out(tmp_path, name):
    file = write_rows(tmp_path / "all.jsonl")
    done = split(file, "--out", tmp_path / "s", "--sizes", f"train=0.5,{name.format(tmp_path)}=0.5")
    assert done.returncode == 2
    assert "wanted a plain name" in done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["all.jsonl"]
