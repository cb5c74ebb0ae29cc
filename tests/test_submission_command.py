"""`pipelines submit`: what it prints, how it fails, and Kaggle's client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.corpora.writing import write_predictions
from pipelines.errors import UserError
from pipelines.examples import Example, Prediction, Span
from pipelines.submission import push

EXAMPLES = [Example("a", "Ann met Bo Li"), Example("b", "It rained"), Example("c", "Rome Ann")]
PREDICTIONS = [
    Prediction("c", (Span(5, 8, "PER"), Span(0, 4, "LOC"))),
    Prediction("a", (Span(0, 3, "PER"), Span(8, 13, "PER"))),
    Prediction("b", ()),
]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_predictions(tmp_path / "p.jsonl", PREDICTIONS)
    (tmp_path / "sample.csv").write_text("id,entities\na,[]\nb,[]\nc,[]\n")
    (tmp_path / "test.json").write_text(
        json.dumps([{"id": e.id, "text": e.text} for e in EXAMPLES])
    )
    return tmp_path


def command(
    folder: Path, *options: str, path: str | None = None
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | ({"PATH": path} if path is not None else {})
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pipelines.cli",
            "submit",
            "--predictions",
            str(folder / "p.jsonl"),
            "--sample",
            str(folder / "sample.csv"),
            "--out",
            str(folder / "out.csv"),
            *options,
        ],
        capture_output=True,
        text=True,
        env=environment,
    )


def fake_client(folder: Path, script: str) -> str:
    (folder / "bin").mkdir()
    (folder / "bin" / "kaggle").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / "kaggle").chmod(0o755)
    return f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"


def test_command_says_which_layout_and_pushes(files: Path) -> None:
    path = fake_client(
        files,
        f'for word in "$@"; do echo "$word"; done > {files}/said; echo Successfully submitted',
    )
    done = command(
        files,
        "--input",
        str(files / "test.json"),
        "--push",
        "diseases",
        "--message",
        "first try",
        path=path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [
        f"{files / 'out.csv'}: 3 answers; layout json_strings (a JSON list of mention strings), inferred from the "
        "sample",
        'columns filled: entities; first row: a,"[""Ann"", ""Bo Li""]"',
    ]
    assert "Successfully submitted" in done.stdout
    assert '"[""Ann"", ""Bo Li""]"' in (files / "out.csv").read_text()
    assert (files / "said").read_text().splitlines() == [
        "competitions",
        "submit",
        "-c",
        "diseases",
        "-f",
        str(files / "out.csv"),
        "-m",
        "first try",
    ]


def test_command_fails_in_one_line_and_keeps_the_file(files: Path) -> None:
    done = command(files)
    assert done.returncode == 2
    assert done.stderr.startswith("error: the layout json_strings needs the text")
    assert done.stderr.count("\n") == 1
    path = fake_client(files, "echo trying; echo 403 - Forbidden; exit 1")
    done = command(files, "--input", str(files / "test.json"), "--push", "diseases", path=path)
    assert done.returncode == 2
    assert "403 - Forbidden" in done.stderr
    assert "Traceback" not in done.stderr
    assert (files / "out.csv").exists()


def test_command_takes_columns_and_skips_bad_rows(files: Path) -> None:
    rows = [
        {"nr": e.id, "satz": e.text.split(), "tags": [0] * len(e.text.split())} for e in EXAMPLES
    ]
    rows.append({"nr": "d", "satz": ["Ann"], "tags": [2]})
    (files / "test.json").write_text(json.dumps(rows))
    options = [
        "--input",
        str(files / "test.json"),
        "--text_column",
        "satz",
        "--id_column",
        "nr",
        "--tag_names",
        "O,B-X",
    ]
    done = command(files, *options)
    assert done.returncode == 2
    assert "unknown_tag" in done.stderr
    done = command(files, *options, "--skip_bad_rows", "--entities_column", "tags")
    assert done.returncode == 0, done.stderr
    assert '"[""Ann"", ""Bo Li""]"' in (files / "out.csv").read_text()


def test_command_obeys_the_options_of_a_sample(files: Path) -> None:
    (files / "sample.csv").write_text("id,target,rank\na,0.5,1\nb,0.5,2\nc,0.5,3\n")
    write_predictions(
        files / "p.jsonl",
        [Prediction(id, label="ham", scores={"ham": 0.75, "spam": 0.25}) for id in "abc"],
    )
    done = command(files, "--answer_column", "target")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "(ham, spam); choose it with --positive_class" in done.stderr
    assert not (files / "out.csv").exists()
    done = command(files, "--answer_column", "target", "--positive_class", "spam")
    assert done.returncode == 0, done.stderr
    assert (files / "out.csv").read_text() == "id,target,rank\na,0.25,1\nb,0.25,2\nc,0.25,3\n"


def test_command_notes_formulas_on_stderr(files: Path) -> None:
    (files / "sample.csv").write_text("id,label\na,0\nb,0\nc,0\n")
    write_predictions(
        files / "p.jsonl",
        [Prediction("a", label="=1+1"), Prediction("b", label="@x"), Prediction("c", label="x")],
    )
    done = command(files)
    assert done.returncode == 0
    assert done.stderr == (
        "note: 2 rows have a cell that begins with =, +, - or @, which a spreadsheet would run as "
        "a formula: a, b\n"
    )


@pytest.mark.parametrize(
    ("out", "expected"),
    [
        ("folder", "a folder; wanted a file to write to"),
        ("p.jsonl/out.csv", "a file; wanted a folder"),
        ("p.jsonl/deeper/out.csv", "below a file, not a folder"),
        ("x" * 300, "the name is too long"),
    ],
)
def test_command_tells_in_one_line_that_it_cannot_write_there(
    files: Path, out: str, expected: str
) -> None:
    (files / "folder").mkdir()
    done = command(files, "--input", str(files / "test.json"), "--out", str(files / out))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_missing_client_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(
        UserError, match=r"pip install kaggle .*'ner-pipelines\[kaggle\]'.*kaggle\.json.*out\.csv"
    ):
        push("out.csv", "diseases", "")


def test_submission_imports_neither_torch_nor_transformers() -> None:
    code = "import sys, pipelines.submission; print({'torch', 'transformers', 'pandas'} & set(sys.modules))"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "set()\n"
    )
