"""The aligner: finds where the strings that a model generated stand in the text, each with a status.

Time and memory are near-linear in the text plus what was generated: a model that repeats itself a
thousand times must not stop a run.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from pipelines.alignment.word_boundaries import cuts_mark, find_all, inside_word, on_boundaries
from pipelines.examples import Span

__all__ = ["Generated", "Mention", "Place", "align", "inside_word", "mention_to_json",
           "repair_status"]

Place = tuple[int, int]

# (mention, place) pairs that `_longest_chain` looks at; beyond, each mention looks near its share.
CHAIN_PAIRS = 1_000_000


class Mention(NamedTuple):
    """One generated mention and what became of it.

    Attributes:
        string: the mention as generated.
        label: its type; as generated where that is not a known type.
        status: `exact`, `case_repaired`, `whitespace_repaired` (placed); `not_in_text`,
            `unknown_label`, `extra_occurrence` (generated more often than the text has it),
            `duplicate` (every place it could have is taken by a mention written otherwise)
            (not placed).
        span: its place, or None.
    """

    string: str
    label: str
    status: str
    span: Span | None


class Generated(NamedTuple):
    """A mention as read from an answer: its type is None where the written one is not known."""

    string: str
    label: str | None
    written_label: str = ""
    place: Place | None = None


def mention_to_json(mention: Mention) -> dict[str, Any]:
    place = None if mention.span is None else [mention.span.start, mention.span.end]
    return {"string": mention.string, "label": mention.label, "status": mention.status,
            "place": place}


def align(text: str, generated: Sequence[Generated]) -> tuple[Mention, ...]:
    """Places generated strings in a text.

    A string goes where it stands in the text, letter for letter and on word boundaries if it can:
    abbreviations such as WAS and AT are plain words in lower case. Mentions come in order of
    appearance, so the longest chain of mentions that can be placed in order, side by side, at
    their earliest places, is placed first: the k-th time a string is generated it takes its k-th
    occurrence after what came before. The rest take what is free, and only then a place inside
    another mention. No string takes a place inside a longer generated string while it has another
    one.

    Args:
        generated: in generated order; a `place` that is known already (a marked text) is kept.

    Returns:
        A Mention for each, in the same order.
    """
    if not generated:
        return ()
    finder = _Finder(text)
    strings = dict.fromkeys(item.string for item in generated)
    places = {string: finder.occurrences(string) for string in strings}
    labelled = {id(places[item.string]): places[item.string] for item in generated if item.label}
    covered = _inside_longer(set().union(*labelled.values()))
    chosen = {index: item.place for index, item in enumerate(generated)
              if item.label and item.place}
    preferred = _preferred(labelled, known=set(chosen.values()), covered=covered)
    chosen |= _longest_chain([
        preferred[id(places[item.string])] if item.label and index not in chosen else ()
        for index, item in enumerate(generated)])
    _place_the_rest(text, generated, places, covered, chosen)
    return _with_statuses(text, generated, places, chosen)


def _preferred(labelled: dict[int, list[Place]], *, known: set[Place],
               covered: set[Place]) -> dict[int, list[Place]]:
    """The places that a chain may use: none that is known, none in a longer mention if it can."""
    preferred = {}
    for key, places in labelled.items():
        free = [place for place in places if place not in known]
        preferred[key] = [place for place in free if place not in covered] or free
    return preferred


def _place_the_rest(text: str, generated: Sequence[Generated], places: dict[str, list[Place]],
                    covered: set[Place], chosen: dict[int, Place]) -> None:
    """Gives the mentions outside the chain a free place, each the best there is; adds to `chosen`."""
    occupied = bytearray(len(text))
    for start, end in chosen.values():
        occupied[start:end] = b"\1" * (end - start)
    taken = {(place, generated[index].label) for index, place in chosen.items()}
    free: dict[tuple[int, str], _FreePlaces] = {}
    reached = 0
    for index, item in enumerate(generated):
        if index not in chosen and item.label:
            key = id(places[item.string]), item.label
            if key not in free:
                free[key] = _FreePlaces(places[item.string], covered, item.label)
            place = free[key].take(reached, occupied, taken)
            if place:
                chosen[index] = place
                taken.add((place, item.label))
                occupied[slice(*place)] = b"\1" * (place[1] - place[0])
        reached = chosen[index][0] if index in chosen else reached


class _FreePlaces:
    """The places that one string may still take for one label, in four queues, best first.

    Clear of other mentions; clear, but inside a longer generated string; and the two kinds again
    for places that overlap another mention. A place moves from clear to overlapping when it is
    met there, so that each is looked at a few times only.
    """

    def __init__(self, places: Sequence[Place], covered: set[Place], label: str) -> None:
        self.label = label
        self.queues: list[list[Place]] = [
            [place for place in places if place not in covered],
            [place for place in places if place in covered], [], []]

    def take(self, reached: int, occupied: bytearray,
             taken: Collection[tuple[Place, str | None]]) -> Place | None:
        """The best free place: within a queue the first from `reached` on, else the first."""
        for rank, queue in enumerate(self.queues):
            position = bisect_left(queue, (reached, 0))
            while queue:
                place = queue.pop(position if position < len(queue) else 0)
                if (place, self.label) in taken:
                    continue
                if rank > 1 or occupied.find(1, *place) < 0:
                    return place
                insort(self.queues[rank + 2], place)
        return None


def _with_statuses(text: str, generated: Sequence[Generated], places: dict[str, list[Place]],
                   chosen: dict[int, Place]) -> tuple[Mention, ...]:
    mentions: list[Mention] = []
    used = {(item.string, item.label) for index, item in enumerate(generated) if index in chosen}
    spans: set[Span] = set()
    for index, item in enumerate(generated):
        if item.label is None:
            mentions.append(Mention(item.string, item.written_label, "unknown_label", None))
            continue
        span = Span(*chosen[index], item.label) if index in chosen else None
        if span is not None and span not in spans:
            status = repair_status(item.string, text[span.start:span.end]) or "exact"
            spans.add(span)
        elif span is not None:
            status, span = "duplicate", None
        elif not places[item.string]:
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
        self.found: dict[tuple[bool, str, bool], list[Place]] = {}

    def occurrences(self, string: str) -> list[Place]:
        """All places of a string, in order, of the best kind there is.

        On word boundaries letter for letter, but for white space, but for case; then inside words.
        """
        if not string.strip():
            return []
        exact = find_all(self.text, string)
        if bounded := [place for place in exact if on_boundaries(self.text, place)]:
            return bounded
        for fold_case in (False, True):
            if places := self._folded_occurrences(string, fold_case):
                return places
        return [(start, end) for start, end in exact
                if not (cuts_mark(self.text, start) or cuts_mark(self.text, end))]

    def _folded_occurrences(self, string: str, fold_case: bool) -> list[Place]:
        """The places on word boundaries that are equal once both are folded; shared by variants."""
        abbreviation = len(string) <= 5 and string.isupper() and string.isalpha()
        letters = _folded(string, fold_case)[0]
        key = fold_case, letters, abbreviation
        if key in self.found:
            return self.found[key]
        if fold_case not in self.folded:
            self.folded[fold_case] = _folded(self.text, fold_case)
        folded, offsets = self.folded[fold_case]
        places = []
        for start, end in find_all(folded, letters):
            place = offsets[start], offsets[end - 1] + 1
            # A letter that folds to several (ß to ss) must be matched as a whole.
            whole_start = not start or offsets[start - 1] < place[0]
            whole_end = end == len(folded) or offsets[end] >= place[1]
            # An abbreviation (WAS, AIDS) is not the plain word of the same letters.
            plain_word = abbreviation and self.text[slice(*place)].islower()
            if whole_start and whole_end and not plain_word and on_boundaries(self.text, place):
                places.append(place)
        self.found[key] = places
        return places


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


def _inside_longer(places: set[Place]) -> set[Place]:
    """Those of the places that lie inside a longer one."""
    inside, reached = set(), -1
    for start, end in sorted(places, key=lambda place: (place[0], -place[1])):
        if end <= reached:
            inside.add((start, end))
        reached = max(reached, end)
    return inside


def _longest_chain(choices: Sequence[Sequence[Place]]) -> dict[int, Place]:
    """Picks at most one place for each mention, most of them in order and without overlap.

    Where all fit one after the other, at their earliest places, that is the longest chain. Else
    the longest increasing subsequence by patience sorting, O(n log n) for n places in all; among
    the longest chains each step keeps the one that ends first. With more than `CHAIN_PAIRS`
    places, each mention looks only at those around its share of the places of its string, and a
    chain may be missed that is longer.

    Args:
        choices: the places of each mention, sorted.

    Returns:
        Index of the mention -> its place.
    """
    first_fit = _first_fit(choices)
    if len(first_fit) == sum(1 for places in choices if places):
        return first_fit
    if sum(map(len, choices)) > CHAIN_PAIRS:
        choices = _around_their_shares(choices)
    ends: list[int] = []  # ends[n]: where the chain of n + 1 places that ends first ends
    chains: list[tuple[int, Place, Any]] = []  # its last link: mention, place, the link before
    for index, places in enumerate(choices):
        # From the last place to the first, so that no mention follows upon itself.
        for place in reversed(places):
            length = bisect_right(ends, place[0])
            link = index, place, chains[length - 1] if length else None
            if length == len(ends):
                ends.append(place[1])
                chains.append(link)
            elif place[1] < ends[length]:
                ends[length], chains[length] = place[1], link
    chosen, last = {}, chains[-1] if chains else None
    while last:
        chosen[last[0]] = last[1]
        last = last[2]
    return chosen


def _first_fit(choices: Sequence[Sequence[Place]]) -> dict[int, Place]:
    """Gives each mention its first place behind the mention before; stops where there is none."""
    chosen: dict[int, Place] = {}
    reached = 0
    for index, places in enumerate(choices):
        if not places:
            continue
        position = bisect_left(places, (reached, 0))
        if position == len(places):
            break
        chosen[index] = places[position]
        reached = places[position][1]
    return chosen


def _around_their_shares(choices: Sequence[Sequence[Place]]) -> list[Sequence[Place]]:
    """Leaves each mention those places that lie around its share of the places of its string."""
    width = max(1, CHAIN_PAIRS // len(choices))
    times = Counter(map(id, choices))
    seen: Counter[int] = Counter()
    windows = []
    for places in choices:
        centre = len(places) * seen[id(places)] // times[id(places)]
        seen[id(places)] += 1
        start = max(0, min(centre - width // 2, len(places) - width))
        windows.append(places[start:start + width])
    return windows
