"""The examples of data/README.md are read as the page says, and it names every option, layout and fault.

An example is a fenced block whose first line names the language, the file and the options that it is read with. A block
in Python is run and writes the file. Several blocks with a `/` in their names make up a folder. The lines after it that
begin with `→` are what the reader has to make of it.
"""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import dataclass, field, fields
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.commands.columns import add_columns, columns_of
from pipelines.corpora import Columns, read_corpus
from pipelines.corpora.corpus import FAULTS, WARNINGS
from pipelines.corpora.layouts import LAYOUTS
from pipelines.corpora.source import Source
from pipelines.errors import UserError
from pipelines.examples import Example

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"```(\w+) (\S+)(.*)\n((?:(?!```).*\n)*)```\n((?:→ .*\n|\n(?=→))*)")
_EXPECTED = re.compile(r"→ (?:(texts|ids|documents|pairs|faults|note|refused): )?(.*)")


@dataclass
class Shown:
    """An example of the page: its files, and what the page says about them."""

    name: str
    columns: Columns
    files: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> (language, content)
    expected: list[tuple[str, str]] = field(default_factory=list)  # (what, as written)

    def write(self, folder: Path) -> Path:
        """Writes its files, and returns the path to read."""
        for name, (language, content) in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if language == "python":
                pytest.importorskip(content.split()[1])  # the example begins with its import
                exec(compile(content, name, "exec"), {})
            else:
                path.write_text(content, encoding="utf-8")
        return folder / self.name


def shown_examples() -> list[Shown]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_columns(parser)
    examples: list[Shown] = []
    for language, file, options, content, expected in _BLOCK.findall(PAGE):
        name = file.split("/")[0]
        if not examples or examples[-1].expected or examples[-1].name != name:
            examples.append(Shown(name, columns_of(parser.parse_args(shlex.split(options)))))
        examples[-1].files[file] = language, content
        lines = [line for line in expected.split("\n") if line]
        examples[-1].expected += [
            _EXPECTED.fullmatch(line).groups(default="answers") for line in lines
        ]
    return examples


EXAMPLES = {example.name: example for example in shown_examples()}


def answer_of(example: Example) -> str:
    """An answer as the page writes it: `Gout (Disease)`, `class pos`, `classes a and b`, `number 0.5`."""
    parts = []
    if isinstance(example.label, tuple):
        parts.append(f"classes {' and '.join(example.label)}" if example.label else "no class")
    elif example.label is not None:
        parts.append(f"{'class' if isinstance(example.label, str) else 'number'} {example.label}")
    if example.spans is not None:
        mentions = [
            f"{example.text[span.start : span.end]} ({span.label})" for span in example.spans
        ]
        parts += mentions or ["no mention"]
    return "; ".join(parts) or "no answer"


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_read_as_the_page_says(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = EXAMPLES[name]
    path = shown.write(tmp_path)
    kinds = [kind for kind, _ in shown.expected]
    if kinds == ["refused"]:
        with pytest.raises(UserError) as refused:
            read_corpus(path, columns=shown.columns)
        assert shown.expected[0][1] in str(refused.value)
        return
    corpus = read_corpus(path, columns=shown.columns)
    read = {
        "answers": " | ".join(map(answer_of, corpus.examples)),
        "texts": " | ".join(example.text for example in corpus.examples),
        "ids": " | ".join(example.id for example in corpus.examples),
        "documents": " | ".join(str(example.group) for example in corpus.examples),
        "pairs": " | ".join(str(example.pair) for example in corpus.examples),
        "faults": ", ".join(f"{fault.row} {fault.kind}" for fault in corpus.faults),
    }
    assert "answers" in kinds
    assert read["faults"] == dict(shown.expected).get("faults", "")
    for kind, wanted in shown.expected:
        if kind == "note":
            assert any(wanted in note for note in corpus.notes), corpus.notes
        else:
            assert read[kind] == wanted


def test_check_says_what_the_page_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    EXAMPLES["list.json"].write(tmp_path)
    main(["check", "list.json"])
    [said] = re.findall(r"```\n(list\.json: .*\n  first: .*\n)```", PAGE)
    assert said in capsys.readouterr().out


def test_the_examples_are_found_and_have_different_names():
    n_files = len(_BLOCK.findall(PAGE))
    assert sum(len(example.files) for example in EXAMPLES.values()) == n_files > 60
    assert all(example.expected for example in EXAMPLES.values())
    # Nothing that looks like an example or an expectation escapes the pattern.
    assert len(re.findall(r"^```\w+ ", PAGE, re.MULTILINE)) == n_files
    assert len(re.findall(r"^→ ", PAGE, re.MULTILINE)) == sum(
        len(one.expected) for one in EXAMPLES.values()
    )


def test_every_layout_has_an_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    used = set()
    for shown in EXAMPLES.values():
        if "python" not in {language for language, _ in shown.files.values()}:
            source = Source(shown.write(tmp_path / f"{shown.name} alone"))
            used.add(next(layout.name for layout in LAYOUTS if layout.sniff(source)))
    # Of the other two the examples are in Python.
    assert used == {layout.name for layout in LAYOUTS} - {"dataset", "docbin"}
    for layout in LAYOUTS:
        assert f"`--layout {layout.name}`" in PAGE


def test_every_option_is_in_the_page_with_its_help():
    for option in fields(Columns):
        default = {None: "–", False: "`false`"}.get(option.default, f"`{option.default}`")
        assert f"| `--{option.name}` | {option.metadata['help']} | {default} |" in PAGE


def test_every_fault_and_warning_is_in_the_page():
    faults, warnings = PAGE.split("\n## Faults and warnings\n")[1].split("| warning |")
    assert set(
        re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\|(.*?)\|", faults, re.MULTILINE)))
    ) == set(FAULTS)
    table = warnings.split("\n\n")[0]
    assert set(
        re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\|(.*?)\|", table, re.MULTILINE)))
    ) == set(WARNINGS)
