"""The table of families: what a model folder belongs to, and what each family offers."""

from importlib import import_module

import pytest
from conftest import run_python

from pipelines.errors import UserError
from pipelines.families import FAMILIES, family_of


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_folder_is_known_by_the_file_that_its_family_writes_last(name, tmp_path):
    assert family_of(tmp_path) is None
    (tmp_path / FAMILIES[name]).write_text("{}")
    family = family_of(tmp_path)
    assert family is import_module(f"pipelines.families.{name}")
    for function in ("load", "predict", "save"):
        assert callable(getattr(family, function))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_damaged_model_folder_is_one_line_that_names_it(name, tmp_path):
    (tmp_path / FAMILIES[name]).write_text('{"method"')
    with pytest.raises(UserError, match=str(tmp_path)) as error:
        import_module(f"pipelines.families.{name}").load(tmp_path)
    assert "\n" not in str(error.value)


def test_the_table_loads_no_deep_learning_library():
    code = "import sys, pipelines.families; print('torch' in sys.modules)"
    assert run_python("-c", code).stdout == "False\n"
