"""spaCy's DocBin (`.spacy`), written by spaCy itself, where it is installed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.corpora.convert.content import (
    Content,
    Losses,
    is_unlabelled,
    without_overlaps,
)
from pipelines.corpora.corpus import classes_of
from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.examples import Example, Span

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc


def write(path: Path, content: Content, losses: Losses) -> None:
    """Writes a document for each example, with entities or categories.

    Raises:
        UserError: when spaCy is not installed.
    """
    try:
        import spacy
        from spacy.tokens import DocBin
    except ImportError:
        raise UserError(
            f"{path}: a DocBin is written by spaCy; install it (`pip install spacy`), or choose "
            "another format by --to"
        ) from None
    model = spacy.blank("xx")
    labels = content.labels if content.answer == "label" else []
    documents = DocBin()
    for example in content.examples:
        documents.add(_document(example, model, labels, losses))
    with replacing(path, "wb") as f:
        f.write(documents.to_bytes())


def _document(example: Example, model: Language, labels: Sequence[str], losses: Losses) -> Doc:
    from spacy.tokens import Doc

    spans = without_overlaps(example, losses)
    tokens = example.tokens
    if tokens is None:
        tokens = tuple(
            (token.idx, token.idx + len(token)) for token in model.make_doc(example.text)
        )
    words, blanks = split_words(example.text, tokens, spans)
    document = Doc(model.vocab, words=words, spaces=blanks)
    if example.spans is not None:
        entities: Any = [
            document.char_span(span.start, span.end, label=span.label) for span in spans
        ]
        document.set_ents(entities, default="outside")
    elif not is_unlabelled(example):
        classes = classes_of(example)
        document.cats = {name: float(name in classes) for name in labels}
    return document


def split_words(
    text: str, tokens: Sequence[tuple[int, int]], spans: Sequence[Span]
) -> tuple[list[str], list[bool]]:
    """Cuts a text into spaCy's words, so that each span begins and ends with one.

    Returns:
        The words, and for each whether a blank follows; together they spell the text.
    """
    starts, ends = {span.start for span in spans}, {span.end for span in spans}
    edges = chain.from_iterable(tokens)
    cuts = sorted({0, len(text), *starts, *ends, *edges})
    words: list[str] = []
    blanks: list[bool] = []
    for start, end in pairwise(cuts):
        piece = text[start:end]
        belongs_to_span = start in starts or end in ends
        if words and not blanks[-1] and piece[0] == " " and not belongs_to_span:
            blanks[-1] = True
            piece = piece[1:]
        if piece:
            words.append(piece)
            blanks.append(False)
    return words, blanks
