"""Inputs as people report them: refused with the option that decides, or a fault of one row."""

import json
import re

import pytest
from reading_inputs import lines, task, written

from pipelines.corpora import Columns, read_corpus
from pipelines.errors import UserError

# name -> (file name, content, options, what the refusal says)
REFUSED = {
    "half-open or inclusive": (
        "z.jsonl",
        lines({"text": "他得了糖尿病很久", "label": [[3, 5, "D"]]}),
        {},
        r"character offsets \(half-open\) or .*inclusive ends\).*--ends half-open or inclusive",
    ),
    "ends and units, named at once": (
        "z.jsonl",
        lines({"text": "\U0001f4a9他得了糖尿病很久", "label": [[3, 5, "D"]]}),
        {},
        "--ends half-open or inclusive and --offsets character or utf-16$",
    ),
    "tokens, half-open or inclusive": (
        "t.json",
        json.dumps([{"tokens": ["Alan", "Turing", "moved", "away"], "spans": [[0, 1, "P"]]}]),
        {},
        "--ends",
    ),
    "two layers of tags": (
        "c.conll",
        "Gout B-D O\nand O O\nflu O B-V\n",
        {},
        "columns 1 and 2 hold tags; .*--entities_col",
    ),
    "gold and predicted tags": (
        "c.conll",
        "Gout B-D B-D\nand O O\nflu B-D O\n",
        {},
        "columns 1 and 2 hold tags",
    ),
    "two columns of mentions": (
        "m.json",
        json.dumps([{"text": "Gout.", "ner_a": [[0, 4, "D"]], "ner_b": [[0, 4, "E"]]}]),
        {},
        "'ner_a' or 'ner_b'; .*--entities_column",
    ),
    "two columns of classes": (
        "c.csv",
        "text,topic,sentiment\na b,x,p\nc d,y,n\n",
        {},
        "'topic' or 'sentiment'.*--label_col",
    ),
    "two columns of texts": (
        "c.csv",
        "eins,zwei,label\na b,c d,p\ne f,g h,n\n",
        {},
        "'eins' or 'zwei'; .*--text_column",
    ),
    "mentions and classes": (
        "b.jsonl",
        lines(
            {"text": "Gout hurts.", "entities": [[0, 4, "D"]], "label": "x"},
            {"text": "Fine.", "entities": [], "label": "y"},
        ),
        {},
        "--answer spans or",
    ),
    "one class only": (
        "o.csv",
        "text,label\n" + "".join(f"text {n},x\n" for n in range(5)),
        {},
        "--label_column label",
    ),
    "classes where mentions are asked for": (
        "c.csv",
        "text,label\ngood,pos\nbad,neg\n",
        {"answer": "spans"},
        "got classes in 'label'; wanted mentions.*finetune_classifier",
    ),
    "mentions where classes are asked for": (
        "m.json",
        json.dumps([{"text": "Gout.", "entities": [[0, 4, "D"]]}]),
        {"answer": "label"},
        "got mentions in 'entities'.*--mention_type",
    ),
    "offsets that cut words everywhere": (
        "x.jsonl",
        lines(
            {"text": "Then gout hurts.", "entities": [{"start": 3, "end": 7}]},
            {"text": "Then asthma is worse.", "entities": [{"start": 2, "end": 7}]},
        ),
        {},
        "cut words",
    ),
    "a mention's own text as its type": (
        "o.jsonl",
        lines(
            {
                "text": "Ada saw Bob.",
                "entities": [
                    {"start": 0, "end": 3, "label": "Ada"},
                    {"start": 8, "end": 11, "label": "Bob"},
                ],
            }
        ),
        {},
        "their own text as their type",
    ),
    "columns of addresses": (
        "u.csv",
        "id,url\n" + "".join(f"{n},http://a.de/{n}\n" for n in range(12)),
        {},
        "--text_column",
    ),
    "a chat": (
        "s.json",
        json.dumps([{"id": "u0", "conversations": [{"from": "human", "value": "x"}]}]),
        {},
        "no column with the text; it has id, conversations",
    ),
    "brat without its texts": (
        "b.ann",
        "T1\tDisease 0 4\tgout\n",
        {},
        "give the folder that holds the .txt files",
    ),
    "Windows-1252": ("w.csv", b"text,label\ncaf\xe9,a\n", {}, "iconv"),
    "a broken DocBin": ("d.spacy", b"no DocBin", {}, "DocBin"),
}

# name -> (file name, content, kind of the only fault, a part of its message)
FAULTY = {
    "two labels of one region": (
        "l.json",
        json.dumps([task(1, "Ada.", (0, 3, ["P", "A"])), task(2, "Bob.", (0, 3, ["P"]))]),
        "overlapping_spans",
        "as A and as P|as P and as A",
    ),
    "annotators who disagree": (
        "l.json",
        json.dumps(
            [
                {
                    "id": 1,
                    "data": {"text": "Ada."},
                    "annotations": [
                        {
                            "result": [
                                {"type": "labels", "value": {"start": 0, "end": 3, "labels": ["P"]}}
                            ]
                        },
                        {"result": []},
                    ],
                },
                task(2, "Bob.", (0, 3, ["P"])),
            ]
        ),
        "annotators_disagree",
        "task 1",
    ),
    "a key twice": (
        "k.jsonl",
        '{"text": "Gout.", "text": "Flu.", "label": "a"}\n{"text": "x y", "label": "b"}\n'
        '{"text": "z", "label": "a"}\n',
        "duplicate_key",
        "'text' occurs twice",
    ),
    "a misaligned token": (
        "b.jsonl",
        lines({"tokens": ["gout"], "tags": ["U-D"]}, {"tokens": ["a", "b"], "tags": ["-", "O"]}),
        "unknown_tag",
        "'-' is no",
    ),
    "a control character in a class": (
        "e.jsonl",
        lines({"text": "a", "label": "x\u001b[2J"}, {"text": "b", "label": "y"}),
        "control_character",
        r"x\\x1b",
    ),
    "half a surrogate pair in a type": (
        "s.jsonl",
        '{"text": "Ada.", "entities": [{"start": 0, "end": 3, "type": "\\ud800"}]}\n'
        '{"text": "Bob.", "entities": [{"start": 0, "end": 3, "type": "P"}]}\n',
        "control_character",
        "ud800",
    ),
    "a class that is NaN": (
        "n.jsonl",
        '{"text": "a", "label": ["x", NaN]}\n{"text": "b", "label": ["y"]}\n',
        "wrong_type",
        "wanted a class",
    ),
    "a token that is NaN": (
        "n.jsonl",
        '{"tokens": ["a", NaN], "tags": ["O", "O"]}\n{"tokens": ["b"], "tags": ["B-D"]}\n',
        "wrong_type",
        "token 1",
    ),
    "pieces": (
        "d.jsonl",
        lines(
            {
                "text": "lung and colon cancer",
                "entities": [{"type": "D", "offsets": [[0, 4], [15, 21]]}],
            },
            {"text": "gout", "entities": [{"type": "D", "offsets": [[0, 4]]}]},
        ),
        "discontinuous_span",
        "2 pieces",
    ),
    "a deep value": (
        "d.json",
        '[{"text": "a b", "entities": '
        + '{"a": ' * 60
        + "1"
        + "}" * 60
        + '}, {"text": "Gout.", "entities": ["Gout"]}]',
        "wrong_type",
        "deep",
    ),
    "a number of 5,000 digits": (
        "p.txt",
        f"1|t|Ataxia.\n1\t0\t{'9' * 5000}\tAtaxia\tD\n\n2|t|Gout.\n2\t0\t4\tGout\tD\n",
        "unreadable_row",
        "is no line of this document",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_certain_is_refused_with_the_option_that_decides(name, tmp_path):
    file, content, options, said = REFUSED[name]
    with pytest.raises(UserError, match=said) as refused:
        read_corpus(written(tmp_path, file, content), columns=Columns(**options))
    assert file in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", FAULTY)
def test_faults_of_rows_are_named(name, tmp_path):
    file, content, kind, said = FAULTY[name]
    corpus = read_corpus(written(tmp_path, file, content))
    assert len(corpus.examples) == corpus.n_rows - 1 > 0
    [fault] = [fault for fault in corpus.faults if not fault.is_warning]
    assert fault.kind == kind
    assert re.search(said, str(fault))
    assert str(fault).isprintable()
