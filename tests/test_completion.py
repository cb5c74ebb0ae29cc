"""`pipelines completion`: what bash then offers, and that the scripts hold all there is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

from pipelines import cli
from pipelines.cli import COMMANDS

RECIPES = {path.stem for path in (ROOT / "recipes").glob("*.py")}


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(["completion", shell]) == 0
    return capsys.readouterr().out


def offered(folder: Path, text: str, line: str) -> list[str]:
    """What bash offers at the end of a line, by the function that `complete` names."""
    (folder / "script").write_text(text)
    words = line.split(" ")
    listed = " ".join(f"'{word}'" for word in words)
    code = (
        "source ./script; [[ $(complete -p pipelines) == *'-F _pipelines'* ]] || exit 3; "
        f"COMP_WORDS=({listed}); COMP_CWORD={len(words) - 1}; _pipelines; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    done = subprocess.run([bash, "--norc", "-c", code], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_offers_commands_recipes_and_options(capsys, tmp_path):
    text = script("bash", capsys)
    assert offered(tmp_path, text, "pipelines ") == list(COMMANDS)
    assert offered(tmp_path, text, "pipelines ev") == ["evaluate"]
    assert set(offered(tmp_path, text, "pipelines train ")) == RECIPES
    assert offered(tmp_path, text, "pipelines train train_ta") == ["train_tagger"]
    assert offered(tmp_path, text, "pipelines evaluate --go") == ["--gold"]
    assert "--lexicon" in offered(tmp_path, text, "pipelines train train_tagger --le")
    after = offered(tmp_path, text, "pipelines train train_tagger --network crf --max_it")
    assert after == ["--max_iterations"]
    assert offered(tmp_path, text, "pipelines completion --he") == ["--help"]


def test_bash_leaves_files_to_the_shell(capsys, tmp_path):
    text = script("bash", capsys)
    assert offered(tmp_path, text, "pipelines evaluate --gold te") == []
    assert offered(tmp_path, text, "pipelines nothing --x") == []


def test_zsh_reads_the_same_by_bashcompinit(capsys):
    text = script("zsh", capsys)
    assert text == script("bash", capsys)
    assert "bashcompinit" in text


def test_fish_holds_every_command_recipe_and_option(capsys):
    text = script("fish", capsys)
    for name in {*COMMANDS, *RECIPES} - {"sft_tinyllama"}:
        assert f"'__fish_seen_subcommand_from {name}'" in text
    assert "'__fish_seen_subcommand_from evaluate' -l gold" in text
    assert "'__fish_seen_subcommand_from train_tagger' -l lexicon" in text
    assert all(line.startswith("complete -c pipelines ") for line in text.splitlines())


def test_an_unknown_shell_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["completion", "csh"])
    assert stop.value.code == 2
    assert "csh" in capsys.readouterr().err
