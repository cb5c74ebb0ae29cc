"""Looks inside a tagger."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.commands.columns import add_columns, columns_of
from pipelines.errors import UserError
from pipelines.examples import Example

if TYPE_CHECKING:
    from pipelines.corpora import Columns
    from pipelines.families.token_tagger import Loaded
    from pipelines.reporting.inspection import InspectionResults
    from pipelines.runs.run import Run

HELP = (
    "look inside a tagger: its tags of one example, activations, which tokens a tag depends on, "
    "and its layers"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run", required=True, dest="run_dir", metavar="RUN", help="run folder of a token tagger"
    )
    parser.add_argument("--id", metavar="ID", help="the example to look at")
    parser.add_argument(
        "--input",
        metavar="FILE",
        help="where the examples are (default: the run's dev and test files)",
    )
    add_columns(parser)
    parser.add_argument(
        "--activations", metavar="MODULE", help="draw the activations of a module: tokens by units"
    )
    parser.add_argument(
        "--compare_layers",
        action="store_true",
        help="measure over all labelled examples how sharply entity tokens stand out in each layer",
    )
    parser.add_argument(
        "--saliency", action="store_true", help="show which tokens each predicted tag depends on"
    )
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="of the terminal"
    )
    parser.add_argument(
        "--html",
        metavar="OUT",
        help="the page (default, where there are pictures: RUN/inspect.html)",
    )


def run(options: argparse.Namespace) -> int:
    from pipelines.reporting.inspection import write_inspection
    from pipelines.reporting.run_facts import run_facts
    from pipelines.runs.run import Run

    opened = Run.open(options.run_dir)
    results = inspect_run(opened, options)
    if options.html or results.has_pictures:
        out = options.html or opened.folder / "inspect.html"
        facts = run_facts(opened.config(), opened.provenance())
        write_inspection(results, out, run=options.run_dir, facts=facts)
        print(f"\n{out}")
    return 0


def inspect_run(run: Run, options: argparse.Namespace) -> InspectionResults:
    """Does what the options ask for, and prints it.

    Raises:
        UserError: when the run holds no token tagger, nothing is asked for, or there is no such
            example.
    """
    from pipelines.inspection.activations import activations
    from pipelines.inspection.layers import compare_layers, layers_as_text
    from pipelines.inspection.saliency import saliency, saliency_as_text
    from pipelines.inspection.tags import inspect_example
    from pipelines.reporting.inspection import InspectionResults

    if options.id is None and (
        options.activations or options.saliency or not options.compare_layers
    ):
        raise UserError(
            "inspect needs --id, the example to look at; --compare_layers alone does without"
        )
    columns = columns_of(options)
    loaded, files = load_tagger(run), example_files(run, options.input)
    inspection = depends_on = rows = None
    if options.id is not None:
        example = find_example(run, options.id, files, columns=columns)
        if not example.text.strip():
            raise UserError(f"example {example.id} has no words to look at; give another --id")
        inspection = inspect_example(loaded, example)
        print(inspection.to_text(color=wants_color(options.color)))
        if options.saliency:
            depends_on = saliency(loaded, example)
            print(f"\n{saliency_as_text(depends_on, inspection)}")
        if options.activations:
            rows = activations(loaded, example, options.activations)
    examples: list[Example] = []
    layers = []
    if options.compare_layers:
        examples = run.read_examples(files[0], given=columns, answer="spans")
        layers = compare_layers(loaded, examples)
        print(f"\n{files[0]}: {len(examples):,} examples\n{layers_as_text(layers)}")
    return InspectionResults(
        inspection=inspection,
        saliency=depends_on,
        activations=rows,
        module=options.activations or "",
        layers=layers,
        examples=len(examples),
    )


def load_tagger(run: Run) -> Loaded:
    """The run's tagger.

    Raises:
        UserError: when its model is of another family, or has no tags.
    """
    from pipelines.families import token_tagger

    family, folder = run.model_folder()
    if family is not token_tagger:
        name = family.__name__.rpartition(".")[2]
        raise UserError(
            f"{run.folder}: its model is of the family {name}; inspect looks into token taggers: "
            "give a run of train_tagger.py or finetune_token_tagger.py"
        )
    loaded = token_tagger.load(folder)
    if loaded.settings.decode == token_tagger.SPANS:
        raise UserError(
            f"{run.folder}: its model scores whole spans, without tags to look at; give a run of "
            f"--decode {', '.join(token_tagger.DECODERS)}"
        )
    return loaded


def example_files(run: Run, given: str | None) -> list[Path]:
    """The given file, else the dev and test files of the run that exist."""
    if given:
        return [Path(given)]
    named = [run.split_file(split) for split in ("dev", "test")]
    files = [file for file in named if file is not None and file.is_file()]
    if not files:
        raise UserError(
            f"{run.folder}: the dev and test files that its config names do not exist; give a file "
            "with --input"
        )
    return files


def find_example(run: Run, id: str, files: Sequence[Path], *, columns: Columns) -> Example:
    """The example with an id.

    Raises:
        UserError: when no file has it.
    """
    shown: list[str] = []
    for file in files:
        examples = run.read_examples(file, given=columns, answer="spans", labelled=False)
        for example in examples:
            if example.id == id:
                return example
        shown.append(f"{file} ({', '.join(example.id for example in examples[:3])}, …)")
    raise UserError(f"got --id {id}; no such example in {' or '.join(shown)}")


def wants_color(choice: str) -> bool:
    """Whether to colour: `auto` does on a terminal, unless NO_COLOR is set (no-color.org)."""
    on_terminal = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return choice == "always" or (choice == "auto" and on_terminal)
