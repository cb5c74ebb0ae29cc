"""The dictionary: which names it keeps, worked by hand; its identifiers; bad lexicons."""

import pytest

from pipelines.corpora.lexicon import Entry, Lexicon
from pipelines.errors import UserError
from pipelines.examples import Example, Span
from pipelines.families import lexical
from pipelines.families.lexical import dictionary


def example(id, text, *mentions):
    """An example with the first occurrence of each (string, type) as a span."""
    spans = []
    for string, label in mentions:
        start = text.index(string)
        spans.append(Span(start, start + len(string), label))
    return Example(id, text, spans=tuple(spans))


WAS = ("WAS", "Disease")
TRAIN = [
    example("0", "WAS is a syndrome that was rare", WAS),
    example("1", "it was once", ("once", "Disease")),
    example("2", "colon cancer again", ("colon cancer", "Disease")),
    example("3", "cancer once", ("cancer", "Disease")),
]


def found(model, text):
    [prediction] = dictionary.predict(model, [Example("t", text)])
    return [text[span.start : span.end] for span in prediction.spans]


def test_a_name_that_is_mostly_not_a_mention_is_dropped():
    model = dictionary.fit(TRAIN)
    # "was" matches three times and is a mention once, "once" twice and once: half is enough.
    assert set(model.lexicon.names) == {"once", "colon cancer", "cancer"}
    # (mentions + 1) / (matches + 2); "cancer" inside "colon cancer" is no match of its own.
    assert model.scores == {"once": 0.5, "colon cancer": 0.6667, "cancer": 0.6667}
    assert found(model, "Colon  cancer was WAS once") == ["Colon  cancer", "once"]


def test_names_of_a_lexicon_are_filtered_too_and_their_identifiers_are_predicted(tmp_path):
    names = {
        "syndrome": Entry("Disease", "D1"),
        "flu": Entry("Disease", "D2"),
        "cancer": Entry("Disease", "D3"),
    }
    model = dictionary.fit(TRAIN, Lexicon(names))
    # Training has "syndrome" outside of mentions only, "flu" not at all: 1 / 2.
    assert "syndrome" not in model.lexicon.names
    assert model.scores["flu"] == 0.5
    lexical.save(tmp_path, lexical.Lexical("dictionary", model))
    for loaded in (lexical.Lexical("dictionary", model), lexical.load(tmp_path)):
        [prediction] = lexical.predict(loaded, [Example("t", "Flu, cancer or colon cancer")])
        assert [(mention["id"], mention["string"]) for mention in prediction.mentions] == [
            ("D2", "Flu"),
            ("D3", "cancer"),
        ]
        assert [span.score for span in prediction.spans] == [0.5, 0.6667, 0.6667]


def test_a_name_with_several_types_has_its_most_frequent_one():
    train = [
        example("0", "Paris", ("Paris", "Place")),
        example("1", "Paris", ("Paris", "Place")),
        example("2", "Paris", ("Paris", "Person")),
    ]
    model = dictionary.fit(train, Lexicon({"paris": Entry("Person", "Q90")}))
    assert model.lexicon.names == {"paris": Entry("Place", "Q90")}
    assert model.scores == {"paris": 0.6}


def test_a_lexicon_without_types_gets_the_type_of_training_and_is_refused_where_it_has_several():
    untyped = Lexicon({"flu": Entry()})
    assert found(dictionary.fit(TRAIN, untyped), "flu") == ["flu"]
    several = [*TRAIN, example("4", "Paris", ("Paris", "Place"))]
    with pytest.raises(UserError, match="without a type, and training has 2 types"):
        dictionary.fit(several, untyped)
    with pytest.raises(UserError, match="training has 0 types"):
        dictionary.fit([Example("0", "nothing", spans=())], untyped)
