"""How files count offsets, decided over all files of a run together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate

from pipelines.alignment.word_boundaries import on_boundaries
from pipelines.corpora.mentions import RawMention
from pipelines.errors import UserError
from pipelines.spans import Offsets

# What to add to an end to make it half-open. Offsets counted from 1 are no convention here: in a
# small file they look like a shift by one, which is a fault with a repair.
ENDS = {"half-open": 0, "inclusive": 1}
# Unit of offsets -> how many units a character has. JavaScript counts UTF-16, Go and Rust count
# UTF-8; some tools count the line end of Windows as one character.
_WIDTHS: dict[str, Callable[[str], int]] = {
    "utf-16": lambda character: 1 + (character > "\uffff"),
    "utf-8": lambda character: len(character.encode("utf-8", "surrogatepass")),
    "crlf-as-one": lambda character: int(character != "\r"),
}
UNITS = ("character", *_WIDTHS, "token")
_PUNCTUATION = ",;:!?，。、；：！？「」『』（）《》〈〉…"  # no mention begins or ends with these


@dataclass(frozen=True, slots=True)
class Notation:
    """How a file counts: `unit` is one of `UNITS`, `ends` one of `ENDS`."""

    unit: str
    ends: str

    def __str__(self) -> str:
        ends = self.ends if self.ends == "half-open" else f"{self.ends} ends"
        return f"{self.unit} offsets ({ends})"


@dataclass(frozen=True, slots=True)
class MarkedText:
    """A text with its mentions as written; `tokens` are half-open offsets into the text."""

    text: str
    tokens: Offsets | None
    mentions: Sequence[RawMention]


@dataclass(slots=True)
class Evidence:
    """What mentions say about their notation.

    Attributes:
        claims: by notation, how many mentions hold the text they claim.
        neat: by notation, how many mentions without a claim begin and end at words.
        possible: by notation, how many mentions hold something at all.
        n_claims, n_free: number of mentions with and without a claimed text.
        n_single_words: number of those without, in texts of one word, whose edges say nothing.
        by_token: whether keys such as `start_token` say that tokens are counted.
        fits_tokens: whether no end lies beyond the last token.
    """

    claims: Counter[Notation] = field(default_factory=Counter)
    neat: Counter[Notation] = field(default_factory=Counter)
    possible: Counter[Notation] = field(default_factory=Counter)
    n_claims: int = 0
    n_free: int = 0
    n_single_words: int = 0
    by_token: bool = False
    fits_tokens: bool = True

    def add(self, mention: RawMention, marked: MarkedText, notations: Sequence[Notation]) -> None:
        """Counts a mention with offsets under each notation that makes sense of it."""
        is_free = mention.text is None
        self.n_claims += not is_free
        self.n_free += is_free
        self.n_single_words += is_free and len(marked.text.split()) == 1
        self.by_token |= mention.by_token
        self.fits_tokens &= marked.tokens is not None and (mention.end or 0) <= len(marked.tokens)
        for notation in notations:
            offsets = character_offsets(mention, marked.text, marked.tokens, notation)
            if offsets is None:
                continue
            self.possible[notation] += 1
            if mention.text is None:
                self.neat[notation] += is_neat(marked.text, offsets)
            elif same_string(marked.text[slice(*offsets)], mention.text, notation.unit):
                self.claims[notation] += 1

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(
            self.claims + other.claims,
            self.neat + other.neat,
            self.possible + other.possible,
            self.n_claims + other.n_claims,
            self.n_free + other.n_free,
            self.n_single_words + other.n_single_words,
            self.by_token or other.by_token,
            self.fits_tokens and other.fits_tokens,
        )

    def rank(self, notation: Notation) -> tuple[int, int]:
        """How well a notation fits the mentions without a claim."""
        return self.neat[notation], self.possible[notation]


def evidence_of(texts: Sequence[MarkedText], notations: Sequence[Notation]) -> Evidence:
    """What the mentions of some texts say about their notation."""
    evidence = Evidence()
    for marked in texts:
        for mention in marked.mentions:
            if mention.start is not None and mention.end is not None:
                evidence.add(mention, marked, notations)
    return evidence


def candidates(
    texts: Sequence[MarkedText],
    *,
    ends: str | None,
    unit: str | None,
    has_tokens: bool,
) -> list[Notation]:
    """The possible notations, the usual ones first, without units that count these texts alike.

    Args:
        ends, unit: what the user or the layout says, `None` = not known.
        has_tokens: whether the rows give tokens.
    """
    odd_texts = [marked.text for marked in texts if not marked.text.isascii()]
    units = ["character"]
    if any(max(text) > "\uffff" for text in odd_texts):
        units.append("utf-16")
    if odd_texts:
        units.append("utf-8")
    if any("\r\n" in marked.text for marked in texts):
        units.append("crlf-as-one")
    if has_tokens:
        units.append("token")
    if any(mention.by_token for marked in texts for mention in marked.mentions):
        units = ["token"]
    if unit is not None:
        units = [unit]
    return [Notation(unit, end) for unit in units for end in ([ends] if ends else ENDS)]


def decide(
    files: Mapping[str, Sequence[MarkedText]],
    *,
    ends: str | None,
    unit: str | None,
    has_tokens: bool,
    has_text: bool,
    usual: Notation | None = None,
) -> Notation | None:
    """Decides for all files of a run together what their offsets count.

    The texts that mentions claim decide. If they claim none, it is the notation under which most
    mentions begin and end at words (of tokens: not at punctuation).

    Args:
        files: path -> its texts.
        ends, unit, has_tokens: see `candidates`.
        has_text: whether the rows give a text.
        usual: what mentions of this form mostly are; decides where two notations fit equally well.

    Returns:
        The notation, `None` where no mention has offsets.

    Raises:
        UserError: where two notations fit equally well, where the files are in two, or where none
            fits.
    """
    texts = [marked for part in files.values() for marked in part]
    options = candidates(texts, ends=ends, unit=unit, has_tokens=has_tokens)
    by_file = {path: evidence_of(part, options) for path, part in files.items()}
    total = sum(by_file.values(), Evidence())
    if not total.n_claims + total.n_free:
        return None
    if total.claims:
        best = max(options, key=lambda notation: total.claims[notation])
        _refuse_two_notations(by_file, best, "claims", "n_claims")
        return best
    if not total.n_free:
        return options[0]  # no claim fits any notation: each mention is a fault that says so
    if has_tokens and unit is None and not total.by_token:
        options = _of_one_unit(options, total, has_text=has_text)
    best = max(options, key=total.rank)
    if not total.neat and total.n_single_words == total.n_free:
        return usual if usual in options else options[0]
    path = " and ".join(files)
    if not (ends and unit):
        _refuse_cut_words(path, texts, best, total)
    tied = _tied(texts, options, total)
    if len(tied) > 1 and usual in tied:
        return usual
    if len(tied) > 1:
        raise UserError(
            f"{path}: its offsets may be {tied[0]} or {tied[1]}: {_difference(texts, *tied[:2])}; "
            f"decide by {_deciding_options(texts, options, total)}"
        )
    _refuse_two_notations(by_file, best, "neat", "n_free")
    return best


def _refuse_cut_words(
    path: str, texts: Sequence[MarkedText], best: Notation, evidence: Evidence
) -> None:
    """Refuses mentions most of which begin or end within words even under the best notation."""
    n_neat, n_free = evidence.neat[best], evidence.n_free
    if n_free >= 2 and 2 * n_neat < n_free - evidence.n_single_words:
        raise UserError(
            f"{path}: {n_free - n_neat} of {n_free} mentions cut words under every way of "
            f"counting, such as {_cut_example(texts, best)}; fix the offsets, or say how they "
            "count by --offsets and --ends"
        )


def _tied(
    texts: Sequence[MarkedText], options: Sequence[Notation], evidence: Evidence
) -> list[Notation]:
    """The best notation, and those that fit as well but read some mention differently."""
    best = max(options, key=evidence.rank)
    tied = [best]
    for other in options:
        # Hardly a tool counts UTF-8: such offsets have to fit better, not as well.
        is_likely = other.unit != "utf-8" or best.unit == "utf-8"
        if (
            is_likely
            and evidence.rank(other) == evidence.rank(best)
            and _differ(texts, best, other)
        ):
            tied.append(other)
    return tied


def _deciding_options(
    texts: Sequence[MarkedText], options: Sequence[Notation], evidence: Evidence
) -> str:
    """The options that decide between tied notations: also what is tied once the ends are known."""
    tied = _tied(texts, options, evidence)
    ends = list(dict.fromkeys(notation.ends for notation in tied))
    units = [notation.unit for notation in tied]
    for end in ends:
        with_end = [notation for notation in options if notation.ends == end]
        units += [notation.unit for notation in _tied(texts, with_end, evidence)]
    units = list(dict.fromkeys(units))
    named = [f"--ends {' or '.join(ends)}"] if len(ends) > 1 else []
    named += [f"--offsets {' or '.join(units)}"] if len(units) > 1 else []
    return " and ".join(named)


def _of_one_unit(options: list[Notation], evidence: Evidence, *, has_text: bool) -> list[Notation]:
    """Where rows give tokens: offsets count them if they can and, beside a text, fit better so."""
    tokens = [notation for notation in options if notation.unit == "token"]
    others = [notation for notation in options if notation.unit != "token"]
    if not tokens or not others:
        return options
    best_by_token = max(evidence.neat[notation] for notation in tokens)
    is_better = best_by_token > max(evidence.neat[notation] for notation in others)
    return tokens if evidence.fits_tokens and (is_better or not has_text) else others


def _refuse_two_notations(
    by_file: Mapping[str, Evidence], best: Notation, counts: str, total: str
) -> None:
    """Refuses files of which one is almost wholly in another notation than all together."""
    for path, evidence in by_file.items():
        counted, n = getattr(evidence, counts), getattr(evidence, total)
        other = max(counted, key=lambda notation: counted[notation], default=best)
        if n and counted[other] >= 0.9 * n and 2 * counted[best] <= counted[other]:
            rest = " and ".join(name for name in by_file if name != path)
            raise UserError(
                f"{path} has {other}, but {rest} has {best}; bring the files to one notation, or "
                "read each by itself and `pipelines convert` it"
            )


def _differ(texts: Sequence[MarkedText], one: Notation, other: Notation) -> bool:
    for marked in texts:
        for mention in marked.mentions:
            read = [
                character_offsets(mention, marked.text, marked.tokens, notation)
                for notation in (one, other)
            ]
            if mention.start is not None and read[0] != read[1]:
                return True
    return False


def _cut_example(texts: Sequence[MarkedText], notation: Notation) -> str:
    """The first mention without a claim that is not neat, as `3:7 is 'n go'`."""
    for marked in texts:
        for mention in marked.mentions:
            if mention.start is None or mention.text is not None:
                continue
            offsets = character_offsets(mention, marked.text, marked.tokens, notation)
            if offsets is None or not is_neat(marked.text, offsets):
                return f"{mention.start}:{mention.end} is {_covered(marked, mention, notation)}"
    return "none"


def _difference(texts: Sequence[MarkedText], one: Notation, other: Notation) -> str:
    """The first mention that two notations read differently, as `3:5 is 'ab' or 'abc'`."""
    for marked in texts:
        for mention in marked.mentions:
            read = [_covered(marked, mention, notation) for notation in (one, other)]
            if mention.start is not None and mention.text is None and read[0] != read[1]:
                return f"{mention.start}:{mention.end} is {' or '.join(read)}"
    return "none"


def _covered(marked: MarkedText, mention: RawMention, notation: Notation) -> str:
    offsets = character_offsets(mention, marked.text, marked.tokens, notation)
    return repr(marked.text[slice(*offsets)]) if offsets else "nothing"


def character_offsets(
    mention: RawMention, text: str, tokens: Offsets | None, notation: Notation
) -> tuple[int, int] | None:
    """Half-open character offsets of a mention, `None` where they are empty or not in the text."""
    start, end = mention.start or 0, (mention.end or 0) + ENDS[notation.ends]
    if notation.unit == "token":
        is_inside = tokens is not None and 0 <= start < end <= len(tokens)
        return (tokens[start][0], tokens[end - 1][1]) if tokens and is_inside else None
    if notation.unit != "character" and (not text.isascii() or "\r" in text):
        positions = unit_positions(text, notation.unit)
        if start not in positions or end not in positions:
            return None
        start, end = positions[start], positions[end]
    return (start, end) if 0 <= start < end <= len(text) else None


@lru_cache(maxsize=8)  # a text's mentions are read one after the other, under each notation
def unit_positions(text: str, unit: str) -> dict[int, int]:
    """Offset in a unit -> offset in characters; an offset within a character is missing."""
    offsets = [0, *accumulate(map(_WIDTHS[unit], text))]
    # Backwards, so that of characters of no width the first keeps the offset.
    return dict(zip(reversed(offsets), range(len(text), -1, -1), strict=True))


def is_whole(text: str, offsets: tuple[int, int]) -> bool:
    """Whether a span begins and ends at words, and not at blanks."""
    covered = text[slice(*offsets)]
    return covered == covered.strip() and on_boundaries(text, offsets)


def is_neat(text: str, offsets: tuple[int, int]) -> bool:
    """Whether a span looks like a mention: whole words, no punctuation at its ends."""
    if not is_whole(text, offsets):
        return False
    covered, end = text[slice(*offsets)], offsets[1]
    if covered[0] in _PUNCTUATION or covered[-1] in _PUNCTUATION:
        return False
    if covered.count("(") != covered.count(")"):
        return False
    has_full_stop = covered[-1] == "." and "." not in covered[:-1]
    if has_full_stop and (end == len(text) or text[end].isspace()):
        return False
    words = covered.split()
    return len(words) == 1 or any(character.isalnum() for character in words[-1])


def same_string(covered: str, claimed: str, unit: str) -> bool:
    """Whether strings are equal but for the kind of blanks; between tokens, for any blanks."""
    blank = "" if unit == "token" else " "
    return covered == claimed or re.sub(r"\s", blank, covered) == re.sub(r"\s", blank, claimed)
