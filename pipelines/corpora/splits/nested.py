"""Subsets of a training file for a learning curve: each contains the smaller ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, pairwise

from pipelines.corpora.corpus import classes_of
from pipelines.corpora.splits.groups import Group, groups_of, values_of
from pipelines.corpora.splits.stratified import distribute
from pipelines.errors import DataError, UserError
from pipelines.examples import Example

SUBSET = "subset"
RARE = "\0rare"  # all strata that would have less than one occurrence in a subset
STEP = 1.25  # between the fractions that are tried where one is too small


def nested_subsets(
    examples: Sequence[Example], fractions: Sequence[float], *, seed: int
) -> dict[float, list[Example]]:
    """Draws nested, stratified subsets of the training examples.

    The examples of a document and all copies of a text are in a subset together, or none is (see
    `documents_in`). Each subset has the classes, the types of mentions and the examples without a
    mention in the proportions of the whole, as near as such groups allow. A smaller subset is drawn
    from the next larger one, with its size relative to the whole.

    Args:
        examples: labelled.
        fractions: shares of the examples, above 0 and up to 1, in any order; 1 is all of them.
        seed: another seed draws other examples. The order of the examples changes nothing.

    Returns:
        The subset of each fraction, from the smallest to the largest, in the order of the examples.

    Raises:
        UserError: for fractions that are not such shares, and for repeated ones.
        DataError: for a subset without a label, or with one class or value only (it says the least
            fraction that works), and for two fractions with the same number of examples.
    """
    _refuse_fractions(fractions)
    groups = groups_of(examples, seed)
    descending = sorted(fractions, reverse=True)
    cuts = _nested_positions(groups, descending, len(examples))
    subsets = {f: [examples[position] for position in cuts[f]] for f in sorted(fractions)}
    faults = {fraction: _fault(subset) for fraction, subset in subsets.items()}
    faulty = [fraction for fraction in subsets if faults[fraction]]
    if faulty:
        # No subset of a training file that has this fault itself can be without it.
        whole_fault = _fault(examples)
        if whole_fault:
            raise DataError(f"train has {whole_fault}, so that there is no learning curve")
        least = _least_fraction(examples, groups, faulty[-1])
        raise DataError(
            f"the fraction {faulty[-1]:g} of train ({len(subsets[faulty[-1]]):,} of "
            f"{len(examples):,} examples) has {faults[faulty[-1]]}; wanted at least {least:g}"
        )
    for smaller, larger in pairwise(subsets):
        if len(subsets[smaller]) == len(subsets[larger]):
            raise DataError(
                f"the fractions {smaller:g} and {larger:g} of train are the same "
                f"{len(subsets[larger]):,} examples; leave one of them out"
            )
    return subsets


def _refuse_fractions(fractions: Sequence[float]) -> None:
    listed = ",".join(f"{fraction:g}" for fraction in fractions)
    outside = [fraction for fraction in fractions if not 0 < fraction <= 1]
    if outside or not fractions or len(set(fractions)) < len(fractions):
        raise UserError(
            f"got the fractions {listed or 'none'}; wanted different shares of train above 0 and "
            "up to 1, such as 0.1,0.25,0.5,1"
        )


def _nested_positions(
    groups: Sequence[Group], descending: Sequence[float], total: int
) -> dict[float, list[int]]:
    """The positions of each fraction, ascending; each is drawn from the one before."""
    cuts: dict[float, list[int]] = {}
    remaining = list(groups)
    for fraction in descending:
        wanted = max(1, round(fraction * total))
        n_remaining = sum(len(group.positions) for group in remaining)
        if wanted < n_remaining:
            remaining = _drawn(remaining, wanted, n_remaining)
        cuts[fraction] = sorted(chain.from_iterable(group.positions for group in remaining))
    return cuts


def _drawn(groups: Sequence[Group], wanted: int, total: int) -> list[Group]:
    """The groups of a subset of about `wanted` of `total` examples.

    `distribute` gives a part at least one of each stratum. Of a hundred classes with one example
    each, a subset of a tenth would get all and little else: these share one stratum here.
    """
    share = wanted / total
    counts: Counter[str] = Counter()
    for group in groups:
        counts.update(group.counts)
    rare = {stratum for stratum, count in counts.items() if count * share < 1}
    pooled = {_with_pooled(group, rare): group for group in groups}
    parts = distribute(list(pooled), {SUBSET: wanted}, every_class=False)
    return [pooled[group] for group in parts[SUBSET]]


def _with_pooled(group: Group, rare: set[str]) -> Group:
    counts: Counter[str] = Counter()
    for stratum, count in group.counts.items():
        counts[RARE if stratum in rare else stratum] += count
    return replace(group, counts=counts)


def _fault(subset: Sequence[Example]) -> str:
    """What keeps a model from learning from these examples; empty where nothing does."""
    if not subset:
        return "no example"
    if any(example.spans is not None for example in subset):
        return "" if any(example.spans for example in subset) else "no mention"
    values = values_of(subset)
    labels = {label for example in subset for label in classes_of(example)}
    is_multi_label = any(isinstance(example.label, tuple) for example in subset)
    if values:
        return "" if len(set(values)) > 1 else f"one value only ({values[0]:g})"
    if len(labels) > 1 or (labels and is_multi_label):
        return ""
    return f"one class only ({next(iter(labels))})" if labels else "no label"


def _least_fraction(
    examples: Sequence[Example], groups: Sequence[Group], too_small: float
) -> float:
    """The first of rising fractions that has no fault, each a quarter above the one before."""
    fraction = too_small
    while True:
        fraction = _rounded_up(min(1.0, STEP * fraction))
        positions = _nested_positions(groups, [fraction], len(examples))[fraction]
        if fraction >= 1 or not _fault([examples[position] for position in positions]):
            return fraction


def _rounded_up(fraction: float) -> float:
    """A fraction with two digits after its leading zeros."""
    unit = 10.0 ** (math.floor(math.log10(fraction)) - 1)
    return min(1.0, round(math.ceil(fraction / unit - 1e-9) * unit, 12))
