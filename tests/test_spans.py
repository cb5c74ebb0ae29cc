"""Conversions between tags, token ranges and spans."""

from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB1, IOB2, IOBES, Entities

from pipelines.alignment.word_boundaries import find_occurrences
from pipelines.examples import Span
from pipelines.spans import (
    SCHEMES,
    detect_scheme,
    illegal_tags,
    join_tokens,
    overlapping_pairs,
    spans_to_tags,
    spans_to_token_ranges,
    split_tag,
    tags_to_spans,
    tags_to_token_ranges,
    token_ranges_to_tags,
    whitespace_tokens,
)

SEEDED = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
LABELS = st.sampled_from(["Disease", "Gene"])
TAGS = {
    "BIO": st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]),
    "IOB1": st.sampled_from(["O", "B-X", "I-X", "B-Y", "I-Y"]),
    "BIOES": st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y", "S-Y"]),
}


@st.composite
def token_ranges(draw, length=12):
    """Ranges without overlap, some of them touching."""
    cuts = sorted(draw(st.sets(st.integers(0, length), max_size=length)))
    return [(a, b, draw(LABELS)) for a, b in pairwise(cuts) if draw(st.booleans())]


@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "BIOES"])
@SEEDED
@given(ranges=token_ranges())
def test_ranges_survive_tags(scheme, ranges):
    tags = token_ranges_to_tags(ranges, 12, scheme=scheme)
    assert illegal_tags(tags, scheme=scheme) == []
    assert tags_to_token_ranges(tags, scheme=scheme) == ranges


@pytest.mark.parametrize(
    ("scheme", "tags"),
    [
        ("BIO", "O B-X I-X B-X B-Y I-Y O"),
        ("IOB1", "O I-X I-X B-X I-Y I-Y O"),
        ("BIOES", "O B-X E-X S-X B-Y E-Y O"),
        ("IO", "O X X X Y Y O"),
    ],
)
def test_schemes_by_hand(scheme, tags):
    ranges = [(1, 3, "X"), (3, 4, "X"), (4, 6, "Y")]
    assert token_ranges_to_tags(ranges, 7, scheme=scheme) == tags.split()
    read = tags_to_token_ranges(tags.split(), scheme=scheme)
    assert read == (ranges if scheme != "IO" else [(1, 4, "X"), (4, 6, "Y")])
    assert detect_scheme([tags.split(), ["O", "O"]]) == scheme


@pytest.mark.parametrize("scheme", TAGS)
@SEEDED
@given(data=st.data())
def test_any_tags_read_as_seqeval_reads_them(scheme, data):
    tags = data.draw(st.lists(TAGS[scheme], max_size=12))
    wanted = [(first, last + 1, label) for label, first, last in get_entities(tags)]
    assert tags_to_token_ranges(tags, scheme=scheme) == wanted


@pytest.mark.parametrize(("scheme", "peer"), [("BIO", IOB2), ("IOB1", IOB1), ("BIOES", IOBES)])
@SEEDED
@given(data=st.data())
def test_legal_tags_are_those_that_seqeval_reads_strictly_as_leniently(scheme, peer, data):
    tags = data.draw(st.lists(TAGS[scheme], max_size=8))
    strict = [(e.start, e.end, e.tag) for e in Entities([tags], peer).entities[0]]
    lenient = tags_to_token_ranges(tags, scheme=scheme)
    if not illegal_tags(tags, scheme=scheme):
        assert strict == lenient
    elif scheme != "IOB1":  # there a needless B is illegal, and yet read alike
        assert token_ranges_to_tags(strict, len(tags), scheme=scheme) != tags


@pytest.mark.parametrize(
    ("scheme", "tags", "faults"),
    [
        ("BIO", "O I-X", [(1, "I-X follows O")]),
        ("BIO", "I-X", [(0, "I-X follows the start")]),
        ("BIO", "B-X I-Y", [(1, "I-Y follows B-X")]),
        ("BIO", "B-X E-X", [(1, "'E-X' is no BIO tag")]),
        ("BIO", "B-X Q-X", [(1, "'Q-X' is no BIO tag")]),
        ("BIO", "B-X I-X B-X O", []),
        ("IOB1", "O B-X", [(1, "B-X follows O")]),
        ("IOB1", "I-X B-X I-Y", []),
        ("BIOES", "B-X O", [(1, "B-X is not closed before O")]),
        ("BIOES", "B-X I-X", [(2, "I-X is not closed before the end")]),
        ("BIOES", "E-X S-X", [(0, "E-X follows the start")]),
        ("BIOES", "B-X E-Y S-Y", [(1, "B-X is not closed before E-Y")]),
        ("BIOES", "B-X I-X E-X S-X O", []),
    ],
)
def test_illegal_tags_by_hand(scheme, tags, faults):
    assert illegal_tags(tags.split(), scheme=scheme) == faults


@pytest.mark.parametrize(
    ("sequences", "scheme"),
    [
        (["O B-X I-X", "O I-X O", "B-X O"], "BIO"),  # one tag is wrong, not the scheme
        (["O I-X I-X", "I-X B-X"], "IOB1"),
        (["O O"], "BIO"),
        (["B-X L-X U-X"], "BIOES"),
        (["O Disease Disease O Gene"], "IO"),
        (["B I O O B"], "BIO"),
        (["B-X I-X E-X", "B-X I-X O B-X", "B-X"], "BIO"),
        (["B-X E-X", "I-X O", "S-X"], "BIOES"),
    ],
)
def test_scheme_is_inferred_from_the_majority(sequences, scheme):
    assert detect_scheme(tags.split() for tags in sequences) == scheme


def test_tags_of_other_notations():
    assert [split_tag(tag) for tag in ("U-X", "L-X", "M-X", "B_X", "B", "O", "B-a-b")] == [
        ("S", "X"),
        ("E", "X"),
        ("I", "X"),
        ("B", "X"),
        ("B", ""),
        ("O", ""),
        ("B", "a-b"),
    ]


@pytest.mark.parametrize(
    "ranges", [[(1, 1, "X")], [(0, 2, "X"), (1, 3, "X")], [(2, 9, "X")], [(-1, 1, "X")]]
)
def test_bad_ranges_are_refused(ranges):
    with pytest.raises(ValueError, match="token range"):
        token_ranges_to_tags(ranges, 5)


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "IO"])
@SEEDED
@given(
    words=st.lists(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), min_size=12, max_size=12
    ),
    ranges=token_ranges(),
)
def test_spans_survive_tags(scheme, words, ranges):
    text, offsets = join_tokens(words)
    assert [text[start:end] for start, end in offsets] == words
    spans = [Span(offsets[first][0], offsets[past - 1][1], label) for first, past, label in ranges]
    assert (
        tags_to_spans(spans_to_tags(spans, offsets, scheme=scheme), offsets, scheme=scheme) == spans
    )
    assert [text[span.start : span.end] for span in spans] == [
        " ".join(words[a:b]) for a, b, _ in ranges
    ]


def test_a_span_takes_the_tokens_it_touches():
    offsets = whitespace_tokens("BRCA1-associated  breast cancers.")
    assert offsets == ((0, 16), (18, 24), (25, 33))
    spans = [Span(6, 20, "X"), Span(16, 18, "blank"), Span(25, 31, "Y")]
    assert spans_to_token_ranges(spans, offsets) == [(0, 2, "X"), (2, 3, "Y")]


@SEEDED
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), max_size=6),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=6),
)
def test_touched_tokens_are_those_with_a_character_in_common(gaps, pairs):
    tokens, end = [], 0
    for gap, size in gaps:
        tokens.append((end + gap, end + gap + size))
        end += gap + size
    for start, past in pairs:
        characters = set(range(start, past))
        touched = [i for i, token in enumerate(tokens) if characters & set(range(*token))]
        wanted = [(touched[0], touched[-1] + 1, "X")] if touched else []
        # An empty span inside a token touches it, although it has no character.
        if start < past:
            assert spans_to_token_ranges([Span(start, past, "X")], tokens) == wanted


@pytest.mark.parametrize(
    ("spans", "tags"),
    [
        ([Span(4, 11, "B"), Span(0, 7, "A")], "B-A I-A O"),  # as long, so the first
        ([Span(0, 3, "A"), Span(0, 7, "A")], "B-A I-A O"),  # the longest
        ([Span(0, 7, "A"), Span(4, 11, "B", 0.5)], "O B-B I-B"),  # the surest, before the longest
        ([Span(0, 11, "A", 0.1), Span(8, 11, "B", 0.2)], "O O B-B"),
        ([Span(0, 7, "A"), Span(6, 15, "B")], "O B-B I-B"),
        ([Span(5, 6, "A")], "O B-A O"),  # a part of a token tags the whole
        ([Span(0, 3, "A"), Span(4, 7, "A")], "B-A B-A O"),
        ([Span(3, 4, "A"), Span(20, 30, "A")], "O O O"),  # touches no token
    ],
)
def test_of_spans_that_share_a_token_one_is_tagged(spans, tags):
    tokens = ((0, 3), (4, 7), (8, 11))
    assert spans_to_tags(spans, tokens) == tags.split()
    assert spans_to_tags(spans[::-1], tokens) == tags.split()


@SEEDED
@given(st.lists(st.builds(Span, st.integers(0, 9), st.integers(0, 9), LABELS), max_size=6))
def test_overlapping_pairs_are_those_with_a_character_in_common(spans):
    wanted = sorted(
        (a, b)
        for i, b in enumerate(sorted(spans))
        for a in sorted(spans)[:i]
        if set(range(a.start, a.end)) & set(range(b.start, b.end))
    )
    assert sorted(overlapping_pairs(spans)) == wanted


@pytest.mark.parametrize(
    ("text", "string", "places"),
    [
        ("WAS was WASP; (WAS)", "WAS", [(0, 3), (15, 18)]),
        ("ataxia-telangiectasia", "ataxia", [(0, 6)]),
        ("cancers cancer", "cancer", [(8, 14)]),
        ("A-T A-T", "A-T", [(0, 3), (4, 7)]),
        ("a a a a", "a a", [(0, 3), (4, 7)]),
        ("anything", "", []),
    ],
)
def test_occurrences_on_word_boundaries(text, string, places):
    assert list(find_occurrences(text, string)) == places
