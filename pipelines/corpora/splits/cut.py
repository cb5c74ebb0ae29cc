"""Cuts examples into parts of given sizes, or reports why that is impossible."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from pipelines.corpora.corpus import classes_of
from pipelines.corpora.splits.groups import (
    Group,
    documents_in,
    groups_of,
    holders_of,
    text_key,
)
from pipelines.corpora.splits.stratified import distribute, sizes_as_text, whole_numbers
from pipelines.corpora.splits.unseen import cut_with_unseen_mentions
from pipelines.errors import DataError, UserError
from pipelines.examples import Example
from pipelines.formatting import some


def parse_sizes(text: str) -> dict[str, float]:
    """Reads `train=0.8,dev=0.1,test=0.1` (shares of the whole) or `train=4000,dev=400` (examples).

    Raises:
        UserError: for a size that is not such a number, and for a name that is not a plain file
            name.
    """
    sizes: dict[str, float] = {}
    for part in text.split(","):
        name, _, size = part.partition("=")
        try:
            sizes[name.strip()] = float(size)
        except ValueError:
            sizes[name.strip()] = 0.0
    # Train.jsonl and train.jsonl are one file on some systems.
    is_repeated = len({name.casefold() for name in sizes}) < len(text.split(","))
    is_size = [0 < size <= 1 or (size > 1 and size % 1 == 0) for size in sizes.values()]
    if is_repeated or not all(is_size) or not all(sizes):
        raise UserError(
            f"got the sizes {text!r}; wanted a name and a share or a number of examples for each "
            "part, such as train=0.8,dev=0.1,test=0.1"
        )
    for name in sizes:
        # A part is written to OUT/NAME.jsonl, and must not be written anywhere else.
        if not re.fullmatch(r"\w[\w.-]*", name):
            raise UserError(
                f"got a part named {name!r}; wanted a plain name of letters, digits, '-', '_' and "
                "'.', such as train"
            )
    return sizes


def split_examples(
    examples: Sequence[Example],
    sizes: Mapping[str, float],
    *,
    seed: int = 0,
    unseen_mentions: bool = False,
) -> dict[str, list[Example]]:
    """Cuts examples into parts that have classes, mentions or values in the same proportion.

    The examples of a document (see `documents_in`) and all copies of a text go to one part. Texts
    that differ only in case and whitespace are copies.

    Examples are stratified by class, where they have classes; by quantile, where they have values;
    else by the types of their mentions. Where nothing has to stay together the sizes are exact,
    and so is each single class's share to within one example.

    Args:
        examples: labelled or not; unlabelled ones are drawn at random.
        sizes: part -> share of the whole (up to 1) or number of examples (above 1). What they
            leave over is in no part.
        seed: another seed draws other examples.
        unseen_mentions: no mention string of another part is one of `train` (of the first part,
            where none has that name), whatever its case and whitespace. Examples that connect both
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
    cut = _positions_of_parts(examples, sizes, seed, unseen_mentions)
    return {name: [examples[position] for position in cut[name]] for name in cut}


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
    return list(_positions_of_parts(examples, sizes, seed, unseen_mentions=False).values())


def _positions_of_parts(
    examples: Sequence[Example], sizes: Mapping[str, float], seed: int, unseen_mentions: bool
) -> dict[str, list[int]]:
    if not examples:
        raise DataError("got no examples to split")
    wanted = whole_numbers(sizes, len(examples))
    if sum(wanted.values()) > len(examples):
        raise UserError(
            f"got the sizes {sizes_as_text(sizes)}; there are {len(examples)} texts, and shares "
            "add up to 1 at most"
        )
    groups = groups_of(examples, seed)
    _refuse_large_group(examples, groups, wanted)
    has_classes = any(isinstance(example.label, str | tuple) for example in examples)
    if has_classes:
        _refuse_rare_classes(examples, groups, len(wanted))
    if unseen_mentions:
        parts = cut_with_unseen_mentions(examples, groups, sizes)
    else:
        parts = distribute(groups, wanted, every_class=has_classes)
    cut = {name: sorted(p for group in parts[name] for p in group.positions) for name in sizes}
    empty = [name for name in sizes if not cut[name]]
    if empty:
        raise DataError(
            f"the part {empty[0]} would be empty: got {len(examples)} examples, of which "
            f"{max(len(group.positions) for group in groups)} stay together, for the sizes "
            f"{sizes_as_text(sizes)}; ask for other sizes, or give more examples"
        )
    return cut


def _refuse_unlabelled(examples: Sequence[Example]) -> None:
    unlabelled = [example.id for example in examples if example.label is None]
    if unlabelled:
        raise DataError(
            f"{len(unlabelled)} of {len(examples)} texts have no class, such as id "
            f"{unlabelled[0]}; a split by class needs them all labelled"
        )


def _refuse_large_group(
    examples: Sequence[Example], groups: Sequence[Group], wanted: Mapping[str, int]
) -> None:
    documents = documents_in(examples)
    largest = max(groups, key=lambda group: (len(group.positions), group.rank)).positions
    part = max(wanted, key=lambda name: wanted[name])
    n_spare = len(examples) - sum(wanted.values())
    # One text may have any number of copies: no other option would separate them.
    if documents is None or len(largest) <= max(wanted[part], n_spare):
        return
    names = sorted({documents[position] for position in largest})
    shared = ""
    if len(names) > 1:
        texts = Counter(text_key(examples[position])[0] for position in largest)
        text, count = min(texts.items(), key=lambda item: (-item[1], item[0]))
        shared = f", which share texts such as {text[:60]!r} ({count} times)"
    raise DataError(
        f"the {len(largest)} examples of document {some(names)}{shared} stay together, and are "
        f"more than the largest part ({part}, {wanted[part]}); ask for other sizes, leave out "
        "shared texts, or say by --group_column what stays together"
    )


def _refuse_rare_classes(
    examples: Sequence[Example], groups: Sequence[Group], n_parts: int
) -> None:
    lines = []
    for label, members in sorted(holders_of(groups).items()):
        if label and len(members) < n_parts:
            positions = sorted(position for group in members for position in group.positions)
            ids = [examples[p].id for p in positions if label in classes_of(examples[p])]
            lines.append(f"class {label!r}: {len(members)} (id {some(ids)})")
    if lines:
        unit = "texts" if documents_in(examples) is None else "documents"
        raise DataError(
            f"{len(lines)} classes have fewer different {unit} than there are parts ({n_parts}), "
            f"so that one would lack them; give more such {unit}, leave these rows out, or merge "
            "the classes\n" + "\n".join(lines)
        )
