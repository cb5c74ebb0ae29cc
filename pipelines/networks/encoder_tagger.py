"""Any encoder as a tagger that sees the case of letters and can score whole tag sequences.

The library's own classes are a linear layer on the encoder. This one adds the case that an uncased
tokenizer drops, and a CRF as an option. Importing this module registers it, so that
`from_pretrained` knows it.
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
from pipelines.networks.labels import IGNORED, bio_tags_of

CASES = 7


@strict
class EncoderTaggerConfig(OnEncoderConfig):
    """The layers on top of the encoder.

    Args:
        case_feature: add a vector for the case of each sub-word's letters to its embedding and to
            its last state.
        crf: score whole tag sequences.
        dropout: on what the classifier reads.
    """

    model_type = "encoder_tagger"

    case_feature: bool = False
    crf: bool = False
    dropout: float = 0.1
    pad_token_id: int | None = None


class CasedEncoder(PreTrainedModel):
    """Token ids and cases -> token states of an encoder; a head on it is in a subclass."""

    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    _supports_sdpa = _supports_attention_backend = True

    def __init__(self, config: Any, encoder: PreTrainedModel | None = None):
        super().__init__(config)
        self.encoder = encoder if encoder is not None else AutoModel.from_config(config.encoder)
        self.case_embeddings = None
        if config.case_feature:
            self.case_embeddings = nn.Embedding(CASES, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        if module is self.case_embeddings:  # at first the encoder computes what it did before
            nn.init.zeros_(module.weight)

    def extra_inputs(self, words: Sequence[str]) -> dict[str, list[int]]:
        """What `forward` takes beside token ids, from the T strings that the tokens cover."""
        if self.case_embeddings is None:
            return {}
        return {"cases": [case_of(word) for word in words]}

    def states(self, input_ids: Tensor, mask: Tensor, cases: Tensor | None) -> Tensor:
        """The encoder's last states, (B, T, H), with those of the case feature."""
        if self.case_embeddings is None:
            return self.encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
        if cases is None:
            raise ValueError(
                "this network sees the case of letters; pass `cases`, from `extra_inputs`"
            )
        case = self.case_embeddings(cases)  # (B, T, H)
        embeddings = self.encoder.get_input_embeddings()(input_ids) + case
        outputs = self.encoder(inputs_embeds=embeddings, attention_mask=mask)
        return outputs.last_hidden_state + case


class EncoderTagger(CasedEncoder):
    """Token ids and cases -> token states of an encoder -> scores of the tags."""

    config_class = EncoderTaggerConfig

    def __init__(self, config: Any, encoder: PreTrainedModel | None = None):
        super().__init__(config, encoder)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        tags = bio_tags_of(config)
        self.crf = LinearChainCRF(config.num_labels, tags=tags) if config.crf else None
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LinearChainCRF):
            for parameter in module.parameters():
                nn.init.zeros_(parameter)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        cases: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **_: Any,
    ) -> TokenClassifierOutput:
        """Tags a batch.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 1 where there is a token; by default everywhere.
            cases: (B, T), from `case_of`, where the config has a case feature.
            labels: (B, T) tag ids; -100 is left out of the loss.
            num_items_in_batch: divides the summed loss; by default the number of tags in the batch.

        Returns:
            The loss if there are labels, and logits (B, T, C), which are emissions of a CRF.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = self.states(input_ids, mask, cases)  # (B, T, H)
        logits = self.classifier(self.dropout(states))  # (B, T, C)
        if labels is None:
            return TokenClassifierOutput(logits=logits)
        tagged = labels != IGNORED
        if self.crf is not None:
            total = self.crf(logits.float(), labels, tagged).sum()
        else:
            total = cross_entropy(
                logits.float().flatten(0, 1),
                labels.flatten(),
                ignore_index=IGNORED,
                reduction="sum",
            )
        count = num_items_in_batch
        if count is None:
            count = tagged.sum().clamp(min=1)
        return TokenClassifierOutput(loss=total / count, logits=logits)


def case_of(word: str) -> int:
    """The case of a word's letters, 0 to 6.

    0 no letter, 1 lower, 2 capital first, 3 all capitals, 4 one capital, 5 mixed, 6 no character
    (a special token).
    """
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
