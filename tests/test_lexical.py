"""The taggers without a network as a family: fitted, saved, loaded, the same answers as the baselines."""

import pytest

from pipelines.errors import UserError
from pipelines.evaluation.baselines import dictionary_predictions, most_frequent_tag_predictions
from pipelines.examples import Example, Span
from pipelines.families import lexical
from pipelines.spans import join_tokens


def example(id: str, sentence: str, *spans: Span) -> Example:
    text, tokens = join_tokens(sentence.split())
    return Example(id, text, spans=spans, tokens=tokens)


TRAIN = [
    example("0", "Colon cancer in Paris", Span(0, 12, "Disease"), Span(16, 21, "Place")),
    example("1", "cancer is bad", Span(0, 6, "Disease")),
]
TEST = [example("a", "colon cancer and cancer near PARIS ."), example("b", "nothing here")]


@pytest.mark.parametrize(
    ("method", "baseline"),
    [("dictionary", dictionary_predictions), ("most_frequent_tag", most_frequent_tag_predictions)],
)
def test_saved_and_loaded_it_answers_as_the_baseline(method, baseline, tmp_path):
    lexical.save(tmp_path, lexical.fit(TRAIN, method=method))
    assert lexical.predict(lexical.load(tmp_path), TEST, batch_tokens=8) == baseline(TRAIN, TEST)


def test_the_dictionary_takes_the_longest_mention_whatever_the_case():
    [first, second] = lexical.predict(lexical.fit(TRAIN), TEST)
    assert [TEST[0].text[span.start : span.end] for span in first.spans] == [
        "colon cancer",
        "cancer",
        "PARIS",
    ]
    assert second.spans == ()


def test_bad_input(tmp_path):
    with pytest.raises(UserError, match="most_frequent_tag"):
        lexical.fit(TRAIN, method="dict")
    with pytest.raises(UserError, match=r"lexical\.json"):
        lexical.load(tmp_path)
    (tmp_path / "lexical.json").write_text('{"method": "dictionary"}')
    with pytest.raises(UserError, match="names"):
        lexical.load(tmp_path)
