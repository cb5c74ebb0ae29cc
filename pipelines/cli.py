"""`pipelines check | split | predict | evaluate | compare | submit …`: everything but training, see recipes/."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from pipelines.errors import one_line_errors

# Modules of pipelines.commands. They import what they need inside `run`, so that `pipelines --help` stays instant.
COMMANDS = ("check", "convert", "split", "predict", "vote", "evaluate", "compare", "submit",
            "vocabulary", "parameters", "inspect")


class Parser(argparse.ArgumentParser):
    """Ends on a wrong option with one line."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}; `{self.prog} --help` lists the options", file=sys.stderr)
        sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = Parser(prog="pipelines", description=__doc__)
    subcommands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        command = import_module(f"pipelines.commands.{name}")
        subparser = subcommands.add_parser(name, help=command.HELP)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    with one_line_errors():
        code = options.run(options)
        sys.stdout.flush()  # here, where a reader that went away is no fault
        return code
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
