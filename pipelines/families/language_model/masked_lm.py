"""Masked language modelling: pretraining of an encoder continues on the texts of a task.

The objective is that of Devlin et al. (2019, section 3.1); Gururangan et al. (2020, section 4) show
what it gains on the texts of a task, labelled or not, before fine-tuning.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForMaskedLM, PreTrainedModel, Trainer

from pipelines.errors import UserError
from pipelines.families.language_model.masking import MaskingCollator
from pipelines.families.language_model.text_rows import WeightedRows
from pipelines.families.training.batches import LengthBatches
from pipelines.families.training.cpu_training import CpuTraining
from pipelines.families.training.encoders import LayerRates, NewModel
from pipelines.families.training.held_out import TokenLoss
from pipelines.families.training.losses import SummedLoss
from pipelines.families.training.time_budget import TimeBudget
from pipelines.networks import weights
from pipelines.networks.labels import IGNORED


def new_model(name: str, rows: WeightedRows, **options: object) -> NewModel:
    """Loads an encoder with the head that predicts masked words.

    Where the checkpoint has none, its bias is log((n + 1) / (N + V)) for a word that is n of the
    rows' N tokens, V the size of the vocabulary: an untrained head predicts the frequencies.

    Args:
        options: for `from_pretrained`.

    Raises:
        UserError: when it could not be loaded, or its architecture has no such head.
    """
    try:
        model, report = AutoModelForMaskedLM.from_pretrained(
            weights.resolve(name),
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
            **options,
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise weights.unavailable(name, error) from error
    head = model.get_output_embeddings()
    if head is None or model.base_model is model:
        raise UserError(
            f"{name} has no head for masked language modelling apart from its encoder; take BERT "
            "or a model like it"
        )
    new = sorted(report["missing_keys"])
    parameters = model.named_parameters(remove_duplicate=False)
    names_of_bias = {name for name, weight in parameters if weight is head.bias}
    if names_of_bias & set(new):
        counts = torch.from_numpy(rows.token_counts(len(head.bias)))  # (V,)
        frequencies = counts + 1.0
        with torch.no_grad():
            head.bias.copy_((frequencies / frequencies.sum()).log().float())
    return NewModel(model, new)


class MaskedWordTrainer(
    CpuTraining, LayerRates, TimeBudget, LengthBatches, TokenLoss, SummedLoss, Trainer
):
    """Trains on masked words, masked anew in each epoch; only these go through the head.

    Args:
        mlm_probability: the share of tokens that are to be predicted.
        mask_words: mask whole words; the rows know where these start.
    """

    def __init__(
        self,
        *arguments: Any,
        mlm_probability: float,
        mask_words: bool = False,
        **keywords: Any,
    ):
        collator = MaskingCollator(
            keywords["processing_class"],
            mlm_probability=mlm_probability,
            words=mask_words,
            draw_seed=keywords["args"].seed,
        )
        super().__init__(*arguments, **keywords | {"data_collator": collator})

    def _used_ids(self) -> None:
        """All embeddings are trained: the mask and random words are in no row."""

    def token_logits(
        self, model: nn.Module, inputs: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, object]:
        """Logits (N, V) of the masked tokens alone, and what stood there (N,)."""
        labels = inputs["labels"]  # (B, T)
        masked = labels != IGNORED
        encoder = self.accelerator.unwrap_model(model).base_model
        with states_at(encoder, masked):
            outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        return outputs.logits[0], labels[masked], outputs


@contextmanager
def states_at(encoder: PreTrainedModel, mask: Tensor) -> Iterator[None]:
    """Makes the encoder return its states (B, T, H) at a mask (B, T) only, as (1, N, H)."""

    def select(_: Any, __: Any, outputs: Any) -> Any:
        outputs["last_hidden_state"] = outputs["last_hidden_state"][mask][None]
        return outputs

    hook = encoder.register_forward_hook(select)
    try:
        yield
    finally:
        hook.remove()
