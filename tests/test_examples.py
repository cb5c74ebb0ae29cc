"""Predictions as JSON lines, joining by id, and which ids name documents."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpora.predictions import read_predictions
from pipelines.corpora.writing import write_predictions
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Prediction, Span, documents_of, joined_by_id

PROBABILITIES = st.floats(0, 1)
SPANS = st.builds(
    lambda start, length, label, score: Span(start, start + length, label, score),
    st.integers(0, 999),
    st.integers(1, 99),
    st.text(min_size=1),
    st.none() | PROBABILITIES,
)
ANSWERS = (
    st.fixed_dictionaries({"spans": st.lists(SPANS, max_size=4).map(tuple)})
    | st.fixed_dictionaries(
        {"label": st.text() | st.lists(st.text(), max_size=3).map(tuple)},
        optional={"scores": st.dictionaries(st.text(), PROBABILITIES, max_size=3)},
    )
    | st.fixed_dictionaries({"value": st.floats(allow_nan=False, allow_infinity=False)})
)
EXTRAS = st.fixed_dictionaries(
    {},
    optional={
        "raw": st.text(),
        "status": st.sampled_from(["ok", "cut_off", "unparsable"]),
        "mentions": st.lists(
            st.fixed_dictionaries(
                {"string": st.text(), "label": st.text(), "place": st.none() | st.just([0, 3])}
            ),
            max_size=2,
        ).map(tuple),
    },
)
PREDICTIONS = st.builds(
    lambda id, answer, extra: Prediction(id, **answer, **extra), st.text(), ANSWERS, EXTRAS
)


@given(predictions=st.lists(PREDICTIONS, min_size=1, max_size=4))
def test_predictions_survive_the_file(predictions, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "round_trip.jsonl"
    write_predictions(path, predictions)
    read = read_predictions(path)
    assert read == predictions
    # A score takes no part in the comparison of spans.
    assert [[span.score for span in p.spans or ()] for p in read] == [
        [span.score for span in p.spans or ()] for p in predictions
    ]


def test_keys_of_a_line_are_the_published_ones(tmp_path):
    write_predictions(
        tmp_path / "p.jsonl",
        [
            Prediction("a", spans=(Span(0, 3, "X", 0.5), Span(4, 5, "X"))),
            Prediction("ä", value=1.5),
        ],
    )
    assert (tmp_path / "p.jsonl").read_text(encoding="utf-8") == (
        '{"id": "a", "spans": [{"start": 0, "end": 3, "label": "X", "score": 0.5}, '
        '{"start": 4, "end": 5, "label": "X", "score": null}]}\n{"id": "ä", "value": 1.5}\n'
    )


def test_outside_predictions_may_leave_out_scores_and_have_numeric_ids(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        '{"id": 7, "spans": [{"start": 0, "end": 2.0, "label": "X"}]}\n\n{"id": "8", "label": ["a"]}\n'
    )
    assert read_predictions(path) == [
        Prediction("7", spans=(Span(0, 2, "X"),)),
        Prediction("8", label=("a",)),
    ]


def test_a_line_cut_off_in_the_middle_is_named(tmp_path):
    path = tmp_path / "p.jsonl"
    write_predictions(path, [Prediction("a", spans=(Span(0, 3, "X"),)), Prediction("b", spans=())])
    path.write_bytes(path.read_bytes()[:-6])
    with pytest.raises(DataError, match=r"p\.jsonl:2: .*cut off in the middle"):
        read_predictions(path)


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[1, 2]",
        "7",
        '{"spans": []}',
        '{"id": "a"}',
        '{"id": "a", "spans": [{"start": 1, "end": 2}]}',
        '{"id": "a", "spans": [{"start": 1.5, "end": 2, "label": "X"}]}',
        '{"id": "a", "spans": [{"start": true, "end": 2, "label": "X"}]}',
        '{"id": "a", "spans": [{"start": 0, "end": Infinity, "label": "X"}]}',
        '{"id": "a", "spans": "colon cancer"}',
        '{"id": "a", "value": "much"}',
        '{"id": "a", "label": NaN}',
        '{"id": "a", "label": 1}',
        '{"id": "a", "label": {"x": 1}}',
        '{"id": "a", "label": true}',
        '{"id": "a", "label": ["x", 2]}',
        '{"id": "a", "spans": [{"start": 0, "end": 2, "label": 7}]}',
        '{"id": "a", "label": "x", "scores": 5}',
        '{"id": "a", "label": "x", "scores": {"x": [1]}}',
        f'{{"id": "a", "label": "x", "scores": {{"x": {"9" * 400}}}}}',
        f'{{"id": "a", "value": {"9" * 5000}}}',
        '{"id": "a", "value": 1e999}',
        '{"id": "a", "label": "x", "label": "y"}',
        '{"id": "a", "id": "b", "spans": []}',
        r'{"id": "a", "label": "\ud800"}',
        r'{"id": "\ud800", "spans": []}',
        r'{"id": "a", "label": "x", "raw": "\udfff"}',
        '{"id": ["a"], "spans": []}',
        '{"id": true, "spans": []}',
        '{"id": "a", "spans": ' + "[" * 100_000,
    ],
)
def test_every_bad_line_is_named_with_its_number(line, tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(f'{line}\n{{"id": "b", "spans": []}}\n{line}\n')
    with pytest.raises(DataError) as raised:
        read_predictions(path)
    assert [fault.removeprefix(f"{path}:")[0] for fault in str(raised.value).splitlines()] == [
        "1",
        "3",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"id": "a", "label": "x", "scores": 5}',
            '"scores" is 5; wanted an object with a number for each class',
        ),
        (
            '{"id": "a", "label": 3}',
            'the label is 3; wanted a name, a string; a number goes in "value"',
        ),
        ('{"id": "a", "label": "x", "label": "y"}', "the key 'label' occurs twice"),
        ('{"id": "a", "label": NaN}', "NaN is not a value of JSON; write null where there is none"),
    ],
)
def test_a_bad_line_is_named_with_file_line_and_id(line, message, tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(f'{{"id": "b", "label": "x"}}\n\n{line}\n')
    with pytest.raises(DataError) as raised:
        read_predictions(path)
    assert str(raised.value) == f"{path}:3: id a: not a prediction: {message}"


def test_a_file_may_be_zipped_and_begin_with_a_byte_order_mark_or_blank_lines(tmp_path):
    content = '\n\n{"id": "ä", "spans": []}\r\n{"id": "b\u2028", "label": "x"}'
    expected = [Prediction("ä", spans=()), Prediction("b\u2028", label="x")]
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "p.jsonl").write_bytes(content.encode(encoding))
        (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(content.encode(encoding)))
        assert read_predictions(tmp_path / "p.jsonl") == expected, encoding
        assert read_predictions(tmp_path / "p.jsonl.gz") == expected, encoding


@pytest.mark.parametrize("content", ["", "\n \n"])
def test_an_empty_file_says_what_is_wanted(content, tmp_path):
    (tmp_path / "p.jsonl").write_text(content)
    with pytest.raises(UserError, match="empty; wanted one JSON object a line"):
        read_predictions(tmp_path / "p.jsonl")


def test_a_missing_file_or_a_folder_says_how_to_get_one(tmp_path):
    for path in (tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(
            UserError, match="no such predictions file; write one with `pipelines predict`"
        ):
            read_predictions(path)


def test_joined_in_the_order_of_the_examples():
    examples = [Example("b", "B"), Example("a", "A"), Example("c", "C")]
    predictions = [Prediction(id, spans=()) for id in "abc"]
    assert [
        (example.text, prediction.id) for example, prediction in joined_by_id(examples, predictions)
    ] == [("B", "b"), ("A", "a"), ("C", "c")]


def test_missing_extra_and_doubled_ids_are_reported_at_once():
    examples = [Example(id, "") for id in ("a", "b", "c", "c")]
    predictions = [Prediction(id, spans=()) for id in ("a", "a", "c", "x", "y")]
    with pytest.raises(DataError) as raised:
        joined_by_id(examples, predictions)
    assert set(str(raised.value).split("; ")) == {
        "1 ids duplicate in the gold file: c",
        "1 ids duplicate in the predictions: a",
        "2 ids extra in the predictions: x, y",
        "1 ids missing from the predictions: b",
    }


def test_missing_answers_can_be_filled_but_extra_ones_cannot():
    def empty(id):
        return Prediction(id, spans=())

    examples = [Example("a", ""), Example("b", "")]
    assert joined_by_id(examples, [], allow_missing=empty) == [
        (examples[0], empty("a")),
        (examples[1], empty("b")),
    ]
    with pytest.raises(DataError, match="extra in the predictions: x"):
        joined_by_id(examples, [empty("x")], allow_missing=empty)


def test_many_wrong_ids_are_counted_but_not_all_shown():
    with pytest.raises(
        DataError, match=r"^30 ids missing from the predictions: 0, 1, .* and 20 more$"
    ):
        joined_by_id([Example(str(number), "") for number in range(30)], [])


@pytest.mark.parametrize(
    ("ids", "documents"),
    [
        ([f"dev-{i}" for i in range(60)], None),
        (["a-0", "a-1", "b-0", "b-1"], ["a-", "a-", "b-", "b-"]),
        (["a-0", "b-0"], None),
        (["0", "1"], None),
        ([], None),
        ([f"train-{i}" for i in range(300)] + ["dev-0"], None),
    ],
)
def test_ids_name_documents_where_there_are_several_with_several_sentences(ids, documents):
    assert documents_of(ids) == documents
