"""Any encoder with a pooled text vector and a small head, as one model.

The library's own classes read only the first token. This one reads the mean, the maximum or a
learnt weighting of all of them, with a linear head or one hidden layer. Importing this module
registers it, so that `from_pretrained` knows it.
"""

from __future__ import annotations

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_outputs import SequenceClassifierOutput

from pipelines.networks.encoder_config import OnEncoderConfig

POOLINGS = ("cls", "mean", "max", "attention", "token")


@strict
class PooledClassifierConfig(OnEncoderConfig):
    """The layers on top of the encoder.

    Args:
        pooling: `cls` (the first token), `mean` or `max` over all tokens, or `attention`, a mean
            weighted by a learnt query. With `token` states are not pooled: each token is scored,
            and a class has the score of its best one.
        hidden_layer: width of the head's hidden layer; 0 = a linear head.
        activation: after the hidden layer.
        dropout: on the text vector and on the hidden layer.
    """

    model_type = "pooled_classifier"

    pooling: str = "mean"
    hidden_layer: int = 0
    activation: str = "tanh"
    dropout: float = 0.1


class PooledClassifier(PreTrainedModel):
    """Token states of an encoder -> one vector a text -> logits of the classes."""

    config_class = PooledClassifierConfig
    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    _supports_sdpa = _supports_attention_backend = True

    def __init__(self, config: PooledClassifierConfig, encoder: PreTrainedModel | None = None):
        super().__init__(config)
        self.encoder = encoder if encoder is not None else AutoModel.from_config(config.encoder)
        self.head = Head(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Classifies a batch.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 1 where there is a token; by default everywhere.
            token_type_ids: (B, T), for encoders that distinguish the two texts of a pair.
            labels: (B,) class ids, or (B, C) of 0 and 1 where a text may have several classes.

        Returns:
            The loss if there are labels (cross-entropy, the mean over texts; binary for several
            classes), and logits (B, C).
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        states = self.encoder(input_ids=input_ids, attention_mask=mask, **types).last_hidden_state
        return classification_output(self.head(states, mask), labels)


class Head(nn.Module):
    """Pools token states and scores the classes; a linear head has no `dense` layer."""

    def __init__(self, config: PooledClassifierConfig):
        super().__init__()
        self.pooling = config.pooling
        width = config.hidden_size
        self.query = nn.Linear(width, 1, bias=False) if config.pooling == "attention" else None
        self.dense = nn.Linear(width, config.hidden_layer) if config.hidden_layer else None
        self.activation = ACT2FN[config.activation]
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_layer or width, int(config.num_labels or 2))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Token states (B, T, H) and their mask (B, T) to logits (B, C)."""
        by_token = self.pooling == "token"
        vectors = states if by_token else pool(states, mask, self.pooling, self.query)
        if self.dense is not None:
            vectors = self.activation(self.dense(self.dropout(vectors)))
        logits = self.classifier(self.dropout(vectors))  # (B, C or T, C)
        return pool(logits, mask, "max") if by_token else logits


def classification_output(logits: Tensor, labels: Tensor | None) -> SequenceClassifierOutput:
    """Logits (B, C) and their mean loss, where there are labels.

    Args:
        labels: (B,) class ids, or (B, C) of 0 and 1 where a text may have several classes.
    """
    loss = None
    if labels is not None and labels.dim() == 2:
        loss = binary_cross_entropy_with_logits(logits.float(), labels.float())
    elif labels is not None:
        loss = cross_entropy(logits.float(), labels)
    return SequenceClassifierOutput(loss=loss, logits=logits)


def pool(states: Tensor, mask: Tensor, pooling: str, query: nn.Module | None = None) -> Tensor:
    """One vector a text, (B, H), from its token states (B, T, H).

    Args:
        states: token states.
        mask: (B, T), 0 at padding, which is ignored on either side.
        pooling: `cls`, `mean`, `max` or `attention`.
        query: H to 1, for `attention`.
    """
    unmasked = mask.bool()
    if pooling == "cls":
        first = unmasked.int().argmax(dim=1)  # (B,)
        return states[torch.arange(len(states), device=states.device), first]
    if pooling == "max":
        lowest = torch.finfo(states.dtype).min
        return states.masked_fill(~unmasked[..., None], lowest).amax(dim=1)
    if query is not None:
        scores = query(states).squeeze(-1).float().masked_fill(~unmasked, -torch.inf)  # (B, T)
        weights = scores.softmax(dim=1)
    else:
        weights = unmasked / unmasked.sum(dim=1, keepdim=True)
    return (states * weights[..., None].to(states.dtype)).sum(dim=1)


AutoConfig.register("pooled_classifier", PooledClassifierConfig)
AutoModelForSequenceClassification.register(PooledClassifierConfig, PooledClassifier)
