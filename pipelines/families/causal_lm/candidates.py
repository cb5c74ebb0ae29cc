"""Candidate mentions that another model names, for a prompt to list behind its text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines import families
from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject, Span
from pipelines.families import composite

FOLDER = "candidates"  # in the folder of the model that reads them
ORIGIN = "origin.json"  # in that folder, what they were copied from
# Families whose models are not whole in their folder, or no cheaper than who reads the candidates.
NOT_NAMING = ("causal_lm", "composite")


@dataclass
class Candidates:
    """A finished model that finds mentions.

    Attributes:
        folder: of the model.
        known: text -> mentions that stand for what the model finds there. Of training texts they
            are those of models that were trained without the text: a model knows the answers that
            it was trained on, and its candidates there would be better than on any other text.
        origin: what `save` writes of where the model is from.
    """

    folder: Path
    known: dict[str, tuple[Span, ...]] = field(default_factory=dict)
    origin: JsonObject = field(default_factory=dict)

    def of(self, examples: Sequence[Example]) -> list[tuple[Span, ...]]:
        """The candidates of each text."""
        texts = list(dict.fromkeys(example.text for example in examples))
        new = [Example(text, text) for text in texts if text not in self.known]
        found = dict(self.known)
        if new:
            family, model = self._loaded
            for prediction in family.predict(model, new, progress=False):
                found[prediction.id] = prediction.spans or ()
        return [found[example.text] for example in examples]

    def remember(self, examples: Sequence[Example]) -> None:
        """Keeps the candidates of texts that are asked about again and again."""
        answers = self.of(examples)
        self.known |= {
            example.text: spans for example, spans in zip(examples, answers, strict=True)
        }

    @cached_property
    def _loaded(self) -> tuple[ModuleType, Any]:
        family = families.family_of(self.folder)
        if family is None:
            raise UserError(
                f"{self.folder}: holds no finished model; copy it again, or train again"
            )
        return family, family.load(self.folder)

    def save(self, folder: Path) -> None:
        """Copies the model into the folder of the model that reads its candidates."""
        copy = folder / FOLDER
        shutil.copytree(self.folder, copy, ignore=shutil.ignore_patterns("README.md", ORIGIN))
        (copy / ORIGIN).write_text(json.dumps(self.origin, indent=1), encoding="utf-8")


def candidates_of(name: str, folder: Path) -> Candidates:
    """The candidates that the model of a run names.

    Args:
        name: of the run.
        folder: of its model.

    Raises:
        UserError: for no finished model, and for a generator or a combination of models.
    """
    family = families.family_of(folder)
    known = "no finished model" if family is None else family.__name__.rpartition(".")[2]
    if family is None or known in NOT_NAMING:
        raise UserError(
            f"got the candidates of {name}, which holds {known}; wanted a run of one model that "
            "finds mentions: a dictionary, a CRF, an encoder"
        )
    return Candidates(folder, origin={"run": name, "sha256": composite.digest(folder)})


def load_candidates(folder: Path) -> Candidates:
    """The candidates whose model `save` copied into a model folder.

    Raises:
        UserError: when it is not there.
    """
    file = folder / FOLDER / ORIGIN
    try:
        origin: JsonObject = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder}: its prompts name candidates, and the model that finds them, in {FOLDER}/, "
            f"could not be read ({error}); copy the folder again, or train again"
        ) from error
    return Candidates(file.parent, origin=origin)


def within(spans: Sequence[Span], start: int, end: int) -> tuple[Span, ...]:
    """The spans that lie in a part of a text, in offsets of the part."""
    return tuple(
        Span(span.start - start, span.end - start, span.label)
        for span in spans
        if start <= span.start and span.end <= end
    )
