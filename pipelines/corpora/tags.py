"""Tags of tokens, however a file spells them, brought to the usual spelling."""

from __future__ import annotations

import re
from collections.abc import Sequence

# How tags are spelled: what one with a prefix looks like, and which groups hold its prefix and its type.
_STYLES = (("in lower case", re.compile(r"([biesulm])[-_](.+)"), 1, 2),
           ("with a colon", re.compile(r"([BIESLUMbiesulm])[:.](.+)"), 1, 2),
           ("with the prefix behind", re.compile(r"(.+)[-_]([BIESLUM])"), 2, 1))
_USUAL = re.compile(r"[BIESLUM][-_].+")


def canonical_tags(sequences: Sequence[Sequence[str]]) -> tuple[list[list[str]], str | None]:
    """Tags as ``B-Disease``, however a file spells them: ``b-disease``, ``B:Disease``, ``Disease-B``.

    A spelling counts only where every tag but ``O`` has it, none has the usual one, and one opens a mention.

    Returns:
        The tags, and the spelling in words where it is not the usual one.
    """
    different = {tag for tags in sequences for tag in tags}
    outside = {tag for tag in different if tag in ("O", "o")}
    rest = different - outside
    if not rest or any(_USUAL.fullmatch(tag) for tag in rest):
        return [list(tags) for tags in sequences], None
    for words, pattern, prefix, label in _STYLES:
        matches = {tag: pattern.fullmatch(tag) for tag in rest}
        prefixes = {match[prefix].upper() for match in matches.values() if match}
        if all(matches.values()) and prefixes & {"B", "S", "U"}:
            written = {tag: f"{match[prefix].upper()}-{match[label]}" for tag, match in matches.items() if match}
            written |= dict.fromkeys(outside, "O")
            return [[written[tag] for tag in tags] for tags in sequences], words
    return [list(tags) for tags in sequences], None
