"""How a language model is asked for the class of a text, and how it writes its answer.

| format | answer | no class |
| --- | --- | --- |
| class | `books` | |
| classes | `books; dvd`, in the order of the labels | `none` |
| verdict | `yes` or `no`, to a question behind the text | |

Escapes are those of a list of mentions (`formats.escaped`).
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.prompting.formats import escaped

CLASS_FORMATS = ("class", "classes", "verdict")
VERDICTS = ("yes", "no")
SEPARATOR = "; "
NO_CLASS = "none"


def class_wording(format: str, labels: Sequence[str]) -> tuple[str, str]:
    """The instruction to a chat model, and what stands before the answer of a base model."""
    names = ", ".join(map(escaped, labels))
    if format == "class":
        return f"Classify the text. Answer with one of: {names}.", "Class:"
    if format == "verdict":
        return "Answer the question about the text with yes or no.", "Answer:"
    return (
        f"Classify the text. Answer with all classes that apply, as `a; b`, out of: {names}; "
        f"or write `{NO_CLASS}`.",
        "Classes:",
    )


def render_classes(labels: Sequence[str]) -> str:
    """The answer of a text with these classes."""
    return SEPARATOR.join(map(escaped, labels)) or NO_CLASS
