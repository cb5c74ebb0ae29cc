"""A grid of heads shared through an Optuna study: several machines take stacks from it, and a killed one goes on.

A study belongs to one grid on one set of features, so that its distributions never change; what another grid on the
same features has found already is taken over from its study.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import platform
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from pipelines.errors import UserError
from pipelines.families.frozen_head import Point
from pipelines.families.frozen_head.head_search import STACK, SearchData, stacks, train_and_score

GIVEN_UP_SECONDS = 30 * 60.0  # a stack takes a minute or two: who holds one longer is gone
UNSIGNED_SECONDS = 20.0  # who takes a point signs it at once: who has not by now was killed in between
WAIT_SECONDS = 2.0
ATTEMPTS, ATTEMPT_SECONDS = 5, 30.0
QUEUED = {"point": True}  # tells a point that was queued from one that Optuna made up because the queue was empty


def search_study(data: SearchData, points: Sequence[Point], *, storage: str, progress: bool = True,
                 told: Callable[[str], object] = print) -> list[dict[str, Any]]:
    """Trains and scores all points, together with all others who search the same in this storage.

    What a process held when it was killed is given out again: at once by others on its machine, who see that it is
    gone, and after half an hour by those elsewhere.

    Args:
        storage: as SQLAlchemy takes it: ``sqlite:///heads.db``, ``postgresql://user@host/database``.

    Returns:
        The rows in the order of the points, whoever trained them.

    Raises:
        UserError: when the storage cannot be had.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    wanted = {_name(asdict(point)): point for point in points}
    distributions: dict[str, BaseDistribution] = {name: CategoricalDistribution(
        sorted({getattr(point, name) for point in points}, key=str)) for name in Point.__slots__}
    if importlib.util.find_spec("psycopg") is None:
        # From SQLAlchemy 2.1 on, this alone would mean psycopg 3; what is installed for us is psycopg2.
        storage = storage.replace("postgresql://", "postgresql+psycopg2://", 1)
    same_data = f"heads-{data.key()}-"
    grid = hashlib.sha256("".join(sorted(wanted)).encode()).hexdigest()[:8]
    study = _create(same_data + grid, storage, data.seed)
    for other in optuna.get_all_study_names(storage):
        if other.startswith(same_data) and other != study.study_name:
            _take_over(study, optuna.load_study(study_name=other, storage=storage), distributions, wanted)
    _give_up_held(study, {})
    for point in points:
        study.enqueue_trial(asdict(point), user_attrs=QUEUED, skip_if_exists=True)
    told(f"study {study.study_name}: {len(_rows(study, wanted))} of {len(points)} points are there already")
    mine, waited = 0, False
    first_seen: dict[int, float] = {}
    while len(_rows(study, wanted)) < len(points):
        taken = _take(study, distributions, wanted)
        for stack in stacks(sorted((point for _, point in taken), key=lambda p: (p.pooling, p.hidden_layer))):
            rows = train_and_score(data, stack, progress=progress)
            mine += len(stack)
            for trial, point in taken:
                if point in stack:
                    _tell(study, trial, distributions, rows[stack.index(point)], data.objective)
        if taken or _queue_lost(study, points):
            continue
        held = Counter(map(_holder, study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))))
        if held and not waited:
            told(f"waiting for {held.total()} points that {', '.join(held)} holds")
        waited = True
        time.sleep(WAIT_SECONDS)
        _give_up_held(study, first_seen)
    told(f"study {study.study_name}: {mine} of {len(points)} points trained here, the others elsewhere or before")
    rows_by_name = _rows(study, wanted)
    return [rows_by_name[_name(asdict(point))] for point in points]


def _create(name: str, storage: str, seed: int) -> optuna.Study:
    """The study, made where it is not there yet."""
    start = time.monotonic()
    for attempt in range(ATTEMPTS):
        try:
            return optuna.create_study(study_name=name, storage=storage, direction="maximize",
                                       sampler=optuna.samplers.RandomSampler(seed=seed), load_if_exists=True)
        except (SQLAlchemyError, StorageInternalError, ImportError, ValueError) as error:
            # Of two who make the tables of a new database at once, one fails, and finds them there a moment later.
            # A server that does not answer is no such thing, and asked once.
            if attempt + 1 < ATTEMPTS and time.monotonic() - start < ATTEMPT_SECONDS and isinstance(
                    error, SQLAlchemyError | StorageInternalError):
                time.sleep(0.1 * 2 ** attempt)
                continue
            raise UserError(f"--study {storage}: {str(error).strip().splitlines()[0]}; wanted a database such as "
                            "sqlite:///heads.db, or postgresql://user@host/database with its driver installed"
                            ) from error
    raise AssertionError("the last attempt returns or raises")


def _take_over(study: optuna.Study, other: optuna.Study, distributions: dict[str, BaseDistribution],
               wanted: dict[str, Point]) -> None:
    there = _rows(study, wanted)
    for trial in other.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if (name := _name(trial.params)) in wanted and name not in there:
            _add(study, distributions, trial.user_attrs["row"], trial.value)


def _add(study: optuna.Study, distributions: dict[str, BaseDistribution], row: dict[str, Any],
         value: float | None) -> None:
    study.add_trial(optuna.trial.create_trial(params={name: row[name] for name in distributions}, value=value,
                                              distributions=distributions, user_attrs=QUEUED | {"row": row}))


def _take(study: optuna.Study, distributions: dict[str, BaseDistribution],
          wanted: dict[str, Point]) -> list[tuple[optuna.Trial, Point]]:
    """Points that nobody else has or had: those of one shape in a row, a stack at most."""
    taken: list[tuple[optuna.Trial, Point]] = []
    trials = study.get_trials(deepcopy=False)
    # Two who start at once may both queue a point.
    known = {_name(trial.params) for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.RUNNING)}
    for _ in [trial for trial in trials if trial.state == TrialState.WAITING][:STACK // 4]:
        trial = study.ask(distributions)
        name = _name(trial.params)
        if "point" not in trial.user_attrs:
            study.tell(trial, state=TrialState.FAIL)  # the last waiting one was gone, and this one is made up
            break
        if name in known:
            study.tell(trial, state=TrialState.FAIL)
            continue
        trial.set_user_attr("holder", {"node": platform.node(), "pid": os.getpid(), "since": time.time()})
        known.add(name)
        taken.append((trial, wanted[name]))
    return taken


def _tell(study: optuna.Study, trial: optuna.Trial, distributions: dict[str, BaseDistribution], row: dict[str, Any],
          objective: str) -> None:
    try:
        trial.set_user_attr("row", row)
        study.tell(trial, row[objective])
    except (ValueError, RuntimeError):
        # It took so long that another one gave it up. The row is as good as any.
        _add(study, distributions, row, row[objective])


def _give_up_held(study: optuna.Study, first_seen: dict[int, float]) -> None:
    """Ends what killed processes of this machine held, and what others have held too long; not while one holds some.

    Args:
        first_seen: when each running trial was first seen by this process, in monotonic seconds; new ones are added.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        seen_for = time.monotonic() - first_seen.setdefault(trial.number, time.monotonic())
        if _is_gone(trial, seen_for):
            with contextlib.suppress(ValueError, RuntimeError):  # another one was first
                study.tell(trial.number, state=TrialState.FAIL)


def _is_gone(trial: FrozenTrial, seen_for: float) -> bool:
    holder = trial.user_attrs.get("holder")
    if holder is None:  # seen_for, as Optuna's own start is in local time, which differs between machines
        return seen_for > UNSIGNED_SECONDS
    if holder["node"] == platform.node():
        if holder["pid"] == os.getpid():
            return True  # of an earlier process with this number
        try:
            os.kill(holder["pid"], 0)  # asks whether there is such a process
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # another user's
    return time.time() - holder["since"] > GIVEN_UP_SECONDS


def _holder(trial: FrozenTrial) -> str:
    holder = trial.user_attrs.get("holder")
    return f"process {holder['pid']} on {holder['node']}" if holder else "another process"


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
