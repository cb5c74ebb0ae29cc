"""A grid of heads shared through an Optuna study: several machines take stacks from it, and a killed one goes on."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from pipelines.errors import UserError
from pipelines.families.frozen_head import Point
from pipelines.families.head_search import STACK, SearchData, stacks, train_and_score

GIVEN_UP = datetime.timedelta(minutes=30)  # a stack takes a minute or two: who holds one longer is gone
WAIT_SECONDS = 2.0
QUEUED = {"point": True}  # tells a point that was queued from one that Optuna made up because the queue was empty


def search_study(data: SearchData, points: Sequence[Point], *, storage: str, worker: str, progress: bool = True,
                 told: Callable[[str], object] = print) -> list[dict[str, Any]]:
    """Trains and scores all points, together with all others who search the same in this storage.

    Args:
        storage: as SQLAlchemy takes it: ``sqlite:///heads.db``, ``postgresql://user@host/database``.
        worker: name of this process; what it held when it was killed it takes up again at once. What another one has
            held for half an hour is given out again.

    Returns:
        The rows in the order of the points, whoever trained them.

    Raises:
        UserError: when the storage cannot be had.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(study_name=f"heads-{data.key()}", storage=storage, direction="maximize",
                                    sampler=optuna.samplers.RandomSampler(seed=data.seed), load_if_exists=True)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise UserError(f"--study {storage}: {str(error).strip().splitlines()[0]}; wanted a database such as "
                        "sqlite:///heads.db, or postgresql://user@host/database with its driver installed") from error
    wanted = {_name(asdict(point)): point for point in points}
    distributions = {name: optuna.distributions.CategoricalDistribution(
        sorted({getattr(point, name) for point in points}, key=str)) for name in Point.__slots__}
    _give_up_held(study, worker)
    for point in points:
        study.enqueue_trial(asdict(point), user_attrs=QUEUED, skip_if_exists=True)
    found = len(_rows(study, wanted))
    if found:
        told(f"{found} of {len(points)} points were in the study already")
    while len(_rows(study, wanted)) < len(points):
        taken = _take(study, distributions, wanted, worker)
        for stack in stacks(sorted((point for _, point in taken), key=lambda p: (p.pooling, p.hidden_layer))):
            rows = train_and_score(data, stack, progress=progress)
            for trial, point in taken:
                if point in stack:
                    row = rows[stack.index(point)]
                    trial.set_user_attr("row", row)
                    study.tell(trial, row[data.objective])
        if not taken and not _queue_lost(study, points):
            time.sleep(WAIT_SECONDS)  # others hold the last ones
            _give_up_held(study, worker)
    rows_by_name = _rows(study, wanted)
    return [rows_by_name[_name(asdict(point))] for point in points]


def _take(study: optuna.Study, distributions: dict[str, Any], wanted: dict[str, Point],
          worker: str) -> list[tuple[optuna.Trial, Point]]:
    """Points that nobody else has: those of one shape in a row, a stack at most."""
    taken: list[tuple[optuna.Trial, Point]] = []
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    for _ in waiting[:STACK // 4]:
        trial = study.ask()
        params = {name: trial.suggest_categorical(name, given.choices) for name, given in distributions.items()}
        if "point" not in trial.user_attrs or _name(params) not in wanted:
            study.tell(trial, state=TrialState.FAIL)  # the last waiting one was gone, and this one is made up
            break
        trial.set_user_attr("worker", worker)
        taken.append((trial, wanted[_name(params)]))
    return taken


def _give_up_held(study: optuna.Study, worker: str) -> None:
    """Ends what this worker held when it was killed, and what others have held too long."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        old = trial.datetime_start is not None and datetime.datetime.now() - trial.datetime_start > GIVEN_UP
        if trial.user_attrs.get("worker") == worker or old:
            with contextlib.suppress(ValueError, RuntimeError):  # another one was first
                study.tell(trial.number, state=TrialState.FAIL)


def _queue_lost(study: optuna.Study, points: Sequence[Point]) -> bool:
    """Queues again, once nobody has anything left, the points that were never finished; whether there are some."""
    if study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING)):
        return False
    done = _rows(study, {_name(asdict(point)): point for point in points})
    lost = [point for point in points if _name(asdict(point)) not in done]
    for point in lost:
        study.enqueue_trial(asdict(point), user_attrs=QUEUED)
    return bool(lost)


def _rows(study: optuna.Study, wanted: dict[str, Point]) -> dict[str, dict[str, Any]]:
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return {name: trial.user_attrs["row"] for trial in done if (name := _name(trial.params)) in wanted}


def _name(values: dict[str, Any]) -> str:
    return repr([values.get(name) for name in Point.__slots__])
