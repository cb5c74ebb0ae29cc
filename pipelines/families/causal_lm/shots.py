"""Training examples that are put before a text: the K most similar ones, the nearest one last."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from pipelines.corpora.writing import write_jsonl
from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject, Span
from pipelines.families import sequence_classifier
from pipelines.families.causal_lm.prompt_tokens import Prompt
from pipelines.families.frozen_head import features
from pipelines.prompting.class_formats import render_classes
from pipelines.prompting.formats import prompt_format
from pipelines.prompting.prompts import Shot

SHOTS_FILE = "shots.jsonl"
RETRIEVERS = ("tfidf", "minilm")
SIMILAR_AT_ONCE = 512  # texts whose similarities are held in memory
ENCODER_TOKENS = 256  # of a text that `local:minilm` reads
Matrix = Any  # of NumPy or, for TF-IDF, of SciPy
Vectors = Callable[[Sequence[str]], Matrix]


@dataclass(frozen=True)
class Shots:
    """Examples with their answers, and how the similar ones are found.

    Attributes:
        pool: the examples.
        shots: of each example, what stands before a text.
        by: `tfidf` (cosine of TF-IDF of words and pairs of words) or `minilm` (cosine of the mean
            states of `local:minilm`).
    """

    pool: list[Example]
    shots: list[Shot]
    by: str

    def nearest(self, examples: Sequence[Example], count: int) -> list[list[Shot]]:
        """For each example its `count` most similar shots, the most similar one last."""
        if not count or not self.pool:
            return [[] for _ in examples]
        known, vectors_of = self._index
        vectors = vectors_of([_joined(example) for example in examples])
        found: list[list[Shot]] = []
        for start in range(0, len(examples), SIMILAR_AT_ONCE):
            similar = vectors[start : start + SIMILAR_AT_ONCE] @ known.T
            dense = similar.toarray() if hasattr(similar, "toarray") else similar
            # Stable, so that examples that are equally similar are taken in the order of the file.
            order = np.argsort(-dense, axis=1, kind="stable")[:, :count]
            found += [[self.shots[index] for index in row[::-1]] for row in order]
        return found

    @cached_property
    def _index(self) -> tuple[Matrix, Vectors]:
        """(N, D) vectors of the examples, of length 1, and the function that makes them."""
        texts = [_joined(example) for example in self.pool]
        if self.by == "tfidf":
            vectorizer = TfidfVectorizer(
                ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+", dtype=np.float32
            )
            return vectorizer.fit_transform(texts), vectorizer.transform
        vectors_of = sentence_vectors("local:minilm")
        return vectors_of(texts), vectors_of


def sentence_vectors(name: str) -> Vectors:
    """A function from texts to (N, H) means of an encoder's states, of length 1."""
    encoder = sequence_classifier.load_encoder(name)
    tokenizer = sequence_classifier.load_tokenizer(name)

    def vectors_of(texts: Sequence[str]) -> np.ndarray:
        examples = [Example(str(index), text) for index, text in enumerate(texts)]
        extracted = features.extract(encoder, tokenizer, examples, max_length=ENCODER_TOKENS)
        means = extracted.vectors["mean"]
        return means / np.linalg.norm(means, axis=1, keepdims=True).clip(1e-12)

    return vectors_of


def shots_of(examples: Sequence[Example], prompt: Prompt, by: str) -> Shots:
    """The shots that training examples make.

    Raises:
        UserError: for an unknown way to find them.
    """
    if by not in RETRIEVERS:
        raise UserError(f"got --shots_by {by}; wanted one of {', '.join(RETRIEVERS)}")
    shots = [Shot(example.text, _answer(example, prompt), example.pair) for example in examples]
    return Shots(list(examples), shots, by)


def _answer(example: Example, prompt: Prompt) -> str:
    if prompt.answer == "spans":
        render = prompt_format(prompt.format).render
        return render(example.text, example.spans or (), prompt.labels)
    label = example.label
    classes = label if isinstance(label, tuple) else (str(label),)
    return render_classes([name for name in prompt.labels if name in classes])


def save_shots(shots: Shots, folder: Path) -> None:
    """Writes the examples into a model folder."""
    rows = []
    for example in shots.pool:
        row: JsonObject = {"id": example.id, "text": example.text, "pair": example.pair}
        if example.spans is not None:
            row["spans"] = [dataclasses.astuple(span)[:3] for span in example.spans]
        rows.append(row | {"label": example.label})
    write_jsonl(folder / SHOTS_FILE, rows)


def load_shots(folder: Path, prompt: Prompt, by: str) -> Shots:
    """Reads what `save_shots` wrote.

    Raises:
        UserError: for a damaged file.
    """
    examples = []
    try:
        for line in (folder / SHOTS_FILE).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            spans = row.get("spans")
            label = row["label"]
            examples.append(
                Example(
                    row["id"],
                    row["text"],
                    spans=None if spans is None else tuple(Span(*span) for span in spans),
                    label=tuple(label) if isinstance(label, list) else label,
                    pair=row["pair"],
                )
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder / SHOTS_FILE}: could not be read ({error}); make the run again"
        ) from error
    return shots_of(examples, prompt, by)


def _joined(example: Example) -> str:
    return example.text if example.pair is None else f"{example.text}\n{example.pair}"
