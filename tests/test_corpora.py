"""Every layout that a corpus may come in reads as the same examples."""

import gzip
import json
import math
import os
from pathlib import Path

import pytest
from layouts import (
    A_MENTIONS,
    A_NUMBERS,
    A_TOKENS,
    B_NUMBERS,
    B_TOKENS,
    LAYOUTS,
    A,
    B,
    conll,
    rows,
    token_rows,
    written,
)

from pipelines.corpora import Columns, read_corpus, read_examples
from pipelines.errors import UserError
from pipelines.examples import Example, Span

DATA = Path(os.environ.get("PIPELINES_DATA", Path(__file__).parents[2] / "shared" / "data"))
real_data = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no corpora at {DATA}; PIPELINES_DATA says where they are"
)


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_read_alike(name, tmp_path):
    corpus = read_corpus(written(tmp_path, LAYOUTS[name], name="corpus"))
    assert corpus.faults == []
    assert corpus.n_rows == 2
    a, b = corpus.examples
    assert a.text.startswith(A)
    assert b.text.strip() == B
    assert a.spans == tuple(Span(start, end, "Disease") for _, start, end in A_MENTIONS)
    assert b.spans == ()


@pytest.mark.parametrize(
    "name", ["list of objects", "JSON lines", "CoNLL with tabs", "PubTator", "object of columns"]
)
def test_gzip_byte_order_mark_and_line_ends_change_nothing(name, tmp_path):
    content = (
        LAYOUTS[name] if isinstance(LAYOUTS[name], str) else json.dumps(LAYOUTS[name], indent=1)
    )
    wanted = read_corpus(written(tmp_path, content)).examples
    windows = tmp_path / "windows.txt"
    windows.write_bytes(b"\xef\xbb\xbf" + content.replace("\n", "\r\n").encode())
    assert read_corpus(windows).examples == wanted
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(content.encode("utf-16")))
    assert read_corpus(packed).examples == wanted


def test_numeric_tags_need_names(tmp_path):
    path = written(tmp_path, token_rows("ner_tags", A_NUMBERS, B_NUMBERS))
    with pytest.raises(UserError, match=r"numeric tags 0, 1, 2 without names.*--tag_names"):
        read_corpus(path)
    examples = read_corpus(path, columns=Columns(tag_names=("O", "B-X", "I-X"))).examples
    assert examples[0].spans == (Span(31, 44, "X"), Span(51, 63, "X"))


def test_numeric_types_have_their_names_or_stay_apart(tmp_path):
    data = rows(
        "spans",
        [{"start": s, "end": e, "label": number} for number, (_, s, e) in enumerate(A_MENTIONS)],
    )
    for content, columns, types in (
        (data, Columns(), ["0", "1"]),
        (data, Columns(tag_names=("X", "Y")), ["X", "Y"]),
        ({"label_names": ["X", "Y"], "data": data}, Columns(), ["X", "Y"]),
    ):
        examples = read_examples(written(tmp_path, content), columns=columns)
        assert [span.label for span in examples[0].spans] == types


def test_a_type_is_no_mention_where_its_word_stands_in_the_text(tmp_path):
    path = written(
        tmp_path,
        [
            {"text": "HD", "spans": [{"entity": "Disease", "start": 0, "end": 2}]},
            {"text": "Disease HD", "spans": [{"entity": "Disease", "start": 8, "end": 10}]},
        ],
    )
    assert [example.spans for example in read_examples(path)] == [
        (Span(0, 2, "Disease"),),
        (Span(8, 10, "Disease"),),
    ]


@pytest.mark.parametrize(
    ("content", "columns"),
    [
        (rows("index", 1), Columns(entities_column="gold")),
        ("\n".join(A_TOKENS), Columns(entities_column="1")),
    ],
)
def test_an_unlabelled_file_may_lack_the_named_mentions(content, columns, tmp_path):
    path = written(tmp_path, content, "corpus")
    assert read_examples(path, columns=columns, labelled=False)[0].spans is None
    with pytest.raises(UserError, match=r"no column '(gold|1)'"):
        read_examples(path, columns=columns)


def test_columns_can_be_named(tmp_path):
    path = written(tmp_path, [{"nr": 7, "satz": A, "text": "not this", "funde": [[31, 44]]}])
    columns = Columns(
        text_column="satz", entities_column="funde", id_column="nr", default_type="Krankheit"
    )
    assert read_examples(path, columns=columns) == [Example("7", A, (Span(31, 44, "Krankheit"),))]
    with pytest.raises(
        UserError, match=r"no column 'sats'; it has nr, satz, text, funde \(nearest: satz\)"
    ):
        read_corpus(path, columns=Columns(text_column="sats"))
    path = written(tmp_path, [{"nr": 7, "satz": A}])
    assert read_corpus(path).examples[0].text == A  # the only column with words
    path = written(tmp_path, [{"nr": 7, "satz": A, "andere": B}])
    with pytest.raises(UserError, match=r"the text may be in 'satz' or 'andere'; .*--text_column"):
        read_corpus(path)
    path = written(tmp_path, [{"nr": n, "url": f"https://example.org/{n}"} for n in range(12)])
    with pytest.raises(
        UserError, match=r"no column with the text; it has nr, url; .*--text_column"
    ):
        read_corpus(path)
    path = written(tmp_path, conll("\t", middle=["NN"]))
    assert read_corpus(path, columns=Columns(text_column="1")).examples[1].text == "NN NN NN NN"
    with pytest.raises(UserError, match="no column '3'; its columns are numbered from 0 to 2"):
        read_corpus(path, columns=Columns(entities_column="3"))


@pytest.mark.parametrize(
    "content",
    [
        [{"id": 1, "sentence": A}, {"id": 2, "sentence": B}],
        [{"sentence": A, "entities": None}, {"sentence": B, "entities": math.nan}],
        {"text": [A_TOKENS, B_TOKENS], "index": [[0, 1, 2], [3]]},
        "\n".join(A_TOKENS) + "\n\n" + "\n".join(B_TOKENS),
        "\n".join(f"{token}\tNN" for token in A_TOKENS),
        "\n".join(f"{token} _ _" for token in A_TOKENS),
        f"1|t|{A}\n1|a|{B}\n",
    ],
)
def test_unlabelled_files(content, tmp_path):
    corpus = read_corpus(written(tmp_path, content, "corpus"))
    assert "unlabelled" in corpus.layout
    assert corpus.faults == []
    assert all(example.spans is None for example in corpus.examples)
    assert corpus.examples[0].text.startswith(A)


@pytest.mark.parametrize(
    ("ids", "wanted"),
    [
        ([3, 1], ["3", "1"]),
        ([3.0, "x"], ["3", "x"]),
        ([None, math.nan], ["0", "1"]),
        (["a", None], ["a", "1"]),
        ([1.5, ""], ["1.5", "1"]),
    ],
)
def test_ids(ids, wanted, tmp_path):
    path = written(tmp_path, [{"id": id, "text": A} for id in ids])
    assert [example.id for example in read_examples(path)] == wanted


def test_a_column_of_documents_is_no_id(tmp_path):
    path = written(
        tmp_path,
        [{"doc_id": "d", "text": A}, {"doc_id": "d", "text": B}, {"doc_id": "e", "text": B}],
    )
    assert [example.id for example in read_examples(path)] == ["0", "1", "2"]


def test_tokens_are_joined_by_blanks_or_found_in_their_text(tmp_path):
    tokens, tags = ["T", "-", "cell", "leukaemia", "."], ["O", "O", "O", "B-Disease", "O"]
    joined = read_examples(written(tmp_path, {"tokens": [tokens], "tags": [tags]}))[0]
    assert joined == Example(
        "0",
        "T - cell leukaemia .",
        (Span(9, 18, "Disease"),),
        tokens=((0, 1), (2, 3), (4, 8), (9, 18), (19, 20)),
    )
    natural = read_examples(
        written(tmp_path, [{"text": "T-cell leukaemia.", "tokens": tokens, "tags": tags}])
    )[0]
    assert natural == Example(
        "0",
        "T-cell leukaemia.",
        (Span(7, 16, "Disease"),),
        tokens=((0, 1), (1, 2), (2, 6), (7, 16), (16, 17)),
    )


def test_a_comment_gives_a_sentence_its_id_and_a_token_may_be_a_hash(tmp_path):
    path = written(
        tmp_path, "# sent_id = s7\n#\tO\n1\tO\n\n# sent_id = s8\nWAS\tB-Disease\n", "corpus.conll"
    )
    assert [(example.id, example.text) for example in read_examples(path)] == [
        ("s7", "# 1"),
        ("s8", "WAS"),
    ]


@real_data
@pytest.mark.parametrize(
    ("name", "rows", "mentions", "repaired"),
    [
        ("ncbi_disease/train.json", 5424, 5134, 0),
        ("ncbi_disease/dev.json", 923, 787, 0),
        ("ncbi_disease/test.json", 940, None, 0),
        ("wikineural_en/val.json", 1200, 2020, 29),
        ("wikineural_en/test.json", 11597, None, 0),
    ],
)
def test_real_corpora(name, rows, mentions, repaired):
    corpus = read_corpus(DATA / name)
    assert corpus.n_rows == len(corpus.examples) == rows
    assert {fault.kind for fault in corpus.faults} <= {"repaired_tags"}
    assert len({fault.row for fault in corpus.faults}) == repaired
    labelled = [example.spans for example in corpus.examples if example.spans is not None]
    assert (sum(map(len, labelled)) if labelled else None) == mentions
