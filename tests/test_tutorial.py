"""docs/tutorial.md: its files and commands, pasted from top to bottom, print what the page shows."""

from __future__ import annotations

import re
import shlex
import sys

import pytest
from conftest import ROOT
from test_readme import commands, paste

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
[MAKE_FILES] = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = commands(re.sub(r"^```\w+\n.*?^```\n", "", PAGE, flags=re.MULTILINE | re.DOTALL))
SHOWN = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def without_numbers(text: str) -> str:
    """Scores may differ between CPUs by a mention or two."""
    return re.sub(r"[ \d.,]+", " ", text)


def test_the_page_goes_from_check_to_submit():
    said = [command.split()[1] for command in COMMANDS]
    assert said == ["check", "split", "train", "train", "compare", "predict", "submit", "train"]


def test_a_change_in_what_is_printed_is_noticed():
    assert without_numbers("strict  80.20  76.78") == without_numbers("strict 81.00  7.1")
    assert without_numbers("crf > hmm, p = 0.1") != without_numbers("crf > dictionary, p = 0.1")


@pytest.mark.slow
def test_the_commands_print_what_the_page_shows(tmp_path):
    paste(f"{sys.executable} -c {shlex.quote(MAKE_FILES)}", tmp_path)
    printed = without_numbers("\n".join(paste(line, tmp_path) for line in COMMANDS))
    for line in "".join(SHOWN).splitlines():
        assert without_numbers(line) in printed, line
    assert (tmp_path / "compare.html").is_file()
    for file in (tmp_path / "submission.csv", tmp_path / "runs" / "crf" / "submission.csv"):
        assert len(file.read_text(encoding="utf-8").splitlines()) == 151
