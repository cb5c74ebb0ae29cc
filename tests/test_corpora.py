"""Every layout a corpus may come in reads as the same examples, and every fault is told with its row."""

import gzip
import json
import math
import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.corpora import Columns, read_corpus, read_examples
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Span

SEEDED = settings(max_examples=60, deadline=None, derandomize=True, database=None,
                  suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
DATA = Path(os.environ.get("PIPELINES_DATA", Path(__file__).parents[2] / "shared" / "data"))
real_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no corpora at {DATA}; PIPELINES_DATA says where they are")
README = Path(__file__).parents[1] / "data" / "README.md"

A = "Germline BRCA1 mutations cause breast cancer , not colon cancer ."
B = "No mention here ."
A_MENTIONS = [("breast cancer", 31, 44), ("colon cancer", 51, 63)]
A_TOKENS, B_TOKENS = A.split(), B.split()
A_TAGS = ["O", "O", "O", "O", "B-Disease", "I-Disease", "O", "O", "B-Disease", "I-Disease", "O"]
B_TAGS = ["O"] * 4
NUMBERS = {"O": 0, "B-Disease": 1, "I-Disease": 2}
A_NUMBERS, B_NUMBERS = [NUMBERS[tag] for tag in A_TAGS], [NUMBERS[tag] for tag in B_TAGS]
NAMES = ["O", "B-Disease", "I-Disease"]


def mentions(make):
    return [make(*mention) for mention in A_MENTIONS]


def rows(name, a, b=()):
    """Two rows, text and one more column."""
    return [{"id": "a", "text": A, name: a}, {"id": "b", "text": B, name: b}]


def token_rows(name, a, b=(), tokens="tokens"):
    return [{"id": "a", tokens: A_TOKENS, name: a}, {"id": "b", tokens: B_TOKENS, name: b}]


def lines(values):
    return "\n".join(map(json.dumps, values))


def conll(separator, *, middle=()):
    return "\n\n".join("\n".join(separator.join([token, *middle, tag]) for token, tag in zip(tokens, tags, strict=True))
                       for tokens, tags in ((A_TOKENS, A_TAGS), (B_TOKENS, B_TAGS))) + "\n"


OBJECTS = mentions(lambda text, start, end: {"text": text, "start": start, "end": end, "type": "Disease"})
RANGES = [(4, 6), (8, 10)]
LAYOUTS = {
    "list of objects": rows("entities", OBJECTS),
    "inclusive ends": rows("entities", mentions(lambda t, s, e: {"text": t, "start": s, "end": e - 1})),
    "inclusive ends without texts": rows("entities", mentions(lambda t, s, e: {"start": s, "end": e - 1})),
    "offsets only": rows("spans", mentions(lambda t, s, e: {"start": s, "end": e, "label": "Disease"})),
    "start and length": rows("annotations", mentions(lambda t, s, e: {"offset": s, "length": e - s, "text": t})),
    "start and text": rows("annotations", mentions(lambda t, s, e: {"begin": s, "mention": t})),
    "offsets as strings": rows("entities", mentions(lambda t, s, e: {"start": str(s), "end": str(e), "name": t})),
    "transformers pipeline": rows("entities", mentions(
        lambda t, s, e: {"entity_group": "Disease", "score": 0.9, "word": t, "start": s, "end": e})),
    "camel case": rows("Entities", mentions(
        lambda t, s, e: {"startOffset": s, "endOffset": e, "entityType": "Disease"})),
    "nested offsets": rows("entities", mentions(
        lambda t, s, e: {"id": "T1", "type": "Disease", "text": [t], "offsets": [[s, e]]})),
    "BioC locations": rows("annotations", mentions(
        lambda t, s, e: {"text": t, "locations": [{"offset": s, "length": e - s}]})),
    "spaCy triples": rows("entities", mentions(lambda t, s, e: [s, e, "Disease"])),
    "spaCy pairs": [[A, {"entities": mentions(lambda t, s, e: [s, e, "Disease"])}], [B, {"entities": []}]],
    "doccano": rows("label", mentions(lambda t, s, e: [s, e, "Disease"])),
    "doccano relations": rows("entities", mentions(
        lambda t, s, e: {"id": 7, "label": "Disease", "start_offset": s, "end_offset": e})),
    "pairs of offsets": rows("spans", mentions(lambda t, s, e: [s, e])),
    "pairs of strings": rows("ner", mentions(lambda t, s, e: [t, "Disease"])),
    "Label Studio": [{"id": "a", "data": {"text": A}, "annotations": [{"result": mentions(
        lambda t, s, e: {"type": "labels", "value": {"start": s, "end": e, "text": t, "labels": ["Disease"]}})}]},
        {"id": "b", "data": {"text": B}, "annotations": [{"result": []}]}],
    "Prodigy": rows("spans", [{"start": s, "end": e, "label": "Disease", "token_start": i, "token_end": j - 1}
                              for (_, s, e), (i, j) in zip(A_MENTIONS, RANGES, strict=True)]),
    "strings": rows("diseases", [text for text, _, _ in A_MENTIONS]),
    "strings by type": rows("labels", {"Disease": [text for text, _, _ in A_MENTIONS]}, {}),
    "objects with texts": rows("mentions", mentions(lambda t, s, e: {"mention": t, "type": "Disease"})),
    "a string with separators": rows("disease", "; ".join(text for text, _, _ in A_MENTIONS), "none"),
    "a list in a string": rows("entities", "['breast cancer', 'colon cancer']", "[]"),
    "parallel lists": rows("entities", {"start": [31, 51], "end": [44, 63], "type": ["Disease"] * 2},
                           {"start": [], "end": [], "type": []}),
    "token ranges with texts": token_rows("entities", [
        {"text": t, "start": i, "end": j} for (t, _, _), (i, j) in zip(A_MENTIONS, RANGES, strict=True)]),
    "inclusive token ranges": token_rows("entities", [
        {"text": t, "start": i, "end": j - 1} for (t, _, _), (i, j) in zip(A_MENTIONS, RANGES, strict=True)]),
    "token ranges": token_rows("spans", [[*pair, "Disease"] for pair in RANGES]),
    "token ranges in a text": rows("spans", [{"start_token": i, "end_token": j} for i, j in RANGES]),
    "token ranges beside a text": [row | {"text": text} for row, text in zip(
        token_rows("spans", [[*pair, "Disease"] for pair in RANGES]), (A, B), strict=True)],
    "character offsets beside tokens": [row | {"text": text} for row, text in zip(
        token_rows("spans", mentions(lambda t, s, e: [s, e])), (A, B), strict=True)],
    "lists of token numbers": token_rows("ner", [{"index": [i, j - 1], "type": "Disease"} for i, j in RANGES]),
    "character offsets in tokens": token_rows("entities", OBJECTS),
    "strings in tokens": token_rows("entities", [text for text, _, _ in A_MENTIONS], tokens="text"),
    "tags": token_rows("ner_tags", A_TAGS, B_TAGS),
    "tags of a text": rows("NER", A_TAGS, B_TAGS),
    "tags in one string": rows("tags", " ".join(A_TAGS), " ".join(B_TAGS)),
    "tags without types": token_rows("labels", [tag[0] for tag in A_TAGS], [tag[0] for tag in B_TAGS]),
    "bare types": token_rows("labels", [tag.split("-")[-1] for tag in A_TAGS], B_TAGS),
    "text and tokens": [row | {"text": text}
                        for row, text in zip(token_rows("ner", A_TAGS, B_TAGS), (A, B), strict=True)],
    "JSON lines": lines(rows("entities", OBJECTS)),
    "JSON lines with blank lines": "\n" + lines(rows("entities", OBJECTS)).replace("\n", "\n\n\n") + "\n\n",
    "object of columns": {"id": ["a", "b"], "text": [A, B], "entities": [OBJECTS, []]},
    "object of columns of tokens": {"text": [A_TOKENS, B_TOKENS], "NER": [A_TAGS, B_TAGS], "index": [[0, 1], [2, 3]]},
    "pandas columns": {"text": {"0": A, "1": B}, "entities": {"0": OBJECTS, "1": []}},
    "object with one list": {"version": "1.0", "data": rows("entities", OBJECTS)},
    "object in an object": {"corpus": {"name": "x", "documents": rows("entities", OBJECTS)}},
    "objects by id": {"a": {"text": A, "entities": OBJECTS}, "b": {"text": B, "entities": []}},
    "numeric tags with names": {"names": NAMES, "data": token_rows("ner_tags", A_NUMBERS, B_NUMBERS)},
    "numeric tags with id2label": {"id2label": dict(enumerate(NAMES)),
                                   "data": token_rows("tags", A_NUMBERS, B_NUMBERS)},
    "numeric tags with label2id": {"label2id": NUMBERS, "rows": token_rows("tags", A_NUMBERS, B_NUMBERS)},
    "numeric tags as pandas writes them": {"names": NAMES, "data": token_rows(
        "tags", [float(number) for number in A_NUMBERS], [float(number) for number in B_NUMBERS])},
    "numeric tags in strings": {"names": NAMES, "data": token_rows(
        "tags", [str(number) for number in A_NUMBERS], [str(number) for number in B_NUMBERS])},
    "numeric tags with features": {"features": {"ner_tags": {"names": NAMES}},
                                   "tokens": [A_TOKENS, B_TOKENS], "ner_tags": [A_NUMBERS, B_NUMBERS]},
    "CoNLL with tabs": conll("\t"),
    "CoNLL with blanks": conll(" "),
    "CoNLL with blanks and a stray tab": conll(" ").replace("cancer ", "cancer\t", 1),
    "CoNLL with line ends of old Macs": conll(" ").replace("\n", "\r"),
    "CoNLL-2003": "-DOCSTART- -X- -X- O\n\n" + conll(" ", middle=["NN", "I-NP"]),
    "CoNLL with comments": "# source = made up\n" + conll("\t"),
    "PubTator": f"a|t|{A}\na|a|No abstract.\n" + "".join(
        f"a\t{s}\t{e}\t{t}\tDisease\tD001\n" for t, s, e in A_MENTIONS) + "a\tCID\tD001\tD002\n" + f"\nb|t|{B}\nb|a|\n",
}


def written(folder, content, name="corpus.json"):
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


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


@pytest.mark.parametrize("name", ["list of objects", "JSON lines", "CoNLL with tabs", "PubTator", "object of columns"])
def test_gzip_byte_order_mark_and_line_ends_change_nothing(name, tmp_path):
    content = LAYOUTS[name] if isinstance(LAYOUTS[name], str) else json.dumps(LAYOUTS[name], indent=1)
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
    data = rows("spans", [{"start": s, "end": e, "label": number} for number, (_, s, e) in enumerate(A_MENTIONS)])
    for content, columns, types in ((data, Columns(), ["0", "1"]), (data, Columns(tag_names=("X", "Y")), ["X", "Y"]),
                                    ({"label_names": ["X", "Y"], "data": data}, Columns(), ["X", "Y"])):
        examples = read_examples(written(tmp_path, content), columns=columns)
        assert [span.label for span in examples[0].spans] == types


def test_a_type_is_no_mention_where_its_word_stands_in_the_text(tmp_path):
    path = written(tmp_path, [{"text": "HD", "spans": [{"entity": "Disease", "start": 0, "end": 2}]},
                              {"text": "Disease HD", "spans": [{"entity": "Disease", "start": 8, "end": 10}]}])
    assert [example.spans for example in read_examples(path)] == [(Span(0, 2, "Disease"),), (Span(8, 10, "Disease"),)]


@pytest.mark.parametrize(("content", "columns"), [(rows("index", 1), Columns(entities="gold")),
                                                  ("\n".join(A_TOKENS), Columns(entities="1"))])
def test_an_unlabelled_file_may_lack_the_named_mentions(content, columns, tmp_path):
    path = written(tmp_path, content, "corpus")
    assert read_examples(path, columns=columns, labelled=False)[0].spans is None
    with pytest.raises(UserError, match=r"no column '(gold|1)'"):
        read_examples(path, columns=columns)


def test_columns_can_be_named(tmp_path):
    path = written(tmp_path, [{"nr": 7, "satz": A, "text": "not this", "funde": [[31, 44]]}])
    columns = Columns(text="satz", entities="funde", id="nr", label="Krankheit")
    assert read_examples(path, columns=columns) == [Example("7", A, (Span(31, 44, "Krankheit"),))]
    with pytest.raises(UserError, match=r"no column 'sats'; it has nr, satz, text, funde \(nearest: satz\)"):
        read_corpus(path, columns=Columns(text="sats"))
    path = written(tmp_path, [{"nr": 7, "satz": A}])
    with pytest.raises(UserError, match=r"no column with the text; it has nr, satz; .*--text_column"):
        read_corpus(path)
    path = written(tmp_path, conll("\t", middle=["NN"]))
    assert read_corpus(path, columns=Columns(text="1")).examples[1].text == "NN NN NN NN"
    with pytest.raises(UserError, match="no column '3'; its columns are numbered from 0 to 2"):
        read_corpus(path, columns=Columns(entities="3"))


@pytest.mark.parametrize("content", [
    [{"id": 1, "sentence": A}, {"id": 2, "sentence": B}],
    [{"sentence": A, "entities": None}, {"sentence": B, "entities": math.nan}],
    {"text": [A_TOKENS, B_TOKENS], "index": [[0, 1, 2], [3]]},
    "\n".join(A_TOKENS) + "\n\n" + "\n".join(B_TOKENS),
    "\n".join(f"{token}\tNN" for token in A_TOKENS),
    "\n".join(f"{token} _ _" for token in A_TOKENS),
    f"1|t|{A}\n1|a|{B}\n",
])
def test_unlabelled_files(content, tmp_path):
    corpus = read_corpus(written(tmp_path, content, "corpus"))
    assert "unlabelled" in corpus.layout
    assert corpus.faults == []
    assert all(example.spans is None for example in corpus.examples)
    assert corpus.examples[0].text.startswith(A)


@pytest.mark.parametrize(("ids", "wanted"), [
    ([3, 1], ["3", "1"]),
    ([3.0, "x"], ["3", "x"]),
    ([None, math.nan], ["0", "1"]),
    (["a", None], ["a", "1"]),
    ([1.5, ""], ["1.5", ""]),
])
def test_ids(ids, wanted, tmp_path):
    path = written(tmp_path, [{"id": id, "text": A} for id in ids])
    assert [example.id for example in read_examples(path)] == wanted


def test_a_column_of_documents_is_no_id(tmp_path):
    path = written(tmp_path, [{"doc_id": "d", "text": A}, {"doc_id": "d", "text": B}, {"doc_id": "e", "text": B}])
    assert [example.id for example in read_examples(path)] == ["0", "1", "2"]


def test_tokens_are_joined_by_blanks_or_found_in_their_text(tmp_path):
    tokens, tags = ["T", "-", "cell", "leukaemia", "."], ["O", "O", "O", "B-Disease", "O"]
    joined = read_examples(written(tmp_path, {"tokens": [tokens], "tags": [tags]}))[0]
    assert joined == Example("0", "T - cell leukaemia .", (Span(9, 18, "Disease"),),
                             tokens=((0, 1), (2, 3), (4, 8), (9, 18), (19, 20)))
    natural = read_examples(written(tmp_path, [{"text": "T-cell leukaemia.", "tokens": tokens, "tags": tags}]))[0]
    assert natural == Example("0", "T-cell leukaemia.", (Span(7, 16, "Disease"),),
                              tokens=((0, 1), (1, 2), (2, 6), (7, 16), (16, 17)))


def test_a_comment_gives_a_sentence_its_id_and_a_token_may_be_a_hash(tmp_path):
    path = written(tmp_path, "# sent_id = s7\n#\tO\n1\tO\n\n# sent_id = s8\nWAS\tB-Disease\n", "corpus.conll")
    assert [(example.id, example.text) for example in read_examples(path)] == [("s7", "# 1"), ("s8", "WAS")]


FAULTY = {
    "all of a file shifted": ([{"text": "A cancer", "entities": [{"text": "cancer", "start": 1, "end": 7}]}],
                              0, "wrong_offsets", "start 2, end 8 (its only occurrence, +1 characters)"),
    "an inclusive end among others": (rows("entities", [OBJECTS[0], {"text": "colon cancer", "start": 51, "end": 62}]),
                                      0, "wrong_offsets", "start 51, end 63 (its only occurrence, the end was wrong)"),
    "shifted offsets": (rows("entities", [{"text": "breast cancer", "start": 30, "end": 43}, OBJECTS[1]]),
                        0, "wrong_offsets", "start 31, end 44 (its only occurrence, +1 characters)"),
    "a wrong end": (rows("entities", [{"text": "breast cancer", "start": 31, "end": 43}, OBJECTS[1]]),
                    0, "wrong_offsets", "start 31, end 44 (its only occurrence, the end was wrong)"),
    "the nearest of several": (rows("entities", [{"text": "cancer", "start": 56, "end": 62}, OBJECTS[0]]),
                               0, "wrong_offsets", "start 57, end 63 (the nearest of 2 occurrences, +1 characters)"),
    "another spelling": (rows("entities", [{"text": "Breast  Cancer", "start": 31, "end": 44}, OBJECTS[1]]),
                         0, "wrong_offsets", "the text has 'breast cancer' at 31:44"),
    "no repair": (rows("entities", [{"text": "gout", "start": 31, "end": 35}, OBJECTS[1]]), 0, "wrong_offsets", None),
    "outside the text": (rows("entities", [OBJECTS[0], {"start": 60, "end": 99}]), 0, "wrong_offsets", None),
    "negative": (rows("entities", [OBJECTS[0], {"start": -3, "end": 2}]), 0, "wrong_offsets", None),
    "shifted tokens": (token_rows("entities", [{"text": "breast cancer", "start": 4, "end": 6},
                                               {"text": "colon cancer", "start": 7, "end": 9}]),
                       0, "wrong_offsets", "start 8, end 10 (its only occurrence, +1 tokens)"),
    "empty": (rows("entities", [OBJECTS[0], {"text": "", "start": 5, "end": 5}]), 0, "empty_span", None),
    "reversed": (rows("entities", [OBJECTS[0], {"text": "colon cancer", "start": 63, "end": 51}]),
                 0, "empty_span", "start 51, end 63 (its only occurrence, -12 characters)"),
    "only a blank": (rows("entities", [OBJECTS[0], {"start": 8, "end": 9}]), 0, "empty_span", None),
    "an empty string": (rows("diseases", ["breast cancer", ""]), 0, "empty_span", "leave it out"),
    "overlap": (rows("entities", [*OBJECTS, {"text": "colon cancer .", "start": 51, "end": 65}]),
                0, "overlapping_spans", "keep the longer one"),
    "crossing": (rows("entities", [*OBJECTS, {"start": 45, "end": 56}]), 0, "overlapping_spans", None),
    "the same twice": (rows("spans", [[31, 44], [31, 44]]), 0, "overlapping_spans", "leave one out"),
    "in pieces": (rows("entities", [{"offsets": [[31, 37], [57, 63]], "type": "Disease"}]),
                  0, "discontinuous_span", "write [[31, 63]]"),
    "not in the text": (rows("diseases", ["breast cancer", "gout"]), 0, "not_in_text", None),
    "another case": (rows("diseases", ["Breast cancer"]), 0, "not_in_text", "the text has 'breast cancer'"),
    "too often": (rows("diseases", ["breast cancer"] * 2), 0, "not_in_text", "leave one out"),
    "within a word": (rows("diseases", ["ancer"]), 0, "not_in_text", "give offsets (start 39, end 44)"),
    "a doubled id": ([{"id": 1, "text": A}, {"id": "1", "text": B}], 1, "duplicate_id", "an id of its own"),
    "an id that meets a row number": ([{"id": "1", "text": A}, {"text": B}], 1, "duplicate_id", "an id of its own"),
    "an illegal tag": (token_rows("tags", A_TAGS, ["O", "I-D", "O", "O"]), 1, "illegal_tags", "write B-D there"),
    "an open mention": (token_rows("tags", ["S-D"] * 11, ["B-D", "I-D", "O", "O"]), 1, "illegal_tags", None),
    "no such tag": (token_rows("tags", A_TAGS, ["O", "X-Disease", "O", "O"]), 1, "illegal_tags", None),
    "a tag without a name": ({"names": NAMES, "data": token_rows("tags", A_NUMBERS, [0, 0, 3, 0])},
                             1, "unknown_tag", None),
    "too few tags": (token_rows("tags", A_TAGS, B_TAGS[1:]), 1, "length_mismatch", None),
    "tokens of another text": ([row | {"text": text} for row, text in zip(
        token_rows("tags", A_TAGS, B_TAGS), (A, "None."), strict=True)], 1, "length_mismatch", "--text_column"),
    "token ranges in another text": ([row | {"text": text} for row, text in zip(
        token_rows("spans", [[4, 6]], [[0, 1]]), (A, "None."), strict=True)], 1, "length_mismatch", "--text_column"),
    "a type without a name": ({"names": ["Disease"], "data": rows("spans", [{"start": 0, "end": 8, "label": 0}],
                                                                  [{"start": 0, "end": 2, "label": 1}])},
                              1, "unknown_tag", None),
    "no tags": (token_rows("tags", A_TAGS, None), 1, "missing_value", None),
    "no mentions given": ([{"text": A, "entities": OBJECTS}, {"text": B}], 1, "missing_value", "write []"),
    "no text": ([{"text": A, "entities": OBJECTS}, {"text": None, "entities": []}], 1, "missing_value", None),
    "a number for a text": ([{"text": A, "entities": OBJECTS}, {"text": 5, "entities": []}], 1, "wrong_type", None),
    "a number for a token": ([{"tokens": A_TOKENS, "tags": A_TAGS},
                              {"tokens": ["In", 1996, "it", "was"], "tags": B_TAGS}], 1, "wrong_type", 'write "1996"'),
    "a string for the entities' list": ([{"text": A, "entities": OBJECTS}, {"text": B, "entities": 5}],
                                        1, "wrong_type", None),
    "a number for an entity": (rows("entities", OBJECTS, [5]), 1, "wrong_type", None),
    "half an offset": (rows("entities", OBJECTS, [{"start": 1.5, "end": 3}]), 1, "wrong_type", None),
    "a string for an offset": (rows("entities", OBJECTS, [{"text": "No", "start": "No", "end": 2}]),
                               1, "wrong_type", None),
    "an endless offset": (rows("entities", OBJECTS, [{"start": 10**400, "end": 2}]), 1, "empty_span", None),
    "lists of different lengths": (rows("entities", {"start": [31, 51], "end": [44]}), 0, "length_mismatch", None),
    "an entity without anything": (rows("entities", OBJECTS, [{"id": "T1"}]), 1, "wrong_type", None),
    "an object for an id": ([{"id": "a", "text": A}, {"id": {}, "text": B}], 1, "wrong_type", None),
    "no object": ([{"text": A}, "text"], 1, "wrong_type", None),
    "mojibake": ([*rows("entities", OBJECTS)[:1], {"id": "b", "text": "SjÃ¶gren's syndrome", "entities": []}],
                 1, "mojibake", "UTF-8"),
    "a lost character": ([*rows("entities", OBJECTS)[:1], {"id": "b", "text": "Sj\ufffdgren", "entities": []}],
                         1, "mojibake", None),
    "a control character": ([*rows("entities", OBJECTS)[:1], {"id": "b", "text": "a\x0cb", "entities": []}],
                            1, "control_character", "blank"),
    "half a surrogate pair": ([*rows("entities", OBJECTS)[:1], {"id": "b", "text": "a\ud83db", "entities": []}],
                              1, "control_character", "blank"),
    "a line that is no JSON": (lines(rows("entities", OBJECTS)) + '\n{"text": "cut o', 3, "unreadable_row", None),
    "a line with a column less": (conll("\t") + "\ngout\n", 18, "unreadable_row", None),
    "a line that is no mention": (LAYOUTS["PubTator"] + "b\tx\t\n9\t1\t2\tx\tDisease\n", 10, "unreadable_row", None),
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


@pytest.mark.parametrize("text", [
    "Sjögren's syndrome, α-fetoprotein, 5–10 µm, “quoted”", "«CAFÉ» und „SPAß“", "naïve façade Ålesund", "Привет, βeta",
    "多发性硬化症", "tab\tand\nnew line", "½ ± 2 °C ≥ 3", "Â is a letter, Ã too", "a\u00a0b",
])
def test_sound_text_is_left_alone(text, tmp_path):
    assert read_corpus(written(tmp_path, [{"text": text, "entities": []}])).faults == []


@pytest.mark.parametrize("text", ["Sjögren", "5–10", "β-thalassaemia", "“x”", "naïve", "≥ 3", "à la", "Ł", "😀"])
@pytest.mark.parametrize("codec", ["cp1252", "latin-1"])
def test_every_wrong_decoding_is_found(text, codec, tmp_path):
    garbled = "".join(bytes([b]).decode(codec, errors="ignore") or chr(b) for b in text.encode())
    faults = read_corpus(written(tmp_path, [{"text": garbled, "entities": []}])).faults
    assert [fault.kind for fault in faults] == ["mojibake"]


def test_damage_is_only_a_warning_where_each_row_wants_an_answer(tmp_path):
    path = written(tmp_path, [{"text": "SjÃ¶gren\x00"}, {"text": " "}, {"text": "a\ud800b"}])
    corpus = read_corpus(path)
    assert [(fault.row, fault.kind) for fault in corpus.faults] == [
        (0, "unlabelled_mojibake"), (0, "unlabelled_control_character"), (1, "empty_text"),
        (2, "unlabelled_control_character")]
    assert [example.text for example in read_examples(path)] == ["SjÃ¶gren\x00", " ", "a\ufffdb"]


def test_all_faults_of_all_rows_are_told_at_once(tmp_path, capsys):
    bad = {"text": A, "entities": [{"text": "gout", "start": 0, "end": 4}, {"text": "x", "start": 9, "end": 9}, 5, {}]}
    path = written(tmp_path, [bad, {"text": A, "entities": OBJECTS}, bad])
    with pytest.raises(DataError) as told:
        read_examples(path)
    message = str(told.value)
    assert "8 faults in 2 of 3 rows" in message
    assert message.count("wrong_offsets") == message.count("empty_span") == 2
    assert message.count("wrong_type") == 4
    assert [example.id for example in read_examples(path, skip_bad_rows=True)] == ["1"]
    skipped = capsys.readouterr().err
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
    with pytest.raises(DataError, match="1 fault in 1 of 1 rows"):
        read_examples(written(tmp_path, [{"text": B, "diseases": ["gout"]}]))


@pytest.mark.parametrize(("content", "message"), [
    ("", "empty"),
    (" \n\n", "empty"),
    ('[{"text": "a"}, {"text": "b', "cut off: it ends at line 1, column 28"),
    ('[\n{"text": "a"},\n{"text": "b"},\n', "cut off: it ends at line 3, column 15"),
    ('[{"text": "a"},, {"text": "b"}]', "no JSON: .* at line 1, column 16"),
    ("[]", "not one readable row"),
    ("{}", "no list of rows"),
    ('"text"', 'holds only "text"'),
    ("[1, 2]", "not one readable row"),
    ('{"train": [{"text": "a"}], "dev": [{"text": "b"}]}', "2 lists of rows: train, dev"),
    ('{"text": ["a", "b"], "entities": [[]]}', r"different lengths \(text 2, entities 1\)"),
    ("[" * 100_000, "cut off|no list of rows"),
    ("[" + "1" * 5000 + "]", "no list of rows"),
    ("id,text\n1,Some words and others\n2,And more of them\n", "no JSON: .* at line 1, column 1"),
])
def test_unreadable_files_say_why(content, message, tmp_path):
    with pytest.raises(UserError, match=message) as told:
        read_corpus(written(tmp_path, content))
    assert "corpus.json" in str(told.value)


def test_a_format_can_be_given(tmp_path):
    path = written(tmp_path, "[ O\ngout B-Disease\n", "corpus.json")
    assert read_corpus(path, format="conll").examples == read_corpus(path).examples
    with pytest.raises(UserError, match="got the format 'xml'; wanted one of json, conll, pubtator"):
        read_corpus(path, format="xml")


@pytest.mark.parametrize("more", ["1,Some words and others\n2,And more of them\n", "1,gout\n2,ataxia\n"])
def test_other_formats_are_told_from_these(more, tmp_path):
    path = written(tmp_path, f"id,text\n{more}", "table.csv")
    with pytest.raises(UserError, match=r"neither JSON nor PubTator nor columns of tokens, it begins 'id,text'"):
        read_corpus(path)


@pytest.mark.parametrize(("content", "message"), [
    (b"PK\x03\x04\x14\x00", "a zip archive; unpack it first"), (b"\x89PNG\r\n\x1a\n\x00\x00", "a binary file"),
    (b"\x00\x01", "a binary file"), ('[{"text": "a"}]'.encode("utf-16-le"), "a binary file.*UTF-16 without"),
])
def test_binary_files_are_told(content, message, tmp_path):
    (tmp_path / "corpus").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_corpus(tmp_path / "corpus")


def test_missing_files_folders_and_wrong_bytes(tmp_path):
    written(tmp_path, [], "train.json")
    with pytest.raises(UserError, match=r"no such file; near it is train\.json"):
        read_corpus(tmp_path / "trian.json")
    with pytest.raises(UserError, match="no such file"):
        read_corpus("no/where.json")
    with pytest.raises(UserError, match="a folder; wanted one file"):
        read_corpus(tmp_path)
    (tmp_path / "latin.json").write_bytes('[{"text": "Sjögren"}]'.encode("latin-1"))
    with pytest.raises(UserError, match=r"not UTF-8 at byte 13 \(line 1\); .*iconv"):
        read_corpus(tmp_path / "latin.json")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b'[{"text": "a"}]')[:-9])
    with pytest.raises(UserError, match="cut off gzip"):
        read_corpus(tmp_path / "cut.gz")


VALUES = st.sampled_from([None, math.nan, math.inf, 0, -1, 3, 1.5, True, "", "x", "none", [], {}, [[]], [{}], ["a", 1],
                          {"a": [1]}, {"start": "x"}, [[1]], [[1, 2, 3]], [1, 2], "\ud800", 10**30,
                          {"text": 3, "start": 1}])


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
            return [mutated(inner) for inner in value][choice == 1:]
        return value

    good = draw(st.sampled_from([content for content in LAYOUTS.values() if not isinstance(content, str)]))
    return mutated(good)


@settings(SEEDED, max_examples=150)
@given(content=mutants())
def test_whatever_is_in_a_file_ends_in_examples_or_faults(content, tmp_path):
    path = written(tmp_path, content)
    try:
        corpus = read_corpus(path)
    except UserError:
        return
    assert all(str(fault) for fault in corpus.faults)
    assert len({example.id for example in corpus.examples}) == len(corpus.examples)
    assert len(corpus.examples) + len({f.row for f in corpus.faults if not f.is_warning}) == corpus.n_rows
    for example in corpus.examples:
        for span in example.spans or ():
            assert example.text[span.start:span.end].strip()


def test_the_examples_of_the_readme_read_without_faults(tmp_path):
    blocks = re.findall(r"```(json|jsonl|conll|pubtator)\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    found = []
    for i, (language, content) in enumerate(blocks):
        assert content.count("\n") == 3
        corpus = read_corpus(written(tmp_path, content, f"{i}.{language}"))
        assert corpus.faults == []
        found.append([example.text[span.start:span.end] for example in corpus.examples for span in example.spans or ()])
    breast, ataxia = ["breast cancer"], ["Ataxia"]
    both = [*breast, *ataxia]
    assert found == [breast, both, breast, breast, [], [*both, "A-T"], [*both, "A-T"], both,
                     ["Breast cancer", "colon cancer", "cancer", "WAS"], both, breast, breast, breast]


@real_data
@pytest.mark.parametrize(("name", "rows", "mentions", "faulty"), [
    ("ncbi_disease/train.json", 5424, 5134, 0), ("ncbi_disease/dev.json", 923, 787, 0),
    ("ncbi_disease/test.json", 940, None, 0), ("wikineural_en/val.json", 1200, 1919, 29),
    ("wikineural_en/test.json", 11597, None, 0),
])
def test_real_corpora(name, rows, mentions, faulty):
    corpus = read_corpus(DATA / name)
    assert corpus.n_rows == rows
    assert len(corpus.examples) == rows - faulty
    assert {fault.kind for fault in corpus.faults} <= {"illegal_tags"}
    labelled = [example.spans for example in corpus.examples if example.spans is not None]
    assert (sum(map(len, labelled)) if labelled else None) == mentions
