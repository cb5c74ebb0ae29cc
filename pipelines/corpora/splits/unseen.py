"""Cuts examples so that no mention of a held-out part occurs in train."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

from pipelines.corpora.splits.groups import Group, connected, mentions_of
from pipelines.corpora.splits.stratified import SPARE, distribute, whole_numbers
from pipelines.errors import DataError, UserError
from pipelines.examples import Example

logger = logging.getLogger(__name__)

Mentions = Mapping[Group, Sequence[str]]


def training_part(parts: Sequence[str]) -> str:
    return "train" if "train" in parts else parts[0]


def cut_with_unseen_mentions(
    examples: Sequence[Example], groups: Sequence[Group], sizes: Mapping[str, float]
) -> dict[str, list[Group]]:
    """Separates train from the rest, which shares no mention with it, then cuts up the rest.

    Raises:
        DataError: where the sizes cannot be met.
        UserError: where there are no mentions.
    """
    mentions = {
        group: [string for row in group.positions for string in mentions_of(examples[row])]
        for group in groups
    }
    if not any(mentions.values()):
        raise UserError("got --unseen_mentions for a corpus without mentions; leave the option out")
    train = training_part(list(sizes))
    train_share = whole_numbers(sizes, len(examples))[train] / len(examples)
    left_out = _connecting(mentions, max(train_share, 1 - train_share))
    kept = [group for group in groups if group not in left_out]
    n_kept = sum(len(group.positions) for group in kept)
    wanted = whole_numbers(sizes, n_kept)
    refusal = f"mentions cannot be kept apart for the sizes {_as_text(sizes)}"
    if 2 * n_kept < len(examples) or sum(wanted.values()) > n_kept:
        raise DataError(
            f"{refusal}: {len(examples) - n_kept} of {len(examples)} examples have mentions both "
            f"of {train} and of other parts; ask for smaller parts, or do without --unseen_mentions"
        )

    clusters = {_merged(members): members for members in _clusters(kept, mentions)}
    sides = distribute(list(clusters), {train: wanted[train]}, every_class=False)
    held_out = [group for cluster in sides[SPARE] for group in clusters[cluster]]
    others = {name: size for name, size in wanted.items() if name != train}
    parts = distribute(held_out, others, every_class=False) | {train: sides[train]}
    for name, size in wanted.items():
        got = sum(len(group.positions) for group in parts[name])
        if got < size / 2:
            raise DataError(
                f"{refusal}: {name} would have {got} of {size} examples; ask for other sizes, or "
                "do without --unseen_mentions"
            )
    if left_out:
        logger.warning(
            "left out %d of %d examples, whose mentions connect %s with other parts",
            len(examples) - n_kept,
            len(examples),
            train,
        )
    return parts


def _as_text(sizes: Mapping[str, float]) -> str:
    return ",".join(f"{name}={size:g}" for name, size in sizes.items())


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


def _connecting(mentions: Mentions, share: float) -> set[Group]:
    """The groups to leave out, so that the largest cluster has at most a share of all mentions.

    Frequent mentions join most of a corpus to one cluster. Groups of it are moved to the other
    side, those first that share mentions with few groups; groups with mentions of both sides are
    left out.
    """
    def n_mentions(groups):
        return sum(len(mentions[group]) for group in groups)

    clusters = _clusters(list(mentions), mentions)
    largest = max(clusters, key=lambda groups: (n_mentions(groups), min(g.rank for g in groups)))
    surplus = n_mentions(largest) - share * n_mentions(mentions)
    return VARIANT(largest, mentions, surplus, n_mentions(mentions), share)
