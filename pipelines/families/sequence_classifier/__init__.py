"""A network that gives a text, or a pair of texts, its class or classes: encoding, prediction, saving and loading.

Any `AutoModelForSequenceClassification`, with the library's own head or with a pooled one. Training and prediction
encode a text by the same function, `encode`. Training itself is in `classifier_training.py` (the whole network) and
`frozen_head.py` (a head on cached features).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipelines.errors import UserError
from pipelines.examples import Example, Prediction, replacing
from pipelines.families.batching import chunks, length_batches, progress_bar
from pipelines.families.token_tagger.units import shown
from pipelines.networks import encoder_config, precision, weights
from pipelines.networks.pooled_classifier import POOLINGS, PooledClassifier, PooledClassifierConfig

MODEL_FILE = "classifier.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """How texts are encoded and classes are read from scores.

    Attributes:
        labels: the classes, in the order of the scores.
        multi_label: whether a text may have several classes, or none.
        max_length: tokens of a text, or of a pair together; what is over is cut off the end.
        offsets: added to the scores of the classes before they are compared; a class's threshold, in log-odds.
    """

    labels: tuple[str, ...]
    multi_label: bool = False
    max_length: int = 512
    offsets: tuple[float, ...] | None = None


class Loaded(NamedTuple):
    """A model that is ready to predict."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    settings: Settings


class Encoded(NamedTuple):
    """Texts as token ids, `cut` the ids of those that were over the length."""

    rows: list[dict[str, list[int]]]
    cut: list[str]


def encode(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, *, max_length: int) -> Encoded:
    """Token ids of texts and pairs, special ones counted; a pair over the length loses the end of its longer text.

    Control tokens in a text (`[SEP]`) are text: they are cut into ordinary tokens.
    """
    if not examples:
        return Encoded([], [])
    texts, pairs = [example.text for example in examples], [example.pair or "" for example in examples]
    with_pairs = any(example.pair is not None for example in examples)
    found = tokenizer(texts, pairs if with_pairs else None, truncation=True, max_length=max_length,
                      return_overflowing_tokens=True, return_attention_mask=False, split_special_tokens=True)
    rows: list[dict[str, list[int]]] = [{} for _ in examples]
    cut: dict[str, None] = {}
    names = [name for name in found if name != "overflow_to_sample_mapping"]
    for number, example in enumerate(found["overflow_to_sample_mapping"]):
        if rows[example]:
            cut[examples[example].id] = None
        else:
            rows[example] = {name: found[name][number] for name in names}
    return Encoded(rows, list(cut))


def length_from(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, *, window: int) -> int:
    """The length that cuts no text, or the model's window where that is less."""
    # Half a million characters are more than any window; no need to count their tokens.
    pairs = [(example.text[:1 << 19], example.pair) for example in examples]
    lengths = [len(tokenizer(text, pair, split_special_tokens=True)["input_ids"]) for text, pair in pairs]
    return min(window, max(lengths, default=window))


def window_of(model_name: str, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that a model takes at most.

    Raises:
        UserError: when it cannot be had.
    """
    try:
        return encoder_config.window_of(AutoConfig.from_pretrained(weights.resolve(model_name)), tokenizer)
    except (OSError, ValueError) as error:
        raise weights.unavailable(model_name, error) from error


def targets(examples: Sequence[Example], settings: Settings) -> list[Any]:
    """Class numbers, or where a text may have several, 0.0 and 1.0 for each class."""
    number = {label: i for i, label in enumerate(settings.labels)}
    if not settings.multi_label:
        return [number[str(example.label)] for example in examples]
    return [[float(label in (example.label or ())) for label in settings.labels]  # type: ignore[operator]
            for example in examples]


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Loads a fast tokenizer that has a padding token.

    Raises:
        UserError: when it cannot be had.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(weights.resolve(name))
    except (OSError, ValueError) as error:
        raise weights.unavailable(name, error) from error
    if not tokenizer.is_fast:
        raise UserError(f"the tokenizer of {name!r} is a slow one; wanted one with a tokenizer.json")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    tokenizer.padding_side = "right"
    return tokenizer


def load_network(name: str, settings: Settings, *, pooling: str = "cls", dropout: float | None = None,
                 told: Callable[[str], object] = lambda line: None) -> PreTrainedModel:
    """Loads an encoder with a new head, in float32: `cls` is the library's own class for it, else ours.

    A checkpoint whose head has the same classes keeps it.

    Args:
        told: gets a line about what starts at random.

    Raises:
        UserError: when it cannot be had, or is no encoder that has such a head, or no dropout there.
    """
    if pooling not in POOLINGS:
        raise UserError(f"got the pooling {pooling!r}; wanted one of {', '.join(POOLINGS)}")
    labels: dict[str, Any] = {"id2label": dict(enumerate(settings.labels)),
                              "label2id": {label: i for i, label in enumerate(settings.labels)},
                              "problem_type": "multi_label_classification" if settings.multi_label else
                              "single_label_classification"}
    try:
        if pooling == "cls":
            before = encoder_config.config_labels(AutoConfig.from_pretrained(weights.resolve(name)))
            config = AutoConfig.from_pretrained(weights.resolve(name), **labels)
            if dropout is not None:
                setattr(config, _dropout_key(config, name), dropout)
            model, found = AutoModelForSequenceClassification.from_pretrained(
                weights.resolve(name), config=config, dtype=torch.float32, ignore_mismatched_sizes=True,
                output_loading_info=True)
            lacking = {*found["missing_keys"], *(key for key, *_ in found["mismatched_keys"])}
            new = encoder_config.follow_labels(model, before, new=lacking)
            if new:
                told(f"{name} has no {', '.join(new)} for these classes: they start at random")
            return model
        encoder = load_encoder(name)
        given: dict[str, Any] = {"pad_token_id": encoder.config.pad_token_id, **labels}
        if dropout is not None:
            given["dropout"] = dropout
        config = PooledClassifierConfig(encoder=encoder.config, pooling=pooling, **given)
        return PooledClassifier(config, encoder)
    except (OSError, ValueError, SafetensorError) as error:
        raise weights.unavailable(name, error) from error


def _dropout_key(config: Any, name: str) -> str:
    """The setting of the dropout before the classes, which each architecture calls its own."""
    # DeBERTa's configs lack the setting that its head reads.
    keys = ["cls_dropout"] if config.model_type.startswith("deberta") else [key for key in (
        "classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout") if hasattr(config, key)]
    if isinstance(config, PooledClassifierConfig):
        keys = ["dropout"]
    if not keys:
        raise UserError(f"got --dropout; {name} is a {config.model_type}, whose head has no dropout of its own; leave "
                        "it out, or take --pooling mean")
    return keys[0]


def load_encoder(name: str, *, layers: int | None = None) -> PreTrainedModel:
    """Loads an encoder without a head, in float32.

    Args:
        layers: the lowest so many; by default all.

    Raises:
        UserError: when it cannot be had, has not so many layers, or gives no states of tokens.
    """
    try:
        config = AutoConfig.from_pretrained(weights.resolve(name))
        if config.is_encoder_decoder:
            raise UserError(f"{name!r} is a {config.model_type}, an encoder with a decoder; wanted an encoder such as "
                            "distilbert-base-cased, roberta-base or local:minilm")
        if layers is not None and not 0 < layers <= config.num_hidden_layers:
            raise UserError(f"got --encoder_layers {layers}; {name} has {config.num_hidden_layers}")
        fewer = {} if layers is None else {"num_hidden_layers": layers}
        return AutoModel.from_pretrained(weights.resolve(name), dtype=torch.float32, **fewer)
    except (OSError, ValueError, SafetensorError) as error:
        raise weights.unavailable(name, error) from error


def save(folder: str | Path, *, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, settings: Settings,
         **facts: Any) -> None:
    """Saves a model as safetensors, with its tokenizer and settings.

    The settings file is written last: a folder without it was not saved to the end.
    """
    folder = Path(folder)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(folder)
    with replacing(folder / MODEL_FILE) as f:
        json.dump(asdict(settings) | facts, f, indent=1, ensure_ascii=False)


def load(folder: str | Path, *, device: str | None = None) -> Loaded:
    """Loads what `save` wrote.

    Raises:
        UserError: when the folder holds no finished model, or a checkpoint without a head for its classes.
    """
    folder = Path(folder)
    if not (folder / MODEL_FILE).is_file():
        raise UserError(f"{folder}: no {MODEL_FILE}, so no finished model; give the folder of a run that has model/")
    written = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
    offsets = written["offsets"]
    settings = Settings(tuple(written["labels"]), written["multi_label"], written["max_length"],
                        None if offsets is None else tuple(offsets))
    tokenizer = load_tokenizer(str(folder))
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32,
                                                                          output_loading_info=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise weights.unavailable(str(folder), error) from error
    missing = sorted(found["missing_keys"])
    if missing or model.config.num_labels != len(settings.labels):
        reason = f"lacks {', '.join(missing[:3])}" if missing else f"scores {model.config.num_labels} classes"
        raise UserError(f"{folder}: a checkpoint without the head for the {len(settings.labels)} classes of "
                        f"{MODEL_FILE}: it {reason}; train it, or give the folder that training wrote")
    return Loaded(model.to(device or precision.choose().device).eval(), tokenizer, settings)


def predict(loaded: Loaded, examples: Sequence[Example], *, batch_tokens: int = 8192,
            progress: bool = True) -> list[Prediction]:
    """Gives each example its class or classes, and the probability of each.

    A warning names the texts that are over the model's length, of which only the beginning is read.

    Args:
        batch_tokens: at most this many tokens, padding counted, at a time.
        progress: show a bar on a terminal.
    """
    logits, cut = _logits_and_cut(loaded, examples, batch_tokens=batch_tokens, progress=progress)
    if cut:
        logger.warning("%d texts are longer than the model's %d tokens; only their beginning was read: %s", len(cut),
                       loaded.settings.max_length, shown(cut))
    return predictions_from(examples, logits, loaded.settings)


def predict_logits(loaded: Loaded, examples: Sequence[Example], *, batch_tokens: int = 8192,
                   progress: bool = True) -> np.ndarray:
    """Scores of the classes, float32 of shape (n_examples, C)."""
    return _logits_and_cut(loaded, examples, batch_tokens=batch_tokens, progress=progress)[0]


def _logits_and_cut(loaded: Loaded, examples: Sequence[Example], *, batch_tokens: int,
                    progress: bool) -> tuple[np.ndarray, list[str]]:
    """Scores of the classes, and the ids of the examples of which only the beginning was read."""
    model, tokenizer, settings = loaded
    parts = [np.zeros((0, len(settings.labels)), dtype=np.float32)]
    cut: list[str] = []
    with progress_bar(len(examples), "predicting", show=progress) as bar:
        for part in chunks(examples):
            rows, over = encode(part, tokenizer, max_length=settings.max_length)
            cut += over
            logits = np.zeros((len(rows), len(settings.labels)), dtype=np.float32)
            for numbers, batch in batches(rows, tokenizer, batch_tokens=batch_tokens, what="", progress=False):
                with torch.inference_mode():
                    scores = model(**{name: value.to(model.device) for name, value in batch.items()}).logits
                logits[numbers] = scores.float().cpu().numpy()
                bar.update(len(numbers))
            parts.append(logits)
    return np.concatenate(parts), cut


def batches(rows: Sequence[Mapping[str, list[int]]], tokenizer: PreTrainedTokenizerBase, *, batch_tokens: int,
            what: str, progress: bool) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Batches of rows of one length, with the numbers of the rows; a progress bar counts texts."""
    pad = DataCollatorWithPadding(tokenizer)
    with progress_bar(len(rows), what, show=progress) as bar:
        for numbers in length_batches([len(row["input_ids"]) for row in rows], batch_tokens):
            yield numbers, pad([dict(rows[number]) for number in numbers])
            bar.update(len(numbers))


def predictions_from(examples: Sequence[Example], logits: np.ndarray, settings: Settings) -> list[Prediction]:
    """Classes and probabilities from scores (n_examples, C)."""
    decided = decide(logits, settings)
    shown = _probabilities(logits.astype(np.float64), settings.multi_label)
    names = np.array(settings.labels)
    return [Prediction(example.id, label=tuple(names[row].tolist()) if settings.multi_label else str(names[row]),
                       scores={label: round(float(p), 6) for label, p in zip(settings.labels, given, strict=True)})
            for example, row, given in zip(examples, decided, shown, strict=True)]


def decide(logits: np.ndarray, settings: Settings) -> np.ndarray:
    """Class numbers (n_examples,), or booleans (n_examples, C) where a text may have several classes."""
    moved = logits + np.asarray(settings.offsets, dtype=logits.dtype) if settings.offsets else logits
    return moved > 0 if settings.multi_label else moved.argmax(axis=1)


def _probabilities(logits: np.ndarray, multi_label: bool) -> np.ndarray:
    if multi_label:
        return 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)
