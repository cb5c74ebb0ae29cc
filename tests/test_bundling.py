"""Offline bundles: what goes in, what is refused, and a bundle that is installed without a network and predicts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, run_python
from offline_machine import make_environment, packed_again, variables, without_network
from packaging.requirements import Requirement

from pipelines.bundling import contents, install_script, wheels
from pipelines.bundling.bundle import (
    check_folder,
    kaggle_metadata,
    parts_of,
)
from pipelines.bundling.targets import Target
from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError

KAGGLE = Target("3.12", "manylinux_2_35_x86_64")


def test_a_linux_machine_takes_wheels_for_all_older_versions_of_glibc():
    tags = Target("3.12", "manylinux_2_18_x86_64").platforms()
    assert tags[:3] == ["manylinux_2_18_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64"]
    assert tags[-2:] == ["manylinux_2_5_x86_64", "manylinux1_x86_64"]


def test_markers_are_evaluated_for_the_target_and_not_for_this_machine():
    windows = Requirement('colorama; sys_platform == "win32" and python_version < "3.14"')
    assert windows.marker.evaluate(Target("3.13", "win_amd64").markers())
    assert not windows.marker.evaluate(Target("3.14", "win_amd64").markers())
    assert not windows.marker.evaluate(KAGGLE.markers())
    mac = Target("3.12", "macosx_14_0_arm64").markers()
    assert (mac["platform_system"], mac["platform_machine"]) == ("Darwin", "arm64")


@pytest.mark.parametrize(
    ("python", "platform", "named"),
    [
        ("2.7", "win_amd64", "--python"),
        ("3.12", "kaggle", "--platform"),
        ("3.12.1", "win_amd64", "--python"),
    ],
)
def test_an_unknown_target_is_refused(python, platform, named):
    with pytest.raises(UserError, match=f"got {named}"):
        Target(python, platform).check()


def test_absolute_paths_keep_their_last_name():
    value = {"/data/me/train.json": ["/data/x", "relative/y", 3], "a": {"b": "~/z.json"}}
    assert contents.without_paths(value) == {
        "train.json": ["x", "relative/y", 3],
        "a": {"b": "z.json"},
    }


def test_a_folder_with_something_else_is_refused_and_an_earlier_bundle_is_not(tmp_path):
    check_folder(tmp_path / "new")
    check_folder(tmp_path)
    (tmp_path / "manifest.json").write_text(
        json.dumps({"files": {"wheels/a.whl": {}, "install.py": {}}})
    )
    (tmp_path / "install.py").write_text("")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a.whl").write_bytes(b"")
    check_folder(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds notes\.txt"):
        check_folder(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "wants a run"),
        ({"run": "a", "recipe": "b"}, "wants a run"),
        ({"recipe": "train_nothing"}, "wanted one of choose_model, distil_tagger"),
        ({"recipe": "sft_tinyllama"}, "wants the base model"),
        ({"run": "nowhere"}, "no such folder"),
    ],
)
def test_parts_that_do_not_fit_are_refused(options, message):
    given = {"run": None, "recipe": None, "model": None} | options
    with pytest.raises(UserError, match=message):
        parts_of(**given)


def test_pickled_weights_are_not_a_base_model(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(UserError, match="no weights as safetensors"):
        contents.find_model(str(tmp_path))


def test_versions_that_do_not_fit_are_named_at_once(tmp_path):
    found = {
        "numpy": tmp_path / "numpy-1.0-py3-none-any.whl",
        "a": tmp_path / "a-2.0-py3-none-any.whl",
    }
    asked = [Requirement("numpy>=2"), Requirement("a<2"), Requirement("torch>=2")]
    with pytest.raises(UserError, match=r"a: got 2\.0, wanted <2\nnumpy: got 1\.0, wanted >=2"):
        wheels._refuse_conflicts(asked, found)


def test_an_extra_adds_what_it_requires_and_an_unknown_one_is_refused(tmp_path):
    wheel = tmp_path / "ner_pipelines-1-py3-none-any.whl"
    metadata = 'Provides-Extra: gpu\nRequires-Dist: a\nRequires-Dist: b; extra == "gpu"\n'
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("ner_pipelines-1.dist-info/METADATA", metadata)
    options = {"target": KAGGLE, "pins": {}, "without": ["a", "b"]}
    assert wheels.add_dependencies(wheel, **options) == ["a"]
    assert wheels.add_dependencies(wheel, extras=["gpu"], **options) == ["a", "b"]
    with pytest.raises(UserError, match="got --extras cpu; wanted some of gpu"):
        wheels.add_dependencies(wheel, extras=["cpu"], **options)


def test_what_is_left_out_keeps_the_demands_of_all_that_require_it():
    asked = [Requirement("torch>=2.13,<3"), Requirement("Torch>=2.0"), Requirement("numpy>=2")]
    assert wheels._left_out(asked, {"torch"}) == ["torch<3,>=2.0,>=2.13"]


def test_titles_of_kaggle_data_sets_have_6_to_50_characters():
    long = kaggle_metadata("A run: " + "x" * 60, None)
    assert len(long["title"]) == 50
    assert kaggle_metadata("a", "me/mine")["id"] == "me/mine"
    assert len(kaggle_metadata("a", None)["title"]) >= 6


def test_a_changed_and_a_missing_file_are_both_named(tmp_path):
    (tmp_path / "a").write_text("changed")
    faults = install_script.file_faults(tmp_path, {"a": {"sha256": "0"}, "b": {"sha256": "0"}})
    assert [fault.split(";")[0] for fault in faults] == [
        "a: not the file of the manifest",
        "b: missing",
    ]


def test_a_package_that_is_too_old_is_named():
    assert install_script.package_faults(["pytest>=1"]) == []
    [fault] = install_script.package_faults(["pytest>=1000"])
    assert fault.startswith("pytest>=1000: not installed here")


def direct_requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(line).name for line in project["dependencies"]]


@pytest.fixture(scope="module")
def bundle(smoke_run, tmp_path_factory) -> Path:
    """A bundle of the smoke run without its merged model: packaging alone of the dependencies, from a folder."""
    pytest.importorskip("setuptools", minversion="77")
    links = tmp_path_factory.mktemp("links")
    packed_again("packaging", links)
    run = tmp_path_factory.mktemp("runs") / "smoke"
    ignored = ("merged", "checkpoints")
    shutil.copytree(smoke_run, run, ignore=shutil.ignore_patterns(*ignored))
    out = tmp_path_factory.mktemp("bundles") / "bundle"
    without = [name for name in direct_requirements() if name != "packaging"]
    done = run_python(
        *("-m", "pipelines.cli", "bundle", "--run", run, "--out", out, "--without", *without),
        env=os.environ | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links)},
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"base_model +\d+\.\d MB", done.stdout)
    assert "2 of them wheels" in done.stdout
    return out


@pytest.mark.slow
def test_a_bundle_names_no_path_of_this_machine(bundle, smoke_run):
    manifest = json.loads((bundle / "manifest.json").read_text())
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert files == manifest["files"].keys() | {"manifest.json", "dataset-metadata.json"}
    assert {"run/model/adapter_model.safetensors", "base_model/model.safetensors"} <= files
    assert len(re.findall(r"--hash=sha256:\w{64}", (bundle / "requirements.txt").read_text())) == 2
    folders = {str(ROOT), str(smoke_run.parent), str(Path.home())} - {"/"}
    for path in bundle.rglob("*"):
        if path.suffix in (".json", ".yaml", ".md", ".txt", ".py", ".jinja"):
            text = path.read_text(encoding="utf-8")
            assert not [folder for folder in folders if folder in text], path


@pytest.mark.slow
def test_a_bundle_is_installed_without_a_network_and_predicts(bundle, smoke_run, corpus, tmp_path):
    python = make_environment(tmp_path / "venv")
    begin, env = without_network(), variables(python)

    def there(*words: object) -> subprocess.CompletedProcess[str]:
        command = [*begin, str(python), *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)

    installed = there(bundle / "install.py")
    assert installed.returncode == 0, installed.stderr
    assert "installed 2 packages" in installed.stdout
    where = there(
        "-c", "import pipelines, packaging; print(pipelines.__file__, packaging.__file__)"
    )
    assert where.stdout.count(str(tmp_path / "venv")) == 2, where.stdout
    answers = tmp_path / "answers.jsonl"
    predicted = there(bundle / "predict.py", corpus["unlabelled"], answers)
    assert predicted.returncode == 0, predicted.stderr
    # The run itself predicted with its merged model; the bundle merges the adapter again, which
    # rounds the weights otherwise.
    expected = read_predictions(smoke_run / "predictions" / "test.jsonl")
    for own, other in zip(read_predictions(answers), expected, strict=True):
        assert (own.id, own.spans) == (other.id, other.spans)
        scores = [[span.score for span in answer.spans] for answer in (own, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)


@pytest.mark.extensive
@pytest.mark.slow
def test_a_damaged_bundle_is_not_installed(bundle, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    with open(copy / "base_model" / "model.safetensors", "ab") as f:
        f.write(b"x")
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"python": "3.99"}))
    done = subprocess.run([sys.executable, copy / "install.py"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "base_model/model.safetensors: not the file of the manifest" in done.stderr
    assert "the bundle is for 3.99" in done.stderr
