"""Writes the pictures of a page as SVG files, for documents and slides."""

from __future__ import annotations

import argparse

HELP = "write the pictures of a page as SVG files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "page", metavar="PAGE", help="a run's report.html, or a page that --html wrote"
    )
    parser.add_argument("--out", metavar="FOLDER", required=True, help="where the files go")
    parser.add_argument("--prefix", default="", help="begins the name of each file")


def run(options: argparse.Namespace) -> int:
    from pipelines.reporting.figures import write_figures

    for path in write_figures(options.page, options.out, prefix=options.prefix):
        print(path)
    return 0
