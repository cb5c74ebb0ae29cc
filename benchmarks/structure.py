"""How the code is built: rooms, files that a sentence passes, touches, density, types, docstrings.

    python benchmarks/structure.py                      # this tree
    python benchmarks/structure.py --against fd868d7    # that commit -> this tree
    python benchmarks/structure.py --no_runs            # without the two short trainings

Measured are `pipelines/` and `recipes/`, with the standard library; ruff counts the complexity.

- A *room* is a folder, or a module, at the top of `pipelines/`. An *arrow* leads from a room to
  another that a file of it imports, inside functions too. A room is *in a cycle* when arrows lead
  from it back to it.
- A sentence *passes* a file when a function of the file runs in a short `recipes/train_tagger.py`
  on the sample corpus, from reading to the report. Being imported is not enough.
- The *touches* of a thing are the files that hold its name, as a name, a module or a whole string:
  those to look at when one more of its kind is added. A folder of its own counts as one.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import tokenize
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
MEASURED = ("pipelines", "recipes")
# One of each kind, present in every commit that this is likely to be run on.
EXAMPLES = {
    "layout": "pubtator",
    "network": "feedforward",
    "family": "lexical",
    "metric": "matthews",
    "command": "vote",
}
MOST_COMPLEX = 12
LAYOUT_TOKENS = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

# Runs a recipe, and writes the files of the tree of which a function was called, but for calls that
# an import makes. The libraries are loaded before, so that the profiler does not slow them down.
TRACER = """
import json, runpy, sys, threading
import torch, transformers
root, out, recipe, *arguments = sys.argv[1:]
ours = (root + "/pipelines/", root + "/recipes/")
FUNCTION = 1  # CO_OPTIMIZED: neither the body of a module nor that of a class
seen = set()
def imported(frame):
    while frame:
        if frame.f_code.co_name == "<module>" and frame.f_globals["__name__"] != "__main__":
            return True
        frame = frame.f_back
    return False
def note(frame, event, argument):
    code = frame.f_code
    if event != "call" or code.co_filename in seen or not code.co_filename.startswith(ours):
        return
    if code.co_flags & FUNCTION and not code.co_name.startswith("<") and not imported(frame):
        seen.add(code.co_filename)
sys.path[:0] = [root + "/recipes", root]
sys.argv = [recipe, *arguments]
threading.setprofile(note)
sys.setprofile(note)
try:
    runpy.run_path(recipe, run_name="__main__")
finally:
    sys.setprofile(None)
    with open(out, "w") as file:
        json.dump(sorted(seen), file)
"""


class Source:
    """One Python file: its text, tree and tokens.

    Attributes:
        path: Path below the root of the tree.
        text: Its content.
    """

    def __init__(self, root: Path, file: Path) -> None:
        self.path = file.relative_to(root)
        self.text = file.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree."""
        return ast.parse(self.text)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes of the syntax tree."""
        return list(ast.walk(self.tree))

    @cached_property
    def tokens(self) -> list[tokenize.TokenInfo]:
        """All tokens, comments and docstrings too."""
        return list(tokenize.generate_tokens(io.StringIO(self.text).readline))

    @property
    def lines(self) -> int:
        """Number of lines."""
        return len(self.text.splitlines())

    def docstring_lines(self) -> set[int]:
        """Numbers of the lines on which docstrings begin."""
        documented = (ast.Module, ast.ClassDef, *FUNCTIONS)
        bodies = [node.body for node in self.nodes if isinstance(node, documented) and node.body]
        return {body[0].lineno for body in bodies if _is_text(body[0])}

    def code_tokens(self) -> list[tokenize.TokenInfo]:
        """Tokens without comments, layout and docstrings."""
        docstrings = self.docstring_lines()
        return [
            token
            for token in self.tokens
            if token.type not in LAYOUT_TOKENS
            and not (token.type == tokenize.STRING and token.start[0] in docstrings)
        ]

    def names(self) -> set[str]:
        """Every name, every whole string, and the name of the file itself."""
        names = {token.string for token in self.tokens if token.type == tokenize.NAME}
        texts = {
            node.value
            for node in self.nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        return names | texts | set(self.path.with_suffix("").parts)

    def imports(self) -> set[str]:
        """Dotted names of all modules that it imports, relative ones as absolute."""
        found: set[str] = set()
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                above = self.path.with_suffix("").parts[: -node.level] if node.level else ()
                module = ".".join([*above, *filter(None, [node.module])])
                found |= {f"{module}.{name.name}" for name in node.names}
        return found


def main() -> None:
    """Prints one row a measure, with `--against` before and after."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--against", metavar="COMMIT", help="what to stand beside this tree")
    parser.add_argument(
        "--no_runs",
        action="store_true",
        help="leave out the files that a sentence passes: two trainings",
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trees = [ROOT]
        if options.against:
            trees.insert(0, unpacked(options.against, Path(folder).resolve() / "before"))
        with ThreadPoolExecutor() as pool:
            columns = list(pool.map(lambda tree: measures(tree, not options.no_runs), trees))
    head = [options.against, "this tree"] if options.against else ["this tree"]
    rows = [["", *head], *([name, *[column[name] for column in columns]] for name in columns[-1])]
    first = max(len(row[0]) for row in rows)
    width = max(len(value) for row in rows for value in row[1:])
    for name, *values in rows:
        print(name.ljust(first), " -> ".join(value.rjust(width) for value in values))


def unpacked(commit: str, folder: Path) -> Path:
    """Writes the files of a commit to a new folder, and returns it."""
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", commit], capture_output=True)
    if archive.returncode:
        sys.exit(f"no commit {commit!r} here: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as packed:
        packed.extractall(folder, filter="data")
    return folder


def measures(root: Path, runs: bool = True) -> dict[str, str]:
    """All measures of a tree: name -> value as printed."""
    files = [file for top in MEASURED for file in sorted((root / top).rglob("*.py"))]
    sources = [Source(root, file) for file in files]
    filled = [source for source in sources if source.lines]
    recipes = [source for source in sources if source.path.parts[0] == "recipes"]
    return {
        "files": f"{len(sources):,}",
        "lines": f"{sum(source.lines for source in sources):,}",
        "lines of recipes/": f"{sum(source.lines for source in recipes):,}",
        "file lines, median / p90 / max": spread([source.lines for source in filled]),
        "function lines, median / p90 / max": spread(function_lines(sources)),
        **rooms(sources),
        **(passed(root) if runs else {}),
        **touches(sources),
        "tokens a code line": f"{tokens_a_line(sources):.1f}",
        **comprehensions(sources),
        f"functions with complexity over {MOST_COMPLEX}": str(complex_functions(root)),
        "public docstrings": f"{documented_share(sources):.0%}",
        "`type: ignore`": str(type_ignores(sources)),
        "`Any`": str(sum(token.string == "Any" for s in sources for token in s.code_tokens())),
    }


def spread(values: list[int]) -> str:
    """Median, 90th percentile and maximum."""
    ordered = sorted(values)
    return f"{median(ordered):.0f} / {ordered[int(0.9 * len(ordered))]} / {ordered[-1]}"


def function_lines(sources: Iterable[Source]) -> list[int]:
    """Lines of each function and method, with its docstring and without its decorators."""
    return [
        node.end_lineno - node.lineno + 1
        for source in sources
        for node in source.nodes
        if isinstance(node, FUNCTIONS) and node.end_lineno
    ]


def rooms(sources: Iterable[Source]) -> dict[str, str]:
    """Counts rooms of `pipelines/`, the arrows between them, and rooms that stand in a cycle."""
    arrows: dict[str, set[str]] = {}
    folders = set()
    for source in sources:
        top, *inner = source.path.with_suffix("").parts
        if top != "pipelines" or inner == ["__init__"]:
            continue
        if len(inner) > 1:
            folders.add(inner[0])
        ours = [name.split(".") for name in source.imports() if name.startswith("pipelines.")]
        arrows.setdefault(inner[0], set()).update(name[1] for name in ours)
    arrows = {room: (to & arrows.keys()) - {room} for room, to in arrows.items()}
    in_cycle = sorted(room for room in arrows if room in reachable(arrows, room))
    return {
        "rooms: folders + modules": f"{len(folders)} + {len(arrows) - len(folders)}",
        "arrows between rooms": str(sum(map(len, arrows.values()))),
        "rooms in a cycle": str(len(in_cycle)),
    }


def reachable(arrows: dict[str, set[str]], start: str) -> set[str]:
    """Rooms that arrows lead to from a room; it is one of them when it stands in a cycle."""
    found: set[str] = set()
    waiting = list(arrows[start])
    while waiting:
        room = waiting.pop()
        if room not in found:
            found.add(room)
            waiting += arrows[room]
    return found


def passed(root: Path) -> dict[str, str]:
    """Counts the files whose functions run in a training with few steps, by network."""
    counts = {}
    for network, more in {"dictionary": [], "rnn": ["--max_steps", "2"]}.items():
        files = files_run(root, ["--network", network, *more])
        counts[f"files that a sentence passes, {network}"] = str(files or "-")
    return counts


def files_run(root: Path, options: list[str]) -> int:
    """Number of files of a tree of which a function runs in a training; 0 where it fails."""
    recipe = str(root / "recipes" / "train_tagger.py")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "files.json")
        command = [
            sys.executable,
            "-c",
            TRACER,
            str(root),
            str(out),
            recipe,
            *options,
            "--run_dir",
            str(Path(folder, "run")),
        ]
        done = subprocess.run(
            command,
            cwd=root,
            capture_output=True,
            text=True,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        if done.returncode == 0:
            return len(json.loads(out.read_text(encoding="utf-8")))
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    print(f"{recipe} {' '.join(options)} failed: {last}", file=sys.stderr)
    return 0


def touches(sources: list[Source]) -> dict[str, str]:
    """Counts the files that name one example of each kind."""
    return {
        f"touches of a {kind} ({example})": str(len(touched(sources, example)))
        for kind, example in EXAMPLES.items()
    }


def touched(sources: Iterable[Source], example: str) -> set[Path]:
    """Files that hold the name of an example; its own folder counts as one file."""
    paths = {source.path for source in sources if example in source.names()}
    return {own_folder(path, example) if example in path.parts else path for path in paths}


def own_folder(path: Path, example: str) -> Path:
    """The part of a path that ends with the folder of an example."""
    return Path(*path.parts[: path.parts.index(example) + 1])


def tokens_a_line(sources: Iterable[Source]) -> float:
    """Mean number of tokens on a line that has any, without comments and docstrings."""
    tokens = lines = 0
    for source in sources:
        code = source.code_tokens()
        tokens += len(code)
        lines += len({token.start[0] for token in code})
    return tokens / lines


def comprehensions(sources: list[Source]) -> dict[str, str]:
    """Counts comprehensions inside others, and those that the style of the house does not want.

    Unwanted are those with two `for` and a condition, and nested ones on more than one line.
    """
    nested = unwanted = 0
    for source in sources:
        for node in source.nodes:
            if not isinstance(node, COMPREHENSIONS):
                continue
            holds_another = sum(isinstance(child, COMPREHENSIONS) for child in ast.walk(node)) > 1
            conditions = [condition for part in node.generators for condition in part.ifs]
            nested += holds_another
            unwanted += bool(len(node.generators) > 1 and conditions) or (
                holds_another and node.end_lineno != node.lineno
            )
    per_thousand = 1000 / sum(source.lines for source in sources)
    return {
        "nested comprehensions per 1,000 lines": f"{nested * per_thousand:.1f}",
        "unwanted comprehensions": str(unwanted),
    }


def complex_functions(root: Path) -> int:
    """Counts functions whose cyclomatic complexity, as ruff has it (C901), is over the limit."""
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--no-cache",
        "--exit-zero",
        "--select",
        "C901",
        "--config",
        f"lint.mccabe.max-complexity={MOST_COMPLEX}",
        "--output-format",
        "json",
        *MEASURED,
    ]
    found = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return len(json.loads(found.stdout))


def documented_share(sources: Iterable[Source]) -> float:
    """Share of public modules, classes, functions and methods that have a docstring."""
    public = [node for source in sources if source.tree.body for node in public_nodes(source.tree)]
    return sum(ast.get_docstring(node) is not None for node in public) / len(public)


def public_nodes(
    node: ast.Module | ast.ClassDef,
) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The module or class itself, and what is public at its top level; not inside functions."""
    yield node
    for child in node.body:
        if isinstance(child, (ast.ClassDef, *FUNCTIONS)) and not child.name.startswith("_"):
            if isinstance(child, ast.ClassDef):
                yield from public_nodes(child)
            else:
                yield child


def type_ignores(sources: Iterable[Source]) -> int:
    """Counts comments that turn the type checker off."""
    return sum(
        bool(re.search(r"type:\s*ignore", token.string))
        for source in sources
        for token in source.tokens
        if token.type == tokenize.COMMENT
    )


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a string alone, as a docstring is."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


if __name__ == "__main__":
    main()
