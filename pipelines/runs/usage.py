"""`--help` of a recipe, read from its source: its imports take seconds."""

from __future__ import annotations

import argparse
import ast
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import NamedTuple

from pipelines.corpora.corpus import Columns
from pipelines.errors import one_line_errors
from pipelines.examples import JsonObject
from pipelines.runs import arguments as shared_arguments
from pipelines.runs import generator_arguments, library_options, pretraining_arguments

COLUMNS = "what a file holds, where it does not say so itself"
SHARED = (generator_arguments, pretraining_arguments, shared_arguments)
LAST = ("ablation", "submission", COLUMNS)  # these groups stand behind all others
WIDTH = 100
METAVARS = {"list": "A B …", "bool": "true|false", "int": "N", "float": "X", "str": "TEXT"}
BEFORE = """\
options, from the weakest to the strongest: the defaults below, a YAML file, the command line
  --config FILE  lines of `option: value`, see recipes/configs/; without it, the recipe's own there
  --help all     explains the options that are only named at the end, and adds the libraries'
"""


class Entry(NamedTuple):
    """An option in the help."""

    name: str
    type: str
    default: object
    help: str
    group: str


def answer_help(recipe: str | Path, arguments: Sequence[str] | None = None) -> None:
    """Prints the help of a recipe if it is asked for, and exits.

    `--help all` needs the libraries and is left to `options.parse`.

    To be called before the recipe imports its libraries.

    Args:
        recipe: its source file.
        arguments: the command line; default: of this process.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if ("--help" in words or "-h" in words) and "all" not in words:
        with one_line_errors():
            print(help_text(recipe), flush=True)
        raise SystemExit(0)


def print_help(dataclasses: Sequence[type], *, with_libraries: bool) -> None:
    """Prints the help of the recipe that defines the last of these dataclasses.

    Args:
        with_libraries: also print the options that are inherited from the libraries.
    """
    recipe = str(sys.modules[dataclasses[0].__module__].__file__)
    own = {entry.name for entry in entries_of_source(recipe)}
    inherited = entries_of_libraries(dataclasses) if with_libraries else []
    print(help_text(recipe, [entry for entry in inherited if entry.name not in own]))


def help_text(recipe: str | Path, others: Sequence[Entry] = ()) -> str:
    """The docstring of a recipe and its options by groups.

    Args:
        others: further options, to stand at the end; without them the help is brief.
    """
    docstring = ast.get_docstring(ast.parse(Path(recipe).read_text(encoding="utf-8"))) or ""
    entries = entries_of_source(recipe)
    entries.sort(key=lambda entry: LAST.index(entry.group) + 1 if entry.group in LAST else 0)

    def formatter(prog: str) -> argparse.HelpFormatter:
        return argparse.RawDescriptionHelpFormatter(prog, max_help_position=32, width=WIDTH)

    parser = argparse.ArgumentParser(
        description=f"{docstring}\n\n{BEFORE}",
        usage=argparse.SUPPRESS,
        add_help=False,
        formatter_class=formatter,
    )
    groups: JsonObject = {}
    for entry in [*entries, *others]:
        if entry.group == COLUMNS and not others:
            continue
        if entry.group not in groups:
            groups[entry.group] = parser.add_argument_group(entry.group)
        groups[entry.group].add_argument(
            f"--{entry.name}", metavar=_metavar(entry.type), help=_help(entry).replace("%", "%%")
        )
    names = " ".join(f"--{entry.name}" for entry in entries if entry.group == COLUMNS)
    if names and not others:
        parser.epilog = f"{COLUMNS}:\n" + textwrap.indent(textwrap.fill(names, WIDTH - 2), "  ")
    return parser.format_help().rstrip()


def _metavar(type_: str) -> str:
    return next((metavar for name, metavar in METAVARS.items() if name in type_), "VALUE")


def _help(entry: Entry) -> str:
    default = str(entry.default).lower() if isinstance(entry.default, bool) else entry.default
    is_obvious = entry.default is None or entry.default in (False, "", "none", [])
    if is_obvious or "(default" in entry.help:
        return entry.help
    if isinstance(default, list):
        default = " ".join(map(str, default))
    return f"{entry.help} (default: {default})"


def entries_of_source(recipe: str | Path) -> list[Entry]:
    """The options that a recipe and those of its bases that are ours declare by `options.option`.

    Options that its trainer does not honour are left out.

    Raises:
        ValueError: when a default or a help text is not a literal.
    """
    found: dict[str, Entry] = {}
    trainer = "encoder"
    for node in ast.parse(Path(recipe).read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        for base in node.bases:
            name = ast.unparse(base).split(".")[-1]
            ours = next((vars(one)[name] for one in SHARED if name in vars(one)), None)
            if isinstance(ours, type):
                _add(found, _entries_of_class(ours))
        _add(found, _entries_of_body(node))
        trainer = _trainer_of(node) or trainer
    unused = library_options.UNUSED[trainer]
    return [entry for name, entry in found.items() if entry.help and name not in unused]


def _trainer_of(class_: ast.ClassDef) -> str | None:
    """The value of `trainer: ClassVar[str] = …` in a class of training arguments."""
    for node in class_.body:
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "trainer" and node.value:
            return str(ast.literal_eval(node.value))
    return None


def _add(found: dict[str, Entry], entries: Iterable[Entry]) -> None:
    group = "options"
    for entry in entries:
        group = entry.group or group
        inherited = found.get(entry.name)
        own_group = entry.group or (inherited.group if inherited else group)
        found[entry.name] = entry._replace(group=own_group)


def _entries_of_class(class_: type) -> Iterator[Entry]:
    columns = {field.name for field in fields(Columns)}
    for field in fields(class_):
        group = COLUMNS if field.name in columns else field.metadata.get("group", "")
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if field.init:
            help_ = field.metadata.get("help", "")
            yield Entry(field.name, str(field.type), default, help_, group)


def _entries_of_body(class_: ast.ClassDef) -> Iterator[Entry]:
    for node in class_.body:
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Call)):
            continue
        call = node.value
        if ast.unparse(call.func).split(".")[-1] != shared_arguments.option.__name__:
            continue
        default, help_ = map(ast.literal_eval, call.args)
        keywords = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        name, type_ = ast.unparse(node.target), ast.unparse(node.annotation)
        yield Entry(name, type_, default, help_, keywords.get("group", ""))


def entries_of_libraries(dataclasses: Sequence[type]) -> list[Entry]:
    """The options that dataclasses have from the libraries, without those of no effect."""
    trainer = next((class_.trainer for class_ in dataclasses if hasattr(class_, "trainer")), None)
    unused = library_options.UNUSED[trainer] if trainer else {}
    entries = []
    for class_ in dataclasses:
        for entry in _entries_of_class(class_):
            definers = [
                base
                for base in class_.__mro__
                if entry.name in vars(base).get("__annotations__", ())
            ]
            library = definers[-1].__module__.split(".")[0]
            if library != "pipelines" and entry.name not in unused:
                group = f"{library}.{definers[-1].__name__}"
                entries.append(entry._replace(group=group, help=" ".join(entry.help.split())))
    return entries
