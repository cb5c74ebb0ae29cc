"""Generation on a CPU: one pass reads the next prompts and the last token of all running answers.

The matmuls of 1,000 tokens hardly notice thirty more, which by themselves would cost a reading of
all weights. Attention keeps the rows apart; everything else in such a model sees one token at a
time. What all prompts begin with, such as the instruction to a chat model, is read once.
"""

from __future__ import annotations

import sys
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
# The same where a prompt has several answers, each with a copy of its keys and values.
MOST_COPIES = 64


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
    *,
    copies: int = 1,
) -> None:
    """Runs passes until all rows are done.

    Args:
        model: one for which `can_read_in_one_pass` holds.
        waiting: rows with the longest prompt first.
        write: appends the next token to each of B rows, given logits (B, V), and returns the
            indices of the rows that go on.
        batch_tokens: prompt tokens of one pass, unless a single prompt has more.
        copies: how many rows each prompt has, one behind the other; it is read once for them.
    """
    shared = shared_tokens([row.prompt for row in waiting[::copies]])
    slots = Slots(model.config, dtype=model.dtype, prefix_length=shared)
    rows: list[AnyRow] = []
    running = torch.zeros(0, dtype=torch.long)  # slots of the rows
    while waiting or rows:
        lengths = (len(row.prompt) - shared for row in waiting[::copies])
        count = min(fitting(lengths, batch_tokens), most_prompts(len(rows), copies))
        new, waiting = waiting[: count * copies], waiting[count * copies :]
        running, taken, logits = read(
            model,
            slots,
            [row.prompt for row in new[::copies]],
            [row.tokens[-1] for row in rows],
            running,
            copies=copies,
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
    *,
    copies: int = 1,
) -> tuple[Tensor, Tensor, Tensor]:
    """One pass over B prompts and the last tokens of N rows.

    Args:
        model: see `generate_in_one_pass`.
        slots: the slots of all rows.
        prompts: token ids, the longest first. All begin with `slots.prefix_length` tokens, which
            the first pass reads.
        last: (N,) token ids.
        running: (N,), the slots of the rows.
        copies: R, how many slots each prompt gets, one behind the other.

    Returns:
        (N,) and (B · R,), the slots of the rows and of the prompts from now on, and the logits of
        the next token (B · R + N, V), of the prompts first.
    """
    lengths = torch.tensor(list(map(len, prompts)), dtype=torch.long)
    running, taken = slots.take(lengths.repeat_interleave(copies), running)
    ids: list[int] = []
    parts: list[Part] = []
    if slots.prefix_length and not slots.prefix:
        ids += prompts[0][: slots.prefix_length]
        parts.append(SharedPrefix(slots))
    rests = [prompt[slots.prefix_length :] for prompt in prompts]
    counts = torch.tensor([*map(len, rests), *[1] * len(last)])  # (B + N,)
    ends = counts.cumsum(0) + len(ids) - 1
    ids += [*chain.from_iterable(rests), *last]
    parts += prompts_by_length(slots, taken, lengths, copies)
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
    if copies > 1:
        of_prompts, of_rows = logits[: len(prompts)], logits[len(prompts) :]
        logits = torch.cat([of_prompts.repeat_interleave(copies, 0), of_rows])  # (B · R + N, V)
    return running, taken, logits.float()


def prompts_by_length(
    slots: Slots, taken: Tensor, lengths: Tensor, copies: int = 1
) -> list[Prompts]:
    """A part for the prompts of each length, given (B · R,) slots and (B,) descending lengths."""
    distinct, counts = lengths.unique_consecutive(return_counts=True)
    groups = taken.split((counts * copies).tolist())
    return [
        Prompts(slots, group, length, copies)
        for group, length in zip(groups, distinct.tolist(), strict=True)
    ]


def most_prompts(running: int, copies: int) -> int:
    """How many prompts may be read beside running rows; at least one where none is running."""
    if copies > 1:
        return max((MOST_COPIES - running) // copies, 0 if running else 1)
    return sys.maxsize if running < MOST_ROWS else 0


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
