"""Search over the options of a recipe: `--search`, trials through Optuna, and importance."""

from __future__ import annotations

import contextlib
import copy
import itertools
import logging
import os
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from pipelines.errors import UserError
from pipelines.examples import Fields, JsonObject
from pipelines.formatting import text_table
from pipelines.runs.arguments import ClassArguments, RunTrainingArguments, SearchArguments
from pipelines.runs.run import Run

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

logger = logging.getLogger(__name__)
Options = TypeVar("Options", bound=SearchArguments)
Training = TypeVar("Training", bound=RunTrainingArguments)
MIN_TRIALS_FOR_IMPORTANCE = 4
SAMPLERS = ("tpe", "grid")
VALUES_SHOWN = 6  # of an option, in the text


class Range(NamedTuple):
    """Numbers from low to high, sampled uniformly, or uniformly on a logarithmic scale."""

    low: float
    high: float
    is_integer: bool
    is_logarithmic: bool


Choice = str | float | bool | None
Values = Range | tuple[Choice, ...]
Space = Mapping[str, Values]


# Options that decide what a trial is compared with, or that are read before the first trial.
_READ_BEFORE = {field.name for cls in (ClassArguments, SearchArguments) for field in fields(cls)}
_COMPARED_BY = {"metric_for_best_model", "greater_is_better", "eval_strategy"}
_OF_THE_RUN = {"output_dir", "resume_from_checkpoint", "models", "members", "disable_tqdm"}
_OF_THE_RUN |= {"load_best_model_at_end", "save_strategy", "save_total_limit"}
# Checkpoints are compared by greedy answers, whatever their scores.
_OF_THE_RUN |= {"samples", "temperature", "calibrate"}
NOT_SEARCHED = _READ_BEFORE | _COMPARED_BY | _OF_THE_RUN | {"network", "model_name_or_path"}


def parse_space(arguments: Sequence[str], options: Sequence[DataclassInstance]) -> Space:
    """Reads `name=a,b,c` (choices) and `name=low:high` (a range).

    A range that spans a factor of ten is logarithmic.

    Args:
        options: instances of the recipe's dataclasses; a value is read as its field's type.

    Raises:
        UserError: for an unknown option, or a value that is not of its type, all of them at once.
    """
    types: JsonObject = {}
    for group in options:
        hints = typing.get_type_hints(type(group))
        types |= {field.name: hints[field.name] for field in fields(group)}
    space: dict[str, Values] = {}
    faults = []
    for argument in arguments:
        name, _, values = argument.partition("=")
        if name not in types:
            faults.append(f"{argument!r}: there is no option {name!r}")
        elif name in NOT_SEARCHED:
            faults.append(f"{argument!r}: --{name} is the same in all trials of a search")
        elif not values:
            faults.append(f"{argument!r}: no values")
        else:
            try:
                space[name] = _parse_values(values, types[name])
            except ValueError as error:
                faults.append(f"{argument!r}: {error}")
    if faults:
        raise UserError(f"--search: {'; '.join(faults)}; wanted name=a,b,c or name=low:high")
    return space


def _parse_values(text: str, hint: object) -> Values:
    types = [type_ for type_ in (typing.get_args(hint) or (hint,)) if type_ is not type(None)]
    low, colon, high = text.partition(":")
    if not colon or not {int, float} & set(types):
        return tuple(_parse_value(value, types) for value in text.split(","))
    ends = float(low), float(high)
    if not ends[0] < ends[1]:
        raise ValueError("the low end is not below the high one")
    is_logarithmic = ends[0] > 0 and ends[1] >= 10 * ends[0]
    return Range(*ends, is_integer=float not in types, is_logarithmic=is_logarithmic)


def _parse_value(text: str, types: Sequence[object]) -> Choice:
    if bool in types:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{text!r} is neither true nor false")
        return text.lower() == "true"
    for number in (int, float):
        if number in types:
            with contextlib.suppress(ValueError):
                return number(text)
    if str not in types:
        raise ValueError(f"{text!r} is no number")
    return text


def search_options(
    score: Callable[..., float],
    options: Options,
    training: Training,
    run: Run,
    *,
    metric: str,
    check: Callable[..., object] | None = None,
) -> tuple[Options, Training]:
    """Tries the options of `--search` and returns both dataclasses with the best ones.

    See `search_groups`.
    """
    found = search_groups(score, (options, training), run, metric=metric, check=check)
    return cast("tuple[Options, Training]", found)


def search_groups(
    score: Callable[..., float],
    groups: tuple[DataclassInstance, ...],
    run: Run,
    *,
    metric: str,
    check: Callable[..., object] | None = None,
) -> tuple[DataclassInstance, ...]:
    """Tries the options of `--search` and returns the dataclasses with the best ones.

    Trials are kept in the run's `search.db`, from which an interrupted search goes on, and the
    result in its `search.json`.

    Args:
        score: what a trial with these dataclasses reaches on dev; more is better.
        groups: the recipe's own options, the trainer's, and others.
        metric: its name in the log.
        check: raises `UserError` for options that no trial could follow; it sees every choice
            before the first trial.

    Raises:
        UserError: for options that cannot be searched, or in one of several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("--search trains in one process; start it without accelerate or torchrun")
    options, training = cast("tuple[SearchArguments, RunTrainingArguments]", groups[:2])
    names = [{field.name for field in fields(group)} for group in groups]

    def with_values(values: Mapping[str, Choice]) -> tuple[DataclassInstance, ...]:
        trial = tuple(map(copy.copy, groups))
        for name, value in values.items():
            owner = next(index for index, own in enumerate(names) if name in own)
            setattr(trial[owner], name, value)
        return trial

    def objective(values: Mapping[str, Choice]) -> float:
        trial = with_values(values)
        # A trial keeps no checkpoints, draws no bar, and is in no tracker: its result is logged.
        quiet = {"save_strategy": "no", "load_best_model_at_end": False, "disable_tqdm": True}
        quiet["report_to"] = []
        for name, value in (quiet | {"resume_from_checkpoint": None}).items():
            setattr(trial[1], name, value)
        reached = score(*trial)
        logger.info("%s on dev %.4f  %s", metric, reached, dict(values))
        return reached

    space = parse_space(options.search or [], groups)
    if check is not None:
        for name, value in _choices(space):
            check(*with_values({name: value}))
    result = search(
        space,
        objective,
        trials=options.search_trials,
        sampler=options.search_sampler,
        seed=training.seed,
        storage=run.folder / "search.db",
    )
    run.write_json("search.json", result)
    logger.info("\n%s\n", search_as_text(result))
    return with_values(result["best"])


def _choices(space: Space) -> Iterator[tuple[str, Choice]]:
    for name, values in space.items():
        if not isinstance(values, Range):
            yield from ((name, value) for value in values)


def search(
    space: Space,
    objective: Callable[[JsonObject], float],
    *,
    trials: int = 20,
    sampler: str = "tpe",
    seed: int = 0,
    storage: str | Path | None = None,
) -> JsonObject:
    """Searches for the options with the greatest score.

    Args:
        objective: from options to their score.
        sampler: `tpe` (Bergstra et al. 2011), or `grid`: every combination of choices, whatever
            `trials` says.
        storage: a file that keeps the trials, from which the same search resumes.

    Returns:
        `best` options, their `score`, all `trials`, and `importance`: the share of each option in
        the variance of the scores (fANOVA, Hutter et al. 2014); empty for too few trials or equal
        scores.

    Raises:
        UserError: for a grid over a range.
    """
    import optuna

    # A trial that fails ends the search with its error; Optuna would log its traceback before.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ranges = [name for name, values in space.items() if isinstance(values, Range)]
    if sampler == "grid" and ranges:
        raise UserError(
            f"--search_sampler grid wants choices, as name=a,b,c, for {', '.join(ranges)}; or "
            "take tpe"
        )
    study = optuna.create_study(
        direction="maximize",
        study_name="search",
        load_if_exists=True,
        storage=f"sqlite:///{storage}" if storage else None,
    )
    done = len(_finished(study))
    if sampler == "grid":
        trials = done + _enqueue_grid(study, space)
    else:
        # A resumed search must not draw again what it drew first.
        study.sampler = optuna.samplers.TPESampler(seed=seed + done)

    def run_trial(trial: Trial) -> float:
        return objective({name: _suggest(trial, name, values) for name, values in space.items()})

    study.optimize(run_trial, n_trials=max(0, trials - done))
    results = [{"options": trial.params, "score": trial.value} for trial in _finished(study)]
    return {
        "best": study.best_params,
        "score": study.best_value,
        "importance": _importance(study, seed),
        "trials": results,
    }


def _enqueue_grid(study: Study, space: Space) -> int:
    """Puts every combination of choices that has no score in the queue; returns how many.

    Optuna's own sampler of grids would leave out the combination whose trial was interrupted.
    """
    from optuna.trial import TrialState

    scored = [trial.params for trial in _finished(study)]
    waiting = study.get_trials(states=[TrialState.WAITING])
    queued = [trial.system_attrs["fixed_params"] for trial in waiting]
    combinations = [
        dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())
    ]
    missing = [combination for combination in combinations if combination not in scored]
    for combination in missing:
        if combination not in queued:
            study.enqueue_trial(combination)
    return len(missing)


def _finished(study: Study) -> list[FrozenTrial]:
    return [trial for trial in study.trials if trial.value is not None]


def _importance(study: Study, seed: int) -> dict[str, float]:
    import optuna

    scores = [trial.value for trial in _finished(study)]
    if len(scores) < MIN_TRIALS_FOR_IMPORTANCE or len(set(scores)) == 1:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    with contextlib.suppress(RuntimeError, ValueError):
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
    return {}


def _suggest(trial: Trial, name: str, values: Values) -> Choice:
    if not isinstance(values, Range):
        return trial.suggest_categorical(name, list(values))
    if values.is_integer:
        return trial.suggest_int(name, int(values.low), int(values.high), log=values.is_logarithmic)
    return trial.suggest_float(name, values.low, values.high, log=values.is_logarithmic)


def search_as_text(result: Fields, *, most: int = 10) -> str:
    """The best trials, the importance of each option, and the best score with each of its values.

    Args:
        result: as `search` returns it.
        most: trials shown.
    """
    names = list(result["best"])
    importance = result["importance"]
    best_first = sorted(result["trials"], key=lambda trial: -trial["score"])
    rows = []
    for trial in best_first[:most]:
        rows.append([f"{trial['score']:.4f}", *(_number(trial["options"][name]) for name in names)])
    lines = text_table(["score", *names], rows)
    lines += [
        "",
        f"{len(best_first)} trials; importance (share of the variance of the scores), and best "
        "score by value:",
    ]
    for name in sorted(names, key=lambda name: -importance.get(name, 0.0)):
        best: dict[str, float] = {}
        for trial in best_first:
            best.setdefault(_number(trial["options"][name]), trial["score"])
        share = f"{importance[name]:.0%}" if name in importance else "–"
        values = ", ".join(
            f"{value} {score:.4f}" for value, score in list(best.items())[:VALUES_SHOWN]
        )
        lines.append(f"{share:>5}  {name}: {values}")
    return "\n".join(lines)


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
