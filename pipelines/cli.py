"""`pipelines train | predict | evaluate | compare …`: train a model, use it, and compare it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from pipelines import __version__
from pipelines.errors import one_line_errors
from pipelines.runs.log import log_to_terminal

# Modules of pipelines.commands. They import what they need in `run`, so that `pipelines --help`
# stays instant.
COMMANDS = (
    "train",
    "choose",
    "check",
    "convert",
    "split",
    "predict",
    "vote",
    "cascade",
    "evaluate",
    "compare",
    "report",
    "submit",
    "push",
    "export",
    "vocabulary",
    "parameters",
    "shapes",
    "show",
    "questions",
    "inspect",
    "figures",
    "gradients",
    "perplexity",
    "demo",
    "annotate",
    "kaggle",
    "doctor",
    "completion",
    "bundle",
)


class Parser(argparse.ArgumentParser):
    """Exits with one line on a wrong option."""

    def error(self, message: str) -> NoReturn:
        """Prints the message and exits with code 2."""
        print(f"error: {message}; `{self.prog} --help` lists the options", file=sys.stderr)
        sys.exit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code.

    Raises:
        SystemExit: after `--help`, on a wrong option, and on an error of the user.
    """
    parser = Parser(prog="pipelines", description=__doc__)
    version = f"pipelines {__version__}"
    parser.add_argument("--version", action="version", version=version)
    subcommands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        command = import_module(f"pipelines.commands.{name}")
        subparser = subcommands.add_parser(name, help=command.HELP, description=command.__doc__)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run, parsers=subcommands.choices)
    options = parser.parse_args(arguments)
    log_to_terminal()
    with one_line_errors():
        code = options.run(options)
        sys.stdout.flush()  # here, where a reader that is gone is no fault
        return code
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
