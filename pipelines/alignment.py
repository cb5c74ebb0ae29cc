"""The aligner: from the strings that a model generated to places in the text, with a status each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, NamedTuple

from pipelines.examples import Span

Place = tuple[int, int]


class Mention(NamedTuple):
    """One generated mention and what became of it.

    Attributes:
        string: the mention as generated.
        label: its type; as generated where that is no known type.
        status: ``exact``, ``case_repaired``, ``whitespace_repaired`` (placed); ``not_in_text``, ``unknown_label``,
            ``extra_occurrence`` (generated more often than the text has it), ``duplicate`` (every place it could
            have is taken by a mention written otherwise) (not placed).
        span: its place, or None.
    """

    string: str
    label: str
    status: str
    span: Span | None


class Generated(NamedTuple):
    """A mention as read from an answer: its type is None where no known one was given."""

    string: str
    label: str | None
    written_label: str = ""
    place: Place | None = None


def mention_to_json(mention: Mention) -> dict[str, Any]:
    place = None if mention.span is None else [mention.span.start, mention.span.end]
    return {"string": mention.string, "label": mention.label, "status": mention.status, "place": place}


def align(text: str, generated: Sequence[Generated]) -> tuple[Mention, ...]:
    """Places generated strings in a text.

    A string goes to where it stands in the text, letter for letter and on word boundaries if it can: abbreviations
    such as WAS and AT are plain words in lower case. Mentions come in order of appearance, so the longest chain of
    mentions that can be placed in order, side by side, at their earliest places, is placed first: the k-th time a
    string is generated it takes its k-th occurrence after what came before. The rest take what is free, and only
    then a place inside another mention. No string takes a place inside a longer generated string while it has
    another one.

    Args:
        generated: in generated order; a ``place`` that is known already (a marked text) is kept.

    Returns:
        A Mention for each, in the same order.
    """
    found = {item.string: _occurrences(text, item.string) for item in generated}
    covered = _inside_longer({place for item in generated if item.label for place in found[item.string]})
    chosen: dict[int, Place] = {index: item.place for index, item in enumerate(generated) if item.label and item.place}
    known = set(chosen.values())
    choices: list[Sequence[Place]] = []
    for index, item in enumerate(generated):
        places = [place for place in found[item.string] if item.label and index not in chosen and place not in known]
        choices.append([place for place in places if place not in covered] or places)
    chosen |= _longest_chain(choices)
    taken = {(place, generated[index].label) for index, place in chosen.items()}
    reached = 0
    for index, item in enumerate(generated):
        if index not in chosen and item.label:
            free = [place for place in found[item.string] if (place, item.label) not in taken]
            if free:
                chosen[index] = min(free, key=lambda place: (
                    any(place[0] < end and start < place[1] for start, end in chosen.values()),
                    place in covered, place[0] < reached, place))
                taken.add((chosen[index], item.label))
        reached = chosen[index][0] if index in chosen else reached
    return _with_statuses(text, generated, found, chosen)


def _with_statuses(text: str, generated: Sequence[Generated], found: dict[str, list[Place]],
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
            status = likeness(item.string, text[span.start:span.end]) or "exact"
            spans.add(span)
        elif span is not None:
            status, span = "duplicate", None
        elif not found[item.string]:
            status = "not_in_text"
        else:
            status = "extra_occurrence" if (item.string, item.label) in used else "duplicate"
        mentions.append(Mention(item.string, item.label, status, span))
    return tuple(mentions)


def _occurrences(text: str, string: str) -> list[Place]:
    """All places of a string, of the best kind there is.

    On word boundaries letter for letter, but for white space, but for case; then inside words.
    """
    if not string.strip():
        return []
    exact = _find_all(text, string)
    if bounded := [place for place in exact if _on_boundaries(text, place)]:
        return bounded
    for fold_case in (False, True):
        folded, offsets = _folded(text, fold_case)
        places = []
        for start, end in _find_all(folded, _folded(string, fold_case)[0]):
            place = offsets[start], offsets[end - 1] + 1
            # A letter that folds to several (ß to ss) must be matched as a whole.
            whole = (not start or offsets[start - 1] < place[0]) and (end == len(folded) or offsets[end] >= place[1])
            if whole and _on_boundaries(text, place) and not _plain_word(string, text[slice(*place)]):
                places.append(place)
        if places:
            return places
    return exact


def _plain_word(string: str, found: str) -> bool:
    """Whether an abbreviation (WAS, AIDS) met a plain word of the same letters."""
    return len(string) <= 5 and string.isupper() and string.isalpha() and found.islower()


def _find_all(text: str, string: str) -> list[Place]:
    places, start = [], text.find(string)
    while start >= 0:
        places.append((start, start + len(string)))
        start = text.find(string, start + 1)
    return places


def _folded(text: str, fold_case: bool) -> tuple[str, list[int]]:
    """The text without its white space, and the offset in the text of each letter of it."""
    pairs = [(letter, offset) for offset, character in enumerate(text) if not character.isspace()
             for letter in (character.casefold() if fold_case else character)]
    return "".join(letter for letter, _ in pairs), [offset for _, offset in pairs]


def likeness(generated: str, found: str) -> str | None:
    """The status of a string placed on another: the least repair that makes them equal, None where there is none."""
    if generated == found:
        return "exact"
    if _folded(generated, False)[0] == _folded(found, False)[0]:
        return "whitespace_repaired"
    return "case_repaired" if _folded(generated, True)[0] == _folded(found, True)[0] else None


def inside_word(text: str, offset: int) -> bool:
    """Whether an offset cuts a word in two: it stands between letters or digits."""
    # Scripts without case (Chinese, Thai, Arabic) write words, or prefixes, together: any offset is a boundary there.
    return 0 < offset < len(text) and _of_word(text[offset - 1]) and _of_word(text[offset])


def _of_word(character: str) -> bool:
    return character.isdecimal() or character.lower() != character.upper()


def _on_boundaries(text: str, place: Place) -> bool:
    return not inside_word(text, place[0]) and not inside_word(text, place[1])


def _inside_longer(places: set[Place]) -> set[Place]:
    """Those of the places that lie inside a longer one."""
    inside, reached = set(), -1
    for start, end in sorted(places, key=lambda place: (place[0], -place[1])):
        if end <= reached:
            inside.add((start, end))
        reached = max(reached, end)
    return inside


def _longest_chain(choices: Sequence[Sequence[Place]]) -> dict[int, Place]:
    """Picks at most one place for each mention, so that most are placed, one after the other without overlap.

    Longest increasing subsequence by patience sorting, O(n log n) for n places in all. Among the longest chains each
    step keeps the one that ends first.

    Returns:
        Index of the mention -> its place.
    """
    ends: list[int] = []  # ends[n]: where the chain of n + 1 places that ends first ends
    chains: list[tuple[int, Place, Any]] = []  # its last link: mention, place, the link before
    for index, places in enumerate(choices):
        # From the last place to the first, so that no mention follows upon itself.
        for place in sorted(places, reverse=True):
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
