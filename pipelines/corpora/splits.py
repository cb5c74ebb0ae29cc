"""A corpus cut into parts: the classes in proportion, the sizes as given, all copies of a text in one part."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import DataError, UserError
from pipelines.examples import Example, span_to_json, write_jsonl


def parse_sizes(given: str) -> dict[str, float]:
    """Reads ``train=0.8,dev=0.1,test=0.1`` or ``train=4000,dev=400``: shares of the whole, or numbers of texts.

    Raises:
        UserError: for what is no such list.
    """
    sizes: dict[str, float] = {}
    for part in given.split(","):
        name, _, size = part.partition("=")
        try:
            sizes[name.strip()] = float(size)
        except ValueError:
            sizes[name.strip()] = 0.0
    wrong = [name for name, size in sizes.items() if not name or not size > 0 or (size > 1 and size % 1)]
    if wrong or len(sizes) < len(given.split(",")):
        raise UserError(f"got the sizes {given!r}; wanted a name and a share or a number for each part, such as "
                        "train=0.8,dev=0.1,test=0.1")
    return sizes


def stratified_split(examples: Sequence[Example], sizes: Mapping[str, float], *,
                     seed: int = 0) -> dict[str, list[Example]]:
    """Cuts examples into parts that have the classes in the same proportion.

    All copies of a text (but for case and blanks) go to one part. A text with several classes counts for the rarest of
    them, as the first step of iterative stratification does (Sechidis, Tsoumakas and Vlahavas 2011). Where no text has
    a copy the sizes are met exactly and each class's share to within one text.

    Args:
        sizes: part -> share of the whole (up to 1) or number of texts (above 1); what they leave over is in no part.
        seed: another one draws other texts.

    Returns:
        The parts, each in the order of the examples.

    Raises:
        DataError: for unlabelled texts, and for classes with fewer different texts than there are parts.
        UserError: when the sizes are more than the whole.
    """
    return {name: [examples[i] for i in rows] for name, rows in _cut(examples, sizes, seed).items()}


def stratified_folds(examples: Sequence[Example], count: int, *, seed: int = 0) -> list[list[int]]:
    """Cuts examples into `count` parts as `stratified_split` does, and raises as it does; the parts hold their places.
    """
    # All are named parts, the last one too: what is left over may lack a class.
    return list(_cut(examples, {f"fold {number % count}": 1 / count for number in range(1, count + 1)}, seed).values())


def _cut(examples: Sequence[Example], sizes: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    """The places of each part's examples."""
    unlabelled = [example.id for example in examples if example.label is None]
    if unlabelled:
        raise DataError(f"{len(unlabelled)} of {len(examples)} texts have no class, such as id {unlabelled[0]}; a "
                        "split by class needs them all labelled")
    wanted = _whole_numbers(sizes, len(examples))
    if sum(wanted.values()) > len(examples):
        raise UserError(f"got the sizes {', '.join(f'{name}={size:g}' for name, size in sizes.items())}; there are "
                        f"{len(examples)} texts, and shares add up to 1 at most")
    groups = copies(examples)
    strata: defaultdict[str, list[list[int]]] = defaultdict(list)
    frequency = Counter(label for example in examples for label in classes_of(example))
    for group in groups:
        strata[_stratum([examples[i] for i in group], frequency)].append(group)
    _refuse_small(examples, strata, len(wanted))

    quotas = _quotas({name: sum(map(len, groups)) for name, groups in sorted(strata.items())}, wanted, len(examples))
    rng = random.Random(seed)
    chosen: dict[str, list[int]] = {name: [] for name in wanted}
    for stratum in sorted(strata):
        members = sorted(strata[stratum])
        rng.shuffle(members)
        left = quotas[stratum]
        # The large groups first: singles fill up what they leave.
        without = set(wanted)
        for number, group in enumerate(sorted(members, key=len, reverse=True)):
            # The last groups go to parts that have none of this class.
            allowed = without if len(members) - number <= len(without) and without else left
            part = max(sorted(allowed), key=lambda name: left[name])
            left[part] -= len(group)
            without.discard(part)
            if part in chosen:
                chosen[part] += group
    return {name: sorted(rows) for name, rows in chosen.items()}


def classes_of(example: Example) -> tuple[str, ...]:
    """The classes of an example, none or one or several."""
    if isinstance(example.label, tuple):
        return example.label
    return () if example.label is None else (str(example.label),)


def copies(examples: Iterable[Example]) -> list[list[int]]:
    """Places of the examples that have the same text, but for case and blanks; in order of appearance."""
    groups: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for place, example in enumerate(examples):
        text, pair = (" ".join(part.casefold().split()) for part in (example.text, example.pair or ""))
        groups[text, pair].append(place)
    return list(groups.values())


def _whole_numbers(sizes: Mapping[str, float], total: int) -> dict[str, int]:
    """Numbers of texts; shares are rounded where they end, so that shares of the whole add up to it."""
    numbers, end = {}, 0.0
    for name, size in sizes.items():
        share = size * total if size <= 1 else size
        numbers[name] = round(end + share) - round(end)
        end += share
    return numbers


def _stratum(group: Sequence[Example], frequency: Counter[str]) -> str:
    """The commonest class of the group, the rarer one where several are as common."""
    counted = Counter(label for example in group for label in classes_of(example))
    return min(counted, key=lambda label: (-counted[label], frequency[label], label), default="")


def _refuse_small(examples: Sequence[Example], strata: Mapping[str, Sequence[Sequence[int]]], parts: int) -> None:
    small = {name: groups for name, groups in sorted(strata.items()) if len(groups) < parts and name}
    if small:
        ids = {name: ", ".join(examples[i].id for group in groups for i in group) for name, groups in small.items()}
        named = "\n".join(f"class {name!r}: {len(groups)} (id {ids[name]})" for name, groups in small.items())
        raise DataError(f"{len(small)} classes have fewer different texts than there are parts ({parts}), so that one "
                        "would lack them; give more such texts, leave these rows out, or merge the "
                        f"classes\n{named}")


def _quotas(counts: Mapping[str, int], wanted: Mapping[str, int], total: int) -> dict[str, dict[str, int]]:
    """Whole numbers of texts for each class and part, close to proportional, whose sums are the sizes.

    What no part takes is a part of its own. Each class has at least one text in each part.
    """
    spare = "\0spare"
    columns = dict(wanted) | {spare: total - sum(wanted.values())}
    exact = {(name, part): count * columns[part] / max(total, 1) for name, count in counts.items() for part in columns}
    quotas = {name: {part: int(exact[name, part]) for part in columns} for name in counts}
    for (name, part), _ in sorted(exact.items(), key=lambda cell: int(cell[1]) - cell[1]) * 2:
        if sum(quotas[name].values()) < counts[name] and sum(q[part] for q in quotas.values()) < columns[part]:
            quotas[name][part] += 1
    for name, row in quotas.items():
        # Shares that were rounded one by one leave a text over, or are one short.
        row[max(columns, key=lambda part: exact[name, part])] += counts[name] - sum(row.values())
        for part in wanted:
            if row[part] < 1 < counts[name]:
                row[max(row, key=lambda other: row[other])] -= 1
                row[part] += 1
    return quotas


def write_split(path: str | Path, examples: Iterable[Example]) -> None:
    """Writes texts with their classes as JSON lines, which `tables` reads back; mentions too, where there are some."""
    rows: list[dict[str, Any]] = []
    for example in examples:
        row: dict[str, Any] = {"id": example.id, "text": example.text}
        if example.pair is not None:
            row["text_pair"] = example.pair
        row["label"] = example.label
        if example.spans is not None:
            row["entities"] = list(map(span_to_json, example.spans))
        rows.append(row)
    write_jsonl(path, rows)


def splits_as_text(examples: Sequence[Example], parts: Mapping[str, Sequence[Example]]) -> str:
    """A table of the number of texts of each class in each part."""
    frequency = Counter(label for example in examples for label in classes_of(example))
    counted = {name: Counter(label for example in part for label in classes_of(example))
               for name, part in parts.items()}
    width = max([5, *map(len, frequency)])
    lines = [" ".join([f"{'class':<{width}}", *(f"{name:>9}" for name in parts)])]
    lines += [" ".join([f"{label:<{width}}", *(f"{counts[label]:>9}" for counts in counted.values())])
              for label in sorted(frequency)]
    lines.append(" ".join([f"{'texts':<{width}}", *(f"{len(part):>9}" for part in parts.values())]))
    doubled = len(examples) - len(copies(examples))
    used = sum(map(len, parts.values()))
    return "\n".join([*lines, f"{doubled} copies of a text, each in the part of the first; "
                              f"{len(examples) - used} of {len(examples)} texts in no part"])
