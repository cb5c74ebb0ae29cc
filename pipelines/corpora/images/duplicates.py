"""Near duplicates among pictures: the same one in another size, quality or light."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from pipelines.corpora.splits.groups import connected

HASH_SIDE, GREY_SIDE = 8, 16  # cells a side
MAX_DISTANCE = 12  # bits of 128
MIN_CORRELATION = 0.975
_BANDS = MAX_DISTANCE + 1  # near duplicates agree in all bits of one of them
_HASH_BYTES = 2 * HASH_SIDE**2 // 8


def fingerprint(image: Image.Image) -> np.ndarray:
    """What near duplicates have in common, uint8 of shape (272,).

    The first 16 bytes are a difference hash, by which candidates are found: whether each of 8 × 8
    cells is darker than the one on its right, and than the one below (after Krawetz 2013, "Kind of
    like that"). The others are the grey values of 16 × 16 cells, by which they are compared.
    """
    grey = image.convert("L")
    side = HASH_SIDE + 1
    cells = np.asarray(grey.resize((side, side), Image.Resampling.BOX), dtype=np.int16)
    across = cells[:-1, 1:] > cells[:-1, :-1]
    down = cells[1:, :-1] > cells[:-1, :-1]
    bits = np.packbits(np.concatenate([across.ravel(), down.ravel()]))
    small = np.asarray(grey.resize((GREY_SIDE, GREY_SIDE), Image.Resampling.BOX))
    return np.concatenate([bits, small.ravel()])


def near_duplicates(fingerprints: Sequence[np.ndarray]) -> list[list[int]]:
    """Groups of positions of near duplicates, of two or more, directly or through others.

    The hashes of near duplicates differ in `MAX_DISTANCE` bits at most, and their grey values
    correlate by `MIN_CORRELATION` or more. Pictures of one even colour are none.

    Two hashes that differ in fewer bits than there are bands agree in one whole band, so that only
    those are compared.
    """
    if not fingerprints:
        return []
    codes = np.stack(fingerprints)
    hashes, grey = codes[:, :_HASH_BYTES], codes[:, _HASH_BYTES:].astype(np.float32)
    grey -= grey.mean(axis=1, keepdims=True)
    grey /= np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6)
    keys: list[list[int]] = [[row] for row in range(len(codes))]
    for band in np.array_split(np.unpackbits(hashes, axis=1), _BANDS, axis=1):
        buckets: defaultdict[bytes, list[int]] = defaultdict(list)
        for row, part in enumerate(band):
            buckets[part.tobytes()].append(row)
        for rows in buckets.values():
            _join_close(hashes, grey, np.array(rows), keys)
    return [group for group in connected(keys) if len(group) > 1]


def _join_close(
    hashes: np.ndarray, grey: np.ndarray, rows: np.ndarray, keys: list[list[int]]
) -> None:
    """Gives near duplicates among the rows of a bucket a key in common."""
    for position, row in enumerate(rows[:-1]):
        others = rows[position + 1 :]
        distances = np.bitwise_count(hashes[others] ^ hashes[row]).sum(axis=1)
        near = others[distances <= MAX_DISTANCE]
        for other in near[grey[near] @ grey[row] >= MIN_CORRELATION]:
            keys[int(other)].append(int(row))


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
