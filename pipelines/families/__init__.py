"""Families of models: each a module with `predict`, `save` and `load`, and a line in `FAMILIES`."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

# Family -> the file that it writes last into a model folder: without it, saving was interrupted.
FAMILIES = {
    "causal_lm": "prompt.json",
    "lexical": "lexical.json",
    "token_tagger": "tagger.json",
    "sequence_classifier": "classifier.json",
    "language_model": "language_model.json",
    "sequence_regressor": "regressor.json",
    "image_classifier": "image_classifier.json",
    "composite": "composite.json",
}


def family_of(folder: str | Path) -> ModuleType | None:
    """The module of the family that a model folder belongs to; None for no finished model."""
    for name, last_file in FAMILIES.items():
        if (Path(folder) / last_file).is_file():
            return import_module(f"pipelines.families.{name}")
    return None
