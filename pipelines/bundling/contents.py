"""What a bundle holds beside the wheels: a run without this machine's paths, a recipe, a model."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.networks import weights
from pipelines.runs.run import Run

# What goes in of a base model; weights only as safetensors, never pickled.
MODEL_FILES = (".safetensors", ".json", ".jinja", ".txt", ".model")
BASE_MODEL = "base_model"
# Of a run in `run/model/`: where its base model lies.
BASE_OF_RUN = f"../../{BASE_MODEL}"
# Of the provenance: what a bundle keeps. Commands and data are named by this machine's paths.
PROVENANCE = ("recipe", "started", "commit", "python", "libraries", "precision", "reading")
PATHS_IN_JSON = ("name_or_path", "base_model")


def base_model_of(run: Run) -> str | None:
    """The name of the model that a run's own weights need; None where they are whole.

    Raises:
        UserError: for a run that has no model, or looks shots up with an encoder of another
            package.
    """
    _, folder = run.model_folder()
    settings_file = folder / "prompt.json"
    if not settings_file.is_file():
        return None
    settings = json.loads(settings_file.read_text(encoding="utf-8"))
    if settings.get("shots_by") == "minilm":
        raise UserError(
            f"{run.folder}: finds its shots by local:minilm, which a bundle does not hold; train "
            "it with --shots_by tfidf"
        )
    needs_base = settings.get("untrained") or (folder / "adapter_config.json").is_file()
    return str(settings["base_model"]) if needs_base else None


def find_model(name: str) -> Path:
    """The folder of a model; one of the Hub is downloaded into its cache.

    Raises:
        UserError: when it could not be downloaded, or holds no safetensors.
    """
    from huggingface_hub import snapshot_download

    resolved = weights.resolve(name)
    folder = Path(resolved)
    if not folder.is_dir():
        patterns = [f"*{ending}" for ending in MODEL_FILES]
        try:
            folder = Path(snapshot_download(resolved, allow_patterns=patterns))
        except (OSError, ValueError) as error:
            raise weights.unavailable(name, error) from error
    if not list(folder.glob("*.safetensors")):
        raise UserError(
            f"{folder}: no weights as safetensors; convert them by `from_pretrained` and "
            "`save_pretrained`, or choose another model"
        )
    return folder


def size_of(folder: Path, keep: Callable[[Path], bool] = lambda path: True) -> int:
    """Bytes of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and keep(path))


def is_model_file(path: Path) -> bool:
    """Whether a file of a base model goes into a bundle."""
    return path.suffix in MODEL_FILES


def copy_base_model(source: Path, folder: Path) -> None:
    """Copies the weights, the config and the tokenizer of a model."""
    folder.mkdir()
    for path in sorted(source.iterdir()):
        if path.is_file() and is_model_file(path):
            shutil.copy(path, folder / path.name)
            _remove_paths(folder / path.name)


def copy_run(run: Run, folder: Path, *, with_base: bool) -> None:
    """Copies what prediction needs of a run: its model, and how it read its files."""
    _, model = run.model_folder()
    copy = folder / "model"
    # peft's model card names the folder that the base model was loaded from.
    shutil.copytree(model, copy, ignore=shutil.ignore_patterns("README.md"))
    for path in sorted(copy.rglob("*.json")):
        _remove_paths(path)
    if with_base:
        settings = _read_object(copy / "prompt.json") | {"base_model": BASE_OF_RUN}
        _write_json(copy / "prompt.json", settings)
    config = without_paths(run.config())
    (folder / "config.yaml").write_text(
        yaml.safe_dump(config, sort_keys=True, allow_unicode=True), encoding="utf-8"
    )
    known = run.provenance()
    kept = {name: known[name] for name in PROVENANCE if name in known}
    _write_json(folder / "provenance.json", without_paths(kept))
    if run.is_finished():
        _write_json(folder / "report.json", without_paths(run.report()))


def copy_recipes(project: Path, folder: Path) -> None:
    """Copies the recipes with their configs, and the samples that they use without files."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(project / "recipes", folder / "recipes", ignore=ignored)
    shutil.copytree(project / "data" / "samples", folder / "data" / "samples", ignore=ignored)


def without_paths(value: Any) -> Any:
    """A JSON value with the last name only of each absolute path."""
    if isinstance(value, dict):
        return {without_paths(key): without_paths(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_paths(entry) for entry in value]
    if isinstance(value, str) and (os.path.isabs(value) or value.startswith("~/")):
        return Path(value).name
    return value


def _remove_paths(path: Path) -> None:
    """Shortens the paths by which a model's JSON files name where they were loaded from."""
    if path.suffix != ".json" or path.name == "tokenizer.json":
        return
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        return
    named = {name: entry for name, entry in content.items() if name.endswith(PATHS_IN_JSON)}
    shortened = without_paths(named)
    if shortened != named:
        _write_json(path, content | shortened)


def _read_object(path: Path) -> JsonObject:
    content: JsonObject = json.loads(path.read_text(encoding="utf-8"))
    return content


def _write_json(path: Path, content: object) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")
