"""Texts over a model's context: read in windows or answered as unparsable, and always named."""

import json
import logging
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.examples import Example, Prediction, Span
from pipelines.families import causal_lm, sequence_classifier, token_tagger
from pipelines.families.causal_lm import Loaded, predict, prompt_for
from pipelines.families.causal_lm.text_windows import TextWindow, merged_prediction, text_windows
from pipelines.families.class_answers import ClassifierSettings
from pipelines.spans import spans_to_tags, word_units


@given(
    st.lists(st.text(alphabet="ab,肺ไข้", min_size=1, max_size=4), max_size=30), st.integers(4, 60)
)
def test_windows_cover_a_text_and_own_each_character_once(words, room):
    text = " ".join(words)
    windows = text_windows(text, lambda part: len(part) <= room)
    # At the least a window is three units, of four characters at most, and the blanks between.
    assert windows or len(word_units(text)) < 2 or room < 14
    if not windows:
        return
    assert (windows[0].first, windows[-1].past) == (0, len(text))
    for window in windows:
        assert window.end - window.start <= room
    for before, after in pairwise(windows):
        assert before.past == after.first
        assert after.start < after.first < before.end  # what lies about the border is read by both


def test_mentions_come_from_the_window_that_they_begin_in():
    windows = [TextWindow(0, 30, 0, 20), TextWindow(10, 50, 20, 50)]
    answers = [
        Prediction(
            "0",
            spans=(Span(2, 5, "D", 0.5), Span(18, 24, "D", 0.4), Span(21, 24, "D")),
            raw="x",
            status="ok",
            mentions=({"string": "m", "place": [18, 24]}, {"string": "lost", "place": None}),
        ),
        Prediction(
            "0",
            spans=(Span(8, 14, "D"), Span(11, 13, "D", 0.3)),
            raw="y",
            status="cut_off",
            mentions=({"string": "m", "place": [8, 14]}, {"string": "n", "place": [11, 13]}),
        ),
    ]
    merged = merged_prediction(Example("7", "." * 50), windows, answers)
    assert [(span.start, span.end, span.score) for span in merged.spans] == [
        (2, 5, 0.5),
        (18, 24, 0.4),
        (21, 23, 0.3),
    ]
    assert merged.mentions == (
        {"string": "m", "place": [18, 24]},
        {"string": "lost", "place": None},
        {"string": "n", "place": [21, 23]},
    )
    assert (merged.id, merged.raw, merged.status) == ("7", "x\ny", "cut_off")


class Echo:
    """Stands for generation: answers each prompt with the mentions of `flu` in it, by the tokenizer of bytes."""

    def __init__(self, tokenizer):
        self.tokenizer, self.lengths = tokenizer, []

    def __call__(self, model, tokenizer, prompts, *, limits, **_):
        answers = []
        for prompt, limit in zip(prompts, limits, strict=True):
            self.lengths.append(len(prompt) + limit)
            text = tokenizer.decode(prompt).partition("Text: ")[2].rpartition("\n")[0]
            ids = tokenizer(" " + ("; ".join(["flu"] * text.count("flu")) or "none"))["input_ids"]
            answers.append([causal_lm.Answer(ids, [-0.1] * (len(ids) + 1), ended=True)])
        return answers


def test_a_long_text_is_read_in_windows_and_named(network, tokenizer, monkeypatch, caplog):
    echo = Echo(tokenizer)
    monkeypatch.setattr(causal_lm, "generate_samples", echo)
    prompt = prompt_for(
        tokenizer, format="list", labels=["Disease"], style="plain", constrained=True
    )
    words = [["word"] * 9 + ["flu"] for _ in range(90)]
    text = " ".join(word for part in words for word in part)
    examples = [Example("short", "A flu."), Example("long", text), Example("other", "none")]
    with caplog.at_level(logging.WARNING):
        short, long, other = predict(Loaded(network, tokenizer, prompt), examples, progress=False)
    assert short.spans == (Span(2, 5, "Disease"),)
    assert other.spans == ()
    gold = [
        Span(start, start + 3, "Disease")
        for start in range(len(text))
        if text.startswith("flu", start)
    ]
    assert list(long.spans) == gold
    assert long.status == "ok"
    assert max(echo.lengths) <= network.config.max_position_embeddings
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("1 texts are longer than the model's 2048 tokens")
    assert re.search(r": long \(4\d\d\d tokens\)$", line)


def test_a_real_network_answers_a_long_text_within_its_context(network, tokenizer, caplog):
    network.config.max_position_embeddings = 256
    prompt = prompt_for(
        tokenizer, format="list", labels=["Disease"], style="plain", constrained=True
    )
    examples = [Example("a", "word " * 80 + "gout"), Example("b", "gout")]
    with caplog.at_level(logging.WARNING):
        long, short = predict(Loaded(network, tokenizer, prompt), examples, progress=False)
    assert (long.id, short.id) == ("a", "b")
    assert long.status in ("ok", "cut_off")
    assert all(0 <= span.start < span.end <= len(examples[0].text) for span in long.spans)
    assert "a (" in caplog.text
    assert "b (" not in caplog.text


@pytest.mark.parametrize(
    ("style", "text"),
    [("chat", "gout and flu"), ("plain", "x" * 300)],
    ids=["prompt over the context", "one long word"],
)
def test_where_nothing_fits_the_answer_is_unparsable_and_named(
    network, tokenizer, caplog, style, text
):
    network.config.max_position_embeddings = 100
    prompt = prompt_for(tokenizer, format="list", labels=["Disease"], style=style, constrained=True)
    with caplog.at_level(logging.WARNING):
        [answer] = predict(Loaded(network, tokenizer, prompt), [Example("q", text)], progress=False)
    assert (answer.spans, answer.raw, answer.status) == ((), "", "unparsable")
    assert "q (" in caplog.text
    assert "100 tokens" in caplog.text


def test_classifiers_name_the_texts_they_cut_at_prediction_too(tiny_bert, caplog):
    settings = ClassifierSettings(("a", "b"), max_length=12)
    tokenizer = sequence_classifier.load_tokenizer(tiny_bert)
    model = sequence_classifier.load_network(tiny_bert, settings).eval()
    loaded = sequence_classifier.Loaded(model, tokenizer, settings)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        sequence_classifier.predict(loaded, [Example("fits", "abc")], progress=False)
        assert not caplog.records
        sequence_classifier.predict(
            loaded, [Example("fits", "abc"), Example("cut", "a" * 40)], progress=False
        )
    [line] = [record.getMessage() for record in caplog.records]
    assert (
        line == "1 texts are longer than the model's 12 tokens; only their beginning was read: cut"
    )


def test_taggers_read_a_text_of_any_length(tiny_bert):
    text = "no flu " * 90
    case = Example(
        "0", text, spans=tuple(Span(start, start + 3, "D") for start in range(3, len(text), 7))
    )
    tokenizer = token_tagger.load_tokenizer(tiny_bert)
    [encoded] = token_tagger.encode(
        [case], tokenizer, token_tagger.TaggerSettings(window=48, stride=8)
    )
    assert len(encoded.windows) > 5
    assert not token_tagger.unreachable(
        case, spans_to_tags(case.spans, encoded.offsets), encoded.offsets
    )


def test_the_context_is_that_of_the_text_part_of_a_model(tmp_path):
    for number, config in enumerate(
        (
            {"model_type": "llama", "max_position_embeddings": 77},
            {
                "model_type": "gemma3",
                "text_config": {"model_type": "gemma3_text", "max_position_embeddings": 55},
            },
            {"model_type": "bloom"},
        )
    ):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "config.json").write_text(json.dumps(config))
    assert [causal_lm.context_length(str(tmp_path / str(number))) for number in range(3)] == [
        77,
        55,
        1 << 20,
    ]
