"""`pipelines check | predict | evaluate | submit`: everything but training, which is in recipes/."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pipelines.errors import one_line_errors


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="pipelines", description=__doc__)
    subcommands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(subcommands)
    options = parser.parse_args(arguments)
    with one_line_errors():
        return options.run(options)
    return 2


# One function a subcommand: adds its parser with `set_defaults(run=...)`, where run(options) returns the exit code.
# Modules are imported inside run, so that `pipelines --help` stays instant.
COMMANDS: list = []


if __name__ == "__main__":
    raise SystemExit(main())
