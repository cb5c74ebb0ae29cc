"""From `--ablate` to variants: which options each sets, of which type, and which it tries."""

from __future__ import annotations

import difflib
import itertools
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Union

import yaml

from pipelines.errors import UserError
from pipelines.examples import Fields, JsonObject
from pipelines.formatting import short_repr
from pipelines.runs.arguments import AblationArguments, Given, SearchArguments

BASELINE = "baseline"
LONGEST_NAME = 80  # characters of a folder
# Why an option is not one to vary.
NOT_VARIED = {
    **{field.name: "it is an option of the ablation itself" for field in fields(AblationArguments)},
    **{field.name: "a search is part of each run" for field in fields(SearchArguments)},
    "seed": "take --seeds",
    "run_dir": "each run gets a folder below --run_dir",
    "output_dir": "each run keeps its own checkpoints",
    "resume_from_checkpoint": "the same command goes on with what was interrupted",
    "dev_file": "variants are compared on one dev file",
    "test_file": "test is scored by --final_k alone",
    "models": "take model_name_or_path=a,b",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """Options that are tried under a variant's name.

    Attributes:
        name: the companion options that were tried with these values, such as
            `learning_rate=0.1`; empty where a variant has a single candidate.
        options: what differs from the baseline.
    """

    name: str
    options: JsonObject


@dataclass(frozen=True, slots=True)
class Variant:
    """One departure from the baseline; of several candidates, the best on dev stands for it."""

    name: str
    candidates: tuple[Candidate, ...]

    def folder(self, candidate: Candidate) -> str:
        """Where the runs of a candidate lie, below the folder of the ablation."""
        return "/".join(filter(None, (slug(self.name), slug(candidate.name))))


def slug(name: str) -> str:
    """A name as a folder's: letters, digits and `.=+,_-`."""
    return re.sub(r"[^\w.=+,-]+", "-", name).strip("-.")[:LONGEST_NAME]


def variants_of(ablate: object, given: Given) -> list[Variant]:
    """The baseline and the variants of `--ablate`.

    Args:
        ablate: the words of a command line, each `name=a,b`; or, from a config file, a mapping.
            An option maps to its values, each of which makes a variant; any other key is the name
            of a variant and maps to its options, where a list, for an option that takes none, is
            tried: the best on dev stands for the variant.
        given: the recipe's dataclasses, and the options of the baseline.

    Raises:
        UserError: with every unknown option, naming the nearest, and every value that is not of its
            option's type.
    """
    hints = types_of(given.dataclasses)
    faults: list[str] = []
    found = [Variant(BASELINE, (Candidate("", {}),))]
    for key, value in _entries(ablate, hints, faults):
        if key in hints:
            found += _values_alone(key, value, hints, faults)
        elif isinstance(value, Mapping):
            found += _several_options(key, value, hints, faults)
        else:
            faults.append(unknown(key, hints))
    folders = [slug(variant.name) for variant in found]
    for folder in sorted({folder for folder in folders if folders.count(folder) > 1}):
        faults.append(f"two variants are named {folder}; name each once")
    if faults:
        raise UserError(f"--ablate: {'; '.join(faults)}")
    return found


def types_of(dataclasses: Sequence[type]) -> dict[str, object]:
    """Option -> type, of the options that a command line may set."""
    found: dict[str, object] = {}
    for dataclass_ in dataclasses:
        hints = typing.get_type_hints(dataclass_)
        found |= {field.name: hints[field.name] for field in fields(dataclass_) if field.init}
    return found


def _entries(
    ablate: object, hints: Fields, faults: list[str]
) -> typing.Iterator[tuple[str, object]]:
    """The entries of a config file's mapping, or of a command line's `name=a,b`."""
    if isinstance(ablate, Mapping):
        yield from ((str(key), value) for key, value in ablate.items())
        return
    if not isinstance(ablate, list):
        faults.append(f"got {short_repr(ablate)}; wanted a mapping of options to values")
        return
    for word in ablate:
        if isinstance(word, Mapping):  # a list of mappings in a config file
            yield from ((str(key), value) for key, value in word.items())
            continue
        name, equals, values = str(word).partition("=")
        if name not in hints:
            faults.append(unknown(name, hints))
        elif not equals or not values:
            faults.append(f"got {word!r}; wanted {name}=a,b")
        elif _takes_list(hints[name]):
            faults.append(f"{name} takes a list; name its values in a config file")
        else:
            yield name, values.split(",")


def unknown(name: str, hints: Fields) -> str:
    """What is said of an unknown option, with the nearest known one."""
    near = difflib.get_close_matches(name, sorted(set(hints) - NOT_VARIED.keys()), n=1)
    return f"there is no option {name}{f'; did you mean {near[0]}?' if near else ''}"


def _values_alone(name: str, value: object, hints: Fields, faults: list[str]) -> list[Variant]:
    """A variant for each value of an option."""
    found = []
    for single in value if isinstance(value, list) else [value]:
        options = _typed(name, single, hints, faults)
        if options:
            found.append(Variant(f"{name}={as_text(options[name])}", (Candidate("", options),)))
    if isinstance(value, list) and not value:
        faults.append(f"{name} has no values")
    return found


def _several_options(
    variant: str, entries: Fields, hints: Fields, faults: list[str]
) -> list[Variant]:
    """A variant that sets several options, some of them to the best of several values."""
    options: JsonObject = {}
    tried: dict[str, list[JsonObject]] = {}
    for key, value in entries.items():
        name = str(key)
        if name not in hints:
            faults.append(f"{variant}: {unknown(name, hints)}")
        elif _is_tried(value, hints[name]):
            choices = [_typed(name, single, hints, faults, variant) for single in value]
            tried[name] = [choice for choice in choices if choice]
        else:
            options |= _typed(name, value, hints, faults, variant)
    if not entries:
        faults.append(f"{variant}: sets no option")
    candidates = []
    for combination in itertools.product(*tried.values()):
        companions = {name: value for choice in combination for name, value in choice.items()}
        name = ",".join(f"{name}={as_text(value)}" for name, value in companions.items())
        candidates.append(Candidate(name, options | companions))
    if len({candidate.name for candidate in candidates}) < len(candidates):
        faults.append(f"{variant}: tries the same value twice")
    return [Variant(variant, tuple(candidates))]


def _is_tried(value: object, hint: object) -> bool:
    """Whether a list is of values to try: of an option that takes no list, or a list of lists."""
    if not isinstance(value, list) or not value:
        return False
    return not _takes_list(hint) or all(isinstance(item, list) for item in value)


def _takes_list(hint: object) -> bool:
    kinds = [typing.get_origin(kind) or kind for kind in _alternatives(hint)]
    return list in kinds and str not in kinds


def _typed(
    name: str, value: object, hints: Fields, faults: list[str], variant: str = ""
) -> JsonObject:
    """The option with its value in its own type; empty, and a fault, where it has none."""
    where = f"{variant}: " if variant else ""
    if name in NOT_VARIED:
        faults.append(f"{where}{name} is not varied: {NOT_VARIED[name]}")
        return {}
    try:
        return {name: typed(value, hints[name])}
    except ValueError as error:
        faults.append(f"{where}{name}={as_text(value)}: {error}")
        return {}


def typed(value: object, hint: object) -> object:
    """A value of a command line or of YAML in the type of its option.

    Raises:
        ValueError: saying what is wanted.
    """
    alternatives = _alternatives(hint)
    is_text = isinstance(value, str)
    if value is None or (is_text and value in ("none", "null") and str not in alternatives):
        if type(None) in alternatives:
            return None
        raise ValueError(f"wanted {_wanted(alternatives)}")
    for read in (_truth, _whole, _real, _enumerated, _list, _mapping, _text):
        found = read(value, alternatives)
        if found is not None:
            return found
    raise ValueError(f"wanted {_wanted(alternatives)}")


def _alternatives(hint: object) -> tuple[object, ...]:
    """The types of a union, or the one type."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _truth(value: object, alternatives: Sequence[object]) -> bool | None:
    if bool not in alternatives:
        return None
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value if isinstance(value, bool) else None


def _whole(value: object, alternatives: Sequence[object]) -> int | None:
    if int not in alternatives or isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+", value.strip()):
        return int(value)
    return value if isinstance(value, int) else None


def _real(value: object, alternatives: Sequence[object]) -> float | None:
    if float not in alternatives or isinstance(value, bool):
        return None
    if not isinstance(value, str):
        return float(value) if isinstance(value, int | float) else None
    try:
        return float(value)  # YAML 1.1 reads 1e-3 as text
    except ValueError:
        return None


def _enumerated(value: object, alternatives: Sequence[object]) -> str | None:
    known = [kind for kind in alternatives if isinstance(kind, type) and issubclass(kind, Enum)]
    if not known:
        return None
    names = [str(member.value) for kind in known for member in kind]
    if value in names:
        return str(value)
    near = difflib.get_close_matches(str(value), names, n=3)
    listed = near or names
    raise ValueError(f"wanted one of {', '.join(listed)}{' …' if near else ''}")


def _list(value: object, alternatives: Sequence[object]) -> list[object] | None:
    kinds = [kind for kind in alternatives if (typing.get_origin(kind) or kind) is list]
    if not kinds or not isinstance(value, list):
        return None
    items = typing.get_args(kinds[0]) or (str,)
    return [typed(item, items[0]) for item in value]


def _mapping(value: object, alternatives: Sequence[object]) -> JsonObject | None:
    kinds = {typing.get_origin(kind) or kind for kind in alternatives}
    return dict(value) if dict in kinds and isinstance(value, Mapping) else None


def _text(value: object, alternatives: Sequence[object]) -> str | None:
    if str not in alternatives or isinstance(value, bool | list | Mapping):
        return None
    return value if isinstance(value, str) else as_text(value)


def _wanted(alternatives: Sequence[object]) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    words = [names[kind] for kind in names if kind in alternatives]
    if any((typing.get_origin(kind) or kind) is list for kind in alternatives):
        words.append("a list")
    if type(None) in alternatives:
        words.append("none")
    return " or ".join(words) or "another value"


def as_text(value: object) -> str:
    """A value as a config file has it, on one line: `0.001`, `true`, `none`, `[3, 4]`."""
    if isinstance(value, str):
        return value
    if value is None:
        return "none"
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).partition("\n")[0]
