"""Groups of examples that go to one part together, and what they are stratified by."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from pipelines.corpora.corpus import classes_of
from pipelines.examples import Example, documents_of

VALUE_BINS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Examples that go to one part together.

    Attributes:
        positions: their positions among all examples.
        rank: drawn from their text and the seed; it orders groups that are alike.
        counts: stratum -> how often it occurs in them.
    """

    positions: list[int]
    rank: bytes
    counts: Counter[str]


def groups_of(examples: Sequence[Example], seed: int) -> list[Group]:
    """Groups the examples that share a document or a text, directly or through others."""
    documents = documents_in(examples) or range(len(examples))
    texts = [text_key(example) for example in examples]
    strata = _strata_of(examples)
    groups = []
    for positions in connected(list(zip(texts, documents, strict=True))):
        # All copies of a text are in one group, so no two groups have the same first text.
        key = "\0".join((str(seed), *min(texts[position] for position in positions)))
        rank = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
        counts = Counter(stratum for position in positions for stratum in strata[position])
        groups.append(Group(positions, rank, counts))
    return groups


def connected(keys: Sequence[Iterable[Hashable]]) -> list[list[int]]:
    """Groups the positions whose keys have one in common, directly or through others."""
    parents = list(range(len(keys)))
    first: dict[Hashable, int] = {}

    def root(position: int) -> int:
        while parents[position] != position:
            parents[position] = parents[parents[position]]
            position = parents[position]
        return position

    for position, own in enumerate(keys):
        for key in own:
            parents[root(position)] = root(first.setdefault(key, position))
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for position in range(len(keys)):
        groups[root(position)].append(position)
    return list(groups.values())


def holders_of(groups: Iterable[Group]) -> dict[str, list[Group]]:
    """The groups in which each stratum occurs."""
    holders: defaultdict[str, list[Group]] = defaultdict(list)
    for group in groups:
        for stratum in group.counts:
            holders[stratum].append(group)
    return holders


def copies(examples: Iterable[Example]) -> list[list[int]]:
    """Groups the positions of examples that have the same text, apart from case and whitespace."""
    return connected([(text_key(example),) for example in examples])


def documents_in(examples: Sequence[Example]) -> list[str] | None:
    """Returns the document of each example, or None where the corpus does not name documents.

    It is the example's `group`, where any example has one; else what its id says
    (`pipelines.examples.documents_of`). An example without a group is a document by itself.

    A single document for all does not count: ids such as `train-1` name the file, and a CoNLL file
    often has one `-DOCSTART-` at the top.
    """
    documents = [
        f"\0{position}" if example.group is None else example.group
        for position, example in enumerate(examples)
    ]
    if all(example.group is None for example in examples):
        documents = documents_of([example.id for example in examples]) or []
    return documents if len(set(documents)) > 1 else None


def folded(text: str) -> str:
    """The text without differences of case and whitespace."""
    return " ".join(text.casefold().split())


def text_key(example: Example) -> tuple[str, str]:
    """What copies of a text, or of a pair of texts, have in common; of a picture its path."""
    if example.features is not None:
        return f"\0{example.features if isinstance(example.features, str) else example.id}", ""
    return folded(example.text), folded(example.pair or "")


def mentions_of(example: Example) -> list[str]:
    """The mentions of an example as strings, `folded`."""
    return [folded(example.text[span.start : span.end]) for span in example.spans or ()]


def value_of(example: Example) -> float | None:
    """The number of an example, `None` for any other answer."""
    return float(example.label) if isinstance(example.label, int | float) else None


def values_of(examples: Iterable[Example]) -> list[float]:
    """The numbers of the examples that have one."""
    values = map(value_of, examples)
    return [value for value in values if value is not None]


def _strata_of(examples: Sequence[Example]) -> list[tuple[str, ...]]:
    """The strata of each example: its classes, a bin of its value, or a type for each mention.

    An example that has none of these has the stratum `""`.
    """
    values = sorted(values_of(examples))
    n_bins = max(1, min(VALUE_BINS, len(values) // VALUE_BINS))
    strata: list[tuple[str, ...]] = []
    for example in examples:
        value = value_of(example)
        if value is not None:
            strata.append((f"bin {bisect_left(values, value) * n_bins // len(values)}",))
        elif example.label is not None:
            strata.append(classes_of(example) or ("",))
        else:
            strata.append(tuple(span.label for span in example.spans or ()) or ("",))
    return strata
