"""Runs a recipe: `pipelines train NAME --help` lists its options."""

from __future__ import annotations

import argparse
import os
import sys

HELP = "train a model by a recipe; without a name, list the recipes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="the file recipes/NAME.py")
    parser.add_argument(
        "options",
        nargs=argparse.REMAINDER,
        metavar="…",
        help="options of the recipe; --help lists them",
    )


def run(options: argparse.Namespace) -> int:
    from pipelines.runs.recipes import find_recipe, find_recipes, first_line

    if options.name is None:
        for name, path in find_recipes().items():
            print(f"{name:<24} {first_line(path)}")
        return 0
    recipe = find_recipe(options.name)
    sys.stdout.flush()
    # The recipe takes the place of this process, as if it had been started by Python itself.
    os.execv(sys.executable, [sys.executable, str(recipe), *options.options])
