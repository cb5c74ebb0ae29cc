"""`pipelines kaggle`, with a stand-in for the official client: what is sent, and what errors say."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

from pipelines import cli
from pipelines.corpora.writing import write_predictions
from pipelines.errors import UserError
from pipelines.examples import Prediction, Span
from pipelines.submission import kaggle_client

NAME = "diseases-2026"


class HTTPError(Exception):
    """As `requests` raises it."""

    def __init__(self, status: int, text: str = ""):
        super().__init__(f"{status} Client Error")
        self.response = SimpleNamespace(status_code=status, text=text)


class Client:
    """What the commands use of `kaggle.api`."""

    def __init__(self):
        self.sent: list[tuple[str, str, str]] = []
        self.error: Exception | None = None
        self.score: str | None = "0.8125"

    def competition_download_files(self, competition, path, force, quiet):
        if self.error:
            raise self.error
        with zipfile.ZipFile(Path(path, f"{competition}.zip"), "w") as archive:
            archive.writestr("train.csv", "id,text\n")
            archive.writestr("sub/sample_submission.csv", "id,entities\n")

    def competition_submit(self, file_name, message, competition, quiet):
        if self.error:
            raise self.error
        self.sent.append((Path(file_name).read_text(), message, competition))
        return SimpleNamespace(message="Successfully submitted")

    def competition_submissions(self, competition):
        if self.error:
            raise self.error
        return [
            SimpleNamespace(
                ref=7,
                description=message,
                date="2026-11-27 10:00:00.123",
                status="SubmissionStatus.COMPLETE" if self.score else "pending",
                public_score=self.score,
                private_score="",
            )
            for _, message, _ in reversed(self.sent)
        ]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    module = ModuleType("kaggle")
    module.api = Client()
    monkeypatch.setitem(sys.modules, "kaggle", module)
    return module.api


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that answered the two texts of a competition."""
    folder = tmp_path / "crf"
    rows = [{"id": "a", "text": "colon cancer"}, {"id": "b", "text": "none"}]
    (tmp_path / "test.json").write_text(json.dumps(rows))
    (tmp_path / "sample.csv").write_text("id,entities\na,[]\nb,[]\n")
    folder.mkdir()
    config = {
        "test_file": str(tmp_path / "test.json"),
        "sample_submission": str(tmp_path / "sample.csv"),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    answers = [Prediction("a", (Span(0, 12, "Disease"),)), Prediction("b", ())]
    write_predictions(folder / "predictions" / "test.jsonl", answers)
    return folder


def command(*words: object) -> int:
    return cli.main(["kaggle", *map(str, words), "--competition", NAME])


def error_of(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as stop:
        command(*words)
    assert stop.value.code == 2
    return capsys.readouterr().err


def test_download_unpacks(client, tmp_path, capsys):
    assert command("download", "--out", tmp_path / "data") == 0
    assert (tmp_path / "data" / "train.csv").read_text() == "id,text\n"
    assert (tmp_path / "data" / "sub" / "sample_submission.csv").is_file()
    assert not (tmp_path / "data" / f"{NAME}.zip").exists()
    assert "2 files" in capsys.readouterr().out


def test_a_broken_archive_is_refused(client, tmp_path, capsys, monkeypatch):
    def broken(competition, path, force, quiet):
        Path(path, f"{competition}.zip").write_text("<html>")

    monkeypatch.setattr(client, "competition_download_files", broken)
    assert "not a whole archive" in error_of(capsys, "download", "--out", tmp_path / "data")


def test_submit_sends_a_valid_file_and_keeps_the_score(client, run, capsys):
    assert command("submit", "--run", run) == 0
    [(text, message, competition)] = client.sent
    assert text == (run / "submission.csv").read_text()
    assert text.splitlines()[0] == "id,entities"
    assert "colon cancer" in text
    assert competition == NAME
    [row] = json.loads((run / "kaggle.json").read_text())
    assert message == f"crf [{row['sha256']}]"
    assert (row["public_score"], row["private_score"], row["status"]) == (0.8125, None, "complete")
    assert "0.8125" in capsys.readouterr().out


def test_the_same_file_is_not_sent_twice(client, run, capsys):
    command("submit", "--run", run)
    assert "was sent already" in error_of(capsys, "submit", "--run", run)
    assert len(client.sent) == 1


def test_a_score_that_comes_later(client, run, capsys):
    client.score = None
    assert command("submit", "--run", run, "--wait", 0) == 0
    assert "no score yet" in capsys.readouterr().out
    client.score = "0.5"
    assert command("status", "--run", run) == 0
    [row] = json.loads((run / "kaggle.json").read_text())
    assert row["public_score"] == 0.5
    assert "scores of 1 submissions" in capsys.readouterr().out


def test_answers_that_do_not_fit_the_sample_are_not_sent(client, run, capsys):
    write_predictions(run / "predictions" / "test.jsonl", [Prediction("a", ())])
    assert "b" in error_of(capsys, "submit", "--run", run)
    assert client.sent == []
    assert not (run / "kaggle.json").exists()


def test_a_run_without_a_sample_is_refused(client, run, capsys):
    (run / "config.yaml").write_text("seed: 1\n")
    assert "give --sample" in error_of(capsys, "submit", "--run", run)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (HTTPError(401), "make a token"),
        (HTTPError(403, "You must accept this competition's rules"), f"{NAME}/rules"),
        (HTTPError(404), f"no competition {NAME}"),
        (HTTPError(400, "Submission not allowed: your team has used its daily limit"), "midnight"),
        (HTTPError(429), "midnight"),
        (HTTPError(400, "bad file"), "400: bad file"),
        (HTTPError(503), "503"),
        (ConnectionError("no route"), "could not be reached"),
    ],
)
def test_errors_are_translated(client, run, capsys, error, message):
    client.error = error
    text = error_of(capsys, "submit", "--run", run)
    assert message in text
    assert "the submission is in" in text
    assert text.count("\n") == 1
    assert not (run / "kaggle.json").exists()


def test_faults_of_ours_keep_their_traceback(client):
    client.error = KeyError("x")
    with pytest.raises(KeyError):
        kaggle_client.submissions(NAME)


def test_without_the_client_or_a_token(monkeypatch):
    monkeypatch.setitem(sys.modules, "kaggle", None)
    with pytest.raises(UserError, match="not installed; pip install"):
        kaggle_client.client()
    monkeypatch.delitem(sys.modules, "kaggle")

    def no_token(name):
        raise SystemExit(1)

    monkeypatch.setattr(kaggle_client, "import_module", no_token)
    with pytest.raises(UserError, match=r"found no token.*kaggle\.json"):
        kaggle_client.client()


def test_older_clients_name_scores_otherwise():
    one = SimpleNamespace(ref=1, description="x", status="error", publicScore="0.25", date="d")
    submitted = kaggle_client._submitted(one)
    assert (submitted.public_score, submitted.private_score) == (0.25, None)
    assert submitted.status == "error"
