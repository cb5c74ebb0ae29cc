"""Lists the parameters of a run's network."""

from __future__ import annotations

import argparse

from pipelines.errors import UserError

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


def run(options: argparse.Namespace) -> int:
    from pipelines.inspection.parameters import parameter_table, table_as_text
    from pipelines.runs.run import Run

    if options.tokens < 1:
        raise UserError(f"got --tokens {options.tokens}; wanted at least 1")
    _, loaded = Run.open(options.run_dir).load()
    print(table_as_text(parameter_table(loaded.model, tokens=options.tokens)))
    return 0
