"""Several models' answers made one: votes worked by hand, properties, and the command."""

import json

import pytest
from conftest import run_python
from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpora.predictions import read_predictions
from pipelines.corpora.writing import write_predictions
from pipelines.errors import DataError
from pipelines.evaluation.voting import vote
from pipelines.examples import Prediction, Span

NAMES = ["a", "b", "c"]


def joined(*answers):
    [prediction] = vote([[answer] for answer in answers], names=NAMES[: len(answers)])
    return prediction


def spans(*found):
    return Prediction("0", spans=tuple(Span(*span) for span in found))


def test_a_span_needs_more_than_half_of_the_scores():
    together = joined(
        spans((0, 4, "D", 0.9), (6, 9, "D", 0.9)),
        spans((0, 4, "D", 0.8)),
        spans((0, 5, "D", 0.99), (6, 9, "D", 0.6), (10, 12, "D", 1.0)),
    )
    # 0:4 has (0.9 + 0.8) / 3, 6:9 (0.9 + 0.6) / 3, which is no more than a half; 0:5 and 10:12 a third.
    assert together == spans((0, 4, "D"))
    assert together.spans[0].score == pytest.approx(0.566667)


def test_a_span_without_a_score_counts_whole_and_another_type_is_another_span():
    assert joined(spans((0, 4, "D")), spans((0, 4, "D")), spans()).spans[0].score == pytest.approx(
        0.666667
    )
    assert joined(spans((0, 4, "D")), spans((0, 4, "E")), spans((0, 4, "D"), (0, 4, "D"))) == spans(
        (0, 4, "D")
    )
    assert joined(spans((0, 4, "D")), spans((0, 4, "E")), spans()) == spans()
    assert (
        joined(spans((0, 4, "D"), (0, 4, "D")), spans()) == spans()
    )  # said twice by one is not said by two


def test_a_generators_text_and_status_are_not_those_of_the_joint_answer():
    single = Prediction("0", spans=(Span(0, 4, "D"),), raw=" flu", status="ok", mentions=())
    assert joined(single, single) == spans((0, 4, "D"))


def test_classes_and_numbers():
    def classed(label, **scores):
        return Prediction("0", label=label, scores=scores or None)

    together = joined(
        classed("x", x=0.6, y=0.4), classed("x", x=0.55, y=0.45), classed("y", x=0.1, y=0.9)
    )
    assert together.label == "y"  # by the mean of its scores, 0.583; by votes it would be x
    assert together.scores == pytest.approx({"x": 0.416667, "y": 0.583333})
    assert joined(classed("x"), classed("y"), classed("y", x=0.1, y=0.9)) == classed("y")
    assert joined(classed("y"), classed("x")) == classed("y")  # of equals the first model's
    several = joined(classed(("x", "y")), classed(("y", "z")), classed(()))
    assert several == classed(("y",))
    assert joined(Prediction("0", value=1.0), Prediction("0", value=4.0)) == Prediction(
        "0", value=2.5
    )


@st.composite
def models(draw):
    """Two to five models' answers to one text, none with spans that overlap."""
    answers = []
    for _ in range(draw(st.integers(2, 5))):
        ends = sorted(draw(st.lists(st.integers(0, 12), unique=True, max_size=8)))
        scores = st.none() | st.floats(0, 1)
        answers.append(
            spans(
                *(
                    (start, end, draw(st.sampled_from("DE")), draw(scores))
                    for start, end in zip(ends[::2], ends[1::2], strict=False)
                )
            )
        )
    return answers


@given(models(), st.randoms())
def test_votes_do_not_overlap_and_do_not_depend_on_the_order_of_the_models(answers, random):
    names = [str(number) for number in range(len(answers))]
    [together] = vote([[answer] for answer in answers], names=names)
    for first, second in zip(together.spans, together.spans[1:], strict=False):
        assert first.end <= second.start
    assert set(together.spans) <= {span for answer in answers for span in answer.spans}
    random.shuffle(answers)
    assert vote([[answer] for answer in answers], names=names) == [together]


def test_ids_and_kinds_have_to_agree():
    def answers(*ids):
        return [Prediction(id, spans=()) for id in ids]

    assert vote([answers("1", "2"), answers("2", "1")], names=NAMES[:2]) == answers("1", "2")
    with pytest.raises(DataError) as caught:
        vote(
            [
                answers("1", "2"),
                answers("2", "3", "3"),
                [*answers("1"), Prediction("2", label="x")],
            ],
            names=NAMES,
        )
    assert str(caught.value).splitlines() == [
        "b: duplicate ids: 1: 3",
        "b: ids of a that are missing: 1: 1",
        "b: ids that a lacks: 1: 3",
        "c: id 2: a class, where a has spans",
        "models vote on the same examples; predict one file with each",
    ]


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (spans((0, 4, "D", 7.5)), "the score 7.5"),
        (spans((0, 4, "D", float("nan"))), "the score nan"),
        (Prediction("0", label="x", scores={"x": -0.1}), "the score -0.1"),
        (Prediction("0", label="x", scores={"x": "high"}), "the score 'high'"),
        (Prediction("0", label="x", scores=[0.1]), r"the score \[0.1\]"),
    ],
)
def test_scores_have_to_be_shares(wrong, expected):
    with pytest.raises(DataError, match=f"b: id 0: {expected}, wanted a number between 0 and 1"):
        joined(Prediction("0", spans=()) if wrong.spans else Prediction("0", label="x"), wrong)


def test_a_row_without_an_answer_is_refused():
    with pytest.raises(DataError, match='a: id 0: its "spans", "label" or "value" is null'):
        joined(Prediction("0"), Prediction("0"))


def test_the_command(tmp_path):
    files = [tmp_path / name for name in ("a.jsonl", "b.jsonl", "c.jsonl")]
    for file, answer in zip(
        files,
        (spans((0, 4, "D")), spans((0, 4, "D"), (5, 8, "D")), spans((5, 7, "D"))),
        strict=True,
    ):
        write_predictions(file, [answer, Prediction("1", spans=())])
    out = tmp_path / "new" / "joint.jsonl"
    done = run_python("-m", "pipelines.cli", "vote", *map(str, files), "--out", str(out))
    assert (done.returncode, done.stdout) == (
        0,
        f"{out}: 2 answers of 3 models; 1 spans, of the models' 1, 2, 1\n",
    )
    assert read_predictions(out) == [spans((0, 4, "D")), Prediction("1", spans=())]
    assert json.loads(out.read_text().splitlines()[0])["spans"][0]["score"] == 0.666667


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a.jsonl"], "two models or more"),
        (["a.jsonl", "missing.jsonl"], "no such predictions file"),
        (["a.jsonl", "other.jsonl"], "ids of a.jsonl that are missing"),
        (["a.jsonl", "cut.jsonl"], "cut off in the middle?"),
        (["a.jsonl", "a.jsonl", "--out", "."], ".: a folder; wanted the name of a file"),
    ],
)
def test_bad_input_is_reported_and_nothing_is_written(arguments, expected, tmp_path):
    write_predictions(tmp_path / "a.jsonl", [spans()])
    write_predictions(tmp_path / "other.jsonl", [Prediction("1", spans=())])
    (tmp_path / "cut.jsonl").write_text('{"id": "0", "spans": [')
    done = run_python("-m", "pipelines.cli", "vote", "--out", "out.jsonl", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert not (tmp_path / "out.jsonl").exists()
