"""A network that classifies a text, or a pair of texts: encoding and prediction.

Any `AutoModelForSequenceClassification`, with the library's own head or with a pooled one. Training
and prediction encode a text by the same function, `encode`. Loading and saving are in `loading.py`,
training in `classifier_training.py` (the whole network) and in `frozen_head` (a head on cached
features).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from pipelines.examples import Example, JsonObject, Prediction
from pipelines.families.batching import chunks, length_batches, progress_bar
from pipelines.families.class_answers import ClassifierSettings, predictions_from
from pipelines.families.sequence_classifier.loading import (
    MODEL_FILE,
    Loaded,
    head_config,
    load,
    load_encoder,
    load_network,
    save,
    window_of,
)
from pipelines.formatting import some
from pipelines.networks.encoder_tokenizer import load_tokenizer

BATCH_TOKENS = 8192  # tokens of a batch in prediction
logger = logging.getLogger(__name__)
__all__ = [
    "MODEL_FILE",
    "Encoded",
    "Loaded",
    "batches",
    "encode",
    "head_config",
    "length_from",
    "load",
    "load_encoder",
    "load_network",
    "load_tokenizer",
    "predict",
    "predict_logits",
    "save",
    "targets",
    "window_of",
]


class Encoded(NamedTuple):
    """Texts as token ids; `cut` are the ids of those that were too long."""

    rows: list[dict[str, list[int]]]
    cut: list[str]


def encode(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, *, max_length: int
) -> Encoded:
    """Token ids of texts and pairs; a pair that is too long loses the end of its longer text.

    Control tokens in a text (`[SEP]`) are text: they become ordinary tokens.

    Args:
        max_length: tokens at most, special ones included.
    """
    if not examples:
        return Encoded([], [])
    with_pairs = any(example.pair is not None for example in examples)
    encoding = tokenizer(
        [example.text for example in examples],
        [example.pair or "" for example in examples] if with_pairs else None,
        truncation=True,
        max_length=max_length,
        return_overflowing_tokens=True,
        return_attention_mask=False,
        split_special_tokens=True,
    )
    rows: list[JsonObject] = [{} for _ in examples]
    cut: dict[str, None] = {}
    sources = encoding.pop("overflow_to_sample_mapping")
    for part, source in enumerate(sources):
        if rows[source]:
            cut[examples[source].id] = None
        else:
            rows[source] = {name: parts[part] for name, parts in encoding.items()}
    return Encoded(rows, list(cut))


def length_from(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, *, window: int
) -> int:
    """The length that cuts no text, or the model's window where that is less."""
    lengths = [window] if not examples else []
    for example in examples:
        # Half a million characters exceed any window; no need to count their tokens.
        text = example.text[: 1 << 19]
        lengths.append(len(tokenizer(text, example.pair, split_special_tokens=True)["input_ids"]))
    return min(window, max(lengths))


def targets(examples: Sequence[Example], settings: ClassifierSettings) -> list[Any]:
    """Class indices, or 0.0 and 1.0 for each class where a text may have several."""
    if not settings.multi_label:
        index = {label: i for i, label in enumerate(settings.labels)}
        return [index[str(example.label)] for example in examples]
    rows = []
    for example in examples:
        classes: Any = example.label or ()
        rows.append([float(label in classes) for label in settings.labels])
    return rows


def predict(
    loaded: Loaded,
    examples: Sequence[Example],
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: bool = True,
) -> list[Prediction]:
    """Predicts the class or classes of each example, and the probability of each class.

    A warning names the texts that are too long for the model, of which only the beginning is read.

    Args:
        batch_tokens: tokens of a batch at most, padding included.
        progress: show a bar on a terminal.
    """
    logits, cut = _logits_and_cut(loaded, examples, batch_tokens=batch_tokens, progress=progress)
    if cut:
        logger.warning(
            "%d texts are longer than the model's %d tokens; only their beginning was read: %s",
            len(cut),
            loaded.settings.max_length,
            some(cut),
        )
    return predictions_from(examples, logits, loaded.settings)


def predict_logits(
    loaded: Loaded,
    examples: Sequence[Example],
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: bool = True,
) -> np.ndarray:
    """Logits of the classes, float32 of shape (N, C)."""
    return _logits_and_cut(loaded, examples, batch_tokens=batch_tokens, progress=progress)[0]


@torch.inference_mode()
def _logits_and_cut(
    loaded: Loaded, examples: Sequence[Example], *, batch_tokens: int, progress: bool
) -> tuple[np.ndarray, list[str]]:
    """Logits, and the ids of the examples of which only the beginning was read."""
    model, tokenizer, settings = loaded
    parts = [np.zeros((0, len(settings.labels)), dtype=np.float32)]
    cut: list[str] = []
    with progress_bar(len(examples), "predicting", show=progress) as bar:
        for part in chunks(examples):
            rows, too_long = encode(part, tokenizer, max_length=settings.max_length)
            cut += too_long
            logits = np.zeros((len(rows), len(settings.labels)), dtype=np.float32)
            for indices, batch in batches(rows, tokenizer, batch_tokens=batch_tokens):
                inputs = {name: value.to(model.device) for name, value in batch.items()}
                logits[indices] = model(**inputs).logits.float().cpu().numpy()  # (B, C)
                bar.update(len(indices))
            parts.append(logits)
    return np.concatenate(parts), cut


def batches(
    rows: Sequence[Mapping[str, list[int]]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    batch_tokens: int,
) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Padded batches of rows of about one length, with the indices of the rows."""
    pad = DataCollatorWithPadding(tokenizer)
    for indices in length_batches([len(row["input_ids"]) for row in rows], batch_tokens):
        yield indices, pad([dict(rows[index]) for index in indices])
