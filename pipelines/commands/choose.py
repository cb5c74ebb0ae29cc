"""Finds the cheapest model that reaches a score: `pipelines train choose_model`, in short."""

from __future__ import annotations

import argparse

from pipelines.commands import train

HELP = "find the cheapest model that reaches a score on your data"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.prefix_chars = "\0"  # all words are the recipe's, `--help` too
    parser.add_argument(
        "options", nargs=argparse.REMAINDER, metavar="…", help="options of recipes/choose_model.py"
    )


def run(options: argparse.Namespace) -> int:
    return train.run(argparse.Namespace(name="choose_model", options=options.options))
