"""Any encoder as a tagger that sees the case of letters and can score whole tag sequences.

The library's own classes are a linear layer on the encoder. This one adds the case that an uncased
tokenizer drops, the matches of a lexicon, and a CRF, all as options.
Importing this module registers it, so that `from_pretrained` knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from transformers import AutoConfig, AutoModel, AutoModelForTokenClassification, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from pipelines.corpora.lexicon import Lexicon
from pipelines.networks.crf import LinearChainCRF
from pipelines.networks.encoder_config import OnEncoderConfig
from pipelines.networks.labels import IGNORED, bio_tags_of
from pipelines.networks.lexicon_feature import ReadsLexicon

CASES = 7


@strict
class EncoderTaggerConfig(OnEncoderConfig):
    """The layers on top of the encoder.

    Args:
        case_feature: add a vector for the case of each sub-word's letters to its embedding and to
            its last state.
        lexicon_tags: what the lexicon says of a word (`Lexicon.tags`); none without a lexicon.
        lexicon_enters: where a vector for it is added: to the `embeddings` of the sub-words of the
            word, to their last `states`, or to both, each with its own vectors.
        lexicon_dropout: share of the matches that training hides, so that the tagger learns names
            by what stands around them too.
        crf: score whole tag sequences.
        dropout: on what the classifier reads.
    """

    model_type = "encoder_tagger"

    case_feature: bool = False
    lexicon_tags: list[str] | tuple[str, ...] = ()
    lexicon_enters: list[str] | tuple[str, ...] = ("embeddings", "states")
    lexicon_dropout: float = 0.0
    crf: bool = False
    dropout: float = 0.1
    pad_token_id: int | None = None


class FeaturedEncoder(ReadsLexicon):
    """Token ids, cases and lexicon matches -> token states; a head on them is in a subclass."""

    base_model_prefix = "encoder"
    supports_gradient_checkpointing = True
    _supports_sdpa = _supports_attention_backend = True

    def __init__(self, config: Any, encoder: PreTrainedModel | None = None):
        super().__init__(config)
        self.encoder = encoder if encoder is not None else AutoModel.from_config(config.encoder)
        self.case_embeddings = None
        if config.case_feature:
            self.case_embeddings = nn.Embedding(CASES, config.hidden_size)
        self.matches = nn.ModuleDict()
        if config.lexicon_tags:
            self._add_matches()
        self.dropout = nn.Dropout(config.dropout)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        features = (self.case_embeddings, *self.matches.values())
        if isinstance(module, nn.Embedding) and any(module is feature for feature in features):
            nn.init.zeros_(module.weight)  # at first the encoder computes what it did before

    def _add_matches(self) -> None:
        widths = {
            "embeddings": self.encoder.get_input_embeddings().embedding_dim,
            "states": self.config.hidden_size,
        }
        for place in self.config.lexicon_enters:
            # Id 0 says that no name matches, which changes nothing.
            vectors = nn.Embedding(len(self.lexicon_tags), widths[place], padding_idx=0)
            nn.init.zeros_(vectors.weight)
            self.matches[place] = vectors

    def use_lexicon(self, lexicon: Lexicon, *, dropout: float = 0.0) -> None:
        """Makes a lexicon a feature. Vectors of one before it stay where it says the same of words.

        Args:
            dropout: share of the matches that training hides.
        """
        self.lexicon, self.config.lexicon_dropout = lexicon, dropout
        if list(self.lexicon_tags) != lexicon.tags():
            self.config.lexicon_tags = lexicon.tags()
            self._add_matches()

    def extra_inputs(self, words: Sequence[str]) -> dict[str, list[int]]:
        """What `forward` takes beside token ids, from the T strings that the tokens cover."""
        if self.case_embeddings is None:
            return {}
        return {"cases": [case_of(word) for word in words]}

    def word_inputs(self, words: Sequence[str]) -> dict[str, list[int]]:
        """What `forward` takes beside these, from the W words of a whole text: a number each.

        Each sub-word gets that of its word; a special token, which has none, gets 0.
        """
        return self.match_inputs(words)

    def _added(self, cases: Tensor | None, matches: Tensor | None) -> dict[str, Tensor]:
        """(B, T, H), what the features add to the `embeddings` and to the last `states`."""
        added: dict[str, Tensor] = {}
        if self.case_embeddings is not None:
            if cases is None:
                raise ValueError(
                    "this network sees the case of letters; pass `cases`, from `extra_inputs`"
                )
            case = self.case_embeddings(cases)  # (B, T, H)
            added = {"embeddings": case, "states": case}
        if self.matches:
            if matches is None:
                raise ValueError(
                    "this network has a lexicon feature; pass `matches`, from `word_inputs`"
                )
            seen = self._not_hidden(matches)
            for place, vectors in self.matches.items():
                match = vectors(seen)  # (B, T, H), or the width of the embeddings
                added[place] = added[place] + match if place in added else match
        return added

    def _not_hidden(self, matches: Tensor) -> Tensor:
        """(B, T) matches; in training a share of them is hidden, each match as a whole."""
        share = self.config.lexicon_dropout
        if not (self.training and share):
            return matches
        inside = matches > 0
        first = inside & ~pad(inside, (1, 0))[:, :-1]
        number = first.cumsum(1)  # (B, T); matches without a word between them are one here
        draws = torch.rand(len(matches), matches.shape[1] + 1, device=matches.device)
        return matches.masked_fill((draws < share).gather(1, number), 0)

    def states(
        self, input_ids: Tensor, mask: Tensor, cases: Tensor | None, matches: Tensor | None
    ) -> Tensor:
        """The encoder's last states, (B, T, H), with what the features add."""
        added = self._added(cases, matches)
        inputs = {"input_ids": input_ids}
        if "embeddings" in added:
            embeddings = self.encoder.get_input_embeddings()(input_ids)
            inputs = {"inputs_embeds": embeddings + added["embeddings"]}
        states: Tensor = self.encoder(**inputs, attention_mask=mask).last_hidden_state
        return states + added["states"] if "states" in added else states


class EncoderTagger(FeaturedEncoder):
    """Token ids, cases and lexicon matches -> token states of an encoder -> scores of the tags."""

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
        matches: Tensor | None = None,
        labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **_: Any,
    ) -> TokenClassifierOutput:
        """Tags a batch.

        Args:
            input_ids: (B, T).
            attention_mask: (B, T), 1 where there is a token; by default everywhere.
            cases: (B, T), from `case_of`, where the config has a case feature.
            matches: (B, T), from `word_inputs`, where the config has tags of a lexicon.
            labels: (B, T) tag ids; -100 is left out of the loss.
            num_items_in_batch: divides the summed loss; by default the number of tags in the batch.

        Returns:
            The loss if there are labels, and logits (B, T, C), which are emissions of a CRF.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        states = self.states(input_ids, mask, cases, matches)  # (B, T, H)
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
