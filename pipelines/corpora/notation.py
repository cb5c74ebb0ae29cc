"""How files count offsets, decided over all files of a run together, and mentions turned into spans by it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.alignment.strings import Generated, align, inside_word
from pipelines.alignment.strings import Mention as Placed
from pipelines.alignment.word_boundaries import find_occurrences, written_otherwise
from pipelines.corpora.mentions import Mention
from pipelines.errors import UserError
from pipelines.examples import Span
from pipelines.spans import Offsets, overlapping_pairs

Finding = tuple[str, str, str | None]  # kind of fault, message, repair

# What to add to an end to make it half-open. Offsets counted from 1 are no convention here: in a small file they look
# like a shift by one, which is a fault with a repair.
ENDS = {"half-open": 0, "inclusive": 1}
# Units of offsets -> how many of them a character is. JavaScript counts UTF-16, Go and Rust count UTF-8; some tools
# count the line end of Windows as one character.
_WIDTHS = {"utf-16": lambda character: 1 + (character > "\uffff"),
           "utf-8": lambda character: len(character.encode("utf-8", "surrogatepass")),
           "one a line end": lambda character: int(character != "\r")}
UNITS = ("character", *_WIDTHS, "token")
_MARKS = ",;:!?，。、；：！？「」『』（）《》〈〉…"  # punctuation that no mention begins or ends with


@dataclass(frozen=True, slots=True)
class Notation:
    """How a file counts: ``unit`` is one of ``UNITS``, ``ends`` one of ``ENDS``."""

    unit: str
    ends: str

    def __str__(self) -> str:
        return f"{self.unit} offsets ({self.ends}{'' if self.ends == 'half-open' else ' ends'})"


@dataclass(frozen=True, slots=True)
class Marked:
    """A text with its mentions as written. ``tokens`` are half-open offsets into the text."""

    text: str
    tokens: Offsets | None
    mentions: Sequence[Mention]


@dataclass(slots=True)
class Evidence:
    """What the mentions of one file say about its notation.

    Attributes:
        claims: how many mentions hold the text they claim, by notation.
        neat: how many mentions without such a claim begin and end at words, by notation.
        possible: how many mentions hold something at all, by notation.
        n_claims, n_free: the mentions with and without a claimed text.
        n_uncuttable: those without, in texts of one word, whose places say nothing.
        by_token: whether keys such as `start_token` say that tokens are counted.
        fits_tokens: whether no end lies beyond the last token.
    """

    claims: Counter[Notation]
    neat: Counter[Notation]
    possible: Counter[Notation]
    n_claims: int = 0
    n_free: int = 0
    n_uncuttable: int = 0
    by_token: bool = False
    fits_tokens: bool = True


def gather(rows: Sequence[Marked], notations: Sequence[Notation]) -> Evidence:
    """Counts, for each notation, how many mentions make sense under it."""
    evidence = Evidence(Counter(), Counter(), Counter())
    for row in rows:
        for mention in row.mentions:
            if mention.start is None or mention.end is None:
                continue
            evidence.by_token |= mention.by_token
            evidence.fits_tokens &= row.tokens is not None and mention.end <= len(row.tokens)
            claimed = mention.text
            evidence.n_claims += claimed is not None
            evidence.n_free += claimed is None
            evidence.n_uncuttable += claimed is None and len(row.text.split()) == 1
            for notation in notations:
                place = placed(mention, row.text, row.tokens, notation)
                if place is None:
                    continue
                evidence.possible[notation] += 1
                if claimed is None:
                    evidence.neat[notation] += is_neat(row.text, place)
                elif same_string(row.text[slice(*place)], claimed, notation.unit):
                    evidence.claims[notation] += 1
    return evidence


def candidates(rows: Sequence[Marked], *, ends: str | None, unit: str | None, has_tokens: bool,
               has_text: bool) -> list[Notation]:
    """The notations that are possible, the usual ones first; units that count these texts alike are left out.

    Args:
        ends, unit: what the user or the layout says, ``None`` = not known.
        has_tokens, has_text: whether the rows give tokens, and a text.
    """
    texts = [row.text for row in rows if not row.text.isascii() or "\r\n" in row.text]
    units = ["character"]
    if any(character > "\uffff" for text in texts for character in text):
        units.append("utf-16")
    if any(not text.isascii() for text in texts):
        units.append("utf-8")
    if any("\r\n" in text for text in texts):
        units.append("one a line end")
    by_token = any(mention.by_token for row in rows for mention in row.mentions)
    if has_tokens or by_token:
        units.append("token")
    if by_token or (has_tokens and not has_text and unit is None and _within_tokens(rows)):
        units = ["token"] if by_token else units
    if unit is not None:
        units = [unit]
    return [Notation(unit, one) for unit in units for one in ([ends] if ends else ENDS)]


def _within_tokens(rows: Sequence[Marked]) -> bool:
    return all(mention.end is None or (row.tokens is not None and mention.end <= len(row.tokens))
               for row in rows for mention in row.mentions)


def decide(files: Mapping[str, Sequence[Marked]], *, ends: str | None, unit: str | None, has_tokens: bool,
           has_text: bool, usual: Notation | None = None) -> Notation | None:
    """Decides for all files of a run together what their offsets count.

    The texts that mentions claim decide; where they claim none, the notation under which more mentions begin and end at
    words (of tokens: not at punctuation).

    Args:
        files: path -> its rows.
        ends, unit, has_tokens, has_text: see ``candidates``.
        usual: what mentions of this form mostly are, which decides where two notations fit equally well.

    Returns:
        The notation, ``None`` where no mention has offsets.

    Raises:
        UserError: where two notations fit equally well, where the files are in two, or where none fits.
    """
    rows = [row for part in files.values() for row in part]
    options = candidates(rows, ends=ends, unit=unit, has_tokens=has_tokens, has_text=has_text)
    found = {path: gather(part, options) for path, part in files.items()}
    claims: Counter[Notation] = sum((one.claims for one in found.values()), Counter())
    neat: Counter[Notation] = sum((one.neat for one in found.values()), Counter())
    possible: Counter[Notation] = sum((one.possible for one in found.values()), Counter())
    n_claims, n_free = (sum(getattr(one, name) for one in found.values()) for name in ("n_claims", "n_free"))
    path = " and ".join(files)
    if not n_claims + n_free:
        return None
    if claims:
        best = max(options, key=lambda notation: claims[notation])
        _refuse_two(found, best, "claims", "n_claims")
        return best
    if not n_free:
        return options[0]  # no claim fits any notation: each mention is a fault that says so
    fits = all(one.fits_tokens for one in found.values())
    if has_tokens and unit is None and not any(one.by_token for one in found.values()):
        options = _of_one_unit(options, neat, has_text=has_text, fits=fits)
    best = max(options, key=lambda notation: (neat[notation], possible[notation]))
    n_uncuttable = sum(one.n_uncuttable for one in found.values())
    if not neat and n_uncuttable == n_free:
        return next((notation for notation in options if notation == usual), options[0])
    if n_free >= 2 and 2 * neat[best] < n_free - n_uncuttable and not (ends and unit):
        raise UserError(f"{path}: {n_free - neat[best]} of {n_free} mentions cut words under every way of counting, "
                        f"such as {_shown(rows, best)}; fix the offsets, or say how they count by --offsets and --ends")
    # Hardly a tool counts UTF-8: such offsets have to fit better, not as well.
    rivals = [other for other in options if neat[other] == neat[best] and possible[other] == possible[best]
              and (other.unit != "utf-8" or best.unit == "utf-8") and _differ(rows, best, other)]
    if rivals and usual in (best, *rivals):
        return usual
    if rivals:
        option = "--ends" if rivals[0].unit == best.unit else "--offsets"
        raise UserError(f"{path}: its offsets may be {best} or {rivals[0]}: {_shown(rows, best, rivals[0])}; say which "
                        f"by {option} {best.ends if option == '--ends' else best.unit} or "
                        f"{rivals[0].ends if option == '--ends' else rivals[0].unit}")
    _refuse_two(found, best, "neat", "n_free")
    return best


def _of_one_unit(options: list[Notation], neat: Counter[Notation], *, has_text: bool, fits: bool) -> list[Notation]:
    """Where rows give tokens: offsets count tokens if they can and, beside a text, fit it better so."""
    tokens = [notation for notation in options if notation.unit == "token"]
    others = [notation for notation in options if notation.unit != "token"]
    if not tokens or not others:
        return options
    better = max(neat[notation] for notation in tokens) > max(neat[notation] for notation in others)
    return tokens if fits and (not has_text or better) else others


def _refuse_two(found: Mapping[str, Evidence], best: Notation, kind: str, total: str) -> None:
    """Refuses files of which one is nearly wholly in another notation than all together."""
    for path, evidence in found.items():
        counted, n = getattr(evidence, kind), getattr(evidence, total)
        other = max(counted, key=lambda notation: counted[notation], default=best)
        if n and counted[other] >= 0.9 * n and 2 * counted[best] <= counted[other]:
            rest = " and ".join(name for name in found if name != path)
            raise UserError(f"{path} has {other}, but {rest} has {best}; bring the files to one notation, or read each "
                            "by itself and `pipelines convert` it")


def _differ(rows: Sequence[Marked], one: Notation, other: Notation) -> bool:
    return any(placed(mention, row.text, row.tokens, one) != placed(mention, row.text, row.tokens, other)
               for row in rows for mention in row.mentions if mention.start is not None)


def _shown(rows: Sequence[Marked], *notations: Notation) -> str:
    """The first mention that the notations read differently, as each reads it."""
    for row in rows:
        for mention in row.mentions:
            if mention.start is None or mention.text is not None:
                continue
            places = [placed(mention, row.text, row.tokens, notation) for notation in notations]
            strings = [repr(row.text[slice(*place)]) if place else "nothing" for place in places]
            neat = len(notations) == 1 and places[0] is not None and is_neat(row.text, places[0])
            if (len(notations) > 1 and places[0] != places[1]) or (len(notations) == 1 and not neat):
                return f"{mention.start}:{mention.end} is {' or '.join(strings)}"
    return "none"


def placed(mention: Mention, text: str, tokens: Offsets | None, notation: Notation) -> tuple[int, int] | None:
    """Character offsets of a mention under a notation, ``None`` where they are empty or outside the text."""
    start, end = mention.start or 0, (mention.end or 0) + ENDS[notation.ends]
    if notation.unit == "token":
        return (tokens[start][0], tokens[end - 1][1]) if tokens and 0 <= start < end <= len(tokens) else None
    if notation.unit != "character" and (not text.isascii() or "\r" in text):
        positions = _positions(text, notation.unit)
        if start not in positions or end not in positions:
            return None
        start, end = positions[start], positions[end]
    return (start, end) if 0 <= start < end <= len(text) else None


_KNOWN: dict[tuple[str, str], dict[int, int]] = {}


def _positions(text: str, unit: str) -> dict[int, int]:
    """Offset in the unit -> offset in characters; an offset within a character is missing. The last text is kept."""
    if (text, unit) not in _KNOWN:
        if len(_KNOWN) > 8:
            _KNOWN.clear()
        positions: dict[int, int] = {}
        width, offset = _WIDTHS[unit], 0
        for position, character in enumerate(text):
            positions.setdefault(offset, position)
            offset += width(character)
        positions.setdefault(offset, len(text))
        _KNOWN[text, unit] = positions
    return _KNOWN[text, unit]


def is_whole(text: str, place: tuple[int, int]) -> bool:
    """Whether a place begins and ends at words, and not at blanks."""
    inner = text[slice(*place)]
    return inner == inner.strip() and not inside_word(text, place[0]) and not inside_word(text, place[1])


def is_neat(text: str, place: tuple[int, int]) -> bool:
    """Whether a place looks like a mention: whole words, no mark at its ends that belongs to the sentence."""
    if not is_whole(text, place):
        return False
    inner = text[slice(*place)]
    if inner[0] in _MARKS or inner[-1] in _MARKS or inner.count("(") != inner.count(")"):
        return False
    closes = inner[-1] == "." and "." not in inner[:-1]
    if closes and (place[1] == len(text) or text[place[1]].isspace()):
        return False
    return len(inner.split()) == 1 or any(character.isalnum() for character in inner.split()[-1])


def same_string(found: str, claimed: str, unit: str) -> bool:
    """Blanks of any sort are alike; between tokens they do not count at all."""
    by = "" if unit == "token" else " "
    return found == claimed or re.sub(r"\s", by, found) == re.sub(r"\s", by, claimed)


def to_spans(mentions: Sequence[Mention], text: str, tokens: Offsets | None, notation: Notation, *,
             label: str) -> tuple[list[Span], list[Finding]]:
    """Turns the mentions of one row into spans, and names what is wrong with them.

    Args:
        mentions: those with offsets are taken by them, the others are placed by their text.
        text: the row's text.
        tokens: half-open character offsets of its tokens, where it has them.
        notation: what the file's offsets count.
        label: type of the mentions that name none.

    Returns:
        Sorted spans, and (kind, message, repair) of each fault.
    """
    spans: list[Span] = []
    findings: list[Finding] = []
    for mention in mentions:
        if mention.start is not None:
            place, finding = _by_offsets(mention, text, tokens, notation)
            if place:
                spans.append(Span(*place, mention.label or label))
                if mention.text is None and notation.unit != "token" and not is_whole(text, place):
                    findings.append(_cut(text, place))
            if finding:
                findings.append(finding)
    strings = [Generated(m.text or "", m.label or label) for m in mentions if m.start is None]
    for aligned in align(text, strings) if strings else ():
        problem = _not_placed(aligned, text)
        if problem:
            findings.append(problem)
        elif aligned.span:
            spans.append(aligned.span)
    for a, b in overlapping_pairs(spans):
        findings.append(_overlap(text, a, b))
    return sorted(spans), findings


def _by_offsets(mention: Mention, text: str, tokens: Offsets | None,
                notation: Notation) -> tuple[tuple[int, int] | None, Finding | None]:
    start, end, claimed = mention.start or 0, mention.end or 0, mention.text
    place = placed(mention, text, tokens, notation)
    if place is None:
        repair = None if claimed is None else _repaired(claimed, text, tokens, notation, start)
        if end + ENDS[notation.ends] <= start:
            return None, ("empty_span", f"{notation.unit} offsets {start}:{end} hold nothing", repair)
        size = len(text) if notation.unit == "character" else len(tokens or ())
        return None, ("wrong_offsets", f"{notation.unit} offsets {start}:{end} leave the text, which has {size} "
                                       f"{notation.unit}s", repair)
    found = text[slice(*place)]
    if claimed is not None and not same_string(found, claimed, notation.unit):
        return None, ("wrong_offsets", f"{notation.unit} offsets {start}:{end} hold {found!r}, not {claimed!r}",
                      _repaired(claimed, text, tokens, notation, start))
    if not found.strip():
        return None, ("empty_span", f"{notation.unit} offsets {start}:{end} hold only blanks", None)
    return place, None


def _repaired(claimed: str, text: str, tokens: Offsets | None, notation: Notation, start: int) -> str | None:
    """Offsets, in the file's own notation, at which the claimed text does stand: the nearest, if several."""
    if notation.unit == "token" and tokens is not None:
        places = [(i, j) for i in range(len(tokens)) for j in range(i + 1, len(tokens) + 1)
                  if same_string(text[tokens[i][0]:tokens[j - 1][1]], claimed, "token")]
    else:
        places = [match.span() for match in re.finditer(f"(?=({re.escape(claimed)}))", text) if claimed]
        places = [(s, s + len(claimed)) for s, _ in places]
    if not places:
        span = align(text, [Generated(claimed, "mention")])[0].span
        return f"the text has {text[span.start:span.end]!r} at {span.start}:{span.end}" if span else None
    first, past = min(places, key=lambda place: abs(place[0] - start))
    shift = first - start
    why = "its only occurrence" if len(places) == 1 else f"the nearest of {len(places)} occurrences"
    why += f", {shift:+d} {notation.unit}s" if shift else ", the end was wrong"
    return f"start {first}, end {past - ENDS[notation.ends]} ({why})"


def _not_placed(aligned: Placed, text: str) -> Finding | None:
    """What is wrong with a string that does not stand in the text letter for letter and on word boundaries."""
    string, span = aligned.string, aligned.span
    if not string:
        return "empty_span", "an empty mention", "leave it out"
    if span is None and aligned.status != "not_in_text":
        n = len(list(find_occurrences(text, string)))
        return "not_in_text", f"{string!r} is listed more often than it occurs ({n} times)", "leave one out"
    if span is None:
        other = written_otherwise(text, string)
        return "not_in_text", f"{string!r} is not in the text", f"the text has {other!a}" if other else None
    if aligned.status != "exact":
        return "not_in_text", f"{string!r} is not in the text", f"the text has {text[span.start:span.end]!r}"
    if inside_word(text, span.start) or inside_word(text, span.end):
        repair = f"give offsets (start {span.start}, end {span.end}), or write the whole word"
        return "not_in_text", f"{string!r} occurs only within a word", repair
    return None


def _overlap(text: str, a: Span, b: Span) -> Finding:
    shown = f"{text[a.start:a.end]!r} ({a.start}:{a.end}) and {text[b.start:b.end]!r} ({b.start}:{b.end})"
    if (a.start, a.end) == (b.start, b.end):
        types = "" if a.label == b.label else f", as {a.label} and as {b.label}"
        return "overlapping_spans", f"the same span twice: {shown}{types}", "leave one out"
    nested = b.end <= a.end or a.start == b.start
    return "overlapping_spans", f"spans overlap: {shown}", "keep the longer one" if nested else None


def _cut(text: str, place: tuple[int, int]) -> Finding:
    start, end = place
    shown = text[max(0, start - 10):start] + "[" + text[start:end] + "]" + text[end:end + 10]
    return "cuts_word", f"the mention {start}:{end} does not begin and end at words: {shown!r}", None
