"""Other tools' formats: worked by hand, and what they cannot carry."""

import csv
import json
import subprocess
import sys
from dataclasses import replace

import pytest
from convert_inputs import (
    CLASSES,
    MENTIONS,
    NO_MENTION,
    NUMBERS,
    SETS,
    TEXT,
    UNLABELLED,
    rows,
    written,
)
from hypothesis import given
from hypothesis import strategies as st

from pipelines.commands.convert import NAMES
from pipelines.corpora.convert import FORMATS, convert, format_of, gold_content
from pipelines.corpora.convert.content import words_of
from pipelines.corpora.convert.docbin import split_words
from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.spans import join_tokens


def test_jsonl_is_the_published_form(tmp_path):
    path, done = written(tmp_path, "o.jsonl", [MENTIONS, NO_MENTION, UNLABELLED])
    assert path.read_text(encoding="utf-8") == (
        '{"id": "7-0", "text": "Acute gout, no flu 😀 then flu.", "spans": '
        '[{"start": 0, "end": 10, "label": "Disease"}, '
        '{"start": 26, "end": 29, "label": "Sign or Symptom"}]}\n'
        '{"id": "7-1", "text": "No pain.", "spans": []}\n'
        '{"id": "7-2", "text": "Who knows?"}\n'
    )
    assert done == (3, [])
    path, _ = written(tmp_path, "o.jsonl", SETS)
    assert [row["label"] for row in rows(path)] == [["pos", "neg"], []]
    path, _ = written(tmp_path, "o.jsonl", NUMBERS)
    assert rows(path)[0] == {"id": "a", "text": "good", "pair": "better", "label": 4.5}


def test_conll_has_words_and_marks_as_tokens(tmp_path):
    path, done = written(tmp_path, "o.conll", [MENTIONS, NO_MENTION, UNLABELLED])
    assert path.read_text(encoding="utf-8") == (
        "# id = 7-0\nAcute\tB-Disease\ngout\tI-Disease\n,\tO\nno\tO\nflu\tO\n😀\tO\nthen\tO\n"
        "flu\tB-Sign_or_Symptom\n.\tO\n\n# id = 7-1\nNo\tO\npain\tO\n.\tO\n\n"
    )
    assert done.n_examples == 2
    assert [line.split(":")[0] for line in done.losses] == [
        "conll cannot represent unlabelled examples among labelled ones, they are left out",
        "conll holds tokens without the blanks between them, texts become their tokens joined by "
        "one blank",
        "conll cannot represent blanks in a type, they become _",
    ]
    assert done.losses[0].endswith(": 1 in 1 example (id 7-2)")
    assert done.losses[1].endswith(": 2 in 2 examples (ids 7-0, 7-1)")


def test_conll_without_answers_has_no_tags(tmp_path):
    path, _ = written(tmp_path, "o.iob2", [replace(UNLABELLED, id="0")])
    assert path.read_text() == "# id = 0\nWho\nknows\n?\n\n"


def test_conll_reports_every_span_that_no_tag_can_hold(tmp_path):
    text = "glycoprotein of  lung cancer"
    spans = (
        Span(0, 5, "A"),  # inside a word
        Span(16, 28, "B"),  # begins with a blank
        Span(17, 21, "C"),  # inside the one before
    )
    path, done = written(tmp_path, "o.bio", [Example("x", text, spans=spans)])
    assert path.read_text() == ("# id = x\nglycoprotein\tO\nof\tO\nlung\tB-B\ncancer\tI-B\n\n")
    assert [line.rpartition(":")[0] for line in done.losses][1:] == [
        "overlapping spans are left out, of each group the longest is kept",
        "conll cannot represent spans that begin or end inside a token, they are left out",
        "conll cannot represent blanks at the edge of a span, they are cut off",
    ]


def test_conll_keeps_the_tokens_of_a_tokenised_corpus(tmp_path):
    text, tokens = join_tokens(["IL-2", "a\tb", " ", "#", "x\ny"])
    example = Example("x", text, spans=(Span(0, 8, "P"),), tokens=tokens)
    path, done = written(tmp_path, "o.conll", [example])
    assert path.read_text() == "# id = x\nIL-2\tB-P\na b\tI-P\n#\tO\nx y\tO\n\n"
    assert [line.split(",")[0] for line in done.losses] == [
        "conll cannot represent blank tokens",
        "conll cannot represent tabs and line ends in tokens",
        "conll holds tokens without the blanks between them",
    ]


def test_a_text_without_a_token_is_left_out_of_conll(tmp_path):
    path, done = written(tmp_path, "o.conll", [NO_MENTION, Example("e", " ", spans=())])
    assert "# id = e" not in path.read_text()
    assert done.n_examples == 1
    assert any("texts without a token" in line and "(id e)" in line for line in done.losses)


def test_csv_quotes_and_spells_lists_as_json(tmp_path):
    path, done = written(tmp_path, "o.csv", CLASSES)
    assert path.read_text() == 'id,text,label\na,good,pos\nb,"said ""x"", so",neg\nc,unsaid,\n'
    assert done == (3, [])
    path, _ = written(tmp_path, "o.csv", SETS)
    assert [row["label"] for row in csv.DictReader(path.open())] == ['["pos", "neg"]', "[]"]
    path, _ = written(tmp_path, "o.csv", NUMBERS)
    assert path.read_text() == "id,text,pair,label\na,good,better,4.5\nb,bad,x,-1.0\n"


def test_tsv_reports_tabs_and_line_ends(tmp_path):
    example = Example("a", "gout\tand\r\nflu", spans=(Span(5, 13, "D"),))
    path, done = written(tmp_path, "o.tsv", [example, NO_MENTION])
    [first, _] = csv.DictReader(path.open(newline=""), delimiter="\t")
    assert first["text"] == "gout and  flu"
    assert json.loads(first["spans"]) == [{"start": 5, "end": 13, "label": "D", "text": "and  flu"}]
    assert done.losses == [
        "tsv cannot represent tabs and line ends, they become blanks: 3 in 1 example (id a)"
    ]


def test_brat_has_a_text_and_its_mentions(tmp_path):
    folder, done = written(tmp_path, "o", [MENTIONS, NO_MENTION, UNLABELLED], to="brat")
    assert (folder / "7-0.txt").read_text(encoding="utf-8") == TEXT
    assert (folder / "7-0.ann").read_text() == (
        "T1\tDisease 0 10\tAcute gout\nT2\tSign_or_Symptom 26 29\tflu\n"
    )
    assert (folder / "7-1.ann").read_text() == ""
    assert sorted(path.name for path in folder.iterdir())[-1] == "7-2.txt"  # and no .ann
    assert done.losses == [
        "brat cannot represent blanks in a type, they become _: 1 in 1 example (id 7-0)"
    ]


def test_brat_reports_line_ends_and_ids_that_are_no_file_names(tmp_path):
    ids = ["../up", "a", "A", "", "x/y", "n" * 300, ".hidden"]
    examples = [Example(id, "a\nb", spans=(Span(0, 3, "D"),)) for id in ids]
    folder, done = written(tmp_path, "new/o", examples, to="brat")
    assert len(list(folder.rglob("*.txt"))) == len(ids)
    assert (folder / "x" / "y.txt").exists()
    assert not (tmp_path / "new" / "up.txt").exists()
    assert {line.rpartition(": ")[0]: line.rpartition(": ")[2] for line in done.losses} == {
        "a file cannot have this id as its name, the id is changed": (
            f"5 in 5 examples (ids ../up, A, , {'n' * 59}…, .hidden)"
        ),
        "brat cannot represent line ends in a mention, it is left out": (
            "7 in 7 examples (ids ../up, a, A, , x/y and 2 more)"
        ),
    }


def test_label_studio_counts_as_javascript_does(tmp_path):
    path, done = written(tmp_path, "o.json", [MENTIONS, NO_MENTION, UNLABELLED])
    first, second, third = json.loads(path.read_text(encoding="utf-8"))
    assert first["data"] == {"id": "7-0", "text": TEXT}
    assert [region["value"] for region in first["annotations"][0]["result"]] == [
        {"start": 0, "end": 10, "text": "Acute gout", "labels": ["Disease"]},
        # One more than in characters, as the smiley has two units.
        {"start": 27, "end": 30, "text": "flu", "labels": ["Sign or Symptom"]},
    ]
    assert second["annotations"] == [{"result": []}]
    assert third["annotations"] == []
    assert done == (3, [])


def test_label_studio_has_classes_and_numbers(tmp_path):
    def results(examples):
        path, _ = written(tmp_path, "o.json", examples)
        tasks = json.loads(path.read_text())
        return [[r["value"] for a in task["annotations"] for r in a["result"]] for task in tasks]

    assert results(CLASSES) == [[{"choices": ["pos"]}], [{"choices": ["neg"]}], []]
    assert results(SETS) == [[{"choices": ["pos", "neg"]}], []]
    assert results(NUMBERS) == [[{"number": 4.5}], [{"number": -1.0}]]


def test_doccano_counts_as_javascript_does_and_says_so(tmp_path):
    path, done = written(tmp_path, "o", [MENTIONS, NO_MENTION, UNLABELLED], to="doccano")
    assert [row.get("label") for row in rows(path)] == [
        [[0, 10, "Disease"], [27, 30, "Sign or Symptom"]],
        [],
        None,
    ]
    assert done.losses == [
        "doccano counts UTF-16 units, read this file again with --offsets utf-16: "
        "2 in 1 example (id 7-0)"
    ]
    path, _ = written(tmp_path, "o", SETS, to="doccano")
    assert [row["label"] for row in rows(path)] == [["pos", "neg"], []]


def test_prodigy_tasks_are_accepted_where_they_are_gold(tmp_path):
    tokenised = Example("t", "IL-2 .", spans=(Span(0, 4, "P"),), tokens=((0, 4), (5, 6)))
    path, _ = written(tmp_path, "o", [tokenised, UNLABELLED], to="prodigy")
    assert rows(path) == [
        {
            "id": "t",
            "text": "IL-2 .",
            "tokens": [
                {"text": "IL-2", "start": 0, "end": 4, "id": 0, "ws": True},
                {"text": ".", "start": 5, "end": 6, "id": 1, "ws": False},
            ],
            "spans": [{"start": 0, "end": 4, "label": "P", "text": "IL-2"}],
            "answer": "accept",
        },
        {"id": "7-2", "text": "Who knows?"},
    ]
    path, _ = written(tmp_path, "o", SETS, to="prodigy")
    assert [(row["accept"], row["answer"]) for row in rows(path)] == [
        (["pos", "neg"], "accept"),
        ([], "accept"),
    ]
    path, _ = written(tmp_path, "o", CLASSES, to="prodigy")
    assert [row.get("label") for row in rows(path)] == ["pos", "neg", None]


def test_spacy_documents(tmp_path):
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    inside = Example("9", "glycoprotein  x", spans=(Span(0, 5, "A"), Span(0, 12, "B")))
    path, done = written(tmp_path, "o.spacy", [MENTIONS, NO_MENTION, UNLABELLED, inside])
    documents = list(DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab))
    assert [document.text for document in documents] == [
        TEXT, "No pain.", "Who knows?", "glycoprotein  x",
    ]  # fmt: skip
    assert [[(e.text, e.label_) for e in document.ents] for document in documents] == [
        [("Acute gout", "Disease"), ("flu", "Sign or Symptom")],
        [],
        [],
        [("glycoprotein", "B")],
    ]
    assert [document.has_annotation("ENT_IOB") for document in documents] == [
        True,
        True,
        False,
        True,
    ]
    assert [line.partition(":")[0] for line in done.losses] == [
        "spacy cannot represent ids, they become row numbers",
        "overlapping spans are left out, of each group the longest is kept",
    ]
    path, _ = written(tmp_path, "c.spacy", SETS)
    documents = list(DocBin().from_disk(path).get_docs(spacy.blank("xx").vocab))
    assert [document.cats for document in documents] == [{"neg": 1, "pos": 1}, {"neg": 0, "pos": 0}]


@given(st.text("a -é\n😀"), st.data())
def test_spacys_words_spell_the_text_and_end_where_spans_do(text, data):
    places = st.integers(0, len(text))
    pairs = data.draw(st.lists(st.tuples(places, places), max_size=3))
    spans = [Span(min(pair), max(pair), "X") for pair in pairs if pair[0] != pair[1]]
    words, blanks = split_words(text, words_of(text), spans)
    assert "".join(word + " " * blank for word, blank in zip(words, blanks, strict=True)) == text
    starts, ends, position = set(), set(), 0
    for word, blank in zip(words, blanks, strict=True):
        starts.add(position)
        ends.add(position + len(word))
        position += len(word) + blank
    assert {span.start for span in spans} <= starts
    assert {span.end for span in spans} <= ends


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(BRCA1-mutated)", ["(", "BRCA1", "-", "mutated", ")"]),
        ("naïve cafe\u0301.", ["naïve", "cafe\u0301", "."]),
        (" 糖尿病 x2\n", ["糖", "尿", "病", "x2"]),
    ],
)
def test_words_do_not_depend_on_the_mentions(text, words):
    assert [text[start:end] for start, end in words_of(text)] == words


def test_arrow_keeps_unlabelled_and_empty_apart(tmp_path):
    datasets = pytest.importorskip("datasets")
    folder, done = written(tmp_path, "o", [MENTIONS, NO_MENTION, UNLABELLED], to="arrow")
    spans = datasets.load_from_disk(str(folder))[:]["spans"]
    assert [span["end"] for span in spans[0]] == [10, 29]
    assert spans[1:] == [[], None]
    assert done == (3, [])


def test_without_spacy_one_line_says_so(tmp_path):
    code = (
        "import sys; sys.modules['spacy'] = None; from pipelines.cli import main; "
        "main(['convert', 'i.jsonl', '--out', 'o.spacy'])"
    )
    written(tmp_path, "i.jsonl", [NO_MENTION, MENTIONS])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "a DocBin is written by spaCy; install it" in done.stderr
    assert not (tmp_path / "o.spacy").exists()


# What a format cannot represent


@pytest.mark.parametrize(
    ("to", "examples", "message"),
    [
        (
            "conll",
            CLASSES,
            "conll cannot represent classes, which is what was read; wanted one of jsonl",
        ),
        ("brat", NUMBERS, "brat cannot represent numbers"),
        ("prodigy", NUMBERS, "prodigy cannot represent numbers"),
        ("xml", CLASSES, "got --to xml; wanted one of jsonl, conll"),
        ("labelstudio", CLASSES, r"\(nearest: label-studio\)"),
        (None, CLASSES, "its ending names no format; wanted one of .jsonl"),
    ],
)
def test_what_cannot_be_written_is_refused(to, examples, message, tmp_path):
    with pytest.raises(UserError, match=message):
        convert(gold_content(examples), tmp_path / "o", to=to)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_files_is_left_alone(tmp_path):
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="a folder that is not empty"):
        written(tmp_path, "o", [NO_MENTION], to="brat")
    assert [path.name for path in tmp_path.iterdir()] == ["o"]


def test_pairs_tokens_groups_and_ids_are_reported(tmp_path):
    example = Example("x", "a-b c", spans=(), tokens=((0, 1), (1, 3), (4, 5)), pair="p", group="g")
    _, done = written(tmp_path, "o.spacy", [example])
    assert [line.partition(" cannot represent ")[2].split(",")[0] for line in done.losses] == [
        "ids",
        "the second text of a pair",
        "the document that a text belongs to",
    ]
    _, done = written(tmp_path, "o.jsonl", [example])
    assert [line.partition(" cannot represent ")[2].split(",")[0] for line in done.losses] == [
        "the document that a text belongs to",
        "tokens",
    ]


def test_endings_choose_formats_and_the_command_lists_them_all():
    assert tuple(FORMATS) == NAMES
    chosen = {
        ending: format_of(f"x/o{ending}").name for f in FORMATS.values() for ending in f.endings
    }
    assert chosen == {ending: f.name for f in FORMATS.values() for ending in f.endings}
    assert format_of("o.JSONL").name == "jsonl"
    assert format_of("o.jsonl", "doccano").name == "doccano"
