"""Any encoder as a tagger that sees the case of letters and scores whole tag sequences.

The library's own classes are one linear layer on the encoder. This one feeds back what an uncased tokenizer drops, and
has a CRF on top where asked for. Importing this module registers it, so that `from_pretrained` knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from pipelines.networks.crf import LinearChainCRF
from pipelines.networks.encoder_config import OnEncoderConfig
from pipelines.spans import looks_like_tag

IGNORED = -100
CASES = 7


@strict
class EncoderTaggerConfig(OnEncoderConfig):
    """What stands on the encoder.

    Args:
        case_feature: add a vector for the case of each sub-word's letters to its embedding and to its last state.
        crf: score whole tag sequences.
        dropout: on what the classifier reads.
    """

    model_type = "encoder_tagger"

    case_feature: bool = False
    crf: bool = False
    dropout: float = 0.1
    pad_token_id: int | None = None


class EncoderTagger(PreTrainedModel):
    """Token ids and cases -> token states of an encoder -> scores of the tags."""

    config_class = EncoderTaggerConfig
    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    _supports_sdpa = _supports_attention_backend = True

    def __init__(self, config: Any, encoder: PreTrainedModel | None = None):
        super().__init__(config)
        self.encoder = encoder if encoder is not None else AutoModel.from_config(config.encoder)
        self.case_embeddings = nn.Embedding(CASES, config.hidden_size) if config.case_feature else None
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        tags = [config.id2label[number] for number in range(config.num_labels)]
        bio = tags if all(map(looks_like_tag, tags)) else None
        self.crf = LinearChainCRF(config.num_labels, tags=bio) if config.crf else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if isinstance(module, LinearChainCRF):
            for parameter in module.parameters():
                nn.init.zeros_(parameter)
        if module is self.case_embeddings:  # the encoder is what it was until something is learnt
            nn.init.zeros_(module.weight)

    def extra_inputs(self, words: Sequence[str]) -> dict[str, list[int]]:
        """What `forward` takes beside token ids, given the string that each token covers (T,)."""
        return {"cases": [case_of(word) for word in words]} if self.case_embeddings is not None else {}

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, cases: Tensor | None = None,
                labels: Tensor | None = None, num_items_in_batch: Tensor | int | None = None,
                **_: Any) -> TokenClassifierOutput:
        """Tags a batch.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 1 where there is a token; by default everywhere.
            cases: (B, T), from `case_of`, where the config has a case feature.
            labels: (B, T) tag numbers; -100 is left out of the loss.
            num_items_in_batch: what the summed loss is divided by; by default the tags of this batch.

        Returns:
            loss where labels are given (the mean over tags), and logits (B, T, C)
            (emission scores where there is a CRF).
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if self.case_embeddings is None:
            states = self.encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state              # (B, T, H)
        else:
            if cases is None:
                raise ValueError("this network sees the case of letters; pass `cases`, from `extra_inputs`")
            case = self.case_embeddings(cases)                                                             # (B, T, H)
            embeddings = self.encoder.get_input_embeddings()(input_ids) + case
            states = self.encoder(inputs_embeds=embeddings, attention_mask=mask).last_hidden_state + case
        logits = self.classifier(self.dropout(states))                                                     # (B, T, C)
        loss = None
        if labels is not None:
            tagged = labels != IGNORED
            total = self.crf(logits.float(), labels, tagged).sum() if self.crf is not None else cross_entropy(
                logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum")
            loss = total / (tagged.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch)
        return TokenClassifierOutput(loss=loss, logits=logits)


def case_of(word: str) -> int:
    """0 no letter, 1 lower, 2 capital first, 3 all capitals, 4 one capital, 5 mixed, 6 nothing (a special token)."""
    letters = [letter for letter in word if letter.isalpha()]
    if not letters:
        return 0 if word.strip() else 6
    capitals = sum(map(str.isupper, letters))
    if not capitals:
        return 1
    if capitals == len(letters):
        return 4 if capitals == 1 else 3
    return 2 if capitals == 1 and letters[0].isupper() else 5


AutoConfig.register("encoder_tagger", EncoderTaggerConfig)
AutoModelForTokenClassification.register(EncoderTaggerConfig, EncoderTagger)
