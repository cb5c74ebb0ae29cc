"""Writes an offline bundle: collects its parts, lists them with hashes, gives them their name."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pipelines.bundling import contents, install_script, predict_script, wheels
from pipelines.bundling.readme import bundle_readme
from pipelines.bundling.targets import Target
from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.runs.provenance import sha256
from pipelines.runs.run import Run

logger = logging.getLogger(__name__)

MANIFEST = "manifest.json"
# Kaggle takes it away when it makes a data set of a folder.
KAGGLE = "dataset-metadata.json"
# Signs that a folder is the checkout of this project.
PROJECT = ("pyproject.toml", "constraints.txt", "pipelines/cli.py", "recipes")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a bundle is made of.

    Attributes:
        run: to predict with; None in a bundle to train with.
        recipe: to train with; None in a bundle to predict with.
        base: the folder of the base model; None where none is needed.
        base_name: its name.
    """

    run: Run | None = None
    recipe: str | None = None
    base: Path | None = None
    base_name: str | None = None

    def sizes(self) -> dict[str, int]:
        """Part -> its bytes, the wheels not counted."""
        sizes = {}
        if self.run is not None:
            sizes["run/model"] = contents.size_of(self.run.model_folder()[1])
        if self.base is not None:
            sizes[contents.BASE_MODEL] = contents.size_of(self.base, contents.is_model_file)
        return sizes


def parts_of(*, run: str | None, recipe: str | None, model: str | None) -> Parts:
    """Finds the parts of a bundle.

    Args:
        run: a run folder, or None.
        recipe: the name of a recipe, or None.
        model: the base model of the recipe; `none` for a recipe that takes none.

    Raises:
        UserError: for none or both of run and recipe, or a part that does not exist.
    """
    if (run is None) == (recipe is None):
        raise UserError(
            "bundle wants a run to predict with (--run), or a recipe to train with (--recipe)"
        )
    if run is not None:
        if model is not None:
            raise UserError("got --model_name_or_path with --run, which knows its own base model")
        opened = Run.open(run)
        name = contents.base_model_of(opened)
        return Parts(run=opened, base=contents.find_model(name) if name else None, base_name=name)
    known = sorted(path.stem for path in (project_folder() / "recipes").glob("*.py"))
    if recipe not in known:
        raise UserError(f"got --recipe {recipe}; wanted one of {', '.join(known)}")
    if model is None:
        raise UserError(
            f"--recipe {recipe} wants the base model that it is to train as --model_name_or_path, "
            "or `none` for a recipe that takes none"
        )
    if model == "none":
        return Parts(recipe=recipe)
    return Parts(recipe=recipe, base=contents.find_model(model), base_name=model)


def project_folder() -> Path:
    """The checkout that this package is imported from.

    Raises:
        UserError: where the package was installed without it.
    """
    folder = Path(__file__).resolve().parents[2]
    if not all((folder / sign).exists() for sign in PROJECT):
        raise UserError(
            f"bundle builds the project's wheel from its checkout, got {folder}; install the "
            "project by `pip install -e .` from its folder"
        )
    return folder


def check_folder(out: Path) -> None:
    """Checks that a bundle can be written: into a new folder, or instead of an earlier bundle.

    Raises:
        UserError: when the folder holds something else.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UserError(f"{out}: a file; wanted the name of a folder")
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    listed: set[str] = set()
    if {MANIFEST, "install.py"} <= there:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        listed = {MANIFEST, KAGGLE, *manifest["files"]}
    other = sorted(there - listed)
    if other:
        raise UserError(
            f"{out}: holds {other[0]}, which is not part of a bundle; choose another folder, or "
            "remove it"
        )


def write_offline_bundle(
    parts: Parts,
    out: Path,
    *,
    target: Target,
    without: Collection[str],
    extras: Collection[str] = (),
    kaggle_id: str | None = None,
) -> JsonObject:
    """Writes a bundle; the folder appears whole, or not at all.

    Args:
        parts: what goes in beside the wheels.
        out: the folder to write.
        target: the machine that it is for.
        without: packages that this machine has.
        extras: of the project, to be packed too.
        kaggle_id: `USER/NAME` of the Kaggle data set that it is to become.

    Returns:
        The manifest: target, requirements for the packages left out, and the files with their
        hashes.

    Raises:
        UserError: for a folder that holds something else, too little space, or missing wheels.
    """
    project = project_folder()
    target.check()
    check_folder(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    wanted, free = sum(parts.sizes().values()), shutil.disk_usage(out.parent).free
    if wanted > free:
        raise UserError(
            f"{out}: wanted {wanted / 1e9:.1f} GB beside the wheels, {free / 1e9:.1f} free"
        )
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        manifest = _fill(partial, parts, project, target, without, extras)
        (partial / "README.md").write_text(bundle_readme(out.name, manifest), encoding="utf-8")
        manifest["files"] = _listed(partial)
        _write_json(partial / MANIFEST, manifest)
        _write_json(partial / KAGGLE, kaggle_metadata(out.name, kaggle_id))
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _fill(
    folder: Path,
    parts: Parts,
    project: Path,
    target: Target,
    without: Collection[str],
    extras: Collection[str],
) -> JsonObject:
    """Writes all but the README and the manifest; returns the manifest without its files."""
    wheel_folder = folder / "wheels"
    wheel_folder.mkdir(parents=True)
    # First what can fail, then what takes time to copy.
    wheel = wheels.build_project_wheel(project, wheel_folder)
    pins = wheels.read_pins(project / "constraints.txt")
    needs = wheels.add_dependencies(wheel, target=target, pins=pins, without=without, extras=extras)
    requirements = wheels.requirements_with_hashes(wheel_folder)
    (folder / "requirements.txt").write_text(requirements, encoding="utf-8")
    shutil.copy(install_script.__file__, folder / "install.py")
    if parts.base is not None:
        contents.copy_base_model(parts.base, folder / contents.BASE_MODEL)
    if parts.run is not None:
        contents.copy_run(parts.run, folder / "run", with_base=parts.base is not None)
        shutil.copy(predict_script.__file__, folder / "predict.py")
    else:
        contents.copy_recipes(project, folder)
    return {
        "recipe": parts.recipe,
        "base_model": contents.without_paths(parts.base_name),
        "python": target.python,
        "platform": target.platform,
        "needs": needs,
    }


def _listed(folder: Path) -> JsonObject:
    """Name -> hash and size of each file below a folder."""
    return {
        path.relative_to(folder).as_posix(): {
            "sha256": sha256(path),
            "bytes": path.stat().st_size,
        }
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def kaggle_metadata(name: str, kaggle_id: str | None) -> JsonObject:
    """What `kaggle datasets create` wants to know of a folder.

    Titles have 6 to 50 characters.
    """
    slug = re.sub("[^a-z0-9]+", "-", name.lower()).strip("-")
    title = f"pipelines {slug}"[:50]
    return {
        "title": title,
        "id": kaggle_id or f"YOUR_NAME/{title.replace(' ', '-')}",
        "licenses": [{"name": "other"}],
    }


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
