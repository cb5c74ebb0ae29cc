"""HMM, MEMM and CRF as taggers: one way to fit, predict and save them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.corpora.lexicon import Lexicon, load_lexicon, save_lexicon
from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject, Prediction, Span
from pipelines.families.lexical import crf, hmm, memm
from pipelines.families.lexical.word_features import GROUPS, check_groups, word_features
from pipelines.families.tag_units import tagged_units, tags_for
from pipelines.spans import Offsets, spans_to_tags, tags_to_token_ranges, token_ranges_to_spans

METHODS = ("hmm", "memm", "crf")
HMM_FILE, LEXICON_FILE = "hmm.json", "lexicon.json"


@dataclass(frozen=True)
class ChainOptions:
    """What a chain is trained with.

    Attributes:
        features: groups of features of MEMM and CRF.
        c1: L1 penalty of the CRF.
        c2: L2 penalty of the CRF.
        max_iterations: of the CRF's L-BFGS.
        regularization: C of the MEMM's logistic regressions.
    """

    features: Sequence[str] = GROUPS
    c1: float = 0.05
    c2: float = 0.05
    max_iterations: int = 100
    regularization: float = 1.0

    def __post_init__(self) -> None:
        check_groups(self.features)
        for name in ("c1", "c2", "max_iterations", "regularization"):
            if getattr(self, name) < 0 or (
                name in ("max_iterations", "regularization") and not getattr(self, name)
            ):
                raise UserError(f"got --{name} {getattr(self, name)}; wanted a number over 0")


@dataclass(frozen=True)
class ChainTagger:
    """A fitted chain.

    Attributes:
        method: one of `METHODS`.
        tags: S BIO tags, `O` first.
        model: gives the best tags and the probabilities of a sentence.
        features: groups of features; none for the HMM, which reads words.
        lexicon: for the features of that group.
    """

    method: str
    tags: tuple[str, ...]
    model: Any
    features: tuple[str, ...] = ()
    lexicon: Lexicon | None = field(default=None, repr=False)

    def tag(self, words: Sequence[str]) -> tuple[list[int], np.ndarray]:
        """The indices of the best tags of T words, and the (T, S) probabilities of all tags."""
        read: Any = word_features(words, self.features, self.lexicon) if self.features else words
        best, shares = self.model.tag(read)
        return best, shares


def fit(
    train: Sequence[Example],
    *,
    method: str,
    options: ChainOptions | None = None,
    lexicon: Lexicon | None = None,
) -> ChainTagger:
    """Fits a chain to labelled examples."""
    options = options or ChainOptions()
    tags = tuple(tags_for(train))
    sentences, given = [], []
    for example in train:
        units = tagged_units(example)
        if units:
            sentences.append([example.text[start:end] for start, end in units])
            given.append(spans_to_tags(example.spans or (), units))
    if not sentences:
        raise UserError("no training example has a word; give other training data")
    if method == "hmm":
        return ChainTagger(method, tags, hmm.fit(list(zip(sentences, given, strict=True)), tags))
    features = [word_features(words, options.features, lexicon) for words in sentences]
    model: Any
    if method == "memm":
        model = memm.fit(features, given, tags, regularization=options.regularization)
    else:
        model = crf.fit(
            features,
            given,
            tags,
            c1=options.c1,
            c2=options.c2,
            max_iterations=options.max_iterations,
        )
    return ChainTagger(method, tags, model, tuple(options.features), lexicon)


def predict(loaded: ChainTagger, examples: Sequence[Example]) -> list[Prediction]:
    """Tags each example; a span scores the least probability among its tags."""
    return [_prediction(loaded, example, tagged_units(example)) for example in examples]


def _prediction(loaded: ChainTagger, example: Example, units: Offsets) -> Prediction:
    if not units:
        return Prediction(example.id, spans=())
    best, shares = loaded.tag([example.text[start:end] for start, end in units])
    ranges = tags_to_token_ranges([loaded.tags[tag] for tag in best])
    chosen = np.clip(shares[np.arange(len(best)), best], 0.0, 1.0)
    spans = []
    for span, (first, past, _) in zip(token_ranges_to_spans(ranges, units), ranges, strict=True):
        score = round(float(chosen[first:past].min()), 6)
        spans.append(Span(span.start, span.end, span.label, score))
    return Prediction(example.id, spans=tuple(spans), certainty=round(float(chosen.min()), 6))


def save(folder: Path, loaded: ChainTagger) -> JsonObject:
    """Writes the model's files; returns what else has to be kept."""
    if loaded.method == "hmm":
        with replacing(folder / HMM_FILE) as f:
            json.dump(hmm.to_json(loaded.model), f, ensure_ascii=False)
    elif loaded.method == "memm":
        memm.save(folder, loaded.model)
    else:
        crf.save(folder, loaded.model)
    if loaded.lexicon is not None:
        save_lexicon(folder / LEXICON_FILE, loaded.lexicon)
    return {"tags": loaded.tags, "features": loaded.features, "lexicon": loaded.lexicon is not None}


def load(folder: Path, method: str, content: JsonObject) -> ChainTagger:
    """Reads what `save` wrote; raises what reading a damaged file raises."""
    tags = tuple(content["tags"])
    lexicon = load_lexicon(folder / LEXICON_FILE) if content["lexicon"] else None
    model: Any
    if method == "hmm":
        model = hmm.from_json(json.loads((folder / HMM_FILE).read_text(encoding="utf-8")))
    else:
        model = memm.load(folder, tags) if method == "memm" else crf.load(folder, tags)
    return ChainTagger(method, tags, model, tuple(content["features"]), lexicon)
