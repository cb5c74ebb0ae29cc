"""Texts a second of an encoder of BERT-base's shape: tagging, and features for a head."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoModel, BertForTokenClassification

from gpu.inputs import Setting, bert_config, encoder_tokenizer, examples
from gpu.rows import Recorder, peak_memory
from pipelines.examples import Example, JsonObject
from pipelines.families import token_tagger
from pipelines.families.frozen_head.features import extract
from pipelines.networks import precision
from pipelines.networks.labels import label_map


def run(setting: Setting, record: Recorder) -> None:
    """Measures both on the texts of the sample corpus."""
    precision.choose()  # TF32 where the GPU has it, as in a run
    words = encoder_tokenizer()
    # A number before each, since features of a text that was seen are not computed again.
    texts = [
        Example(example.id, f"{example.id} {example.text}")
        for example in examples("train", 16 if setting.small else 8_000)
    ]
    config = bert_config(setting.small, len(words))

    def tagging() -> JsonObject:
        config.update(label_map(["O", "B-Disease", "I-Disease"]))
        model = BertForTokenClassification(config).eval().to(setting.device)
        settings = token_tagger.TaggerSettings(window=256)
        loaded = token_tagger.Loaded(model, words, settings)
        return timed(
            setting, len(texts), lambda: token_tagger.predict(loaded, texts, progress=False)
        )

    def features() -> JsonObject:
        encoder: Any = AutoModel.from_config(config)
        return timed(
            setting,
            len(texts),
            lambda: extract(
                encoder,
                words,
                texts,
                max_length=256,
                cache=setting.folder / "features",
                progress=False,
            ),
        )

    record.case("tagging, float32", tagging)
    record.case("features of a frozen encoder, float32", features, needs=5)


def timed(setting: Setting, count: int, work: Callable[[], object]) -> JsonObject:
    """Texts a second and the GPU's peak memory."""
    values: JsonObject = {}
    torch.manual_seed(0)
    with peak_memory(values):
        start = time.perf_counter()
        work()
        setting.synchronize()
        seconds = time.perf_counter() - start
    return {"texts/s": count / seconds, **values}
