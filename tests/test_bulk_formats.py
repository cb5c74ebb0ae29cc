"""Shards of each format are answered as `pipelines predict` answers the same texts, and written in each."""

import csv
import gzip
import io
import json

import numpy as np
import pyarrow.parquet
import pytest
from bulk_inputs import files, rows, write
from demo_runs import write_dictionary

from pipelines.bulk.engine import predict_shards
from pipelines.bulk.reading import ShardError, blocks, first_table
from pipelines.bulk.writing import COLUMNS, writer
from pipelines.cli import main
from pipelines.corpora.corpus import ColumnNames
from pipelines.examples import Example, Prediction, Span
from pipelines.families import composite, lexical
from pipelines.families.lexical import bag_of_words

TEXTS = ['She has gout, and "flu".' if n % 3 else f"Text {n}: BRCA1 and gout." for n in range(1300)]
CONTENT = [{"id": f"r{n}", "text": text} for n, text in enumerate(TEXTS)]
ENDINGS = ("jsonl", "csv", "txt", "jsonl.gz", "csv.gz")


@pytest.fixture(scope="module")
def dictionary(tmp_path_factory):
    return write_dictionary(tmp_path_factory.mktemp("dictionary") / "run")


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_answers_are_those_of_predict_on_the_file(ending, dictionary, tmp_path):
    shard = write(tmp_path / f"a.{ending}", CONTENT)
    words = ["predict", "--run", str(dictionary), "--input", str(shard)]
    assert main([*words, "--output", str(tmp_path / "alone.jsonl")]) == 0
    packed = ".gz" if ending.endswith(".gz") else ""
    assert main([*words, "--output", str(tmp_path / "out"), "--output_format", "jsonl"]) == 0
    answers = (tmp_path / "out" / f"a.jsonl{packed}").read_bytes()
    answers = gzip.decompress(answers) if packed else answers
    assert answers == (tmp_path / "alone.jsonl").read_bytes()
    assert answers.count(b"\n") == len(CONTENT)


def test_parquet_gives_the_answers_of_json_lines_and_its_own_format(dictionary, tmp_path):
    write(tmp_path / "in" / "a.jsonl", CONTENT)
    write(tmp_path / "in" / "a.parquet", CONTENT)
    for kind in ("jsonl", "parquet"):
        predict_shards(
            dictionary, str(tmp_path / f"in/*.{kind}"), str(tmp_path / kind), output_format="jsonl"
        )
    assert files(tmp_path / "jsonl")["a.jsonl"] == files(tmp_path / "parquet")["a.jsonl"]
    predict_shards(dictionary, str(tmp_path / "in/*.parquet"), str(tmp_path / "same"))
    table = pyarrow.parquet.read_table(tmp_path / "same" / "a.parquet")
    lines = [json.loads(line) for line in (tmp_path / "jsonl" / "a.jsonl").open()]
    assert table.column("id").to_pylist() == [row["id"] for row in lines]
    assert table.column("spans").to_pylist() == [row["spans"] for row in lines]
    predict_shards(
        dictionary, str(tmp_path / "in/*.jsonl"), str(tmp_path / "csv"), output_format="csv"
    )
    with (tmp_path / "csv" / "a.csv").open(newline="") as f:
        cells = list(csv.DictReader(f))
    assert [json.loads(row["spans"]) for row in cells] == [row["spans"] for row in lines]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["composite", "classifier"])
def test_other_families_take_the_same_way(kind, dictionary, tmp_path):
    folder = tmp_path / "run" / "model"
    folder.mkdir(parents=True)
    (folder.parent / "config.yaml").write_text("{}")
    if kind == "composite":
        one = composite.member("one", dictionary / "model")
        composite.save(folder, composite.Composite("vote", (one, one, one)))
    else:
        train = [Example(str(n), text) for n, text in enumerate(TEXTS[:21])]
        targets = np.arange(21) % 3 == 0
        bag = bag_of_words.fit(train, targets.astype(int), ["a", "b"], method="naive_bayes")
        lexical.save(folder, lexical.Lexical("naive_bayes", bag))
    shard = write(tmp_path / "a.jsonl", CONTENT)
    words = ["predict", "--run", str(folder.parent), "--input", str(shard)]
    assert main([*words, "--output", str(tmp_path / "alone.jsonl")]) == 0
    assert main([*words, "--output", str(tmp_path / "out"), "--engine", "local"]) == 0
    answers = (tmp_path / "out" / "a.jsonl").read_bytes()
    assert answers == (tmp_path / "alone.jsonl").read_bytes()
    assert (b'"label"' in answers, answers.count(b"\n")) == (True, len(CONTENT))


ANSWERS = [
    Prediction("1", spans=(Span(0, 2, "D", 0.5),), certainty=0.25),
    Prediction("2", spans=()),
    Prediction("3", label="a,\nb", scores={"a,\nb": 0.75, "c": 0.25}),
    Prediction("4", label=("a", "b"), scores={"a": 0.75}),
    Prediction("5", label=()),
    Prediction("6", value=1.5),
    Prediction("7", spans=(), raw="[]", status="ok", mentions=({"string": "x", "label": "D"},)),
]


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_every_kind_of_answer_has_its_columns(ending):
    file = io.BytesIO()
    with writer(file, ending) as out:
        out.write(ANSWERS)
    file.seek(0)
    if ending == ".parquet":
        found = pyarrow.parquet.read_table(file).to_pylist()
    else:
        found = list(csv.DictReader(io.StringIO(file.read().decode())))
        for row in found:
            for name in ("spans", "labels", "scores"):
                row[name] = json.loads(row[name]) if row[name] else None
            row |= {name: value or None for name, value in row.items() if value == ""}
    assert list(found[0]) == list(COLUMNS)
    assert found[0]["spans"] == [{"start": 0, "end": 2, "label": "D", "score": 0.5}]
    assert (found[1]["spans"], found[1]["label"], found[5]["spans"]) == ([], None, None)
    assert found[2]["label"] == "a,\nb"
    assert found[2]["scores"][1] == {"label": "c", "score": 0.25}
    assert (found[3]["label"], found[3]["labels"], found[4]["labels"]) == (None, ["a", "b"], [])
    assert float(found[5]["value"]) == 1.5
    assert json.loads(found[6]["mentions"]) == [{"string": "x", "label": "D"}]


def test_the_same_answers_are_the_same_bytes_in_gzip_too():
    packed = []
    for _ in range(2):
        file = io.BytesIO()
        with writer(file, ".jsonl.gz") as out:
            out.write(ANSWERS)
        packed.append(file.getvalue())
    assert packed[0] == packed[1]
    assert packed[0][4:8] == bytes(4)  # no time


GOOD_CSV = b'id,text\n1,"two\nlines"\n2,more\n'
NAMES = ColumnNames("text", id="id")


def read(content, format):
    found = list(blocks(io.BytesIO(content), "a", format, NAMES))
    return [example for corpus in found for example in corpus.examples]


def parquet(tmp_path):
    return write(tmp_path / "p.parquet", rows(20)).read_bytes()


@pytest.mark.parametrize("cut", range(1, len(GOOD_CSV)))
def test_a_csv_file_that_is_cut_off_is_refused_or_whole_so_far(cut):
    whole = [example.text for example in read(GOOD_CSV, "csv")]
    assert whole == ["two\nlines", "more"]
    try:
        texts = [example.text for example in read(GOOD_CSV[:cut], "csv")]
    except ShardError:
        return
    # Within the last cell a cut cannot be seen: `mo` is a text, too.
    assert texts == [text[: len(found)] for text, found in zip(whole, texts, strict=False)]


@pytest.mark.parametrize("n_missing", [1, 9, 300])
def test_parquet_and_gzip_that_are_cut_off_are_refused(n_missing, tmp_path):
    content = parquet(tmp_path)
    assert len(read(content, "parquet")) == 20
    with pytest.raises(ShardError, match="cut off, or not Parquet"):
        read(content[:-n_missing], "parquet")
    lines = b"".join(b'{"id": "%d", "text": "word %d"}\n' % (n, 7**n) for n in range(500))
    packed = gzip.compress(lines)
    assert len(read(packed, "jsonl")) == 500
    with pytest.raises(ShardError, match="damaged or cut off gzip"):
        read(packed[:-n_missing], "jsonl")


def test_a_quote_that_is_never_closed_is_named():
    content = b'id,text\n1,"' + b"word " * 2**22 + b"\n"
    with pytest.raises(ShardError, match=r"a quote that is never closed|cut off"):
        read(content, "csv")


def test_semicolons_tabs_bare_quotes_and_a_byte_order_mark(tmp_path):
    for content in (b'\xef\xbb\xbfid;text\r\n1;a 5" disk\r\n', b'id\ttext\n1\ta 5" disk\n'):
        assert [example.text for example in read(content, "csv")] == ['a 5" disk']


@pytest.mark.parametrize("content", [b"", b"\n\n", b"id,text\n"])
def test_an_empty_shard_has_no_rows(content):
    assert read(content, "csv") == []
    assert first_table(io.BytesIO(content), "a", "csv") is None


def test_rows_without_ids_are_numbered_through_a_shard(tmp_path):
    lines = b"".join(b'{"text": "t"}\n' for _ in range(2500))
    found = blocks(io.BytesIO(lines), "a", "jsonl", ColumnNames("text"))
    assert [e.id for corpus in found for e in corpus.examples] == [str(n) for n in range(2500)]
