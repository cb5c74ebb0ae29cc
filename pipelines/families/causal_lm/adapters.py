"""The base model that an adapter is trained on, and the adapter, from TRL's options."""

from __future__ import annotations

from accelerate import PartialState
from peft import LoraConfig
from transformers import PreTrainedModel
from trl import ModelConfig, get_quantization_config

from pipelines.examples import JsonObject
from pipelines.families.causal_lm.loading import load_network
from pipelines.networks import precision


def load_base(options: ModelConfig, *, trust_remote_code: bool) -> PreTrainedModel:
    """The model to be adapted, in the dtype of this machine, or quantised.

    Raises:
        UserError: when it could not be loaded.
    """
    dtype = precision.choose().weights
    options.dtype = str(dtype).removeprefix("torch.")  # in which a quantised model computes
    quantization = get_quantization_config(options)
    quantized: JsonObject = {}
    if quantization is not None:
        device = {"": PartialState().device}
        quantized = {"quantization_config": quantization, "device_map": device}
    return load_network(
        str(options.model_name_or_path),
        dtype=dtype,
        trust_remote_code=trust_remote_code,
        **quantized,
    )


def lora(options: ModelConfig, layers: int, *, last: int | None = None) -> LoraConfig:
    """The adapters of a model with this many layers, in the `last` ones alone (default: in all)."""
    # A string is matched as a whole, so that layer 1 is not layer 11.
    below = "|".join(map(str, range(layers - last))) if last else None
    return LoraConfig(
        r=options.lora_r,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        use_rslora=options.use_rslora,
        use_dora=options.use_dora,
        task_type="CAUSAL_LM",
        target_modules=options.lora_target_modules or "all-linear",
        exclude_modules=rf".*layers\.({below})\..*" if below else None,
    )
