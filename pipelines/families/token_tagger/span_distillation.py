"""Training a network of whole spans on gold mentions and on the votes of teachers.

The loss of a type of a span is the binary cross-entropy against a probability (Hinton et al. 2015,
section 2, at temperature 1): 1 or 0 for gold, the share of the votes for silver data. The functions
have the names of those in `distillation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase, Trainer

from pipelines.evaluation.silver import SilverText
from pipelines.examples import Fields, JsonObject
from pipelines.families.token_tagger import TaggerSettings, encode
from pipelines.families.token_tagger.span_answers import collate_spans
from pipelines.families.token_tagger.span_training import (
    GOLD,
    SpanScores,
    ranges_of,
    window_rows,
)
from pipelines.families.training.averaging import WeightAveraging
from pipelines.families.training.batches import LengthBatches
from pipelines.families.training.cpu_training import CpuTraining
from pipelines.families.training.encoders import FrozenParts, LayerRates
from pipelines.networks.span_tagger import SpanTagger

VOTES = "votes"  # (G,) of a row: the probability of each of its spans
WEIGHT = "weight"  # of all spans of a row in the loss


def silver_rows(
    texts: Sequence[SilverText],
    model: SpanTagger,
    tokenizer: PreTrainedTokenizerBase,
    settings: TaggerSettings,
    *,
    weight: float,
) -> list[JsonObject]:
    """Cuts and aligns texts as `span_training.training_rows`; each proposed span has its score.

    Args:
        weight: of a silver span, where a gold one has 1.
    """
    encoded = encode([text.example for text in texts], tokenizer, settings)
    rows = []
    for silver, text in zip(texts, encoded, strict=True):
        ranges = ranges_of(silver.proposals, text, model)
        for row, inside in window_rows(model, text, ranges):
            votes = [span.score or 0.0 for span, _ in inside]
            items = [item for _, item in inside]
            rows.append({**row, GOLD: items, VOTES: votes, WEIGHT: weight})
    return rows


def gold_rows(rows: Sequence[Fields], _: SpanTagger) -> list[JsonObject]:
    """Rows of `span_training.training_rows` with all the weight on their gold mentions."""
    return [{**row, VOTES: [1.0] * len(row[GOLD]), WEIGHT: 1.0} for row in rows]


def collate_votes(rows: Sequence[Fields], *, pad: int) -> dict[str, Tensor]:
    """Pads rows as `collate_spans`, and adds `votes`, (B, G), padded with 0, and `weight`, (B,)."""
    own = (VOTES, WEIGHT)
    bare = [{name: value for name, value in row.items() if name not in own} for row in rows]
    votes = [torch.tensor(row[VOTES], dtype=torch.float32) for row in rows]
    return {
        **collate_spans(bare, pad=pad),
        VOTES: pad_sequence(votes, batch_first=True),
        WEIGHT: torch.tensor([row[WEIGHT] for row in rows]),
    }


def soft_targets(shape: Sequence[int], gold: Tensor, votes: Tensor) -> Tensor:
    """(B, U, W, C): the probability of each type of each span, 0 where nothing was proposed.

    Proposals that cut through units may fall on one span; their probabilities add up to 1 at most.

    Args:
        shape: B, U, W, C.
        gold: (B, G, 3), start, width - 1 and type; padded with -1.
        votes: (B, G).
    """
    targets = torch.zeros(tuple(shape), device=gold.device)
    row, item = (gold[..., 0] >= 0).nonzero(as_tuple=True)
    targets.index_put_((row, *gold[row, item].unbind(-1)), votes[row, item], accumulate=True)
    return targets.clamp(max=1)


class VotedSpanLoss(SpanScores):
    """The loss of all spans against the probabilities in the rows, weighted."""

    def summed_loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, object]:
        """The loss of a batch, summed over spans and types, and what the model returned."""
        own = ("labels", GOLD, VOTES, WEIGHT)
        outputs = model(**{name: value for name, value in inputs.items() if name not in own})
        logits = outputs.logits.float()  # (B, U, W, C)
        losses = binary_cross_entropy_with_logits(
            logits, soft_targets(logits.shape, inputs[GOLD], inputs[VOTES]), reduction="none"
        )
        # A span that runs past the last unit adds nothing: its logit is NO_SPAN, and its target 0.
        return (losses.sum((1, 2, 3)) * inputs[WEIGHT]).sum(), outputs


class StudentTrainer(
    CpuTraining, WeightAveraging, LayerRates, FrozenParts, LengthBatches, VotedSpanLoss, Trainer
):
    """Fine-tunes an encoder on gold and silver rows; checkpoints are compared by strict F1."""

    def __init__(self, *arguments: Any, **keywords: Any):
        pad = keywords["processing_class"].pad_token_id or 0
        super().__init__(
            *arguments, **keywords | {"data_collator": partial(collate_votes, pad=pad)}
        )
