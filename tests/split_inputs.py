"""Sizes, examples with mentions, and helpers, for the tests of splits."""

from pipelines.examples import Example, Span

SIZES = {"train": 0.8, "dev": 0.1, "test": 0.1}


def marked(id, *mentions):
    """An example whose text is its id and its mentions, each a string and a type."""
    text, spans = f"sentence {id}", []
    for string, type in mentions:
        spans.append(Span(len(text) + 1, len(text) + 1 + len(string), type))
        text += f" {string}"
    return Example(id, text, spans=tuple(spans))


def strings(examples):
    return {e.text[span.start : span.end].casefold() for e in examples for span in e.spans or ()}


def sizes_of(parts):
    return {name: len(part) for name, part in parts.items()}


def ids_of(parts):
    return {name: [e.id for e in part] for name, part in parts.items()}


def classified(counts, copied=0):
    rows = [
        Example(f"{label}{i}", f"{label} text {i}", label=label)
        for label, n in counts.items()
        for i in range(n)
    ]
    return rows + [
        Example(f"copy{i}", rows[i].text.upper(), label=rows[i].label) for i in range(copied)
    ]
