"""Lists the parameters of a run's network, or the tables of a model without one."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.runs.run import Run

HELP = "list the parameters of a run's network and count multiply-adds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run",
        required=True,
        dest="run_dir",
        metavar="RUN",
        help="run folder, with model/ or merged/",
    )
    parser.add_argument(
        "--tokens",
        type=int,
        default=32,
        help="length of the sentence that is counted on: attention "
        "takes more for longer ones (default: %(default)s)",
    )
    parser.add_argument(
        "--layers_only", action="store_true", help="one line a layer, not one a tensor"
    )


def run(options: argparse.Namespace) -> int:
    from pipelines.runs.run import Run

    if options.tokens < 1:
        raise UserError(f"got --tokens {options.tokens}; wanted at least 1")
    opened = Run.open(options.run_dir)
    print(sizes_of(opened, tokens=options.tokens, layers_only=options.layers_only))
    return 0


def sizes_of(opened: Run, *, tokens: int = 32, layers_only: bool = False) -> str:
    """What the model of a run is made of, in tables for a terminal.

    Raises:
        UserError: when the run has no finished model.
    """
    family, folder = opened.model_folder()
    if hasattr(family, "sizes_as_text"):  # a family that has models without a network
        sizes = str(family.sizes_as_text(family.load(folder)))
        if sizes:
            return sizes
    from pipelines.inspection.parameters import parameter_table, table_as_text
    from pipelines.inspection.trained_network import trained_network

    table = parameter_table(trained_network(opened), tokens=tokens)
    return table_as_text(table, layers_only=layers_only)
