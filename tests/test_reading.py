"""Tables, columns of tokens and offsets as people report them: each is read right."""

import gzip

import pytest
from reading_inputs import answer_of, lines, written

from pipelines.corpora import Columns, read_corpora, read_corpus
from pipelines.errors import UserError

# name -> (file name, content, options, mentions of each text as "string/type" (or its class), a
# part of the notes)
READ = {
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
        "1 line of ranges",
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


@pytest.mark.parametrize("name", READ)
def test_what_is_certain_is_read_and_said(name, tmp_path):
    file, content, options, wanted, note = READ[name]
    corpus = read_corpus(written(tmp_path, file, content), columns=Columns(**options))
    assert [answer_of(example) for example in corpus.examples] == wanted
    assert not [fault for fault in corpus.faults if not fault.is_warning]
    assert note is None or any(note in line for line in corpus.notes)
    assert corpus.first_example()


def test_a_column_of_one_class_is_still_the_label(tmp_path):
    path = written(
        tmp_path, "n.jsonl", lines(*({"text": f"text {n}", "label": "neg"} for n in range(3)))
    )
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
    assert "1 text without .ann left out: b.txt" in corpus.notes[0]


def test_two_files_of_one_run_are_read_in_one_notation(tmp_path):
    def ends(name, *rows):
        return written(
            tmp_path, name, lines(*({"tokens": tokens, "ner": spans} for tokens, spans in rows))
        )

    inclusive = ends("train.jsonl", (["Ada", "saw", "Bob"], [[0, 0, "P"], [2, 2, "P"]]))
    either = ends("dev.jsonl", (["Alan", "Turing", "left"], [[0, 1, "P"]]))
    corpora = read_corpora({"train": inclusive, "dev": either})
    assert answer_of(corpora["dev"].examples[0]) == ["Alan Turing/P"]
    half_open = ends("test.jsonl", (["Ada", "saw", "Bob"], [[0, 1, "P"], [2, 3, "P"]]))
    with pytest.raises(UserError, match=r"(train|test)\.jsonl has .*, but .* has"):
        read_corpora({"train": inclusive, "test": half_open})


@pytest.mark.slow
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
    assert [
        e.group for e in read_corpus(table, columns=Columns(group_column="paper")).examples
    ] == ["7", "8"]
