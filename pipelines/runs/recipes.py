"""Finds the recipes and the sample data: in a checkout, or in an installed wheel."""

from __future__ import annotations

import ast
import difflib
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

from pipelines.errors import UserError, errors_for_caller

OptionValue = str | Path | int | float | bool | Sequence[object] | dict[str, object] | None
_INTERRUPTED = (130, 143)  # exit codes after SIGINT and SIGTERM
_PACKAGE = Path(__file__).resolve().parents[1]


def project_folder() -> Path:
    """The folder that has `recipes/` and `data/`: the checkout, or `_project/` of a wheel."""
    checkout = _PACKAGE.parent
    return checkout if (checkout / "recipes").is_dir() else _PACKAGE / "_project"


def find_recipes() -> dict[str, Path]:
    """Name -> file of each recipe, of the working folder or else of the project.

    Raises:
        UserError: when neither has any.
    """
    for folder in (Path.cwd(), project_folder()):
        paths = sorted(folder.glob("recipes/*.py"))
        found = {path.stem: path for path in paths if path.stem != "__init__"}
        if found:
            return found
    raise UserError("no folder recipes/ here or in the installation; install the project again")


def find_recipe(name: str) -> Path:
    """The file of a recipe.

    Raises:
        UserError: for an unknown name, with the nearest.
    """
    recipes = find_recipes()
    if name not in recipes:
        near = difflib.get_close_matches(name, recipes, n=1)
        wanted = f"did you mean {near[0]}?" if near else f"wanted one of {', '.join(recipes)}"
        raise UserError(f"got the recipe {name}; {wanted}")
    return recipes[name]


def load_recipe(name: str) -> ModuleType:
    """A recipe as a module, imported once: recipes/ is no package.

    Raises:
        UserError: for an unknown name.
    """
    path = find_recipe(name)
    module_name = f"pipelines_recipe_{name}"
    loaded = sys.modules.get(module_name)
    if loaded is not None and loaded.__file__ == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: not a file of Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up while it is loaded
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


def words_of(options: Mapping[str, OptionValue]) -> list[str]:
    """Options as words of a command line; those that are None are left out."""
    words = []
    for name, value in options.items():
        if value is None:
            continue
        if isinstance(value, list | tuple):
            words += [f"--{name}", *map(str, value)]
        elif isinstance(value, bool):
            words.append(f"--{name}={str(value).lower()}")
        else:
            text = json.dumps(value) if isinstance(value, dict) else str(value)
            words.append(f"--{name}={text}")
    return words


def call_recipe(name: str, words: Sequence[str]) -> None:
    """Runs a recipe in this process.

    Args:
        words: its command line, which its run records.

    Raises:
        UserError: for what the recipe refuses.
        KeyboardInterrupt: where it was interrupted; what is saved has been logged.
    """
    recipe = load_recipe(name)
    before = sys.argv
    sys.argv = [str(recipe.__file__), *words]
    try:
        with errors_for_caller():
            recipe.main()
    except SystemExit as stop:
        if stop.code in _INTERRUPTED:
            raise KeyboardInterrupt from None
        if stop.code:
            raise UserError(f"{recipe.__file__} ended with exit code {stop.code}") from None
    finally:
        sys.argv = before


def first_line(recipe: Path) -> str:
    """The first line of a recipe's docstring."""
    docstring = ast.get_docstring(ast.parse(recipe.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def config_file(path: str) -> str:
    """The path of a config; the project's own, `recipes/configs/…`, are found from anywhere."""
    shipped = project_folder() / path
    is_shipped = path.startswith("recipes/configs/") and shipped.is_file()
    return str(shipped) if is_shipped and not Path(path).is_file() else path
