"""Every fault of a file is reported with its row and its repair, and a file that cannot be read says why."""

import gzip
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layouts import (
    A_NUMBERS,
    A_TAGS,
    A_TOKENS,
    B_TAGS,
    LAYOUTS,
    NAMES,
    OBJECTS,
    A,
    B,
    conll,
    lines,
    rows,
    token_rows,
    written,
)

from pipelines.corpora import Columns, read_corpus, read_examples
from pipelines.errors import DataError, UserError
from pipelines.examples import Span

SEEDED = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

FAULTY = {
    "all of a file shifted": (
        [{"text": "A cancer", "entities": [{"text": "cancer", "start": 1, "end": 7}]}],
        0,
        "wrong_offsets",
        "start 2, end 8 (its only occurrence, +1 characters)",
    ),
    "an inclusive end among others": (
        rows("entities", [OBJECTS[0], {"text": "colon cancer", "start": 51, "end": 62}]),
        0,
        "wrong_offsets",
        "start 51, end 63 (its only occurrence, the end was wrong)",
    ),
    "shifted offsets": (
        rows("entities", [{"text": "breast cancer", "start": 30, "end": 43}, OBJECTS[1]]),
        0,
        "wrong_offsets",
        "start 31, end 44 (its only occurrence, +1 characters)",
    ),
    "a wrong end": (
        rows("entities", [{"text": "breast cancer", "start": 31, "end": 43}, OBJECTS[1]]),
        0,
        "wrong_offsets",
        "start 31, end 44 (its only occurrence, the end was wrong)",
    ),
    "the nearest of several": (
        rows("entities", [{"text": "cancer", "start": 56, "end": 62}, OBJECTS[0]]),
        0,
        "wrong_offsets",
        "start 57, end 63 (the nearest of 2 occurrences, +1 characters)",
    ),
    "another spelling": (
        rows("entities", [{"text": "Breast  Cancer", "start": 31, "end": 44}, OBJECTS[1]]),
        0,
        "wrong_offsets",
        "the text has 'breast cancer' at 31:44",
    ),
    "no repair": (
        rows("entities", [{"text": "gout", "start": 31, "end": 35}, OBJECTS[1]]),
        0,
        "wrong_offsets",
        None,
    ),
    "outside the text": (
        rows("entities", [OBJECTS[0], {"start": 60, "end": 99}]),
        0,
        "wrong_offsets",
        None,
    ),
    "negative": (rows("entities", [OBJECTS[0], {"start": -3, "end": 2}]), 0, "wrong_offsets", None),
    "shifted tokens": (
        token_rows(
            "entities",
            [
                {"text": "breast cancer", "start": 4, "end": 6},
                {"text": "colon cancer", "start": 7, "end": 9},
            ],
        ),
        0,
        "wrong_offsets",
        "start 8, end 10 (its only occurrence, +1 tokens)",
    ),
    "empty": (
        rows("entities", [OBJECTS[0], {"text": "", "start": 5, "end": 5}]),
        0,
        "empty_span",
        None,
    ),
    "reversed": (
        rows("entities", [OBJECTS[0], {"text": "colon cancer", "start": 63, "end": 51}]),
        0,
        "empty_span",
        "start 51, end 63 (its only occurrence, -12 characters)",
    ),
    "only a blank": (rows("entities", [OBJECTS[0], {"start": 8, "end": 9}]), 0, "empty_span", None),
    "an empty string": (rows("diseases", ["breast cancer", ""]), 0, "empty_span", "leave it out"),
    "overlap": (
        rows("entities", [*OBJECTS, {"text": "colon cancer .", "start": 51, "end": 65}]),
        0,
        "overlapping_spans",
        "keep the longer one",
    ),
    "crossing": (
        rows("entities", [*OBJECTS, {"start": 45, "end": 56}]),
        0,
        "overlapping_spans",
        None,
    ),
    "the same twice": (
        rows("spans", [[31, 44], [31, 44]]),
        0,
        "overlapping_spans",
        "leave one out",
    ),
    "in pieces": (
        rows("entities", [{"offsets": [[31, 37], [57, 63]], "type": "Disease"}]),
        0,
        "discontinuous_span",
        "write [[31, 63]]",
    ),
    "not in the text": (rows("diseases", ["breast cancer", "gout"]), 0, "not_in_text", None),
    "another case": (
        rows("diseases", ["Breast cancer"]),
        0,
        "not_in_text",
        "the text has 'breast cancer'",
    ),
    "too often": (rows("diseases", ["breast cancer"] * 2), 0, "not_in_text", "leave one out"),
    "within a word": (
        rows("diseases", ["ancer"]),
        0,
        "not_in_text",
        "give offsets (start 39, end 44)",
    ),
    "a duplicate id": (
        [{"id": 1, "text": A}, {"id": "1", "text": B}],
        1,
        "duplicate_id",
        "an id of its own",
    ),
    "an id that meets a row number": (
        [{"id": "1", "text": A}, {"text": B}],
        1,
        "duplicate_id",
        "an id of its own",
    ),
    "no such tag": (
        token_rows("tags", A_TAGS, ["O", "X-Disease", "O", "O"]),
        1,
        "unknown_tag",
        None,
    ),
    "a tag without a name": (
        {"names": NAMES, "data": token_rows("tags", A_NUMBERS, [0, 0, 3, 0])},
        1,
        "unknown_tag",
        None,
    ),
    "too few tags": (token_rows("tags", A_TAGS, B_TAGS[1:]), 1, "length_mismatch", None),
    "tokens of another text": (
        [
            row | {"text": text}
            for row, text in zip(token_rows("tags", A_TAGS, B_TAGS), (A, "None."), strict=True)
        ],
        1,
        "length_mismatch",
        "--text_column",
    ),
    "token ranges in another text": (
        [
            row | {"text": text}
            for row, text in zip(token_rows("spans", [[4, 6]], [[0, 1]]), (A, "None."), strict=True)
        ],
        1,
        "length_mismatch",
        "--text_column",
    ),
    "a type without a name": (
        {
            "names": ["Disease"],
            "data": rows(
                "spans", [{"start": 0, "end": 8, "label": 0}], [{"start": 0, "end": 2, "label": 1}]
            ),
        },
        1,
        "unknown_tag",
        None,
    ),
    "no tags": (token_rows("tags", A_TAGS, None), 1, "missing_value", None),
    "no mentions given": (
        [{"text": A, "entities": OBJECTS}, {"text": B}],
        1,
        "missing_value",
        "write []",
    ),
    "no text": (
        [{"text": A, "entities": OBJECTS}, {"text": None, "entities": []}],
        1,
        "missing_value",
        None,
    ),
    "a number for a text": (
        [{"text": A, "entities": OBJECTS}, {"text": 5, "entities": []}],
        1,
        "wrong_type",
        None,
    ),
    "a number for a token": (
        [
            {"tokens": A_TOKENS, "tags": A_TAGS},
            {"tokens": ["In", 1996, "it", "was"], "tags": B_TAGS},
        ],
        1,
        "wrong_type",
        'write "1996"',
    ),
    "a string for the entities' list": (
        [{"text": A, "entities": OBJECTS}, {"text": B, "entities": 5}],
        1,
        "wrong_type",
        None,
    ),
    "a number for an entity": (rows("entities", OBJECTS, [5]), 1, "wrong_type", None),
    "half an offset": (
        rows("entities", OBJECTS, [{"start": 1.5, "end": 3}]),
        1,
        "wrong_type",
        None,
    ),
    "a string for an offset": (
        rows("entities", OBJECTS, [{"text": "No", "start": "No", "end": 2}]),
        1,
        "wrong_type",
        None,
    ),
    "an endless offset": (
        rows("entities", OBJECTS, [{"start": 10**400, "end": 2}]),
        1,
        "empty_span",
        None,
    ),
    "lists of different lengths": (
        rows("entities", {"start": [31, 51], "end": [44]}),
        0,
        "length_mismatch",
        None,
    ),
    "an entity without anything": (
        rows("entities", OBJECTS, [{"id": "T1"}]),
        1,
        "wrong_type",
        None,
    ),
    "an object for an id": ([{"id": "a", "text": A}, {"id": {}, "text": B}], 1, "wrong_type", None),
    "no object": ([{"text": A}, "text"], 1, "wrong_type", None),
    "mojibake": (
        [
            *rows("entities", OBJECTS)[:1],
            {"id": "b", "text": "SjÃ¶gren's syndrome", "entities": []},
        ],
        1,
        "mojibake",
        "UTF-8",
    ),
    "a lost character": (
        [*rows("entities", OBJECTS)[:1], {"id": "b", "text": "Sj\ufffdgren", "entities": []}],
        1,
        "mojibake",
        None,
    ),
    "a control character": (
        [*rows("entities", OBJECTS)[:1], {"id": "b", "text": "a\x0cb", "entities": []}],
        1,
        "control_character",
        "blank",
    ),
    "half a surrogate pair": (
        [*rows("entities", OBJECTS)[:1], {"id": "b", "text": "a\ud83db", "entities": []}],
        1,
        "control_character",
        "blank",
    ),
    "a line that is no JSON": (
        lines(rows("entities", OBJECTS)) + '\n{"text": "cut o',
        3,
        "unreadable_row",
        None,
    ),
    "a line with a column less": (conll("\t") + "\ngout\n", 18, "unreadable_row", None),
    "a line that is no mention": (
        LAYOUTS["PubTator"] + "b\tx\t\n9\t1\t2\tx\tDisease\n",
        10,
        "unreadable_row",
        None,
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_faults_name_row_and_repair(name, tmp_path):
    content, row, kind, repair = FAULTY[name]
    path = written(tmp_path, content)
    corpus = read_corpus(path)
    faults = [fault for fault in corpus.faults if fault.kind == kind]
    assert [(fault.path, fault.row) for fault in faults] == [(str(path), row)]
    assert (repair in faults[0].repair) if repair else faults[0].repair is None
    assert len(corpus.faults) == 1
    assert len(corpus.examples) == corpus.n_rows - 1


@pytest.mark.parametrize(
    "text",
    [
        "Sjögren's syndrome, α-fetoprotein, 5–10 µm, “quoted”",
        "«CAFÉ» und „SPAß“",
        "naïve façade Ålesund",
        "Привет, βeta",
        "多发性硬化症",
        "tab\tand\nnew line",
        "½ ± 2 °C ≥ 3",
        "Â is a letter, Ã too",
        "a\u00a0b",
    ],
)
def test_sound_text_is_left_alone(text, tmp_path):
    assert read_corpus(written(tmp_path, [{"text": text, "entities": []}])).faults == []


@pytest.mark.parametrize(
    "text", ["Sjögren", "5–10", "β-thalassaemia", "“x”", "naïve", "≥ 3", "à la", "Ł", "😀"]
)
@pytest.mark.parametrize("codec", ["cp1252", "latin-1"])
def test_every_wrong_decoding_is_found(text, codec, tmp_path):
    garbled = "".join(bytes([b]).decode(codec, errors="ignore") or chr(b) for b in text.encode())
    faults = read_corpus(written(tmp_path, [{"text": garbled, "entities": []}])).faults
    assert [fault.kind for fault in faults] == ["mojibake"]


def test_damage_is_only_a_warning_where_each_row_wants_an_answer(tmp_path):
    path = written(tmp_path, [{"text": "SjÃ¶gren\x00"}, {"text": " "}, {"text": "a\ud800b"}])
    corpus = read_corpus(path)
    assert [(fault.row, fault.kind) for fault in corpus.faults] == [
        (0, "unlabelled_mojibake"),
        (0, "unlabelled_control_character"),
        (1, "empty_text"),
        (2, "unlabelled_control_character"),
    ]
    assert [example.text for example in read_examples(path)] == ["SjÃ¶gren\x00", " ", "a\ufffdb"]


def test_all_faults_of_all_rows_are_reported_at_once(tmp_path, caplog):
    bad = {
        "text": A,
        "entities": [
            {"text": "gout", "start": 0, "end": 4},
            {"text": "x", "start": 9, "end": 9},
            5,
            {},
        ],
    }
    path = written(tmp_path, [bad, {"text": A, "entities": OBJECTS}, bad])
    with pytest.raises(DataError) as raised:
        read_examples(path)
    message = str(raised.value)
    assert "8 faults in 2 of 3 rows" in message
    assert message.count("wrong_offsets") == message.count("empty_span") == 2
    assert message.count("wrong_type") == 4
    assert [example.id for example in read_examples(path, skip_bad_rows=True)] == ["1"]
    skipped = caplog.text
    assert "skipped 2 bad rows of 3" in skipped
    assert "row 0" in skipped
    assert "row 2" in skipped
    with pytest.raises(DataError, match="all 60 rows"):
        read_examples(written(tmp_path, [bad] * 60), skip_bad_rows=True)
    with pytest.raises(DataError, match="and 190 more"):
        read_examples(written(tmp_path, [bad] * 60))
    twice = [{"id": 1, "text": B, "diseases": []}, {"id": 1, "text": B, "diseases": ["gout"]}]
    faults = read_corpus(written(tmp_path, twice)).faults
    assert {fault.kind for fault in faults} == {"duplicate_id", "not_in_text"}
    with pytest.raises(DataError, match="1 fault in 1 of 1 row"):
        read_examples(written(tmp_path, [{"text": B, "diseases": ["gout"]}]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        ('[{"text": "a"}, {"text": "b', "cut off: it ends at line 1, column 28"),
        ('[\n{"text": "a"},\n{"text": "b"},\n', "cut off: it ends at line 3, column 15"),
        ('[{"text": "a"},, {"text": "b"}]', "invalid JSON: .* at line 1, column 16"),
        ("[]", "not one readable row"),
        ("{}", "no list of rows"),
        ('"text"', 'holds only "text"'),
        ("[1, 2]", "not one readable row"),
        ('{"train": [{"text": "a"}], "dev": [{"text": "b"}]}', "2 lists of rows: train, dev"),
        ('{"text": ["a", "b"], "entities": [[]]}', r"different lengths \(text 2, entities 1\)"),
        ("[" * 100_000, "cut off|no list of rows"),
        ("[" + "1" * 5000 + "]", "no list of rows"),
        ("Some words and others\nAnd more of them\n", "none of the layouts that are read"),
    ],
)
def test_unreadable_files_say_why(content, message, tmp_path):
    with pytest.raises(UserError, match=message) as raised:
        read_corpus(written(tmp_path, content))
    assert "corpus.json" in str(raised.value)


def test_a_layout_can_be_named(tmp_path):
    path = written(tmp_path, "[ O\ngout B-Disease\n", "corpus.json")
    assert read_corpus(path, columns=Columns(layout="conll")).examples == read_corpus(path).examples
    with pytest.raises(UserError, match=r"got --layout xml; wanted one of .*json, pubtator"):
        read_corpus(path, columns=Columns(layout="xml"))


@pytest.mark.parametrize(
    "more", ["1,Some words and others\n2,And more of them\n", "1,gout\n2,ataxia\n"]
)
def test_a_table_of_texts_is_unlabelled(more, tmp_path):
    corpus = read_corpus(written(tmp_path, f"id,text\n{more}", "table.csv"))
    assert (corpus.answer, [example.id for example in corpus.examples]) == (None, ["1", "2"])


@pytest.mark.parametrize(
    ("tags", "wanted", "repair"),
    [
        (["O", "I-D", "O", "O"], [Span(3, 10, "D")], "write B-D there"),
        (["B-D", "I-E", "O", "O"], [Span(0, 2, "D"), Span(3, 10, "E")], "write B-E there"),
    ],
)
def test_illegal_tags_are_read_as_conlleval_reads_them_or_refused(tags, wanted, repair, tmp_path):
    path = written(tmp_path, token_rows("tags", A_TAGS, tags))
    corpus = read_corpus(path)
    assert list(corpus.examples[1].spans) == wanted
    assert [(fault.kind, fault.row, fault.repair) for fault in corpus.faults] == [
        ("repaired_tags", 1, repair)
    ]
    assert "1 illegal tag read as conlleval" in corpus.notes[0]
    strict = read_corpus(path, columns=Columns(strict_tags=True))
    assert [fault.kind for fault in strict.faults] == ["illegal_tags"]
    assert len(strict.examples) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04\x14\x00", "a zip archive; unpack it first"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "a binary file"),
        (b"\x00\x01", "a binary file"),
        ('[{"text": "a"}]'.encode("utf-16-le"), "a binary file.*UTF-16 without"),
    ],
)
def test_binary_files_are_reported(content, message, tmp_path):
    (tmp_path / "corpus").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_corpus(tmp_path / "corpus")


def test_missing_files_folders_and_wrong_bytes(tmp_path):
    written(tmp_path, [], "train.json")
    with pytest.raises(UserError, match=r"no such file; beside it: train\.json"):
        read_corpus(tmp_path / "trian.json")
    with pytest.raises(UserError, match="no such file"):
        read_corpus("no/where.json")
    with pytest.raises(UserError, match=r"a folder without a \.txt file"):
        read_corpus(tmp_path)
    (tmp_path / "latin.json").write_bytes('[{"text": "Sjögren"}]'.encode("latin-1"))
    with pytest.raises(UserError, match=r"not UTF-8 at byte 13 \(line 1\); .*iconv"):
        read_corpus(tmp_path / "latin.json")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b'[{"text": "a"}]')[:-9])
    with pytest.raises(UserError, match="cut off gzip"):
        read_corpus(tmp_path / "cut.gz")


VALUES = st.sampled_from(
    [
        None,
        math.nan,
        math.inf,
        0,
        -1,
        3,
        1.5,
        True,
        "",
        "x",
        "none",
        [],
        {},
        [[]],
        [{}],
        ["a", 1],
        {"a": [1]},
        {"start": "x"},
        [[1]],
        [[1, 2, 3]],
        [1, 2],
        "\ud800",
        10**30,
        {"text": 3, "start": 1},
    ]
)


@st.composite
def mutants(draw):
    """A good file with some values replaced or taken away."""

    def mutated(value):
        choice = draw(st.integers(0, 30))
        if choice == 0:
            return draw(VALUES)
        if isinstance(value, dict):
            return {key: mutated(inner) for key, inner in value.items() if choice != 1}
        if isinstance(value, list):
            return [mutated(inner) for inner in value][choice == 1 :]
        return value

    good = draw(
        st.sampled_from([content for content in LAYOUTS.values() if not isinstance(content, str)])
    )
    return mutated(good)


@SEEDED
@given(content=mutants())
def test_whatever_is_in_a_file_ends_in_examples_or_faults(content, tmp_path):
    path = written(tmp_path, content)
    try:
        corpus = read_corpus(path)
    except UserError:
        return
    assert all(str(fault) for fault in corpus.faults)
    assert len({example.id for example in corpus.examples}) == len(corpus.examples)
    assert (
        len(corpus.examples) + len({f.row for f in corpus.faults if not f.is_warning})
        == corpus.n_rows
    )
    for example in corpus.examples:
        for span in example.spans or ():
            assert example.text[span.start : span.end].strip()
