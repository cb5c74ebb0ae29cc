"""Guaranteed thresholds of spans and classes: units, what is refused, and the commands."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from pipelines.cli import main
from pipelines.errors import UserError
from pipelines.evaluation.guarantee import check_reached, figures, guarantee, parse_goal
from pipelines.evaluation.risk_control import Answers
from pipelines.evaluation.thresholds import answers_above
from pipelines.examples import Example, Prediction, Span


def test_a_mean_over_documents_is_not_the_pooled_share():
    # Document 0: 4 gold mentions, 2 found at 0.9. Document 1: its only mention at 0.5, and an error.
    answers = Answers(
        np.array([0.9, 0.9, 0.5, 0.4]),
        np.array([True, True, True, False]),
        np.array([0, 0, 1, 1]),
        np.array([4, 1]),
    )
    assert figures(answers) == {
        "recall": 0.75,
        "precision": 0.75,
        "pooled": {"recall": 0.6, "precision": 0.75},
        "answers": 4,
    }
    kept = figures(answers, 0.6)
    assert (kept["recall"], kept["precision"], kept["pooled"]["recall"]) == (0.25, 1.0, 0.4)
    assert figures(answers, 1.0)["precision"] is None  # nothing is kept


@pytest.mark.parametrize(
    "text",
    [
        "recall=95",
        "recall=1",
        "recall=0",
        "recall=-0.5",
        "recall=nan",
        "recall",
        "f1=0.9",
        "recall=x",
    ],
)
def test_a_goal_that_is_none(text):
    with pytest.raises(UserError, match=r"--guarantee got .*wanted recall=LEVEL or precision"):
        parse_goal(text)
    with pytest.raises(UserError, match="--guarantee_delta got 1; wanted"):
        parse_goal("recall=0.9", 1.0)


def corpus(scores, *, gold=1, per_document=1):
    """Examples with mentions, each found with one of the scores; sentences of documents."""
    examples, predictions = [], []
    for number, score in enumerate(scores):
        id = f"d{number // per_document}-{number % per_document}"
        spans = (Span(0, 3, "Disease"), Span(4, 7, "Disease"))[:gold]
        found = () if score is None else (Span(0, 3, "Disease", score),)
        examples.append(Example(id, "flu flu", spans=spans))
        predictions.append(Prediction(id, spans=found))
    return examples, predictions


def test_documents_are_the_units_and_those_without_gold_are_left_out():
    examples, predictions = corpus([0.1, 0.9] * 20, per_document=2)
    # Documents 10 to 19 lose their gold mentions, so that their answers are errors.
    examples[20:] = [Example(example.id, example.text, spans=()) for example in examples[20:]]
    report = guarantee(examples, predictions, parse_goal("recall=0.5"))
    assert (report["unit"], report["units"], report["left_out"]) == ("document", 10, 10)
    # (10 · 0.5 + 1) / 11 > 0.5: without the sentences of score 0.1 half is missed.
    assert (report["threshold"], report["attained"]["recall"]) == (0.1, 1.0)
    assert report["without"]["precision"] == 0.5
    assert guarantee(examples, predictions, parse_goal("precision=0.5"))["units"] == 20


def test_mentions_that_are_never_proposed_are_not_reachable():
    examples, predictions = corpus([0.5] * 15 + [None] * 4)
    report = guarantee(examples, predictions, parse_goal("recall=0.8"))
    assert report["threshold"] is None
    assert report["attained"] is None
    assert report["at_most"] == 0.75  # 1 - (4 + 1) / 20
    with pytest.raises(UserError, match=r"recall=0.8 is not reachable .* at most 0.75;"):
        check_reached({"guarantee": report})
    assert guarantee(examples, predictions, parse_goal("recall=0.75"))["threshold"] == 0.5
    check_reached({})


def test_precision_that_no_threshold_is_known_to_reach():
    examples, predictions = corpus([0.5] * 90 + [0.4] * 30)
    examples[60:] = [Example(example.id, example.text, spans=()) for example in examples[60:]]
    report = guarantee(examples, predictions, parse_goal("precision=0.9"))
    assert report["threshold"] is None
    assert 0.4 < report["at_most"] < 60 / 90
    lower = parse_goal(f"precision={report['at_most']}")
    assert guarantee(examples, predictions, lower)["threshold"] is not None


def test_too_few_documents_and_answers_without_scores():
    with pytest.raises(UserError, match=r"recall=0.95 got 18 examples with gold mentions; .* 19,"):
        guarantee(*corpus([0.5] * 18), parse_goal("recall=0.95"))
    examples, predictions = corpus([0.5] * 19)
    assert guarantee(examples, predictions, parse_goal("recall=0.95"))["threshold"] == 0.5
    predictions[3] = Prediction("d3-0", spans=(Span(0, 3, "Disease"),))
    with pytest.raises(
        UserError, match=r"1 of 19 predictions have answers without a score, .* d3-0"
    ):
        guarantee(examples, predictions, parse_goal("recall=0.95"))
    none = [Prediction(prediction.id, spans=()) for prediction in predictions]
    assert guarantee(examples, none, parse_goal("recall=0.5"))["at_most"] == 0.0


def classes(rows):
    """Texts with gold classes, a prediction and the scores of classes x and y."""
    examples = [Example(str(i), "a", label=gold) for i, (gold, *_) in enumerate(rows)]
    predictions = [
        Prediction(str(i), label=label, scores={"x": x, "y": y})
        for i, (_, label, x, y) in enumerate(rows)
    ]
    return examples, predictions


def test_of_one_class_a_text_several_can_be_kept():
    # Eight texts are right at 0.9; the gold of the ninth has 0.4, that of the tenth 0.1.
    rows = [("x", "x", 0.9, 0.1)] * 8 + [("y", "x", 0.6, 0.4), ("y", "x", 0.9, 0.1)]
    report = guarantee(*classes(rows), parse_goal("recall=0.8"))  # one miss is allowed
    assert report["threshold"] == 0.4
    assert report["attained"]["recall"] == 0.9
    assert report["attained"]["answers"] == 11  # the ninth text has both
    assert report["without"] == {
        "recall": 0.8,
        "precision": 0.8,
        "pooled": {"recall": 0.8, "precision": 0.8},
        "answers": 10,
    }
    kept = answers_above(classes(rows)[1], 0.4)
    assert [row.label for row in kept[7:]] == [("x",), ("x", "y"), ("x",)]
    assert answers_above(kept, 0.95)[0].label == ()


def test_of_several_classes_a_text_each_is_an_answer():
    rows = [(("x", "y"), ("x",), 0.9, 0.4)] * 20
    assert guarantee(*classes(rows), parse_goal("recall=0.9"))["threshold"] == 0.4
    report = guarantee(*classes(rows), parse_goal("recall=0.5"))
    assert (report["threshold"], report["without"]["recall"]) == (0.4, 0.5)  # 0.5 + 1 / 21 missed
    assert guarantee(*classes(rows), parse_goal("recall=0.4"))["threshold"] == 0.9


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """A command within this process, in a folder with gold and predictions of 20 texts."""
    monkeypatch.chdir(tmp_path)
    rows = [{"id": str(i), "text": "flu flu", "spans": [mention(0)]} for i in range(20)]
    write("gold.jsonl", rows)
    write("p.jsonl", [{"id": str(i), "spans": [mention(0, 0.3 + i / 50)]} for i in range(20)])

    def call(*arguments):
        try:
            code = main(list(arguments))
        except SystemExit as stop:
            code = stop.code
        printed = capsys.readouterr()
        return SimpleNamespace(code=code, out=printed.out, err=printed.err)

    return call


def write(path, rows):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(row) + "\n" for row in rows)


def mention(start, score=None):
    row = {"start": start, "end": start + 3, "label": "Disease"}
    return row if score is None else row | {"score": score}


EVALUATE = ("evaluate", "--gold", "gold.jsonl", "--predictions", "p.jsonl")


def test_evaluate_prints_and_writes_the_guarantee(command):
    done = command(
        *EVALUATE, "--guarantee", "recall=0.9", "--json", "r.json", "--html", "page.html"
    )
    assert done.code == 0, done.err
    with open("r.json", encoding="utf-8") as f:
        found = json.load(f)["guarantee"]
    assert (found["measure"], found["level"], found["threshold"]) == ("recall", 0.9, 0.32)
    assert "Guaranteed with --min_score 0.32: the mean recall of new examples" in done.out
    assert "in expectation" in done.out
    assert "is not fresh" in done.out
    with open("page.html", encoding="utf-8") as f:
        assert "--min_score 0.32" in f.read()
    done = command(*EVALUATE, "--min_score", "0.32", "--json", "r.json")
    with open("r.json", encoding="utf-8") as f:
        assert json.load(f)["strict"]["recall"] == 0.95


def test_evaluate_says_what_is_not_reachable(command):
    write("p.jsonl", [{"id": str(i), "spans": [mention(4 * (i % 2), 0.5)]} for i in range(20)])
    done = command(*EVALUATE, "--guarantee", "recall=0.9", "--json", "r.json")
    assert done.code == 2
    assert (
        "recall=0.9 is not reachable by any score on these 20 examples: at most 0.4761" in done.err
    )
    assert "Not reachable by any score" in done.out
    with open("r.json", encoding="utf-8") as f:
        assert json.load(f)["guarantee"]["threshold"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--guarantee", "recall=0.99"], "got 20 examples with gold mentions; wanted at least 99"),
        (["--guarantee", "accuracy=0.9"], "got 'accuracy=0.9'; wanted recall=LEVEL"),
        (["--guarantee_delta", "0.1"], "without --guarantee has no effect"),
        (["--guarantee", "recall=0.9", "--min_score", "0"], "leave one of the two out"),
        (["--predictions", "p.jsonl", "p.jsonl", "--guarantee", "recall=0.9"], "got 2 files"),
        (["--min_score", "nan"], "wanted a number"),
    ],
)
def test_evaluate_refuses(command, arguments, said):
    done = command(*EVALUATE, *arguments)
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_numbers_have_no_threshold(command):
    write("gold.jsonl", [{"id": str(i), "text": "a", "label": i} for i in range(20)])
    write("p.jsonl", [{"id": str(i), "value": i} for i in range(20)])
    done = command(*EVALUATE, "--guarantee", "recall=0.9")
    assert 'got predictions with "value"; wanted "spans" or "label" with scores' in done.err
    assert done.code == 2


def test_predict_leaves_out_low_scores(command, tmp_path, monkeypatch):
    from pipelines.runs.run import Run

    (tmp_path / "run/model").mkdir(parents=True)
    scores = [0.2, 0.5, None]
    family = SimpleNamespace(
        load=lambda folder: None,
        predict=lambda loaded, examples, **_: [
            Prediction(example.id, spans=(Span(0, 3, "Disease", scores[int(example.id)]),))
            for example in examples
        ],
    )
    monkeypatch.setattr(Run, "model_folder", lambda run: (family, tmp_path / "run/model"))
    write("in.jsonl", [{"id": "0", "text": "flu"}, {"id": "1", "text": "flu"}])
    predict = ("predict", "--run", "run", "--input", "in.jsonl", "--output")
    done = command(*predict, "out.jsonl", "--min_score", "0.5")
    assert done.code == 0, done.err
    with open("out.jsonl", encoding="utf-8") as f:
        rows = [json.loads(line) for line in f]
    assert [len(row["spans"]) for row in rows] == [0, 1]
    done = command(*predict, "none.jsonl", "--min_score", "7")
    assert done.code == 2
    assert "wanted a score between 0 and 1" in done.err
    write("in.jsonl", [{"id": "2", "text": "flu"}])
    done = command(*predict, "other.jsonl", "--min_score", "0.5")
    assert done.code == 2
    assert "answers without a score" in done.err
