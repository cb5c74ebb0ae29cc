"""What may import what, and where things lie: the seams that keep the parts replaceable and the commands instant."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, run_python

PACKAGE = ROOT / "pipelines"
# Each room may import those above it in this table, and itself; never one beside or below it.
LAYERS = (
    ("errors",),
    ("formatting",),
    ("examples",),
    ("spans",),
    ("alignment",),
    ("corpora",),
    ("prompting", "evaluation"),
    ("checks",),
    ("networks",),
    ("cpu",),
    ("families",),
    ("runs",),
    ("submission", "inspection", "studies", "bundling", "exporting", "bulk"),
    ("reporting",),
    ("job", "demo"),
    ("api",),
    ("commands",),
    ("cli",),
)
LIGHT = [
    "examples",
    "spans",
    "errors",
    "formatting",
    "runs.lock",
    "runs.run",
    *(
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        for folder in (
            *("alignment", "checks", "corpora", "evaluation", "prompting", "submission"),
            *("bulk", "families/lexical"),
        )
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        if path.stem not in ("hub", "span_f1", "tag_f1", "class_scores")
    ),
]
HEAVY = ("torch", "transformers", "datasets", "trl", "peft")


def modules(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, inside functions too; relative ones as absolute."""
    found: set[str] = set()
    here = path.relative_to(ROOT).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = (
                ".".join([*here[: len(here) - node.level], *filter(None, [node.module])])
                if node.level
                else str(node.module)
            )
            found |= {base, *(f"{base}.{name.name}" for name in node.names)}
    return found


def under(names: set[str], *packages: str) -> set[str]:
    return {
        name
        for name in names
        for package in packages
        if name == package or name.startswith(f"{package}.")
    }


def test_light_modules_load_no_deep_learning_library():
    code = f"""
import importlib, sys
for name in {LIGHT}:
    importlib.import_module("pipelines." + name)
    loaded = [heavy for heavy in {HEAVY} if heavy in sys.modules]
    if loaded:
        sys.exit(f"{{name}} loads {{loaded}}")
"""
    done = run_python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("arguments", [["--help"], ["evaluate", "--help"], ["predict", "--help"]])
def test_the_command_line_answers_without_torch(arguments):
    code = (
        "import sys; from pipelines.cli import main\n"
        f"try: main({arguments})\n"
        f"finally: print([heavy for heavy in {HEAVY} if heavy in sys.modules])"
    )
    assert run_python("-c", code).stdout.splitlines()[-1] == "[]"


def test_networks_know_nothing_of_ours_but_spans_errors_and_lexicons():
    for path in modules(PACKAGE / "networks"):
        ours = under(imports(path), "pipelines") - {"pipelines"}
        extra = ours - under(
            ours,
            "pipelines.spans",
            "pipelines.errors",
            "pipelines.networks",
            "pipelines.corpora.lexicon",
        )
        assert not extra, f"{path.name} imports {extra}"


def rooms_imported() -> dict[str, set[str]]:
    """Room -> the other rooms of the package that its files import."""
    found: dict[str, set[str]] = {}
    for path in modules(PACKAGE):
        room = path.relative_to(PACKAGE).with_suffix("").parts[0]
        names = [name.split(".") for name in under(imports(path), "pipelines")]
        found.setdefault(room, set()).update(
            parts[1] for parts in names if len(parts) > 1 and parts[1] != room
        )
    return found


def test_each_room_has_a_layer_and_imports_lower_ones_only():
    layer = {room: number for number, rooms in enumerate(LAYERS) for room in rooms}
    found = rooms_imported()
    found.pop("__init__")
    assert found.keys() == layer.keys()
    upward = {
        f"{room} imports {other}"
        for room, others in found.items()
        for other in others
        if other in layer and layer[other] >= layer[room]
    }
    assert not upward


def test_the_package_does_not_reach_up():
    for path in modules(PACKAGE):
        assert not under(imports(path), "recipes", "benchmarks", "tests", "data"), path


def test_recipes_stand_alone():
    names = {path.stem for path in (ROOT / "recipes").glob("*.py")}
    assert names
    assert "__init__" not in names
    for path in modules(ROOT / "recipes"):
        assert not under(imports(path), "recipes", *(names - {path.stem})), path


def test_no_recipe_bears_the_name_of_a_library():
    # Python puts the folder of a script first on its path: `datasets.py` there would hide the library.
    code = (
        "import sys; sys.path = [p for p in sys.path if p]; from importlib.util import find_spec\n"
        f"print([n for n in {[path.stem for path in (ROOT / 'recipes').glob('*.py')]} if find_spec(n)])"
    )
    assert run_python("-c", code, cwd=ROOT / "tests").stdout == "[]\n"


def tracked() -> list[Path]:
    try:
        listed = subprocess.run(
            ["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: there is no list of the project's files")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_there_is_no_drawer_for_odds_and_ends():
    assert not [
        path for path in tracked() if path.stem in ("utils", "util", "helpers", "misc", "common")
    ]


def test_no_file_names_a_place_of_one_machine():
    # Spelled in pieces, so that this file does not hold what it looks for.
    places = re.compile(
        "|".join(
            f"(?<![\\w.~{{$-])/{top}/" for top in ("work", "tmp", "home", "root", "Users", "mnt")
        )
    )
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = [
            f"{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if places.search(line)
        ]
        assert not found, f"{path.relative_to(ROOT)}: {found}"
