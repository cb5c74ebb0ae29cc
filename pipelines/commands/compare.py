"""Ranks runs by quality and cost."""

from __future__ import annotations

import argparse
import json

HELP = "rank runs by quality and cost, and test neighbours"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="run folders, and files with the answers of outside systems",
    )
    parser.add_argument(
        "--gold",
        metavar="FILE",
        help="what they were scored on; default: the file that a run names",
    )
    parser.add_argument("--json", metavar="OUT", help="write the whole comparison there")
    parser.add_argument("--html", metavar="OUT", help="write a page with pictures there")


def run(options: argparse.Namespace) -> int:
    from pipelines.corpora.writing import replacing
    from pipelines.reporting.compare import compare_runs
    from pipelines.reporting.comparison import comparison_as_text, write_comparison

    comparison = compare_runs(options.runs, gold=options.gold)
    if options.json:
        with replacing(options.json, inputs=[*options.runs, *filter(None, [options.gold])]) as f:
            json.dump(comparison, f, indent=1, ensure_ascii=False, allow_nan=False)
    if options.html:
        write_comparison(comparison, options.html)
    print(comparison_as_text(comparison))
    return 0
