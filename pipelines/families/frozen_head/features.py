"""Vectors of texts from a frozen encoder, computed once for each text and kept on disk.

A cache folder belongs to one encoder (by the bytes of its weights) and tokenizer. In it, each text
is found by its hash (and by the length, where that cuts it), so that a split, a fold or another
corpus never encodes a text again. It grows by whole files: a process that is killed loses the last
seconds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.corpora.writing import replacing
from pipelines.examples import Example, JsonObject
from pipelines.families.batching import progress_bar
from pipelines.families.sequence_classifier import BATCH_TOKENS, batches, encode
from pipelines.formatting import some
from pipelines.networks import precision
from pipelines.networks.pooled_classifier import pool

VERSION = "3"
POOLED = ("cls", "mean", "max")
POOLINGS = (*POOLED, "token")
SECONDS_PER_FILE = 3.0
logger = logging.getLogger(__name__)


class Features(NamedTuple):
    """The output of the encoder for some texts.

    Attributes:
        vectors: pooling -> float32 of shape (N, H); for `token` the states of all tokens,
            (N, T, H), NaN where a text has fewer.
        encoded: how many texts were encoded just now; the others were in the cache.
        cut: ids of the texts that are too long.
    """

    vectors: dict[str, np.ndarray]
    encoded: int
    cut: list[str]


def default_cache() -> Path:
    """The folder of all caches: `features` in `PIPELINES_CACHE` or `~/.cache/pipelines`."""
    parent = os.environ.get("PIPELINES_CACHE", Path.home() / ".cache" / "pipelines")
    return Path(parent) / "features"


def extract(
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    max_length: int,
    tokens: bool = False,
    cache: str | Path | None = None,
    batch_tokens: int = BATCH_TOKENS,
    progress: bool = True,
) -> Features:
    """Runs the frozen encoder, without dropout, over each text that is not in the cache.

    Args:
        tokens: return the states of all tokens, not pooled vectors; T is `max_length`.
        cache: folder of all caches. If it is not writable, a warning says so, and the features are
            kept in memory.
        batch_tokens: tokens of a batch at most, padding included.
    """
    encoder.eval().requires_grad_(False)
    encoded = encode(examples, tokenizer, max_length=max_length)
    cut = set(encoded.cut)
    names = [
        text_hash(example, max_length=max_length if example.id in cut else None)
        for example in examples
    ]
    folder = Path(cache or default_cache()) / key(encoder, tokenizer)
    if tokens:
        folder = folder.with_name(f"{folder.name}-tokens")
    known = read_cache(folder, set(names))
    missing: JsonObject = {}
    for name, row in zip(names, encoded.rows, strict=True):
        if name not in known:
            missing[name] = row
    if missing:
        vectors = _vectors(encoder, tokenizer, list(missing.values()), tokens, batch_tokens)
        with progress_bar(len(missing), "encoding", show=progress) as bar:
            known |= stored(folder, list(missing), vectors, bar)
    width = encoder.config.hidden_size
    if tokens:
        states = np.full((len(names), max_length, width), np.nan, dtype=np.float32)
        for text, name in zip(states, names, strict=True):
            text[: len(known[name])] = known[name]
        return Features({"token": states}, len(missing), encoded.cut)
    rows = torch.zeros(0, len(POOLED), width)
    if names:
        rows = torch.stack([known[name] for name in names])  # (N, poolings, H)
    pooled = {pooling: rows[:, i].numpy() for i, pooling in enumerate(POOLED)}
    return Features(pooled, len(missing), encoded.cut)


def stored(
    folder: Path,
    names: Sequence[str],
    batches_of_vectors: Iterable[tuple[list[int], list[Tensor]]],
    bar: tqdm,
) -> dict[str, Tensor]:
    """All vectors by name, written into the cache every few seconds as they come."""
    vectors: dict[str, Tensor] = {}
    pending: dict[str, Tensor] = {}
    writable, last = _writable(folder), time.monotonic()
    for indices, batch in batches_of_vectors:
        fresh = dict(zip([names[index] for index in indices], batch, strict=True))
        vectors |= fresh
        pending |= fresh
        bar.update(len(indices))
        if writable and time.monotonic() - last > SECONDS_PER_FILE:
            _write(folder, pending)
            pending, last = {}, time.monotonic()
    if writable and pending:
        _write(folder, pending)
    return vectors


def text_hash(example: Example, *, max_length: int | None) -> str:
    """A hash of a text or pair and, where it is cut, of the length."""
    content = json.dumps([example.text, example.pair, max_length])
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def key(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of weights, config and tokenizer: a cache belongs to all three."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    config = encoder.config.to_dict()
    for name in [*config]:
        if name.startswith("_") or name in ("transformers_version", "dtype"):
            del config[name]
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    # Truncation and padding are left out: the hash of a text holds its own length.
    backend: Any = tokenizer
    parts = json.loads(backend.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
    digest.update(json.dumps(parts, sort_keys=True).encode())
    return digest.hexdigest()[:24]


def origin(
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Iterable[Example],
    *,
    max_length: int,
) -> str:
    """A hash of encoder and texts; the bytes of the vectors themselves differ between CPUs."""
    texts = [text_hash(example, max_length=max_length) for example in examples]
    content = json.dumps([VERSION, key(encoder, tokenizer), texts])
    return hashlib.sha256(content.encode()).hexdigest()[:24]


@torch.inference_mode()
def _vectors(
    encoder: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, list[int]]],
    tokens: bool,
    batch_tokens: int,
) -> Iterator[tuple[list[int], list[Tensor]]]:
    """Batches of indices of texts, and of each text the vectors (poolings, H) or states (T, H)."""
    device = precision.choose().device
    network: Any = encoder
    network.to(device)
    for indices, batch in batches(rows, tokenizer, batch_tokens=batch_tokens):
        inputs = {name: part.to(device) for name, part in batch.items()}
        states = network(**inputs).last_hidden_state  # (B, T, H)
        mask = inputs["attention_mask"]  # (B, T)
        if tokens:
            texts = zip(states, mask.bool(), strict=True)
            yield indices, [text[is_token].float().cpu() for text, is_token in texts]
        else:
            pooled = torch.stack([pool(states, mask, pooling) for pooling in POOLED], dim=1)
            yield indices, list(pooled.float().cpu())


def read_cache(folder: Path, wanted: set[str]) -> dict[str, Tensor]:
    """The wanted texts that a cache has: hash -> (poolings, H), or (T, H)."""
    known: dict[str, Tensor] = {}
    other_versions, damaged = [], []
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as f:
                about = f.metadata() or {}
                if about.get("version") != VERSION:
                    other_versions.append(path.name)
                    continue
                rows = json.loads(about["rows"])  # hash -> number of rows
                if wanted.isdisjoint(rows):
                    continue
                parts = f.get_tensor("vectors").split(list(rows.values()))
        except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
            damaged.append(f"{path.name} ({error})")
            continue
        for text, part in zip(rows, parts, strict=True):
            if text in wanted:
                known[text] = part
    if other_versions:
        logger.warning(
            "%s: written by another version, so not used: %s; their texts are encoded again",
            folder,
            some(other_versions),
        )
    if damaged:
        logger.warning("%s: unreadable: %s; their texts are encoded again", folder, some(damaged))
    return known


def _writable(folder: Path) -> bool:
    try:
        with replacing(folder / "about.json") as f:
            json.dump({"version": VERSION, "poolings": POOLINGS}, f)
    except OSError as error:
        logger.warning(
            "the cache %s is not writable (%s): features are kept in memory only, and the next run "
            "encodes the texts again; give another --cache_dir",
            folder,
            error.strerror,
        )
        return False
    return True


def _write(folder: Path, vectors: dict[str, Tensor]) -> None:
    name = hashlib.sha256("".join(vectors).encode()).hexdigest()[:16]
    rows = json.dumps({text: len(part) for text, part in vectors.items()})
    content = safetensors_bytes(
        {"vectors": torch.cat(list(vectors.values()))},
        metadata={"version": VERSION, "rows": rows},
    )
    try:
        with replacing(folder / f"v{VERSION}-{name}.safetensors", "wb") as f:
            f.write(content)
    except OSError as error:
        logger.warning(
            "the cache %s is not writable (%s): features are kept in memory only",
            folder,
            error.strerror,
        )
