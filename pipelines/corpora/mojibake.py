"""Finds mojibake and control characters, which a wrong decoding or a bad extraction leaves."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.corpora.corpus import Finding

# What the lead and continuation bytes of UTF-8 become when they are read as Windows-1252 (as
# Latin-1 where that has a gap).
_CHARACTERS = {
    byte: bytes([byte]).decode("cp1252", errors="ignore") or chr(byte)
    for byte in range(0x80, 0x100)
}
_BYTE_OF = {character: byte for byte, character in _CHARACTERS.items()}
_BYTE_OF |= {chr(byte): byte for byte in _CHARACTERS}


def _read_wrongly(first: int, last: int) -> str:
    """A character class of what the bytes from first to last become."""
    characters = [character for character, byte in _BYTE_OF.items() if first <= byte <= last]
    return f"[{''.join(map(re.escape, characters))}]"


_CONTINUATION = _read_wrongly(0x80, 0xBF)
_SUSPECT = re.compile(
    f"{_read_wrongly(0xC2, 0xDF)}{_CONTINUATION}"
    f"|{_read_wrongly(0xE0, 0xEF)}{_CONTINUATION}{{2}}"
    f"|{_read_wrongly(0xF0, 0xF4)}{_CONTINUATION}{{3}}"
)
# Characters of European text and notation. Without this limit a closing quote after a capital
# letter (CAFÉ») would be suspect.
_PLAUSIBLE = re.compile(
    "[\u00a0-\u017f\u0391-\u03c9\u0401\u0410-\u0451\u2010-\u2044\u20ac\u2100-\u22ff\u25a0-\u27bf"
    "\ufb00-\ufb06\ufeff\ufffd\U0001f300-\U0001faff]"
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def find_mojibake(text: str) -> list[Finding]:
    """Finds mojibake and control characters.

    Mojibake is found by a round trip: characters that, encoded as Windows-1252, decode as UTF-8.

    Returns:
        (`mojibake` or `control_character`, message, repair), at most one of each kind.
    """
    if text.isascii() and text.isprintable():
        return []
    findings: list[Finding] = []
    suspects = [(match[0], _decoded(match[0])) for match in _SUSPECT.finditer(text)]
    garbled = [(wrong, right) for wrong, right in suspects if right]
    if garbled:
        wrong, right = garbled[0]
        message = f"{wrong!r} at {text.index(wrong)} is {right!r} in a wrong decoding"
        repair = "read the source as UTF-8; offsets move"
        findings.append(("mojibake", message + _more(garbled), repair))
    elif _REPLACEMENT in text:
        position = text.index(_REPLACEMENT)
        message = f"a replacement character (U+FFFD) at {position}: a character was lost"
        findings.append(("mojibake", message, None))
    rest = text
    for wrong, _ in garbled:
        rest = rest.replace(wrong, " " * len(wrong))
    controls = list(_CONTROL.finditer(rest))
    if controls:
        message = f"U+{ord(controls[0][0]):04X} at {controls[0].start()}{_more(controls)}"
        findings.append(("control_character", message, "replace it by a blank: offsets stay"))
    return findings


def _more(items: Sequence[object]) -> str:
    return f" and {len(items) - 1} more" if len(items) > 1 else ""


def _decoded(garbled: str) -> str | None:
    try:
        decoded = bytes(_BYTE_OF[character] for character in garbled).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return decoded if _PLAUSIBLE.fullmatch(decoded) else None
