"""`pipelines inspect`: finds the examples, asks the tagger, and prints; the page is written by whoever calls."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipelines.corpora import Columns
from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.families import token_tagger
from pipelines.inspection.activations import (
    Layer,
    TokenMatrix,
    activations,
    compare_layers,
    layers_as_text,
    leanings,
    saliency,
)
from pipelines.inspection.tags import Inspection, inspect_example
from pipelines.runs.run import Run


@dataclass(frozen=True)
class Found:
    """Whatever was asked for; the rest is empty.

    Attributes:
        activations: name of the module, and its activations.
        examples: over how many the layers were compared.
    """

    inspection: Inspection | None = None
    activations: tuple[str, TokenMatrix] | None = None
    saliency: TokenMatrix | None = None
    layers: Sequence[Layer] = ()
    examples: int = 0

    @property
    def has_pictures(self) -> bool:
        return bool(self.activations or self.saliency or self.layers)


def inspect_run(family: Any, folder: Path, options: argparse.Namespace, *, columns: Columns) -> Found:
    """Does what the options ask for, and prints it.

    Raises:
        UserError: when the run holds no token tagger, nothing is asked for, or there is no such example.
    """
    if family is not token_tagger:
        name = family.__name__.rpartition(".")[2]
        raise UserError(f"{options.run_dir}: its model is of the family {name}; inspect looks into taggers of tokens: "
                        "give a run of train_tagger.py or finetune_token_tagger.py")
    if options.id is None and (options.activations or options.saliency or not options.compare_layers):
        raise UserError("inspect wants --id, the example to look at; --compare_layers alone does without")
    config = Path(options.run_dir) / "config.yaml"
    named = (yaml.safe_load(config.read_text(encoding="utf-8")) or {}) if config.is_file() else {}
    files = example_files(options, named)
    run = Run(options.run_dir)
    example = None
    if options.id is not None:
        example = find_example(run, options.id, files, columns=columns)
    loaded = token_tagger.load(folder)
    inspection = traced = rows = None
    if example is not None:
        if not example.text.strip():
            raise UserError(f"example {example.id} has no words to look at; choose another with --id")
        inspection = inspect_example(loaded, example)
        print(inspection.to_text(color=wants_color(options.color)))
        if options.saliency:
            traced = saliency(loaded, example)
            print(f"\n{saliency_as_text(traced, inspection)}")
        if options.activations:
            rows = options.activations, activations(loaded, example, options.activations)
    layers: Sequence[Layer] = ()
    examples: list[Example] = []
    if options.compare_layers:
        examples = run.read_examples(files[0], given=columns, answer="spans")
        layers = compare_layers(loaded, examples)
        print(f"\n{files[0]}: {len(examples):,} examples\n{layers_as_text(layers)}")
    return Found(inspection, rows, traced, layers, len(examples))


def example_files(options: argparse.Namespace, named: Mapping[str, Any]) -> list[str]:
    """``--input``, else the dev and test files that the run's config names and that are there."""
    if options.input:
        return [options.input]
    files = [named[key] for key in ("dev_file", "test_file") if named.get(key) and Path(named[key]).is_file()]
    if not files:
        raise UserError(f"{options.run_dir}: its config names no dev or test file that is there; give one with --input")
    return files


def find_example(run: Run, id: str, files: Sequence[str], *, columns: Columns) -> Example:
    shown: list[str] = []
    for file in files:
        examples = run.read_examples(file, given=columns, answer="spans", labelled=False)
        for example in examples:
            if example.id == id:
                return example
        shown.append(f"{file} ({', '.join(example.id for example in examples[:3])}, …)")
    raise UserError(f"got --id {id}; no such example in {' or '.join(shown)}")


def wants_color(choice: str) -> bool:
    """By default where a person reads, unless NO_COLOR asks for none (no-color.org)."""
    return choice == "always" or (choice == "auto" and sys.stdout.isatty() and not os.environ.get("NO_COLOR"))


def saliency_as_text(matrix: TokenMatrix, inspection: Inspection) -> str:
    """For each predicted entity token the tokens that count most, with the sign of what they add to its score."""
    lines = ["what the predicted tags lean on (gradient × input)"]
    for row, leans in zip(matrix.rows, leanings(matrix), strict=True):
        token = inspection.tokens[row]
        if token.predicted != "O":
            where = ", ".join(f"{matrix.tokens[column]} ({column - row:+d}) {value:+.2f}" for column, value in leans)
            lines.append(f"{token.text} [{token.predicted}]: {where}")
    return "\n".join(lines) if len(lines) > 1 else "no entity was predicted: the page shows what each O leans on"
