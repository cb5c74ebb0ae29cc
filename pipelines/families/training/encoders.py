"""What of a fine-tuned encoder is trained, and with which learning rates."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from pipelines.errors import UserError
from pipelines.families.training import TrainerMixin
from pipelines.networks.encoder_config import OnEncoderConfig

TUNING_MODES = ("full", "lora", "head", "last_n")


class NewModel(NamedTuple):
    """A model to train; `new` names the weights that its checkpoint does not bring."""

    model: PreTrainedModel
    new: list[str]


class LayerRates(TrainerMixin):
    """Optimizes with the groups of `parameter_groups`: learning rates by layer.

    Args:
        layer_decay: factor from the learning rate of a layer to that of the layer below.
        head_rate: learning rate of the head, as a multiple of that of the top layer.
    """

    def __init__(
        self,
        *arguments: Any,
        layer_decay: float = 1.0,
        head_rate: float = 1.0,
        **keywords: Any,
    ):
        super().__init__(*arguments, **keywords)
        self.layer_decay, self.head_rate = layer_decay, head_rate

    def create_optimizer(self, *arguments: Any, **keywords: Any) -> torch.optim.Optimizer:
        """Makes the optimizer, once."""
        if self.optimizer is None:
            network: Any = self.model
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, network)
            learning_rate = options.pop("lr")
            groups = parameter_groups(
                network,
                learning_rate=learning_rate,
                weight_decay=self.args.weight_decay,
                layer_decay=self.layer_decay,
                head_rate=self.head_rate,
            )
            self.optimizer = optimizer_class(groups, lr=learning_rate, **options)
        return self.optimizer


class FrozenParts(TrainerMixin):
    """Keeps parts that are not trained in eval mode: `Trainer` puts all in training mode."""

    _frozen: list[nn.Module] | None = None

    def compute_loss(
        self, model: nn.Module, *arguments: Any, **keywords: Any
    ) -> Tensor | tuple[Tensor, Any]:
        """The loss, without dropout in frozen parts."""
        if self._frozen is None:
            self._frozen = frozen_modules(self.accelerator.unwrap_model(model))
        for module in self._frozen:
            module.training = False
        return super().compute_loss(model, *arguments, **keywords)


def choose_trained(
    model: PreTrainedModel, tune: str, *, last_n: int = 2, lora: LoraConfig | None = None
) -> None:
    """Freezes what is not trained.

    Args:
        tune: `full` freezes nothing, `head` the encoder, `last_n` the encoder but for its last
            layers, `lora` the encoder but for adapters, which are added.
        last_n: layers that `last_n` trains.

    Raises:
        UserError: for an unknown mode, more layers than there are, or a model without an encoder
            of its own.
    """
    if tune not in TUNING_MODES:
        raise UserError(f"got --tune {tune}; wanted one of {', '.join(TUNING_MODES)}")
    encoder: Any = model.base_model
    if encoder is model:
        raise UserError("the model has no encoder apart from its head; take --tune full")
    if tune == "lora":
        setattr(model, model.base_model_prefix, get_peft_model(encoder, lora or LoraConfig()))
        return
    if tune == "full":
        return
    layers = _layer_count(encoder)
    if tune == "last_n" and not 0 < last_n <= layers:
        raise UserError(f"got --last_n {last_n}; the encoder has {layers} layers")
    first_trained = layers if tune == "head" else layers - last_n
    for name, parameter in model.named_parameters():
        if not _is_head(model, name):
            parameter.requires_grad = tune != "head" and _layer(name) >= first_trained


def frozen_modules(model: nn.Module) -> list[nn.Module]:
    """Modules whose weights are all frozen: dropout there would only be noise."""
    frozen = []
    for module in model.modules():
        parameters = list(module.parameters())
        if parameters and not any(weight.requires_grad for weight in parameters):
            frozen.append(module)
    return frozen


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """The model with its adapters, if it has any, merged into the encoder."""
    encoder: Any = model.base_model
    if hasattr(encoder, "merge_and_unload"):
        setattr(model, model.base_model_prefix, encoder.merge_and_unload())
    return model


def parameter_groups(
    model: PreTrainedModel,
    *,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    head_rate: float = 1.0,
) -> list[dict[str, object]]:
    """Groups of trained parameters for the optimizer, each with its learning rate.

    The top layer of the encoder has `learning_rate`, each layer below that of the next times
    `layer_decay` (discriminative fine-tuning, Howard and Ruder 2018, section 3.2), embeddings one
    layer below the first; the head, including its pooler, `head_rate` times `learning_rate`.
    Biases and norms have no weight decay.
    """
    layers = _layer_count(model)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        scale = head_rate
        if not _is_head(model, name):
            scale = layer_decay ** (layers - 1 - _layer(name))
        decay = 0.0 if parameter.ndim < 2 else weight_decay
        groups.setdefault((learning_rate * scale, decay), []).append(parameter)
    return [
        {"params": group, "lr": rate, "weight_decay": decay}
        for (rate, decay), group in groups.items()
    ]


def _layer_count(model: nn.Module) -> int:
    return 1 + max((_layer(name) for name, _ in model.named_parameters()), default=-1)


def _layer(name: str) -> int:
    """Index of the encoder layer that a parameter belongs to; -1 for what is below or beside."""
    match = re.search(r"\blayers?\.(\d+)\.", name)
    return int(match[1]) if match else -1


def _is_head(model: PreTrainedModel, name: str) -> bool:
    """Whether a parameter reads what the last layer gives: the head, and BERT's pooler below it.

    Our own networks read the states of tokens; the pooler of their encoder is idle.
    """
    if ".pooler." in name and not isinstance(model.config, OnEncoderConfig):
        return True
    return not name.startswith(f"{model.base_model_prefix}.")
