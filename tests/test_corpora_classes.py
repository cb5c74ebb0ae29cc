"""Readers of texts with classes: every layout gives the same examples, bad rows are named."""

import json
import logging

import pytest

from pipelines.corpora import Columns, read_corpus, read_examples
from pipelines.corpora.class_splits import oddities, read_class_splits, write_cut
from pipelines.errors import DataError, UserError

ROWS = [
    ("good book", "pos"),
    ('a "so so" one, at best', "neg"),
    ("never\nagain", "neg"),
    ("fine", "pos"),
]


def write(path, content):
    path.write_text(content, encoding="utf-8")
    return path


def read_classes(path, **options):
    return read_examples(path, answer="label", **options)


def pairs(examples):
    return [(example.text, example.label) for example in examples]


LAYOUTS = {
    "a.csv": 'id,review,label\n0,good book,pos\n1,"a ""so so"" one, at best",neg\n2,"never\nagain",neg\n3,fine,pos\n',
    "b.csv": 'good book,pos\n"a ""so so"" one, at best",neg\n"never\nagain",neg\nfine,pos\n',
    "c.tsv": 'sentence\tlabel\ngood book\tpos\na "so so" one, at best\tneg\n"never\nagain"\tneg\nfine\tpos\n',
    "d.csv": 'klasse;zeile\npos;good book\nneg;"a ""so so"" one, at best"\nneg;"never\nagain"\npos;fine\n',
    "e.json": json.dumps([{"text": text, "label": label} for text, label in ROWS]),
    "f.jsonl": "\n".join(json.dumps({"content": text, "category": label}) for text, label in ROWS),
    "g.json": json.dumps(
        {"text": [text for text, _ in ROWS], "class": [label for _, label in ROWS]}
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_same_texts_and_classes(tmp_path, name):
    assert pairs(read_classes(write(tmp_path / name, LAYOUTS[name]))) == ROWS


def test_bare_quotes_of_tab_separated_text_are_text(tmp_path):
    file = write(
        tmp_path / "a.tsv", 'sentence\tlabel\n"what a day\tpos\nshe said "no\tneg\nplain\tneg\n'
    )
    assert pairs(read_classes(file)) == [
        ('"what a day', "pos"),
        ('she said "no', "neg"),
        ("plain", "neg"),
    ]


def test_review_lines_have_a_class_and_a_polarity(tmp_path):
    file = write(tmp_path / "r.txt", "music pos 1.txt nice tune \nbooks neg 2.txt too long .\n")
    assert pairs(read_classes(file)) == [("nice tune ", "music"), ("too long .", "books")]
    by_polarity = read_classes(file, columns=Columns(label_column="polarity"))
    assert [example.label for example in by_polarity] == ["pos", "neg"]


def test_fasttext_lines_with_two_classes_make_all_texts_multi_label(tmp_path):
    file = write(tmp_path / "f.txt", "__label__a __label__b one text\n__label__b another\n")
    assert pairs(read_classes(file)) == [("one text", ("a", "b")), ("another", ("b",))]


def test_folders_name_the_classes_and_loose_files_have_none(tmp_path):
    for place, text in (("spam/1.txt", "buy"), ("ham/1.txt", "hello"), ("loose.txt", "who knows")):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        write(tmp_path / place, text)
    found = read_corpus(tmp_path)
    assert {(e.id, e.text, e.label) for e in found.examples} == {
        ("spam/1.txt", "buy", "spam"),
        ("ham/1.txt", "hello", "ham"),
    }
    assert [fault.id for fault in found.faults] == [
        "loose.txt"
    ]  # the others have a class, this one has none


def test_a_corpus_of_mentions_asks_whether_there_is_one(tmp_path):
    rows = [
        {"text": "Ataxia is rare.", "entities": [{"start": 0, "end": 6, "type": "Disease"}]},
        {"text": "No mention here.", "entities": []},
    ]
    file = write(tmp_path / "n.json", json.dumps(rows))
    with pytest.raises(
        UserError, match=r"got mentions in 'entities'; wanted classes.*--mention_type TYPE"
    ):
        read_classes(file)
    disease = Columns(mention_type="Disease")
    assert [e.label for e in read_classes(file, columns=disease)] == ["Disease", "none"]
    conll = write(tmp_path / "n.conll", "Ataxia B-Disease\nis O\n\nPaul B-PER\nsleeps O\n")
    with pytest.raises(UserError, match="no mention of the type 'LOC'; it has Disease, PER"):
        read_classes(conll, columns=Columns(mention_type="LOC"))
    assert [e.label for e in read_classes(conll, columns=Columns(mention_type="PER"))] == [
        "none",
        "PER",
    ]


def test_pairs_several_classes_and_columns_of_zero_and_one(tmp_path):
    nli = write(
        tmp_path / "p.csv",
        "premise,hypothesis,label\nit rains,it is wet,yes\nit rains,it is dry,no\n",
    )
    assert [(e.text, e.pair, e.label) for e in read_classes(nli)] == [
        ("it rains", "it is wet", "yes"),
        ("it rains", "it is dry", "no"),
    ]
    jigsaw = write(
        tmp_path / "j.csv", "id,comment_text,toxic,insult\na,you fool,1,1\nb,hello,0,0\nc,bah,1,0\n"
    )
    assert [(e.id, e.label) for e in read_classes(jigsaw)] == [
        ("a", ("insult", "toxic")[::-1]),
        ("b", ()),
        ("c", ("toxic",)),
    ]
    piped = write(tmp_path / "m.csv", "text,labels\none,a|b\ntwo,b\nthree,\n")
    assert [e.label for e in read_classes(piped, columns=Columns(label_separator="|"))] == [
        ("a", "b"),
        ("b",),
        (),
    ]


def test_an_unlabelled_test_file_may_lack_the_named_column(tmp_path):
    file = write(tmp_path / "t.csv", "id,text\n1,who\n2,knows\n")
    columns = Columns(label_column="kind")
    assert [e.label for e in read_classes(file, columns=columns, labelled=False)] == [None, None]
    with pytest.raises(UserError, match="no column 'kind'"):
        read_classes(file, columns=columns)


def test_all_bad_rows_are_named_at_once(tmp_path):
    file = write(
        tmp_path / "b.csv",
        "id,text,label\n1,fine,a\n1,again,b\n2,too,many,fields\n3,no class,\n4,,a\n",
    )
    with pytest.raises(DataError) as error:
        read_classes(file)
    expected = str(error.value)
    assert "line 3 (id 1): duplicate_id" in expected
    assert "line 4: unreadable_row: 4 fields where the header has 3" in expected
    assert "line 5 (id 3): missing_value" in expected
    assert "empty_text" not in expected  # a warning: its row has to be answered
    assert [e.id for e in read_classes(file, skip_bad_rows=True)] == ["1", "4"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("just words\nand more words\n", "without a class"),
        ("text,label\n", "no row"),
        ('[{"n": 1}]', "no column with the text"),
    ],
)
def test_what_is_no_table_of_texts_is_refused(tmp_path, content, expected):
    with pytest.raises(UserError, match=expected):
        read_classes(write(tmp_path / "x.txt", content))


def test_what_is_odd_between_the_splits_is_logged(tmp_path, caplog):
    train = write(
        tmp_path / "train.csv",
        "text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(12)),
    )
    dev = write(tmp_path / "dev.csv", "text,label\ntext 3,b\nnew,c\n,a\n")
    caplog.set_level(logging.INFO, logger="pipelines")
    found = read_class_splits(
        {"train": str(train), "dev": str(dev)}, columns=Columns(), sizes="", seed=0
    )
    assert oddities(found) == [
        "dev: 1 empty text (id 2); predicted all the same",
        "dev: 1 text of classes that train lacks, which cannot be predicted: id 1 (c)",
        "dev: 1 text occurs word for word in train: id 0",
    ]
    assert caplog.messages[-3:] == oddities(found)
    assert [e.id for e in found.usable("dev")] == ["0"]


@pytest.mark.parametrize("spelling", ["Comedy Film", "comedy_film", " comedy-film "])
def test_a_class_that_a_file_spells_differently_is_refused(spelling, tmp_path):
    train = write(tmp_path / "t.csv", "text,label\n" + "x,comedy film\ny,play\n" * 6)
    dev = write(tmp_path / "d.csv", f"text,label\nnew,play\nolder,{spelling}\noldest,{spelling}\n")
    files = {"train": str(train), "dev": str(train), "test": str(dev)}
    expected = (
        rf"d\.csv: the class {spelling.strip()!r} \(2 texts, first id 1\) is 'comedy film' in "
        r".*t\.csv\nspell a class alike"
    )
    with pytest.raises(DataError, match=expected):
        read_class_splits(files, columns=Columns(), sizes="", seed=0)


def test_classes_that_differ_in_spelling_or_that_dev_lacks_are_logged(tmp_path):
    train = write(tmp_path / "t.csv", "text,label\n" + "x,Pos\ny,pos\nz,neg\n" * 6)
    dev = write(tmp_path / "d.csv", "text,label\nnew,neg\n")
    files = {"train": str(train), "dev": str(dev)}
    found = read_class_splits(files, columns=Columns(), sizes="", seed=0)
    assert found.labels == ("Pos", "neg", "pos")
    assert oddities(found) == [
        "train: classes that differ only in their spelling: 'Pos' (6), 'pos' (6); are they one?",
        "dev: no text of 2 of the 3 classes, of which its scores say nothing: Pos, pos",
    ]


def test_one_class_only_is_refused(tmp_path):
    file = write(tmp_path / "one.csv", "text,label\nhello,a\nworld,a\n")
    with pytest.raises(DataError, match="of one class \\('a'\\)"):
        read_class_splits(
            {"train": str(file)}, columns=Columns(), sizes="train=0.5,dev=0.5", seed=0
        )


def test_dev_is_cut_from_train_where_only_test_has_a_file(tmp_path):
    train = write(
        tmp_path / "train.csv",
        "text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(90)),
    )
    test = write(tmp_path / "test.csv", "text\nwho knows\n")
    found = read_class_splits(
        {"train": str(train), "test": str(test)},
        columns=Columns(),
        sizes="train=0.8,dev=0.1,test=0.1",
        seed=0,
    )
    assert {name: len(part) for name, part in found.splits.items()} == {
        "train": 80,
        "dev": 10,
        "test": 1,
    }


def test_what_is_cut_is_written_and_read_back_the_same(tmp_path):
    rows = [
        {
            "text": f"Ataxia {i}.",
            "entities": [{"start": 0, "end": 6, "type": "Disease"}] if i % 2 else [],
        }
        for i in range(20)
    ]
    train = write(tmp_path / "train.json", json.dumps(rows))
    found = read_class_splits(
        {"train": str(train)},
        columns=Columns(mention_type="Disease"),
        sizes="train=0.6,dev=0.2,test=0.2",
        seed=0,
    )
    written = write_cut(found, {"train": str(train)}, tmp_path / "splits")
    assert [path.name for path in written] == ["dev.jsonl", "test.jsonl"]
    assert [read_classes(path) for path in written] == [found.splits["dev"], found.splits["test"]]


@pytest.mark.parametrize("named", [None, "label"])
@pytest.mark.parametrize("others", ["source", "has_url,has_num"])
def test_a_test_file_without_the_columns_of_train_is_unlabelled_whatever_else_it_holds(
    others, named, tmp_path
):
    values = [
        ",".join("01"[(i >> place) % 2] for place, _ in enumerate(others.split(",")))
        for i in range(40)
    ]
    train = write(
        tmp_path / "train.csv",
        f"id,text,{others},label\n"
        + "".join(
            f"{i},text {i},{value},{'spam' if i % 3 else 'ham'}\n" for i, value in enumerate(values)
        ),
    )
    test = write(
        tmp_path / "test.csv",
        f"id,text,{others}\n"
        + "".join(f"{i},other {i},{value}\n" for i, value in enumerate(values)),
    )
    found = read_class_splits(
        {"train": str(train), "test": str(test)},
        columns=Columns(label_column=named),
        sizes="train=0.8,dev=0.2",
        seed=0,
    )
    assert (found.labels, found.multi_label) == (("ham", "spam"), False)
    assert {example.label for example in found.splits["test"]} == {None}
    dev = read_class_splits(
        {"train": str(train), "dev": str(train)},
        columns=Columns(label_column=named),
        sizes="",
        seed=0,
    )
    assert {example.label for example in dev.splits["dev"]} == {"ham", "spam"}
    with pytest.raises(UserError, match=r"test\.csv: no column 'label'"):
        read_class_splits(
            {"train": str(train), "dev": str(test)},
            columns=Columns(label_column=named),
            sizes="",
            seed=0,
        )


def test_classes_of_columns_without_a_header_are_not_sought_among_the_texts(tmp_path):
    train = write(
        tmp_path / "train.csv", "".join(f"some text {i},{'ab'[i % 2]}\n" for i in range(20))
    )
    test = write(tmp_path / "test.csv", "".join(f"{i},other text {i}\n" for i in range(20)))
    found = read_class_splits(
        {"train": str(train), "test": str(test)},
        columns=Columns(),
        sizes="train=0.8,dev=0.2",
        seed=0,
    )
    assert {(example.text[:10], example.label) for example in found.splits["test"]} == {
        ("other text", None)
    }


def test_train_says_whether_texts_may_have_several_classes(tmp_path):
    train = write(
        tmp_path / "train.json",
        json.dumps([{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(20)]),
    )
    options = {"columns": Columns(), "sizes": "train=0.8,dev=0.2", "seed": 0}
    test = write(
        tmp_path / "test.json",
        json.dumps([{"text": "one", "label": ["a"]}, {"text": "two", "label": ["b"]}]),
    )
    found = read_class_splits({"train": str(train), "test": str(test)}, **options)
    assert (found.multi_label, [e.label for e in found.splits["test"]]) == (False, ["a", "b"])
    write(
        test,
        json.dumps(
            [{"id": "x", "text": "one", "label": ["a", "b"]}, {"text": "two", "label": ["b"]}]
        ),
    )
    with pytest.raises(
        DataError, match=r"test.json: 1 texts have several classes or none \(id x\)"
    ):
        read_class_splits({"train": str(train), "test": str(test)}, **options)


def test_classes_without_a_usable_text_do_not_count(tmp_path):
    options = {"columns": Columns(), "sizes": "train=0.5,dev=0.5", "seed": 0}
    zeros = write(
        tmp_path / "z.csv",
        "id,text,toxic,insult\n" + "".join(f"{i},text {i},0,0\n" for i in range(20)),
    )
    with pytest.raises(DataError, match=r"z\.csv: no text has a class"):
        read_class_splits({"train": str(zeros)}, **options)
    train = write(
        tmp_path / "e.csv",
        "text,label\n" + "".join(f"text {i},a\n" for i in range(10)) + ",b\n,b\n,b\n",
    )
    dev = write(tmp_path / "dev.csv", "text,label\nhello,a\nworld,b\n")
    with pytest.raises(DataError, match=r"e\.csv: all texts are of one class \('a'\)"):
        read_class_splits({"train": str(train), "dev": str(dev)}, **options)
    whole = write(
        tmp_path / "w.csv", "text,label\n" + "".join(f"text {i},{'ab'[i % 2]}\n" for i in range(10))
    )
    new = write(tmp_path / "new.csv", "text,label\nhello,c\n,b\n")
    with pytest.raises(DataError, match=r"new\.csv: no text of dev decides anything"):
        read_class_splits({"train": str(whole), "dev": str(new)}, **options)
