"""Vectors of a frozen encoder: the same as its own, computed once, kept where another encoder does not find them."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.families import sequence_classifier
from pipelines.families.frozen_head import features

TEXTS = [
    "a good book",
    "bad",
    "so and so, and then some more of the same again and again and again",
    "why not?",
    "x",
]
EXAMPLES = [Example(str(i), text) for i, text in enumerate(TEXTS)]


def extract(folder, cache, examples=EXAMPLES, max_length=40, tokens=False, batch_tokens=8192):
    encoder, tokenizer = (
        sequence_classifier.load_encoder(str(folder)),
        sequence_classifier.load_tokenizer(str(folder)),
    )
    return features.extract(
        encoder,
        tokenizer,
        examples,
        max_length=max_length,
        tokens=tokens,
        cache=cache,
        batch_tokens=batch_tokens,
        progress=False,
    )


def test_states_of_tokens_are_kept_too(tiny_bert, tmp_path):
    assert extract(tiny_bert, tmp_path).encoded == 5
    found = extract(tiny_bert, tmp_path, tokens=True)
    assert (found.encoded, found.cut, list(found.vectors)) == (5, ["2"], ["token"])
    states = found.vectors["token"]
    assert states.shape == (5, 40, 16)
    encoder, tokenizer = (
        sequence_classifier.load_encoder(str(tiny_bert)).eval(),
        sequence_classifier.load_tokenizer(str(tiny_bert)),
    )
    for row, example in enumerate(EXAMPLES):
        batch = tokenizer(example.text, return_tensors="pt", truncation=True, max_length=40)
        with torch.no_grad():
            wanted = encoder(**batch).last_hidden_state[0]
        np.testing.assert_allclose(states[row, : len(wanted)], wanted, atol=1e-5)
        assert np.isnan(states[row, len(wanted) :]).all()
    again = extract(tiny_bert, tmp_path, tokens=True)
    assert again.encoded == extract(tiny_bert, tmp_path).encoded == 0
    np.testing.assert_array_equal(again.vectors["token"], states)


def test_features_are_the_frozen_encoders_and_are_computed_once(tiny_bert, tmp_path):
    found = extract(tiny_bert, tmp_path)
    assert found.encoded == 5
    assert found.cut == ["2"]
    encoder, tokenizer = (
        sequence_classifier.load_encoder(str(tiny_bert)),
        sequence_classifier.load_tokenizer(str(tiny_bert)),
    )
    encoder.eval()
    for row, example in enumerate(EXAMPLES):
        with torch.no_grad():
            states = encoder(
                **tokenizer(example.text, return_tensors="pt", truncation=True, max_length=40)
            ).last_hidden_state[0]
        for pooling, wanted in (
            ("cls", states[0]),
            ("mean", states.mean(0)),
            ("max", states.max(0).values),
        ):
            np.testing.assert_allclose(found.vectors[pooling][row], wanted, atol=1e-5)
    again = extract(tiny_bert, tmp_path)
    assert again.encoded == 0
    np.testing.assert_array_equal(again.vectors["max"], found.vectors["max"])
    # Whole texts are the same at another length; the one that was cut is not, and a pair is another text.
    assert extract(tiny_bert, tmp_path, max_length=30).encoded == 1
    assert extract(tiny_bert, tmp_path, [Example("0", TEXTS[0], pair="x")]).encoded == 1


def test_an_encoder_without_its_upper_layers_gives_the_states_of_the_last_one_left(
    tiny_bert, tmp_path
):
    lower = sequence_classifier.load_encoder(str(tiny_bert), layers=1)
    tokenizer = sequence_classifier.load_tokenizer(str(tiny_bert))
    extract(tiny_bert, tmp_path)
    found = features.extract(
        lower, tokenizer, EXAMPLES, max_length=40, cache=tmp_path, progress=False
    )
    assert found.encoded == 5  # another cache than the whole encoder's
    whole = sequence_classifier.load_encoder(str(tiny_bert)).eval()
    batch = tokenizer(EXAMPLES[0].text, return_tensors="pt", truncation=True, max_length=40)
    with torch.no_grad():
        states = whole(**batch, output_hidden_states=True).hidden_states[1][0]
    np.testing.assert_allclose(found.vectors["mean"][0], states.mean(0), atol=1e-5)
    for layers in (0, 3):
        with pytest.raises(UserError, match=f"got --encoder_layers {layers}; .* has 2"):
            sequence_classifier.load_encoder(str(tiny_bert), layers=layers)


def test_another_encoder_has_another_cache(tiny_bert, tmp_path):
    extract(tiny_bert, tmp_path)
    encoder = sequence_classifier.load_encoder(str(tiny_bert))
    with torch.no_grad():
        encoder.embeddings.word_embeddings.weight[5, 0] += 0.1
    tokenizer = sequence_classifier.load_tokenizer(str(tiny_bert))
    assert (
        features.extract(
            encoder, tokenizer, EXAMPLES, max_length=40, cache=tmp_path, progress=False
        ).encoded
        == 5
    )


def test_a_cache_of_another_version_or_a_damaged_one_is_reported(
    tiny_bert, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(features, "VERSION", "0")
    extract(tiny_bert, tmp_path)
    [other] = tmp_path.rglob("*.safetensors")
    content = other.read_bytes()
    monkeypatch.undo()
    assert extract(tiny_bert, tmp_path).encoded == 5
    assert f"written by another version, so not used: {other.name};" in caplog.text
    assert other.read_bytes() == content
    assert extract(tiny_bert, tmp_path).encoded == 0
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:40])
    assert extract(tiny_bert, tmp_path).encoded == 5
    assert "unreadable" in caplog.text


def test_a_cache_that_cannot_be_written_is_reported_and_done_without(tiny_bert, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where a folder should be")
    found = extract(tiny_bert, tmp_path / "cache")
    assert found.encoded == 5
    assert "kept in memory only" in caplog.text


def test_a_killed_process_loses_the_last_seconds_only(tiny_bert, tmp_path, monkeypatch):
    seconds = itertools.count(0, 2)  # a batch takes two
    monkeypatch.setattr(features, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    original = features._vectors

    def killed_after_four(*arguments):
        yield from itertools.islice(original(*arguments), 4)
        raise MemoryError

    monkeypatch.setattr(features, "_vectors", killed_after_four)
    encoder, tokenizer = (
        sequence_classifier.load_encoder(tiny_bert),
        sequence_classifier.load_tokenizer(tiny_bert),
    )
    with pytest.raises(MemoryError):
        features.extract(
            encoder,
            tokenizer,
            EXAMPLES,
            max_length=40,
            cache=tmp_path,
            batch_tokens=1,
            progress=False,
        )
    monkeypatch.undo()
    assert extract(tiny_bert, tmp_path).encoded <= 2


def test_the_origin_is_that_of_the_vectors_and_not_their_bytes(tiny_bert):
    encoder, tokenizer = (
        sequence_classifier.load_encoder(tiny_bert),
        sequence_classifier.load_tokenizer(tiny_bert),
    )
    found = [
        features.origin(encoder, tokenizer, EXAMPLES, max_length=length) for length in (40, 40, 30)
    ]
    lower = sequence_classifier.load_encoder(tiny_bert, layers=1)
    found += [
        features.origin(lower, tokenizer, EXAMPLES, max_length=40),
        features.origin(encoder, tokenizer, EXAMPLES[::-1], max_length=40),
    ]
    assert found[0] == found[1]
    assert len(set(found)) == 4
