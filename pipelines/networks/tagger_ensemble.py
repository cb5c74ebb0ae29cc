"""Several taggers of one kind in one network, whose output is the mean of their probabilities.

`token_tagger.predict` uses the spans of each and lets them vote. Importing this module registers
the network, so that `from_pretrained` knows it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import TokenClassifierOutput

from pipelines.corpora.lexicon import Lexicon
from pipelines.networks.lexicon_feature import ReadsLexicon
from pipelines.networks.span_tagger import SpanTagger


@strict
class TaggerEnsembleConfig(PreTrainedConfig):
    """The number of taggers, and the config of each.

    Args:
        member: that config, or its fields as a saved file has them.
        members: their number.
    """

    model_type = "tagger_ensemble"
    sub_configs = {"member": AutoConfig}  # noqa: RUF012

    member: dict | PreTrainedConfig | None = None
    members: int = 1
    pad_token_id: int | None = None

    def __post_init__(self, **keywords: Any):
        if isinstance(self.member, dict):
            self.member = AutoConfig.for_model(**self.member)
        self.member = copy.deepcopy(self.member)  # as in `OnEncoderConfig`
        super().__post_init__(**keywords)


class TaggerEnsemble(ReadsLexicon):
    """y = log((1/K) sum_k softmax(y_k)) (Lakshminarayanan et al. 2017, section 2.4)."""

    config_class = TaggerEnsembleConfig
    base_model_prefix = "taggers"
    _supports_sdpa = _supports_attention_backend = True

    def __init__(self, config: Any, taggers: Sequence[PreTrainedModel] = ()):
        super().__init__(config)
        if not taggers:
            taggers = [
                AutoModelForTokenClassification.from_config(config.member)
                for _ in range(config.members)
            ]
        self.taggers = nn.ModuleList(taggers)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Does nothing: members initialise themselves."""

    def extra_inputs(self, words: Sequence[str]) -> dict[str, list[int]]:
        """What the members take beside token ids; see `EncoderTagger.extra_inputs`."""
        first: Any = self.taggers[0]
        return first.extra_inputs(words) if hasattr(first, "extra_inputs") else {}

    def word_inputs(self, words: Sequence[str]) -> dict[str, list[int]]:
        """What the members take of the words of a whole text; see `EncoderTagger.word_inputs`."""
        return self.match_inputs(words)

    @property
    def lexicon_tags(self) -> Sequence[str]:
        """Those of each member."""
        return getattr(self.config.member, "lexicon_tags", ())

    @property
    def lexicon(self) -> Lexicon | None:
        """The one that all members read."""
        return getattr(self.taggers[0], "lexicon", None)

    @lexicon.setter
    def lexicon(self, value: Lexicon | None) -> None:
        members: Any = self.taggers
        for tagger in members:
            tagger.lexicon = value

    def forward(self, **inputs: Tensor) -> TokenClassifierOutput:
        """Tags a batch.

        Args:
            inputs: what the members take.

        Returns:
            logits (B, T, C), which are log-probabilities; of members that score spans (B, U, W, C).
        """
        each = torch.stack([tagger(**inputs).logits.float() for tagger in self.taggers])
        if isinstance(self.taggers[0], SpanTagger):  # whose types are not exclusive
            return TokenClassifierOutput(logits=each.sigmoid().mean(0).logit())
        mean = each.log_softmax(-1).logsumexp(0) - math.log(len(each))  # (B, T, C)
        return TokenClassifierOutput(logits=mean)


def ensemble_of(taggers: Sequence[PreTrainedModel]) -> TaggerEnsemble:
    """Taggers of the same kind and tags, as one network."""
    first = taggers[0].config
    config = TaggerEnsembleConfig(
        member=first,
        members=len(taggers),
        pad_token_id=first.pad_token_id,
        id2label=first.id2label,
        label2id=first.label2id,
    )
    return TaggerEnsemble(config, taggers)


AutoConfig.register("tagger_ensemble", TaggerEnsembleConfig)
AutoModelForTokenClassification.register(TaggerEnsembleConfig, TaggerEnsemble)
