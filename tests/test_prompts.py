"""Prompt formats: what is rendered is read back, and whatever a model writes is read without an exception."""

import json
import os
import subprocess
import sys
from itertools import pairwise, product
from pathlib import Path

import llguidance
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.alignment.strings import Generated, _longest_chain, align, mention_to_json
from pipelines.errors import UserError
from pipelines.examples import Example, Prediction, Span, prediction_to_json
from pipelines.prompting.formats import FORMATS
from pipelines.prompting.grammars import grammar
from pipelines.prompting.prompts import format_hash, messages, plain_prompt

NCBI = Path(os.environ.get("PIPELINES_DATA", "../shared/data")) / "ncbi_disease"
ONE, TWO = ("Disease",), ("PER", "LOC")
PLACED = {"exact", "case_repaired", "whitespace_repaired"}
texts = st.one_of(
    st.text(max_size=30), st.text(alphabet='abno e;|\\\n<>/PERLOC{}[]":,ßİﬁ', max_size=40)
)
some_labels = st.sampled_from([ONE, TWO])


def spans_of(text: str, *marked: str) -> list[Span]:
    """Spans from `"label:string"` or `"label:string@occurrence"`, the occurrence counted from 0."""
    spans = []
    for mark in marked:
        label, _, rest = mark.partition(":")
        string, _, occurrence = rest.partition("@")
        start = -1
        for _ in range(int(occurrence or 0) + 1):
            start = text.index(string, start + 1)
        spans.append(Span(start, start + len(string), label))
    return spans


# Rendering


TEXT = "Ann met Bo in Rome; Ann left Rome."
PEOPLE = spans_of(TEXT, "PER:Ann", "PER:Bo", "LOC:Rome", "PER:Ann@1")


@pytest.mark.parametrize(
    ("format", "labels", "answer"),
    [
        ("list", ("PER",), "Ann; Bo; Ann"),
        ("list", TWO, "PER: Ann; Bo | LOC: Rome | PER: Ann"),
        ("json", ("PER",), '["Ann", "Bo", "Ann"]'),
        ("json", TWO, '[{"PER": "Ann"}, {"PER": "Bo"}, {"LOC": "Rome"}, {"PER": "Ann"}]'),
        ("tagged", ("PER",), "<PER>Ann</PER> met <PER>Bo</PER> in Rome; <PER>Ann</PER> left Rome."),
        ("list", ("ORG",), "none"),
        ("json", ("ORG",), "[]"),
        ("tagged", ("ORG",), TEXT),
    ],
)
def test_render(format: str, labels: tuple[str, ...], answer: str) -> None:
    assert FORMATS[format].render(TEXT, PEOPLE, labels) == answer
    parsed = FORMATS[format].parse(" " + answer, TEXT, labels)
    assert parsed.status == "ok"
    assert list(parsed.spans) == sorted(span for span in PEOPLE if span.label in labels)
    assert {mention.status for mention in parsed.mentions} <= {"exact"}


@pytest.mark.parametrize(
    ("mention", "answer"),
    [
        ("G6PD; EC 1.1", "G6PD\\; EC 1.1"),
        ("none", "n\\one"),
        ("None", "N\\one"),
        ("a|b\\c", "a\\|b\\\\c"),
        ("two\nlines", "two\\nlines"),
        (" edge ", "\\ edge\\ "),
        ('"quoted"', '"quoted"'),
        ("\\", "\\\\"),
        (" ", "\\ "),
    ],
)
def test_list_escapes(mention: str, answer: str) -> None:
    text = f"x{mention}x"
    span = Span(1, 1 + len(mention), "Disease")
    assert FORMATS["list"].render(text, [span], ONE) == answer
    assert FORMATS["list"].parse(answer, text, ONE).mentions[0].string == mention


@settings(max_examples=400, deadline=None)
@given(texts, st.data(), st.sampled_from(["list", "json"]), some_labels)
def test_any_string_and_its_label_survive_rendering(
    text: str, data: st.DataObject, format: str, labels: tuple[str, ...]
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    spans = [Span(start, end, data.draw(st.sampled_from(labels))) for start, end in pairwise(cuts)]
    parsed = FORMATS[format].parse(FORMATS[format].render(text, spans, labels), text, labels)
    assert [(m.string, m.label) for m in parsed.mentions] == [
        (text[s.start : s.end], s.label) for s in spans
    ]
    assert parsed.status == "ok"


@settings(max_examples=400, deadline=None)
@given(texts, st.data(), some_labels)
def test_tagged_carries_any_spans_side_by_side_or_nested(
    text: str, data: st.DataObject, labels: tuple[str, ...]
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    spans = {Span(start, end, data.draw(st.sampled_from(labels))) for start, end in pairwise(cuts)}
    if len(cuts) > 2:
        spans.add(Span(cuts[0], cuts[-1], labels[0]))
    parsed = FORMATS["tagged"].parse(FORMATS["tagged"].render(text, spans, labels), text, labels)
    assert set(parsed.spans) == spans
    assert parsed.status == "ok"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(["was", "WAS", "colon", "cancer", "(APC)", "breast-cancer", ","]),
        max_size=12,
    ),
    st.sets(st.sampled_from(["WAS", "colon", "(APC)", "cancer"])),
    st.sampled_from(["list", "json"]),
)
def test_mentions_that_are_all_occurrences_of_their_strings_come_back(
    words: list[str], mentioned: set[str], format: str
) -> None:
    text = " ".join(words)
    starts = [sum(map(len, words[:index])) + index for index in range(len(words))]
    spans = [
        Span(start, start + len(word), "Disease")
        for start, word in zip(starts, words, strict=True)
        if word in mentioned
    ]
    if "cancer" in mentioned:  # Its occurrences inside compounds are occurrences too.
        spans += [
            Span(start + 7, start + 13, "Disease")
            for start, word in zip(starts, words, strict=True)
            if word == "breast-cancer"
        ]
    answer = FORMATS[format].render(text, spans, ONE)
    assert list(FORMATS[format].parse(answer, text, ONE).spans) == sorted(spans)


# Parsing what a model might write


@settings(max_examples=800, deadline=None)
@given(texts, texts, st.sampled_from(sorted(FORMATS)), some_labels, st.booleans())
def test_parser_never_raises(
    answer: str, text: str, format: str, labels: tuple[str, ...], cut_off: bool
) -> None:
    parsed = FORMATS[format].parse(answer, text, labels, cut_off=cut_off)
    placed = [mention.span for mention in parsed.mentions if mention.span]
    assert sorted(placed) == list(parsed.spans)
    assert len(set(placed)) == len(placed)
    assert all(0 <= span.start < span.end <= len(text) and span.label in labels for span in placed)
    assert all(
        (mention.status in PLACED) == (mention.span is not None) for mention in parsed.mentions
    )
    json.dumps(
        prediction_to_json(
            Prediction("0", parsed.spans, mentions=tuple(map(mention_to_json, parsed.mentions)))
        )
    ).encode()


def test_deeply_nested_json_and_half_surrogates_do_no_harm() -> None:
    assert FORMATS["json"].parse("[" * 100_000, "a", ONE).status == "unparsable"
    (mention,) = FORMATS["json"].parse('["\\ud800"]', "a", ONE).mentions
    assert mention.string.encode()


@pytest.mark.parametrize(
    ("text", "answer", "starts", "statuses"),
    [
        # The k-th time a string is generated it takes its k-th occurrence.
        ("APC and APC and APC", "APC; APC", [0, 8], ["exact", "exact"]),
        # ... after what came before it.
        ("cancer, FAP and cancer", "FAP; cancer", [8, 16], ["exact", "exact"]),
        # Case-sensitive: the plain word is not the abbreviation.
        ("it was seen in WAS patients", "WAS", [15], ["exact"]),
        ("it was seen", "WAS", [None], ["not_in_text"]),
        ("at AT", "AT; AT", [3, None], ["exact", "extra_occurrence"]),
        # Word boundaries come first, inside a word is the last resort.
        ("anticancer cancer", "cancer", [11], ["exact"]),
        ("colon-cancer cells", "cancer", [6], ["exact"]),
        ("flu", "cold", [None], ["not_in_text"]),
        ("Darmkrebs", "krebs", [4], ["exact"]),
        # A place inside a longer mention is not stolen, whichever is generated first.
        ("cancer or breast cancer", "breast cancer; cancer", [10, 0], ["exact", "exact"]),
        ("breast cancer or cancer", "cancer; breast cancer", [17, 0], ["exact", "exact"]),
        ("coli (APC) tumour of APC", "coli (APC) tumour; APC", [0, 21], ["exact", "exact"]),
        ("breast cancer or cancer", "breast cancer; cancer; cancer", [0, 17, 7], ["exact"] * 3),
        (
            "cancer, X, breast cancer, breast cancer",
            "X; breast cancer; cancer",
            [8, 11, 0],
            ["exact"] * 3,
        ),
        ("b c x a b c", "x; a b; b c", [4, 6, 0], ["exact"] * 3),
        # ... but nested where there is no other place.
        ("breast cancer", "breast cancer; cancer", [0, 7], ["exact", "exact"]),
        (
            "breast cancer, breast cancer",
            "breast cancer; breast cancer; cancer",
            [0, 15, 22],
            ["exact"] * 3,
        ),
        ("Douglas fir, pine, Douglas fir", "Douglas; Douglas fir", [0, 19], ["exact", "exact"]),
        # Out of order, as far as the order can't be kept.
        ("A1 B2 C3", "C3; A1; B2", [6, 0, 3], ["exact"] * 3),
        # Repairs.
        ("Breast cancer", "breast cancer", [0], ["case_repaired"]),
        ("T - cell lymphoma", "T-cell lymphoma", [0], ["whitespace_repaired"]),
        ("T-cell  Lymphoma", "t-cell lymphoma", [0], ["case_repaired"]),
        ("T - cell or T-cell", "T-cell", [12], ["exact"]),
        ("die Straße", "STRASSE", [4], ["case_repaired"]),
        ("das Maß", "mas", [None], ["not_in_text"]),
        # Too often.
        ("flu", "flu; flu", [0, None], ["exact", "extra_occurrence"]),
        ("flu", "flu; Flu", [0, None], ["exact", "duplicate"]),
        ("flu", "", [], []),
        ("flu", "none", [], []),
        ("flu", "None\nText: flu", [], []),
        ("flu\nmeasles", "flu;; \nmeasles", [0], ["exact"]),
        ("癌症研究", "癌症", [0], ["exact"]),
    ],
)
def test_list_places(text: str, answer: str, starts: list[int | None], statuses: list[str]) -> None:
    mentions = FORMATS["list"].parse(answer, text, ONE).mentions
    assert [mention.status for mention in mentions] == statuses
    assert [mention.span and mention.span.start for mention in mentions] == starts


@pytest.mark.parametrize(
    ("format", "labels", "answer", "status"),
    [
        ("list", ONE, "", "unparsable"),
        ("list", ONE, "flu", "ok"),
        ("list", ONE, " none", "ok"),
        ("list", TWO, "flu", "unparsable"),
        ("list", TWO, "PER: flu", "ok"),
        ("list", TWO, "XYZ: flu", "unparsable"),
        ("json", ONE, "flu", "unparsable"),
        ("json", ONE, 'Here: ["flu"].', "ok"),
        ("json", ONE, '["flu"', "unparsable"),
        ("json", ONE, "[1]", "unparsable"),
        ("json", TWO, '{"per": ["flu"]}', "ok"),
        ("tagged", ONE, "none", "unparsable"),
        ("tagged", ONE, "the flu season", "ok"),
        ("tagged", ONE, "the <Disease>flu season", "unparsable"),
        ("tagged", ONE, "the flu</Disease> season", "unparsable"),
    ],
)
def test_status_of_the_answer(
    format: str, labels: tuple[str, ...], answer: str, status: str
) -> None:
    assert FORMATS[format].parse(answer, "the flu season", labels).status == status


@pytest.mark.parametrize(
    ("format", "labels", "answer", "strings"),
    [
        ("list", ONE, "flu; measles; mumps", ["flu", "measles"]),
        ("list", ONE, "flu; measles; ", ["flu", "measles"]),
        ("list", ONE, "flu", []),
        ("list", TWO, "PER: flu | LOC: measles; mum", ["flu", "measles"]),
        ("list", TWO, "PER: flu | LO", ["flu"]),
        ("json", ONE, '["flu", "measles", "mum', ["flu", "measles"]),
        ("json", ONE, '["flu", "measles"]', ["flu", "measles"]),
        ("json", TWO, '[{"PER": "flu"}, {"LOC": "meas', ["flu"]),
        ("json", TWO, '{"PER": ["flu", "meas', []),
        ("tagged", ONE, "<Disease>flu</Disease>, <Disease>meas", ["flu"]),
        ("tagged", ONE, "<Disease>flu</Disease>, <Disease>measles</Dis", ["flu"]),
    ],
)
def test_a_cut_off_answer_loses_its_last_mention_only(
    format: str, labels: tuple[str, ...], answer: str, strings: list[str]
) -> None:
    parsed = FORMATS[format].parse(answer, "flu, measles, mumps", labels, cut_off=True)
    assert [mention.string for mention in parsed.mentions] == strings
    assert parsed.status == "ok"


def test_unknown_types_are_kept_and_counted() -> None:
    parsed = FORMATS["list"].parse("per: Ann | GPE: Rome | Bo", "Ann, Rome, Bo", TWO)
    assert [(m.string, m.label, m.status) for m in parsed.mentions] == [
        ("Ann", "PER", "exact"),
        ("Rome", "GPE", "unknown_label"),
        ("Bo", "", "unknown_label"),
    ]
    assert parsed.spans == (Span(0, 3, "PER"),)


def test_one_place_may_have_two_types() -> None:
    spans = [Span(0, 4, "LOC"), Span(0, 4, "PER")]
    for name, chosen in FORMATS.items():
        assert list(chosen.parse(chosen.render("Rome", spans, TWO), "Rome", TWO).spans) == spans, (
            name
        )


@pytest.mark.parametrize(
    ("text", "answer", "places", "statuses"),
    [
        ("the colon cancer gene", "the <Disease>colon cancer</Disease> gene", [(4, 16)], ["exact"]),
        # The mark tells which occurrence is meant.
        ("flu or flu", "flu or <Disease>flu</Disease>", [(7, 10)], ["exact"]),
        # A changed sentence: words lost, added, in other case, other blanks.
        (
            "In fact, the flu or flu came",
            "the flu or <Disease>flu</Disease> came",
            [(20, 23)],
            ["exact"],
        ),
        ("the flu or flu", "So the flu or the bad <Disease>flu</Disease>!", [(11, 14)], ["exact"]),
        ("the Flu or Flu.", "the flu or <Disease>flu</Disease>", [(11, 14)], ["case_repaired"]),
        (
            "a  T - cell tumour .",
            "a <Disease>T-cell tumour</Disease>.",
            [(3, 18)],
            ["whitespace_repaired"],
        ),
        (
            "flu came; flu",
            "<Disease>flu</Disease> <Disease>flu</Disease> came",
            [(10, 13), (0, 3)],
            ["exact", "exact"],
        ),
        ("the colon cancers", "a <Disease>colon cancer</Disease>", [(4, 16)], ["exact"]),
        ("the flu or flu", "the flu or <Disease>measles</Disease>", [None], ["not_in_text"]),
        (
            "the flu",
            "the <Disease><Disease>flu</Disease></Disease>",
            [(4, 7), None],
            ["exact", "duplicate"],
        ),
        ("\n the flu ", "the <Disease>flu</Disease>", [(6, 9)], ["exact"]),
        (
            "<Disease> and &lt; flu",
            "\\<Disease> and &lt; <Disease>flu</Disease>",
            [(19, 22)],
            ["exact"],
        ),
        ("C:\\flu", "C:\\\\<Disease>flu</Disease>", [(3, 6)], ["exact"]),
    ],
)
def test_tagged_places(
    text: str, answer: str, places: list[tuple[int, int] | None], statuses: list[str]
) -> None:
    mentions = FORMATS["tagged"].parse(answer, text, ONE).mentions
    assert [
        mention.span and (mention.span.start, mention.span.end) for mention in mentions
    ] == places
    assert [mention.status for mention in mentions] == statuses


def test_crossing_spans_of_two_types_survive_in_a_tagged_text() -> None:
    spans = [Span(0, 7, "LOC"), Span(4, 11, "PER")]
    answer = FORMATS["tagged"].render("one two three", spans, TWO)
    assert list(FORMATS["tagged"].parse(answer, "one two three", TWO).spans) == spans


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 3)), max_size=3), max_size=5))
def test_longest_chain_against_all_choices(starts: list[list[tuple[int, int]]]) -> None:
    choices = [sorted((start, start + length) for start, length in places) for places in starts]

    def in_order(picked: tuple[tuple[int, int] | None, ...]) -> bool:
        return all(
            left[1] <= right[0] for left, right in pairwise(place for place in picked if place)
        )

    longest = max(
        len(picked) - picked.count(None)
        for picked in product(*([*places, None] for places in choices))
        if in_order(picked)
    )
    chain = _longest_chain(choices)
    assert len(chain) == longest
    assert in_order(tuple(chain.get(index) for index in range(len(choices))))
    assert all(chain[index] in choices[index] for index in chain)


def test_a_model_that_repeats_itself_has_as_many_places_as_the_text() -> None:
    mentions = align("cancer " * 300, [Generated("cancer", "Disease")] * 400)
    assert [mention.status for mention in mentions].count("exact") == 300


# Prompts


def test_prompts_name_the_types_and_end_where_the_answer_begins() -> None:
    assert plain_prompt("Flu.", "list", ONE) == "Text: Flu.\nDiseases:"
    assert plain_prompt("Flu.", "list", TWO) == "Text: Flu.\nPER, LOC:"
    turns = messages("Flu.", format="json", labels=ONE)
    assert [turn["role"] for turn in turns] == ["system", "user"]
    assert turns[1]["content"] == "Flu."
    for name in FORMATS:
        for labels in (ONE, TWO):
            instruction = messages("", format=name, labels=labels)[0]["content"]
            assert "\n" not in instruction
            assert all(label in instruction for label in labels)


def test_an_unknown_format_names_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'xml'.*list, json, tagged"):
        plain_prompt("", "xml", ONE)


def test_format_hash_tells_apart_what_shapes_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = {
        format_hash(name, labels, chat_template=template)
        for name in FORMATS
        for labels in (ONE, TWO, TWO[::-1])
        for template in (None, "x")
    }
    assert len(hashes) == 3 * 3 * 2
    before = format_hash("list", ONE)
    assert (
        before
        == subprocess.run(
            [
                sys.executable,
                "-c",
                "from pipelines.prompting.prompts import *; print(format_hash('list', ['Disease']))",
            ],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    original = FORMATS["list"]
    for render in (
        lambda text, spans, labels: original.render(text, spans, labels) if spans else "nothing",
        lambda text, spans, labels: original.render(text, spans, labels).replace(";", ","),
    ):
        monkeypatch.setitem(FORMATS, "list", original._replace(render=render))
        assert format_hash("list", ONE) != before


def test_prompts_import_neither_torch_nor_transformers() -> None:
    code = "import sys, pipelines.prompting.formats; print({'torch', 'transformers', 'llguidance'} & set(sys.modules))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "set()\n"
    )


# Grammars


BYTES = llguidance.LLTokenizer("byte")


def admits(rules: str | None, answer: str) -> bool:
    assert rules is not None
    matcher = llguidance.LLMatcher(BYTES, rules)
    assert not matcher.is_error(), matcher.get_error()
    tokens = BYTES.tokenize_str(answer)
    return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


GENE = 'The colon-cancer; gene (APC) was "odd" \\ none.'


@pytest.mark.parametrize(
    ("format", "labels", "answer", "admitted"),
    [
        ("list", ONE, "none", True),
        ("list", ONE, "colon", True),
        ("list", ONE, "colon-cancer; APC", True),
        ("list", ONE, "(APC) was", True),
        ("list", ONE, "cancer\\; gene", True),
        ("list", ONE, "colo", False),
        ("list", ONE, "", False),
        ("list", ONE, "colon; ", False),
        ("list", ONE, "colon ; APC", False),
        ("list", ONE, " colon", False),
        ("list", ONE, "colon gene", False),
        ("list", ONE, "cancer; gene (", True),
        ("list", TWO, "PER: colon; gene | LOC: APC", True),
        ("list", TWO, "colon", False),
        ("list", TWO, "none", True),
        ("list", TWO, "PER: none | LOC", False),
        ("json", ONE, "[]", True),
        ("json", ONE, '["colon", "\\"odd\\""]', True),
        ("json", ONE, '["colo"]', False),
        ("json", ONE, '["colon"', False),
        ("json", TWO, '[{"PER": "colon"}, {"LOC": "APC"}]', True),
        ("json", TWO, '["colon"]', False),
    ],
)
def test_grammar_admits_well_formed_answers_about_the_text(
    format: str, labels: tuple[str, ...], answer: str, admitted: bool
) -> None:
    assert admits(grammar(format, GENE, labels), answer) is admitted


def test_grammar_with_a_lead_and_of_a_tagged_text() -> None:
    rules = grammar("list", GENE, ONE, lead=" ")
    assert admits(rules, " colon")
    assert not admits(rules, "colon")
    assert grammar("tagged", GENE, ONE) is None


@settings(max_examples=60, deadline=None)
@given(
    st.text(alphabet='ab1-( ;|\\\n"é癌', max_size=15),
    st.data(),
    st.sampled_from(["list", "json"]),
    some_labels,
)
def test_grammar_admits_what_is_rendered_of_whole_words(
    text: str, data: st.DataObject, format: str, labels: tuple[str, ...]
) -> None:
    edges = [
        i
        for i in range(len(text) + 1)
        if not (0 < i < len(text) and text[i - 1] in "ab1é" and text[i] in "ab1é")
    ]
    cuts = sorted(data.draw(st.sets(st.sampled_from(edges), max_size=4)))
    spans = [
        Span(start, end, data.draw(st.sampled_from(labels)))
        for start, end in pairwise(cuts)
        if text[start:end] == text[start:end].strip()
    ]
    assert admits(grammar(format, text, labels), FORMATS[format].render(text, spans, labels))


# A real corpus


def ncbi() -> list[Example]:
    if not NCBI.is_dir():
        pytest.skip(f"{NCBI} is absent; PIPELINES_DATA names the folder of the corpora")
    return [
        Example(
            row["id"],
            row["sentence"],
            tuple(sorted(Span(e["start"], e["end"], e["type"]) for e in row["entities"])),
        )
        for name in ("train", "dev")
        for row in json.loads((NCBI / f"{name}.json").read_text())
    ]


@pytest.mark.parametrize(("format", "least"), [("list", 0.999), ("json", 0.999), ("tagged", 1.0)])
def test_gold_mentions_of_ncbi_come_back(format: str, least: float) -> None:
    both = gold = found = 0
    for example in ncbi():
        answer = FORMATS[format].render(example.text, example.spans or (), ONE)
        parsed = FORMATS[format].parse(" " + answer, example.text, ONE)
        assert parsed.status == "ok"
        both += len(set(parsed.spans) & set(example.spans or ()))
        gold += len(example.spans or ())
        found += len(parsed.spans)
    assert 2 * both / (gold + found) >= least


@pytest.mark.parametrize("format", ["list", "json"])
def test_grammar_admits_the_gold_answers_of_ncbi(format: str) -> None:
    refused = [
        example.id
        for example in ncbi()[::20]
        if not admits(
            grammar(format, example.text, ONE),
            FORMATS[format].render(example.text, example.spans or (), ONE),
        )
    ]
    assert refused == []
