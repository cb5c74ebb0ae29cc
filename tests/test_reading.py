"""Inputs as tools export them and people report them: each is read right, or refused with the option that decides."""

import gzip
import json
import re
from pathlib import Path

import pytest

from pipelines.corpora import Columns, read_corpora, read_corpus
from pipelines.errors import UserError


def lines(*rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n"


def task(id, text, *regions, **annotation):
    result = [
        {"type": "labels", "value": {"start": s, "end": e, "text": text[s:e], "labels": labels}}
        for s, e, labels in regions
    ]
    return {"id": id, "data": {"text": text}, "annotations": [{"result": result, **annotation}]}


def bioc(text, *mentions):
    return {
        "documents": [
            {
                "id": "d1",
                "passages": [
                    {"offset": 0, "text": "Title.", "annotations": []},
                    {
                        "offset": 7,
                        "text": text,
                        "annotations": [
                            {
                                "text": text[s:e],
                                "infons": {"type": kind},
                                "locations": [{"offset": s + 7, "length": e - s}],
                            }
                            for s, e, kind in mentions
                        ],
                    },
                ],
            }
        ]
    }


# name -> (file name, content, options, mentions of each text as "string/type" (or its class), a word of the notes)
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
        "1 rows left out: cancelled",
    ),
    "Label Studio, choices": (
        "ls.json",
        json.dumps(
            [
                {
                    "id": n,
                    "data": {"text": text},
                    "annotations": [{"result": [{"type": "choices", "value": {"choices": [label]}}]}],
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
        "1 rows without 'tags' are read as texts without mentions",
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
                    "spans": [{"status": "submitted", "value": [{"start": 0, "end": 4, "label": "D"}]}]
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
    "offsets in UTF-16": (
        "u.jsonl",
        lines(
            {"text": "\U0001f4a9Then gout hurts.", "label": [[7, 11, "D"]]},
            {"text": "Then gout.", "label": [[5, 9, "D"]]},
        ),
        {},
        [["gout/D"], ["gout/D"]],
        None,
    ),
    "offsets in UTF-8": (
        "u.jsonl",
        lines(
            {
                "text": "Café, Ménière und Gicht heute.",
                "entities": [{"start": 21, "end": 26, "type": "D"}],
            }
        ),
        {},
        [["Gicht/D"]],
        None,
    ),
    "offsets that count a line end once": (
        "u.jsonl",
        lines({"text": "One.\r\nThen gout.", "entities": [{"start": 10, "end": 14, "type": "D"}]}),
        {},
        [["gout/D"]],
        None,
    ),
    "CoNLL-U with a range line": (
        "t.conllu",
        "# sent_id = a\n1\tIl\til\tD\t_\t_\t2\td\t_\tO\n2\tmal\tm\tN\t_\t_\t0\tr\t_\tB-S\n"
        "3-4\tdel\t_\t_\t_\t_\t_\t_\t_\tO\n3\tdi\td\tA\t_\t_\t4\tc\t_\tI-S\n4\til\ti\tD\t_\t_\t2\td\t_\tI-S\n",
        {},
        [["mal di il/S"]],
        "1 lines of ranges",
    ),
    "CoNLL-2003, where chunks look like tags": (
        "c.txt",
        "EU NNP I-NP B-ORG\nrejects VBZ I-VP O\nGerman JJ I-NP B-MISC\ncall NN I-NP O\n. . O O\n",
        {},
        [["EU/ORG", "German/MISC"]],
        None,
    ),
    "counted tokens": (
        "r.tsv",
        "1\tGout\tB-D\n2\thurts\tO\n\n3\tFine\tO\n",
        {},
        [["Gout/D"], []],
        None,
    ),
    "nested layers": (
        "g.tsv",
        "#\thttp://a\n1\tDie\tO\tO\n2\tTU\tB-ORG\tO\n3\tBonn\tI-ORG\tB-LOC\n",
        {},
        [["TU Bonn/ORG"]],
        "column 3 holds nested ones",
    ),
    "the inner layer, named": (
        "g.tsv",
        "1\tDie\tO\tO\n2\tTU\tB-ORG\tO\n3\tBonn\tI-ORG\tB-LOC\n",
        {"entities_column": "3"},
        [["Bonn/LOC"]],
        None,
    ),
    "columns that a comment states": (
        "p.conll",
        "# global.columns = ID NER FORM\n1\tB-D\tGout\n2\tO\thurts\n",
        {},
        [["Gout/D"]],
        None,
    ),
    "tags in lower case": ("l.conll", "acute b-d\ngout i-d\nis o\n", {}, [["acute gout/d"]], None),
    "tags with the prefix behind": (
        "s.conll",
        "acute D-B\ngout D-I\nis O\n",
        {},
        [["acute gout/D"]],
        None,
    ),
    "document marks": (
        "d.tsv",
        "-DOCSTART- (1 EU)\nGout\tB-D\nhurts\tO\n\n-DOCSTART- (2)\nNo\tO\n",
        {},
        [["Gout/D"], []],
        None,
    ),
    "a no-break space in a token": (
        "n.conll",
        "10\u00a0mg B-Q\nof O\n",
        {},
        [["10\u00a0mg/Q"]],
        None,
    ),
    "a table with a token a row": (
        "n.csv",
        "Sentence #,Word,POS,Tag\nSentence: 1,Gout,NN,B-D\n,hurts,VB,O\nSentence: 2,No,DT,O\n",
        {},
        [["Gout/D"], []],
        None,
    ),
    "a table of mentions": (
        "s.csv",
        "id,text,entities\n1,Gout hurts,\"[(0, 4, 'D')]\"\n2,no news,[]\n",
        {},
        [["Gout/D"], []],
        None,
    ),
    "lists of classes in a table": (
        "m.csv",
        "id,text,labels\n0,so glad,\"['joy', 'love']\"\n1,awful,['anger']\n2,hm,[]\n",
        {},
        [("joy", "love"), ("anger",), ()],
        None,
    ),
    "Excel's first line": (
        "e.csv",
        "sep=;\ntext;label\nGood, really;pos\nBad;neg\n",
        {},
        ["pos", "neg"],
        None,
    ),
    "pandas's index": (
        "i.csv",
        ",text,label\n0,good day,pos\n1,bad day,neg\n",
        {},
        ["pos", "neg"],
        None,
    ),
    "a text that opens with a bracket": (
        "r.csv",
        "[removed],0\nI like this,1\nno thanks,0\n",
        {},
        ["0", "1", "0"],
        None,
    ),
    "a lone carriage return": (
        "c.csv",
        "text,label\ngood\rfilm,pos\nbad,neg\n",
        {},
        ["pos", "neg"],
        "carriage returns",
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
    "ids that repeat": (
        "t.csv",
        "tweet_id,text,sentiment\n7,a b,pos\n7,c d,neg\n8,e f,pos\n",
        {},
        ["pos", "neg", "pos"],
        "the values of 'tweet_id' repeat",
    ),
    "leading blank lines": (
        "b.jsonl",
        "\n" * 1500 + lines({"text": "Gout.", "entities": ["Gout"]}),
        {},
        [["Gout/Disease"]],
        None,
    ),
    "texts a line": ("t.txt", "One text, with a comma.\nAnother.\n", {}, [None, None], None),
    "numbers": ("v.csv", "text,score\na b,0.5\nc d,2.25\n", {}, [0.5, 2.25], None),
    "classes of numbers": (
        "v.csv",
        "text,score\na b,0.5\nc d,2.25\n",
        {"answer": "label"},
        ["0.5", "2.25"],
        None,
    ),
    "hidden classes of a test set": (
        "h.jsonl",
        lines({"text": "a", "label": -1}, {"text": "b", "label": -1}),
        {},
        [None, None],
        "-1 in every row",
    ),
}

# name -> (file name, content, options, what the refusal says)
REFUSED = {
    "half-open or inclusive": (
        "z.jsonl",
        lines({"text": "他得了糖尿病很久", "label": [[3, 5, "D"]]}),
        {},
        r"character offsets \(half-open\) or .*inclusive ends\).*--ends half-open or inclusive",
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
    "a DocBin that is none": ("d.spacy", b"no DocBin", {}, "DocBin"),
}

# name -> (file name, content, kind of the only fault, a word of it)
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
                        {"result": [{"type": "labels", "value": {"start": 0, "end": 3, "labels": ["P"]}}]},
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
        "'text' stands twice",
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


def written(folder: Path, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def answer_of(example):
    if example.spans is not None:
        return [f"{example.text[span.start : span.end]}/{span.label}" for span in example.spans]
    return example.label


@pytest.mark.parametrize("name", READ)
def test_what_is_certain_is_read_and_said(name, tmp_path):
    file, content, options, wanted, note = READ[name]
    corpus = read_corpus(written(tmp_path, file, content), columns=Columns(**options))
    assert [answer_of(example) for example in corpus.examples] == wanted
    assert not [fault for fault in corpus.faults if not fault.is_warning]
    assert note is None or any(note in line for line in corpus.notes)
    assert corpus.first_example()


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


def test_a_column_of_one_class_is_still_the_label(tmp_path):
    path = written(tmp_path, "n.jsonl", lines(*({"text": f"text {n}", "label": "neg"} for n in range(3))))
    assert [answer_of(example) for example in read_corpus(path).examples] == ["neg"] * 3
    path = written(tmp_path, "c.csv", "text,classes\na fine film,pos\na dull film,neg\n")
    assert [answer_of(example) for example in read_corpus(path).examples] == ["pos", "neg"]


def test_a_folder_of_brat(tmp_path):
    written(tmp_path, "a.txt", "Gout hurts.\r\nFlu too.")
    written(
        tmp_path,
        "a.ann",
        "T1\tD 0 4\tGout\nT2\tD 13 16\tFlu\nR1\tx Arg1:T1 Arg2:T2\n#1\tNote T1\thm\n",
    )
    written(tmp_path, "b.txt", "Never annotated.")
    corpus = read_corpus(tmp_path)
    assert [answer_of(example) for example in corpus.examples] == [["Gout/D", "Flu/D"]]
    assert "1 texts without .ann were left out: b.txt" in corpus.notes[0]


def test_two_files_of_one_run_are_read_in_one_notation(tmp_path):
    def ends(name, *rows):
        return written(tmp_path, name, lines(*({"tokens": tokens, "ner": spans} for tokens, spans in rows)))

    inclusive = ends("train.jsonl", (["Ada", "saw", "Bob"], [[0, 0, "P"], [2, 2, "P"]]))
    either = ends("dev.jsonl", (["Alan", "Turing", "left"], [[0, 1, "P"]]))
    corpora = read_corpora({"train": inclusive, "dev": either})
    assert answer_of(corpora["dev"].examples[0]) == ["Alan Turing/P"]
    half_open = ends("test.jsonl", (["Ada", "saw", "Bob"], [[0, 1, "P"], [2, 3, "P"]]))
    with pytest.raises(UserError, match=r"(train|test)\.jsonl has .*, but .* has"):
        read_corpora({"train": inclusive, "test": half_open})


def test_gzip_has_a_limit(tmp_path):
    path = written(tmp_path, "t.txt.gz", gzip.compress(b"a text\n" * 300_000))
    with pytest.raises(UserError, match="unpacks to more than 1 MiB; --max_unzipped"):
        read_corpus(path, columns=Columns(max_unzipped=1))
    assert read_corpus(path).n_rows == 300_000


def test_what_a_document_is_comes_from_its_mark_or_a_column(tmp_path):
    marked = written(tmp_path, "d.tsv", "-DOCSTART-\nGout\tB-D\n\nFlu\tB-D\n\n-DOCSTART-\nNo\tO\n")
    assert [e.group for e in read_corpus(marked).examples] == [
        "document 1",
        "document 1",
        "document 2",
    ]
    table = written(tmp_path, "t.csv", "text,label,paper\na b,x,7\nc d,y,8\n")
    assert [e.group for e in read_corpus(table, columns=Columns(group_column="paper")).examples] == ["7", "8"]
