"""Submissions: the layout is inferred from the sample, the file keeps the sample's form, wrong ids are refused."""

import csv
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Prediction, Span
from pipelines.spans import join_tokens, token_ranges_to_spans
from pipelines.submission import LAYOUTS, competition, validate_submission, write_submission

NCBI = Path(os.environ.get("PIPELINES_DATA", "../shared/data")) / "ncbi_disease"


def tokenised(id: str, words: str) -> Example:
    text, tokens = join_tokens(words.split())
    return Example(id, text, tokens=tokens)


EXAMPLES = [
    tokenised("a", "Ann met Bo Li"),
    tokenised("b", "It rained"),
    tokenised("c", "Rome Ann"),
]
PREDICTIONS = [  # Not in the order of the samples.
    Prediction("c", (Span(5, 8, "PER"), Span(0, 4, "LOC"))),
    Prediction("a", (Span(0, 3, "PER"), Span(8, 13, "PER"))),
    Prediction("b", ()),
]
CLASSES = [
    Prediction("c", label="books"),
    Prediction("a", label="music"),
    Prediction("b", label="dvd"),
]
VALUES = [Prediction("c", value=2.5), Prediction("a", value=1e-7), Prediction("b", value=3.0)]


def submitted(
    folder: Path,
    sample: str | bytes,
    predictions: list[Prediction] = PREDICTIONS,
    examples: list[Example] | None = EXAMPLES,
    **options: str,
) -> tuple[str, str]:
    """The layout, and what was written."""
    path = folder / "sample.csv"
    path.write_bytes(sample.encode() if isinstance(sample, str) else sample)
    done = write_submission(predictions, examples, sample=path, out=folder / "out.csv", **options)
    return done.layout, (folder / "out.csv").read_bytes().decode()


@pytest.mark.parametrize(
    ("layout", "sample", "written"),
    [
        (
            "strings",
            "id,entities\na,x; y\nb,\nc,z\n",
            "id,entities\na,Ann; Bo Li\nb,\nc,Rome; Ann\n",
        ),
        (
            "strings",
            "id,entities\na,x|y\nb,none\nc,none\n",
            "id,entities\na,Ann|Bo Li\nb,none\nc,Rome|Ann\n",
        ),
        (
            "strings",
            'id,entities\na,"x, y"\nb,None\nc,z\n',
            'id,entities\na,"Ann, Bo Li"\nb,None\nc,"Rome, Ann"\n',
        ),
        (
            "strings",
            'id,entities\na,"p, q, r; s"\nb,\nc,\n',
            "id,entities\na,Ann; Bo Li\nb,\nc,Rome; Ann\n",
        ),
        ("strings", "a,x;y\nb,z\nc,w\n", "a,Ann;Bo Li\nb,\nc,Rome;Ann\n"),
        (
            "json_strings",
            "id,entities\na,[]\nb,[]\nc,[]\n",
            'id,entities\na,"[""Ann"", ""Bo Li""]"\nb,[]\nc,"[""Rome"", ""Ann""]"\n',
        ),
        (
            "json_strings",
            "id,spans\na,['x']\nb,[]\nc,[]\n",
            'id,spans\na,"[""Ann"", ""Bo Li""]"\nb,[]\nc,"[""Rome"", ""Ann""]"\n',
        ),
        (
            "json_objects",
            'id\tentities\na\t[]\nb\t[]\nc\t[{"type": "X", "begin": 0, "stop": 1, "word": "y"}]\n',
            'id\tentities\na\t"[{""type"": ""PER"", ""begin"": 0, ""stop"": 3, ""word"": ""Ann""}, '
            '{""type"": ""PER"", ""begin"": 8, ""stop"": 13, ""word"": ""Bo Li""}]"\nb\t[]\n'
            'c\t"[{""type"": ""LOC"", ""begin"": 0, ""stop"": 4, ""word"": ""Rome""}, '
            '{""type"": ""PER"", ""begin"": 5, ""stop"": 8, ""word"": ""Ann""}]"\n',
        ),
        (
            "json_pairs",
            'id,spans\na,"[[0, 1]]"\nb,[]\nc,[]\n',
            'id,spans\na,"[[0, 3], [8, 13]]"\nb,[]\nc,"[[0, 4], [5, 8]]"\n',
        ),
        (
            "offsets",
            "id,location\na,0 1\nb,\nc,0 1;2 3\n",
            "id,location\na,0 3;8 13\nb,\nc,0 4;5 8\n",
        ),
        (
            "ranges",
            "id,location\na,0-1\nb,-\nc,0-1 2-3\n",
            "id,location\na,0-3 8-13\nb,-\nc,0-4 5-8\n",
        ),
        (
            "tags",
            "id,tags\na,O O O O\nb,O O\nc,O O\n",
            "id,tags\na,B-PER O B-PER I-PER\nb,O O\nc,B-LOC B-PER\n",
        ),
        (
            "tags",
            "id,tags\na,S-PER O B-PER E-PER\nb,O O\nc,O O\n",
            "id,tags\na,S-PER O B-PER E-PER\nb,O O\nc,S-LOC S-PER\n",
        ),
        (
            "tags",
            'id,tags\na,"O,O,O,O"\nb,"O,O"\nc,"O,O"\n',
            'id,tags\na,"B-PER,O,B-PER,I-PER"\nb,"O,O"\nc,"B-LOC,B-PER"\n',
        ),
        (
            "json_tags",
            "id\ttags\na\t['O', 'O', 'O', 'O']\nb\t['O', 'O']\nc\t['O', 'O']\n",
            'id\ttags\na\t"[""B-PER"", ""O"", ""B-PER"", ""I-PER""]"\nb\t"[""O"", ""O""]"\nc\t"[""B-LOC"", ""B-PER""]"\n',
        ),
        (
            "strings",
            "id,entities\na,x||y\nb,\nc,z\n",
            "id,entities\na,Ann||Bo Li\nb,\nc,Rome||Ann\n",
        ),
        (
            "offsets",
            'id,location\na,"0 3, 5 9"\nb,\nc,1 2\n',
            'id,location\na,"0 3, 8 13"\nb,\nc,"0 4, 5 8"\n',
        ),
        (
            "offsets",
            "id,location\na,0 3; 5 9\nb,\nc,\n",
            "id,location\na,0 3; 8 13\nb,\nc,0 4; 5 8\n",
        ),
        (
            "offsets",
            "id,location\na,Disease 0 3|Disease 5 9\nb,\nc,\n",
            "id,location\na,PER 0 3|PER 8 13\nb,\nc,LOC 0 4|PER 5 8\n",
        ),
        (
            "ranges",
            'id,location\na,"0-3,5-9"\nb,\nc,\n',
            'id,location\na,"0-3,8-13"\nb,\nc,"0-4,5-8"\n',
        ),
        ("ranges", "id,location\na,0:3;5:9\nb,\nc,\n", "id,location\na,0:3;8:13\nb,\nc,0:4;5:8\n"),
        (
            "type_ranges",
            'Id,Predicted\nPER,"0-0,2-3"\nLOC,\n',
            'Id,Predicted\nPER,"0-0,2-3,7-7"\nLOC,6-6\n',
        ),
        (
            "tags",
            "id,tags\na,O\nb,O\nc,O\n",
            "id,tags\na,B-PER O B-PER I-PER\nb,O O\nc,B-LOC B-PER\n",
        ),
        (
            "token_tags",
            "id,tag\n" + "".join(f"{i},O\n" for i in range(8)),
            "id,tag\n0,B-PER\n1,O\n2,B-PER\n3,I-PER\n4,O\n5,O\n6,B-LOC\n7,B-PER\n",
        ),
        (
            "token_tags",
            "id,tag\n" + "".join(f"{i},\n" for i in range(8, 0, -1)),
            "id,tag\n8,B-PER\n7,B-LOC\n6,O\n5,O\n4,I-PER\n3,B-PER\n2,O\n1,B-PER\n",
        ),
        (
            "token_tags",
            "id,tag\na_0,O\na_1,O\na_2,O\na_3,O\nb_0,O\nb_1,O\nc_0,O\nc_1,O\n",
            "id,tag\na_0,B-PER\na_1,O\na_2,B-PER\na_3,I-PER\nb_0,O\nb_1,O\nc_0,B-LOC\nc_1,B-PER\n",
        ),
        (
            "token_tags",
            "sentence,word,tag\nc,Rome,O\nc,Ann,O\na,Ann,O\na,met,O\na,Bo,O\na,Li,O\nb,It,O\nb,rained,O\n",
            "sentence,word,tag\nc,Rome,B-LOC\nc,Ann,B-PER\na,Ann,B-PER\na,met,O\na,Bo,B-PER\na,Li,I-PER\nb,It,O\nb,rained,O\n",
        ),
        ("type_ranges", "PER,none\nLOC,none\n", "PER,0-0 2-3 7-7\nLOC,6-6\n"),
        (
            "type_ranges",
            "Id,Predicted\nPER,0-0\nLOC,0-1 4-4\nORG,\n",
            "Id,Predicted\nPER,0-0 2-3 7-7\nLOC,6-6\nORG,\n",
        ),
    ],
)
def test_layouts(tmp_path: Path, layout: str, sample: str, written: str) -> None:
    assert submitted(tmp_path, sample) == (layout, written)


@pytest.mark.parametrize(
    ("layout", "predictions", "written"),
    [
        ("label", CLASSES, "id,label\na,music\nb,dvd\nc,books\n"),
        ("value", VALUES, "id,label\na,1e-07\nb,3.0\nc,2.5\n"),
    ],
)
def test_classes_and_values(
    tmp_path: Path, layout: str, predictions: list[Prediction], written: str
) -> None:
    assert submitted(tmp_path, "id,label\na,0\nb,0\nc,0\n", predictions, None) == (layout, written)


@pytest.mark.parametrize(
    ("sample", "written"),
    [
        (
            "id\tlocation\r\na\t0 1\r\nb\t\r\nc\t\r\n",
            "id\tlocation\r\na\t0 3;8 13\r\nb\t\r\nc\t0 4;5 8\r\n",
        ),
        ("id;location\na;0-1\nb;\nc;\n", "id;location\na;0-3 8-13\nb;\nc;0-4 5-8\n"),
        (
            '"id","location"\n"a","0 1"\n"b",""\n"c",""\n',
            '"id","location"\n"a","0 3;8 13"\n"b",""\n"c","0 4;5 8"\n',
        ),
        ("\ufeffid,location\na,0 1\nb,\nc,\n", "\ufeffid,location\na,0 3;8 13\nb,\nc,0 4;5 8\n"),
        ("a,0 1;2 3\nb,0 1\nc,0 1\n", "a,0 3;8 13\nb,\nc,0 4;5 8\n"),
        ("id, location\na, 0 1\nb, \nc, 2 3\n", "id, location\na, 0 3;8 13\nb, \nc, 0 4;5 8\n"),
        ("id,location\rb,0 1\rc,\ra,\r", "id,location\rb,\rc,0 4;5 8\ra,0 3;8 13\r"),
        (
            '"id",location\n"a",0 1\n"b",\n"c",\n',
            '"id",location\n"a",0 3;8 13\n"b",\n"c",0 4;5 8\n',
        ),
        (
            'Usage,id,location,text_id\nPublic,b,0 1,1\nPrivate,a,0 1,1\n"Public",c,0 1,7\n',
            'Usage,id,location,text_id\nPublic,b,,1\nPrivate,a,0 3;8 13,1\n"Public",c,0 4;5 8,7\n',
        ),
        ("id,location\na,0 1\n\nb,\nc,\n\n", "id,location\na,0 3;8 13\nb,\nc,0 4;5 8\n"),
        ("id,location\na,0 1\nb,\nc,", "id,location\na,0 3;8 13\nb,\nc,0 4;5 8\n"),
    ],
)
def test_the_form_of_the_sample_is_kept(tmp_path: Path, sample: str, written: str) -> None:
    layout, got = submitted(tmp_path, sample, examples=None)
    assert got == written
    validate_submission(tmp_path / "out.csv", tmp_path / "sample.csv", format=layout)


@pytest.mark.parametrize(
    "sample",
    [
        "id,answer\na,\nb,\nc,\n",
        "id,answer\na,1/2\nb,none\nc,\n",
        "id,answer\na,none\nb,none\nc,none\n",
        "id,offsets\na,[]\nb,[]\nc,[]\n",
    ],
)
def test_a_layout_that_cannot_be_told_is_asked_for(tmp_path: Path, sample: str) -> None:
    with pytest.raises(UserError) as error:
        submitted(tmp_path, sample)
    spans = [name for name, layout in LAYOUTS.items() if layout.answer == "spans"]
    assert str(error.value).endswith(
        f"--format, and what separates two mentions with --separator: {', '.join(spans)}"
    )
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out.csv").exists()
    layout, written = submitted(tmp_path, sample, format="json_pairs")
    assert layout == "json_pairs"
    assert '"[[0, 3], [8, 13]]"' in written


def test_options(tmp_path: Path) -> None:
    empty = "id,answer\na,\nb,\nc,\n"
    with pytest.raises(UserError, match="--separator"):
        submitted(tmp_path, empty, format="strings")
    assert (
        submitted(tmp_path, empty, format="strings", separator="|")[1]
        == "id,answer\na,Ann|Bo Li\nb,\nc,Rome|Ann\n"
    )
    assert submitted(tmp_path, empty, format="ranges", separator=",")[1] == (
        'id,answer\na,"0-3,8-13"\nb,\nc,"0-4,5-8"\n'
    )
    with pytest.raises(UserError, match="layout 'xml'"):
        submitted(tmp_path, empty, format="xml")
    with pytest.raises(UserError, match="this is the sample itself"):
        write_submission(
            PREDICTIONS, sample=tmp_path / "sample.csv", out=tmp_path / "." / "sample.csv"
        )


@pytest.mark.parametrize(
    ("layout", "sample"),
    [
        ("strings", "id,x\na,x;y\nb,\nc,\n"),
        ("json_strings", "id,x\na,[]\nb,[]\nc,[]\n"),
        ("tags", "id,x\na,O\nb,O\nc,O\n"),
    ],
)
def test_texts_are_asked_for_where_they_are_needed(
    tmp_path: Path, layout: str, sample: str
) -> None:
    with pytest.raises(UserError, match=f"layout {layout} needs .*--input"):
        submitted(tmp_path, sample, examples=None)


def test_wrong_ids_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        submitted(tmp_path, "id,location\na,0 1\nd,0 1\nd,0 1\n", [*PREDICTIONS, PREDICTIONS[0]])
    for fault in (
        "duplicate in the sample: d",
        "duplicate in the predictions: c",
        "2 ids extra in the predictions: c, b",
        "missing from the predictions: d",
        "the sample has a, d, d",
        "the predictions have c, a, b",
    ):
        assert fault in str(error.value)
    with pytest.raises(DataError, match="missing from the examples: b"):
        submitted(tmp_path, "id,x\na,x;y\nb,\nc,\n", examples=[EXAMPLES[0], EXAMPLES[2]])
    with pytest.raises(UserError, match=r"7, 8, 9.*neither ids of the predictions \(c, a, b\)"):
        submitted(tmp_path, "id,x\n7,\n8,\n9,\n")
    with pytest.raises(
        UserError, match="neither"
    ):  # No prediction, and so no type, shows that rows are types.
        submitted(tmp_path, "id,x\nPER,\nLOC,\n", [Prediction(id, ()) for id in "abc"])
    with pytest.raises(UserError, match="neither"):
        submitted(tmp_path, "id,x\nPER,some\nLOC,\n")
    with pytest.raises(DataError, match="several rows: PER"):
        submitted(tmp_path, "id,x\nPER,0-0\nPER,\nLOC,\n")
    with pytest.raises(DataError, match="no row: LOC"):
        submitted(tmp_path, "id,x\nPER,0-0\nORG,\n")
    with pytest.raises(DataError, match="8 tokens"):
        submitted(tmp_path, "id,x\n0,O\n1,O\n", format="token_tags")
    with pytest.raises(DataError, match="missing from the predictions: b"):
        submitted(tmp_path, "id,x\nPER,0-0\nLOC,\n", PREDICTIONS[:2])
    assert not (tmp_path / "out.csv").exists()


def test_rows_of_types_are_recognised_where_nothing_was_predicted(tmp_path: Path) -> None:
    nothing = [Prediction(id, ()) for id in "abc"]
    assert submitted(tmp_path, "id,x\nPER,0-0\nLOC,\n", nothing) == (
        "type_ranges",
        "id,x\nPER,\nLOC,\n",
    )


@pytest.mark.parametrize("span", [Span(3, 99, "X"), Span(3, 3, "X"), Span(-1, 2, "X")])
def test_spans_outside_the_text_are_refused(tmp_path: Path, span: Span) -> None:
    with pytest.raises(DataError, match=rf"not within their text: b \({span.start}-{span.end}\)"):
        submitted(
            tmp_path, "id,x\na,[]\nb,[]\nc,[]\n", [*PREDICTIONS[:2], Prediction("b", (span,))]
        )


def test_placeholders_give_tags_no_scheme(tmp_path: Path) -> None:
    assert submitted(tmp_path, "id,x\na,none\nb,none\nc,x|y\n", format="tags")[1] == (
        "id,x\na,B-PER O B-PER I-PER\nb,O O\nc,B-LOC B-PER\n"
    )


def test_tags_for_other_tokens_than_the_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a: 4 tokens, 5 tags in the sample"):
        submitted(tmp_path, "id,tags\na,O O O O O\nb,O O\nc,O O\n")


def test_the_surer_of_two_overlapping_spans_is_tagged(tmp_path: Path) -> None:
    crossing = [
        Prediction("a", (Span(0, 7, "PER", 0.2), Span(4, 10, "LOC", 0.9), Span(8, 13, "PER", 0.5))),
        Prediction("b", (Span(0, 2, "PER"), Span(0, 9, "LOC"))),
        Prediction("c", ()),
    ]
    assert submitted(tmp_path, "id,tags\na,O\nb,O\nc,O\n", crossing)[1] == (
        "id,tags\na,O B-LOC I-LOC O\nb,B-LOC I-LOC\nc,O O\n"
    )


def test_a_layout_of_another_kind_of_answer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="written from 'label'"):
        submitted(tmp_path, "id,x\na,\nb,\nc,\n", format="label")


def test_a_mention_with_the_separator_is_noted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    submitted(
        tmp_path, "id,x\na,x;y\n", [Prediction("a", (Span(0, 3, "X"),))], [Example("a", "a;b")]
    )
    assert "1 row has a mention" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "nothing"),
        (b"id\n1\n", "a column of ids"),
        (b"id,x\na,1\nb\n", "row 3"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b'id,x\na,"[]\nb,[]\n', "do not have|first row|layout|predictions"),
    ],
)
def test_a_broken_sample(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        submitted(tmp_path, content)


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ("id,location\na,0 3\nb,\n", "got 3 rows; wanted 4"),
        ("id,y\na,0 3\nb,\nc,\n", "row 1"),
        ("id,location,y\na,0 3,\nb,,\nc,,\n", "row 1"),
        ("id,location\na,0 3\nc,\nb,\n", "row 3: .*\n.*row 4"),
        ("id,location\na,0 3\nb,what\nc,\n", "row 3: got 'what'; wanted half-open"),
    ],
)
def test_validation_finds_what_differs(tmp_path: Path, broken: str, fault: str) -> None:
    submitted(tmp_path, "id,location\na,0 1\nb,\nc,\n")
    (tmp_path / "broken.csv").write_text(broken)
    with pytest.raises(DataError, match=fault):
        validate_submission(tmp_path / "broken.csv", tmp_path / "sample.csv", format="offsets")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 5), st.integers(1, 3), st.sampled_from(["PER", "LOC"])),
            max_size=3,
        ),
        min_size=1,
        max_size=4,
    )
)
def test_type_ranges_can_be_read_back(
    tmp_path_factory: pytest.TempPathFactory, ranges: list[list[tuple[int, int, str]]]
) -> None:
    examples = [tokenised(str(i), "t1 t2 t3 t4 t5 t6 t7 t8") for i in range(len(ranges))]
    predictions = [
        Prediction(
            example.id,
            tuple(
                token_ranges_to_spans(
                    [(first, first + n, label) for first, n, label in some], example.tokens or ()
                )
            ),
        )
        for example, some in zip(examples, ranges, strict=True)
    ]
    _, written = submitted(
        tmp_path_factory.mktemp("s"),
        "Id,Predicted\nLOC,\nPER,\n",
        predictions,
        examples,
        format="type_ranges",
    )
    cells = [line.split(",") for line in written.splitlines()[1:]]
    assert [
        (label, *map(int, piece.split("-"))) for label, cell in cells for piece in cell.split()
    ] == sorted(
        {
            (label, 8 * i + first, 8 * i + first + n - 1)
            for i, some in enumerate(ranges)
            for first, n, label in some
        }
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.text(alphabet="ab,;|\"\n\r\t'[] é", min_size=1, max_size=12), min_size=1, max_size=4
    ),
    st.sampled_from([",", "\t", ";"]),
)
def test_any_mention_survives_in_a_json_list(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], delimiter: str
) -> None:
    examples = [Example(f"e{i}", text) for i, text in enumerate(texts)]
    predictions = [
        Prediction(example.id, (Span(0, len(example.text), "X"),)) for example in examples
    ]
    folder = tmp_path_factory.mktemp("s")
    submitted(
        folder,
        f"id{delimiter}entities\n" + "".join(f"e{i}{delimiter}[]\n" for i in range(len(texts))),
        predictions,
        examples,
    )
    with open(folder / "out.csv", newline="") as f:
        rows = list(csv.reader(f, delimiter=delimiter))
    assert [json.loads(cell) for _, cell in rows[1:]] == [[text] for text in texts]


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    examples = [Example(str(i), "Ann") for i in range(15_000)]
    predictions = [Prediction(example.id, (Span(0, 3, "PER"),)) for example in examples]
    layout, written = submitted(tmp_path, "Id,Predicted\nPER,\n", predictions, examples)
    assert layout == "type_ranges"
    assert written.split(",")[-1].split() == [f"{i}-{i}" for i in range(15_000)]
    assert len(written) > 2**17


def test_json_objects_with_unknown_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"keys \['start', 'end', 'cui'\]"):
        submitted(tmp_path, 'id\tx\na\t[{"start": 0, "end": 1, "cui": "D1"}]\nb\t[]\nc\t[]\n')


def test_what_is_to_be_written_is_read_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(competition.Sample, "filled", lambda *_: "id,location\na,0 3\nb,0 3\n")
    (tmp_path / "out.csv").write_text("an older one")
    with pytest.raises(DataError, match="got 3 rows; wanted 4"):
        submitted(tmp_path, "id,location\na,0 1\nb,\nc,\n")
    assert (tmp_path / "out.csv").read_text() == "an older one"


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = "id,location\na,0 1\nb,\nc,\n"
    submitted(tmp_path, sample)
    before = (tmp_path / "out.csv").read_bytes()
    monkeypatch.setattr(competition.Sample, "filled", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        submitted(tmp_path, sample, [Prediction(id, ()) for id in "abc"])
    assert (tmp_path / "out.csv").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "sample.csv"]


# Real samples


def test_ncbi_sample_is_reproduced_to_the_byte_by_empty_answers(tmp_path: Path) -> None:
    if not NCBI.is_dir():
        pytest.skip(f"{NCBI} is absent; PIPELINES_DATA names the folder of the corpora")
    examples = [
        Example(row["id"], row["sentence"]) for row in json.loads((NCBI / "test.json").read_text())
    ]
    out = tmp_path / "submission.csv"
    sample = NCBI / "sample_submission.csv"
    predictions = [Prediction(example.id, ()) for example in examples]
    assert write_submission(predictions, examples, sample=sample, out=out).layout == "json_strings"
    assert out.read_bytes() == sample.read_bytes()
