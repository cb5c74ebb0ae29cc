"""Training a tagger on gold tags and on the votes of teachers, which are probabilities of tags.

The loss of a tag is the cross-entropy against a distribution (Hinton et al. 2015, section 2, at
temperature 1): one tag for gold, the share of the votes for silver data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer

from pipelines.evaluation.silver import SilverText
from pipelines.examples import Fields, JsonObject, Span
from pipelines.families.token_tagger import TaggerSettings, collate, encode, window_inputs
from pipelines.families.token_tagger.tagging import TagScores, tag_numbers
from pipelines.families.training import TrainerMixin
from pipelines.families.training.averaging import WeightAveraging
from pipelines.families.training.batches import LengthBatches
from pipelines.families.training.cpu_training import CpuTraining
from pipelines.families.training.encoders import FrozenParts, LayerRates
from pipelines.networks.labels import IGNORED
from pipelines.spans import Offsets, spans_to_tags

TARGETS = "targets"  # (T, C) of a row: the weight of each tag at each tagged position


def soft_tags(
    proposals: Sequence[Span], offsets: Offsets, numbers: Mapping[str, int]
) -> np.ndarray:
    """(U, C) probabilities of the tags of a text's units.

    Each proposed span gives its score to its own tags; what is left of 1 is `O`. Types that the
    model does not have count as `O`.

    Args:
        proposals: with scores, which may overlap.
        numbers: the index of each tag.
    """
    soft = np.zeros((len(offsets), len(numbers)), dtype=np.float32)
    for span in proposals:
        for unit, tag in enumerate(spans_to_tags([span], offsets)):
            if tag != "O" and tag in numbers:
                soft[unit, numbers[tag]] += span.score or 0.0
    # A teacher that is no tagger may give spans that overlap.
    soft /= np.maximum(soft.sum(1, keepdims=True), 1)
    soft[:, numbers["O"]] += 1 - soft.sum(1)
    return soft


def silver_rows(
    texts: Sequence[SilverText],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: TaggerSettings,
    *,
    weight: float,
) -> list[JsonObject]:
    """Cuts and aligns texts as `tagging.training_rows`; their tags are the teachers' votes.

    Args:
        weight: of a silver tag, where a gold one has 1.
    """
    numbers = tag_numbers(model)
    encoded = encode([text.example for text in texts], tokenizer, settings)
    rows = []
    for silver, text in zip(texts, encoded, strict=True):
        soft = soft_tags(silver.proposals, text.offsets, numbers)
        for window, inputs in zip(text.windows, window_inputs(model, text), strict=True):
            labels = np.full(len(window.input_ids), IGNORED)
            targets = np.zeros((len(window.input_ids), len(numbers)), dtype=np.float16)
            labels[window.positions] = soft[window.units].argmax(1)
            targets[window.positions] = weight * soft[window.units]
            rows.append({**inputs, "labels": labels, TARGETS: targets})
    return rows


def gold_rows(rows: Sequence[Fields], model: PreTrainedModel) -> list[JsonObject]:
    """Rows of `tagging.training_rows` with all the weight on their gold tags."""
    num_tags, targeted = len(tag_numbers(model)), []
    for row in rows:
        labels = np.array(row["labels"])
        targets = np.zeros((len(labels), num_tags), dtype=np.float16)
        tagged = np.flatnonzero(labels != IGNORED)
        targets[tagged, labels[tagged]] = 1
        targeted.append({**row, TARGETS: targets})
    return targeted


class VotedTagLoss(TrainerMixin):
    """The cross-entropy of tags against the distributions in the rows, weighted."""

    def summed_loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, object]:
        """The loss of a batch, summed over its tags, and what the model returned."""
        own = {name: value for name, value in inputs.items() if name not in ("labels", TARGETS)}
        outputs = model(**own)
        tagged = inputs["labels"] != IGNORED  # (B, T)
        likelihoods = outputs.logits[tagged].float().log_softmax(-1)  # (N, C)
        return -(inputs[TARGETS][tagged].float() * likelihoods).sum(), outputs


class StudentTrainer(
    CpuTraining,
    WeightAveraging,
    LayerRates,
    FrozenParts,
    LengthBatches,
    VotedTagLoss,
    TagScores,
    Trainer,
):
    """Fine-tunes an encoder on gold and silver rows; checkpoints are compared by strict F1."""

    def __init__(self, *arguments: Any, **keywords: Any):
        pad = keywords["processing_class"].pad_token_id or 0
        super().__init__(*arguments, **keywords | {"data_collator": partial(collate, pad=pad)})
