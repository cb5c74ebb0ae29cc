"""Cuts a corpus into parts: documents stay whole, classes keep their proportions.

The cut depends on the texts, their documents and labels, the sizes and the seed, and not on the
order of the rows. So recipes that cut the same file are compared on the same examples.
"""

from __future__ import annotations

import heapq
import logging
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import fsum
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

from pipelines.errors import DataError, UserError
from pipelines.examples import Example, documents_of, span_to_json, write_jsonl
from pipelines.formatting import text_table

logger = logging.getLogger(__name__)

_SPARE = "\0spare"  # the part of what the sizes leave over
_PLAIN_NAME = re.compile(r"\w[\w.-]*")
_IDS_SHOWN = 10
_VALUE_BINS = 10


def parse_sizes(given: str) -> dict[str, float]:
    """Reads `train=0.8,dev=0.1,test=0.1` (shares of the whole) or `train=4000,dev=400` (examples).

    Raises:
        UserError: for a size that is no such number, and for a name that is not a plain file name.
    """
    sizes: dict[str, float] = {}
    for part in given.split(","):
        name, _, size = part.partition("=")
        try:
            sizes[name.strip()] = float(size)
        except ValueError:
            sizes[name.strip()] = 0.0
    # Train.jsonl and train.jsonl are one file on some systems.
    is_repeated = len({name.casefold() for name in sizes}) < len(given.split(","))
    if is_repeated or not all(name and _is_size(size) for name, size in sizes.items()):
        raise UserError(
            f"got the sizes {given!r}; wanted a name and a share or a number for each part, such "
            "as "
            "train=0.8,dev=0.1,test=0.1"
        )
    for name in sizes:
        # A part is written to OUT/NAME.jsonl, and must not be written anywhere else.
        if not _PLAIN_NAME.fullmatch(name):
            raise UserError(
                f"got a part named {name!r}; wanted a plain name of letters, digits, '-', '_' and "
                "'.', "
                "such as train"
            )
    return sizes


def _is_size(size: float) -> bool:
    return 0 < size <= 1 or (size > 1 and size % 1 == 0)


def split_examples(
    examples: Sequence[Example],
    sizes: Mapping[str, float],
    *,
    seed: int = 0,
    unseen_mentions: bool = False,
) -> dict[str, list[Example]]:
    """Cuts examples into parts that have classes, mentions or values in the same proportion.

    The examples of a document (see `documents_in`) and all copies of a text go to one part. Texts
    that differ only in case and blanks are copies.

    Examples are stratified by class, where they have classes; by quantile, where they have values;
    else by the types of their mentions. This is iterative stratification (Sechidis, Tsoumakas and
    Vlahavas, "On the stratification of multi-label data", ECML PKDD 2011, algorithm 1) with whole
    numbers as quotas. Where nothing has to stay together the sizes are exact, and so is each
    single class's share to within one example.

    Args:
        examples: labelled or not; unlabelled ones are drawn at random.
        sizes: part -> share of the whole (up to 1) or number of examples (above 1). What they
            leave over is in no part.
        seed: another seed draws other examples.
        unseen_mentions: no mention string of another part is one of `train` (of the first part,
            where none has that name), whatever its case and blanks. Examples that connect both
            sides are left out; shares are then shares of the rest.

    Returns:
        The parts, each in the order of the examples.

    Raises:
        DataError: for documents that stay together and are larger than every part, for a class in
            fewer groups than there are parts, for a part that would be empty, and for mentions
            that cannot be kept apart.
        UserError: for sizes that add up to more than the whole, and for `unseen_mentions` where
            there are no mentions.
    """
    cut = _cut(examples, sizes, seed, unseen_mentions)
    return {name: [examples[row] for row in rows] for name, rows in cut.items()}


def stratified_split(
    examples: Sequence[Example], sizes: Mapping[str, float], *, seed: int = 0
) -> dict[str, list[Example]]:
    """Cuts examples as `split_examples` does, and raises a `DataError` where one has no class."""
    _refuse_unlabelled(examples)
    return split_examples(examples, sizes, seed=seed)


def stratified_folds(examples: Sequence[Example], count: int, *, seed: int = 0) -> list[list[int]]:
    """Cuts examples into `count` parts as `stratified_split` does.

    Returns:
        For each fold the positions of its examples, ascending.
    """
    _refuse_unlabelled(examples)
    sizes = {f"fold {number}": 1 / count for number in range(count)}
    return list(_cut(examples, sizes, seed, unseen_mentions=False).values())


def _refuse_unlabelled(examples: Sequence[Example]) -> None:
    unlabelled = [example.id for example in examples if example.label is None]
    if unlabelled:
        raise DataError(
            f"{len(unlabelled)} of {len(examples)} texts have no class, such as id "
            f"{unlabelled[0]}; a "
            "split by class needs them all labelled"
        )


def classes_of(example: Example) -> tuple[str, ...]:
    """The classes of an example, none or one or several."""
    if isinstance(example.label, tuple):
        return example.label
    return () if example.label is None else (str(example.label),)


def copies(examples: Iterable[Example]) -> list[list[int]]:
    """Groups the positions of examples that have the same text, but for case and blanks."""
    groups: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for position, example in enumerate(examples):
        groups[_text_key(example)].append(position)
    return list(groups.values())


def documents_in(examples: Sequence[Example]) -> list[str] | None:
    """The document of each example, or None where nothing says so.

    It is the example's `group`, where any has one; else what its id says
    (`pipelines.examples.documents_of`). An example without a group is a document by itself.

    A single document for all is none: ids such as `train-1` name the file, and a CoNLL file often
    has one `-DOCSTART-` on top.
    """
    groups = [example.group for example in examples]
    if any(group is not None for group in groups):
        documents = [
            f"\0{position}" if group is None else group for position, group in enumerate(groups)
        ]
    else:
        documents = documents_of([example.id for example in examples]) or []
    return documents if len(set(documents)) > 1 else None


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _text_key(example: Example) -> tuple[str, str]:
    return _folded(example.text), _folded(example.pair or "")


class _DisjointSets:
    """Sets of the numbers 0 … size - 1, which grow together."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def find(self, item: int) -> int:
        parent = self._parent
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    def join(self, items: Sequence[int]) -> None:
        for item in items[1:]:
            self._parent[self.find(item)] = self.find(items[0])

    def sets(self) -> list[list[int]]:
        members: defaultdict[int, list[int]] = defaultdict(list)
        for item in range(len(self._parent)):
            members[self.find(item)].append(item)
        return list(members.values())


@dataclass(frozen=True, slots=True)
class _Group:
    """Examples that go to one part together.

    Attributes:
        rows: their positions.
        rank: drawn from their text and the seed; it orders groups that are alike.
        counts: how often each stratum occurs in them.
    """

    rows: list[int]
    rank: bytes
    counts: Counter[str]


def _groups(examples: Sequence[Example], seed: int) -> list[_Group]:
    joined = _DisjointSets(len(examples))
    for rows in copies(examples):
        joined.join(rows)
    by_document: defaultdict[str, list[int]] = defaultdict(list)
    for row, document in enumerate(documents_in(examples) or ()):
        by_document[document].append(row)
    for rows in by_document.values():
        joined.join(rows)

    strata = _strata(examples)
    groups = []
    for rows in joined.sets():
        # All copies of a text are in one group, so that no two groups have the same key.
        key = min(_text_key(examples[row]) for row in rows)
        digest = blake2b(
            "\0".join((str(seed), *key)).encode("utf-8", "surrogatepass"), digest_size=16
        ).digest()
        counts: Counter[str] = Counter()
        for row in rows:
            counts.update(strata[row])
        groups.append(_Group(rows, digest, counts))
    return groups


def _strata(examples: Sequence[Example]) -> list[tuple[str, ...]]:
    """What each example is stratified by: classes, a bin of values, or a type for each mention.

    An example that has none of these has the stratum `""`.
    """
    values = sorted(_values_of(examples))
    n_bins = max(1, min(_VALUE_BINS, len(values) // _VALUE_BINS))
    strata: list[tuple[str, ...]] = []
    for example in examples:
        value = _value_of(example)
        if value is not None:
            strata.append((f"bin {bisect_left(values, value) * n_bins // len(values)}",))
        elif example.label is not None:
            strata.append(classes_of(example) or ("",))
        else:
            strata.append(tuple(span.label for span in example.spans or ()) or ("",))
    return strata


def _value_of(example: Example) -> float | None:
    return float(example.label) if isinstance(example.label, int | float) else None


def _values_of(examples: Iterable[Example]) -> list[float]:
    values = map(_value_of, examples)
    return [value for value in values if value is not None]


def _has_classes(examples: Iterable[Example]) -> bool:
    return any(isinstance(example.label, str | tuple) for example in examples)


def _cut(
    examples: Sequence[Example], sizes: Mapping[str, float], seed: int, unseen_mentions: bool
) -> dict[str, list[int]]:
    """The positions of each part's examples."""
    wanted = _whole_numbers(sizes, len(examples))
    if sum(wanted.values()) > len(examples):
        raise UserError(
            f"got the sizes {_sizes_as_text(sizes)}; there are {len(examples)} texts, and shares "
            "add up to 1 at most"
        )
    groups = _groups(examples, seed)
    _refuse_large_group(examples, groups, wanted)
    has_classes = _has_classes(examples)
    if has_classes:
        _refuse_rare_classes(examples, groups, len(wanted))
    if unseen_mentions:
        parts = _cut_with_unseen_mentions(examples, groups, sizes)
    else:
        parts = _distribute(groups, wanted, len(examples), every_class=has_classes)
    rows = {name: sorted(row for group in parts[name] for row in group.rows) for name in sizes}
    empty = [name for name in sizes if not rows[name]]
    if empty:
        raise DataError(
            f"the part {empty[0]} would be empty: got {len(examples)} examples, of which "
            f"{max(len(group.rows) for group in groups)} stay together, for the sizes "
            f"{_sizes_as_text(sizes)}; ask for other sizes, or give more examples"
        )
    return rows


def _sizes_as_text(sizes: Mapping[str, float]) -> str:
    return ",".join(f"{name}={size:g}" for name, size in sizes.items())


def _whole_numbers(sizes: Mapping[str, float], total: int) -> dict[str, int]:
    """Turns sizes into numbers of texts; rounds where a share ends, so that they add up to it."""
    numbers, end = {}, 0.0
    for name, size in sizes.items():
        share = size * total if size <= 1 else size
        numbers[name] = round(end + share) - round(end)
        end += share
    return numbers


def _refuse_large_group(
    examples: Sequence[Example], groups: Sequence[_Group], wanted: Mapping[str, int]
) -> None:
    if not groups:
        raise DataError("got no examples to split")
    spare = len(examples) - sum(wanted.values())
    part = max(wanted, key=lambda name: wanted[name])
    largest = max(groups, key=lambda group: (len(group.rows), group.rank))
    # Copies of one text may be as many as they like: no other option would separate them.
    documents = documents_in(examples)
    if documents is None or len(largest.rows) <= max(wanted[part], spare):
        return
    named = sorted({documents[row] for row in largest.rows})
    shared = ""
    if len(named) > 1:
        texts = Counter(_text_key(examples[row])[0] for row in largest.rows)
        text, count = min(texts.items(), key=lambda item: (-item[1], item[0]))
        shared = f", which share texts such as {text[:60]!r} ({count} times)"
    raise DataError(
        f"the {len(largest.rows)} examples of {_some(named, 'document')}{shared} stay together, "
        f"and are more than the largest part ({part}, {wanted[part]}); ask for other sizes, leave "
        "out shared texts, or say by --group_column what stays together"
    )


def _refuse_rare_classes(
    examples: Sequence[Example], groups: Sequence[_Group], n_parts: int
) -> None:
    holders: defaultdict[str, list[_Group]] = defaultdict(list)
    for group in groups:
        for label in group.counts:
            holders[label].append(group)
    rare = sorted(label for label, members in holders.items() if label and len(members) < n_parts)
    if not rare:
        return
    lines = []
    for label in rare:
        rows = sorted(row for group in holders[label] for row in group.rows)
        ids = [examples[row].id for row in rows if label in classes_of(examples[row])]
        lines.append(f"class {label!r}: {len(holders[label])} ({_some(ids, 'id')})")
    unit = "texts" if documents_in(examples) is None else "documents"
    raise DataError(
        f"{len(rare)} classes have fewer different {unit} than there are parts ({n_parts}), so "
        f"that one would lack them; give more such {unit}, leave these rows out, or merge the "
        "classes\n" + "\n".join(lines)
    )


def _some(names: Sequence[str], what: str) -> str:
    more = f" and {len(names) - _IDS_SHOWN} more" if len(names) > _IDS_SHOWN else ""
    return f"{what} {', '.join(names[:_IDS_SHOWN])}{more}"


class _OpenPlaces:
    """What each part still takes: examples, and occurrences of each stratum.

    Args:
        groups: all that are to be placed.
        sizes: part -> number of examples, with `_SPARE`.
        every_class: a part takes a stratum that it would lack, though it is full.
    """

    def __init__(
        self, groups: Sequence[_Group], sizes: Mapping[str, int], *, every_class: bool
    ) -> None:
        self.waiting = Counter(stratum for group in groups for stratum in group.counts)
        self._room = dict(sizes)
        self._quotas = _quotas(groups, sizes, self.waiting)
        self._left = {stratum: dict(row) for stratum, row in self._quotas.items()}
        named = [name for name in sizes if name != _SPARE]
        self._lacking = dict.fromkeys(self.waiting, named)
        self._every_class = every_class

    def best_part(self, group: _Group, stratum: str) -> str:
        """The part that a group goes to; a stratum's last groups go to parts without it."""
        room, lacking = self._room, self._lacking[stratum]
        fitting = [name for name in room if room[name] >= len(group.rows)]
        allowed = fitting
        if self.waiting[stratum] <= len(lacking):
            reachable = lacking if self._every_class else [n for n in lacking if n in fitting]
            allowed = reachable or fitting
        if not allowed:
            return max(room, key=lambda name: room[name])
        wanting = [name for name in allowed if self._left[stratum][name] > 0]
        return max(wanting or allowed, key=lambda name: (self._need(name, group), room[name]))

    def _need(self, part: str, group: _Group) -> float:
        """The open shares of the part's quotas, once half of the group is placed.

        With the whole group counted, large groups would all go to the large part; with none of it,
        to the small ones (Sainte-Laguë's divisors against D'Hondt's and Adams').
        """
        shares = []
        for stratum, count in group.counts.items():
            quota = self._quotas[stratum][part]
            shares.append((self._left[stratum][part] - count / 2) / quota if quota else -1)
        return fsum(shares)  # unlike `sum`, the same in any order

    def place(self, group: _Group, part: str) -> None:
        self._room[part] -= len(group.rows)
        for stratum, count in group.counts.items():
            self._left[stratum][part] -= count
            self._lacking[stratum] = [name for name in self._lacking[stratum] if name != part]
            self.waiting[stratum] -= 1


def _distribute(
    groups: Sequence[_Group], wanted: Mapping[str, int], total: int, *, every_class: bool
) -> dict[str, list[_Group]]:
    """Gives each group to a part, or to `_SPARE`.

    The scarcest stratum comes first, and in it the largest groups.

    Args:
        wanted: part -> number of examples.
        total: examples in all groups.
        every_class: see `_OpenPlaces`.
    """
    sizes = dict(wanted) | {_SPARE: total - sum(wanted.values())}
    places = _OpenPlaces(groups, sizes, every_class=every_class)
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        for stratum in group.counts:
            holders[stratum].append(index)
    queue = sorted((count, stratum) for stratum, count in places.waiting.items())
    parts: dict[str, list[_Group]] = {name: [] for name in sizes}
    is_placed = [False] * len(groups)

    while queue:
        count, stratum = heapq.heappop(queue)
        if count != places.waiting[stratum]:
            continue  # groups were placed since, and it stands in the queue again
        members = [index for index in holders[stratum] if not is_placed[index]]
        for index in sorted(members, key=lambda index: _largest_first(groups[index], stratum)):
            group = groups[index]
            part = places.best_part(group, stratum)
            places.place(group, part)
            parts[part].append(group)
            is_placed[index] = True
            for other in group.counts:
                if other != stratum and places.waiting[other]:
                    heapq.heappush(queue, (places.waiting[other], other))
    return parts


def _largest_first(group: _Group, stratum: str) -> tuple[int, int, bytes]:
    return -group.counts[stratum], -len(group.rows), group.rank


def _quotas(
    groups: Iterable[_Group], sizes: Mapping[str, int], n_holders: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """Apportions each stratum to the parts in whole numbers, so that their sums fit the sizes.

    A stratum has at least one in each part, where it occurs in as many groups as there are parts.
    """
    counts: Counter[str] = Counter()
    for group in groups:
        counts.update(group.counts)
    total, n_examples = sum(counts.values()), max(sum(sizes.values()), 1)
    columns = _whole_numbers({name: size / n_examples for name, size in sizes.items()}, total)
    strata = sorted(counts)
    exact = {
        (stratum, part): counts[stratum] * columns[part] / max(total, 1)
        for stratum in strata
        for part in sizes
    }
    quotas = {stratum: {part: int(exact[stratum, part]) for part in sizes} for stratum in strata}
    open_in_row = {stratum: counts[stratum] - sum(quotas[stratum].values()) for stratum in strata}
    open_in_column = {
        part: columns[part] - sum(row[part] for row in quotas.values()) for part in sizes
    }
    by_remainder = sorted(exact, key=lambda cell: int(exact[cell]) - exact[cell])
    for stratum, part in by_remainder * 2:
        if open_in_row[stratum] > 0 and open_in_column[part] > 0:
            quotas[stratum][part] += 1
            open_in_row[stratum] -= 1
            open_in_column[part] -= 1
    n_parts = len(sizes) - 1
    for stratum, row in quotas.items():
        # Remainders that were rounded one by one can leave an example over.
        row[max(sizes, key=lambda part: exact[stratum, part])] += open_in_row[stratum]
        for part in sizes:
            if part != _SPARE and row[part] < 1 and n_holders[stratum] >= n_parts:
                row[max(row, key=lambda other: row[other])] -= 1
                row[part] += 1
    return quotas


def _mentions(example: Example) -> list[str]:
    """The mentions of an example as strings, without case and blanks."""
    return [_folded(example.text[span.start : span.end]) for span in example.spans or ()]


def _training_part(parts: Iterable[str]) -> str:
    names = list(parts)
    return "train" if "train" in names else names[0]


def _cut_with_unseen_mentions(
    examples: Sequence[Example], groups: Sequence[_Group], sizes: Mapping[str, float]
) -> dict[str, list[_Group]]:
    """Separates train from the rest, which shares no mention with it, then cuts up the rest."""
    mentions = [
        [string for row in group.rows for string in _mentions(examples[row])] for group in groups
    ]
    if not any(mentions):
        raise UserError("got --unseen_mentions for a corpus without mentions; leave the option out")
    train = _training_part(sizes)
    train_share = _whole_numbers(sizes, len(examples))[train] / len(examples)
    left_out = _conflicting(groups, mentions, train_share)
    kept = [index for index in range(len(groups)) if index not in left_out]
    total = sum(len(groups[index].rows) for index in kept)
    wanted = _whole_numbers(sizes, total)
    n_left_out = len(examples) - total
    if 2 * n_left_out > len(examples) or sum(wanted.values()) > total:
        raise DataError(
            f"mentions cannot be kept apart for the sizes {_sizes_as_text(sizes)}: {n_left_out} of "
            f"{len(examples)} examples have mentions both of {train} and of other parts; ask for "
            "smaller parts, or do without --unseen_mentions"
        )

    clusters = [
        _merged([groups[index] for index in members])
        for members in _joined_by_mention(kept, mentions)
    ]
    sides = _distribute(clusters, {train: wanted[train]}, total, every_class=False)
    held_out_rows = {row for cluster in sides[_SPARE] for row in cluster.rows}
    held_out = [groups[index] for index in kept if groups[index].rows[0] in held_out_rows]
    others = {name: size for name, size in wanted.items() if name != train}
    # A few examples more may be in train than wanted, so that the others are short of them.
    n_held_out = max(len(held_out_rows), sum(others.values()))
    parts = _distribute(held_out, others, n_held_out, every_class=False) | {train: sides[train]}
    for name, size in wanted.items():
        got = sum(len(group.rows) for group in parts[name])
        if got < size / 2:
            raise DataError(
                f"mentions cannot be kept apart for the sizes {_sizes_as_text(sizes)}: {name} "
                f"would have {got} of {size} examples; ask for other sizes, or do without "
                "--unseen_mentions"
            )
    if left_out:
        logger.warning(
            "left out %d of %d examples, whose mentions connect %s with other parts",
            n_left_out,
            len(examples),
            train,
        )
    return parts


def _merged(groups: Sequence[_Group]) -> _Group:
    counts: Counter[str] = Counter()
    for group in groups:
        counts.update(group.counts)
    return _Group(
        [row for group in groups for row in group.rows], min(group.rank for group in groups), counts
    )


def _joined_by_mention(kept: Sequence[int], mentions: Sequence[list[str]]) -> list[list[int]]:
    """The groups that share a mention, directly or through others."""
    first: dict[str, int] = {}
    joined = _DisjointSets(len(kept))
    for position, index in enumerate(kept):
        for string in mentions[index]:
            joined.join([first.setdefault(string, position), position])
    return [[kept[position] for position in positions] for positions in joined.sets()]


def _conflicting(
    groups: Sequence[_Group], mentions: Sequence[list[str]], train_share: float
) -> set[int]:
    """The groups to leave out, so that clusters of mentions fit into train or beside it.

    Frequent mentions join most of a corpus to one cluster. Where that has more mentions than
    either side has room for, some are moved to the other side, the cheapest first, and groups with
    mentions of both sides are left out.
    """
    bearing = [index for index in range(len(groups)) if mentions[index]]
    total = sum(len(mentions[index]) for index in bearing)
    room = {"train": train_share * total, "held out": (1 - train_share) * total}
    small = min(room.values()) / 20  # of no weight: it finds room somewhere

    def n_mentions(cluster: Sequence[int]) -> int:
        return sum(len(mentions[index]) for index in cluster)

    left_out: set[int] = set()
    clusters = _joined_by_mention(bearing, mentions)
    clusters.sort(
        key=lambda cluster: (-n_mentions(cluster), min(groups[index].rank for index in cluster))
    )
    for cluster in clusters:
        size = n_mentions(cluster)
        if size <= small:
            break
        side = max(room, key=lambda name: room[name])
        if size > room[side]:
            left_out |= _cut_cluster(
                cluster, groups, mentions, share=room[side] / total, total=total
            )
        room[side] -= min(size, room[side])
    return left_out


def _cut_cluster(
    cluster: Sequence[int],
    groups: Sequence[_Group],
    mentions: Sequence[list[str]],
    *,
    share: float,
    total: int,
) -> set[int]:
    """The groups to leave out, so that a cluster has no more than a share of all mentions.

    Args:
        total: mentions in the corpus, of which those left out do not count.
    """
    strings = {index: set(mentions[index]) for index in cluster}
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for index in cluster:
        for string in strings[index]:
            holders[string].append(index)
    gain, cost = _gain_and_cost(strings, holders)
    order = sorted(cluster, key=lambda index: (cost[index] / gain[index], groups[index].rank))

    size = sum(len(mentions[index]) for index in cluster)
    moved_strings: set[str] = set()
    moved: set[int] = set()
    torn: set[int] = set()  # groups with mentions of both sides
    # What moves more than has to be comes last, and only where nothing else is left.
    for index, is_last_round in [*((i, False) for i in order), *((i, True) for i in order)]:
        surplus = size - share * total
        if surplus <= 0:
            break
        if index in moved or index in torn or (gain[index] > surplus and not is_last_round):
            continue
        moved_strings |= strings[index]
        for touched in set().union(*(holders[string] for string in strings[index])):
            n_mentions = len(mentions[touched])
            if touched not in torn:
                torn.add(touched)
                size -= n_mentions
                total -= n_mentions
            if strings[touched] <= moved_strings:
                torn.remove(touched)
                moved.add(touched)
                total += n_mentions
    return torn


def _gain_and_cost(
    strings: Mapping[int, set[str]], holders: Mapping[str, Sequence[int]]
) -> tuple[dict[int, int], dict[int, int]]:
    """About how many groups move with each group to the other side, and how many are torn.

    A group of one mention moves with that mention. A group of several is torn, where the others
    stay.
    """
    n_torn = {
        string: sum(len(strings[index]) > 1 for index in holders[string]) for string in holders
    }
    gain, cost = {}, {}
    for index, own in strings.items():
        has_several = len(own) > 1
        gain[index] = has_several + sum(len(holders[string]) - n_torn[string] for string in own)
        cost[index] = sum(n_torn[string] - has_several for string in own)
    return gain, cost


def write_split(path: str | Path, examples: Iterable[Example]) -> None:
    """Writes examples as JSON lines, as `pipelines convert` does; what is not known has no key."""
    rows: list[dict[str, Any]] = []
    for example in examples:
        row: dict[str, Any] = {"id": example.id, "text": example.text}
        if example.pair is not None:
            row["pair"] = example.pair
        if example.spans is not None:
            row["spans"] = list(map(span_to_json, example.spans))
        if example.label is not None:
            row["label"] = example.label
        if example.group is not None:
            row["group"] = example.group
        rows.append(row)
    write_jsonl(path, rows)


def splits_as_text(examples: Sequence[Example], parts: Mapping[str, Sequence[Example]]) -> str:
    """A table of what each part has: examples, documents, mentions, classes or types or values."""
    rows = [["examples", *(f"{len(part):,}" for part in parts.values())]]
    documents = documents_in(examples)
    if documents is not None:
        document_of = {
            example.id: document for example, document in zip(examples, documents, strict=True)
        }
        rows.append(
            [
                "documents",
                *(f"{len({document_of[e.id] for e in part}):,}" for part in parts.values()),
            ]
        )
    rows += _counted("class", {name: _class_counts(part) for name, part in parts.items()})
    if _values_of(examples):
        rows += _values(parts)
    if any(example.spans for part in parts.values() for example in part):
        rows += _mention_rows(parts)
    used = sum(map(len, parts.values()))
    n_copies = len(examples) - len(copies(examples))
    return "\n".join(
        [
            *text_table(["", *parts], rows),
            f"{n_copies:,} copies of a text, each in the part of the first; "
            f"{len(examples) - used:,} of "
            f"{len(examples):,} examples in no part",
        ]
    )


def _class_counts(examples: Iterable[Example]) -> Counter[str]:
    return Counter(
        label for example in examples if _value_of(example) is None for label in classes_of(example)
    )


def _counted(what: str, counts: Mapping[str, Counter[str]]) -> list[list[str]]:
    """A row for each class or type: its number in each part."""
    labels = sorted(set().union(*counts.values()))
    return [
        [f"{what} {label}", *(f"{count[label]:,}" for count in counts.values())] for label in labels
    ]


def _values(parts: Mapping[str, Sequence[Example]]) -> list[list[str]]:
    values = [_values_of(part) for part in parts.values()]
    return [
        ["mean value", *(f"{fmean(part):.4g}" if part else "" for part in values)],
        ["standard deviation", *(f"{pstdev(part):.4g}" if part else "" for part in values)],
    ]


def _mention_rows(parts: Mapping[str, Sequence[Example]]) -> list[list[str]]:
    strings = {
        name: [string for example in part for string in _mentions(example)]
        for name, part in parts.items()
    }
    types = {
        name: Counter(span.label for example in part for span in example.spans or ())
        for name, part in parts.items()
    }
    train = _training_part(parts)
    seen = set(strings[train])
    shares = []
    for name, mentions in strings.items():
        share = sum(string in seen for string in mentions) / max(len(mentions), 1)
        shares.append("" if name == train or not mentions else f"{100 * share:.1f} %")
    return [
        ["mentions", *(f"{len(mentions):,}" for mentions in strings.values())],
        *_counted("type", types),
        [f"mentions seen in {train}", *shares],
    ]
