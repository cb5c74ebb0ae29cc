"""The network of a run as training had it: with its adapters, and what was frozen marked so."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, get_peft_model
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from pipelines import families
from pipelines.families import causal_lm
from pipelines.families.causal_lm.loading import base_of, read_settings
from pipelines.families.training.encoders import choose_trained
from pipelines.networks import weights
from pipelines.networks.tagger_ensemble import TaggerEnsemble
from pipelines.runs.run import Run


def trained_network(run: Run) -> nn.Module:
    """A run's network; `requires_grad` says what its training changed.

    Language models are on the meta device, without weights: their sizes are all that is read. LoRA
    adapters stand beside the weights that they are added to, also where the run saved the sum.

    Raises:
        UserError: when the run has no finished model, or its base could not be loaded.
    """
    family, folder = _trained_folder(run)
    if family is causal_lm:
        return _language_model(folder)
    model = family.load(folder).model
    config = run.config()
    tune = str(config.get("tune", "full"))
    if (run.folder / "grid.json").is_file():  # the head search reads a frozen encoder
        tune = "head"
    lora = LoraConfig(r=int(config.get("lora_r", 8)), target_modules="all-linear")
    members: list[Any] = list(model.taggers) if isinstance(model, TaggerEnsemble) else [model]
    for member in members:
        if tune != "full":
            choose_trained(member, tune, last_n=int(config.get("last_n", 2)), lora=lora)
        keeps_vectors = not getattr(member.config, "train_embeddings", True)
        if keeps_vectors:  # loading made them trainable
            member.get_input_embeddings().weight.requires_grad_(False)
    network: nn.Module = model
    return network


def _trained_folder(run: Run) -> tuple[ModuleType, Path]:
    """`model/`, which has the adapters, before `merged/`."""
    family = families.family_of(run.model)
    return (family, run.model) if family is not None else run.model_folder()


def _language_model(folder: Path) -> nn.Module:
    """The architecture of a causal language model, with the adapter of the folder."""
    settings, _ = read_settings(folder)
    has_adapter = (folder / "adapter_config.json").is_file()
    name = base_of(settings, folder) if has_adapter else str(folder)
    try:
        config = AutoConfig.from_pretrained(weights.resolve(name), trust_remote_code=False)
        with torch.device("meta"):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(
                config, dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
            )
    except weights.LOADING_ERRORS as error:
        raise weights.unavailable(name, error) from error
    if not has_adapter:
        return model
    adapter: Any = PeftConfig.from_pretrained(str(folder))
    adapter.inference_mode = False
    with torch.device("meta"):
        return get_peft_model(model, adapter)
