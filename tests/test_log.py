"""What a terminal shows of notes and warnings."""

import io
import logging
import sys

from tqdm import tqdm

from pipelines.runs.log import TerminalHandler


def test_a_note_stands_on_a_line_of_its_own_and_the_bar_below(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    bar = tqdm(total=3, ncols=40)
    bar.update()
    record = logging.LogRecord("a", logging.INFO, "", 0, "92 steps to go", (), None)
    TerminalHandler().emit(record)
    bar.close()
    lines = screen.getvalue().replace("\r", "\n").splitlines()
    assert "92 steps to go" in lines
    after = lines[lines.index("92 steps to go") + 1 :]
    assert any("1/3" in line for line in after)


def test_notes_go_to_standard_output_and_warnings_to_standard_error(capsys):
    for level, text in ((logging.INFO, "a note"), (logging.WARNING, "a warning")):
        TerminalHandler().emit(logging.LogRecord("a", level, "", 0, text, (), None))
    assert tuple(capsys.readouterr()) == ("a note\n", "a warning\n")
