"""`--help` of a recipe: short, at once, and true."""

import ast
import dataclasses
import re

import pytest
from conftest import ROOT, load_recipe, run_python

from pipelines import cli
from pipelines.commands import train
from pipelines.families.lexical.word_features import GROUPS
from pipelines.networks.embeddings import CHARACTER_FEATURES
from pipelines.networks.feedforward import ACTIVATIONS
from pipelines.networks.recurrent import INITIAL_STATES
from pipelines.runs import recipes, usage

HEAVY = ("torch", "transformers", "datasets", "trl", "peft")
RECIPES = sorted(path.stem for path in (ROOT / "recipes").glob("*.py"))
TRAINED = [
    name for name in RECIPES if name != "study_gradient_clipping"
]  # its options are the study's


def path_of(recipe):
    return ROOT / "recipes" / f"{recipe}.py"


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_help_is_short_and_begins_with_the_docstring(recipe, capsys):
    with pytest.raises(SystemExit) as stop:
        usage.answer_help(path_of(recipe), ["--help"])
    assert not stop.value.code
    lines = capsys.readouterr().out.splitlines()
    assert 15 < len(lines) < 130
    assert max(map(len, lines[10:])) <= 120
    assert f"recipes/{recipe}.py" in "\n".join(lines[:8])
    assert any(line.startswith("  --config FILE") for line in lines)


@pytest.mark.parametrize(
    "path", [*ROOT.glob("recipes/*.py"), *ROOT.glob("benchmarks/*.py")], ids=str
)
def test_an_example_in_a_docstring_is_a_whole_command(path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    lines = [line for line in docstring.splitlines() if line.startswith("    ")]
    begins = ("    python ", "    accelerate launch ", "    # ")
    for line, before in zip(lines, ["", *lines], strict=False):
        assert line.startswith(begins) != before.endswith("\\"), line
    assert not (lines and lines[-1].endswith("\\"))


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_help_loads_no_deep_learning_library(recipe):
    code = (
        f"import runpy, sys\nsys.argv = ['recipe', '--help']\n"
        f"try: runpy.run_path({str(path_of(recipe))!r}, run_name='__main__')\n"
        f"finally: print([heavy for heavy in {HEAVY} if heavy in sys.modules])"
    )
    assert run_python("-c", code).stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_help_says_what_the_classes_say(recipe):
    module = load_recipe(recipe)
    classes = [
        value
        for value in vars(module).values()
        if dataclasses.is_dataclass(value) and value.__module__ == recipe
    ]
    fields = {field.name: field for class_ in classes for field in dataclasses.fields(class_)}
    entries = {entry.name: entry for entry in usage.entries_of_source(path_of(recipe))}
    ours = {name for name, field in fields.items() if "group" in field.metadata} | {
        "run_dir",
        "seed",
    }
    assert ours <= entries.keys()
    for name, entry in entries.items():
        field = fields[name]
        default = (
            field.default
            if field.default_factory is dataclasses.MISSING
            else field.default_factory()
        )
        assert (entry.default, entry.help) == (default, field.metadata.get("help", ""))
        assert entry.group != "options"


def test_the_help_names_all_choices():
    entries = {entry.name: entry.help for entry in usage.entries_of_source(path_of("train_tagger"))}
    named = {name: set(re.findall(r"\w+", text)) for name, text in entries.items()}
    assert set(load_recipe("train_tagger").NETWORKS) <= named["network"]
    assert set(CHARACTER_FEATURES) <= named["character_feature"]
    assert set(INITIAL_STATES) <= named["initial_state"]
    assert set(ACTIVATIONS) <= named["activation"]
    assert load_recipe("train_tagger").RecipeArguments().features == list(GROUPS)


def test_help_all_adds_the_options_of_the_libraries_but_for_those_without_effect(capsys):
    module = load_recipe("sft_tinyllama")
    classes = (module.RecipeArguments, module.TrainingArguments, module.ModelArguments)
    usage.print_help(classes, with_libraries=True)
    printed = capsys.readouterr().out
    for text in (
        "--prompt_style",
        "transformers.TrainingArguments:",
        "--adam_beta1",
        "trl.ModelConfig:",
        "--use_dora",
    ):
        assert printed.count(text) == 1
    assert "--packing" not in printed
    assert "--lora_r N" in printed


# pipelines train


def test_train_lists_the_recipes(capsys):
    assert cli.main(["train"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == RECIPES
    assert all(len(line.split()) > 5 for line in lines)


def test_train_names_the_nearest_recipe(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "trian_tagger", "--network", "rnn"])
    assert "did you mean train_tagger?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["train", "zzz"])
    assert "wanted one of choose_model, distil_tagger, " in capsys.readouterr().err


def test_train_hands_its_options_to_the_recipe(monkeypatch, tmp_path):
    ran = []
    monkeypatch.setattr(train.os, "execv", lambda program, words: ran.append(words[1:]))
    cli.main(["train", "train_tagger", "--help"])
    cli.main(["train", "train_tagger", "--network", "rnn", "--config", "a.yaml"])
    assert ran == [
        [str(path_of("train_tagger")), "--help"],
        [str(path_of("train_tagger")), "--network", "rnn", "--config", "a.yaml"],
    ]
    # Recipes of the working directory come first.
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.py").write_text('"""Mine."""\n')
    monkeypatch.chdir(tmp_path)
    assert list(recipes.find_recipes()) == ["mine"]


def test_the_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert not stop.value.code
    assert re.fullmatch(r"pipelines \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)
