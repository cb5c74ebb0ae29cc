"""Kaggle, through its official client: data of a competition, submissions, and their scores.

The client (the extra `kaggle`) is imported when it is needed. What it raises becomes one line that
says what to do.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.errors import UserError
from pipelines.examples import JsonObject

INSTALL = "pip install 'ner-pipelines[kaggle]'"
TOKEN = (
    "make a token on kaggle.com (Settings, API, Create New Token), and put kaggle.json into "
    "~/.kaggle, or set KAGGLE_USERNAME and KAGGLE_KEY"
)
# Words of an answer that refuses a further submission today.
_LIMIT = ("limit", "too many", "maximum", "quota")


class Submitted(NamedTuple):
    """A submission as Kaggle lists it.

    Attributes:
        ref: its number.
        message: what was written about it when it was sent.
        date: when, in UTC.
        status: `pending`, `complete` or `error`.
        public_score, private_score: None before they are known.
    """

    ref: str
    message: str
    date: str
    status: str
    public_score: float | None
    private_score: float | None

    def to_json(self) -> JsonObject:
        return self._asdict()


def client() -> Any:
    """The client, logged in.

    Raises:
        UserError: where it is not installed, or has no token.
    """
    try:
        # The package logs in on import, and ends the program where there is no token.
        api = import_module("kaggle").api
    except ModuleNotFoundError as error:
        if error.name != "kaggle":
            raise
        raise UserError(f"Kaggle's client is not installed; {INSTALL}") from None
    except (SystemExit, OSError, ValueError) as error:
        raise UserError(f"Kaggle's client found no token; {TOKEN}") from error
    return api


def download(competition: str, folder: str | Path) -> list[Path]:
    """Downloads and unpacks the files of a competition.

    Returns:
        The files.

    Raises:
        UserError: where Kaggle refuses, or what came is no archive.
    """
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    api = client()
    with _translated(competition):
        api.competition_download_files(competition, path=str(out), force=True, quiet=True)
    archive = out / f"{competition}.zip"
    if not archive.is_file():
        return sorted(path for path in out.rglob("*") if path.is_file())
    try:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(out)  # leaves no path that leads out of the folder
            names = [name for name in packed.namelist() if not name.endswith("/")]
    except zipfile.BadZipFile:
        raise UserError(f"{archive}: not a whole archive; download it again") from None
    archive.unlink()
    return sorted(path for path in map(out.joinpath, names) if path.is_file())


def submit(file: str | Path, competition: str, message: str) -> str:
    """Sends a submission; returns what Kaggle answers.

    Raises:
        UserError: where Kaggle refuses.
    """
    api = client()
    with _translated(competition, file=file):
        answer = api.competition_submit(str(file), message, competition, quiet=True)
    return str(getattr(answer, "message", answer) or "sent")


def submissions(competition: str) -> list[Submitted]:
    """The submissions to a competition, as Kaggle lists them: the newest first.

    Raises:
        UserError: where Kaggle refuses.
    """
    api = client()
    with _translated(competition):
        listed = api.competition_submissions(competition)
    return [_submitted(one) for one in listed or () if one is not None]


def _submitted(one: object) -> Submitted:
    """A submission of the client: newer versions write `public_score`, older `publicScore`."""

    def value(*names: str) -> object:
        for name in names:
            if getattr(one, name, None) not in (None, ""):
                return getattr(one, name)
        return None

    status = str(value("status") or "pending")
    return Submitted(
        ref=str(value("ref") or ""),
        message=str(value("description") or ""),
        date=str(value("date") or ""),
        status=status.rpartition(".")[2].lower(),  # a member of an enumeration, or its name
        public_score=_number(value("public_score", "publicScore")),
        private_score=_number(value("private_score", "privateScore")),
    )


def _number(value: object) -> float | None:
    try:
        return float(str(value))
    except ValueError:
        return None


@contextlib.contextmanager
def _translated(competition: str, *, file: str | Path | None = None) -> Iterator[None]:
    """Turns what the client raises into one line.

    Args:
        file: the submission that is being sent, which stays.
    """
    kept = f"; the submission is in {file}" if file else ""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of the client's, of `requests` and of `urllib3`, by version
        advice = _advice(error, competition)
        if advice is None:
            raise
        raise UserError(f"{advice}{kept}") from error


def _advice(error: Exception, competition: str) -> str | None:
    """What to tell the user; None for an error that is none of Kaggle's or of the network's."""
    page = f"https://www.kaggle.com/competitions/{competition}"
    response = getattr(error, "response", None)
    status = getattr(error, "status", None) or getattr(response, "status_code", None)
    body = str(getattr(error, "body", None) or getattr(response, "text", None) or error)
    said = " ".join(body.split())[:200]
    if status == 401:
        return f"Kaggle does not know this token (401); {TOKEN}"
    if status == 403:
        return f"Kaggle refuses (403): join and accept the rules on {page}/rules, then try again"
    if status == 404:
        return f"Kaggle has no competition {competition} (404); wanted the last part of its address"
    if status == 429 or (status == 400 and any(word in said.lower() for word in _LIMIT)):
        return (
            f"Kaggle takes no more submissions today ({status}: {said}); try again after midnight "
            "UTC"
        )
    if status is not None:
        return f"Kaggle answered {status}: {said}; see {page}"
    module = type(error).__module__.split(".")[0]
    if isinstance(error, OSError) or module in ("requests", "urllib3"):
        return f"Kaggle could not be reached ({type(error).__name__}); check the network"
    return None
