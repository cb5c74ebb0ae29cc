"""Any encoder with a pooled text vector and a small head on top, as one `AutoModelForSequenceClassification` model.

The library's own classes read the first token alone. This one reads the mean, the maximum or a learnt weighting of all
of them, with a linear head or one hidden layer. Importing this module registers it, so that `from_pretrained` knows it.
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
    """What stands on the encoder.

    Args:
        pooling: ``cls`` (the first token), ``mean`` and ``max`` over all tokens, or ``attention``, a mean weighted by
            a learnt query. With ``token`` nothing is pooled: each token is scored, and a class has the score of its
            best one.
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
    """Token states of an encoder -> one vector a text -> scores of the classes."""

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

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, token_type_ids: Tensor | None = None,
                labels: Tensor | None = None, **_: Any) -> SequenceClassifierOutput:
        """Classifies a batch.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 1 where there is a token; by default everywhere.
            token_type_ids: (B, T), for encoders that tell two texts apart.
            labels: (B,) class numbers, or (B, C) of 0 and 1 where a text may have several classes.

        Returns:
            loss where labels are given (cross-entropy, the mean over texts; binary for several classes), and logits
            (B, C).
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        states = self.encoder(input_ids=input_ids, attention_mask=mask, **types).last_hidden_state     # (B, T, H)
        logits = self.head(states, mask)                                                               # (B, C)
        loss = None
        if labels is not None:
            loss = (binary_cross_entropy_with_logits(logits.float(), labels.float()) if labels.dim() == 2 else
                    cross_entropy(logits.float(), labels))
        return SequenceClassifierOutput(loss=loss, logits=logits)


class Head(nn.Module):
    """Pools token states and scores the classes; ``dense`` and its activation are left out of a linear head."""

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
        """From token states (B, T, H) and their mask (B, T) to scores (B, C)."""
        vectors = states if self.pooling == "token" else pool(states, mask, self.pooling, self.query)
        if self.dense is not None:
            vectors = self.activation(self.dense(self.dropout(vectors)))
        scores = self.classifier(self.dropout(vectors))
        return pool(scores, mask, "max") if self.pooling == "token" else scores


def pool(states: Tensor, mask: Tensor, pooling: str, query: nn.Module | None = None) -> Tensor:
    """One vector a text, (B, H), from its token states (B, T, H); padding, where the mask (B, T) is 0, counts nothing.

    The first token is the first that the mask shows, whichever side the padding is on.
    """
    there = mask.bool()
    if pooling == "cls":
        return states[torch.arange(len(states), device=states.device), there.int().argmax(dim=1)]
    if pooling == "max":
        return states.masked_fill(~there[..., None], torch.finfo(states.dtype).min).amax(dim=1)
    if query is not None:
        scores = query(states).squeeze(-1).float().masked_fill(~there, -torch.inf)             # (B, T)
        weights = scores.softmax(dim=1)
    else:
        weights = there / there.sum(dim=1, keepdim=True)
    return (states * weights[..., None].to(states.dtype)).sum(dim=1)


AutoConfig.register("pooled_classifier", PooledClassifierConfig)
AutoModelForSequenceClassification.register(PooledClassifierConfig, PooledClassifier)
