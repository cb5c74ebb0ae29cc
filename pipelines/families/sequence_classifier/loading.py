"""Loading and saving of classifiers of texts: encoders with a head, and models of runs."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.families.class_answers import ClassifierSettings
from pipelines.formatting import some
from pipelines.networks import encoder_config, onnx_network, precision, text_classifier, weights
from pipelines.networks.encoder_tokenizer import load_tokenizer
from pipelines.networks.labels import follow_labels, label_map, labels_of
from pipelines.networks.pooled_classifier import POOLINGS, PooledClassifier, PooledClassifierConfig

MODEL_FILE = "classifier.json"
HEAD_DROPOUTS = ("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout")
_OUR_NETWORKS = (text_classifier,)  # importing them registers them
logger = logging.getLogger(__name__)


class Loaded(NamedTuple):
    """A model ready to predict."""

    model: Any  # a PreTrainedModel, or an OnnxNetwork
    tokenizer: PreTrainedTokenizerBase
    settings: ClassifierSettings


def window_of(model_name: str, tokenizer: PreTrainedTokenizerBase) -> int:
    """Tokens that a model takes at most.

    Raises:
        UserError: when its config could not be loaded.
    """
    try:
        config = AutoConfig.from_pretrained(weights.resolve(model_name), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise weights.unavailable(model_name, error) from error
    return encoder_config.window_of(config, tokenizer)


def head_config(settings: ClassifierSettings) -> JsonObject:
    """What the config of a classifier says of its classes."""
    problem = (
        "multi_label_classification" if settings.multi_label else "single_label_classification"
    )
    return {**label_map(settings.labels), "problem_type": problem}


def load_network(
    name: str, settings: ClassifierSettings, *, pooling: str = "cls", dropout: float | None = None
) -> PreTrainedModel:
    """Loads an encoder with a head for the classes, in float32.

    A head of the checkpoint for the same classes is kept; what starts at random is logged.

    Args:
        pooling: `cls` takes the library's own class for the encoder, others ours.
        dropout: before the classes; by default the checkpoint's own.

    Raises:
        UserError: when it could not be loaded, or does not go with such a head or a dropout.
    """
    if pooling not in POOLINGS:
        raise UserError(f"got the pooling {pooling!r}; wanted one of {', '.join(POOLINGS)}")
    if pooling != "cls":
        encoder = load_encoder(name)
        options = head_config(settings) | {"pad_token_id": encoder.config.pad_token_id}
        if dropout is not None:
            options["dropout"] = dropout
        config = PooledClassifierConfig(encoder=encoder.config, pooling=pooling, **options)
        return PooledClassifier(config, encoder)
    path = weights.resolve(name)
    try:
        before = labels_of(AutoConfig.from_pretrained(path, trust_remote_code=False))
        config = AutoConfig.from_pretrained(path, trust_remote_code=False, **head_config(settings))
        if dropout is not None:
            setattr(config, _dropout_key(config, name), dropout)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            path,
            config=config,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise weights.unavailable(name, error) from error
    lacking = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
    new = follow_labels(model, before, new=lacking)
    if new:
        logger.info("%s has no %s for these classes: they start at random", name, ", ".join(new))
    return model


def _dropout_key(config: Any, name: str) -> str:
    """The option of the dropout before the classes, which has another name in each architecture."""
    if isinstance(config, PooledClassifierConfig):
        return "dropout"
    if config.model_type.startswith("deberta"):
        return "cls_dropout"  # its head reads it, though its config lacks it
    for key in HEAD_DROPOUTS:
        if hasattr(config, key):
            return key
    raise UserError(
        f"got --dropout; {name} is a {config.model_type}, whose head has no dropout of its own; "
        "leave it out, or take --pooling mean"
    )


def load_encoder(name: str, *, layers: int | None = None) -> PreTrainedModel:
    """Loads an encoder without a head, in float32.

    Args:
        layers: keep the lowest ones, this many; by default all.

    Raises:
        UserError: when it could not be loaded, has fewer layers, or is no encoder.
    """
    path = weights.resolve(name)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        if config.is_encoder_decoder:
            raise UserError(
                f"{name!r} is a {config.model_type}, an encoder with a decoder; wanted an encoder "
                "such as distilbert-base-cased, roberta-base or local:minilm"
            )
        if layers is not None and not 0 < layers <= config.num_hidden_layers:
            raise UserError(f"got --encoder_layers {layers}; {name} has {config.num_hidden_layers}")
        options = {} if layers is None else {"num_hidden_layers": layers}
        return AutoModel.from_pretrained(
            path, dtype=torch.float32, trust_remote_code=False, **options
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise weights.unavailable(name, error) from error


def save(
    folder: str | Path,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: ClassifierSettings,
    **facts: Any,
) -> None:
    """Saves a model as safetensors, with its tokenizer and settings.

    The settings are written last: a folder without them was not saved to the end.

    Args:
        facts: further entries of the file of settings.
    """
    folder = Path(folder)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(folder)
    with replacing(folder / MODEL_FILE) as f:
        json.dump(asdict(settings) | facts, f, indent=1, ensure_ascii=False)


def load(folder: str | Path, *, device: str | None = None) -> Loaded:
    """Loads what `save` wrote, or what was exported from it.

    Raises:
        UserError: when the folder holds no finished model, or one without a head for its classes.
    """
    folder = Path(folder)
    settings = _read_settings(folder)
    tokenizer = load_tokenizer(str(folder))
    if onnx_network.is_in(folder):
        return Loaded(onnx_network.OnnxNetwork(folder), tokenizer, settings)
    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise weights.unavailable(str(folder), error) from error
    missing = sorted(report["missing_keys"])
    if missing or model.config.num_labels != len(settings.labels):
        reason = f"scores {model.config.num_labels} classes"
        if missing:
            reason = f"lacks {some(missing, 3)}"
        raise UserError(
            f"{folder}: a checkpoint without the head for the {len(settings.labels)} classes of "
            f"{MODEL_FILE}: it {reason}; train it, or give the folder that training wrote"
        )
    return Loaded(model.to(device or precision.choose().device).eval(), tokenizer, settings)


def _read_settings(folder: Path) -> ClassifierSettings:
    file = folder / MODEL_FILE
    if not file.is_file():
        raise UserError(
            f"{folder}: no {MODEL_FILE}, so no finished model; give the folder of a run that has "
            "model/"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        offsets = content["offsets"]
        return ClassifierSettings(
            labels=tuple(content["labels"]),
            multi_label=content["multi_label"],
            max_length=content["max_length"],
            offsets=None if offsets is None else tuple(offsets),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: damaged ({type(error).__name__}: {error}); give the folder of a run that "
            "finished training"
        ) from error
