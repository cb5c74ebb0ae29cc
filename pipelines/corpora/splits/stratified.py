"""Assigns groups to parts by iterative stratification.

Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data" (ECML PKDD 2011),
algorithm 1, with whole numbers as quotas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import fsum

from pipelines.corpora.splits.groups import Group, holders_of

SPARE = "\0spare"  # the part of what the sizes leave over


def whole_numbers(sizes: Mapping[str, float], total: int) -> dict[str, int]:
    """Converts sizes to numbers of examples; cumulative rounding keeps their sum exact."""
    numbers, end = {}, 0.0
    for name, size in sizes.items():
        share = size * total if size <= 1 else size
        numbers[name] = round(end + share) - round(end)
        end += share
    return numbers


def sizes_as_text(sizes: Mapping[str, float]) -> str:
    """The sizes as `parse_sizes` reads them."""
    return ",".join(f"{name}={size:g}" for name, size in sizes.items())


def distribute(
    groups: Sequence[Group], wanted: Mapping[str, int], *, every_class: bool
) -> dict[str, list[Group]]:
    """Assigns each group to a part, or to `SPARE`.

    The rarest stratum comes first, and in it the largest groups.

    Args:
        wanted: part -> number of examples.
        every_class: a part that would lack a stratum gets one, even where it is full.
    """
    total = sum(len(group.positions) for group in groups)
    sizes = {**wanted, SPARE: max(0, total - sum(wanted.values()))}
    by_size = sorted(groups, key=lambda group: (-len(group.positions), group.rank))
    holders = holders_of(by_size)
    assignment = _Assignment(holders, sizes, every_class=every_class)
    while assignment.waiting:
        stratum = min(assignment.waiting, key=lambda name: (assignment.waiting[name], name))
        members = [group for group in holders[stratum] if group not in assignment.part_of]
        for group in sorted(members, key=lambda group: -group.counts[stratum]):
            assignment.place(group, assignment.best_part(group, stratum))
    parts: dict[str, list[Group]] = {name: [] for name in sizes}
    for group, part in assignment.part_of.items():
        parts[part].append(group)
    return parts


class _Assignment:
    """The part of each group placed so far, and what the parts still take.

    Attributes:
        part_of: group -> part.
        waiting: stratum -> number of its groups that are not placed, where there are any.
        room: part -> number of examples that still fit.
        quotas: stratum -> part -> number of occurrences that the part should get.
        left: stratum -> part -> number of occurrences that the part should still get.
    """

    def __init__(
        self, holders: Mapping[str, Sequence[Group]], sizes: Mapping[str, int], *, every_class: bool
    ) -> None:
        self.part_of: dict[Group, str] = {}
        self.waiting = {stratum: len(members) for stratum, members in holders.items()}
        self.room = dict(sizes)
        self.quotas = _quotas(holders, sizes)
        self.left = {stratum: dict(row) for stratum, row in self.quotas.items()}
        self.every_class = every_class

    def best_part(self, group: Group, stratum: str) -> str:
        """The part for a group; the last groups of a stratum go to parts that lack it."""
        left, quota = self.left[stratum], self.quotas[stratum]
        fitting = [name for name, room in self.room.items() if room >= len(group.positions)]
        lacking = [name for name in left if name != SPARE and left[name] == quota[name]]
        allowed = fitting
        if self.waiting[stratum] <= len(lacking):
            reachable = lacking if self.every_class else [n for n in lacking if n in fitting]
            allowed = reachable or fitting
        if not allowed:
            return max(self.room, key=lambda name: self.room[name])
        wanting = [name for name in allowed if left[name] > 0]
        return max(wanting or allowed, key=lambda name: (self._need(name, group), self.room[name]))

    def _need(self, part: str, group: Group) -> float:
        """The open shares of the part's quotas, once half of the group is placed.

        With the whole group counted, large groups would all go to the large part; with none of it,
        to the small ones (Sainte-Laguë's divisors against D'Hondt's and Adams').
        """
        shares = []
        for stratum, count in group.counts.items():
            quota = self.quotas[stratum][part]
            shares.append((self.left[stratum][part] - count / 2) / quota if quota else -1)
        return fsum(shares)  # unlike `sum`, the same in any order

    def place(self, group: Group, part: str) -> None:
        """Places a group in a part."""
        self.part_of[group] = part
        self.room[part] -= len(group.positions)
        for stratum, count in group.counts.items():
            self.left[stratum][part] -= count
            self.waiting[stratum] -= 1
            if not self.waiting[stratum]:
                del self.waiting[stratum]


def _quotas(
    holders: Mapping[str, Sequence[Group]], sizes: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """Apportions each stratum to the parts by largest remainders, so that the sums fit the sizes.

    A stratum has at least one in each part, where it occurs in as many groups as there are parts.
    """
    counts = {
        stratum: sum(group.counts[stratum] for group in holders[stratum])
        for stratum in sorted(holders)
    }
    total, n_examples = sum(counts.values()), max(sum(sizes.values()), 1)
    columns = whole_numbers({name: size / n_examples for name, size in sizes.items()}, total)
    exact: dict[tuple[str, str], float] = {}
    for stratum, count in counts.items():
        exact |= {(stratum, part): count * columns[part] / max(total, 1) for part in sizes}
    quotas = {stratum: {part: int(exact[stratum, part]) for part in sizes} for stratum in counts}
    in_columns = {part: sum(row[part] for row in quotas.values()) for part in sizes}
    by_remainder = sorted(exact, key=lambda cell: int(exact[cell]) - exact[cell])
    for stratum, part in by_remainder * 2:
        is_open = in_columns[part] < columns[part]
        if is_open and sum(quotas[stratum].values()) < counts[stratum]:
            quotas[stratum][part] += 1
            in_columns[part] += 1
    n_parts = len(sizes) - 1
    for stratum, row in quotas.items():
        # Remainders that were rounded one by one can leave an example over.
        n_left = counts[stratum] - sum(row.values())
        likeliest = max(row, key=lambda part: exact[stratum, part])
        row[likeliest] += n_left
        if len(holders[stratum]) >= n_parts:
            _give_each_part_one(row)
    return quotas


def _give_each_part_one(row: dict[str, int]) -> None:
    """Takes an occurrence from the largest part for each part that has none."""
    for part in row:
        if part != SPARE and row[part] < 1:
            largest = max(row, key=lambda other: row[other])
            row[largest] -= 1
            row[part] += 1
