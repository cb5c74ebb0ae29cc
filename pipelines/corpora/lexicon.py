"""A list of names, such as the diseases of MeSH, and where they stand in a text."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from pipelines.corpora.writing import replacing
from pipelines.errors import DataError, UserError
from pipelines.examples import Example
from pipelines.formatting import some
from pipelines.spans import word_units

SHORTEST = 2  # characters; a name of one letter matches too much
OUTSIDE = "O"  # the tag of a word in no match
logger = logging.getLogger(__name__)


class Entry(NamedTuple):
    """What a lexicon knows of a name.

    Attributes:
        label: its type, None where the file gives none.
        id: its identifier, None where the file gives none.
    """

    label: str | None = None
    id: str | None = None


class Match(NamedTuple):
    """A name found in words: the words `first` to `past` - 1."""

    first: int
    past: int
    entry: Entry


class Lexicon:
    """Names, compared by their lower-cased words.

    Args:
        names: the words of each name, joined by a blank, and what is known of it.
    """

    def __init__(self, names: Mapping[str, Entry]):
        self.names = names
        # Many words begin names of the same lengths: they share one tuple.
        shared: dict[tuple[int, ...], tuple[int, ...]] = {}
        lengths: dict[str, tuple[int, ...]] = {}
        for name in names:
            first, length = name.partition(" ")[0], name.count(" ") + 1
            sizes = lengths.get(first, ())
            if length not in sizes:
                longest_first = tuple(sorted((*sizes, length), reverse=True))
                lengths[first] = shared.setdefault(longest_first, longest_first)
        self._longest_first = lengths

    def __len__(self) -> int:
        return len(self.names)

    def __deepcopy__(self, _: object) -> Lexicon:
        return self  # nothing changes it, and a copy of a network need not copy millions of names

    def tags(self) -> list[str]:
        """All that `lexicon_tags` can say of a word, `O` first."""
        types = sorted({entry.label or "" for entry in self.names.values()})
        return [OUTSIDE, *(_tag(position, label) for label in types for position in "BIES")]

    def matches(self, words: Sequence[str]) -> Iterator[Match]:
        """Finds names from left to right, the longest at each word; matches do not overlap."""
        lowered = [word.lower() for word in words]
        first = 0
        while first < len(lowered):
            found = self._longest_at(lowered, first)
            if found is None:
                first += 1
            else:
                yield found
                first = found.past

    def _longest_at(self, words: Sequence[str], first: int) -> Match | None:
        for length in self._longest_first.get(words[first], ()):
            past = first + length
            entry = self.names.get(" ".join(words[first:past])) if past <= len(words) else None
            if entry is not None:
                return Match(first, past, entry)
        return None


def normalized(name: str) -> str:
    """A name as lexicons compare it: its words, lower-cased, joined by a blank."""
    return " ".join(name[start:end].lower() for start, end in word_units(name))


def check_lexicon_file(path: str | Path) -> None:
    """Raises a `UserError` when the file does not exist."""
    if not Path(path).is_file():
        raise UserError(
            f"--lexicon {path}: no such file; give one name a line, or name, type and id between "
            f"tabs"
        )


def read_lexicon(path: str | Path) -> Lexicon:
    """Reads one name a line, or `name⇥type⇥id`; the file may be gzipped.

    Names that are too short or repeated are skipped, and counted in a warning.

    Raises:
        UserError: when the file does not exist, is not UTF-8 text, or holds no name.
        DataError: for lines of more than three columns.
    """
    check_lexicon_file(path)
    file = Path(path)
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8-sig") as f:
            rows = tqdm(f, desc=file.name, unit=" names", disable=None)
            lexicon = _lexicon_from(str(path), rows)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise UserError(
            f"--lexicon {path}: not a whole text file in UTF-8 ({error}); convert it"
        ) from error
    if not len(lexicon):
        raise UserError(f"--lexicon {path}: holds no name; give one name a line")
    return lexicon


def _lexicon_from(path: str, lines: Iterable[str]) -> Lexicon:
    names: dict[str, Entry] = {}
    entries: dict[Entry, Entry] = {}  # names of one type without ids share one
    short: list[str] = []
    wide: list[str] = []
    repeated = 0
    for number, line in enumerate(lines, start=1):
        columns = [column.strip() for column in line.rstrip("\n").split("\t")]
        name = normalized(columns[0])
        if not name:
            continue
        if len(columns) > 3:
            wide.append(str(number))
        elif len(name) < SHORTEST:
            short.append(columns[0])
        elif name in names:
            repeated += 1
        else:
            label, id = [*columns[1:], "", ""][:2]
            entry = Entry(label or None, id or None)
            names[name] = entry if id else entries.setdefault(entry, entry)
    if wide:
        raise DataError(
            f"--lexicon {path}: more than three columns in lines {some(wide)}; wanted name, type "
            f"and id"
        )
    if short:
        logger.warning("%s: %d names of one letter are skipped: %s", path, len(short), some(short))
    if repeated:
        logger.warning("%s: %d repeated names are skipped; the first one counts", path, repeated)
    return Lexicon(names)


def lexicon_tags(lexicon: Lexicon, words: Sequence[str]) -> list[str]:
    """Where each word stands in a match, with the type of the name where the lexicon has one.

    A word of a corpus may hold several words of a name (`non-Hodgkin`); a match counts where it
    begins and ends with a word.

    Returns:
        A tag a word: `B`, `I` and `E` in a match of several words, `S` of a single word, or `O`.
    """
    pieces: list[str] = []
    starts: dict[int, int] = {}  # first piece -> word
    for number, word in enumerate(words):
        starts[len(pieces)] = number
        pieces += [word[start:end] for start, end in word_units(word)]
    starts[len(pieces)] = len(words)
    tags = [OUTSIDE] * len(words)
    for match in lexicon.matches(pieces):
        first, past = starts.get(match.first), starts.get(match.past)
        if first is None or past is None:
            continue
        inner = "I" * (past - first - 2)
        positions = f"B{inner}E" if past - first > 1 else "S"
        tags[first:past] = [_tag(position, match.entry.label) for position in positions]
    return tags


def coverage(lexicon: Lexicon, splits: Mapping[str, Sequence[Example]]) -> str:
    """One line: how many names there are, and the share of the mentions of each split they have."""
    parts = [f"{len(lexicon):,} names"]
    for split, examples in splits.items():
        mentions = [
            normalized(example.text[span.start : span.end])
            for example in examples
            for span in example.spans or ()
        ]
        if mentions:
            known = sum(mention in lexicon.names for mention in mentions)
            parts.append(
                f"{100 * known / len(mentions):.1f} % of the mentions of {split} among them"
            )
    return "; ".join(parts)


def _tag(position: str, label: str | None) -> str:
    return f"{position}-{label}" if label else position


def save_lexicon(path: str | Path, lexicon: Lexicon) -> None:
    """Writes a lexicon as JSON."""
    with replacing(Path(path)) as f:
        rows = [[name, *entry] for name, entry in lexicon.names.items()]
        json.dump(rows, f, ensure_ascii=False)


def load_lexicon(path: str | Path) -> Lexicon:
    """Reads what `save_lexicon` wrote; raises what reading a damaged file raises."""
    rows = json.loads(Path(path).read_text(encoding="utf-8"))
    return Lexicon({name: Entry(label, id) for name, label, id in rows})
