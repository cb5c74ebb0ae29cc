"""The aligner: finds the strings that a model generated in the text, each with a status.

Time and memory are near-linear in the text plus what was generated: a model that repeats itself a
thousand times must not stop a run.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from pipelines.alignment.word_boundaries import cuts_mark, find_all, inside_word, on_boundaries
from pipelines.examples import JsonObject, Span

__all__ = [
    "CharRange",
    "Generated",
    "Mention",
    "align",
    "inside_word",
    "mention_to_json",
    "repair_status",
]

CharRange = tuple[int, int]  # half-open
# Of a chain of mentions from its end: (index of the mention, its occurrence, the link before).
Link = tuple[int, CharRange, "Link | None"]

# (mention, occurrence) pairs that `_longest_chain` looks at; with more of them each mention looks
# near its share.
CHAIN_PAIRS = 1_000_000


class Mention(NamedTuple):
    """One generated mention and what became of it.

    Attributes:
        string: the mention as generated.
        label: its type; as generated where that is not a known type.
        status: `exact`, `case_repaired`, `whitespace_repaired` (placed); `not_in_text`,
            `unknown_label`, `extra_occurrence` (generated more often than the text has it),
            `duplicate` (every occurrence that it could take is taken by a mention in another
            spelling) (not placed).
        span: its occurrence in the text, or None.
    """

    string: str
    label: str
    status: str
    span: Span | None


class Generated(NamedTuple):
    """A mention as read from an answer: its type is None where the written one is not known.

    Attributes:
        occurrence: where it is in the text, if that is known already (a marked text).
    """

    string: str
    label: str | None
    written_label: str = ""
    occurrence: CharRange | None = None


def mention_to_json(mention: Mention) -> JsonObject:
    """The mention as an object; its `place` is `[start, end]` or null."""
    occurrence = None if mention.span is None else [mention.span.start, mention.span.end]
    return {
        "string": mention.string,
        "label": mention.label,
        "status": mention.status,
        "place": occurrence,
    }


def align(
    text: str, generated: Sequence[Generated], *, nested: bool = False
) -> tuple[Mention, ...]:
    """Places generated strings in a text.

    A string is placed letter for letter and on word boundaries if possible: abbreviations such as
    WAS and AT are plain words in lower case. Mentions come in order of appearance, so the longest
    chain of mentions that can be placed in order, side by side, at their earliest occurrences, is
    placed first: the k-th time a string is generated it takes its k-th occurrence after what came
    before. The rest take what is free, and only then an occurrence inside another mention. No
    string takes an occurrence inside a longer generated string while it has another one.

    Args:
        generated: in generated order; an `occurrence` that is known already is kept.
        nested: whether mentions may overlap, as in a corpus with nested ones. In order then means
            by their starts, of equal ones the longer first, and a string takes its earliest
            occurrence in order, inside another mention or not.

    Returns:
        A Mention for each, in the same order.
    """
    if not generated:
        return ()
    finder = _Finder(text)
    strings = dict.fromkeys(item.string for item in generated)
    occurrences = {string: finder.occurrences(string) for string in strings}
    # Variants of a string may share one list of occurrences, so lists are known by identity.
    lists = [occurrences[item.string] for item in generated if item.label]
    labelled = {id(ranges): ranges for ranges in lists}
    covered = set() if nested else _inside_longer(set().union(*labelled.values()))
    known = {index: item.occurrence for index, item in enumerate(generated) if item.label}
    chosen = {index: occurrence for index, occurrence in known.items() if occurrence}
    preferred = _preferred(labelled, known=set(chosen.values()), covered=covered)
    choices = [
        preferred[id(occurrences[item.string])] if item.label and index not in chosen else ()
        for index, item in enumerate(generated)
    ]
    if nested:
        chosen |= _longest_nested_chain(choices, [item.label or "" for item in generated])
    else:
        chosen |= _longest_chain(choices)
    _place_the_rest(text, generated, occurrences, covered, chosen)
    return _with_statuses(text, generated, occurrences, chosen)


def _preferred(
    labelled: dict[int, list[CharRange]], *, known: set[CharRange], covered: set[CharRange]
) -> dict[int, list[CharRange]]:
    """The occurrences for a chain: none that is taken, none in a longer mention if possible."""
    preferred = {}
    for key, occurrences in labelled.items():
        free = [occurrence for occurrence in occurrences if occurrence not in known]
        preferred[key] = [occurrence for occurrence in free if occurrence not in covered] or free
    return preferred


def _place_the_rest(
    text: str,
    generated: Sequence[Generated],
    occurrences: dict[str, list[CharRange]],
    covered: set[CharRange],
    chosen: dict[int, CharRange],
) -> None:
    """Adds to `chosen` the best free occurrence of each mention outside the chain."""
    occupied = bytearray(len(text))
    for start, end in chosen.values():
        occupied[start:end] = b"\1" * (end - start)
    taken = {(occurrence, generated[index].label) for index, occurrence in chosen.items()}
    free: dict[tuple[int, str], _FreeOccurrences] = {}
    reached = 0
    for index, item in enumerate(generated):
        if index not in chosen and item.label:
            key = id(occurrences[item.string]), item.label
            if key not in free:
                free[key] = _FreeOccurrences(occurrences[item.string], covered, item.label)
            occurrence = free[key].take(reached, occupied, taken)
            if occurrence:
                chosen[index] = occurrence
                taken.add((occurrence, item.label))
                occupied[slice(*occurrence)] = b"\1" * (occurrence[1] - occurrence[0])
        reached = chosen[index][0] if index in chosen else reached


class _FreeOccurrences:
    """The occurrences that one string may still take for one label, in four queues, best first.

    Clear of other mentions; clear, but inside a longer generated string; and the two kinds again
    for occurrences that overlap another mention. An occurrence moves from clear to overlapping when
    it is found to overlap, so that each is looked at a few times only.
    """

    def __init__(
        self, occurrences: Sequence[CharRange], covered: set[CharRange], label: str
    ) -> None:
        self.label = label
        self.queues: list[list[CharRange]] = [
            [occurrence for occurrence in occurrences if occurrence not in covered],
            [occurrence for occurrence in occurrences if occurrence in covered],
            [],
            [],
        ]

    def take(
        self, reached: int, occupied: bytearray, taken: Collection[tuple[CharRange, str | None]]
    ) -> CharRange | None:
        """The best free occurrence: within a queue the first from `reached` on, else the first."""
        for rank, queue in enumerate(self.queues):
            position = bisect_left(queue, (reached, 0))
            while queue:
                occurrence = queue.pop(position if position < len(queue) else 0)
                if (occurrence, self.label) in taken:
                    continue
                if rank > 1 or occupied.find(1, *occurrence) < 0:
                    return occurrence
                insort(self.queues[rank + 2], occurrence)
        return None


def _with_statuses(
    text: str,
    generated: Sequence[Generated],
    occurrences: dict[str, list[CharRange]],
    chosen: dict[int, CharRange],
) -> tuple[Mention, ...]:
    mentions: list[Mention] = []
    used = {(item.string, item.label) for index, item in enumerate(generated) if index in chosen}
    spans: set[Span] = set()
    for index, item in enumerate(generated):
        if item.label is None:
            mentions.append(Mention(item.string, item.written_label, "unknown_label", None))
            continue
        span = Span(*chosen[index], item.label) if index in chosen else None
        if span is not None and span not in spans:
            status = repair_status(item.string, text[span.start : span.end]) or "exact"
            spans.add(span)
        elif span is not None:
            status, span = "duplicate", None
        elif not occurrences[item.string]:
            status = "not_in_text"
        else:
            status = "extra_occurrence" if (item.string, item.label) in used else "duplicate"
        mentions.append(Mention(item.string, item.label, status, span))
    return tuple(mentions)


class _Finder:
    """Finds strings in one text, whose folded forms are made once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.folded: dict[bool, tuple[str, list[int]]] = {}
        self.known: dict[tuple[bool, str, bool], list[CharRange]] = {}

    def occurrences(self, string: str) -> list[CharRange]:
        """All occurrences of a string, in order, of the best kind there is.

        On word boundaries letter for letter, but for white space, but for case; then inside words.
        """
        if not string.strip():
            return []
        exact = find_all(self.text, string)
        if whole := [offsets for offsets in exact if on_boundaries(self.text, offsets)]:
            return whole
        for fold_case in (False, True):
            if occurrences := self._folded_occurrences(string, fold_case):
                return occurrences
        return [
            offsets for offsets in exact if not any(cuts_mark(self.text, edge) for edge in offsets)
        ]

    def _folded_occurrences(self, string: str, fold_case: bool) -> list[CharRange]:
        """The occurrences on word boundaries that are equal once folded; variants share them."""
        is_abbreviation = len(string) <= 5 and string.isupper() and string.isalpha()
        letters = _folded(string, fold_case)[0]
        key = fold_case, letters, is_abbreviation
        if key in self.known:
            return self.known[key]
        if fold_case not in self.folded:
            self.folded[fold_case] = _folded(self.text, fold_case)
        folded, offsets = self.folded[fold_case]
        occurrences = []
        for first, past in find_all(folded, letters):
            start, end = offsets[first], offsets[past - 1] + 1
            # A letter that folds to several (ß to ss) must be matched as a whole.
            is_whole = not first or offsets[first - 1] < start
            is_whole = is_whole and (past == len(folded) or offsets[past] >= end)
            # An abbreviation (WAS, AIDS) is not the plain word of the same letters.
            is_plain_word = is_abbreviation and self.text[start:end].islower()
            if is_whole and not is_plain_word and on_boundaries(self.text, (start, end)):
                occurrences.append((start, end))
        self.known[key] = occurrences
        return occurrences


def _folded(text: str, fold_case: bool) -> tuple[str, list[int]]:
    """The text without its white space, and the offset in the text of each letter of it."""
    letters: list[str] = []
    offsets: list[int] = []
    for offset, character in enumerate(text):
        if character.isspace():
            continue
        folded = character.casefold() if fold_case else character
        letters.append(folded)
        offsets += [offset] * len(folded)
    return "".join(letters), offsets


def repair_status(generated: str, original: str) -> str | None:
    """The status of a string placed on another: the least repair that makes them equal, or None."""
    if generated == original:
        return "exact"
    if "".join(generated.split()) == "".join(original.split()):
        return "whitespace_repaired"
    equal_but_for_case = _folded(generated, True)[0] == _folded(original, True)[0]
    return "case_repaired" if equal_but_for_case else None


def _inside_longer(occurrences: set[CharRange]) -> set[CharRange]:
    """The occurrences inside a longer one."""
    inside, reached = set(), -1
    for start, end in sorted(occurrences, key=lambda offsets: (offsets[0], -offsets[1])):
        if end <= reached:
            inside.add((start, end))
        reached = max(reached, end)
    return inside


def _longest_chain(choices: Sequence[Sequence[CharRange]]) -> dict[int, CharRange]:
    """Picks at most one occurrence for each mention, most of them in order and without overlap.

    Where all fit one after the other, at their earliest occurrences, that is the longest chain.
    Else the longest increasing subsequence by patience sorting, O(n log n) for n occurrences in
    all; among the longest chains each step keeps the one that ends first. With more than
    `CHAIN_PAIRS` occurrences, each mention looks only at those around its share of the occurrences
    of its string, and a longer chain may be missed.

    Args:
        choices: the occurrences of each mention, sorted.

    Returns:
        Index of the mention -> its occurrence.
    """
    first_fit = _first_fit(choices)
    if len(first_fit) == sum(1 for occurrences in choices if occurrences):
        return first_fit
    if sum(map(len, choices)) > CHAIN_PAIRS:
        choices = _around_their_shares(choices)
    ends: list[int] = []  # ends[n]: where the chain of n + 1 occurrences that ends first ends
    chains: list[Link] = []  # the last link of each
    for index, occurrences in enumerate(choices):
        # From the last occurrence to the first, so that no mention follows upon itself.
        for occurrence in reversed(occurrences):
            length = bisect_right(ends, occurrence[0])
            link = index, occurrence, chains[length - 1] if length else None
            if length == len(ends):
                ends.append(occurrence[1])
                chains.append(link)
            elif occurrence[1] < ends[length]:
                ends[length], chains[length] = occurrence[1], link
    return _occurrences_of(chains[-1] if chains else None)


def _longest_nested_chain(
    choices: Sequence[Sequence[CharRange]], labels: Sequence[str]
) -> dict[int, CharRange]:
    """As `_longest_chain`, of mentions that may overlap: in order of start, length and type."""
    if sum(map(len, choices)) > CHAIN_PAIRS:
        choices = _around_their_shares(choices)
    keys: list[tuple[int, int, str]] = []  # of the chain of n + 1 occurrences with the least key
    chains: list[Link] = []
    for index, occurrences in enumerate(choices):
        for occurrence in reversed(occurrences):
            key = occurrence[0], -occurrence[1], labels[index]
            length = bisect_left(keys, key)
            link = index, occurrence, chains[length - 1] if length else None
            keys[length : length + 1] = [key]
            chains[length : length + 1] = [link]
    return _occurrences_of(chains[-1] if chains else None)


def _occurrences_of(last: Link | None) -> dict[int, CharRange]:
    """Index of the mention -> its occurrence, of a chain from its end."""
    chosen = {}
    while last:
        index, occurrence, last = last
        chosen[index] = occurrence
    return chosen


def _first_fit(choices: Sequence[Sequence[CharRange]]) -> dict[int, CharRange]:
    """Gives each mention its first occurrence after the mention before, while there is one."""
    chosen: dict[int, CharRange] = {}
    reached = 0
    for index, occurrences in enumerate(choices):
        if not occurrences:
            continue
        position = bisect_left(occurrences, (reached, 0))
        if position == len(occurrences):
            break
        chosen[index] = occurrences[position]
        reached = occurrences[position][1]
    return chosen


def _around_their_shares(choices: Sequence[Sequence[CharRange]]) -> list[Sequence[CharRange]]:
    """Limits each mention to the occurrences around its share of those of its string."""
    width = max(1, CHAIN_PAIRS // len(choices))
    times = Counter(map(id, choices))
    seen: Counter[int] = Counter()
    windows = []
    for occurrences in choices:
        centre = len(occurrences) * seen[id(occurrences)] // times[id(occurrences)]
        seen[id(occurrences)] += 1
        start = max(0, min(centre - width // 2, len(occurrences) - width))
        windows.append(occurrences[start : start + width])
    return windows
