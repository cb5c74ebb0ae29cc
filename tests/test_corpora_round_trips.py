"""Examples written in a layout and read again are the same examples."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.alignment.strings import inside_word
from pipelines.corpora import read_corpus, read_examples
from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.spans import join_tokens, spans_to_tags, spans_to_token_ranges

SEEDED = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
DATA = Path(os.environ.get("PIPELINES_DATA", Path(__file__).parents[2] / "shared" / "data"))


def written(folder, content):
    path = folder / "corpus"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def lines(values):
    return "\n".join(map(json.dumps, values))


WORDS = st.text(st.sampled_from("abÄβ-1'"), min_size=1, max_size=6)


@st.composite
def corpora(draw):
    """Tokenised examples with mentions that do not overlap, at least one of them labelled with a mention."""
    examples = []
    for i in range(draw(st.integers(1, 4))):
        text, tokens = join_tokens(draw(st.lists(WORDS, min_size=1, max_size=9)))
        cuts = sorted(draw(st.sets(st.integers(0, len(tokens)), max_size=6)))
        spans = tuple(
            Span(tokens[a][0], tokens[b - 1][1], draw(st.sampled_from(["Disease", "Gene"])))
            for a, b in zip(cuts[::2], cuts[1::2], strict=False)
        )
        examples.append(Example(f"e{i}", text, spans, tokens=tokens))
    return examples


def words(example):
    return [example.text[start:end] for start, end in example.tokens]


def offsets(example, unit):
    if unit == "token":
        return spans_to_token_ranges(example.spans, example.tokens)
    return [(span.start, span.end, span.label) for span in example.spans]


def as_objects(examples, inclusive, unit):
    """Entities as objects with a claimed text, by characters or tokens, ends in or out."""
    field = {"character": lambda e: {"sentence": e.text}, "token": lambda e: {"tokens": words(e)}}[
        unit
    ]
    return [
        {
            "id": e.id,
            **field(e),
            "entities": [
                {
                    "text": e.text[span.start : span.end],
                    "start": start,
                    "end": end - inclusive,
                    "type": label,
                }
                for span, (start, end, label) in zip(e.spans, offsets(e, unit), strict=True)
            ],
        }
        for e in examples
    ]


def as_tags(examples, scheme):
    return [
        {"id": e.id, "tokens": words(e), "tags": spans_to_tags(e.spans, e.tokens, scheme=scheme)}
        for e in examples
    ]


def as_numbers(examples):
    names = ["O", "B-Disease", "I-Disease", "B-Gene", "I-Gene"]
    return {
        "names": names,
        "data": [
            row | {"tags": [names.index(tag) for tag in row["tags"]]}
            for row in as_tags(examples, "BIO")
        ],
    }


def as_pubtator(examples):
    return "\n".join(
        f"{e.id}|t|{e.text}\n{e.id}|a|\n"
        + "".join(
            f"{e.id}\t{s.start}\t{s.end}\t{e.text[s.start : s.end]}\t{s.label}\tD1\n"
            for s in e.spans
        )
        for e in examples
    )


def as_conll(examples):
    return "\n".join(
        f"# sent_id = {row['id']}\n"
        + "".join(
            f"{token}\t{tag}\n" for token, tag in zip(row["tokens"], row["tags"], strict=True)
        )
        for row in as_tags(examples, "BIO")
    )


WRITERS = {
    "half-open characters": lambda examples: as_objects(examples, 0, "character"),
    "inclusive characters": lambda examples: as_objects(examples, 1, "character"),
    "half-open tokens": lambda examples: as_objects(examples, 0, "token"),
    "inclusive tokens": lambda examples: as_objects(examples, 1, "token"),
    "triples": lambda examples: lines(
        [{"id": e.id, "text": e.text, "label": offsets(e, "character")} for e in examples]
    ),
    "BIO": lambda examples: as_tags(examples, "BIO"),
    "BIOES": lambda examples: as_tags(examples, "BIOES"),
    "numbers": as_numbers,
    "columns": lambda examples: {
        key: [row[key] for row in as_tags(examples, "BIO")] for key in ("id", "tokens", "tags")
    },
    "CoNLL": as_conll,
    "PubTator": as_pubtator,
}


@pytest.mark.parametrize("name", WRITERS)
@SEEDED
@given(examples=corpora())
def test_written_and_read_again(name, examples, tmp_path):
    if "tokens" in name or "characters" in name or name == "CoNLL":
        # Offsets that fit two readings say nothing about which is meant; a longer mention decides.
        # A file of a single token is refused where its name does not say that it holds tokens.
        examples = [
            *examples,
            Example("last", "a bb ccc", (Span(2, 8, "Disease"),), tokens=((0, 1), (2, 4), (5, 8))),
        ]
    try:
        corpus = read_corpus(written(tmp_path, WRITERS[name](examples)))
    except UserError as error:
        # Where offsets claim no text, two readings may fit: then neither is picked.
        assert name == "triples"
        assert "its offsets may be" in str(error)  # noqa: PT017
        return
    assert corpus.faults == []
    back = [(example.id, example.text.strip(), example.spans or ()) for example in corpus.examples]
    assert back == [(example.id, example.text, example.spans) for example in examples]


@SEEDED
@given(examples=corpora())
def test_strings_are_placed_on_word_boundaries(examples, tmp_path):
    rows = [
        {"text": e.text, "entities": [[e.text[s.start : s.end], s.label] for s in e.spans]}
        for e in examples
    ]
    for example in read_corpus(written(tmp_path, rows)).examples:
        gold = examples[int(example.id)]
        assert [(example.text[s.start : s.end], s.label) for s in example.spans] == [
            (gold.text[s.start : s.end], s.label) for s in gold.spans
        ]
        assert not any(
            inside_word(example.text, edge) for s in example.spans for edge in (s.start, s.end)
        )


@pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no corpora at {DATA}; PIPELINES_DATA says where they are"
)
def test_strings_find_nearly_all_of_the_offsets_they_came_from(tmp_path):
    gold = read_examples(DATA / "ncbi_disease" / "train.json")
    rows = [
        {"id": e.id, "text": e.text, "diseases": [e.text[s.start : s.end] for s in e.spans]}
        for e in gold
    ]
    read = read_examples(written(tmp_path, rows))
    moved = sum(len(set(a.spans) - set(b.spans)) for a, b in zip(gold, read, strict=True))
    assert moved <= 0.001 * sum(len(e.spans) for e in gold)
