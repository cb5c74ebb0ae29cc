"""Writes scores, confusion, ablations and comparisons of runs as Markdown, LaTeX or PDF."""

from __future__ import annotations

import argparse
from pathlib import Path

from pipelines.errors import UserError

HELP = "write runs, ablations and their comparison as Markdown, LaTeX or PDF"
FORMATS = ("md", "tex", "pdf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="folders of finished runs, and of ablations; runs of one task are compared",
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--format", choices=FORMATS, help="default: the ending of --out; no TeX is needed for pdf"
    )
    parser.add_argument("--title", help="default: the names of the folders")
    parser.add_argument("--authors", metavar='"NAME <ID>, …"', help="to stand under the title")
    parser.add_argument(
        "--gold",
        metavar="FILE",
        help="what the runs were scored on; default: the file that a run names",
    )


def run(options: argparse.Namespace) -> int:
    ending = Path(options.out).suffix.removeprefix(".").lower()
    chosen = options.format or ending
    if chosen not in FORMATS or options.out == "-":
        raise UserError(
            f"got --out {options.out}; wanted a file that ends with .md, .tex or .pdf, or --format"
        )
    from pipelines.reporting.documents import document_of, write_document
    from pipelines.submission.authors import parse_authors

    authors = [str(author) for author in parse_authors(options.authors or "")]
    document = document_of(options.runs, title=options.title, authors=authors, gold=options.gold)
    for path in write_document(document, options.out, chosen):
        print(path)
    return 0
