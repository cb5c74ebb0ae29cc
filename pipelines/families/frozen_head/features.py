"""Vectors of texts from a frozen encoder, computed once a text and kept on disk.

A cache folder belongs to one encoder (by the bytes of its weights) and tokenizer; in it each text is found by its hash
(and the length, where that cuts it), so that a split, a fold or another corpus never encodes a text again. It grows by
whole files: a process that is killed loses the last seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as safetensors_bytes
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.examples import Example, replacing
from pipelines.families.causal_lm.control_tokens import control_pattern
from pipelines.families.sequence_classifier import batches, encode
from pipelines.networks import precision
from pipelines.networks.pooled_classifier import pool

VERSION = "2"
POOLED = ("cls", "mean", "max")
POOLINGS = (*POOLED, "token")
SECONDS_A_FILE = 3.0


class Features(NamedTuple):
    """What the encoder gives for some texts.

    Attributes:
        vectors: pooling -> float32 of shape (n_texts, H); for `token` the states of all tokens, (n_texts, T, H), NaN
            where a text has fewer.
        encoded: how many texts were encoded just now; the others were in the cache.
        cut: ids of the texts that are over the length.
    """

    vectors: dict[str, np.ndarray]
    encoded: int
    cut: list[str]


def default_cache() -> Path:
    return Path(os.environ.get("PIPELINES_CACHE", Path.home() / ".cache" / "pipelines")) / "features"


def extract(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *,
            max_length: int, tokens: bool = False, cache: str | Path | None = None, batch_tokens: int = 8192,
            progress: bool = True) -> Features:
    """Runs the frozen encoder, without dropout, over each text that is not in the cache.

    Args:
        tokens: give the states of all tokens and not the pooled vectors; T is `max_length`.
        cache: folder of all caches; one that can't be written is said on stderr, and the features kept in memory.
        batch_tokens: at most this many tokens, padding counted, at a time.
    """
    encoder.eval().requires_grad_(False)
    encoded = encode(examples, tokenizer, max_length=max_length)
    over = set(encoded.cut)
    # Earlier versions read `[SEP]` in a text as the token: what they stored of such texts is another vector.
    controls = control_pattern(tokenizer)
    names = [text_hash(example, max_length=max_length if example.id in over else None)
             + ("-text" if controls.search(f"{example.text} {example.pair or ''}") else "") for example in examples]
    folder = Path(cache or default_cache()) / (key(encoder, tokenizer) + ("-tokens" if tokens else ""))
    known = _read(folder, set(names))
    missing = {name: row for name, row in zip(names, encoded.rows, strict=True) if name not in known}
    if missing:
        pending: dict[str, torch.Tensor] = {}
        fresh_names = list(missing)
        writable, last = _writable(folder), time.monotonic()
        for numbers, vectors in _vectors(encoder, tokenizer, list(missing.values()), tokens, batch_tokens, progress):
            fresh = dict(zip([fresh_names[number] for number in numbers], vectors, strict=True))
            known |= fresh
            pending |= fresh
            if writable and time.monotonic() - last > SECONDS_A_FILE:
                _write(folder, pending)
                pending, last = {}, time.monotonic()
        if writable and pending:
            _write(folder, pending)
    width = encoder.config.hidden_size
    if tokens:
        states = np.full((len(names), max_length, width), np.nan, dtype=np.float32)
        for text, name in zip(states, names, strict=True):
            text[:len(known[name])] = known[name]
        return Features({"token": states}, len(missing), encoded.cut)
    rows = torch.stack([known[name] for name in names]) if names else torch.zeros(0, len(POOLED), width)
    return Features({pooling: rows[:, i].numpy() for i, pooling in enumerate(POOLED)}, len(missing), encoded.cut)


def text_hash(example: Example, *, max_length: int | None) -> str:
    """A hash of a text or pair and, where it is cut, of the length: whole texts are the same at every length."""
    return hashlib.sha256(json.dumps([example.text, example.pair, max_length]).encode()).hexdigest()[:32]


def key(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """A hash of weights, config and tokenizer: another one of any is another cache."""
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    config = {name: value for name, value in encoder.config.to_dict().items()
              if not name.startswith("_") and name not in ("transformers_version", "dtype")}
    digest.update(json.dumps(config, sort_keys=True, default=str).encode())
    # How it cut and padded last is no part of it: each text bears its own length.
    parts = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
    digest.update(json.dumps(parts, sort_keys=True).encode())
    return digest.hexdigest()[:24]


def origin(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, examples: Iterable[Example], *,
           max_length: int) -> str:
    """A hash of what the vectors of these texts are made of: their own bytes differ from CPU to CPU."""
    texts = [text_hash(example, max_length=max_length) for example in examples]
    return hashlib.sha256(json.dumps([VERSION, key(encoder, tokenizer), texts]).encode()).hexdigest()[:24]


@torch.inference_mode()
def _vectors(encoder: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, list[int]]],
             tokens: bool, batch_tokens: int, progress: bool) -> Iterator[tuple[list[int], list[torch.Tensor]]]:
    """Batches as (numbers of the texts, and of each the pooled vectors (poolings, H) or states of tokens (T, H))."""
    device = precision.choose().device
    encoder.to(device)  # type: ignore[arg-type]
    for numbers, batch in batches(rows, tokenizer, batch_tokens=batch_tokens, what="encoding", progress=progress):
        inputs = {name: part.to(device) for name, part in batch.items()}
        states = encoder(**inputs).last_hidden_state                                           # (B, T, H)
        mask = inputs["attention_mask"]
        if tokens:
            yield numbers, [text[there].float().cpu() for text, there in zip(states, mask.bool(), strict=True)]
        else:
            pooled = torch.stack([pool(states, mask, pooling) for pooling in POOLED], dim=1)
            yield numbers, list(pooled.float().cpu())


def _read(folder: Path, wanted: set[str]) -> dict[str, torch.Tensor]:
    """The wanted texts that a cache has: hash -> (poolings, H), or (T, H)."""
    known: dict[str, torch.Tensor] = {}
    strange, damaged = [], []
    for path in sorted(folder.glob("*.safetensors")) if folder.is_dir() else []:
        try:
            with safe_open(path, "pt") as f:
                about = f.metadata() or {}
                if about.get("version") != VERSION:
                    strange.append(path.name)
                    continue
                rows = json.loads(about["rows"])  # of each text
                if wanted.isdisjoint(rows):
                    continue
                parts = f.get_tensor("vectors").split(list(rows.values()))
                known |= {text: part for text, part in zip(rows, parts, strict=True) if text in wanted}
        except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
            damaged.append(f"{path.name} ({error})")
    if strange:
        _tell(f"{folder}: written by another version: {', '.join(strange)}; left alone, their texts are encoded anew")
    if damaged:
        _tell(f"{folder}: unreadable: {', '.join(damaged)}; their texts are encoded anew")
    return known


def _writable(folder: Path) -> bool:
    try:
        with replacing(folder / "about.json") as f:
            json.dump({"version": VERSION, "poolings": POOLINGS}, f)
    except OSError as error:
        _tell(f"the cache {folder} cannot be written ({error.strerror}); features are kept in memory only, and the "
              "next run encodes the texts again; give another --cache_dir")
        return False
    return True


def _write(folder: Path, vectors: dict[str, torch.Tensor]) -> None:
    name = hashlib.sha256("".join(vectors).encode()).hexdigest()[:16]
    about = {"version": VERSION, "rows": json.dumps({text: len(rows) for text, rows in vectors.items()})}
    try:
        with replacing(folder / f"v{VERSION}-{name}.safetensors", "wb") as f:
            f.write(safetensors_bytes({"vectors": torch.cat(list(vectors.values()))}, metadata=about))
    except OSError as error:
        _tell(f"the cache {folder} cannot be written ({error.strerror}); features are kept in memory only")


def _tell(message: str) -> None:
    print(message, file=sys.stderr)
