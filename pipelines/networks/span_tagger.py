"""Any encoder as a network that scores whole spans: each span up to a width, by type.

A span is a range of units (words, or tokens of the corpus). It is scored from the states where it
starts and ends, the mean of those inside, and its width, by a classifier with one hidden layer (as
in SpanNER, Fu et al. 2021, section 2.2, with the inside added). Each type has a probability of its
own, so a span may have several types, and spans may overlap. Importing this module registers the
network, so that `from_pretrained` knows it.
"""

from __future__ import annotations

from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.functional import gelu, pad
from transformers import AutoConfig, AutoModelForTokenClassification, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from pipelines.networks.encoder_config import OnEncoderConfig
from pipelines.networks.encoder_tagger import FeaturedEncoder

NO_SPAN = -1e4  # logit of a span that runs past the last unit
# Few spans are mentions: at first each has probability 0.01 (Lin et al. 2017, section 3.3).
FIRST_BIAS = -4.595


@strict
class SpanTaggerConfig(OnEncoderConfig):
    """The layers on top of the encoder; its labels are the types.

    Args:
        max_width: units of a span at most, W.
        span_size: D of the hidden layer.
        nested: whether mentions may overlap; else spans that do are alternatives.
        case_feature: as of `EncoderTaggerConfig`, and so are the fields of the lexicon.
        dropout: on the states of tokens, and on what the classifier reads.
    """

    model_type = "span_tagger"

    max_width: int = 8
    span_size: int = 256
    nested: bool = False
    case_feature: bool = False
    lexicon_tags: list[str] | tuple[str, ...] = ()
    lexicon_enters: list[str] | tuple[str, ...] = ("embeddings", "states")
    lexicon_dropout: float = 0.0
    dropout: float = 0.1
    pad_token_id: int | None = None


class SpanTagger(FeaturedEncoder):
    """Token ids and features -> token states of an encoder -> scores of the types of each span."""

    config_class = SpanTaggerConfig

    def __init__(self, config: Any, encoder: PreTrainedModel | None = None):
        super().__init__(config, encoder)
        width, size = config.hidden_size, config.span_size
        self.start = nn.Linear(width, size)
        self.end = nn.Linear(width, size, bias=False)
        self.inside = nn.Linear(width, size, bias=False)
        self.widths = nn.Embedding(config.max_width, size)
        self.classifier = nn.Linear(size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self.classifier:
            nn.init.constant_(module.bias, FIRST_BIAS)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cases: Tensor | None = None,
        matches: Tensor | None = None,
        first: Tensor | None = None,
        last: Tensor | None = None,
        **_: Any,
    ) -> TokenClassifierOutput:
        """Scores the spans of a batch.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 1 where there is a token; by default everywhere.
            cases: (B, T), from `case_of`, where the config has a case feature.
            matches: (B, T), from `word_inputs`, where the config has tags of a lexicon.
            first: (B, U), the position of the first sub-word of each unit, -1 for padding; by
                default each token is a unit.
            last: (B, U), that of its last sub-word.

        Returns:
            logits (B, U, W, C): of the spans that start at each unit and have 1 to W units, by
            type; W is `max_width`.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if first is None or last is None:
            positions = torch.arange(input_ids.shape[1], device=input_ids.device)
            first = last = positions.expand_as(input_ids).masked_fill(mask == 0, -1)
        states = self.dropout(self.states(input_ids, mask, cases, matches))  # (B, T, H)
        at_first, at_last = _gathered(states, first), _gathered(states, last)  # (B, U, H)
        return TokenClassifierOutput(logits=self._span_logits(at_first, at_last, first))

    def _span_logits(self, at_first: Tensor, at_last: Tensor, first: Tensor) -> Tensor:
        """(B, U, W, C) from the (B, U, H) states of the units' first and last sub-words."""
        starts, ends = self.start(at_first), self.end(at_last)  # (B, U, D)
        units, widths = first.shape[1], self.config.max_width
        # Spans that run past the last unit are computed too, for the same graph at any length.
        ends = pad(ends, (0, 0, 0, widths - 1))  # (B, U + W - 1, D)
        is_unit = pad(first >= 0, (0, widths - 1))
        # Sums up to each unit, in float32: a difference of large sums is exact enough there only.
        inside = pad(self.inside(at_first).float(), (0, 0, 1, widths - 1))
        sums = inside.cumsum(1)  # (B, U + W, D)
        by_width = []
        for width in range(widths):
            mean = (sums[:, width + 1 : width + 1 + units] - sums[:, :units]) / (width + 1)
            hidden = starts + ends[:, width : width + units] + mean.to(starts.dtype)  # (B, U, D)
            hidden = gelu(hidden + self.widths.weight[width])
            logits = self.classifier(self.dropout(hidden))  # (B, U, C)
            is_real = is_unit[:, width : width + units, None]
            by_width.append(logits.masked_fill(~is_real, NO_SPAN))
        return torch.stack(by_width, 2)


def _gathered(states: Tensor, positions: Tensor) -> Tensor:
    """(B, U, H): the states (B, T, H) at positions (B, U)."""
    index = positions.clamp(min=0)[..., None].expand(-1, -1, states.shape[-1])
    return states.gather(1, index)


AutoConfig.register("span_tagger", SpanTaggerConfig)
AutoModelForTokenClassification.register(SpanTaggerConfig, SpanTagger)
