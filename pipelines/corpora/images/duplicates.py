"""Near duplicates among pictures: the same one in another size, quality or light."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from pipelines.corpora.splits.groups import connected

GRID = 16  # cells a side of a fingerprint
MAX_DISTANCE = 12  # bits of 2 · GRID² in which near duplicates differ at most
_BANDS = 16  # more than MAX_DISTANCE, so that near duplicates agree in one of them


def fingerprint(image: Image.Image) -> np.ndarray:
    """A difference hash, uint8 of shape (64,): which cells are lighter than their neighbours.

    The picture is reduced to 17 × 17 grey cells; 256 bits compare each cell with the one on its
    right, 256 with the one below (after Krawetz 2013, "Kind of like that"). Size, compression,
    brightness and contrast change few of them.
    """
    small = image.convert("L").resize((GRID + 1, GRID + 1), Image.Resampling.BOX)
    cells = np.asarray(small, dtype=np.int16)
    # A difference of one is noise: without the margin even areas would have random bits.
    across = cells[:GRID, 1:] > cells[:GRID, :GRID] + 1
    down = cells[1:, :GRID] > cells[:GRID, :GRID] + 1
    return np.packbits(np.concatenate([across.ravel(), down.ravel()]))


def near_duplicates(fingerprints: Sequence[np.ndarray]) -> list[list[int]]:
    """Groups of positions whose fingerprints differ in `MAX_DISTANCE` bits at most, of two or more.

    Two that differ in fewer bits than there are bands agree in one whole band, so that only those
    are compared.
    """
    if not fingerprints:
        return []
    codes = np.stack(fingerprints)  # (N, bytes)
    keys: list[list[tuple[int, int]]] = [[(-1, row)] for row in range(len(codes))]
    bands = np.split(codes, _BANDS, axis=1)
    for band in bands:
        buckets: defaultdict[bytes, list[int]] = defaultdict(list)
        for row, part in enumerate(band):
            buckets[part.tobytes()].append(row)
        for rows in buckets.values():
            _join_close(codes, rows, keys)
    return [group for group in connected(keys) if len(group) > 1]


def _join_close(codes: np.ndarray, rows: Sequence[int], keys: list[list[tuple[int, int]]]) -> None:
    """Gives close rows of a bucket a key in common."""
    indices = np.array(rows)
    for position, row in enumerate(rows[:-1]):
        others = indices[position + 1 :]
        distances = np.bitwise_count(codes[others] ^ codes[row]).sum(axis=1)
        for other in others[distances <= MAX_DISTANCE]:
            keys[int(other)].append((-1, row))


def in_both(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> list[tuple[str, str]]:
    """Pairs of ids of near duplicates, one of the first and one of the second."""
    ids = [*first, *second]
    pairs = []
    for group in near_duplicates([*first.values(), *second.values()]):
        here = [ids[row] for row in group if row < len(first)]
        there = [ids[row] for row in group if row >= len(first)]
        pairs += [(here[0], id) for id in there if here]
    return pairs
