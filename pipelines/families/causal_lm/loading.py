"""Loading and saving of causal language models: checkpoints, and the model folders of runs."""

from __future__ import annotations

import json
import tempfile
import warnings
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.quantizers.auto import AutoQuantizationConfig
from transformers.utils.quantization_config import QuantizationConfigMixin

from pipelines import cpu
from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.evaluation.platt_scaling import PlattScaling
from pipelines.examples import JsonObject
from pipelines.families.causal_lm.candidates import Candidates, load_candidates
from pipelines.families.causal_lm.control_tokens import control_strings
from pipelines.families.causal_lm.prompt_tokens import Prompt, prompt_hash
from pipelines.families.causal_lm.shots import Shots, load_shots, save_shots
from pipelines.networks import precision, weights
from pipelines.networks.encoder_config import UNLIMITED

PROMPT_FILE = "prompt.json"
GGUF_FILE = "model.gguf"  # in a folder that `pipelines export` wrote


class Loaded(NamedTuple):
    """A model that is ready to predict.

    Attributes:
        shots: stand before a text where `prompt.shots` asks for them.
        candidates: are named behind a text where `prompt.candidates` asks for them.
        scaling: makes the scores of mentions probabilities of being right.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompt: Prompt
    shots: Shots | None = None
    candidates: Candidates | None = None
    scaling: PlattScaling | None = None


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Loads a tokenizer that has an end token, and a different one for padding.

    Raises:
        UserError: when it could not be loaded, or has no end token.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            weights.resolve(name), trust_remote_code=trust_remote_code
        )
    except weights.LOADING_ERRORS as error:
        raise weights.unavailable(name, error) from error
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"the tokenizer of {name!r} has no end token, so a model cannot learn "
            "where an answer ends; take another model"
        )
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = _padding(tokenizer)
    return tokenizer


def _padding(tokenizer: PreTrainedTokenizerBase) -> str:
    """Another control token than the end token, else the token of a byte that no text has."""
    vocabulary = tokenizer.get_vocab()
    candidates = [
        tokenizer.unk_token,
        tokenizer.bos_token,
        *control_strings(tokenizer),
        "<0x00>",
        "\u0100",
    ]
    usable = [
        token
        for token in candidates
        if token in vocabulary and vocabulary[token] != tokenizer.eos_token_id
    ]
    # Padding stands behind the end token under a mask and without a loss, so the end token serves
    # where there is no other.
    return usable[0] if usable else str(tokenizer.eos_token)


def load_network(
    name: str,
    *,
    dtype: torch.dtype | str | None = None,
    trust_remote_code: bool = False,
    **options: object,
) -> PreTrainedModel:
    """Loads a causal language model.

    Args:
        name: a folder, a Hub id or a `local:` name.
        dtype: of its weights; `auto`: as they are stored; default: the machine's fastest one.
        trust_remote_code: whether code that lies beside the weights may run.
        options: for `from_pretrained`.

    Raises:
        UserError: when it could not be loaded, is not a causal language model, or is to be
            quantised without bitsandbytes.
    """
    if options.get("quantization_config") is not None and find_spec("bitsandbytes") is None:
        raise UserError(
            f"{name}: a model in 4 bits needs bitsandbytes, which is not installed; run `pip "
            "install bitsandbytes`, or train without --load_in_4bit"
        )
    try:
        return AutoModelForCausalLM.from_pretrained(
            weights.resolve(name),
            dtype=dtype or precision.choose().weights,
            trust_remote_code=trust_remote_code,
            **options,
        )
    except weights.LOADING_ERRORS as error:
        raise weights.unavailable(name, error) from error


def load_config(name: str, *, trust_remote_code: bool = False) -> PreTrainedConfig:
    """Loads the config of a model.

    Raises:
        UserError: when it could not be loaded.
    """
    try:
        return AutoConfig.from_pretrained(
            weights.resolve(name), trust_remote_code=trust_remote_code
        )
    except weights.LOADING_ERRORS as error:
        raise weights.unavailable(name, error) from error


def context_length(name: str, *, trust_remote_code: bool = False) -> int:
    """The number of tokens that a model takes at most.

    Raises:
        UserError: when its config could not be loaded.
    """
    return most_tokens(load_config(name, trust_remote_code=trust_remote_code))


def most_tokens(config: PreTrainedConfig) -> int:
    """The number of tokens that a model with this config takes at most."""
    length = getattr(config.get_text_config(), "max_position_embeddings", None)
    return length or UNLIMITED


def save(
    folder: str | Path,
    *,
    model: PreTrainedModel | PeftModel | None,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    base_model: str,
    quantization: QuantizationConfigMixin | None = None,
    shots: Shots | None = None,
    initial: dict[str, Tensor] | None = None,
    candidates: Candidates | None = None,
    scaling: PlattScaling | None = None,
) -> None:
    """Saves an adapter or a whole model as safetensors, with its tokenizer and its prompt.

    The prompt file is written last: a folder without it was not saved to the end. It holds the
    quantisation of the base, since an adapter fits only the weights it was trained on.

    Args:
        model: None for the base model as it is, which is loaded by its name.
        quantization: of that base model.
        initial: the adapter before training, where it was taken out of the base (PiSSA, OLoRA):
            what is saved is the difference, twice the rank, which fits the base as it was.
        candidates: a copy of the model that names them goes into the folder.
        scaling: of the scores of mentions.
    """
    folder = Path(folder)
    if model is not None:
        save_weights(model, folder, initial=initial)
        quantization = getattr(model.config, "quantization_config", None)
    tokenizer.save_pretrained(folder)
    if shots is not None:
        save_shots(shots, folder)
    if candidates is not None:
        candidates.save(folder)
    settings = {
        "base_model": base_model,
        "untrained": model is None,
        **asdict(prompt),
        "shots_by": shots.by if shots is not None else None,
        "hash": prompt_hash(tokenizer, prompt),
        "quantization": quantization.to_dict() if quantization is not None else None,
        "platt_scaling": None if scaling is None else asdict(scaling),
    }
    with replacing(folder / PROMPT_FILE) as f:
        json.dump(settings, f, indent=1)


def save_scaling(folder: Path, scaling: PlattScaling) -> None:
    """Adds a map of the scores of mentions to a saved model."""
    settings, _ = read_settings(folder)
    with replacing(folder / PROMPT_FILE) as f:
        json.dump(settings | {"platt_scaling": asdict(scaling)}, f, indent=1)


def scaling_of(settings: JsonObject) -> PlattScaling | None:
    """The map of the scores of mentions, where the model was saved with one."""
    values = settings.get("platt_scaling")
    return None if values is None else PlattScaling(**values)


def save_weights(
    model: PreTrainedModel | PeftModel, folder: Path, *, initial: dict[str, Tensor] | None
) -> None:
    """Saves an adapter or a whole model as safetensors.

    Args:
        initial: the adapter before training, where it was taken out of the base: the difference is
            saved (peft's conversion of PiSSA to LoRA).
    """
    if initial is None:
        model.save_pretrained(str(folder))
        return
    with tempfile.TemporaryDirectory() as parent, warnings.catch_warnings():
        start = Path(parent) / "initial"
        start.mkdir()
        save_file(initial, start / "adapter_model.safetensors")
        # peft warns of a second adapter on changed weights; this one is only read.
        warnings.simplefilter("ignore", UserWarning)
        model.save_pretrained(str(folder), path_initial_model_for_weight_conversion=str(start))


def load(
    folder: str | Path, *, device: str | None = None, trust_remote_code: bool = False
) -> Loaded:
    """Loads what `save` wrote, or what was exported from it, for prediction.

    An adapter is merged into its base, except into a quantised one, which would be rounded again.

    Args:
        folder: a model folder.
        device: where to; by default the machine's best one.
        trust_remote_code: whether code that lies beside the weights of the base may run.

    Raises:
        UserError: when the folder holds no finished model or a damaged one, its base could not be
            loaded, or this version of the code makes other prompts than the one that trained it.
    """
    folder = Path(folder)
    settings, tokenizer, prompt = read_model(folder, trust_remote_code=trust_remote_code)
    chosen = precision.choose()
    device = device or chosen.device
    options: JsonObject = {"trust_remote_code": trust_remote_code, "dtype": torch.float32}
    if settings.get("quantization"):
        quantization = AutoQuantizationConfig.from_dict(settings["quantization"])
        options |= {
            "quantization_config": quantization,
            "device_map": {"": device},
            "dtype": chosen.weights,
        }
    model = load_merged(folder, settings, **options)
    if not getattr(model, "is_quantized", False):
        # Merged in float32, and rounded once. Buffers stay: rotary frequencies need float32.
        for weight in model.parameters():
            weight.data = weight.data.to(chosen.weights)
        model.to(device)  # type: ignore[arg-type]
    model.eval()
    cpu.for_prediction(model)
    by = settings.get("shots_by")
    return Loaded(
        model,
        tokenizer,
        prompt,
        load_shots(folder, prompt, by) if by else None,
        load_candidates(folder) if prompt.candidates else None,
        scaling_of(settings),
    )


def read_model(
    folder: Path, *, trust_remote_code: bool = False
) -> tuple[JsonObject, PreTrainedTokenizerBase, Prompt]:
    """What `save` wrote of a model but its weights: all settings, the tokenizer and the prompt.

    Raises:
        UserError: as `load`.
    """
    if not (folder / PROMPT_FILE).is_file():
        raise UserError(
            f"{folder}: no {PROMPT_FILE}, so no finished model; "
            "give a run that has model/ or merged/"
        )
    settings, prompt = read_settings(folder)
    tokenizer = load_tokenizer(str(folder), trust_remote_code=trust_remote_code)
    if settings["hash"] != prompt_hash(tokenizer, prompt):
        raise UserError(
            f"{folder}: this model was trained on prompts that this version renders "
            "differently; predict with the version that trained it (provenance.json), "
            "or train again"
        )
    return settings, tokenizer, prompt


def load_merged(folder: Path, settings: JsonObject, **options: Any) -> PreTrainedModel:
    """The network of a model folder, its adapter merged unless the base is quantised.

    Args:
        settings: from `read_settings`.
        options: for `load_network`.

    Raises:
        UserError: when the weights or the base could not be loaded.
    """
    if (folder / "adapter_config.json").is_file():
        return with_adapter(load_network(base_of(settings, folder), **options), folder)
    if settings.get("untrained"):
        return load_network(base_of(settings, folder), **options)
    if not (folder / GGUF_FILE).is_file():
        return load_network(str(folder), **options)
    model: Any = load_network(str(folder), gguf_file=GGUF_FILE, **options)
    weights.forget_gguf(model)
    return model


def base_of(settings: JsonObject, folder: Path) -> str:
    """The name of the base model, or its folder, which an offline bundle names from `folder` on."""
    name = str(settings["base_model"])
    beside = folder / name
    return str(beside.resolve()) if name.startswith("../") and beside.is_dir() else name


def read_settings(folder: Path) -> tuple[JsonObject, Prompt]:
    """What `save` wrote beside the weights: all of it, and the prompt.

    Raises:
        UserError: when the file is damaged.
    """
    try:
        settings = json.loads((folder / PROMPT_FILE).read_text(encoding="utf-8"))
        prompt = Prompt(
            settings["format"],
            tuple(settings["labels"]),
            settings["style"],
            settings["constrained"],
            settings.get("shots", 0),
            settings.get("max_length"),
            settings.get("candidates", False),
            settings.get("nested", False),
            settings.get("samples", 0),
            settings.get("temperature", 1.0),
            settings.get("verify", False),
        )
        scaling_of(settings)
        for name in ("base_model", "hash"):
            str(settings[name])
    except (ValueError, KeyError, TypeError) as error:
        raise weights.unavailable(str(folder), error) from error
    return settings, prompt


def with_adapter(base: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The base with the adapter of a folder, merged unless the base is quantised."""
    try:
        model: Any = PeftModel.from_pretrained(base, folder, local_files_only=True)
    except (*weights.LOADING_ERRORS, KeyError, TypeError) as error:
        raise weights.unavailable(str(folder), error) from error
    if getattr(base, "is_quantized", False):
        return model.get_base_model()
    return model.merge_and_unload()
