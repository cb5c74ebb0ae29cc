"""Looks inside a tagger."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.commands.columns import add_columns, columns_of
from pipelines.commands.places import family_and_folder

HELP = "look inside a tagger: its tags of one example, activations, what it leans on, and its layers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", required=True, dest="run_dir", metavar="RUN", help="run folder of a token tagger")
    parser.add_argument("--id", metavar="ID", help="the example to look at")
    parser.add_argument("--input", metavar="FILE", help="where the examples are (default: the dev and test files that "
                                                        "the run names)")
    add_columns(parser)
    parser.add_argument("--activations", metavar="MODULE", help="draw the activations of a module: tokens by units")
    parser.add_argument("--compare_layers", action="store_true",
                        help="measure over all labelled examples how sharply entity tokens stand out in each layer")
    parser.add_argument("--saliency", action="store_true", help="show which tokens each prediction leans on")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto", help="of the terminal")
    parser.add_argument("--html", metavar="OUT", help="the page (default, where there are pictures: RUN/inspect.html)")


def run(options: argparse.Namespace) -> int:
    from pipelines.inspection.command import inspect_run

    family, folder = family_and_folder(options.run_dir)
    found = inspect_run(family, folder, options, columns=columns_of(options))
    if options.html or found.has_pictures:
        from pipelines.reporting.inspection import write_inspection

        out = options.html or Path(options.run_dir) / "inspect.html"
        write_inspection(out, run=options.run_dir, inspection=found.inspection, activations=found.activations,
                         saliency=found.saliency, layers=found.layers, examples=found.examples)
        print(f"\n{out}")
    return 0
