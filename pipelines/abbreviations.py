"""What the short forms in a sentence stand for, where another sentence of its document says so.

An abstract introduces "atelosteogenesis type 2 (AO2)" once and writes AO2 from then on. Whoever sees a later sentence
by itself has to guess whether AO2 is a disease, a gene or a city.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from pipelines.examples import Example, documents_of

_BRACKETS = re.compile(r"[(\[]\s*([^()\[\]]+?)\s*[)\]]")


def definitions(text: str) -> dict[str, str]:
    """Short forms in brackets with the long forms before them (Schwartz and Hearst 2003, PSB 8:451).

    A short form has 2 to 10 characters in at most two words, begins with a letter or digit and has a capital. Its
    letters and digits occur in this order in the long form, the first of them at the start of a word; the long form is
    the shortest such, within min(n + 5, 2n) words before the bracket (n: characters of the short form).
    """
    found: dict[str, str] = {}
    for bracket in _BRACKETS.finditer(text):
        short = re.split(r"[;,]\s", bracket[1])[0]
        if (2 <= len(short) <= 10 and len(short.split()) <= 2 and short[0].isalnum()
                and re.search(r"[^\W\d_]", short) and short != short.lower()):
            words = list(re.finditer(r"\S+", text[:bracket.start()]))[-min(len(short) + 5, 2 * len(short)):]
            before = text[words[0].start():bracket.start()].rstrip() if words else ""
            start = _long_form(short, before)
            if start is not None and len(before) - start > len(short) and short not in before[start:].split():
                found.setdefault(short, " ".join(before[start:].split()))
    return found


def _long_form(short: str, before: str) -> int | None:
    """Where in `before` the shortest long form begins: letters are matched from the right."""
    place = len(before)
    for number in range(len(short) - 1, -1, -1):
        if not short[number].isalnum():
            continue
        place -= 1
        while place >= 0 and (before[place].lower() != short[number].lower()
                              or (number == 0 and before[place - 1:place].isalnum())):
            place -= 1
        if place < 0:
            return None
    return place


def with_abbreviations(examples: Sequence[Example]) -> list[Example]:
    """Tells each example of the short forms that it uses and another example of its document defines.

    Which document an example belongs to is read from its id (`examples.documents_of`); where ids tell nothing, the
    examples come back as they are.
    """
    documents = documents_of([example.id for example in examples])
    if documents is None:
        return list(examples)
    own = [definitions(example.text) for example in examples]
    known: dict[str, dict[str, str]] = {}
    for document, defined in zip(documents, own, strict=True):
        known[document] = {**defined, **known.get(document, {})}
    return [replace(example, abbreviations=tuple(
                (short, long) for short, long in known[document].items()
                if short not in defined and re.search(rf"(?<!\w){re.escape(short)}s?(?!\w)", example.text)))
            for example, document, defined in zip(examples, documents, own, strict=True)]
