"""Cuts examples so that no mention of a held-out part occurs in train."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from pipelines.corpora.splits.groups import Group, connected, mentions_of
from pipelines.corpora.splits.stratified import SPARE, distribute, sizes_as_text, whole_numbers
from pipelines.errors import DataError, UserError
from pipelines.examples import Example

logger = logging.getLogger(__name__)

Mentions = Mapping[Group, Sequence[str]]


def training_part(parts: Sequence[str]) -> str:
    """The part that is trained on: `train`, or else the first."""
    return "train" if "train" in parts else parts[0]


def cut_with_unseen_mentions(
    examples: Sequence[Example], groups: Sequence[Group], sizes: Mapping[str, float]
) -> dict[str, list[Group]]:
    """Separates train from the rest, which shares no mention with it, then cuts up the rest."""
    mentions_in = [mentions_of(example) for example in examples]
    mentions = {
        group: [*chain.from_iterable(mentions_in[row] for row in group.positions)]
        for group in groups
    }
    if not any(mentions.values()):
        raise UserError("got --unseen_mentions for a corpus without mentions; leave the option out")
    train = training_part(list(sizes))
    train_share = whole_numbers(sizes, len(examples))[train] / len(examples)
    left_out = _connecting(mentions, train_share)
    kept = [group for group in groups if group not in left_out]
    n_left_out = sum(len(group.positions) for group in left_out)
    n_kept = len(examples) - n_left_out
    wanted = whole_numbers(sizes, n_kept)
    clusters = {_merged(members): members for members in _clusters(kept, mentions)}
    sides = distribute(list(clusters), {train: wanted[train]}, every_class=False)
    held_out = [group for cluster in sides[SPARE] for group in clusters[cluster]]
    others = {name: size for name, size in wanted.items() if name != train}
    parts = distribute(held_out, others, every_class=False) | {train: sides[train]}
    got = {name: sum(len(group.positions) for group in parts[name]) for name in sizes}
    is_short = any(got[name] < wanted[name] / 2 for name in sizes)
    if is_short or 2 * n_kept < len(examples) or sum(wanted.values()) > n_kept:
        raise DataError(
            f"mentions cannot be kept apart for the sizes {sizes_as_text(sizes)}: "
            f"{n_left_out} of {len(examples)} examples have mentions both of {train} and of other "
            f"parts, and the others would make up {sizes_as_text(got)}; ask for other sizes, or do "
            "without --unseen_mentions"
        )
    if left_out:
        message = "left out %d of %d examples, whose mentions connect %s with other parts"
        logger.warning(message, n_left_out, len(examples), train)
    return parts


def _merged(groups: Sequence[Group]) -> Group:
    counts: Counter[str] = Counter()
    for group in groups:
        counts.update(group.counts)
    positions = [position for group in groups for position in group.positions]
    return Group(positions, min(group.rank for group in groups), counts)


def _clusters(groups: Sequence[Group], mentions: Mentions) -> list[list[Group]]:
    """The groups that share a mention, directly or through others."""
    positions = connected([mentions[group] for group in groups])
    return [[groups[position] for position in members] for members in positions]


def _connecting(mentions: Mentions, train_share: float) -> set[Group]:
    """The groups to leave out, so that each cluster fits into train or into the rest.

    Frequent mentions join most of a corpus to one cluster, which is cut where neither side has
    room for all its mentions.
    """
    total = sum(map(len, mentions.values()))
    room = {"train": train_share * total, "rest": (1 - train_share) * total}
    left_out: set[Group] = set()
    clusters = _clusters(list(mentions), mentions)

    def size_of(cluster: Sequence[Group]) -> int:
        return sum(len(mentions[group]) for group in cluster)

    for cluster in sorted(clusters, key=lambda c: (-size_of(c), _merged(c).rank)):
        size = size_of(cluster)
        side = max(room, key=lambda name: room[name])
        left_out |= _cut_cluster(cluster, mentions, surplus=size - room[side])
        room[side] -= min(size, room[side])
    return left_out


def _cut_cluster(cluster: Sequence[Group], mentions: Mentions, *, surplus: float) -> set[Group]:
    """Moves a surplus of mentions to the other side; returns the groups with mentions of both.

    The mentions of a group are moved together, first those that few other groups connect.
    """
    strings = {group: set(mentions[group]) for group in cluster}
    counts = Counter(string for group in cluster for string in mentions[group])
    n_connecting = Counter(string for own in strings.values() if len(own) > 1 for string in own)

    def cost(group: Group) -> tuple[float, bytes]:
        n_mentions = sum(counts[string] for string in strings[group])
        return sum(n_connecting[string] for string in strings[group]) / n_mentions, group.rank

    moved: set[str] = set()
    for group in sorted((group for group in cluster if strings[group]), key=cost):
        added = strings[group] - moved
        n_added = sum(counts[string] for string in added)
        if n_added <= surplus:
            moved |= added
            surplus -= n_added
    return {group for group, own in strings.items() if own & moved and own - moved}
