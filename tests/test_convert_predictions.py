"""Other tools' formats: a model's answers, and the command."""

import json
from dataclasses import replace

import pytest
from conftest import run_python
from convert_inputs import MENTIONS, NO_MENTION, TEXT, rows, written

from pipelines.corpora.convert import convert, predicted_content
from pipelines.corpora.predictions import read_predictions
from pipelines.corpora.writing import write_predictions
from pipelines.errors import DataError
from pipelines.examples import Example, Prediction, Span

# A model's answers
PREDICTIONS = [
    Prediction("7-0", spans=(Span(0, 10, "Disease", 0.75), Span(26, 29, "Disease"))),
    Prediction("7-1", spans=()),
]


def predicted(tmp_path, name, examples, predictions, to=None):
    done = convert(predicted_content(examples, predictions), tmp_path / name, to=to)
    return tmp_path / name, done


def test_a_models_answers_stand_where_a_tool_shows_them(tmp_path):
    examples = [replace(MENTIONS, spans=None), NO_MENTION]
    path, done = predicted(tmp_path, "o.json", examples, PREDICTIONS)
    first, second = json.loads(path.read_text(encoding="utf-8"))
    [answer] = first["predictions"]
    assert "annotations" not in first
    assert [(r["value"]["start"], r.get("score")) for r in answer["result"]] == [
        (0, 0.75),
        (27, None),
    ]
    assert second["predictions"][0]["result"] == []
    assert done.losses == []
    path, _ = predicted(tmp_path, "o.jsonl", examples, PREDICTIONS, to="prodigy")
    assert rows(path)[0]["spans"][0]["score"] == 0.75
    assert "answer" not in rows(path)[0]
    path, _ = predicted(tmp_path, "o.jsonl", examples, PREDICTIONS)
    assert rows(path)[0]["spans"] == [
        {"start": 0, "end": 10, "label": "Disease", "score": 0.75},
        {"start": 26, "end": 29, "label": "Disease"},
    ]
    _, done = predicted(tmp_path, "o", examples, PREDICTIONS, to="brat")
    assert done.losses == [
        "brat cannot represent scores, they are left out: 1 in 1 example (id 7-0)"
    ]


def test_scores_of_classes(tmp_path):
    examples = [Example("a", "x", label="neg")]
    predictions = [Prediction("a", label="pos", scores={"pos": 0.75, "neg": 0.25})]
    path, done = predicted(tmp_path, "o.json", examples, predictions)
    assert json.loads(path.read_text())[0]["predictions"][0]["score"] == 0.75
    assert "keeps the score of the answer only" in done.losses[0]
    path, _ = predicted(tmp_path, "o.jsonl", examples, predictions)
    assert rows(path) == [
        {"id": "a", "text": "x", "label": "pos", "scores": {"pos": 0.75, "neg": 0.25}}
    ]
    path, _ = predicted(tmp_path, "o", examples, predictions, to="prodigy")
    assert (rows(path)[0]["label"], rows(path)[0]["score"]) == ("pos", 0.75)
    _, done = predicted(tmp_path, "o.csv", examples, predictions)
    assert "csv cannot represent scores, they are left out: 2 in" in done.losses[0]


@pytest.mark.parametrize("span", [(0, 99), (5, 5), (-1, 3)])
def test_a_span_outside_its_text_is_refused(span):
    with pytest.raises(DataError, match=r"p\.jsonl: id 7-1: span .* is empty or not in the text"):
        predicted_content(
            [NO_MENTION], [Prediction("7-1", spans=(Span(*span, "D"),))], path="p.jsonl"
        )
    with pytest.raises(DataError, match="missing from the predictions: 7-1"):
        predicted_content([NO_MENTION], [])


# The command


def test_the_command_says_what_it_wrote(tmp_path):
    written(tmp_path, "i.jsonl", [replace(MENTIONS, text=TEXT.replace("😀", "&")), NO_MENTION])
    done = run_python(
        "-m", "pipelines.cli", "convert", "i.jsonl", "--out", "new/o.conll", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    read, wrote, first = done.stdout.splitlines()
    assert read.startswith("i.jsonl: JSON lines")
    assert wrote == "new/o.conll: 2 of 2 examples as conll; 2 mentions of 2 types"
    assert first.startswith(
        'first: 7-0: "Acute gout, no flu & then flu." -> Acute gout [Disease 0:10]'
    )
    assert all(line.startswith("not carried: conll ") for line in done.stderr.splitlines())
    assert len(done.stderr.splitlines()) == 2


def test_the_command_writes_predictions(tmp_path):
    (tmp_path / "i.jsonl").write_text(
        '{"id": "a", "text": "Gout hurts."}\n{"id": "b", "text": "No."}\n'
    )
    answers = [Prediction("a", spans=(Span(0, 4, "D", 0.5),)), Prediction("b", spans=())]
    write_predictions(tmp_path / "p.jsonl", answers)
    arguments = ["convert", "i.jsonl", "--predictions", "p.jsonl", "--out", "o.jsonl"]
    done = run_python("-m", "pipelines.cli", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "o.jsonl: 2 of 2 examples as jsonl; predicted 1 mention of 1 type" in done.stdout
    assert "answers not read" in done.stdout  # of the gold file, and not that it has none
    assert "unlabelled" not in done.stdout
    assert read_predictions(tmp_path / "o.jsonl") == answers


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["i.jsonl", "--out", "o.what"], "its ending names no format"),
        (["missing.jsonl", "--out", "o.jsonl"], "missing.jsonl: no such file"),
        (["bad.jsonl", "--out", "o.jsonl"], "the key 'text' occurs twice"),
        (["i.jsonl", "--out", "o.jsonl", "--predictions", "i.jsonl"], "none of"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(arguments, expected, tmp_path):
    (tmp_path / "i.jsonl").write_text('{"id": "a", "text": "Gout hurts."}\n')
    (tmp_path / "bad.jsonl").write_text('{"id": "a", "text": "x", "text": "y", "spans": []}\n' * 2)
    before = sorted(tmp_path.iterdir())
    done = run_python("-m", "pipelines.cli", "convert", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.iterdir()) == before
