"""Documents: the paths, modules, commands and options that they name exist; touches are right."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT
from test_seams import LAYERS

from pipelines.cli import COMMANDS

FOLDERS_OF_PAGES = (ROOT, ROOT / "docs", ROOT / "data", ROOT / "kaggle")
DOCUMENTS = sorted(path for folder in FOLDERS_OF_PAGES for path in folder.glob("*.md"))
# History: its names are those of the time.
TODAY = [path for path in DOCUMENTS if path.name not in ("CHANGELOG.md", "experiments.md")]
FOLDERS = ("pipelines", "recipes", "data", "docs", "tests", "benchmarks", "kaggle", ".ci")
PATH = re.compile(
    rf"(?<![\w./-])(?:{'|'.join(re.escape(folder) for folder in FOLDERS)})/[\w./*-]*[\w/*]"
)
MODULE = re.compile(r"(?<![\w./-])pipelines(?:\.\w+)+")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OPTION = re.compile(r"(?<![\w-])--([a-z]\w*)")
# Of accelerate launch, hf download, tensorboard and vllm serve.
OTHER_PROGRAMS = {"config_file", "local", "logdir", "structured"}
COMMAND = re.compile(r"(?<![\w/-])(?<!from )pipelines ([a-z]+)\b")
TOUCHES = re.compile(r"^### An? (\w+): `(\w+)`\n(.*?)(?=^##)", re.MULTILINE | re.DOTALL)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def names(documents: list[Path], pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Pairs of document and name; a name that several documents have comes once for each."""
    for document in documents:
        for name in sorted(set(pattern.findall(read(document)))):
            yield str(document.relative_to(ROOT)), name


def anchors(markdown: str) -> set[str]:
    """The anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", markdown, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def structure() -> ModuleType:
    """The module `benchmarks/structure.py`."""
    spec = importlib.util.spec_from_file_location("structure", ROOT / "benchmarks" / "structure.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["structure"] = module
    spec.loader.exec_module(module)
    return module


def sources(*tops: str) -> list:
    """The Python files of some folders."""
    files = [file for top in tops for file in sorted((ROOT / top).rglob("*.py"))]
    return [structure().Source(ROOT, file) for file in files]


@cache
def measured() -> list:
    """What `benchmarks/structure.py` measures, parsed once."""
    return sources(*structure().MEASURED)


@pytest.mark.parametrize(("document", "path"), names(TODAY, PATH))
def test_a_path_that_a_document_names_exists(document, path):
    assert any(ROOT.glob(path.rstrip("/"))), f"{document} names {path}"


@pytest.mark.parametrize(("document", "name"), names(TODAY, MODULE))
def test_a_module_that_a_document_names_exists(document, name):
    parts = name.split(".")
    files = [ROOT.joinpath(*parts[:count]) for count in range(len(parts), 1, -1)]
    found = [path for path in files if path.is_dir() or path.with_suffix(".py").is_file()]
    assert found, f"{document} names {name}"
    missing = parts[len(found[0].relative_to(ROOT).parts) :]
    code = found[0] / "__init__.py" if found[0].is_dir() else found[0].with_suffix(".py")
    assert not missing or re.search(rf"\b{missing[0]}\b", read(code)), f"{document} names {name}"


@pytest.mark.parametrize(("document", "target"), names(DOCUMENTS, LINK))
def test_a_link_leads_somewhere(document, target):
    if "://" in target:
        return
    file, _, anchor = target.partition("#")
    path = (ROOT / document).parent / file if file else ROOT / document
    assert path.exists(), f"{document} links to {target}"
    assert not anchor or anchor in anchors(read(path)), f"{document} links to {target}"


@pytest.mark.parametrize(("document", "command"), names(TODAY, COMMAND))
def test_a_command_that_a_document_names_exists(document, command):
    assert command in COMMANDS, f"{document} names `pipelines {command}`"


@pytest.mark.slow
def test_the_options_that_documents_name_exist():
    from trl import ModelConfig, SFTConfig

    known = {field.name for library in (ModelConfig, SFTConfig) for field in fields(library)}
    for source in sources("pipelines", "recipes", "benchmarks", "data"):
        known |= {word.removeprefix("--") for word in source.names()}
    unknown = [pair for pair in names(TODAY, OPTION) if pair[1] not in known | OTHER_PROGRAMS]
    assert not unknown


def test_the_layers_are_those_of_the_seams():
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", read(ROOT / "CONTRIBUTING.md"), re.MULTILINE)
    assert [tuple(re.findall(r"`(\w+)`", rooms)) for _, rooms in rows] == list(LAYERS)
    assert [int(number) for number, _ in rows] == list(range(1, len(LAYERS) + 1))


def touches() -> dict[str, tuple[str, list[str]]]:
    """Kind -> the example, and the files to touch, as CONTRIBUTING.md lists them."""
    sections = TOUCHES.findall(read(ROOT / "CONTRIBUTING.md"))
    return {
        kind: (example, re.findall(r"^\| `([^`]+)`", text, re.MULTILINE))
        for kind, example, text in sections
    }


def test_every_kind_of_addition_has_its_touches():
    assert {kind: example for kind, (example, _) in touches().items()} == structure().EXAMPLES


@pytest.mark.parametrize("kind", touches())
def test_the_files_to_touch_name_the_example(kind):
    example, files = touches()[kind]
    assert files
    for file in files:
        assert example in read(ROOT / file).lower() or example in file, f"{file} has no {example}"


@pytest.mark.parametrize("kind", [kind for kind in touches() if kind != "command"])
def test_no_other_file_names_the_example(kind):
    example, files = touches()[kind]
    named = {path.as_posix() for path in structure().touched(measured(), example)}
    assert named <= {file.removesuffix("/__init__.py") for file in files} | set(files)
