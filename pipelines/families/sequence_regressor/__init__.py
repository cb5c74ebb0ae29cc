"""Networks that read a sequence of vectors and predict a number: prediction, saving and loading.

Training is in `regressor_training.py`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from pipelines.corpora.writing import replacing
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Prediction, Steps
from pipelines.families.batching import chunks, length_batches, progress_bar
from pipelines.formatting import some
from pipelines.networks import precision, weights
from pipelines.networks.sequence_regression import SequenceRegressor

MODEL_FILE = "regressor.json"
BATCH_TOKENS = 16384  # steps of a batch in prediction, padding included
logger = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A network on its device."""

    model: SequenceRegressor


def save(folder: str | Path, *, model: SequenceRegressor) -> None:
    """Saves a network as safetensors; the file of the family is written last."""
    model.save_pretrained(str(folder))
    with replacing(Path(folder) / MODEL_FILE) as f:
        json.dump({"input_size": model.config.input_size}, f)


def load(folder: str | Path, *, device: str | None = None) -> Loaded:
    """Loads what `save` wrote.

    Raises:
        UserError: when the folder holds no finished model, or a damaged one.
    """
    file = Path(folder) / MODEL_FILE
    if not file.is_file():
        raise UserError(
            f"{folder}: no {MODEL_FILE}, so no finished model; give the folder of a run that has "
            "model/"
        )
    try:
        width = json.loads(file.read_text(encoding="utf-8"))["input_size"]
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise weights.unavailable(str(folder), error) from error
    if report["missing_keys"] or getattr(model.config, "input_size", None) != width:
        raise weights.unavailable(str(folder), ValueError(f"it does not read {width} numbers"))
    return Loaded(model.to(device or precision.choose().device).eval())


def sequence_of(example: Example) -> np.ndarray:
    """The vectors of an example, float32 of shape (T, D).

    Raises:
        DataError: for an example without a sequence.
    """
    if not isinstance(example.features, Steps):
        raise DataError(f"id {example.id}: no sequence of vectors; wanted one, see data/README.md")
    return np.frombuffer(example.features.values, "<f4").reshape(-1, example.features.width)


def check_width(examples: Sequence[Example], width: int) -> None:
    """Refuses examples that the network cannot read.

    Raises:
        DataError: naming all of them.
    """
    without = [one.id for one in examples if not isinstance(one.features, Steps)]
    other = {one.id: one.features.width for one in examples if isinstance(one.features, Steps)}
    other = {id: n for id, n in other.items() if n != width}
    faults = []
    if without:
        faults.append(f"{len(without)} without a sequence of vectors (id {some(without)})")
    if other:
        got = some(sorted(set(other.values())))
        faults.append(f"{len(other)} with steps of {got} numbers (id {some(other)})")
    if faults:
        raise DataError(
            f"got examples {' and '.join(faults)}; wanted sequences of steps of {width} numbers, "
            "as in training"
        )


def padded(sequences: Sequence[np.ndarray]) -> dict[str, Tensor]:
    """`features` (B, T, D), padded with zeros behind, and `attention_mask` (B, T)."""
    longest, width = max(map(len, sequences)), sequences[0].shape[1]
    features = np.zeros((len(sequences), longest, width), dtype=np.float32)
    mask = np.zeros((len(sequences), longest), dtype=np.int64)
    for row, steps in enumerate(sequences):
        features[row, : len(steps)] = steps
        mask[row, : len(steps)] = 1
    return {"features": torch.from_numpy(features), "attention_mask": torch.from_numpy(mask)}


def predict(
    loaded: Loaded,
    examples: Sequence[Example],
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: bool = True,
) -> list[Prediction]:
    """Predicts the number of each sequence.

    A warning names the sequences that are longer than those that a network without shared weights
    was made for, of which a part is not read.

    Args:
        batch_tokens: steps of a batch at most, padding included.
        progress: show a bar on a terminal.

    Raises:
        DataError: for examples of another width, all of them.
    """
    config = loaded.model.config
    check_width(examples, config.input_size)
    values = predict_values(loaded.model, examples, batch_tokens=batch_tokens, progress=progress)
    if config.network == "padded":
        long = [one.id for one in examples if len(sequence_of(one)) > config.steps]
        if long:
            logger.warning(
                "%d sequences are longer than the longest of training, %d steps; the %s of them "
                "is not read: %s",
                len(long),
                config.steps,
                "end" if config.align == "start" else "beginning",
                some(long),
            )
    return [
        Prediction(example.id, value=value)
        for example, value in zip(examples, values.tolist(), strict=True)
    ]


@torch.inference_mode()
def predict_values(
    model: SequenceRegressor,
    examples: Sequence[Example],
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: bool = False,
) -> np.ndarray:
    """The numbers as float64 of shape (N,); the same for a file and for its parts."""
    parts = [np.zeros(0)]
    with progress_bar(len(examples), "predicting", show=progress) as bar:
        for part in chunks(examples):
            sequences = list(map(sequence_of, part))
            values = np.zeros(len(part))
            for indices in length_batches(list(map(len, sequences)), batch_tokens):
                batch = padded([sequences[index] for index in indices])
                inputs = {name: value.to(model.device) for name, value in batch.items()}
                values[indices] = model(**inputs).logits[:, 0].double().cpu().numpy()
                bar.update(len(indices))
            parts.append(values)
    return np.concatenate(parts)
