"""brat: a folder with `NAME.txt`, the text, and `NAME.ann`, its mentions, for each example."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from pipelines.corpora.convert.content import Content, Losses
from pipelines.examples import Example

_SAFE_PART = re.compile(r"\w[\w .,+=@-]{0,99}")
_UNSAFE_ENDINGS = (".txt", ".ann", ".", " ")


def write(folder: Path, content: Content, losses: Losses) -> None:
    """Writes a `.txt` for each example, and an `.ann` for each labelled one."""
    taken: set[str] = set()
    for example in content.examples:
        name = _name(example, taken, losses)
        path = folder / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        # Bytes, as offsets count each character of a line end.
        path.write_bytes(example.text.encode())
        if content.answer is None:
            losses.add(
                "without .ann files this is a folder of texts, ids end in .txt when it is read",
                example.id,
            )
        if example.spans is not None:
            annotations = "".join(f"{line}\n" for line in _lines(example, losses))
            (folder / f"{name}.ann").write_bytes(annotations.encode())


def _name(example: Example, taken: set[str], losses: Losses) -> str:
    """A file name that no other example has, not even where upper and lower case are one."""
    parts = example.id.split("/")
    is_safe = all(
        _SAFE_PART.fullmatch(part) and not part.endswith(_UNSAFE_ENDINGS) for part in parts
    )
    stem = example.id if is_safe else quote(example.id, safe=" ")[:150].strip(". ") or "_"
    name, number = stem, 1
    while name.casefold() in taken:
        number += 1
        name = f"{stem}~{number}"
    taken.add(name.casefold())
    if name != example.id:
        losses.add("a file cannot have this id as its name, the id is changed", example.id)
    return name


def _lines(example: Example, losses: Losses) -> list[str]:
    lines: list[str] = []
    for span in example.spans or ():
        mention = example.text[span.start : span.end]
        if re.search(r"[\r\n]", mention):
            losses.add("brat cannot represent line ends in a mention, it is left out", example.id)
            continue
        label = re.sub(r"\s", "_", span.label)
        if label != span.label:
            losses.add("brat cannot represent blanks in a type, they become _", example.id)
        lines.append(f"T{len(lines) + 1}\t{label} {span.start} {span.end}\t{mention}")
    return lines
