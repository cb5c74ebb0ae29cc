"""Hand-made features of words for the CRF and the MEMM."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.corpora.lexicon import Lexicon, lexicon_tags
from pipelines.errors import UserError

GROUPS = ("words", "shapes", "affixes", "window", "bigrams", "lexicon")
EDGE = "<edge>"  # beyond the first and the last word
AFFIX_LENGTHS = range(1, 6)
_RUNS = re.compile(r"(.)\1+")


def check_groups(groups: Sequence[str]) -> None:
    """Refuses names of feature groups that do not exist.

    Raises:
        UserError: naming them and those that exist.
    """
    unknown = [group for group in groups if group not in GROUPS]
    if unknown or not groups:
        raise UserError(f"got --features {' '.join(groups)}; wanted some of {', '.join(GROUPS)}")


def shape(word: str) -> str:
    """`X` for capitals, `x` for small letters, `d` for digits; runs are one: `BRCA1` is `Xd`."""
    classes = (
        "X" if c.isupper() else "x" if c.isalpha() else "d" if c.isdigit() else c for c in word
    )
    return _RUNS.sub(r"\1", "".join(classes))


def word_features(
    words: Sequence[str], groups: Sequence[str], lexicon: Lexicon | None = None
) -> list[list[str]]:
    """The features of each word, as strings.

    Args:
        groups: some of `GROUPS`. `words`: the word, as it is and lower-cased; `shapes`; `affixes`
            of up to five
            letters; `window`: the neighbours, two to each side; `bigrams` with the next word on
            either side; `lexicon`: where the word stands in a match.
    """
    lowered = [word.lower() for word in words]
    shapes = [shape(word) for word in words]
    matched = lexicon_tags(lexicon, words) if lexicon is not None and "lexicon" in groups else None
    features = []
    for position in range(len(words)):
        found = ["bias"]
        if "words" in groups:
            found += [f"word={words[position]}", f"lower={lowered[position]}"]
        if "shapes" in groups:
            found += [f"shape{offset:+d}={_at(shapes, position + offset)}" for offset in (-1, 0, 1)]
        if "affixes" in groups:
            found += _affixes(lowered[position])
        if "window" in groups:
            found += [
                f"lower{offset:+d}={_at(lowered, position + offset)}" for offset in (-2, -1, 1, 2)
            ]
            found += [
                f"suffix{offset:+d}={_at(lowered, position + offset)[-3:]}" for offset in (-1, 1)
            ]
        if "bigrams" in groups:
            found += [
                f"before={_at(lowered, position - 1)} {lowered[position]}",
                f"after={lowered[position]} {_at(lowered, position + 1)}",
            ]
        if matched is not None:
            found += [
                f"lexicon{offset:+d}={_at(matched, position + offset)}" for offset in (-1, 0, 1)
            ]
        features.append(found)
    return features


def _affixes(word: str) -> list[str]:
    lengths = [length for length in AFFIX_LENGTHS if length <= len(word)]
    return [f"prefix={word[:length]}" for length in lengths] + [
        f"suffix={word[-length:]}" for length in lengths
    ]


def _at(values: Sequence[str], position: int) -> str:
    return values[position] if 0 <= position < len(values) else EDGE
