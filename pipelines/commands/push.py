"""Uploads a run to the Hugging Face Hub: model, model card, report and options."""

from __future__ import annotations

import argparse

HELP = "upload a run to the Hugging Face Hub"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repository", metavar="OWNER/NAME", help="the model's name on the Hub")
    parser.add_argument(
        "--run", required=True, dest="run_dir", metavar="RUN", help="folder of a finished run"
    )
    parser.add_argument(
        "--private", action="store_true", help="make a new repository private", default=None
    )
    parser.add_argument("--revision", metavar="BRANCH", help="a branch instead of the main one")
    parser.add_argument(
        "--with_predictions",
        action="store_true",
        help="upload predictions and the page too, which show texts of the data",
    )
    parser.add_argument(
        "--dry_run", action="store_true", help="only list what would be uploaded, with sizes"
    )


def run(options: argparse.Namespace) -> int:
    import tempfile
    from pathlib import Path

    from pipelines.reporting.card import write_card
    from pipelines.runs import push
    from pipelines.runs.run import CARD, Run

    opened = Run.open(options.run_dir)
    destination = push.Destination(options.repository, options.private, options.revision)
    if not options.dry_run:
        push.check(destination)
    push.model_folder_of(opened)
    if not (opened.folder / CARD).is_file():
        write_card(opened)
    if options.dry_run:
        push.check_name(destination.repository)
        with tempfile.TemporaryDirectory(prefix="push-") as folder:
            files = push.stage(
                opened,
                Path(folder),
                options.repository,
                with_predictions=options.with_predictions,
            )
            print(push.listed(Path(folder), files))
        print(f"not uploaded to {options.repository}: leave --dry_run out")
        return 0
    print(push.push(opened, destination, with_predictions=options.with_predictions))
    return 0
