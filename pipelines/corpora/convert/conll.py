"""CoNLL: a token and its BIO tag a line, `# id = …` before each example, a blank line after it."""

from __future__ import annotations

import re
from pathlib import Path

from pipelines.corpora.convert.content import (
    Content,
    Losses,
    on_one_line,
    without_overlaps,
    words_of,
)
from pipelines.corpora.writing import replacing
from pipelines.examples import Example, Span
from pipelines.spans import Offsets, spans_to_tags


def write(path: Path, content: Content, losses: Losses) -> None:
    """Writes a token a line, with its tag unless nothing is labelled."""
    with replacing(path) as f:
        for example in content.examples:
            tokens = _tokens(example, losses)
            if not tokens:
                losses.leave_out(
                    "conll cannot represent texts without a token, they are left out", example.id
                )
                continue
            words = [_word(example, start, end, losses) for start, end in tokens]
            if " ".join(words) != example.text:
                losses.add(
                    "conll holds tokens without the blanks between them, texts become their tokens "
                    "joined by one blank",
                    example.id,
                )
            f.write(f"# id = {on_one_line(example.id)}\n")
            if content.answer is None:
                f.writelines(f"{word}\n" for word in words)
            else:
                tags = spans_to_tags(_carried(example, tokens, losses), tokens)
                f.writelines(f"{word}\t{tag}\n" for word, tag in zip(words, tags, strict=True))
            f.write("\n")


def _tokens(example: Example, losses: Losses) -> list[tuple[int, int]]:
    if example.tokens is None:
        return words_of(example.text)
    tokens = [(start, end) for start, end in example.tokens if example.text[start:end].strip()]
    if len(tokens) < len(example.tokens):
        losses.add(
            "conll cannot represent blank tokens, they are left out",
            example.id,
            len(example.tokens) - len(tokens),
        )
    return tokens


def _word(example: Example, start: int, end: int, losses: Losses) -> str:
    word = on_one_line(example.text[start:end], also="\t")
    if word != example.text[start:end]:
        losses.add(
            "conll cannot represent tabs and line ends in tokens, they become blanks", example.id
        )
    return word


def _carried(example: Example, tokens: Offsets, losses: Losses) -> list[Span]:
    """The spans that begin and end with a token, with types that a tag can hold."""
    starts, ends = {start for start, _ in tokens}, {end for _, end in tokens}
    carried = []
    for span in without_overlaps(example, losses):
        # A blank at the edge of a span belongs to no token.
        mention = example.text[span.start : span.end]
        start = span.start + len(mention) - len(mention.lstrip())
        end = span.end - len(mention) + len(mention.rstrip())
        if start not in starts or end not in ends or start >= end:
            losses.add(
                "conll cannot represent spans that begin or end inside a token, they are left out",
                example.id,
            )
            continue
        if (start, end) != (span.start, span.end):
            losses.add(
                "conll cannot represent blanks at the edge of a span, they are cut off", example.id
            )
        label = re.sub(r"\s", "_", span.label)
        if label != span.label:
            losses.add("conll cannot represent blanks in a type, they become _", example.id)
        carried.append(Span(start, end, label))
    return carried
