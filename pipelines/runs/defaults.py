"""Which options of a job differ from their defaults, and which of those its model does not read."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Set
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.runs.arguments import SearchArguments
from pipelines.runs.run import config_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# Of a trainer's options, those that matter to a model without a trainer.
READ_WITHOUT_TRAINER = {
    "seed",
    "output_dir",
    "resume_from_checkpoint",
    "disable_tqdm",
    "push_to_hub",
    "hub_model_id",
    "hub_private_repo",
    "hub_revision",
    "hub_token",
}
RESOLVED = {"greater_is_better"}  # follows from the metric
PLAIN = (str, int, float, bool, list, tuple, dict, type(None))


def changed_options(*groups: DataclassInstance) -> JsonObject:
    """The options that differ from the defaults of their dataclasses, without secrets.

    A trainer's dataclass resolves some fields when it is made. Those that go from one empty value
    or a word to another empty value (None to False, "auto" to None) and those that become objects
    are not counted as changed.

    Args:
        groups: the dataclasses of a job's options.
    """
    plain = config_of(*groups)
    changed = {}
    for group in groups:
        for field in dataclasses.fields(group):
            if field.name not in plain or field.name in RESOLVED:
                continue
            value, default = getattr(group, field.name), _default(field)
            is_empty = value is None or value is False or value in ("", [])
            is_resolved = is_empty and (not default or isinstance(default, str))
            if isinstance(value, PLAIN) and value != default and not is_resolved:
                changed[field.name] = plain[field.name]
    return changed


def refuse_unread(
    options: SearchArguments,
    training: DataclassInstance,
    *,
    network: str,
    reads: Set[str],
    shared: type,
    has_trainer: bool,
) -> None:
    """Refuses options that were set, or are to be searched, and that a network does not read.

    Args:
        options: of the recipe.
        training: the trainer's.
        reads: the recipe's options that the network reads.
        shared: the dataclass whose options every network of the recipe reads.
        has_trainer: whether it reads the trainer's options as well; without a trainer, it reads
            `READ_WITHOUT_TRAINER`.

    Raises:
        UserError: naming them; for a network without a trainer in one of several processes.
    """
    if not has_trainer:
        refuse_processes(f"--network {network}")
    searched = set(options.searched())
    if "network" in searched:
        raise UserError(
            "got --search network=…; train one run for each network, and compare them by "
            "`pipelines compare`"
        )
    own = _names(type(options)) - _names(shared) - _names(SearchArguments) - {"network"}
    unread = (changed_options(options).keys() | searched) & own - reads
    if not has_trainer:
        default = config_of(type(training)())
        changed = {
            name for name, value in config_of(training).items() if value != default.get(name)
        }
        decides = {"metric_for_best_model"} if searched else set()
        unread |= (changed | searched & default.keys()) - READ_WITHOUT_TRAINER - decides
    if unread:
        listed = ", ".join(f"--{name}" for name in sorted(unread))
        raise UserError(f"--network {network} does not read {listed}; leave it out")


def refuse_processes(what: str) -> None:
    """Refuses what would be done by each of several processes again.

    Raises:
        UserError: in a process that `accelerate launch` or `torchrun` started beside others.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count > 1:
        raise UserError(
            f"got {what} in {count} processes; it works in one: start it without accelerate or "
            "torchrun"
        )


def refuse_beside(option: str, options: SearchArguments, others: Set[str]) -> None:
    """Refuses options that were set, or are to be searched, beside one that decides them.

    Raises:
        UserError: naming them.
    """
    if getattr(options, option) is None:
        return
    beside = (changed_options(options).keys() | set(options.searched())) & others
    if beside:
        listed = ", ".join(f"--{name}" for name in sorted(beside))
        raise UserError(f"--{option} has decided {listed}; leave one of them out")


def _names(dataclass: type[DataclassInstance]) -> set[str]:
    return {field.name for field in dataclasses.fields(dataclass)}


def _default(field: dataclasses.Field[object]) -> object:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None
