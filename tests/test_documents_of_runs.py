"""`pipelines report`: what a document gathers, escaping, and tables and text in Markdown, LaTeX and PDF."""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from conftest import run_python
from hypothesis import given
from hypothesis import strategies as st

from pipelines.corpora.writing import write_predictions
from pipelines.errors import UserError
from pipelines.evaluation.reports import evaluate_classes
from pipelines.examples import Example, Prediction
from pipelines.reporting import latex, markdown, pdf, plots
from pipelines.reporting.documents import (
    ABLATION,
    Chapter,
    Document,
    column_blocks,
    document_of,
    fact_rows,
    write_document,
)
from pipelines.reporting.page import Picture, Section, Table
from pipelines.reporting.pdf_pages import LINE_WIDTH, Font, column_widths, text_width, wrapped
from pipelines.studies.ablation import RESULTS

LABELS = ("a|b", "c_d", "e & f")
LOG = [{"step": 1, "loss": 0.9}, {"step": 2, "loss": 0.5, "eval_loss": 0.6}]


def make_run(folder: Path, name: str, *, wrong: int) -> Path:
    """A scored run on 30 examples of three classes, the first of which are wrong."""
    examples = [Example(str(i), f"text {i}", label=LABELS[i % 3]) for i in range(30)]
    gold = folder / "test.jsonl"
    rows = [{"id": e.id, "text": e.text, "label": e.label} for e in examples]
    gold.write_text("".join(json.dumps(row) + "\n" for row in rows))
    answers = []
    for i, example in enumerate(examples):
        label = LABELS[(i + 1) % 3] if i < wrong else example.label
        answers.append(Prediction(example.id, label=label))
    run = folder / name
    write_predictions(run / "predictions" / "test.jsonl", answers)
    report = {"split": "test", **evaluate_classes(examples, answers), "warnings": ["50 % & less"]}
    report["cost"] = {"parameters": 1000}
    (run / "report.json").write_text(json.dumps(report))
    (run / "config.yaml").write_text(yaml.safe_dump({"test_file": str(gold), "network": name}))
    (run / "trainer_log.json").write_text(json.dumps(LOG))
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [make_run(folder, "good_1", wrong=3), make_run(folder, "bad_2", wrong=20)]


@pytest.fixture(scope="module")
def document(runs):
    return document_of(runs, authors=["Ada Lovelace (al12)"])


def pdf_text(file: Path) -> str:
    """The text that a reader can select. Codes of TrueType fonts are two bytes, of ASCII the signs themselves."""
    shown = []
    for found in re.finditer(rb"stream\r?\n(.*?)endstream", file.read_bytes(), re.DOTALL):
        try:
            stream = zlib.decompress(found.group(1))
        except zlib.error:
            continue
        for text in re.findall(rb"BT\n.*?ET\n", stream, re.DOTALL):
            shown.append(b"".join(re.findall(rb"\((.*?)(?<!\\)\)", text, re.DOTALL)))
    joined = b"\n".join(shown).replace(b"\0", b"").decode("latin-1")
    return re.sub(r"\\([()\\])", r"\1", joined) + "\n"


def test_chapters_are_the_comparison_and_each_run(document):
    titles = [chapter.title for chapter in document.chapters]
    assert titles == ["Comparison of 2 runs", "Run good_1", "Run bad_2"]
    comparison, good, _ = document.chapters
    [table] = comparison.sections[0].parts
    assert [row[0] for row in table.rows] == ["good_1", "bad_2"]
    assert table.rows[0][1].text == "90.00"
    assert [section.id for section in good.sections] == ["scores", "training", "confusion", "cost"]


def test_a_confusion_matrix_is_drawn_beside_its_table(document):
    table, picture = document.chapters[1].sections[2].parts
    assert [cell.text for cell in table.rows[0][1:]] == ["9", "1", "0"]
    assert picture.title == "Confusion"
    assert ">90<" in picture.svg()  # % of the row, as text


def test_runs_of_one_task_alone_are_compared(runs, tmp_path):
    assert [chapter.title for chapter in document_of(runs[:1]).chapters] == ["Run good_1"]


def test_an_ablation_is_a_chapter(runs, tmp_path):
    baseline = {"name": "baseline", "value": 0.9, "values": {"1": 0.9}, "sd": 0.0, "options": {}}
    common = {"training_seconds": 1.0, "parameters": 10, "tried": []}
    variant = {
        "name": "c=10_000",
        "value": 0.8,
        "values": {"1": 0.8},
        "sd": 0.0,
        "options": {},
        "delta": -0.1,
        "interval": [-0.2, 0.1],
        "p_holm": 0.3,
        "better": None,
        "compared_seeds": [1],
    }
    results = {
        "task": "sequence_classification",
        "recipe": "train_text_classifier",
        "examples": 30,
        "seeds": [1],
        "variants": [baseline | common, variant | common],
        "failed": [],
        "test": None,
        "baseline": {"seed": 1},
    }
    (tmp_path / ABLATION).write_text(json.dumps(results))
    assert ABLATION == RESULTS
    chapter = document_of([tmp_path]).chapters[0]
    assert chapter.title.startswith("Ablation of train_text_classifier")
    out = tmp_path / "a.md"
    write_document(document_of([tmp_path]), out, "md")
    assert "| c=10\\_000 | 80.00 | 0.00 | 1/1 | -10.00 |" in out.read_text()
    (tmp_path / ABLATION).write_text('{"task": "sequence_classification"}')
    with pytest.raises(UserError, match="damaged or cut off"):
        document_of([tmp_path])


def test_all_folders_without_scores_are_reported_at_once(runs, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        document_of([runs[0], tmp_path / "empty", tmp_path / "none"])
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        str(tmp_path / "empty"),
        str(tmp_path / "none"),
    ]


def test_markdown(document, tmp_path):
    out, folder = write_document(document, tmp_path / "my report.md", "md")
    text = out.read_text()
    assert text.startswith("# Report on good\\_1, bad\\_2\n\nAda Lovelace (al12)\n")
    assert "| good\\_1 | 90.00 |" in text
    # Every line of a table has as many cells as its head.
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(cells) == 1, block
    assert "| a\\|b |" in text
    named = re.findall(r"!\[[^]]*\]\(([^)]+)\)", text)
    assert named
    assert sorted(Path(name).name for name in named) == sorted(p.name for p in folder.iterdir())
    assert all((tmp_path / name).read_text().startswith("<svg") for name in named)
    assert "var(" not in (tmp_path / named[0]).read_text()


def balanced(text: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)(?:\\\\)*([{}])", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


@pytest.mark.slow
def test_latex(document, tmp_path):
    out, _folder = write_document(document, tmp_path / "my_report.tex", "tex")
    text = out.read_text()
    assert balanced(text)
    assert text.count(r"\begin{longtable}") == text.count(r"\end{longtable}") > 5
    assert r"\toprule" in text
    assert r"50 \% \& less" in text
    assert r"e \& f & " in text
    assert r"\author{Ada Lovelace (al12)}" in text
    body = text[text.index(r"\begin{document}") :]
    assert body.isascii()  # all its signs are those that pdfTeX can set
    for name in re.findall(r"\\includegraphics\[[^]]*\]\{([^}]+)\}", text):
        assert (tmp_path / name).read_bytes().startswith(b"%PDF")
    for table in re.findall(r"\\begin\{longtable\}.*?\\end\{longtable\}", text, re.DOTALL):
        rows = [line for line in table.splitlines() if line.endswith(r" \\")]
        assert len({len(re.findall(r"(?<!\\)&", row)) for row in rows}) == 1


@pytest.mark.parametrize(
    ("text", "tex", "md"),
    [
        ("a_b & 5 %", r"a\_b \& 5 \%", r"a\_b \& 5 %"),
        ("x|y", r"x\textbar{}y", r"x\|y"),
        ("\\cmd{$1}", r"\textbackslash{}cmd\{\$1\}", r"\\cmd{\$1}"),
        ("<b>*#~^", r"\textless{}b\textgreater{}{*}\#\textasciitilde{}\textasciicircum{}", None),
        ("Δ ≥ 2", r"$\Delta$ $\geq$ 2", "Δ ≥ 2"),
        ("two\nlines", "two lines", "two lines"),
    ],
)
def test_escaping_by_hand(text, tex, md):
    assert latex.escaped(text) == tex
    assert md is None or markdown.escaped(text) == md


@given(st.text())
def test_any_text_stays_one_balanced_line(text):
    assert balanced(latex.escaped(text))
    assert "\n" not in latex.escaped(text)
    escaped = markdown.escaped(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`<]", escaped)
    assert len(escaped.splitlines()) <= 1


@pytest.mark.slow
def test_a_pdf_is_the_same_each_time_and_its_text_can_be_selected(document, tmp_path):
    document = replace(document, chapters=document.chapters[1:2])
    for name in ("a.pdf", "b.pdf"):
        write_document(document, tmp_path / name, "pdf")
    content = (tmp_path / "a.pdf").read_bytes()
    assert content == (tmp_path / "b.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert b"/FontFile2" in content  # TrueType with its characters, not outlines
    lines = pdf_text(tmp_path / "a.pdf").splitlines()
    assert {"Run good_1", "90.00", "a|b", "Ada Lovelace (al12)"} <= set(lines)


def test_a_long_table_repeats_its_head_on_each_page(tmp_path):
    rows = [(f"row{i}", str(i)) for i in range(150)]
    section = Section("s", "Rows", [Table(("thename", "value"), rows)])
    document = Document("Long", [], [Chapter("One", "", {}, (), [section])])
    write_document(document, tmp_path / "long.pdf", "pdf")
    text = pdf_text(tmp_path / "long.pdf")
    pages = (tmp_path / "long.pdf").read_bytes().count(b"/Type /Page ")
    assert pages == text.count("thename") == 3
    for name, _ in rows:
        assert f"{name}\n" in text


def test_text_and_columns_fit_the_page():
    font = Font(8)
    prose = "some words and averyveryveryverylongwordthatisbroken " * 3
    for width in (30, 70, 200):
        lines = wrapped(prose, font, width)
        assert all(text_width(line, font) <= width + 0.02 for line in lines)
        assert "".join(lines).replace(" ", "") == prose.replace(" ", "")
    columns = [("name", "a"), ("number", "1.00"), ("meaning", prose)]
    widths = column_widths(columns, {0, 2}, font)
    assert sum(widths) + 20 <= LINE_WIDTH + 0.01
    assert widths[0] == pytest.approx(text_width("name", font))


def test_columns_that_are_too_wide_are_split_and_named_in_each_part():
    assert column_blocks([3, 4, 4, 4], 11) == [[0, 1, 2], [0, 3]]
    assert column_blocks([3, 4], 100) == [[0, 1]]
    assert column_blocks([3, 20, 20], 10) == [[0, 1], [0, 2]]  # no part without a column


def test_a_list_of_facts_has_a_row_for_each_item():
    assert list(fact_rows({"data": ["a", "b"], "seed": "1"})) == [
        ("data", "a"),
        ("", "b"),
        ("seed", "1"),
    ]


def test_pictures_that_cannot_be_drawn_again_are_left_out_of_a_pdf(tmp_path):
    drawn = plots.svg("x", lambda axes: axes.plot([0, 1]))
    parts = [Picture("<svg></svg>", "Not drawn"), Picture(drawn, "Drawn")]
    document = Document("P", [], [Chapter("One", "", {}, (), [Section("s", "S", parts)])])
    pdf.write(document, tmp_path / "p.pdf")
    text = pdf_text(tmp_path / "p.pdf")
    assert "Drawn." in text
    assert "Not" not in text


def test_the_colours_of_drawings_are_those_of_light_pages():
    root = Path(plots.__file__).parent / "templates" / "style.css"
    light = root.read_text().split("}")[0]
    names = {"ink": plots.INK, "gold": plots.BLUE, "predicted": plots.ORANGE}
    names |= {"line": plots.LINE, "faint": plots.FAINT}
    for name, colour in names.items():
        assert f"--{name}: {colour};" in light


def test_the_command(runs, tmp_path):
    out = tmp_path / "r.md"
    command = ("-m", "pipelines.cli", "report")
    done = run_python(*command, *runs, "--out", out, "--title", "Mine", "--authors", "Bo Ek <be3>")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(out), str(tmp_path / "r-md-figures")]
    assert out.read_text().startswith("# Mine\n\nBo Ek (be3)\n")
    for refused in (["--out", "r.doc"], ["--out", "-", "--format", "md"]):
        done = run_python(*command, *runs, *refused)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: got --out {refused[1]}; wanted a file that ends")
