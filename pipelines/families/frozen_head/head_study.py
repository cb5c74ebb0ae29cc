"""A grid of heads shared through an Optuna study, so that several machines take stacks from it.

A study belongs to one grid on one set of features, so that its distributions never change; results
of another grid on the same features are taken over from its study.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import logging
import os
import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.families.frozen_head import Point
from pipelines.families.frozen_head.head_search import (
    STACK,
    SearchData,
    shape_of,
    stacks,
    train_and_score,
)

# A stack takes a minute or two: a process that has held one for longer is dead.
GIVEN_UP_SECONDS = 30 * 60.0
# A process that takes a point signs it at once: one that has not by now was killed in between.
UNSIGNED_SECONDS = 20.0
WAIT_SECONDS = 2.0
ATTEMPTS, ATTEMPT_SECONDS = 5, 30.0
# Marks points that were queued; Optuna makes up others when the queue is empty.
QUEUED = {"point": True}
Distributions = dict[str, BaseDistribution]
logger = logging.getLogger(__name__)


def search_study(
    data: SearchData, points: Sequence[Point], *, storage: str, progress: bool = True
) -> list[dict[str, object]]:
    """Trains and scores all points, together with all other processes on the same study.

    Points that a killed process held are handed out again: at once by processes on its machine,
    which see that it is dead, and after half an hour by those elsewhere.

    Args:
        storage: as for SQLAlchemy: `sqlite:///heads.db`, `postgresql://user@host/database`.

    Returns:
        The rows in the order of the points, whichever process trained them.

    Raises:
        UserError: when the storage cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    points_by_name = {_name(asdict(point)): point for point in points}
    distributions = _distributions(points)
    study = _open(data, points_by_name, distributions, storage)
    for point in points:
        study.enqueue_trial(asdict(point), user_attrs=QUEUED, skip_if_exists=True)
    there = len(_rows(study, points_by_name))
    logger.info("study %s: %d of %d points are there already", study.study_name, there, len(points))
    mine, waited = 0, False
    first_seen: dict[int, float] = {}
    while len(_rows(study, points_by_name)) < len(points):
        taken = _take(study, distributions, points_by_name)
        for stack in stacks(sorted((point for _, point in taken), key=shape_of)):
            rows = train_and_score(data, stack, progress=progress)
            mine += len(stack)
            for trial, point in taken:
                if point in stack:
                    row = rows[stack.index(point)]
                    _finish(study, trial, distributions, row, data.objective)
        if taken or _queue_lost(study, points):
            continue
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        holders = Counter(map(_holder, running))
        if holders and not waited:
            logger.info("waiting for %d points of %s", holders.total(), ", ".join(holders))
        waited = True
        time.sleep(WAIT_SECONDS)
        _give_up_held(study, first_seen)
    logger.info(
        "study %s: %d of %d points trained here, the others elsewhere or before",
        study.study_name,
        mine,
        len(points),
    )
    rows_by_name = _rows(study, points_by_name)
    return [rows_by_name[_name(asdict(point))] for point in points]


def _distributions(points: Sequence[Point]) -> Distributions:
    choices: Distributions = {}
    for name in Point.__slots__:
        values = sorted({getattr(point, name) for point in points}, key=str)
        choices[name] = CategoricalDistribution(values)
    return choices


def _open(
    data: SearchData,
    points_by_name: Mapping[str, Point],
    distributions: Distributions,
    storage: str,
) -> optuna.Study:
    """The study of this grid on these features, with the results of other grids on them."""
    if importlib.util.find_spec("psycopg") is None:
        # From SQLAlchemy 2.1 on, this alone would mean psycopg 3; psycopg2 is what we install.
        storage = storage.replace("postgresql://", "postgresql+psycopg2://", 1)
    same_features = f"heads-{data.key()}-"
    grid = hashlib.sha256("".join(sorted(points_by_name)).encode()).hexdigest()[:8]
    study = _create(same_features + grid, storage, data.seed)
    for name in optuna.get_all_study_names(storage):
        if name.startswith(same_features) and name != study.study_name:
            other = optuna.load_study(study_name=name, storage=storage)
            _take_over(study, other, distributions, points_by_name)
    _give_up_held(study, {})
    return study


def _create(name: str, storage: str, seed: int) -> optuna.Study:
    """The study, made where it is not there yet."""
    start = time.monotonic()
    for attempt in range(ATTEMPTS):
        try:
            return optuna.create_study(
                study_name=name,
                storage=storage,
                direction="maximize",
                sampler=optuna.samplers.RandomSampler(seed=seed),
                load_if_exists=True,
            )
        except (SQLAlchemyError, StorageInternalError, ImportError, ValueError) as error:
            # Of two processes that make the tables of a new database at once, one fails, and finds
            # them there a moment later. A server that does not answer is asked only once.
            if (
                attempt + 1 < ATTEMPTS
                and time.monotonic() - start < ATTEMPT_SECONDS
                and isinstance(error, SQLAlchemyError | StorageInternalError)
            ):
                time.sleep(0.1 * 2**attempt)
                continue
            raise UserError(
                f"--study {storage}: {str(error).strip().splitlines()[0]}; wanted a database such "
                "as sqlite:///heads.db, or postgresql://user@host/database with its driver "
                "installed"
            ) from error
    raise AssertionError("the last attempt returns or raises")


def _take_over(
    study: optuna.Study,
    other: optuna.Study,
    distributions: Distributions,
    points_by_name: Mapping[str, Point],
) -> None:
    """Adds the results of another study for points that this one has not finished."""
    there = _rows(study, points_by_name)
    for trial in other.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        name = _name(trial.params)
        if name in points_by_name and name not in there:
            _add(study, distributions, trial.user_attrs["row"], trial.value)


def _add(
    study: optuna.Study,
    distributions: Distributions,
    row: dict[str, object],
    value: float | None,
) -> None:
    study.add_trial(
        optuna.trial.create_trial(
            params={name: row[name] for name in distributions},
            value=value,
            distributions=distributions,
            user_attrs=QUEUED | {"row": row},
        )
    )


def _take(
    study: optuna.Study, distributions: Distributions, points_by_name: Mapping[str, Point]
) -> list[tuple[optuna.Trial, Point]]:
    """Takes waiting points that no other process holds or has finished, a stack at most."""
    taken: list[tuple[optuna.Trial, Point]] = []
    trials = study.get_trials(deepcopy=False)
    # Two processes that start at once may both queue a point.
    known = {
        _name(trial.params)
        for trial in trials
        if trial.state in (TrialState.COMPLETE, TrialState.RUNNING)
    }
    waiting = sum(trial.state == TrialState.WAITING for trial in trials)
    for _ in range(min(waiting, STACK // 4)):
        trial = study.ask(distributions)
        name = _name(trial.params)
        if "point" not in trial.user_attrs:
            # The last waiting point was taken meanwhile, and Optuna made this one up.
            study.tell(trial, state=TrialState.FAIL)
            break
        if name in known:
            study.tell(trial, state=TrialState.FAIL)
            continue
        holder = {"node": platform.node(), "pid": os.getpid(), "since": time.time()}
        trial.set_user_attr("holder", holder)
        known.add(name)
        taken.append((trial, points_by_name[name]))
    return taken


def _finish(
    study: optuna.Study,
    trial: optuna.Trial,
    distributions: Distributions,
    row: JsonObject,
    objective: str,
) -> None:
    try:
        trial.set_user_attr("row", row)
        study.tell(trial, row[objective])
    except (ValueError, RuntimeError):
        # It took so long that another process gave it up. The row is still good.
        _add(study, distributions, row, row[objective])


def _give_up_held(study: optuna.Study, first_seen: dict[int, float]) -> None:
    """Fails the trials of dead processes, and those held for too long: they are queued again.

    Args:
        first_seen: when this process first saw each running trial, in monotonic seconds; trials
            that are new are added.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        seen_for = time.monotonic() - first_seen.setdefault(trial.number, time.monotonic())
        if _is_gone(trial, seen_for):
            with contextlib.suppress(ValueError, RuntimeError):  # another process was first
                study.tell(trial.number, state=TrialState.FAIL)


def _is_gone(trial: FrozenTrial, seen_for: float) -> bool:
    holder = trial.user_attrs.get("holder")
    if holder is None:
        # Optuna's own start time is local, and so differs between machines.
        return seen_for > UNSIGNED_SECONDS
    if holder["node"] == platform.node():
        if holder["pid"] == os.getpid():
            return True  # of an earlier process with this number
        try:
            os.kill(holder["pid"], 0)  # only checks whether the process exists
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # another user's
    return time.time() - holder["since"] > GIVEN_UP_SECONDS


def _holder(trial: FrozenTrial) -> str:
    holder = trial.user_attrs.get("holder")
    return f"process {holder['pid']} on {holder['node']}" if holder else "another process"


def _queue_lost(study: optuna.Study, points: Sequence[Point]) -> bool:
    """Queues unfinished points again once no process holds any; whether there were some."""
    if study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING)):
        return False
    done = _rows(study, {_name(asdict(point)): point for point in points})
    lost = [point for point in points if _name(asdict(point)) not in done]
    for point in lost:
        study.enqueue_trial(asdict(point), user_attrs=QUEUED)
    return bool(lost)


def _rows(study: optuna.Study, points_by_name: Mapping[str, Point]) -> dict[str, dict[str, object]]:
    """The rows of the finished points, by name."""
    rows = {}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        name = _name(trial.params)
        if name in points_by_name:
            rows[name] = trial.user_attrs["row"]
    return rows


def _name(values: dict[str, object]) -> str:
    return repr([values.get(name) for name in Point.__slots__])
