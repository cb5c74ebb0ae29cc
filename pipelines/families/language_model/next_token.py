"""Next-token prediction: pretraining of a causal language model continues on texts.

The objective is that of Radford et al. (2018, section 3.1, equation 1) on each token of a document;
Gururangan et al. (2020, section 4) show what more pretraining on texts of a task's field gains.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel, get_peft_model
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
)
from trl import ModelConfig

from pipelines.errors import UserError
from pipelines.families.causal_lm import adapters
from pipelines.families.causal_lm.loading import (
    load_config,
    load_network,
    most_tokens,
    save_weights,
    with_adapter,
)
from pipelines.families.causal_lm.new_adapters import InitialAdapter
from pipelines.families.training.batches import LengthBatches
from pipelines.families.training.compiled_layers import compile_each_layer, compiled_if
from pipelines.families.training.cpu_training import CpuTraining
from pipelines.families.training.held_out import TokenLoss
from pipelines.families.training.losses import SummedLoss
from pipelines.families.training.time_budget import TimeBudget
from pipelines.networks import precision
from pipelines.networks.labels import IGNORED

WINDOW = 512  # tokens of a row, where none are asked for
LEAST_WINDOW = 8


class Base(NamedTuple):
    """A model whose pretraining continues.

    Attributes:
        name: a folder, a Hub id or a `local:` name.
        network: with its weights as they are stored.
        dtype: of these, in which the result is saved.
    """

    name: str
    network: PreTrainedModel
    dtype: torch.dtype


def load_base(name: str) -> Base:
    """Loads a causal language model with whole weights.

    Raises:
        UserError: when it could not be loaded; for an encoder, an adapter, and weights that are
            stored quantised.
    """
    if adapters.start_of(name).adapter is not None:
        raise UserError(
            f"{name}: an adapter; pretraining continues from whole weights: give the merged/ that "
            "--save_merged true makes"
        )
    _refuse_other_kinds(load_config(name), name)
    network = load_network(name, dtype="auto")
    return Base(name, network, network.dtype)


def _refuse_other_kinds(config: PreTrainedConfig, name: str) -> None:
    kind = config.model_type
    is_encoder = kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or (
        kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
    )
    if is_encoder:
        raise UserError(
            f"{name}: a model of the kind {kind}; wanted a causal language model such as "
            "local:smollm2 (encoders are for recipes/pretrain_encoder.py)"
        )
    if getattr(config, "quantization_config", None) is not None:
        raise UserError(
            f"{name}: its weights are stored quantised, and pretraining changes whole ones; start "
            "from the model before its quantisation"
        )


def window_of(window: int | None, config: PreTrainedConfig) -> int:
    """Tokens of a row: as asked for, else 512 or as many as the model takes.

    Raises:
        UserError: for a window that the model cannot take, or that is too small to learn from.
    """
    context = most_tokens(config)
    if window is None:
        return min(WINDOW, context)
    if not LEAST_WINDOW <= window <= context:
        raise UserError(
            f"got --window {window}; wanted {LEAST_WINDOW} to {context}, as the model has it"
        )
    return window


def choose_trained(
    base: Base, options: ModelConfig, *, tune: str, last_n: int, **adapted: Any
) -> PreTrainedModel | PeftModel:
    """The model to train: with adapters beside frozen weights, or its weights in float32.

    Args:
        base: its network is changed.
        options: of the adapters.
        tune: `lora`, `full`, or `last_n`: the weights of the last layers alone.
        last_n: how many.
        adapted: for `adapters.lora`.

    Raises:
        UserError: for more layers than there are, and for unknown modules.
    """
    network = base.network
    if tune == "lora":
        _cast(network, precision.choose().weights)
        return get_peft_model(network, adapters.lora(options, network, **adapted))
    _cast(network, torch.float32)
    if tune == "last_n":
        _, layers = adapters.layers_of(network)
        if not 0 < last_n <= len(layers):
            raise UserError(f"got --last_n {last_n}; {base.name} has {len(layers)} layers")
        network.requires_grad_(False)
        for layer in layers[-last_n:]:
            layer.requires_grad_(True)
    return network


def _cast(network: nn.Module, dtype: torch.dtype) -> None:
    """Casts the weights alone: buffers such as rotary frequencies need float32."""
    for weight in network.parameters():
        weight.data = weight.data.to(dtype)


def save(
    model: PreTrainedModel | PeftModel,
    base: Base,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    initial: dict[str, Tensor] | None = None,
) -> None:
    """Saves what was trained as an ordinary model, in the dtype of its base.

    An adapter is added to the base as that is stored, in float32, and the sum rounded once. Whole
    weights are cast in place.

    Args:
        model: as `choose_trained` made it.
        initial: of an adapter; see `adapters.begin`.
    """
    network: Any = model
    if isinstance(model, PeftModel):
        with tempfile.TemporaryDirectory() as adapter:
            save_weights(model, Path(adapter), initial=initial)
            stored = load_network(base.name, dtype="auto")
            _cast(stored, torch.float32)
            network = with_adapter(stored, Path(adapter))
    _cast(network, base.dtype)
    network.save_pretrained(str(folder))
    tokenizer.save_pretrained(folder)


class NextTokenCollator:
    """Pads rows on the right; each token but the first of a row is a label."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase):
        self.padding = int(tokenizer.pad_token_id or 0)

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """`input_ids`, `attention_mask` and `labels`, (B, T) each."""
        ids = [torch.as_tensor(row["input_ids"]) for row in rows]
        padded = pad_sequence(ids, batch_first=True, padding_value=self.padding)  # (B, T)
        lengths = torch.tensor([len(row) for row in ids])
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        labels = padded.masked_fill(~mask, IGNORED)
        labels[:, 0] = IGNORED
        return {"input_ids": padded, "attention_mask": mask.long(), "labels": labels}


class NextTokenTrainer(
    InitialAdapter, CpuTraining, TimeBudget, LengthBatches, TokenLoss, SummedLoss, Trainer
):
    """Trains on every token of the rows but the first of each, which is only read.

    Args:
        compile_layers: compile the layers, where there is a C++ compiler.
    """

    def __init__(self, *arguments: Any, compile_layers: bool = False, **keywords: Any):
        collator = NextTokenCollator(keywords["processing_class"])
        super().__init__(*arguments, **keywords | {"data_collator": collator})
        if compile_layers:
            network: Any = self.model
            compile_each_layer(
                network.get_base_model() if isinstance(network, PeftModel) else network
            )

    def _used_ids(self) -> None:
        """All embeddings are trained: rows on disk would have to be read for their ids."""

    def token_logits(
        self, model: nn.Module, inputs: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, object]:
        """Logits (B * T, V), and the tokens that follow (B * T,): -100 where none does."""
        targets = pad(inputs["labels"][:, 1:], (0, 1), value=IGNORED)  # (B, T)
        with compiled_if(model.training):
            outputs: Any = model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                use_cache=False,
            )
        return outputs.logits.flatten(0, 1), targets.flatten(), outputs
