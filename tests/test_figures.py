"""Pictures of a page as files: which, under which names, and that they stand alone."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
from conftest import run_python

from pipelines.errors import UserError
from pipelines.reporting.figures import figures_of, write_figures
from pipelines.reporting.page import Picture, Section, Table, write_page
from pipelines.reporting.plots import quality_against_cost, training_curves

LOG = [{"step": n, "loss": 1 / n, "eval_macro_f1": n / 9, "eval_loss": 1.0} for n in (1, 2, 3)]


@pytest.fixture
def page(tmp_path):
    curves = training_curves(LOG)
    points = [("a", 1.0, 90.0), ("b <c>", 2.0, 95.0)]
    cost = quality_against_cost(
        "cost", points, ["a"], cost="seconds", quality="accuracy", greater_is_better=True
    )
    parts = [Picture(picture, title) for title, picture in curves.items()]
    parts += [Table(("x",), [("1",)]), Picture(cost, "Accuracy & cost", "A note. <svg>")]
    write_page(tmp_path / "p.html", title="t", note="", sections=[Section("s", "S", parts)])
    return tmp_path / "p.html"


def test_each_picture_is_a_file_in_the_colours_of_the_page(page, tmp_path):
    files = write_figures(page, tmp_path / "out", prefix="mine-")
    assert [file.name for file in files] == [
        "mine-loss.svg",
        "mine-macro-f1-while-training.svg",
        "mine-accuracy-cost.svg",
    ]
    for file in files:
        content = file.read_text(encoding="utf-8")
        root = ElementTree.fromstring(content)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert int(root.get("width")) > int(root.get("height")) > 100
        assert not re.search(r"var\(--|currentColor", content)
        assert root[0].get("fill") == "#fff"
    assert "b <c>" in "".join(ElementTree.fromstring(content).itertext())


def test_pictures_of_one_title_get_a_number():
    figure = "<figure><figcaption>Loss</figcaption><svg></svg></figure>"
    assert list(figures_of(figure * 2)) == ["loss", "loss-2"]
    assert figures_of("<figure><p>no picture</p></figure>") == {}


def test_the_command_prints_the_files_and_refuses_other_pages(page, tmp_path):
    command = ("-m", "pipelines.cli", "figures")
    done = run_python(*command, page, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(path) for path in (tmp_path / "out" / "loss.svg",
        tmp_path / "out" / "macro-f1-while-training.svg", tmp_path / "out" / "accuracy-cost.svg")]  # fmt: skip
    (tmp_path / "empty.html").write_text("<p>nothing</p>")
    with pytest.raises(UserError, match=r"empty\.html: has no picture"):
        write_figures(tmp_path / "empty.html", tmp_path / "out")
    with pytest.raises(UserError, match="no such page"):
        write_figures(tmp_path / "none.html", tmp_path / "out")
