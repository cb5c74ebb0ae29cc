"""Searching the options of a recipe: what `--search` says, trials through Optuna, and a table of what mattered."""

from __future__ import annotations

import contextlib
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.errors import UserError


class Range(NamedTuple):
    """Numbers from low to high, evenly spread, or evenly over their logarithm."""

    low: float
    high: float
    whole: bool
    logarithmic: bool


Space = Mapping[str, Range | tuple[Any, ...]]


def parse_space(written: Sequence[str], options: Sequence[Any]) -> Space:
    """Reads ``name=a,b,c`` (choices) and ``name=low:high`` (a range, logarithmic where it spans a factor of ten).

    Args:
        options: instances of the recipe's dataclasses; a value is read as its field's type.

    Raises:
        UserError: for an option that there is not, or a value that is not of its type, all of them at once.
    """
    types = {name: hint for group in options for name, hint in typing.get_type_hints(type(group)).items()
             if name in {field.name for field in fields(group)}}
    space: dict[str, Range | tuple[Any, ...]] = {}
    faults = []
    for part in written:
        name, equals, values = part.partition("=")
        if name not in types or not equals or not values:
            faults.append(f"{part!r}: " + ("no values" if name in types else f"there is no option {name!r}"))
            continue
        try:
            space[name] = _values(values, types[name])
        except ValueError as error:
            faults.append(f"{part!r}: {error}")
    if faults:
        raise UserError(f"--search: {'; '.join(faults)}; wanted name=a,b,c or name=low:high")
    return space


def _values(written: str, hint: Any) -> Range | tuple[Any, ...]:
    kinds = [kind for kind in (typing.get_args(hint) or (hint,)) if kind is not type(None)]
    low, colon, high = written.partition(":")
    if colon and (int in kinds or float in kinds):
        ends = float(low), float(high)
        if not ends[0] < ends[1]:
            raise ValueError("the low end is not below the high one")
        return Range(*ends, float not in kinds, ends[0] > 0 and ends[1] >= 10 * ends[0])
    return tuple(_value(value, kinds) for value in written.split(","))


def _value(written: str, kinds: Sequence[Any]) -> Any:
    if bool in kinds:
        if written.lower() not in ("true", "false"):
            raise ValueError(f"{written!r} is neither true nor false")
        return written.lower() == "true"
    for kind in (int, float):
        if kind in kinds:
            with contextlib.suppress(ValueError):
                return kind(written)
    if str not in kinds:
        raise ValueError(f"{written!r} is no number")
    return written


def search(space: Space, objective: Callable[[dict[str, Any]], float], *, trials: int = 20, sampler: str = "tpe",
           seed: int = 0, storage: str | Path | None = None) -> dict[str, Any]:
    """Looks for the options of the greatest score.

    Args:
        objective: from options to their score.
        sampler: `tpe` (Bergstra et al. 2011), or `grid`: every combination of choices, whatever `trials` says.
        storage: a file in which trials are kept: the same search goes on where it was stopped.

    Returns:
        `best` options, their `score`, all `trials`, and `importance`: for each option its share in how much the scores
        differ (fANOVA, Hutter et al. 2014); empty where there are too few trials, or scores do not differ.

    Raises:
        UserError: for a grid over a range.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ranges = [name for name, values in space.items() if isinstance(values, Range)]
    if sampler == "grid" and ranges:
        raise UserError(f"--search_sampler grid wants choices, as name=a,b,c, for {', '.join(ranges)}; or take tpe")
    grid = {name: list(values) for name, values in space.items()}
    count = math.prod(map(len, grid.values())) if sampler == "grid" else trials
    study = optuna.create_study(direction="maximize", study_name="search", load_if_exists=True,
                                storage=f"sqlite:///{storage}" if storage else None)
    done = sum(trial.value is not None for trial in study.trials)
    # A search that goes on must not draw once more what it drew first.
    study.sampler = (optuna.samplers.GridSampler(grid, seed=seed) if sampler == "grid" else
                     optuna.samplers.TPESampler(seed=seed + done))
    study.optimize(lambda trial: objective({name: _suggest(trial, name, values) for name, values in space.items()}),
                   n_trials=max(0, count - done))
    finished = [trial for trial in study.trials if trial.value is not None]
    importance: dict[str, float] = {}
    if len(finished) > 3 and len({trial.value for trial in finished}) > 1:
        with contextlib.suppress(RuntimeError, ValueError):
            importance = optuna.importance.get_param_importances(
                study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=seed))
    return {"best": study.best_params, "score": study.best_value, "importance": importance,
            "trials": [{"options": trial.params, "score": trial.value} for trial in finished]}


def _suggest(trial: Any, name: str, values: Range | tuple[Any, ...]) -> Any:
    if not isinstance(values, Range):
        return trial.suggest_categorical(name, list(values))
    suggest = trial.suggest_int if values.whole else trial.suggest_float
    ends = (int(values.low), int(values.high)) if values.whole else (values.low, values.high)
    return suggest(name, *ends, log=values.logarithmic)


def search_as_text(found: Mapping[str, Any], *, shown: int = 10) -> str:
    """The best trials, and what mattered: each option's share, and the best score that each of its values reached."""
    names = list(found["best"])
    best = sorted(found["trials"], key=lambda trial: -trial["score"])
    rows = [["score", *names], *([f"{trial['score']:.4f}", *(_written(trial["options"][name]) for name in names)]
                                 for trial in best[:shown])]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    lines += ["", f"{len(best)} trials; what mattered (share of the differences between scores), and the best score by "
                  "value:"]
    for name in sorted(names, key=lambda name: -found["importance"].get(name, 0.0)):
        reached: dict[str, float] = {}
        for trial in best:
            reached.setdefault(_written(trial["options"][name]), trial["score"])
        share = f"{found['importance'][name]:.0%}" if name in found["importance"] else "–"
        values = ", ".join(f"{value} {score:.4f}" for value, score in list(reached.items())[:6])
        lines.append(f"{share:>5}  {name}: {values}")
    return "\n".join(lines)


def _written(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
