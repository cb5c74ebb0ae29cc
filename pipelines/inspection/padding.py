"""How much of the batches is padding, by how they are formed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import torch
from transformers.trainer_pt_utils import get_length_grouped_indices

from pipelines.families.batching import length_batches
from pipelines.formatting import text_table

HEAD = ("batches", "number", "positions", "padding")
DRAWS = 20  # of the library's random groups, over which is averaged


@dataclass(frozen=True, slots=True)
class Padding:
    """The batches of an epoch.

    Attributes:
        kind: how they are formed.
        batches: their number.
        positions: rows times the longest row, over all batches; an expectation where they are
            random.
        words: of all rows.
    """

    kind: str
    batches: int
    positions: float
    words: int

    @property
    def share(self) -> float:
        """The share of the positions that holds padding."""
        return 1 - self.words / self.positions


def padding_shares(
    lengths: Sequence[int], *, batch_size: int = 32, batch_tokens: int = 2048
) -> list[Padding]:
    """Padding of the usual ways to form batches, from none to all care for length.

    Args:
        lengths: words of each row, more than 0.
        batch_size: rows of a batch, where it has a fixed number.
        batch_tokens: positions of a batch at most, where rows of one length fill it.
    """
    words, longest, rows = sum(lengths), max(lengths), len(lengths)
    batches = -(-rows // batch_size)
    of_length = length_batches(lengths, batch_tokens)
    filled = sum(len(batch) * lengths[batch[-1]] for batch in of_length)
    return [
        Padding(f"static: {batch_size} rows, all {longest} long", batches, rows * longest, words),
        Padding(
            f"dynamic: {batch_size} random rows, as long as the longest",
            batches,
            expected_positions(lengths, batch_size),
            words,
        ),
        Padding(
            f"group_by_length: {batch_size} rows of like length",
            batches,
            _grouped_positions(lengths, batch_size),
            words,
        ),
        Padding(f"batch_tokens {batch_tokens}: sorted by length", len(of_length), filled, words),
    ]


def expected_positions(lengths: Sequence[int], batch_size: int) -> float:
    """Positions of an epoch in random batches padded to their longest row: the expectation.

    The longest of b rows drawn from N is at most l with probability C(n, b) / C(N, b), where n rows
    have at most l words. The last batch may be smaller.
    """
    full, rest = divmod(len(lengths), batch_size)
    total = full * batch_size * _expected_longest(lengths, batch_size) if full else 0.0
    return total + (rest * _expected_longest(lengths, rest) if rest else 0.0)


def _expected_longest(lengths: Sequence[int], drawn: int) -> float:
    in_order = sorted(lengths)
    ways = comb(len(lengths), drawn)
    # The row of rank i is the longest if the others come from the i rows below it.
    return sum(
        length * (comb(rank, drawn - 1) / ways)
        for rank, length in enumerate(in_order)
        if rank >= drawn - 1
    )


def _grouped_positions(lengths: Sequence[int], batch_size: int) -> float:
    """Positions of the library's `group_by_length`, the mean over seeded epochs."""
    generator = torch.Generator().manual_seed(0)
    total = 0
    for _ in range(DRAWS):
        rows = get_length_grouped_indices(lengths, batch_size, generator=generator)
        for start in range(0, len(rows), batch_size):
            batch = rows[start : start + batch_size]
            total += len(batch) * max(lengths[row] for row in batch)
    return total / DRAWS


def padding_table(paddings: Sequence[Padding]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Head and rows, one for each way."""
    rows = []
    for padding in paddings:
        numbers = [f"{padding.batches:,}", f"{padding.positions:,.0f}"]
        rows.append([padding.kind, *numbers, f"{100 * padding.share:.2f} %"])
    return HEAD, rows


def padding_as_text(paddings: Sequence[Padding]) -> list[str]:
    """The lines of the table, for a terminal."""
    head, rows = padding_table(paddings)
    return text_table(head, rows)
