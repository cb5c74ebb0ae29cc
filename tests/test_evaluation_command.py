"""`pipelines evaluate` as a person calls it: files in, table and report out, bad input reported in one message."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.cli import main
from pipelines.evaluation.span_scores import SCHEMES

ROOT = Path(__file__).parent.parent
TEXTS = ["colon cancer and flu", "no mention", "flu again", "rectal cancer"]
GOLD = [[(0, 12), (17, 20)], [], [(0, 3)], [(0, 13)]]


def row(i, spans, **more):
    return {
        "id": f"d{i}",
        "spans": [{"start": s, "end": e, "label": "Disease", "score": 0.5} for s, e in spans],
    } | more


RIGHT = [row(i, spans) for i, spans in enumerate(GOLD)]


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "evaluate", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def evaluate(tmp_path, monkeypatch, capsys):
    """The command within this process, which saves its start."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        try:
            code = main(["evaluate", *map(str, arguments)])
        except SystemExit as stop:
            code = stop.code
        expected = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=expected.out, stderr=expected.err)

    return call


@pytest.fixture
def gold(tmp_path):
    rows = [
        {
            "id": f"d{i}",
            "sentence": text,
            "entities": [
                {"start": s, "end": e, "text": text[s:e], "type": "Disease"} for s, e in spans
            ],
        }
        for i, (text, spans) in enumerate(zip(TEXTS, GOLD, strict=True))
    ]
    path = tmp_path / "gold.json"
    path.write_text(json.dumps(rows))
    return path


def test_table_and_report(gold, tmp_path):
    predictions = jsonl(tmp_path / "p.jsonl", [*RIGHT[:3], row(3, [(7, 13)])])
    done = run(
        "--gold",
        gold,
        "--predictions",
        predictions,
        "--train",
        gold,
        "--json",
        "out/report.json",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["strict"]["f1"] == 0.75
    assert report["strict"]["interval"][0] <= 0.75 <= report["strict"]["interval"][1]
    assert report["baselines"]["dictionary"]["f1"] == 1.0
    assert {"precision", "recall", "f1", "support", "per_type", "macro", "weighted"} < report[
        "exact"
    ].keys()
    strict = next(line for line in done.stdout.splitlines() if line.startswith("strict "))
    assert strict.split()[:6] == ["strict", "75.00", "75.00", "75.00", "4", "4"]
    assert "boundary" in done.stdout
    assert "dictionary" in done.stdout


def test_shuffled_predictions_give_the_same_bytes(gold, tmp_path):
    predictions = [row(i, [*spans, (0, 5), (2, 7), (0, 5)]) for i, spans in enumerate(GOLD)]
    outputs = []
    for seed in range(2):
        random.Random(seed).shuffle(predictions)
        for prediction in predictions:
            random.Random(seed).shuffle(prediction["spans"])
        file = jsonl(tmp_path / "p.jsonl", predictions)
        done = run(
            "--gold",
            gold,
            "--predictions",
            file,
            file,
            "--train",
            gold,
            "--json",
            "r.json",
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        outputs.append((done.stdout, (tmp_path / "r.json").read_bytes()))
    assert outputs[0] == outputs[1]


def test_several_runs_and_threshold(evaluate, gold, tmp_path):
    files = [
        jsonl(tmp_path / f"p{i}.jsonl", [*RIGHT[: 3 + i], *(row(3, []) for _ in range(1 - i))])
        for i in range(2)
    ]
    done = evaluate(
        "--gold",
        gold,
        "--predictions",
        *files,
        "--tune_threshold",
        gold,
        files[0],
        "--json",
        "r.json",
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["spread"]["strict.recall"]["mean"] == 0.875
    assert report["threshold"]["cut"] == 0.5
    assert "mean of 2 runs" in done.stdout
    assert "Spans kept from score 0.5 on" in done.stdout


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (RIGHT[:2], ["no prediction for 2 of 4 ids: d2, d3", "--allow_missing"]),
        ([*RIGHT, row(9, [])], ["p.jsonl:5", "id d9", "not an id of the gold file"]),
        ([*RIGHT, RIGHT[0]], ["p.jsonl:5", "id d0", "is in line 1 too"]),
        ([*RIGHT[:3], row(3, [(0, 99)])], ["p.jsonl:4", "id d3", "0-99", "13 characters"]),
        ([*RIGHT[:3], row(3, [(5, 5)])], ["p.jsonl:4", "id d3", "5-5"]),
        ([*RIGHT[:3], row(3, [(-1, 5)])], ["p.jsonl:4", "id d3"]),
        (
            [*RIGHT[:3], {"id": "d3", "spans": [{"start": 0, "end": 5, "label": "Gene"}]}],
            ["p.jsonl:4", "id d3", "'Gene'", "Disease", "--allow_new_labels"],
        ),
        (
            [
                *RIGHT[:3],
                {
                    "id": "d3",
                    "spans": [{"start": 0, "end": 5, "label": "Disease", "score": float("nan")}],
                },
            ],
            ["p.jsonl:4", "id d3", "NaN is not a value of JSON"],
        ),
        ([*RIGHT[:3], {"id": "d3", "spans": None}], ["p.jsonl:4", "id d3", "null"]),
        (
            [*RIGHT[:3], {"id": "d3", "spans": [5]}],
            ["p.jsonl:4", "id d3", "[5]; wanted a list of objects"],
        ),
        (
            [*RIGHT[:3], {"id": "d3", "spans": [{"start": 0, "end": 5}]}],
            ["p.jsonl:4", "id d3", 'without "label"'],
        ),
        (
            [*RIGHT[:3], {"id": "d3", "spans": [{"start": "a", "end": 5, "label": "Disease"}]}],
            ["'a'; wanted a number"],
        ),
        (
            [*RIGHT[:3], row(3, [], status="late")],
            ["p.jsonl:4", "id d3", "'late'; wanted ok, cut_off, unparsable"],
        ),
        ([*RIGHT[:3], row(3, [], raw=5)], ["p.jsonl:4", "id d3", '"raw" is 5']),
        (
            [*RIGHT[:3], row(3, [], mentions=[{"string": "flu"}])],
            ["p.jsonl:4", "id d3", "a mention without"],
        ),
        (
            [*RIGHT[:3], row(3, [], scores=[0.5])],
            ["p.jsonl:4", "id d3", "[0.5]; wanted an object with a number for"],
        ),
        ([*RIGHT[:3], {"id": None, "spans": []}], ["p.jsonl:4", 'no "id"']),
        ([*RIGHT[:3], [RIGHT[3]]], ["p.jsonl:4", "wanted one JSON object a line"]),
        ([*RIGHT[:3], {"id": "d3", "label": "x"}], ["spans (id d0) and label (id d3)"]),
        # All at once.
        ([row(0, [(0, 99)]), row(1, [(3, 2)]), *RIGHT[3:]], ["p.jsonl:1", "p.jsonl:2", "d2"]),
    ],
)
def test_bad_predictions(evaluate, gold, tmp_path, rows, expected):
    done = evaluate(
        "--gold", gold, "--predictions", jsonl(tmp_path / "p.jsonl", rows), "--json", "r.json"
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert all(part in done.stderr for part in expected), done.stderr
    assert not (tmp_path / "r.json").exists()


def test_file_cut_off_in_the_middle_of_a_line(evaluate, gold, tmp_path):
    file = jsonl(tmp_path / "p.jsonl", RIGHT)
    file.write_text(file.read_text()[:-20])
    done = evaluate("--gold", gold, "--predictions", file)
    assert done.returncode == 2
    assert "p.jsonl:4: id d3: " in done.stderr
    assert "cut off" in done.stderr


def test_blank_lines_do_not_shift_line_numbers(evaluate, gold, tmp_path):
    file = jsonl(tmp_path / "p.jsonl", [*RIGHT[:3], row(3, [(0, 99)])])
    file.write_text("\n\n" + file.read_text())
    assert "p.jsonl:6: id d3" in evaluate("--gold", gold, "--predictions", file).stderr


@pytest.mark.parametrize("missing", ["gold", "predictions"])
def test_missing_files(evaluate, gold, tmp_path, missing):
    paths = {"gold": gold, "predictions": jsonl(tmp_path / "p.jsonl", RIGHT)} | {
        missing: tmp_path / "nowhere.json"
    }
    done = evaluate("--gold", paths["gold"], "--predictions", paths["predictions"])
    assert done.returncode == 2
    assert "nowhere.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_answers_and_new_labels_can_be_allowed(evaluate, gold, tmp_path):
    rows = [*RIGHT[:2], {"id": "d2", "spans": [{"start": 0, "end": 3, "label": "Gene"}]}]
    done = evaluate(
        "--gold",
        gold,
        "--predictions",
        jsonl(tmp_path / "p.jsonl", rows),
        "--allow_missing",
        "--allow_new_labels",
        "--json",
        "r.json",
    )
    assert done.returncode == 0, done.stderr
    assert "1 missing answer counted as empty" in done.stdout
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["missing_counted_as_empty"] == 1
    assert report["error_budget"]["type"]["gold"] == 1


def test_labels_that_only_training_has_are_known(evaluate, gold, tmp_path):
    train = jsonl(
        tmp_path / "train.jsonl",
        [
            {
                "id": "t",
                "text": "APC",
                "entities": [{"start": 0, "end": 3, "text": "APC", "type": "Gene"}],
            }
        ],
    )
    rows = [*RIGHT[:3], {"id": "d3", "spans": [{"start": 0, "end": 5, "label": "Gene"}]}]
    done = evaluate(
        "--gold", gold, "--predictions", jsonl(tmp_path / "p.jsonl", rows), "--train", train
    )
    assert done.returncode == 0, done.stderr


def test_classes(evaluate, tmp_path):
    gold = jsonl(
        tmp_path / "gold.jsonl",
        [{"id": str(i), "text": "a b", "label": "xy"[i % 2]} for i in range(8)],
    )
    rows = [{"id": str(i), "label": "x", "scores": {"x": 0.6, "y": 0.4}} for i in range(8)]
    done = evaluate(
        "--gold", gold, "--predictions", jsonl(tmp_path / "p.jsonl", rows), "--json", "r.json"
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["task"], report["accuracy"]) == ("sequence_classification", 0.5)
    expected = {
        line.split()[0]: line.split() for line in done.stdout.splitlines()[::-1] if line
    }  # the first of each
    assert expected["accuracy"][:2] == ["accuracy", "50.00"]
    assert expected["micro"][1:5] == ["mean", "50.00", "50.00", "50.00"]
    assert expected["By"][-2:] == ["ROC-AUC", "AP"]
    assert expected["x"][-2:] == [
        "50.00",
        "50.00",
    ]  # every score the same: half of the pairs, and half of the examples
    rows[2]["scores"]["z"] = 0.1
    done = evaluate("--gold", gold, "--predictions", jsonl(tmp_path / "p.jsonl", rows))
    assert "p.jsonl:3: id 2: a score for 'z'" in done.stderr
    del rows[2]["scores"]["z"]
    rows[3]["scores"]["x"] = float("nan")
    done = evaluate("--gold", gold, "--predictions", jsonl(tmp_path / "p.jsonl", rows))
    assert done.returncode == 2
    assert "p.jsonl:4: id 3: not a prediction: NaN is not a value of JSON" in done.stderr


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gold.txt", "books pos 1.txt a good book\nmusic neg 2.txt a bad song\n"),
        ("gold.csv", 'id,text,label\n0,a good book,books\n1,"a bad, bad song",music\n'),
        ("gold.tsv", "text\tlabel\na good book\tbooks\na bad song\tmusic\n"),
    ],
)
def test_classes_from_reviews_and_tables(evaluate, tmp_path, name, content):
    (tmp_path / name).write_text(content)
    rows = [{"id": "0", "label": "books"}, {"id": "1", "label": "books"}]
    options = () if name.endswith("txt") else ("--text_column", "text", "--label_column", "label")
    done = evaluate("--gold", name, "--predictions", jsonl(tmp_path / "p.jsonl", rows), *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Sequence classification: accuracy 50.00 ")


def test_columns_of_mentions_can_be_named(evaluate, tmp_path):
    (tmp_path / "g.json").write_text(
        json.dumps([{"nr": "d2", "satz": ["flu", "again"], "funde": [1, 0]}])
    )
    predictions = jsonl(tmp_path / "p.jsonl", [RIGHT[2]])
    done = evaluate(
        "--gold",
        "g.json",
        "--predictions",
        predictions,
        "--text_column",
        "satz",
        "--entities_column",
        "funde",
        "--id_column",
        "nr",
        "--tag_names",
        "O,B-Disease",
        "--json",
        "r.json",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "r.json").read_text())["strict"]["f1"] == 1.0


def test_unlabelled_and_doubled_gold(evaluate, gold, tmp_path):
    for rows, expected in (
        (
            [{"id": "0", "text": "a"}, {"id": "1", "text": "b"}],
            "gold.jsonl: 2 of 2 examples are without a class",
        ),
        ([{"id": "0", "text": "a", "label": "x"}] * 2, "gold.jsonl, line 2 (id 0): duplicate_id"),
    ):
        done = evaluate(
            "--gold",
            jsonl(tmp_path / "gold.jsonl", rows),
            "--predictions",
            jsonl(tmp_path / "p.jsonl", [{"id": "0", "label": "x"}]),
        )
        assert (done.returncode, expected in done.stderr) == (2, True), done.stderr
    unlabelled = jsonl(
        tmp_path / "gold.jsonl", [{"id": f"d{i}", "sentence": text} for i, text in enumerate(TEXTS)]
    )
    done = evaluate("--gold", unlabelled, "--predictions", jsonl(tmp_path / "p.jsonl", RIGHT))
    assert "gold.jsonl: 4 of 4 examples are without mentions marked, such as id d0" in done.stderr


def test_numbers_and_perplexity(evaluate, tmp_path):
    gold = jsonl(
        tmp_path / "gold.jsonl", [{"id": str(i), "text": "a b", "label": i / 2} for i in range(4)]
    )
    right = jsonl(tmp_path / "p.jsonl", [{"id": str(i), "value": i / 2 + 1} for i in range(4)])
    done = evaluate("--gold", gold, "--predictions", right)
    assert done.stdout.startswith("Sequence regression: mse 1 [1, 1]"), done.stderr
    assert (
        "--allow_missing got"
        in evaluate("--gold", gold, "--predictions", right, "--allow_missing").stderr
    )
    words = jsonl(
        tmp_path / "words.jsonl", [{"id": str(i), "text": "a b", "label": "x"} for i in range(60)]
    )
    expected = evaluate("--gold", words, "--predictions", right).stderr.strip().splitlines()
    assert expected[1].endswith(
        "words.jsonl, line 1 (id 0): wrong_type: 'label' holds 'x'; wanted a number"
    )
    assert expected[-1].endswith("and 10 more")
    texts = jsonl(tmp_path / "texts.jsonl", [{"id": str(i), "text": "a b"} for i in range(4)])
    rows = [{"id": str(i), "value": 2.0, "scores": {"tokens": 1}} for i in range(4)]
    done = evaluate("--gold", texts, "--predictions", jsonl(tmp_path / "p.jsonl", rows))
    assert done.stdout.startswith("Language modelling: perplexity 7.389 [7.389, 7.389]"), (
        done.stderr
    )
    for wrong in ({"value": -2.0}, {"scores": {"tokens": 0}}):
        rows[1] |= wrong
        done = evaluate("--gold", texts, "--predictions", jsonl(tmp_path / "p.jsonl", rows))
        assert "1 of 4 predictions hold nats below 0 or of no token, such as id 1" in done.stderr
        rows[1] |= {"value": 2.0}


def test_a_reader_that_goes_away_is_no_fault(gold, tmp_path):
    predictions = jsonl(tmp_path / "p.jsonl", RIGHT)
    code = (
        "import sys; from pipelines.cli import main\nsys.stdout.reconfigure(line_buffering=True)\n"
        f"sys.exit(main(['evaluate', '--gold', {str(gold)!r}, '--predictions', {str(predictions)!r}, "
        "'--json', 'r.json']))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")
    assert (tmp_path / "r.json").exists()


def test_scoring_needs_neither_torch_nor_scikit_learn(gold, tmp_path):
    predictions = jsonl(tmp_path / "p.jsonl", RIGHT)
    code = (
        "import sys; from pipelines.cli import main; "
        f"main(['evaluate', '--gold', {str(gold)!r}, '--predictions', {str(predictions)!r}]); "
        "print(sorted({'torch', 'transformers', 'sklearn', 'datasets', 'seqeval'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.slow
def test_metric_folder_of_hugging_face_evaluate(tmp_path):
    code = """
import json, random
import evaluate
from pipelines.evaluation.span_scores import score_spans
from pipelines.examples import Span, span_to_json
metric = evaluate.load("pipelines/evaluation/span_f1")
draw = random.Random(0)
def spans():
    starts = [draw.randint(0, 9) for _ in range(draw.randint(0, 4))]
    return [Span(start, start + draw.randint(1, 4), draw.choice("AB")) for start in starts]
gold, predicted = [spans() for _ in range(200)], [spans() for _ in range(200)]
theirs = metric.compute(references=[[span_to_json(s) for s in row] for row in gold],
                        predictions=[[span_to_json(s) for s in row] for row in predicted])
print(json.dumps([theirs, score_spans(gold, predicted)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    theirs, ours = json.loads(done.stdout.splitlines()[-1])
    assert {name for name in theirs if name.startswith("strict")} == {
        "strict_precision",
        "strict_recall",
        "strict_f1",
    }
    for scheme in SCHEMES:
        for name in ("precision", "recall", "f1"):
            assert theirs[f"{scheme}_{name}"] == ours[scheme][name]
