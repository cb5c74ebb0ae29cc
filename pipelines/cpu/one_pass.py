"""Generation on a CPU: one pass reads the next prompts and the last token of all running answers.

The matmuls of 1,000 tokens hardly notice thirty more, which by themselves would cost a reading of
all weights. Attention keeps the rows apart; everything else in such a model sees one token at a
time. What all prompts begin with, such as the instruction to a chat model, is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, chain, takewhile
from typing import Protocol, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from pipelines.cpu.attention import NAME, Part
from pipelines.cpu.key_value_slots import LastTokens, Prompts, SharedPrefix, Slots
from pipelines.networks.key_value_cache import is_preallocated, preallocated_cache

# Prompts wait while at least this many answers are running: their keys and values take memory.
MOST_ROWS = 256


class Row(Protocol):
    """An answer that is waiting or running: `tokens` are those of the answer so far."""

    @property
    def prompt(self) -> list[int]: ...

    @property
    def tokens(self) -> list[int]: ...


AnyRow = TypeVar("AnyRow", bound=Row)


def can_read_in_one_pass(model: PreTrainedModel) -> bool:
    """Whether each layer's attention is `grouped_attention` and sees all tokens before."""
    if model.config._attn_implementation != NAME:
        return False
    return is_preallocated(preallocated_cache(model.config))


def generate_in_one_pass(
    model: PreTrainedModel,
    waiting: Sequence[AnyRow],
    write: Callable[[Sequence[AnyRow], Tensor], list[int]],
    batch_tokens: int,
) -> None:
    """Runs passes until all rows are done.

    Args:
        model: one for which `can_read_in_one_pass` holds.
        waiting: rows with the longest prompt first.
        write: appends the next token to each of B rows, given logits (B, V), and returns the
            indices of the rows that go on.
        batch_tokens: prompt tokens of one pass, unless a single prompt has more.
    """
    shared = shared_tokens([row.prompt for row in waiting])
    slots = Slots(model.config, dtype=model.dtype, prefix_length=shared)
    rows: list[AnyRow] = []
    running = torch.zeros(0, dtype=torch.long)  # slots of the rows
    while waiting or rows:
        lengths = (len(row.prompt) - shared for row in waiting)
        count = fitting(lengths, batch_tokens) if len(rows) < MOST_ROWS else 0
        new, waiting = waiting[:count], waiting[count:]
        running, taken, logits = read(
            model, slots, [row.prompt for row in new], [row.tokens[-1] for row in rows], running
        )
        rows, running = [*new, *rows], torch.cat([taken, running])
        kept = write(rows, logits)
        stay = torch.zeros(len(rows), dtype=torch.bool)
        stay[kept] = True
        slots.release(running[~stay])
        rows, running = [rows[index] for index in kept], running[stay]


def read(
    model: PreTrainedModel,
    slots: Slots,
    prompts: Sequence[Sequence[int]],
    last: Sequence[int],
    running: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """One pass over B prompts and the last tokens of N rows.

    Args:
        model: see `generate_in_one_pass`.
        slots: the slots of all rows.
        prompts: token ids, the longest first. All begin with `slots.prefix_length` tokens, which
            the first pass reads.
        last: (N,) token ids.
        running: (N,), the slots of the rows.

    Returns:
        (N,) and (B,), the slots of the rows and of the prompts from now on, and the logits of the
        next token (B + N, V), of the prompts first.
    """
    lengths = torch.tensor(list(map(len, prompts)), dtype=torch.long)
    running, taken = slots.take(lengths, running)
    ids: list[int] = []
    parts: list[Part] = []
    if slots.prefix_length and not slots.prefix:
        ids += prompts[0][: slots.prefix_length]
        parts.append(SharedPrefix(slots))
    rests = [prompt[slots.prefix_length :] for prompt in prompts]
    counts = torch.tensor([*map(len, rests), *[1] * len(last)])  # (B + N,)
    ends = counts.cumsum(0) + len(ids) - 1
    ids += [*chain.from_iterable(rests), *last]
    parts += prompts_by_length(slots, taken, lengths)
    if last:
        parts.append(LastTokens(slots, running))
    logits = model(
        input_ids=torch.tensor([ids]),  # (1, T)
        position_ids=torch.cat([part.positions for part in parts])[None],
        # A mask of this shape is taken as it is; each part has one of its own.
        attention_mask=torch.empty(1, 1, 1, 1),
        use_cache=False,
        logits_to_keep=ends,
        parts=parts,
    ).logits[0]  # (B + N, V)
    return running, taken, logits.float()


def prompts_by_length(slots: Slots, taken: Tensor, lengths: Tensor) -> list[Prompts]:
    """A part for the prompts of each length, given (B,) slots and descending lengths."""
    distinct, counts = lengths.unique_consecutive(return_counts=True)
    groups = taken.split(counts.tolist())
    return [
        Prompts(slots, group, length)
        for group, length in zip(groups, distinct.tolist(), strict=True)
    ]


def shared_tokens(prompts: Sequence[list[int]]) -> int:
    """The number of tokens that all prompts begin with, less than all of any; 0 for one prompt."""
    if len(prompts) < 2:
        return 0
    # All others sort between these two, and begin as they do.
    pairs = zip(min(prompts), max(prompts), strict=False)
    equal = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return min(equal, min(map(len, prompts)) - 1)


def fitting(lengths: Iterable[int], most: int) -> int:
    """How many of the first rows have at most `most` tokens together; at least one."""
    return max(1, sum(1 for _ in takewhile(lambda total: total <= most, accumulate(lengths))))
