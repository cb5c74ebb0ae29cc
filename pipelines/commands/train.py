"""Runs a recipe of a checkout: `pipelines train NAME --help` lists its options."""

from __future__ import annotations

import argparse
import ast
import difflib
import os
import sys
from pathlib import Path

from pipelines.errors import UserError

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
    recipes = find_recipes()
    if options.name is None:
        for name, path in recipes.items():
            print(f"{name:<24} {first_line(path)}")
        return 0
    if options.name not in recipes:
        near = difflib.get_close_matches(options.name, recipes, n=1)
        wanted = f"did you mean {near[0]}?" if near else f"wanted one of {', '.join(recipes)}"
        raise UserError(f"got the recipe {options.name}; {wanted}")
    sys.stdout.flush()
    # The recipe takes the place of this process, as if it had been started by Python itself.
    os.execv(sys.executable, [sys.executable, str(recipes[options.name]), *options.options])


def find_recipes() -> dict[str, Path]:
    """Name -> file of each recipe, of the working directory or of this package's checkout.

    Raises:
        UserError: when neither has a folder of recipes.
    """
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        found = {path.stem: path for path in sorted(folder.glob("recipes/*.py"))}
        if found:
            return found
    raise UserError("no folder recipes/ here; run this in a checkout of the project")


def first_line(recipe: Path) -> str:
    """The first line of a recipe's docstring."""
    docstring = ast.get_docstring(ast.parse(recipe.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]
