"""The functions of `pipelines`, from Python: what they give, what they refuse, and their page."""

from __future__ import annotations

import doctest
import json
import logging
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT, SAMPLE_CORPUS, run_python
from recipe_cases import call

import pipelines
from pipelines import api
from pipelines.errors import UserError
from pipelines.examples import Example, Prediction, Span
from pipelines.runs import recipes
from pipelines.runs.recipes import words_of
from pipelines.runs.run import Run

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder that has the project's data, and logging as a new process has it."""
    monkeypatch.setattr(logging.getLogger("pipelines"), "handlers", [])
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A dictionary of the sample corpus."""
    folder = tmp_path_factory.mktemp("api") / "dictionary"
    files = {split: SAMPLE_CORPUS / f"{split}.json" for split in ("train", "dev", "test")}
    return pipelines.fit("dictionary", run_dir=folder, **files)


def test_the_page_says_what_happens(project):
    result = doctest.testfile(
        str(ROOT / "docs" / "python.md"), module_relative=False, optionflags=FLAGS
    )
    assert result.attempted > 15
    assert result.failed == 0


def test_importing_the_functions_loads_no_deep_learning_library():
    code = (
        "import sys; from pipelines import compare, evaluate, fit, predict, read\n"
        "print([name for name in ('torch', 'transformers', 'sklearn') if name in sys.modules])"
    )
    done = run_python("-c", code)
    assert done.stdout == "[]\n", done.stderr


def test_the_package_lists_its_functions_and_lacks_others():
    assert {"read", "fit", "predict", "evaluate", "compare"} <= set(dir(pipelines))
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = pipelines.train


def test_a_run_of_fit_is_that_of_the_command(fitted, tmp_path):
    options = {
        f"--{split}_file": SAMPLE_CORPUS / f"{split}.json" for split in ("train", "dev", "test")
    }
    words = [word for pair in options.items() for word in pair]
    given = ["--network", "dictionary", *words, "--run_dir", tmp_path / "run"]
    assert call("train_tagger", *given) == 0
    other = Run.open(tmp_path / "run")
    different = {name for name in other.config() if other.config()[name] != fitted.config()[name]}
    assert different <= {"run_dir", "output_dir"}
    assert fitted.predictions("test").read_bytes() == other.predictions("test").read_bytes()
    assert fitted.provenance()["data"] == other.provenance()["data"]
    assert fitted.provenance()["command"][0] == "train_tagger.py"


def test_fit_leaves_the_command_line_as_it_was_and_raises(fitted):
    before = list(sys.argv)
    with pytest.raises(UserError, match="holds a trained run"):
        pipelines.fit("dictionary", train=SAMPLE_CORPUS / "train.json", run_dir=fitted.folder)
    assert sys.argv == before


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("dictionnary", {}, "did you mean dictionary"),
        ("train_tager", {}, "did you mean train_tagger"),
        ("lstm", {}, "network of several recipes"),
        ("crf", {"network": "hmm"}, "network crf and network='hmm'"),
        ("crf", {"max_iteration": 3}, "did you mean --max_iterations"),
        ("crf", {"max_iterations": "few"}, "max_iterations"),
        ("crf", {"ablate": ["c1=1,2"]}, "pipelines train"),
        ("crf", {"train": SAMPLE_CORPUS / "none.json"}, "none.json"),
        ("crf", {"dev": SAMPLE_CORPUS / "dev.json"}, "without --train_file"),
    ],
)
def test_fit_refuses(project, name, options, message):
    with pytest.raises(UserError, match=message):
        pipelines.fit(name, run_dir="runs/x", **options)
    assert not Path("runs").exists()


def test_answers_in_train_decide_between_two_recipes(tmp_path):
    classes = tmp_path / "classes.jsonl"
    classes.write_text('{"text": "good", "label": "a"}\n{"text": "bad", "label": "b"}\n' * 3)
    assert api._recipe_of("lstm", classes) == ("train_text_classifier", "lstm")
    assert api._recipe_of("lstm", SAMPLE_CORPUS / "dev.json") == ("train_tagger", "lstm")


def test_options_become_words():
    options = {"a": True, "b": [1, 2], "c": None, "d": {"x": 1}, "e": -0.5, "f": Path("x y")}
    assert words_of(options) == [
        "--a=true",
        "--b",
        "1",
        "2",
        '--d={"x": 1}',
        "--e=-0.5",
        "--f=x y",
    ]


def test_read_keeps_its_options_for_fit(tmp_path):
    file = tmp_path / "two.jsonl"
    file.write_text('{"title": "one text", "body": "He had colon cancer."}\n' * 2)
    examples = pipelines.read(file, text_column="body")
    assert [example.text for example in examples] == ["He had colon cancer."] * 2
    assert api._columns_of({"train_file": examples}) == {"text_column": "body"}
    other = pipelines.read(file, text_column="title")
    with pytest.raises(UserError, match="reads all files alike"):
        api._columns_of({"train_file": examples, "dev_file": other})
    with pytest.raises(UserError, match="did you mean text_column"):
        pipelines.read(file, text_colum="body")


def test_examples_that_are_no_longer_the_files_are_refused():
    examples = pipelines.read(SAMPLE_CORPUS / "dev.json")
    assert api._file_of("dev_file", examples) == str(SAMPLE_CORPUS / "dev.json")
    del examples[0]
    with pytest.raises(UserError, match="dev: got 149 examples that are not those of a file"):
        api._file_of("dev_file", examples)
    with pytest.raises(UserError, match="train: got 1 examples"):
        pipelines.fit("crf", train=[Example("0", "x", spans=())])


def test_predict_answers_lists_and_files_alike(fitted):
    gold = pipelines.read(SAMPLE_CORPUS / "test.json")
    of_file = pipelines.predict(fitted.folder, SAMPLE_CORPUS / "test.json")
    assert pipelines.predict(fitted, gold) == of_file
    of_texts = pipelines.predict(fitted, [example.text for example in gold])
    assert [prediction.spans for prediction in of_texts] == [p.spans for p in of_file]
    assert [prediction.id for prediction in of_texts] == [str(n) for n in range(len(gold))]
    rows = [json.loads(line) for line in fitted.predictions("test").read_text().splitlines()]
    assert [len(row["spans"]) for row in rows] == [len(p.spans) for p in of_file]


def test_predict_refuses_what_is_no_text(fitted):
    with pytest.raises(UserError, match="text 1: got a int"):
        pipelines.predict(fitted, ["x", 3])
    with pytest.raises(UserError, match="no file; leave them out"):
        pipelines.predict(fitted, ["x"], text_column="y")


def test_evaluate_by_hand():
    gold = [
        Example("a", "colon cancer", spans=(Span(0, 12, "D"),)),
        Example("b", "flu", spans=(Span(0, 3, "D"),)),
    ]
    answers = [Prediction("a", (Span(0, 12, "D"),)), Prediction("b", (Span(0, 2, "D"),))]
    report = pipelines.evaluate(gold, answers)
    assert report["strict"]["f1"] == 0.5
    assert str(report).startswith("Span extraction: strict F1 50.00")
    with pytest.raises(UserError, match="b"):
        pipelines.evaluate(gold, answers[:1])
    assert pipelines.evaluate(gold, answers[:1], allow_missing=True)["strict"]["recall"] == 0.5


def test_compare_takes_runs_and_folders(fitted):
    with pytest.raises(UserError):
        pipelines.compare(fitted.folder / "none")
    alone = pipelines.compare(fitted)
    assert [row["name"] for row in alone["runs"]] == ["dictionary"]
    assert "dictionary" in str(alone)


def test_an_interrupted_recipe_interrupts_its_caller(monkeypatch):
    for code, error in ((130, KeyboardInterrupt), (3, UserError)):

        def main(code: int = code) -> None:
            raise SystemExit(code)

        module = SimpleNamespace(main=main, __file__="train_tagger.py")
        monkeypatch.setattr(recipes, "load_recipe", lambda name, module=module: module)
        with pytest.raises(error):
            recipes.call_recipe("train_tagger", [])


def test_a_config_of_the_project_is_found_from_anywhere(project):
    shipped = recipes.config_file("recipes/configs/tagger_ffnn.yaml")
    assert Path(shipped).is_absolute()
    assert Path(shipped).is_file()
    assert recipes.config_file("recipes/configs/none.yaml") == "recipes/configs/none.yaml"
    Path("recipes/configs").mkdir(parents=True)
    Path("recipes/configs/tagger_ffnn.yaml").write_text("seed: 1\n")
    own = "recipes/configs/tagger_ffnn.yaml"
    assert recipes.config_file(own) == own
