"""The ladders that are shipped: every recipe, config and option in them is one that there is."""

from dataclasses import fields, is_dataclass

import pytest
import yaml
from conftest import ROOT, load_recipe

from pipelines.studies.choice.ladder import read_ladder

LADDERS = sorted((ROOT / "recipes" / "ladders").glob("*.yaml"))


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize("file", LADDERS, ids=[file.stem for file in LADDERS])
def test_each_option_is_one_of_the_recipe(file, gpu):
    for rung in read_ladder(file, recipes=ROOT / "recipes", gpu=gpu):
        for recipe in filter(None, (rung.before, rung.recipe)):
            module = load_recipe(recipe.script.stem)
            groups = [own for own in vars(module).values() if is_dataclass(own)]
            known = {field.name for group in groups for field in fields(group)}
            given = dict(recipe.options)
            if recipe.config:
                given |= yaml.safe_load(recipe.config.read_text(encoding="utf-8"))
            assert given.keys() <= known, f"{rung.name}: {given.keys() - known}"


@pytest.mark.parametrize("file", LADDERS, ids=[file.stem for file in LADDERS])
def test_what_teaches_and_what_is_read_has_its_place(file):
    for rung in read_ladder(file, recipes=ROOT / "recipes", gpu=False):
        options = rung.recipe.options.values() if rung.recipe else ()
        assert ("{teachers}" in options) == bool(rung.teachers)
        assert ("{before}" in options) == bool(rung.before)
