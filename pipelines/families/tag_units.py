"""What of a text has a tag, which tags there are, and the mentions that they cannot express.

For every family that tags, with a network or without: so it imports no library of networks, which
take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.examples import Example, Span
from pipelines.formatting import some
from pipelines.spans import Offsets, tags_to_spans, word_units


def tagged_units(example: Example) -> list[tuple[int, int]]:
    """Character offsets of what has a tag, before a tokenizer joins units."""
    if example.tokens is None:
        return word_units(example.text)
    return [(start, end) for start, end in example.tokens if example.text[start:end].strip()]


def tags_for(examples: Sequence[Example]) -> list[str]:
    """The BIO tags of the types that occur, `O` first."""
    types = sorted({span.label for example in examples for span in example.spans or ()})
    return ["O", *(f"{prefix}-{label}" for label in types for prefix in "BI")]


def unreachable(example: Example, tags: Sequence[str], offsets: Offsets) -> list[Span]:
    """Gold spans that perfect tags do not give back: they overlap another or cut through a unit."""
    reached = set(tags_to_spans(tags, offsets))
    return [span for span in example.spans or () if span not in reached]


def describe_unreachable(lost: Sequence[tuple[str, Span]], *, width: int | None = None) -> str:
    """One line that counts and names mentions that a tagger cannot find, by id and offsets.

    Args:
        width: of a network that scores spans, how many units they have at most.
    """
    names = [f"{id} {span.start}:{span.end}" for id, span in lost]
    if width is None:
        how, first = "expressed by tags", "overlap another"
    else:
        how, first = "found as spans", f"have more than {width} units"
    return (
        f"{len(lost)} mentions cannot be {how} (they {first}, cut through a word, or hold no "
        f"character that the tagger sees): {some(names)}"
    )
