"""Downloads a competition's data, submits a run to it, and lists what the submissions scored."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.examples import JsonObject

if TYPE_CHECKING:
    from pipelines.runs.run import Run
    from pipelines.submission.kaggle_client import Submitted

HELP = "download a competition's data, submit a run, and list scores (extra `kaggle`)"
RECORD = "kaggle.json"  # in the run's folder: its submissions and their scores
PAUSE = 10.0  # seconds between two questions for a score


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    download = actions.add_parser("download", help="the data of a competition, unpacked")
    download.add_argument("--out", required=True, metavar="DIR", help="folder for the files")
    submit = actions.add_parser(
        "submit", help="fill the sample with a run's answers, check the file, and send it"
    )
    submit.add_argument("--run", required=True, dest="run_dir", metavar="RUN", help="run folder")
    submit.add_argument(
        "--sample",
        metavar="sample_submission.csv",
        help="the competition's sample; default: the run's --sample_submission",
    )
    submit.add_argument("--split", default="test", help="whose answers are sent (default: test)")
    submit.add_argument("--message", help="what to write about it; default: the run's name")
    submit.add_argument(
        "--wait", type=float, default=60.0, metavar="SECONDS", help="for the score (default: 60)"
    )
    status = actions.add_parser("status", help="the submissions and their scores")
    status.add_argument("--run", dest="run_dir", metavar="RUN", help="write its scores into it")
    for action in (download, submit, status):
        action.add_argument(
            "--competition", required=True, metavar="NAME", help="as in its address"
        )


def run(options: argparse.Namespace) -> int:
    actions = {"download": _download, "submit": _submit, "status": _status}
    return actions[options.action](options)


def _download(options: argparse.Namespace) -> int:
    from pipelines.submission import kaggle_client

    files = kaggle_client.download(options.competition, options.out)
    for file in files:
        print(f"{file}  {file.stat().st_size:,} bytes")
    print(f"{len(files)} files; `pipelines check FILE` says what one holds")
    return 0


def _submit(options: argparse.Namespace) -> int:
    from pipelines.runs.provenance import sha256
    from pipelines.runs.run import Run
    from pipelines.submission import kaggle_client

    run = Run.open(options.run_dir)
    kaggle_client.client()  # before any work: no client or no token
    layout = _fill(run, options.sample, options.split)
    digest = sha256(run.submission)[:12]
    earlier = [row for row in _record(run) if row["sha256"] == digest]
    if earlier:
        raise UserError(
            f"{run.submission} was sent already, on {earlier[0]['sent']}; Kaggle would score it "
            "alike, and it would count for the limit of the day"
        )
    # The digest tells this submission from the others in Kaggle's list.
    message = f"{options.message or run.folder.resolve().name} [{digest}]"
    print(f"{run.submission}: layout {layout}, as the sample; valid")
    print(kaggle_client.submit(run.submission, options.competition, message))
    sent = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    row = {"competition": options.competition, "sha256": digest, "sent": sent, "message": message}
    run.write_json(RECORD, [*_record(run), row])
    scored = _wait(options.competition, digest, options.wait)
    if scored is None:
        print(
            f"no score yet; ask by `pipelines kaggle status --competition {options.competition} "
            f"--run {options.run_dir}`"
        )
        return 0
    _write_scores(run, options.competition, [scored])
    _print([scored])
    return 0 if scored.status != "error" else 1


def _status(options: argparse.Namespace) -> int:
    from pipelines.runs.run import Run
    from pipelines.submission import kaggle_client

    run = Run.open(options.run_dir) if options.run_dir else None
    listed = kaggle_client.submissions(options.competition)
    _print(listed)
    if run:
        count = _write_scores(run, options.competition, listed)
        print(f"{run.folder / RECORD}: scores of {count} submissions of this run")
    return 0


def _fill(run: Run, sample: str | None, split: str) -> str:
    """Writes the run's `submission.csv` from its predictions, valid as the sample has it.

    Returns:
        The name of the layout.
    """
    from pipelines.corpora.predictions import read_predictions
    from pipelines.submission import write_submission

    config = run.config()
    sample = sample or config.get("sample_submission")
    if not sample:
        raise UserError(
            f"{run.folder}: was trained without --sample_submission, against which the file is "
            "checked; give --sample"
        )
    if not run.predictions(split).is_file():
        raise UserError(
            f"{run.predictions(split)}: no such file; predict the competition's texts first, by "
            "--test_file of the recipe"
        )
    written = write_submission(
        read_predictions(run.predictions(split)),
        run.examples(split, labelled=False),
        sample=sample,
        out=run.submission,
        format=config.get("submission_format"),
        answer_column=config.get("answer_column"),
        positive_class=config.get("positive_class"),
    )
    return written.layout


def _wait(competition: str, digest: str, seconds: float) -> Submitted | None:
    """The submission once it is scored or refused; None where that takes longer."""
    from pipelines.submission import kaggle_client

    end = time.monotonic() + seconds
    while True:
        for one in kaggle_client.submissions(competition):
            if f"[{digest}]" in one.message and one.status != "pending":
                return one
        if time.monotonic() + PAUSE > end:
            return None
        time.sleep(PAUSE)


def _record(run: Run) -> list[JsonObject]:
    file = run.folder / RECORD
    if not file.is_file():
        return []
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return [row for row in rows if {"sha256", "sent"} <= row.keys()]
    except (ValueError, AttributeError, TypeError):
        raise UserError(f"{file}: damaged; remove it, and ask for the scores again") from None


def _write_scores(run: Run, competition: str, listed: list[Submitted]) -> int:
    """Writes scores beside the run's own submissions; returns for how many."""
    rows = _record(run)
    count = 0
    for row in rows:
        for one in listed:
            if row.get("competition") == competition and f"[{row['sha256']}]" in one.message:
                row |= one.to_json()
                count += 1
    if count:
        run.write_json(RECORD, rows)
    return count


def _print(listed: list[Submitted]) -> None:
    from pipelines.formatting import text_table

    rows = [
        (
            one.date[:19],
            one.status,
            "" if one.public_score is None else f"{one.public_score:g}",
            "" if one.private_score is None else f"{one.private_score:g}",
            one.message,
        )
        for one in listed
    ]
    head = ("date (UTC)", "status", "public", "private", "message")
    lines = text_table(head, rows, prose=("status", "message"))
    print("\n".join(lines) or "no submissions yet")
