"""Mentions that lie within one another: read, scored, written in prompts, converted, marked."""

import json
import random

import pytest

from pipelines.alignment.strings import Generated, align
from pipelines.checks.audit import audit
from pipelines.corpora import Columns, read_corpus, read_examples
from pipelines.corpora.convert.content import Losses, without_overlaps
from pipelines.demo.marking import marked
from pipelines.errors import DataError
from pipelines.evaluation.reports import evaluate_spans
from pipelines.evaluation.slices import overlapping_regions
from pipelines.evaluation.span_scores import all_labels, score_spans, span_arrays
from pipelines.evaluation.voting import vote
from pipelines.examples import Example, Prediction, Span
from pipelines.families import lexical
from pipelines.prompting import grammars
from pipelines.prompting.formats import FORMATS
from pipelines.spans import longest_without_overlaps, overlapping_pairs

TEXT = "The small cell lung cancer gene, and lung cancer, in lung cancer."
GENE, CANCER, FIRST = Span(4, 31, "G"), Span(4, 26, "D"), Span(15, 26, "D")
SECOND, THIRD = Span(37, 48, "D"), Span(53, 64, "D")
TWO_TYPES = (FIRST, Span(15, 26, "G"))


def written(folder, *spans):
    path = folder / "nested.jsonl"
    rows = [
        {
            "start": span.start,
            "end": span.end,
            "label": span.label,
            "text": TEXT[span.start : span.end],
        }
        for span in spans
    ]
    path.write_text(json.dumps({"id": "1", "text": TEXT, "spans": rows}) + "\n")
    return path


# Reading


def test_nested_mentions_are_read_where_they_are_asked_for(tmp_path):
    spans = (GENE, CANCER, *TWO_TYPES, Span(10, 18, "D"))
    path = written(tmp_path, *spans, SECOND)
    with pytest.raises(DataError, match="--nested true keeps both"):
        read_examples(path)
    corpus = read_corpus(path, columns=Columns(nested=True))
    assert corpus.faults == []
    assert corpus.examples[0].spans == tuple(sorted((*spans, SECOND)))
    assert "5 mentions overlap another, and are kept" in corpus.notes[0]


def test_the_same_mention_twice_is_a_fault_all_the_same(tmp_path):
    [fault] = read_corpus(written(tmp_path, FIRST, FIRST), columns=Columns(nested=True)).faults
    assert fault.kind == "overlapping_spans"
    assert fault.repair == "leave one out"


def test_strings_are_placed_within_one_another(tmp_path):
    path = tmp_path / "strings.jsonl"
    strings = [
        {"text": "small cell lung cancer", "type": "D"},
        {"text": "lung cancer", "type": "D"},
    ]
    path.write_text(json.dumps({"text": TEXT, "entities": strings}) + "\n")
    [example] = read_examples(path, columns=Columns(nested=True))
    assert example.spans == (CANCER, FIRST)
    [example] = read_examples(path)
    assert example.spans == (CANCER, SECOND)


# Scores


def test_strict_scores_count_each_span_of_each_type():
    gold = [[GENE, CANCER, *TWO_TYPES, SECOND]]
    predicted = [[GENE, FIRST, Span(10, 18, "D"), SECOND]]  # three right, one wrong, two missed
    scores = score_spans(gold, predicted)
    assert scores["strict"]["precision"] == 3 / 4
    assert scores["strict"]["recall"] == 3 / 5
    assert scores["exact"]["recall"] == 3 / 5  # one prediction finds one of two types
    assert scores["partial"]["recall"] == (3 + 0.5) / 5
    assert scores["strict"]["per_type"]["G"]["recall"] == 1 / 2


def test_a_report_says_what_tags_cannot_hold():
    example = Example("1", TEXT, spans=(GENE, CANCER, FIRST, THIRD))
    flat = Prediction("1", spans=(GENE, SECOND, THIRD))
    report = evaluate_spans([example], [flat])
    assert report["overlaps"] == {"mentions": 4, "overlapping": 3, "without_overlaps": 2}
    among = report["slices"]["nested"]["among overlapping mentions"]
    assert (among["precision"], among["recall"]) == (1, 1 / 3)
    elsewhere = report["slices"]["nested"]["elsewhere"]
    assert (elsewhere["precision"], elsewhere["recall"]) == (1 / 2, 1)
    plain = evaluate_spans([Example("1", TEXT, spans=(GENE, THIRD))], [flat])
    assert "overlaps" not in plain
    assert "nested" not in plain["slices"]


def test_regions_agree_with_looking_at_each_pair():
    draw = random.Random(0)
    for _ in range(200):
        texts = []
        for _ in range(3):
            starts = [draw.randrange(12) for _ in range(draw.randrange(5))]
            texts.append([Span(start, start + draw.randrange(1, 4), "D") for start in starts])
        arrays = span_arrays(texts, all_labels(texts))
        regions = overlapping_regions(arrays)
        found = {
            (text, offset)
            for text, start, end in zip(regions.example, regions.start, regions.end, strict=True)
            for offset in range(start, end)
        }
        wanted = {
            (text, offset)
            for text, spans in enumerate(texts)
            for pair in overlapping_pairs(spans)
            for span in pair
            for offset in range(span.start, span.end)
        }
        assert found == wanted


def test_votes_keep_spans_that_overlap():
    answers = [[Prediction("1", spans=(GENE, FIRST))], [Prediction("1", spans=(GENE, FIRST))]]
    [joined] = vote(answers, names=["a", "b"])
    assert joined.spans == (GENE, FIRST)


# Prompts


CASES = [
    (GENE, FIRST),
    (CANCER, FIRST),
    (CANCER, FIRST, SECOND),
    TWO_TYPES,
    (GENE, CANCER, *TWO_TYPES, THIRD),
]


@pytest.mark.parametrize("spans", CASES)
@pytest.mark.parametrize("format", FORMATS)
def test_prompts_carry_nested_mentions_there_and_back(format, spans):
    labels = sorted({span.label for span in spans})
    answer = FORMATS[format].render(TEXT, spans, labels)
    parsed = FORMATS[format].parse(answer, TEXT, labels, nested=True)
    assert parsed.status == "ok"
    if spans[-1] != THIRD or format == "tagged":
        assert parsed.spans == tuple(sorted(spans))
    else:  # a string takes its earliest occurrence in order
        assert parsed.spans == tuple(sorted((*spans[:-1], SECOND)))


def test_crossing_mentions_of_one_type_are_what_marks_cannot_say():
    spans = (Span(4, 14, "D"), Span(10, 19, "D"))
    for format, comes_back in (("list", True), ("json", True), ("tagged", False)):
        answer = FORMATS[format].render(TEXT, spans, ["D"])
        parsed = FORMATS[format].parse(answer, TEXT, ["D"], nested=True)
        assert (parsed.spans == spans) is comes_back


def test_the_audit_counts_what_each_format_carries(tmp_path):
    corpus = read_corpus(
        written(tmp_path, Span(4, 14, "D"), Span(10, 19, "D")), columns=Columns(nested=True)
    )
    [split] = audit([corpus]).splits
    lost = {name: carried.lost_mentions for name, carried in split.carried.items()}
    assert lost == {"list": 0, "json": 0, "tagged": 2}


def test_flat_alignment_keeps_mentions_apart():
    generated = [Generated("small cell lung cancer", "D"), Generated("lung cancer", "D")]
    assert [mention.span for mention in align(TEXT, generated)] == [CANCER, SECOND]
    assert [mention.span for mention in align(TEXT, generated, nested=True)] == [CANCER, FIRST]


def test_what_is_out_of_order_is_placed_too():
    generated = [Generated("lung cancer", "D"), Generated("small cell", "D")]
    spans = [mention.span for mention in align(TEXT, generated, nested=True)]
    assert spans == [FIRST, Span(4, 14, "D")]


def test_a_grammar_admits_what_begins_where_the_last_mention_began():
    def rest(nested):
        return grammars.grammar_after("list", TEXT, ["D"], "small cell lung cancer;", nested=nested)

    assert '"small"' not in rest(False)
    assert '"small"' in rest(True)


# Families and files that hold none


@pytest.mark.parametrize("method", ["dictionary", "hmm"])
def test_a_tagger_names_the_mentions_it_leaves_out(method, caplog):
    lexical.fit([Example("1", TEXT, spans=(GENE, FIRST))] * 2, method=method)
    assert "2 mentions cannot be expressed by tags" in caplog.text
    assert "1 15:26" in caplog.text


def test_of_overlapping_mentions_the_longest_is_converted():
    losses = Losses()
    example = Example("1", TEXT, spans=(GENE, CANCER, FIRST, SECOND))
    assert without_overlaps(example, losses) == [GENE, SECOND]
    assert longest_without_overlaps(example.spans) == [GENE, SECOND]
    assert "overlapping spans are left out" in losses.lines()[0]


def test_nested_mentions_are_marked_within_one_another():
    html = marked(TEXT, (GENE, FIRST), ["D", "G"])
    assert html.count("nested") == 1
    assert 'title="G; D"' in html


def test_of_mentions_that_begin_together_the_longer_comes_first():
    text = "small cell cancer, small cell"
    generated = [Generated("small cell cancer", "D"), Generated("small cell", "D")]
    spans = [mention.span for mention in align(text, generated, nested=True)]
    assert spans == [Span(0, 17, "D"), Span(0, 10, "D")]
