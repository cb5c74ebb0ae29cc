"""The options that say where a file holds what: the fields of `Columns`, one for all commands."""

from __future__ import annotations

import argparse
import math
from dataclasses import fields

from pipelines.corpora.corpus import Columns
from pipelines.examples import JsonObject


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Adds an option for each field of `Columns`."""
    group = parser.add_argument_group("what a file holds, where it does not say so itself")
    for field in fields(Columns):
        keywords: JsonObject = {"help": field.metadata["help"], "default": field.default}
        if isinstance(field.default, bool):
            keywords |= {"nargs": "?", "const": True, "type": _truth, "metavar": "true"}
        elif isinstance(field.default, int):
            keywords |= {"type": int, "metavar": "N"}
        elif field.name == "tag_names":
            keywords |= {"type": lambda names: names.split(","), "metavar": "O,B-Disease,…"}
        else:
            keywords["metavar"] = "NAME" if field.name.endswith("_column") else field.name.upper()
        group.add_argument(f"--{field.name}", **keywords)


def columns_of(options: argparse.Namespace) -> Columns:
    return Columns(**{field.name: getattr(options, field.name) for field in fields(Columns)})


def number(value: str) -> float:
    """A number that is neither infinite nor nan, as the type of an option."""
    found = float(value)
    if not math.isfinite(found):
        raise argparse.ArgumentTypeError(f"got {value!r}; wanted a number")
    return found


def _truth(value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"got {value!r}; wanted true or false")
    return value.lower() == "true"
