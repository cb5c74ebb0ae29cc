"""Masked language modelling: pretraining of an encoder continues on the texts of a task.

The objective is that of Devlin et al. (2019, section 3.1); Gururangan et al. (2020, section 4) show
what it gains on the texts of a task, labelled or not, before fine-tuning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import (
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
)

from pipelines.errors import UserError
from pipelines.families.training.batches import LengthBatches
from pipelines.families.training.cpu_training import CpuTraining
from pipelines.families.training.encoders import LayerRates, NewModel
from pipelines.families.training.losses import SummedLoss
from pipelines.networks import weights
from pipelines.networks.labels import IGNORED


def text_rows(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerBase, *, window: int
) -> list[dict[str, list[int]]]:
    """Token ids of each text that is not empty, once; one longer than a window is several rows."""
    distinct = list(dict.fromkeys(text for text in texts if text.strip()))
    if not distinct:
        return []
    encoding = tokenizer(
        distinct,
        truncation=True,
        max_length=window,
        return_overflowing_tokens=True,
        split_special_tokens=True,
    )
    return [{"input_ids": ids} for ids in encoding["input_ids"]]


def new_model(name: str, rows: Sequence[dict[str, list[int]]], **options: object) -> NewModel:
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
        counts = Counter(token for row in rows for token in row["input_ids"])
        frequencies = torch.tensor([counts[token] + 1.0 for token in range(len(head.bias))])  # (V,)
        with torch.no_grad():
            head.bias.copy_((frequencies / frequencies.sum()).log())
    return NewModel(model, new)


class MaskedWordTrainer(CpuTraining, LayerRates, LengthBatches, SummedLoss, Trainer):
    """Trains on masked words, masked anew in each epoch; only these go through the head.

    Args:
        mlm_probability: the share of tokens that are to be predicted.
    """

    def __init__(self, *arguments: Any, mlm_probability: float, **keywords: Any):
        mask_rows = DataCollatorForLanguageModeling(
            keywords["processing_class"], mlm_probability=mlm_probability
        )
        super().__init__(*arguments, **keywords | {"data_collator": mask_rows})

    def summed_loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, object]:
        """The loss of a batch, summed over its masked words, and what the model returned."""
        labels = inputs["labels"]  # (B, T)
        masked = labels != IGNORED
        encoder = self.accelerator.unwrap_model(model).base_model
        with states_at(encoder, masked):
            outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        return self.class_loss(outputs.logits[0], labels[masked]), outputs


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
