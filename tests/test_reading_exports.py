"""Exports of annotation tools and data sets: each is read right, its annotation status honoured."""

import json

import pytest
from reading_inputs import answer_of, bioc, lines, task, written

from pipelines.corpora import Columns, read_corpus

# name -> (file name, content, options, mentions of each text as "string/type" (or its class), a
# part of the notes)
READ = {
    "Label Studio, cancelled and never annotated": (
        "ls.json",
        json.dumps(
            [
                task(1, "Gout hurts.", (0, 4, ["D"])),
                task(2, "Flu.", was_cancelled=True),
                {"id": 3, "data": {"text": "Cold."}, "annotations": []},
                task(4, "Fine."),
            ]
        ),
        {},
        [["Gout/D"], []],
        "1 row left out: cancelled",
    ),
    "Label Studio, choices": (
        "ls.json",
        json.dumps(
            [
                {
                    "id": n,
                    "data": {"text": text},
                    "annotations": [
                        {"result": [{"type": "choices", "value": {"choices": [label]}}]}
                    ],
                }
                for n, (text, label) in enumerate([("good", "pos"), ("bad", "neg")])
            ]
        ),
        {},
        ["pos", "neg"],
        None,
    ),
    "Label Studio, regions and choices": (
        "ls.json",
        json.dumps(
            [
                {
                    "id": 1,
                    "data": {"text": "Gout hurts."},
                    "annotations": [
                        {
                            "result": [
                                {
                                    "type": "labels",
                                    "value": {
                                        "start": 0,
                                        "end": 4,
                                        "text": "Gout",
                                        "labels": ["D"],
                                    },
                                },
                                {"type": "choices", "value": {"choices": ["bad"]}},
                                {"type": "relation"},
                            ]
                        }
                    ],
                }
            ]
        ),
        {},
        [["Gout/D"]],
        "--label_column choices",
    ),
    "JSON-MIN without the key where there is no mention": (
        "min.json",
        json.dumps(
            [
                {
                    "id": 1,
                    "text": "Gout hurts.",
                    "tags": [{"start": 0, "end": 4, "text": "Gout", "labels": ["D"]}],
                    "annotator": 1,
                },
                {"id": 2, "text": "Fine.", "annotator": 1},
            ]
        ),
        {},
        [["Gout/D"], []],
        "1 row without 'tags', read as texts without mentions",
    ),
    "Prodigy, rejected and ignored": (
        "p.jsonl",
        lines(
            {
                "text": "Gout hurts.",
                "spans": [{"start": 0, "end": 4, "label": "D"}],
                "answer": "accept",
            },
            {"text": "Apple.", "spans": [{"start": 0, "end": 5, "label": "D"}], "answer": "reject"},
            {"text": "Eh.", "spans": [], "answer": "ignore"},
        ),
        {},
        [["Gout/D"]],
        "rejected",
    ),
    "Prodigy, choices": (
        "c.jsonl",
        lines(
            *(
                {
                    "text": text,
                    "options": [{"id": "a"}, {"id": "b"}],
                    "accept": [label],
                    "config": {"choice_style": "single"},
                    "answer": "accept",
                }
                for text, label in (("one", "a"), ("two", "b"))
            )
        ),
        {},
        ["a", "b"],
        None,
    ),
    "doccano with the text in data": (
        "d.jsonl",
        lines(
            {"id": 1, "data": "gout hurts", "label": [[0, 4, "D"]]},
            {"id": 2, "data": "no", "label": []},
        ),
        {},
        [["gout/D"], []],
        None,
    ),
    "doccano, classes": (
        "d.jsonl",
        lines(
            {"id": 1, "text": "a match", "label": ["sport"]},
            {"id": 2, "text": "a song at the match", "label": ["sport", "music"]},
        ),
        {},
        [("sport",), ("music", "sport")],
        None,
    ),
    "Argilla, discarded": (
        "a.jsonl",
        lines(
            {
                "fields": {"text": "gout hurts"},
                "responses": {
                    "spans": [
                        {"status": "submitted", "value": [{"start": 0, "end": 4, "label": "D"}]}
                    ]
                },
            },
            {
                "fields": {"text": "flu"},
                "responses": {"spans": [{"status": "discarded", "value": None}]},
            },
            {"fields": {"text": "no"}, "responses": {}},
        ),
        {},
        [["gout/D"]],
        "discarded",
    ),
    "Argilla of old": (
        "a.jsonl",
        lines(
            {"text": "gout hurts", "annotation": [["D", 0, 4]], "status": "Validated"},
            {"text": "flu", "annotation": None, "status": "Default"},
        ),
        {},
        [["gout/D"]],
        "never annotated",
    ),
    "GLiNER": (
        "g.json",
        json.dumps([{"tokenized_text": ["Ada", "Lovelace", "wrote"], "ner": [[0, 1, "person"]]}]),
        {},
        [["Ada Lovelace/person"]],
        None,
    ),
    "BioC": ("b.json", json.dumps(bioc("Gout hurts.", (0, 4, "D"))), {}, [["Gout/D"]], None),
    "CLUENER, ends inclusive": (
        "c.jsonl",
        lines(
            {
                "text": "张三在北京",
                "label": {"name": {"张三": [[0, 1]]}, "address": {"北京": [[3, 4]]}},
            }
        ),
        {},
        [["张三/name", "北京/address"]],
        None,
    ),
    "the datasets server": (
        "r.json",
        json.dumps(
            {
                "features": [{"name": "ner_tags", "type": {"feature": {"names": ["O", "B-D"]}}}],
                "rows": [{"row_idx": 0, "row": {"tokens": ["gout", "hurts"], "ner_tags": [1, 0]}}],
            }
        ),
        {},
        [["gout/D"]],
        None,
    ),
    "pairs, one without a majority": (
        "s.jsonl",
        lines(
            {
                "gold_label": "yes",
                "annotator_labels": ["yes"],
                "sentence1": "a b",
                "sentence2": "c d",
            },
            {
                "gold_label": "-",
                "annotator_labels": ["no", "yes"],
                "sentence1": "e",
                "sentence2": "f",
            },
            {"gold_label": "no", "annotator_labels": ["no"], "sentence1": "g", "sentence2": "h"},
        ),
        {},
        ["yes", "no"],
        "no majority",
    ),
}


@pytest.mark.parametrize("name", READ)
def test_an_export_is_read(name, tmp_path):
    file, content, options, wanted, note = READ[name]
    corpus = read_corpus(written(tmp_path, file, content), columns=Columns(**options))
    assert [answer_of(example) for example in corpus.examples] == wanted
    assert not [fault for fault in corpus.faults if not fault.is_warning]
    assert note is None or any(note in line for line in corpus.notes)
    assert corpus.first_example()
