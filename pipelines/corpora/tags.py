"""Tags of tokens in other spellings -> the usual one, `B-Disease`."""

from __future__ import annotations

import re
from collections.abc import Sequence

# What a tag looks like in other spellings, with its prefix and its type.
_SPELLINGS = {
    "in lower case": re.compile(r"(?P<prefix>[biesulm])[-_](?P<type>.+)"),
    "with a colon": re.compile(r"(?P<prefix>[BIESLUMbiesulm])[:.](?P<type>.+)"),
    "with the prefix last": re.compile(r"(?P<type>.+)[-_](?P<prefix>[BIESLUM])"),
}
_USUAL = re.compile(r"[BIESLUM][-_].+")


def canonical_tags(sequences: Sequence[Sequence[str]]) -> tuple[list[list[str]], str | None]:
    """Converts tags such as `b-disease`, `B:Disease` or `Disease-B` to the usual spelling.

    Tags have another spelling where every tag but `O` has it, none has the usual one, and one
    opens a mention.

    Returns:
        The tags, and the spelling in words where it is not the usual one.
    """
    distinct = {tag for tags in sequences for tag in tags}
    rest = distinct - {"O", "o"}
    if rest and not any(map(_USUAL.fullmatch, rest)):
        for spelling, pattern in _SPELLINGS.items():
            canonical = {"O": "O", "o": "O"}
            prefixes = set()
            for match in filter(None, map(pattern.fullmatch, rest)):
                prefix = match["prefix"].upper()
                prefixes.add(prefix)
                canonical[match[0]] = f"{prefix}-{match['type']}"
            if rest <= canonical.keys() and prefixes & {"B", "S", "U"}:
                return [[canonical[tag] for tag in tags] for tags in sequences], spelling
    return [list(tags) for tags in sequences], None
