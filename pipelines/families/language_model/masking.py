"""Which tokens are masked: single ones or whole words, drawn anew for each row and epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import DataCollatorForLanguageModeling

from pipelines.examples import Fields
from pipelines.networks.labels import IGNORED


@dataclass
class MaskingCollator(DataCollatorForLanguageModeling):
    """The library's collator, with a draw of its own for each batch, and for whole words.

    80 % of the chosen tokens become the mask, 10 % another token, 10 % stay (Devlin et al. 2019,
    section 3.1). The library's `whole_word_mask` replaces all of them and takes a word together
    with the comma behind it.

    Attributes:
        words: whether all tokens of a word are masked, or none.
        draw_seed: with the rows' `draw`, decides what is masked; rows without one are masked by
            torch's own generator.
    """

    words: bool = False
    draw_seed: int = 0

    def torch_call(self, examples: Sequence[Any]) -> dict[str, Any]:
        """Pads and masks rows with `input_ids`, and perhaps `starts` and `draw`."""
        self.generator = self._generator(examples)
        rows: list[Any] = [{"input_ids": example["input_ids"]} for example in examples]
        if not self.words:
            batch: dict[str, Any] = super().torch_call(rows)
            return batch
        batch = dict(self.tokenizer.pad(rows, return_tensors="pt"))
        starts = [torch.as_tensor(example["starts"]) for example in examples]
        side = self.tokenizer.padding_side
        begins = pad_sequence(starts, batch_first=True, padding_side=side)  # (B, T)
        batch["input_ids"], batch["labels"] = self._mask_words(batch["input_ids"], begins)
        return batch

    def _generator(self, examples: Sequence[Fields]) -> torch.Generator | None:
        if "draw" not in examples[0]:
            return None
        draws = [self.draw_seed, *(example["draw"] for example in examples)]
        digest = blake2b(repr(draws).encode(), digest_size=7).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest))

    def _mask_words(self, ids: Tensor, begins: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) token ids and labels."""
        random = self.generator
        chosen = torch.rand(ids.shape, generator=random) < (self.mlm_probability or 0)
        words = begins.cumsum(1)  # (B, T), 0 before the first word
        # (B, T + 1), of each word what was drawn at its first token.
        first = torch.zeros(len(ids), ids.shape[1] + 1, dtype=torch.bool)
        first.scatter_(1, words.masked_fill(~begins, 0), chosen & begins)
        masked = first.gather(1, words) & ~self._special(ids)
        labels = ids.masked_fill(~masked, IGNORED)
        share = torch.rand(ids.shape, generator=random)  # (B, T)
        other = torch.randint(len(self.tokenizer), ids.shape, generator=random)
        is_hidden = masked & (share < self.mask_replace_prob)
        replaced = self.mask_replace_prob + self.random_replace_prob
        is_other = masked & ~is_hidden & (share < replaced)
        ids = ids.masked_fill(is_hidden, int(self.tokenizer.mask_token_id or 0))
        return torch.where(is_other, other, ids), labels

    def _special(self, ids: Tensor) -> Tensor:
        """(B, T), the tokens that the library does not mask either: unknown ones among them."""
        return torch.isin(ids, torch.tensor(self.tokenizer.all_special_ids))
