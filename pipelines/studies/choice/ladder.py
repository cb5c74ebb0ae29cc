"""The rungs of a ladder, the cheapest first: which recipe trains each, with which options."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from pipelines.errors import UserError
from pipelines.examples import Fields, JsonObject
from pipelines.formatting import some
from pipelines.studies.ablation.variants import as_text

# In options, these stand for the folder of the model that was trained before, the file of
# unlabelled texts, and the folders of the runs that teach.
BEFORE, UNLABELLED, TEACHERS = "{before}", "{unlabelled}", "{teachers}"


@dataclass(frozen=True)
class Recipe:
    """A recipe with its options.

    Attributes:
        script: its file.
        config: its config file; None for its own default.
        options: further ones.
    """

    script: Path
    config: Path | None = None
    options: JsonObject = field(default_factory=dict)

    def words(self, **more: object) -> list[str]:
        """The command line that trains it."""
        words = [sys.executable, str(self.script)]
        if self.config:
            words += ["--config", str(self.config)]
        for name, value in {**self.options, **more}.items():
            values = value if isinstance(value, list) else [value]
            words += [f"--{name}", *map(as_text, values)]
        return words


@dataclass(frozen=True)
class Rung:
    """A model of the ladder.

    Attributes:
        name: how it is called on the command line and in folders.
        title: in words.
        recipe: trains it; None for votes.
        before: trains the model that it starts from; its folder stands where the options say
            `{before}`.
        votes: how many of the best rungs so far vote; 0 for a model of its own.
        teachers: how many of the best rungs before this one teach it; their folders stand where the
            options say `{teachers}`.
        cheap: whether it needs seconds, so that several may run side by side.
        is_llm: whether `--llms` replaces it.
    """

    name: str
    title: str
    recipe: Recipe | None = None
    before: Recipe | None = None
    votes: int = 0
    teachers: int = 0
    cheap: bool = False
    is_llm: bool = False

    def has_fixed_steps(self) -> bool:
        """Whether training takes as many steps on any data."""
        return bool(self.recipe and self.recipe.options.get("max_steps", -1) > 0)

    def reads_unlabelled(self) -> bool:
        """Whether it, or what it starts from, reads the unlabelled texts."""
        recipes = [recipe for recipe in (self.recipe, self.before) if recipe]
        return any(UNLABELLED in recipe.options.values() for recipe in recipes)

    def digest(self) -> str:
        """A hash of what decides its result: runs with the same one are the same rung's."""
        parts: list[object] = [self.votes, self.teachers] if self.teachers else [self.votes]
        for recipe in (self.recipe, self.before):
            if recipe:
                config = recipe.config.read_text(encoding="utf-8") if recipe.config else ""
                parts += [recipe.script.name, config, recipe.options]
        text = json.dumps(parts, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()


def read_ladder(
    file: Path, *, recipes: Path, names: Sequence[str] = (), llms: Sequence[str] = (), gpu: bool
) -> list[Rung]:
    """Reads the rungs of a ladder.

    Args:
        file: YAML, see `recipes/ladders/mentions.yaml`.
        recipes: the folder of the recipes.
        names: of the rungs to take; none for all. The first rung, with which others are compared,
            always stays.
        llms: models that take the place of the ladder's own language model.
        gpu: whether to take the configs for a GPU.

    Raises:
        UserError: for a file that holds no ladder, and for a name that is not in it.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; wanted a ladder, as in recipes/ladders/") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or not content:
        raise UserError(f"{file}: wanted a mapping from the name of each rung to its recipe")
    rungs: list[Rung] = []
    for name, entry in content.items():
        rungs += _with_llms(_rung(str(name), entry, file, recipes, gpu=gpu), llms)
    repeated = [name for name, number in Counter(rung.name for rung in rungs).items() if number > 1]
    if repeated:
        raise UserError(f"--llms: got {some(repeated)} twice; name each model once")
    unknown = [name for name in names if name not in {rung.name for rung in rungs}]
    if unknown:
        known = [rung.name for rung in rungs]
        near = difflib.get_close_matches(unknown[0], known, n=1)
        wanted = f"did you mean {near[0]}?" if near else f"wanted some of {', '.join(known)}"
        raise UserError(f"--rungs: there is no rung {some(unknown)}; {wanted}")
    return [rung for rung in rungs if not names or rung.name in names or rung is rungs[0]]


def _rung(name: str, entry: object, file: Path, recipes: Path, *, gpu: bool) -> Rung:
    known = {"title", "recipe", "config", "gpu_config", "options", "before", "votes", "teachers"}
    known |= {"cheap", "llm"}
    if not re.fullmatch(r"\w[\w.-]*", name) or not isinstance(entry, dict):
        raise UserError(f"{file}: {name}: wanted a plain name with title, recipe and options")
    unknown = sorted(entry.keys() - known)
    if unknown:
        raise UserError(
            f"{file}: {name}: got {some(unknown)}; known are {', '.join(sorted(known))}"
        )
    if bool(entry.get("recipe")) == bool(entry.get("votes")):
        raise UserError(f"{file}: {name}: wanted either a recipe or a number of votes")
    before = entry.get("before")
    return Rung(
        name,
        str(entry.get("title", name)),
        recipe=_recipe(entry, file, recipes, gpu=gpu) if "recipe" in entry else None,
        before=_recipe(before, file, recipes, gpu=gpu) if before else None,
        votes=int(entry.get("votes", 0)),
        teachers=int(entry.get("teachers", 0)),
        cheap=bool(entry.get("cheap", False)),
        is_llm=bool(entry.get("llm", False)),
    )


def _recipe(entry: Fields, file: Path, recipes: Path, *, gpu: bool) -> Recipe:
    """A recipe by its name, or by a path from the ladder's folder; its config likewise."""
    name = str(entry["recipe"])
    script = file.parent / name if name.endswith(".py") else recipes / f"{name}.py"
    config_name = entry.get("gpu_config" if gpu and "gpu_config" in entry else "config")
    config = None
    if config_name:
        own = recipes / "configs" / str(config_name)
        config = own if own.is_file() else file.parent / str(config_name)
    missing = [path for path in (script, config) if path and not path.is_file()]
    if missing:
        raise UserError(f"{file}: {missing[0]}: no such file")
    return Recipe(script.resolve(), config, dict(entry.get("options", {})))


def _with_llms(rung: Rung, llms: Sequence[str]) -> Iterator[Rung]:
    """The rung itself, or one for each model that takes its place."""
    if not (rung.is_llm and llms and rung.recipe):
        yield rung
        return
    for model in llms:
        options = {**rung.recipe.options, "model_name_or_path": model}
        slug = re.sub(r"[^\w.-]+", "-", model).strip("-")
        yield replace(
            rung,
            name=f"{rung.name}-{slug}",
            title=f"{rung.title}: {model}",
            recipe=replace(rung.recipe, options=options),
        )
