"""`pipelines show`: an example as the file has it and as it was read."""

import json

import pytest
from conftest import run_python

from pipelines.cli import main


@pytest.fixture
def corpus_file(tmp_path):
    rows = [
        {"id": "a-1", "sentence": "No flu.", "entities": [{"start": 3, "end": 6}], "note": "kept"},
        {"id": "a-2", "sentence": "A cold day", "entities": []},
    ]
    file = tmp_path / "corpus.json"
    file.write_text(json.dumps(rows))
    return file


def test_spans_and_what_is_not_read(corpus_file, capsys):
    assert main(["show", str(corpus_file), "--id", "a-1"]) == 0
    printed = capsys.readouterr().out
    assert '"note": "kept"' in printed
    assert "text   No flu." in printed
    assert "span   3:6 Disease  flu" in printed
    assert main(["show", str(corpus_file), "--id", "a-2"]) == 0
    assert "span   none" in capsys.readouterr().out


def test_the_first_example_by_default_and_the_column_options(tmp_path, capsys):
    (tmp_path / "odd.csv").write_text("nr,satz,gut\n7,Ein guter Film,ja\n8,Nein,nein\n")
    options = ["--text_column", "satz", "--label_column", "gut", "--id_column", "nr"]
    assert main(["show", str(tmp_path / "odd.csv"), *options]) == 0
    printed = capsys.readouterr().out
    assert '"satz": "Ein guter Film"' in printed
    assert "id     7\ntext   Ein guter Film\nlabel  ja" in printed


def test_tokens_and_rows_without_ids(tmp_path, capsys):
    (tmp_path / "t.conll").write_text("Rome B-LOC\nfell O\n\nIt O\nfell O\n")
    assert main(["show", str(tmp_path / "t.conll"), "--id", "1"]) == 0
    printed = capsys.readouterr().out
    assert "tokens 2: It | fell" in printed
    assert "Rome" not in printed


def test_a_row_with_a_fault_is_shown_with_it(tmp_path, capsys):
    rows = [
        {"id": "x", "text": "A flu", "entities": [{"start": 2, "end": 99, "label": "D"}]},
        {"id": "y", "text": "A flu", "entities": [{"start": 2, "end": 5, "label": "D"}]},
    ]
    (tmp_path / "bad.json").write_text(json.dumps(rows))
    assert main(["show", str(tmp_path / "bad.json"), "--id", "x"]) == 1
    printed = capsys.readouterr().out
    assert "wrong_offsets" in printed
    assert '"end": 99' in printed
    assert "as it was read" not in printed


def test_an_unknown_id_is_one_line_and_control_characters_are_escaped(corpus_file, tmp_path):
    done = run_python("-m", "pipelines.cli", "show", corpus_file, "--id", "a-9")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "has no such example; it has a-" in done.stderr
    (tmp_path / "c.jsonl").write_text(json.dumps({"id": "1", "text": "red \u001b[31m"}) + "\n")
    done = run_python("-m", "pipelines.cli", "show", tmp_path / "c.jsonl")
    assert "\u001b" not in done.stdout
