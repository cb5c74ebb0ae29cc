"""Alignment: word boundaries, combining marks, copies that were altered, and time that stays near-linear."""

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.alignment.copies import offsets_in
from pipelines.alignment.strings import Generated, align
from pipelines.alignment.word_boundaries import find_variant, inside_word
from pipelines.examples import Span
from pipelines.prompting.formats import FORMATS

NFC, NFD = "Jos\u00e9", "Jose\u0301"


def placed(text, *strings):
    return [
        (m.status, m.span and text[m.span.start : m.span.end])
        for m in align(text, [Generated(string, "D") for string in strings])
    ]


# Boundaries


@pytest.mark.parametrize(
    ("text", "offset", "inside"),
    [
        ("colon cancer", 5, False),
        ("colon", 2, True),
        ("p53", 1, True),
        ("colon-cancer", 5, False),
        ("ab", 0, False),
        ("ab", 2, False),
        ("癌症研究", 2, False),
        ("cafe\u0301 noir", 4, True),
        ("cafe\u0301 noir", 5, False),
        ("cafe\u0301s", 5, True),  # behind the accent the word goes on
        ("cafe\u0301\u0308s", 6, True),
        ("ที่", 1, True),
        ("ที่", 2, True),
        ("กที่", 1, False),  # Thai: a vowel and a tone
        ("नमस्ते", 3, True),
        ("नमस्ते", 2, False),  # Devanagari: virama and vowel sign
        ("مَرض", 1, True),
        ("مَرض", 2, False),  # Arabic: a vowel mark
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", 1, True),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", 3, False),  # Hangul
        (" \u0301a", 1, False),  # a mark without a letter
    ],
)
def test_inside_word(text, offset, inside):
    assert inside_word(text, offset) is inside


@given(
    st.text(alphabet="aé1 \u0301\u0308癌ท่ी-", max_size=12),
    st.text(alphabet="aé\u0301ท่", min_size=1, max_size=3),
)
def test_no_mention_cuts_a_mark_off_its_letter(text, string):
    for _, found in placed(text, string, string):
        assert found is None or found in text
    for mention in align(text, [Generated(string, "D")] * 3):
        if mention.span:
            for offset in (mention.span.start, mention.span.end):
                after, before = text[offset : offset + 1], text[:offset][-1:]
                assert not (after and after in "\u0301\u0308่ी" and before.strip())


@pytest.mark.parametrize(
    ("text", "string", "instead"),
    [
        ("Un cafe\u0301 noir", "cafe", "cafe\u0301"),
        (f"Le malade {NFD}", NFC, NFD),
        (f"Le malade {NFC}", NFD, NFC),
        (f"{NFC}, {NFD}", "Jose", NFC),
        (f"Jose, {NFD}", NFC, NFD),
        ("gout", "flu", None),
        ("gout", "", None),
    ],
)
def test_what_the_text_has_instead(text, string, instead):
    assert find_variant(text, string) == instead


def test_letters_with_other_marks_are_not_in_the_text():
    assert placed("Un cafe\u0301 noir", "cafe") == [("not_in_text", None)]
    assert placed("Un cafe\u0301, un cafe", "cafe") == [("exact", "cafe")]
    assert placed(f"Le malade {NFD}", NFC) == [("not_in_text", None)]
    assert placed("เจ็บที่คอ", "ที") == [("not_in_text", None)]
    assert placed("เจ็บที่คอ", "ที่") == [("exact", "ที่")]


# Copies


WORDS = st.lists(st.sampled_from(["flu", "or", "gout", "the", ","]), max_size=25)


@given(WORDS, WORDS)
def test_long_copies_are_aligned_in_order_and_word_by_word(words, copied):
    from pipelines.alignment import copies

    pairs = copies._on_shortest_path(words, copied)
    assert all(words[i] == copied[j] for i, j in pairs)
    assert [i for i, _ in pairs] == sorted({i for i, _ in pairs})
    assert [j for _, j in pairs] == sorted({j for _, j in pairs})
    # The longest common subsequence, by the textbook table.
    table = [[0] * (len(copied) + 1) for _ in range(len(words) + 1)]
    for i, word in enumerate(words):
        for j, other in enumerate(copied):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if word == other else max(table[i][j + 1], table[i + 1][j])
            )
    assert len(pairs) == table[-1][-1]


def test_a_long_altered_copy_keeps_its_places():
    text = "the flu and the gout . " * 1000
    copy = "So " + text[:9000] + "BAD " + text[9100:]
    offsets, is_copy = offsets_in(text, copy, cut_off=False)
    assert is_copy
    right = [
        offset
        for index, offset in enumerate(offsets)
        if offset is not None and copy[index] == text[offset]
    ]
    assert len(right) == sum(offset is not None for offset in offsets) > 16_900
    assert not offsets_in(text, "something else entirely " * 1500, cut_off=False)[1]


# Time


def seconds(function):
    started = time.process_time()
    function()
    return time.process_time() - started


def parse(format, answer, text, *labels):
    return lambda: FORMATS[format].parse(answer, text, labels)


def tagged_and_back():
    text, spans = "cancer and gout x. " * 5500, [Span(19 * i, 19 * i + 6, "D") for i in range(5000)]
    answer = FORMATS["tagged"].render(text, spans, ["D"])
    assert list(FORMATS["tagged"].parse(answer, text, ["D"]).spans) == spans
    FORMATS["tagged"].parse(f"so {answer[:50_000]} bad {answer[50_010:]}", text, ["D"])


def out_of_order():
    rng = random.Random(0)
    names = ["flu", "gout", "cancer"]
    text = " ".join(rng.choices(names, k=14_000))
    mentions = align(text, [Generated(name, "D") for name in rng.choices(names, k=5000)])
    assert {mention.status for mention in mentions} == {"exact"}


def many_types():
    labels = [f"TYPE-{i}" for i in range(2000)]
    text = " ".join(f"word{i}" for i in range(12))
    for format in FORMATS.values():
        for i in range(1000):
            spans = [
                Span(0, 5, labels[i]),
                Span(6, 11, labels[-i]),
                Span(12, 17, labels[i * 7 % 2000]),
            ]
            assert (
                list(format.parse(format.render(text, spans, labels), text, labels).spans) == spans
            )


@pytest.mark.parametrize(
    "work",
    [
        lambda: align("cancer " * 14_000, [Generated("cancer", "D")] * 14_000),
        lambda: align("cancer " * 3000, [Generated("cancer", "D")] * 6000),
        lambda: align("a" * 100_000, [Generated("a" * 50_000, "D")]),
        lambda: align("word " * 20_000, [Generated(f"Zz{i}", "D") for i in range(2000)]),
        out_of_order,
        tagged_and_back,
        many_types,
        parse("tagged", "<D>a " * 20_000 + "</E>" * 20_000, "a " * 20_000, "D", "E"),
        parse("tagged", "\\" * 100_000, "\\" * 100_000, "D"),
        parse("list", "a\\;" * 50_000, "a;" * 50_000, "D"),
        parse("json", '["flu", ' + '"flu", ' * 50_000, "flu", "D"),
    ],
    ids=[
        "repeated",
        "too often",
        "overlapping itself",
        "not in text",
        "out of order",
        "tagged",
        "many types",
        "never closed",
        "backslashes",
        "escapes",
        "cut off",
    ],
)
def test_long_answers_are_read_in_time(work):
    # Each took 5 seconds to minutes when it was quadratic; a second or less now, on one slow core.
    assert seconds(work) < 4
