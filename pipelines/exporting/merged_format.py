"""A causal language model with its adapter merged, as a plain folder of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject
from pipelines.exporting.source import Source
from pipelines.families import causal_lm
from pipelines.families.causal_lm.loading import read_settings, scaling_of

DTYPES = ("float32", "bfloat16", "float16")


def check(source: Source) -> None:
    """Refuses an adapter of a quantised base, which fits no other weights, and prompts that name
    candidates, which another model finds.

    Raises:
        UserError: for either.
    """
    settings, prompt = read_settings(source.folder)
    if prompt.candidates:
        raise UserError(
            f"{source.folder}: its prompts name candidates, and no export holds the model that "
            "finds them; `pipelines bundle` packs the run with both"
        )
    if settings.get("quantization"):
        raise UserError(
            f"{source.folder}: its base is quantised, and its adapter fits only those weights; "
            "train it with --save_merged true, which adds it to the whole ones, to export it"
        )


def check_model(source: Source, loaded: Any) -> None:
    """Does nothing: `transformers` saves whatever it loads."""


def room(loaded: Any, dtype: str) -> int:
    """Bytes that the folder takes at most."""
    return int(loaded.model.num_parameters() * getattr(torch, dtype).itemsize * 1.05)


def write(
    source: Source, loaded: Any, examples: Sequence[Example], folder: Path, dtype: str
) -> JsonObject:
    """Writes weights, tokenizer and prompt; returns what `export.json` says of them."""
    settings, _ = read_settings(source.folder)
    causal_lm.save(
        folder,
        model=loaded.model.to(getattr(torch, dtype)),
        tokenizer=loaded.tokenizer,
        prompt=loaded.prompt,
        base_model=settings["base_model"],
        shots=loaded.shots,
        scaling=scaling_of(settings),
    )
    return {"libraries": {"transformers": transformers.__version__}}
