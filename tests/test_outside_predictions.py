"""Answers of outside systems in their own forms, each worked by hand, and what is refused."""

import gzip
import json

import pytest
from conftest import run_python

from pipelines.corpora.corpus import Columns
from pipelines.corpora.predictions import read_any_predictions, read_predictions
from pipelines.corpora.writing import write_predictions
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Prediction, Span

TEXTS = ("Gout hurts Ada.", "No pain.", "Lung cancer in Genève")
EXAMPLES = [Example(id, text) for id, text in zip("abc", TEXTS, strict=True)]
GOUT, ADA, CANCER = Span(0, 4, "Disease"), Span(11, 14, "Person"), Span(0, 11, "Disease")
FOUND = [[(GOUT, "Gout", 0.9), (ADA, "Ada", 0.5)], [], [(CANCER, "Lung cancer", 0.25)]]
EXPECTED = [
    Prediction("a", spans=(GOUT, ADA)),
    Prediction("b", spans=()),
    Prediction("c", spans=(CANCER,)),
]


def listed(make):
    return [[make(*mention) for mention in mentions] for mentions in FOUND]


def grouped(span, word, score):
    return {
        "entity_group": span.label,
        "score": score,
        "word": word.lower(),
        "start": span.start,
        "end": span.end,
    }


def gliner(span, word, score):
    return {"start": span.start, "end": span.end, "text": word, "label": span.label, "score": score}


def langextract(span, word, score):
    interval = {"start_pos": span.start, "end_pos": span.end}
    return {"extraction_class": span.label, "extraction_text": word, "char_interval": interval}


def lines(rows):
    return "\n".join(json.dumps(row) for row in rows) + "\n"


def with_ids(rows, key="id", holder="entities", ids="abc"):
    return [{key: id, holder: row} for id, row in zip(ids, rows, strict=True)]


def documents():
    rows = with_ids(listed(langextract), "document_id", "extractions", ["doc_1", "doc_2", "doc_3"])
    return [row | {"text": text} for row, text in zip(rows, TEXTS, strict=True)]


ENTITIES = {
    "hf.json": (json.dumps(listed(grouped)), "entity groups"),
    "hf.jsonl": (lines(listed(grouped)), "entity groups"),
    "hf_ids.jsonl": (lines(with_ids(listed(grouped))), "entity groups"),
    "gliner.json": (json.dumps(listed(gliner), indent=1), "GLiNER"),
    "gliner.jsonl": (lines(listed(gliner)), "GLiNER"),
    "langextract.jsonl": (lines(documents()), "langextract"),
}


@pytest.mark.parametrize("name", ENTITIES)
def test_mentions_in_each_form(name, tmp_path, caplog):
    content, form = ENTITIES[name]
    (tmp_path / name).write_text(content)
    read = read_any_predictions(tmp_path / name, EXAMPLES)
    assert [(p.id, p.spans) for p in read] == [(p.id, p.spans) for p in EXPECTED]
    scores = [span.score for prediction in read for span in prediction.spans]
    assert scores == ([None] * 3 if "langextract" in name else [0.9, 0.5, 0.25])
    [said] = caplog.messages
    assert said.startswith(f"{tmp_path / name}: read as ")
    assert form in said


def test_without_examples_answers_get_row_numbers(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(listed(grouped)))
    assert [p.id for p in read_any_predictions(tmp_path / "p.json")] == ["0", "1", "2"]
    (tmp_path / "p.jsonl").write_text(lines(with_ids(listed(grouped))))
    assert [p.id for p in read_any_predictions(tmp_path / "p.jsonl")] == ["a", "b", "c"]


def test_one_list_is_the_answer_to_one_text(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(listed(grouped)[0]))
    assert read_any_predictions(tmp_path / "p.json", EXAMPLES[:1]) == EXPECTED[:1]
    with pytest.raises(UserError, match="1 answers without ids for 3 examples"):
        read_any_predictions(tmp_path / "p.json", EXAMPLES)


def test_tagged_pieces_of_words_are_joined(tmp_path):
    def piece(entity, index, start, end, score):
        place = {"index": index, "start": start, "end": end}
        return {"entity": entity, "score": score, "word": "##x", **place}

    pieces = [
        piece("B-Disease", 1, 0, 4, 0.8),
        piece("I-Disease", 2, 5, 8, 0.6),
        piece("I-Disease", 3, 8, 11, 0.1),
        piece("B-Disease", 4, 12, 14, 1.0),  # B opens another mention
        piece("I-Place", 5, 15, 18, 1.0),
        piece("I-Place", 7, 18, 21, 1.0),  # the piece between them is O
    ]
    (tmp_path / "p.json").write_text(json.dumps([[], [], pieces]))
    read = read_any_predictions(tmp_path / "p.json", EXAMPLES)[2].spans
    assert read == (
        Span(0, 11, "Disease"),
        Span(12, 14, "Disease"),
        Span(15, 18, "Place"),
        Span(18, 21, "Place"),
    )
    assert [span.score for span in read] == pytest.approx([0.5, 1.0, 1.0, 1.0])


def test_langextract_keeps_what_it_could_not_place(tmp_path):
    rows = documents()
    rows[1]["extractions"] = [
        {"extraction_class": "Disease", "extraction_text": "fever", "char_interval": None},
        {
            "extraction_class": "Disease",
            "extraction_text": "pains",
            "char_interval": {"start_pos": 3, "end_pos": 7},
            "alignment_status": "match_fuzzy",
        },
    ]
    (tmp_path / "p.jsonl").write_text(lines(rows))
    answer = read_any_predictions(tmp_path / "p.jsonl", EXAMPLES)[1]
    assert answer.spans == (Span(3, 7, "Disease"),)
    assert [(m["string"], m["status"], m["place"]) for m in answer.mentions] == [
        ("fever", "not_in_text", None),
        ("pains", "match_fuzzy", [3, 7]),
    ]


BEST = [{"label": "x", "score": 0.75}, {"label": "y", "score": 0.5}, {"label": "x", "score": 0.625}]
ALL = [
    [{"label": "y", "score": 0.25}, {"label": "x", "score": 0.75}],
    [{"label": "y", "score": 0.5}, {"label": "x", "score": 0.5}],
    [{"label": "x", "score": 0.625}, {"label": "y", "score": 0.375}],
]


@pytest.mark.parametrize("content", [json.dumps(BEST), lines(BEST)])
def test_the_best_class_of_each_text(content, tmp_path):
    (tmp_path / "p.json").write_text(content)
    read = read_any_predictions(tmp_path / "p.json", EXAMPLES)
    assert read == [Prediction(id, label=label) for id, label in zip("abc", "xyx", strict=True)]


@pytest.mark.parametrize("content", [json.dumps(ALL), lines(ALL)])
def test_scores_of_all_classes(content, tmp_path):
    (tmp_path / "p.json").write_text(content)
    read = read_any_predictions(tmp_path / "p.json", EXAMPLES)
    assert [p.label for p in read] == ["x", "y", "x"]
    assert read[0].scores == {"x": 0.75, "y": 0.25}


def test_several_classes_a_text_are_those_from_a_half_up(tmp_path):
    (tmp_path / "p.json").write_text(json.dumps(ALL))
    examples = [Example(id, "", label=("x",)) for id in "abc"]
    read = read_any_predictions(tmp_path / "p.json", examples)
    assert [p.label for p in read] == [("x",), ("y", "x"), ("x",)]
    independent = [[{"label": "x", "score": 0.9}, {"label": "y", "score": 0.8}]]
    (tmp_path / "p.json").write_text(json.dumps(independent))
    assert read_any_predictions(tmp_path / "p.json")[0].label == ("x", "y")


def test_columns_of_tokens_with_the_predicted_tag_last(tmp_path):
    (tmp_path / "p.txt").write_text(
        "Gout B-Disease O\nhurts O O\nAda B-Person B-Person\n. O O\n\n"
        "No O O\npain O B-Disease\n. O O\n\n"
        "Lung B-Disease B-Disease\ncancer I-Disease I-Disease\nin O O\nGenève O B-Place\n"
    )
    assert read_any_predictions(tmp_path / "p.txt", EXAMPLES) == [
        Prediction("a", spans=(ADA,)),
        Prediction("b", spans=(Span(3, 7, "Disease"),)),
        Prediction("c", spans=(CANCER, Span(15, 21, "Place"))),
    ]
    (tmp_path / "p.conll").write_text("# id = b\nNo\tO\npain\tB-Disease\n.\tO\n")
    assert read_any_predictions(tmp_path / "p.conll", EXAMPLES) == [
        Prediction("b", spans=(Span(3, 7, "Disease"),))
    ]
    # Without a text the tokens are joined by one blank.
    assert read_any_predictions(tmp_path / "p.conll") == [
        Prediction("b", spans=(Span(3, 7, "Disease"),))
    ]


def test_a_folder_of_brat_documents(tmp_path):
    for id, text in zip("abc", TEXTS, strict=True):
        (tmp_path / f"{id}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "a.ann").write_text("T1\tDisease 0 4\tGout\nT2\tPerson 11 14\tAda\n")
    (tmp_path / "b.ann").write_text("")
    (tmp_path / "c.ann").write_text("T1\tDisease 0 11\tLung cancer\n")
    assert read_any_predictions(tmp_path, EXAMPLES) == EXPECTED
    (tmp_path / "c.ann").write_text("T1\tDisease 0 4;15 21\tLung Genève\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"T1 .*is in pieces"):
        read_any_predictions(tmp_path, EXAMPLES)


def test_spacy_documents(tmp_path):
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    model, mentions, classes = spacy.blank("xx"), DocBin(), DocBin()
    for example, prediction in zip(EXAMPLES, EXPECTED, strict=True):
        document = model.make_doc(example.text)
        places = [(span.start, span.end, span.label) for span in prediction.spans]
        document.ents = [document.char_span(*place) for place in places]
        mentions.add(document)
        document.cats = {"x": 0.25, "y": 0.375, "z": 0.375 if example.id == "a" else 0.1}
        classes.add(document)
    mentions.to_disk(tmp_path / "m.spacy")
    classes.to_disk(tmp_path / "c.spacy")
    assert read_any_predictions(tmp_path / "m.spacy", EXAMPLES) == EXPECTED
    labelled = [Example(example.id, example.text, label="x") for example in EXAMPLES]
    read = read_any_predictions(tmp_path / "c.spacy", labelled)
    assert [p.label for p in read] == ["y", "y", "y"]  # the best one, though none reaches a half
    assert read[0].scores == pytest.approx({"x": 0.25, "y": 0.375, "z": 0.375})


@pytest.mark.parametrize("name", ["hf.json", "gliner.jsonl", "langextract.jsonl"])
def test_answers_to_other_texts_are_refused(name, tmp_path):
    (tmp_path / name).write_text(ENTITIES[name][0])
    others = [EXAMPLES[2], *EXAMPLES[:2]]
    with pytest.raises(DataError, match=r"example c\b.*(\n.*)*they answer other texts"):
        read_any_predictions(tmp_path / name, others)
    with pytest.raises(UserError, match=r"3 answers .* for 2 examples; wanted one for each"):
        read_any_predictions(tmp_path / name, EXAMPLES[:2])


def test_tokens_that_are_not_those_of_the_text_are_refused(tmp_path):
    (tmp_path / "p.txt").write_text("Gout O\nhurts O\nBob O\n. O\n\nNo O\npain O\n. O\n\nLung O\n")
    with pytest.raises(DataError) as raised:
        read_any_predictions(tmp_path / "p.txt", EXAMPLES)
    first, second, _ = str(raised.value).splitlines()
    assert first.endswith("line 1: the token 'Bob' is not what the example a has at 11: 'Ada.'")
    assert second.endswith("line 10: its 1 tokens end before the text of the example c, at 4")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[{"entity_group": "X", "start": None, "end": None, "word": "x"}]], "without offsets"),
        ([[{"entity_group": "X", "start": 0, "end": 1.5}]], "not a whole number"),
        ([[{"start": 0, "end": 1, "label": 7}]], "the label is 7; wanted a name"),
        ([[{"start": 0, "end": 1, "label": "X", "score": "high"}]], "the score is 'high'"),
        ([[{"label": "x", "score": 0.5}, {"label": "x", "score": 0.5}]], "two scores"),
        ([{"id": ["a"], "entities": []}], '"id" is'),
        ([{"id": "a", "entities": 7}], "the mentions are 7; wanted a list"),
        ([{"text": "x", "extractions": [7]}], "an extraction without"),
    ],
)
def test_a_bad_row_is_named(rows, message, tmp_path):
    (tmp_path / "p.jsonl").write_text(lines([*rows, *rows]))
    with pytest.raises(DataError) as raised:
        read_any_predictions(tmp_path / "p.jsonl")
    heading, *faults = str(raised.value).splitlines()
    assert "was read as" in heading
    assert [", line 1" in faults[0], ", line 2" in faults[1], len(faults)] == [True, True, 2]
    assert message in faults[0]


def test_a_line_that_is_no_json_is_named_among_good_ones(tmp_path):
    (tmp_path / "p.jsonl").write_text(lines(listed(gliner)) + '[{"start": 0, "start": 1}]\n[{\n')
    with pytest.raises(DataError) as raised:
        read_any_predictions(tmp_path / "p.jsonl")
    _, twice, cut = str(raised.value).splitlines()
    assert "line 4: the key 'start' occurs twice" in twice
    assert "line 5: " in cut


def test_the_columns_of_the_gold_file_are_not_those_of_the_answers(tmp_path, caplog):
    (tmp_path / "p.txt").write_text("No O O\npain O B\n. O O\n")
    columns = Columns(text_column="text", entities_column="1", default_type="Symptom")
    read = read_any_predictions(tmp_path / "p.txt", columns=columns, quiet=True)
    assert read == [Prediction("0", spans=(Span(3, 7, "Symptom"),))]
    assert caplog.messages == []


def test_our_own_form_is_read_without_a_word(tmp_path, caplog):
    write_predictions(tmp_path / "p.jsonl", EXPECTED)
    assert read_any_predictions(tmp_path / "p.jsonl", EXAMPLES) == EXPECTED
    assert caplog.messages == []
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    (tmp_path / "p.json").write_text(json.dumps(rows))
    assert read_any_predictions(tmp_path / "p.json", EXAMPLES) == EXPECTED


@pytest.mark.parametrize(
    ("content", "message"),
    [("once upon a time\n", "no predictions in a form"), ("[]", "holds no prediction")],
)
def test_what_is_none_of_the_forms_is_refused(content, message, tmp_path):
    (tmp_path / "p.txt").write_text(content)
    with pytest.raises(UserError, match=message):
        read_any_predictions(tmp_path / "p.txt")


def test_vote_takes_the_answers_of_outside_systems(tmp_path):
    (tmp_path / "texts.jsonl").write_text(
        lines([{"id": example.id, "text": example.text} for example in EXAMPLES])
    )
    write_predictions(tmp_path / "ours.jsonl", EXPECTED)
    (tmp_path / "hf.json").write_text(json.dumps(listed(grouped)))
    (tmp_path / "gliner.json.gz").write_bytes(gzip.compress(json.dumps(listed(gliner)).encode()))
    arguments = ["vote", "ours.jsonl", "hf.json", "gliner.json.gz", "--out", "o.jsonl"]
    done = run_python("-m", "pipelines.cli", *arguments, "--texts", "texts.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "hf.json: read as entity groups" in done.stderr
    assert "gliner.json.gz: read as mentions with their text (GLiNER)" in done.stderr
    joint = read_predictions(tmp_path / "o.jsonl")
    assert joint == [
        Prediction("a", spans=(GOUT, ADA)),
        Prediction("b", spans=()),
        Prediction("c", spans=()),  # (1 + 0.25 + 0.25) / 3 is no more than a half
    ]
    done = run_python("-m", "pipelines.cli", *arguments, cwd=tmp_path)
    assert done.returncode == 2  # without the texts they have row numbers, which are no ids of ours
