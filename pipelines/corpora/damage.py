"""Characters that a wrong decoding or a bad extraction left in a text: mojibake and control characters."""

from __future__ import annotations

import re

# What UTF-8's lead and continuation bytes turn into when they are read as Windows-1252 (Latin-1 where that has a gap).
_BYTES = {byte: bytes([byte]).decode("cp1252", errors="ignore") or chr(byte) for byte in range(0x80, 0x100)}
_BYTE_OF = {character: byte for byte, character in _BYTES.items()} | {chr(byte): byte for byte in _BYTES}
_CONTINUATION = "".join(re.escape(c) for c, byte in _BYTE_OF.items() if byte < 0xC0)


def _lead(first: int, last: int) -> str:
    return "".join(_BYTES[byte] for byte in range(first, last + 1))


_SUSPECT = re.compile(f"[{_lead(0xC2, 0xDF)}][{_CONTINUATION}]"
                      f"|[{_lead(0xE0, 0xEF)}][{_CONTINUATION}]{{2}}|[{_lead(0xF0, 0xF4)}][{_CONTINUATION}]{{3}}")
# Only what European text and notation hold: without this limit a closing quote behind a capital (CAFÉ») is a suspect.
_PLAUSIBLE = re.compile("[\u00a0-\u017f\u0391-\u03c9\u0401\u0410-\u0451\u2010-\u2044\u20ac\u2100-\u22ff\u25a0-\u27bf"
                        "\ufb00-\ufb06\ufeff\ufffd\U0001f300-\U0001faff]")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_REPLACEMENT = "\ufffd"


def find_damage(text: str) -> list[tuple[str, str, str | None]]:
    """Finds mojibake and control characters.

    Mojibake is found by a round trip: characters that, written as Windows-1252, read as UTF-8.

    Returns:
        (``mojibake`` or ``control_character``, message, repair), at most one of each kind.
    """
    if text.isascii() and text.isprintable():
        return []
    damage: list[tuple[str, str, str | None]] = []
    garbled = [(match.group(), repaired) for match in _SUSPECT.finditer(text) if (repaired := _decoded(match.group()))]
    if garbled:
        wrong, right = garbled[0]
        more = f" and {len(garbled) - 1} more" if len(garbled) > 1 else ""
        damage.append(("mojibake", f"{wrong!r} at {text.index(wrong)} is {right!r} in a wrong decoding{more}",
                       "read the source as UTF-8; offsets move"))
    elif _REPLACEMENT in text:
        message = f"a replacement character (U+FFFD) at {text.index(_REPLACEMENT)}: a character was lost"
        damage.append(("mojibake", message, None))
    rest = text
    for wrong, _ in garbled:
        rest = rest.replace(wrong, " " * len(wrong))
    controls = list(_CONTROL.finditer(rest))
    if controls:
        first = controls[0]
        more = f" and {len(controls) - 1} more" if len(controls) > 1 else ""
        damage.append(("control_character", f"U+{ord(first.group()):04X} at {first.start()}{more}",
                       "put a blank in its place: offsets stay"))
    return damage


def _decoded(garbled: str) -> str | None:
    try:
        repaired = bytes(_BYTE_OF[character] for character in garbled).decode("utf-8")
    except UnicodeDecodeError:
        return None
    return repaired if _PLAUSIBLE.fullmatch(repaired) else None
