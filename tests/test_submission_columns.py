"""Submissions of classes, numbers and several columns: what is filled, kept and refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Prediction, Span
from pipelines.submission import rehearse_submission, write_submission

EXAMPLES = [Example("a", "Ann met Bo"), Example("b", "It rained")]
SCORED = [
    Prediction("b", label="ham", scores={"ham": 0.75, "spam": 0.25}),
    Prediction("a", label="spam", scores={"ham": 0.125, "spam": 0.875}),
]
NAMED = [Prediction("b", label="ham"), Prediction("a", label="spam")]
BINARY = [
    Prediction("b", label="0", scores={"0": 0.75, "1": 0.25}),
    Prediction("a", label="1", scores={"0": 0.125, "1": 0.875}),
]
SETS = [Prediction("b", label=()), Prediction("a", label=("news", "music"))]
SCORED_SETS = [
    Prediction("b", label=(), scores={"news": 0.1, "music": 0.2}),
    Prediction("a", label=("news",), scores={"news": 0.9, "music": 0.4}),
]
VALUES = [Prediction("b", value=1e-7), Prediction("a", value=-2.5)]
ONE_SPAN = [Prediction("b", ()), Prediction("a", (Span(0, 3, "PER"),))]
TWO_SPANS = [Prediction("b", ()), Prediction("a", (Span(8, 10, "DOG"), Span(0, 3, "PER")))]


def submitted(
    folder: Path,
    sample: str,
    predictions: Sequence[Prediction],
    examples: Sequence[Example] | None = None,
    **options: Any,
) -> tuple[str, str]:
    """The layout, and what was written."""
    (folder / "sample.csv").write_bytes(sample.encode())
    out = folder / "out.csv"
    done = write_submission(predictions, examples, sample=folder / "sample.csv", out=out, **options)
    return done.layout, out.read_bytes().decode()


def refused(
    folder: Path,
    sample: str,
    predictions: Sequence[Prediction],
    examples: Sequence[Example] | None = None,
    **options: Any,
) -> str:
    """The message, of one line; nothing was written."""
    with pytest.raises(UserError) as error:
        submitted(folder, sample, predictions, examples, **options)
    assert not (folder / "out.csv").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(("sample", "predictions", "layout", "written"), [
    # A column for each class, in the sample's order, whatever the order of the scores.
    ("id,spam,ham\na,0.5,0.5\nb,0.5,0.5\n", SCORED, "class_probabilities",
     "id,spam,ham\na,0.875,0.125\nb,0.25,0.75\n"),
    ("id,Spam,HAM,Usage\na,.5,.5,Public\nb,.5,.5,Private\n", SCORED, "class_probabilities",
     "id,Spam,HAM,Usage\na,0.875,0.125,Public\nb,0.25,0.75,Private\n"),
    ("id,is_spam,is_ham\na,0.5,0.5\nb,0.5,0.5\n", SCORED, "class_probabilities",
     "id,is_spam,is_ham\na,0.875,0.125\nb,0.25,0.75\n"),
    ("id,0,1\na,0.5,0.5\nb,0.5,0.5\n", BINARY, "class_probabilities",
     "id,0,1\na,0.125,0.875\nb,0.75,0.25\n"),
    ("id;ham;spam\r\na;0,5;0,5\r\nb;0,5;0,5\r\n", SCORED, "class_probabilities",
     "id;ham;spam\r\na;0,125;0,875\r\nb;0,75;0,25\r\n"),
    ("id,music,news\nb,0.5,0.5\na,0.5,0.5\n", SCORED_SETS, "class_probabilities",
     "id,music,news\nb,0.2,0.1\na,0.4,0.9\n"),
    ("id,music,news\nb,0,0\na,0,0\n", SETS, "one_hot", "id,music,news\nb,0,0\na,1,1\n"),
    ("id,ham,spam\na,False,True\nb,False,False\n", NAMED, "one_hot",
     "id,ham,spam\na,False,True\nb,True,False\n"),
    # One column: the probability of the class that is surely the positive one.
    ("id,target\na,0.5\nb,0.5\n", BINARY, "probability", "id,target\na,0.875\nb,0.25\n"),
    ("id,spam\na,0.5\nb,0.5\n", SCORED, "class_probabilities", "id,spam\na,0.875\nb,0.25\n"),
    ("id,target\na,0\nb,0\n", BINARY, "label", "id,target\na,1\nb,0\n"),
    ("id,target\na,ham\nb,ham\n", SCORED, "label", "id,target\na,spam\nb,ham\n"),
    ("id,target\na,0\nb,0\n", NAMED, "label", "id,target\na,spam\nb,ham\n"),
    # Sets of classes, as the sample separates them.
    ("id,tags\na,news|art\nb,art\n", SETS, "label", "id,tags\na,news|music\nb,\n"),
    ('id,tags\na,"x, y"\nb,none\n', SETS, "label", 'id,tags\na,"news, music"\nb,none\n'),
    ("id,tags\na,news art\nb,\n", SETS, "label", "id,tags\na,news music\nb,\n"),
    ("id;tags\na;'x'/'y'\nb;-\n", SETS, "label", "id;tags\na;news/music\nb;-\n"),
    ("id\ttags\na\t['x', 'y']\nb\t['x']\n", SETS, "label",
     'id\ttags\na\t"[""news"", ""music""]"\nb\t[]\n'),
    ("id,score\na,0\nb,0\n", VALUES, "value", "id,score\na,-2.5\nb,1e-07\n"),
    ("Id,score,Usage\na,0,Public\nb,0,Public\n", VALUES, "value",
     "Id,score,Usage\na,-2.5,Public\nb,1e-07,Public\n"),
    (",text_id,score\n0,a,3\n1,b,3\n", VALUES, "value", ",text_id,score\n0,a,-2.5\n1,b,1e-07\n"),
])  # fmt: skip
def test_what_is_filled(
    tmp_path: Path, sample: str, predictions: list[Prediction], layout: str, written: str
) -> None:
    assert submitted(tmp_path, sample, predictions) == (layout, written)


@pytest.mark.parametrize(("sample", "predictions", "message"), [
    ("id,ham,spam\na,0,0\nb,0,0\n", SCORED,
     "choose --format class_probabilities .* or --format one_hot"),
    ("id,target\na,0\nb,0\n", SCORED, "choose --format label .* or --format probability"),
    ("id,target\na,0.0\nb,0.0\n", BINARY, "choose --format label .* or --format probability"),
    ("id,target\na,\nb,\n", SCORED, "choose --format label .* or --format probability"),
    ("id,x\na,0\nb,0\n", [Prediction("a", label="p", value=1), Prediction("b", label="q", value=1)],
     "several answers; choose --format label .* or --format value"),
    ("id,target\na,0.5\nb,0.5\n", SCORED, r"\(ham, spam\); choose it with --positive_class"),
    ("id,target\na,0.5\nb,0.5\n", NAMED, "have classes .* --positive_class"),
    ("id,target\na,0\nb,1\n", NAMED, r"shows numbers \(0, 1\), .* names \(ham, spam\)"),
    ("id,ham,spam\na,0.5,0.5\nb,0.5,0.5\n", NAMED, 'no "scores"'),
    ("id,ham,eggs\na,0.5,0.5\nb,0.5,0.5\n", SCORED,
     "without a class eggs, classes without a column spam"),
    ("id,ham,spam,rank\na,0.5,0.5,1\nb,0.5,0.5,2\n", SCORED, "without a class rank"),
    ("id,news,art\na,0,0\nb,0,0\n", SETS, "classes without a column music"),
    ("id,ham,spam\na,x,y\nb,x,y\n", SCORED, "column 'ham' has x; wanted numbers"),
    ("id,text,mood,rank\na,x,0,1\nb,y,0,2\n", NAMED,
     r"several answer columns \(text, mood, rank\).*--answer_column"),
    ("id,grammar,syntax\na,3.0,3.0\nb,3.0,3.0\n", VALUES,
     r"several answer columns \(grammar, syntax\).*--answer_column"),
    ("id,score\na,good\nb,bad\n", VALUES, "column 'score' has good, bad; wanted numbers"),
    ("id,tags\na,x\nb,y\n", SETS, r"no separator between two; give it with --separator \(ids a\)"),
    ("id,tags\na,x|y\nb,y;z\n", SETS, "show ';' and '.' between two items; .*--separator"),
    ("id,tags\na,x|y\nb,x\n", [Prediction("a", label=("n|m",)), Prediction("b", label=())],
     r"a class that contains the separator '\|' \(ids a\)"),
    ("id,ham,spam\na,.5,.5\nb,.5,.5\n",
     [Prediction(id, label="ham", scores={"ham": 3.5, "spam": -1.0}) for id in "ab"],
     r"a score of 3.5, which is no probability \(ids a, b\)"),
    ("id,ham,spam\na,.5,.5\nb,.5,.5\n",
     [SCORED[0], Prediction("a", label="ham", scores={"ham": 1.0})],
     r"no probability of spam \(ids a\)"),
])  # fmt: skip
def test_what_is_refused(
    tmp_path: Path, sample: str, predictions: list[Prediction], message: str
) -> None:
    error = refused(tmp_path, sample, predictions)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error)


@pytest.mark.parametrize(("sample", "predictions", "options", "written"), [
    ("id,ham,spam\na,0,0\nb,0,0\n", SCORED, {"format": "one_hot"},
     "id,ham,spam\na,0,1\nb,1,0\n"),
    ("id,ham,spam\na,0,0\nb,0,0\n", SCORED, {"format": "class_probabilities"},
     "id,ham,spam\na,0.125,0.875\nb,0.75,0.25\n"),
    ("id,target\na,0\nb,0\n", SCORED, {"positive_class": "ham"},
     "id,target\na,0.125\nb,0.75\n"),
    ("id,target\na,0\nb,1\n", NAMED, {"format": "label"}, "id,target\na,spam\nb,ham\n"),
    ("id,mood,rank\na,0,1\nb,0,2\n", NAMED, {"answer_column": "mood"},
     "id,mood,rank\na,spam,1\nb,ham,2\n"),
    ("id,ham,spam,rank\na,.5,.5,1\nb,.5,.5,2\n", SCORED, {"answer_column": "spam,ham"},
     "id,ham,spam,rank\na,0.125,0.875,1\nb,0.75,0.25,2\n"),
    ('id,tags\na,"x,y"\nb,\n', SETS, {"separator": " + "}, "id,tags\na,news + music\nb,\n"),
    ("id,tags\na,x\nb,y\n", SETS, {"separator": "|", "no_answer": "none"},
     "id,tags\na,news|music\nb,none\n"),
])  # fmt: skip
def test_options_decide(
    tmp_path: Path,
    sample: str,
    predictions: list[Prediction],
    options: dict[str, str],
    written: str,
) -> None:
    assert submitted(tmp_path, sample, predictions, **options)[1] == written


@pytest.mark.parametrize(("predictions", "options", "message"), [
    (SCORED, {"separator": "|"}, "--separator has no effect in the layout class_probabilities"),
    (SCORED, {"no_answer": "x"}, "--no_answer has no effect"),
    (SCORED, {"positive_class": "ham"}, "--positive_class has no effect"),
    (SCORED, {"separator": ""}, "empty --separator"),
    (SCORED, {"answer_column": "eggs"}, "eggs; wanted one or several of id, ham, spam"),
    (SCORED, {"answer_column": "id"}, "not the column of ids"),
    (SCORED, {"format": "probability"}, "several answer columns"),
    (SCORED, {"format": "label"}, "several answer columns"),
    (SCORED, {"format": "value"}, "written from 'value'"),
    (SCORED, {"format": "probability", "answer_column": "ham", "positive_class": "eggs"},
     "--positive_class eggs; wanted one of ham, spam"),
])  # fmt: skip
def test_no_option_is_ignored(
    tmp_path: Path, predictions: list[Prediction], options: dict[str, str], message: str
) -> None:
    sample = "id,ham,spam\na,0.5,0.5\nb,0.5,0.5\n"
    assert message in refused(tmp_path, sample, predictions, **options)


@pytest.mark.parametrize(("label", "message"), [
    (float("nan"), "nan as a class"), ("NaN", "NaN as a class"), ("", "a class without a name"),
    (("x", 3), "3 as a class"), ({"x": 1}, "{'x': 1} as a class"),
    ("{'x': 1}", "an object or list"), (("x", "['y']"), "an object or list"),
])  # fmt: skip
def test_classes_that_are_none_are_refused(tmp_path: Path, label: Any, message: str) -> None:
    predictions = [Prediction("a", label="x"), Prediction("b", label=label)]
    error = refused(tmp_path, "id,label\na,x\nb,x\n", predictions)
    assert message in error
    assert "(ids b)" in error


@pytest.mark.parametrize("labels", [("3", "3"), ("y", "3")])
@pytest.mark.parametrize("answer", ["x", "y"])
def test_numbers_where_names_belong_are_refused(
    tmp_path: Path, labels: tuple[str, str], answer: str
) -> None:
    predictions = [Prediction(id, label=label) for id, label in zip("ab", labels, strict=True)]
    sample = f"id,label\na,x\nb,{answer}\n"
    assert "a number as class (3)" in refused(tmp_path, sample, predictions)
    assert submitted(tmp_path, sample, predictions, format="label")[1].endswith("b,3\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_none_are_refused(tmp_path: Path, value: float) -> None:
    predictions = [Prediction("a", value=1.0), Prediction("b", value=value)]
    assert f"a value of {value} (ids b)" in refused(tmp_path, "id,x\na,0\nb,0\n", predictions)


# Ids


@pytest.mark.parametrize("ids", [("1", "2", "3"), ("00", "01", "02"), ("0.0", "1.0", "2.0"),
                                 ("0", "1", "1"), ("0", "1", "2 ")])  # fmt: skip
def test_ids_are_matched_exactly(tmp_path: Path, ids: tuple[str, ...]) -> None:
    predictions = [Prediction(id, label=f"class{id}") for id in ("0", "1", "2")]
    sample = "id,label\n" + "".join(f"{id},0\n" for id in ids)
    error = refused(tmp_path, sample, predictions)
    assert f"the sample has {', '.join(ids)}" in error or "duplicate in the sample: 1" in error
    assert "matched exactly" in error


def test_ids_may_be_in_another_order(tmp_path: Path) -> None:
    predictions = [Prediction(id, label=f"class{id}") for id in ("0", "1", "2")]
    assert submitted(tmp_path, "\ufeffid;label\r\n2;x\r\n0;x\r\n1;x\r\n", predictions) == (
        "label", "\ufeffid;label\r\n2;class2\r\n0;class0\r\n1;class1\r\n")  # fmt: skip


def test_rows_that_the_input_lacks_are_named(tmp_path: Path) -> None:
    error = refused(tmp_path, "id,label\na,x\nb,x\n", NAMED, EXAMPLES[:1])
    assert "missing from the examples: b" in error


def test_texts_are_kept_where_the_input_has_them(tmp_path: Path) -> None:
    sample = "id,text,label\na,Ann met Bo,x\nb,It rained,x\n"
    assert "--input" in refused(tmp_path, sample, NAMED)
    assert "--input" in refused(tmp_path, sample.replace("rained", "snowed"), NAMED, EXAMPLES)
    assert submitted(tmp_path, sample, NAMED, EXAMPLES)[1] == (
        "id,text,label\na,Ann met Bo,spam\nb,It rained,ham\n")  # fmt: skip


# A column for each part of a mention


@pytest.mark.parametrize(("sample", "predictions", "written"), [
    ("id,start,end\na,7,9\nb,,\n", ONE_SPAN, "id,start,end\na,0,3\nb,,\n"),
    ("id,end,start\na,7,9\nb,-1,-1\n", ONE_SPAN, "id,end,start\na,3,0\nb,-1,-1\n"),
    ("id,entity,type\na,gout|flu,X|X\nb,,\n", TWO_SPANS, "id,entity,type\na,Ann|Bo,PER|DOG\nb,,\n"),
    # Blanks beside words separate nothing for sure; one mention needs no separator.
    ("id,start,end,type\na,1 5,2 6,X Y\nb,,,\n", ONE_SPAN, "id,start,end,type\na,0,3,PER\nb,,,\n"),
    ("id,start,end,type\na,1;5,2;6,X;Y\nb,,,\n", TWO_SPANS,
     "id,start,end,type\na,0;8,3;10,PER;DOG\nb,,,\n"),
])  # fmt: skip
def test_mentions_in_several_columns(
    tmp_path: Path, sample: str, predictions: list[Prediction], written: str
) -> None:
    assert submitted(tmp_path, sample, predictions, EXAMPLES) == ("span_columns", written)


@pytest.mark.parametrize(("sample", "predictions", "message"), [
    ("id,start,end\na,7,9\nb,,\n", TWO_SPANS, "several mentions, and the sample shows one"),
    ("id,start,end\na,7,9\nb,7,9\n", ONE_SPAN, "give it with --no_answer (ids b)"),
    ("id,class,predictionstring\na,Claim,1 2 3\nb,Claim,1 2\n", ONE_SPAN,
     "several answer columns (class, predictionstring)"),
    ("id,entity,start\na,gout,7\nb,,\n", ONE_SPAN, "several answer columns (entity, start)"),
    ("id,entity,type\na,gout,3\nb,,\n", ONE_SPAN, "cannot be the label of a mention"),
    ("id,entity,type\na,x|y,X|Y\nb,,\n", [ONE_SPAN[0], Prediction("a", (Span(0, 3, "P|R"),))],
     "a mention or type that contains the separator '|' (ids a)"),
    ("id,predictionstring\na,0 1 2 3\nb,0 1\n", ONE_SPAN, "--format offsets"),
    ("id,location\na,0 1 2 3\nb,\n", ONE_SPAN, "can be the numbers of tokens"),
    ("id,predictionstring\na,0 1\nb,\n", ONE_SPAN, "can be the numbers of tokens"),
])  # fmt: skip
def test_mentions_that_do_not_fit_the_columns(
    tmp_path: Path, sample: str, predictions: list[Prediction], message: str
) -> None:
    assert message in refused(tmp_path, sample, predictions, EXAMPLES)


def test_a_separator_alone_means_strings(tmp_path: Path) -> None:
    empty = "id,answer\na,\nb,\n"
    assert "--separator" in refused(tmp_path, empty, TWO_SPANS, EXAMPLES)
    assert "--format" in refused(
        tmp_path, "id,location\na,\nb,\n", TWO_SPANS, EXAMPLES, separator=";"
    )
    assert submitted(tmp_path, empty, TWO_SPANS, EXAMPLES, separator="|") == (
        "strings", "id,answer\na,Ann|Bo\nb,\n")  # fmt: skip


# Rows of tokens


@pytest.mark.parametrize(("sample", "written"), [
    ("document,token,tag\nb,1,O\nb,0,O\na,2,O\na,0,O\na,1,O\n",
     "document,token,tag\nb,1,O\nb,0,O\na,2,B-DOG\na,0,B-PER\na,1,O\n"),
    ("row_id,document,token,word,tag\n0,b,1,It,O\n1,b,2,rained,O\n2,a,3,Bo,O\n3,a,2,met,O\n"
     "4,a,1,Ann,O\n",
     "row_id,document,token,word,tag\n0,b,1,It,O\n1,b,2,rained,O\n2,a,3,Bo,B-DOG\n3,a,2,met,O\n"
     "4,a,1,Ann,B-PER\n"),
    # `row_id` numbers the rows, not the tokens of the examples.
    ("row_id,document,tag\n0,b,O\n1,b,O\n2,a,O\n3,a,O\n4,a,O\n",
     "row_id,document,tag\n0,b,O\n1,b,O\n2,a,B-PER\n3,a,O\n4,a,B-DOG\n"),
])  # fmt: skip
def test_rows_of_tokens(tmp_path: Path, sample: str, written: str) -> None:
    assert submitted(tmp_path, sample, TWO_SPANS, EXAMPLES) == ("token_tags", written)


@pytest.mark.parametrize("sample", [
    "document,word,tag\na,Ann,O\na,MET,O\na,Bo,O\nb,It,O\nb,rained,O\n",
    "document,token,tag\na,0,O\na,2,O\na,4,O\nb,0,O\nb,2,O\n",
])  # fmt: skip
def test_other_tokens_than_the_samples_are_refused(tmp_path: Path, sample: str) -> None:
    assert "several answer columns" in refused(tmp_path, sample, TWO_SPANS, EXAMPLES)


# Notes


@pytest.mark.parametrize(("label", "risky"), [
    ("=1+1", True), ("+x", True), ("-x", True), ("@x", True), ("-1.5", False), ("x=1", False),
])  # fmt: skip
def test_cells_that_a_spreadsheet_runs_are_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, label: str, risky: bool
) -> None:
    predictions = [Prediction("a", label=label), Prediction("b", label="0")]
    submitted(tmp_path, "id,label\na,0\nb,0\n", predictions, format="label")
    note = "note: 1 row has a cell that begins with =, +, - or @, which a spreadsheet would run as "
    assert caplog.messages == ([f"{note}a formula: a"] if risky else [])


def test_classes_of_the_sample_that_are_never_predicted_are_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    submitted(tmp_path, "id,label\na,Ham\nb,Spam\n", NAMED)
    assert "the sample shows Ham, Spam, and no prediction has one" in caplog.text
    submitted(tmp_path, "id,news,music,art\na,0,0,0\nb,0,0,0\n", SETS)
    assert "no prediction has art" in caplog.text


# Rehearsal


@pytest.mark.parametrize(("sample", "options", "layout"), [
    ("id,ham,spam\na,.5,.5\nb,.5,.5\n", {"answer": "label", "labels": ["ham", "spam"]},
     "class_probabilities"),
    ("id,tags\na,x|y\nb,x\n", {"answer": "label", "labels": ["x", "y"], "counts": [2, 0]}, "label"),
    ("id,score\na,0\nb,0\n", {"answer": "value"}, "value"),
    ("id,entities\na,[]\nb,[]\n", {"answer": "spans", "labels": ["PER"]}, "json_strings"),
    ("id,start,end\na,1,2\nb,1,2\n", {"answer": "spans", "labels": ["PER"]}, "span_columns"),
])  # fmt: skip
def test_a_sample_that_fits_is_rehearsed(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    sample: str,
    options: dict[str, Any],
    layout: str,
) -> None:
    (tmp_path / "sample.csv").write_text(sample)
    done = rehearse_submission(EXAMPLES, tmp_path / "sample.csv", **options)
    assert done.layout == layout
    assert [path.name for path in tmp_path.iterdir()] == ["sample.csv"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("sample", "options", "message"), [
    ("id,ham,eggs\na,.5,.5\nb,.5,.5\n", {"answer": "label", "labels": ["ham", "spam"]}, "eggs"),
    ("id,ham,spam\na,.5,.5\nb,.5,.5\n",
     {"answer": "label", "labels": ["ham", "spam"], "scores": False}, 'no "scores"'),
    ("id,target\na,0.5\nb,0.5\n", {"answer": "label", "labels": ["ham", "spam"]},
     "--positive_class"),
    ("id,tags\na,x\nb,x\n", {"answer": "label", "labels": ["x", "y"], "counts": [2]},
     "--separator"),
    ("id,x,y\na,0,0\nb,0,0\n", {"answer": "value"}, "several answer columns"),
    ("id,start,end\na,1,2\nb,1,2\n", {"answer": "spans", "labels": ["PER"], "counts": [0, 2]},
     "--no_answer"),
    ("id,entities\n1,[]\n2,[]\n", {"answer": "spans"}, "matched exactly"),
])  # fmt: skip
def test_a_sample_that_does_not_fit_stops_the_run(
    tmp_path: Path, sample: str, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "sample.csv").write_text(sample)
    with pytest.raises(UserError, match=message):
        rehearse_submission(EXAMPLES, tmp_path / "sample.csv", **options)


def test_predictions_of_mixed_answers_is_refused(tmp_path: Path) -> None:
    mixed = [Prediction("a", label="x"), Prediction("b", value=1.0)]
    with pytest.raises(DataError, match="different kinds of answers"):
        submitted(tmp_path, "id,x\na,0\nb,0\n", mixed)
