"""The examples of docs/formats.md are read, and written, as the page says."""

from __future__ import annotations

import re

import pytest
from conftest import ROOT

from pipelines.corpora.predictions import read_predictions
from pipelines.examples import Example, Prediction, Span
from pipelines.spans import join_tokens
from pipelines.submission import LAYOUTS, write_submission

PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
ROWS = {
    layout: (header, re.findall(r"`([^`]+)`", rows))
    for layout, header, rows in re.findall(
        r"^\| `(\w+)` \| `([\w,]+)` \| (.+) \|$", PAGE.split("## Submissions")[1], re.MULTILINE
    )
}
TEXT, TOKENS = join_tokens(["Ann", "met", "Bo", "Li"])
PREDICTED = {
    "spans": Prediction("a", (Span(0, 3, "PER"), Span(8, 13, "PER"))),
    "label": Prediction("a", label="books"),
    "scores": Prediction("a", scores={"books": 0.9, "music": 0.1}),
    "value": Prediction("a", value=4.5),
}


def test_the_page_has_a_row_for_each_layout():
    assert list(ROWS) == list(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_submission_looks_as_the_page_shows(layout, tmp_path):
    header, rows = ROWS[layout]
    shown = "".join(f"{line}\n" for line in (header, *rows))
    # The sample has the form of the page; what is written shows the predictions in it.
    (tmp_path / "sample.csv").write_text(shown)
    written = write_submission(
        [PREDICTED[LAYOUTS[layout].answer]],
        [Example("a", TEXT, tokens=TOKENS)],
        sample=tmp_path / "sample.csv",
        out=tmp_path / "out.csv",
        positive_class="books" if layout == "probability" else None,
    )
    assert written.layout == layout
    assert (tmp_path / "out.csv").read_text() == shown


def test_predictions_are_read_as_the_page_shows_them(tmp_path):
    [content] = re.findall(r"```jsonl predictions\.jsonl\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "p.jsonl").write_text(content)
    mention, none, one_class, classes, number = read_predictions(tmp_path / "p.jsonl")
    [span] = mention.spans
    assert (span.start, span.end, span.label, span.score) == (25, 38, "Disease", 0.97)
    assert none.spans == ()
    assert (one_class.label, one_class.scores) == ("pos", {"pos": 0.9, "neg": 0.1})
    assert (classes.label, number.value) == (("music", "sport"), 4.5)


@pytest.mark.parametrize("key", re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", PAGE, re.MULTILINE))
def test_a_key_of_predictions_is_one_that_is_read(key):
    source = (ROOT / "pipelines" / "examples.py").read_text(encoding="utf-8")
    for name in re.findall(r"`(\w+)`", key):
        assert name in LAYOUTS or f'"{name}"' in source
