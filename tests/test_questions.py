"""The page of the written questions: its commands run, and its numbers are what they print."""

import re
import shlex
import sys

import pytest
from conftest import ROOT, load_recipe

from pipelines.cli import main
from pipelines.commands.questions import QUESTIONS
from pipelines.families import lexical

PAGE = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    shlex.split(line)
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line
]
# Those that need no run.
FAST = [
    command
    for command in COMMANDS
    if command[0] == "pipelines" and not any(part.startswith("runs/") for part in command)
]
# Numbers of the page by the question that prints them.
NUMBERS = {
    "loss": ["0.673", "0.279"],
    "f1": ["66.7", "100.0", "0.0", "50.0"],
    "softmax": ["1.372", "0.0165", "0.9834"],
    "evaluation": ["6 MiB"],
    "padding": ["1.1201", "1.1214", "1.2033"],
    "window": ["720,000"],
    "distance": ["1,024"],
    "latch": ["15,158", "6.4e-305"],
}


def test_the_page_has_every_question():
    asked = {command[2] for command in COMMANDS if command[:2] == ["pipelines", "questions"]}
    assert asked == QUESTIONS.keys() == NUMBERS.keys()
    assert len(FAST) == len(QUESTIONS) + 1  # and the vocabulary


@pytest.mark.parametrize("command", FAST, ids=lambda command: command[-1])
def test_the_fast_commands_run(command, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(command[1:]) == 0
    printed = capsys.readouterr().out
    if command[1] == "questions":
        question, _ = QUESTIONS[command[2]]
        assert printed.startswith(question)
        assert not [number for number in NUMBERS[command[2]] if number not in printed]
    else:
        assert "recommended: --min_freq" in printed


@pytest.mark.slow
def test_the_other_commands_run_in_order(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    for command in COMMANDS:
        if command in FAST:
            continue
        arguments = [re.sub("^runs/", f"{tmp_path}/", part) for part in command[1:]]
        if command[0] == "pipelines":
            assert main(arguments) == 0, command
            continue
        if arguments[2] not in lexical.TAGGERS:
            arguments += ["--num_train_epochs", "1"]
        monkeypatch.setattr(sys, "argv", arguments)
        load_recipe(arguments[0].split("/")[1].removesuffix(".py")).main()
    capsys.readouterr()


def test_the_list_and_wrong_names(tmp_path, capsys):
    assert main(["questions"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(QUESTIONS)
    for arguments, expected in (
        (["why"], "got the question why; wanted one of loss, f1"),
        (["f1", "--run", str(tmp_path)], "--run is of the question `loss` alone"),
        (["loss", "--run", str(tmp_path)], "so it is no run"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["questions", *arguments])
        assert ended.value.code == 2
        assert expected in capsys.readouterr().err
    (tmp_path / "config.yaml").write_text("metric_for_best_model: strict_f1\n")
    with pytest.raises(SystemExit):
        main(["questions", "loss", "--run", str(tmp_path)])
    assert "has no scores of dev" in capsys.readouterr().err
