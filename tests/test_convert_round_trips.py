"""Other tools' formats: what is written is read back as it was, or reported as lost."""

import shutil
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.corpora import read_corpus
from pipelines.corpora.convert import FORMATS, convert, gold_content
from pipelines.corpora.corpus import Columns
from pipelines.examples import Example, Span
from pipelines.spans import join_tokens

# Read back
LABELS = st.sampled_from(["Disease", "Gene", "Sign or Symptom"])

WORDS = [
    "gout",
    "lung",
    "BRCA1-mutated",
    "naïve",
    "糖尿病",
    "😀",
    '"',
    "a,b",
    "(IL-2)",
    "1,000",
    "it's",
]

# What formats have trouble with.
HARD = ["\n", "\r\n", "\t", "\u2028", "#", "O", "-DOCSTART-", "a\u00a0b"]


@st.composite
def corpora(draw, words=tuple(WORDS), *, tokenised=False):
    """Two to five examples of mentions side by side, the last one with a mention for certain."""
    examples = []
    for number in range(draw(st.integers(1, 4))):
        text, tokens = join_tokens(draw(st.lists(st.sampled_from(words), min_size=1, max_size=6)))
        edges = sorted(draw(st.lists(st.integers(0, len(tokens)), unique=True, max_size=4)))
        spans = []
        for first, past in zip(edges[::2], edges[1::2], strict=False):
            span = Span(tokens[first][0], tokens[past - 1][1], draw(LABELS))
            # The reader refuses spans with blanks at their edge.
            if text[span.start : span.end].strip() == text[span.start : span.end]:
                spans.append(span)
        if text.strip():
            kept = tokens if tokenised else None
            examples.append(Example(f"n-{number}", text, spans=tuple(spans), tokens=kept))
    text, tokens = join_tokens(["plain", "old", "gout"])
    spans = (Span(10, 14, "Disease"),)
    return [*examples, Example("last", text, spans=spans, tokens=tokens if tokenised else None)]


def read_back(path, format, answer=None):
    offsets = "utf-16" if format in ("doccano", "label-studio") else "character"
    columns = Columns(ends="half-open", offsets=offsets) if format != "conll" else Columns()
    corpus = read_corpus(path, columns=columns, answer=answer)
    assert [str(fault) for fault in corpus.faults if not fault.is_warning] == []
    return sorted(corpus.examples, key=lambda example: example.id)


def with_row_numbers(examples):
    return [replace(example, id=str(number)) for number, example in enumerate(examples)]


def fresh(tmp_path_factory, format):
    path = tmp_path_factory.mktemp("convert") / f"o{(*FORMATS[format].endings, '.jsonl')[0]}"
    return path.with_suffix("") if FORMATS[format].is_folder else path


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_nothing_is_lost_silently(format, data, tmp_path_factory):
    if format == "spacy":
        pytest.importorskip("spacy")
    examples = data.draw(corpora((*WORDS, *HARD)))
    if format == "spacy":
        examples = with_row_numbers(examples)
    path = fresh(tmp_path_factory, format)
    done = convert(gold_content(examples), path, to=format)
    losses = [line for line in done.losses if "UTF-16" not in line]
    read = read_back(path, format)
    shutil.rmtree(path.parent)
    expected = sorted(examples, key=lambda example: example.id)
    if not losses:
        assert [replace(e, tokens=None) for e in read] == expected
    assert done.n_examples == len(read)
    carried = {e.id: [(e.text[s.start : s.end].split(), s.label) for s in e.spans] for e in read}
    for example in expected:
        if example.id in carried and not any("left out" in line for line in losses):
            spans = [span for span in example.spans if example.text[span.start : span.end].strip()]
            assert len(carried[example.id]) == len(spans), losses


@pytest.mark.parametrize(
    "format", ["jsonl", "conll", "csv", "tsv", "doccano", "label-studio", "spacy"]
)
@settings(max_examples=25, deadline=None)
@given(examples=corpora(tokenised=True))
def test_a_tokenised_corpus_is_carried_whole(format, examples, tmp_path_factory):
    if format == "spacy":
        pytest.importorskip("spacy")
        examples = with_row_numbers(examples)
    if format == "conll":
        # A tag holds no blank.
        examples = [
            replace(e, spans=tuple(replace(s, label="D") for s in e.spans)) for e in examples
        ]
    path = fresh(tmp_path_factory, format)
    done = convert(gold_content(examples), path, to=format)
    assert [line for line in done.losses if "UTF-16" not in line] == []
    read = read_back(path, format)
    shutil.rmtree(path.parent)
    if format != "conll":
        examples = [replace(example, tokens=None) for example in examples]
    assert [replace(e, tokens=e.tokens if format == "conll" else None) for e in read] == sorted(
        examples, key=lambda example: example.id
    )


SPACY = pytest.param("spacy", marks=pytest.mark.slow)
CLASS_FORMATS = ["jsonl", "csv", "tsv", "doccano", "prodigy", SPACY]


@pytest.mark.parametrize("format", CLASS_FORMATS)
@pytest.mark.parametrize("kind", ["one", "several"])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_classes_are_read_back(format, kind, data, tmp_path_factory):
    if format == "spacy":
        pytest.importorskip("spacy")
    names = st.sampled_from(["pos", "neg", "two words", "a,b"])
    sets = st.lists(names, unique=True, max_size=3).map(lambda chosen: tuple(sorted(chosen)))
    labels = data.draw(st.lists(names if kind == "one" else sets, max_size=4))
    # Both kinds of class are there for certain: a column with one value tells no classes.
    labels += ["pos", "neg"] if kind == "one" else [("neg", "pos"), ()]
    examples = [Example(str(n), f"text {n}, so", label=label) for n, label in enumerate(labels)]
    path = fresh(tmp_path_factory, format)
    assert convert(gold_content(examples), path, to=format) == (len(examples), [])
    read = read_back(path, format, "label")
    shutil.rmtree(path.parent)
    if kind == "several":
        read = [replace(example, label=tuple(sorted(example.label))) for example in read]
    assert read == examples


@pytest.mark.parametrize("format", ["jsonl", "csv", "tsv"])
@given(st.lists(st.floats(-1e9, 1e9), max_size=4))
@settings(max_examples=25, deadline=None)
def test_numbers_and_pairs_are_read_back(format, tmp_path_factory, numbers):
    numbers = [*numbers, 0.5, 2.25]
    examples = [Example(str(n), f"a {n}", label=x, pair="b") for n, x in enumerate(numbers)]
    path = fresh(tmp_path_factory, format)
    assert convert(gold_content(examples), path, to=format) == (len(examples), [])
    read = read_corpus(path, answer="value", columns=Columns(pair_column="pair")).examples
    shutil.rmtree(path.parent)
    assert read == examples
