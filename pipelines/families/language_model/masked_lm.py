"""An encoder that guesses masked words: its pretraining goes on, on the texts of a task, before it is fine-tuned.

The guessing is that of Devlin et al. (2019, section 3.1); Gururangan et al. (2020, section 4) show what it gains on the
very texts of a task, labelled or not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoModelForMaskedLM, DataCollatorForLanguageModeling

from pipelines.errors import UserError
from pipelines.families.token_tagger.tagging import IGNORED, NewModel, TaggerTrainer
from pipelines.networks import weights


def text_rows(texts: Iterable[str], tokenizer: Any, *, window: int) -> list[dict[str, list[int]]]:
    """Token ids of each text that is not empty, once; one that is longer than a window is several rows."""
    given = list(dict.fromkeys(text for text in texts if text.strip()))
    if not given:
        return []
    ids = tokenizer(given, truncation=True, max_length=window, return_overflowing_tokens=True,
                    split_special_tokens=True)["input_ids"]
    return [{"input_ids": row} for row in ids]


def new_model(name: str, rows: Sequence[dict[str, list[int]]], **options: Any) -> NewModel:
    """Loads an encoder with the head that guesses words.

    Where the checkpoint has none, its bias is log((n + 1) / (N + V)) for a word that is n of the rows' N tokens, V the
    size of the vocabulary: what is guessed before anything is learnt are the frequencies.

    Args:
        options: for `from_pretrained`.

    Raises:
        UserError: when it cannot be had, or is of a kind that guesses no words.
    """
    try:
        model, found = AutoModelForMaskedLM.from_pretrained(weights.resolve(name), dtype=torch.float32,
                                                            output_loading_info=True, **options)
    except (OSError, ValueError, SafetensorError) as error:
        raise weights.unavailable(name, error) from error
    head = model.get_output_embeddings()
    if head is None or model.base_model is model:
        raise UserError(f"{name} has no head that guesses words apart from its encoder; take BERT or one of its kin")
    new = sorted(found["missing_keys"])
    names = {name for name, weight in model.named_parameters(remove_duplicate=False) if weight is head.bias}
    if names & set(new):
        counts = Counter(token for row in rows for token in row["input_ids"])
        seen = torch.tensor([counts[token] + 1 for token in range(len(head.bias))], dtype=torch.float32)
        with torch.no_grad():
            head.bias.copy_((seen / seen.sum()).log())
    return NewModel(model, new)


class MaskedWordTrainer(TaggerTrainer):
    """Batches of one length, masked anew each time that they are read; only masked places go through the head.

    Args:
        mlm_probability: the share of tokens that have to be guessed.
    """

    def __init__(self, *arguments: Any, mlm_probability: float, **keywords: Any):
        super().__init__(*arguments, settings=None, **keywords)  # type: ignore[arg-type]
        self.data_collator = DataCollatorForLanguageModeling(keywords["processing_class"],
                                                             mlm_probability=mlm_probability)

    def compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool = False,
                     num_items_in_batch: Any = None) -> Any:
        labels = inputs["labels"]
        masked = labels != IGNORED
        # In a batch of a few words there may be nothing to guess.
        count = masked.sum() if num_items_in_batch is None else torch.as_tensor(num_items_in_batch)
        with only_at(self.accelerator.unwrap_model(model).base_model, masked):
            return super().compute_loss(model, inputs | {"labels": labels[masked][None]}, return_outputs,
                                        count.clamp(min=1))


@contextmanager
def only_at(encoder: Any, places: Tensor) -> Iterator[None]:
    """What reads the encoder's states (B, T, H) gets those where (B, T) `places` says, as (1, N, H)."""

    def choose(_: Any, __: Any, outputs: Any) -> Any:
        outputs["last_hidden_state"] = outputs["last_hidden_state"][places][None]
        return outputs

    hook = encoder.register_forward_hook(choose)
    try:
        yield
    finally:
        hook.remove()
