"""A list of names, such as the diseases of MeSH, and where they stand in a text."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.errors import DataError, UserError
from pipelines.formatting import some
from pipelines.spans import word_units

SHORTEST = 2  # characters; a name of one letter matches too much
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
        lengths: dict[str, set[int]] = {}
        for name in names:
            words = name.split(" ")
            lengths.setdefault(words[0], set()).add(len(words))
        self._longest_first = {word: sorted(sizes, reverse=True) for word, sizes in lengths.items()}

    def __len__(self) -> int:
        return len(self.names)

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


def read_lexicon(path: str | Path) -> Lexicon:
    """Reads one name a line, or `name⇥type⇥id`; the file may be gzipped.

    Names that are too short or repeated are skipped, and counted in a warning.

    Raises:
        UserError: when the file does not exist, is not UTF-8 text, or holds no name.
        DataError: for lines of more than three columns.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(
            f"--lexicon {path}: no such file; give one name a line, or name, type and id between tabs"
        )
    opened = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rt", encoding="utf-8-sig") as f:
            lexicon = _lexicon_from(str(path), f)
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise UserError(
            f"--lexicon {path}: not a whole text file in UTF-8 ({error}); convert it"
        ) from error
    if not len(lexicon):
        raise UserError(f"--lexicon {path}: holds no name; give one name a line")
    return lexicon


def _lexicon_from(path: str, lines: Iterable[str]) -> Lexicon:
    names: dict[str, Entry] = {}
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
            names[name] = Entry(label or None, id or None)
    if wide:
        raise DataError(
            f"--lexicon {path}: more than three columns in lines {some(wide)}; wanted name, type and id"
        )
    if short:
        logger.warning("%s: %d names of one letter are skipped: %s", path, len(short), some(short))
    if repeated:
        logger.warning("%s: %d repeated names are skipped; the first one counts", path, repeated)
    return Lexicon(names)


def lexicon_tags(lexicon: Lexicon, words: Sequence[str]) -> list[str]:
    """A tag a word: `B`, `I` and `E` in a match of several words, `S` for one of a single word, else `O`."""
    tags = ["O"] * len(words)
    for match in lexicon.matches(words):
        inner = ["I"] * (match.past - match.first - 2)
        tags[match.first : match.past] = (
            ["B", *inner, "E"] if match.past - match.first > 1 else ["S"]
        )
    return tags
