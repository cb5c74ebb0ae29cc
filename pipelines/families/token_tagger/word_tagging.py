"""Training a word-level tagger: its vocabulary, its word vectors, its rows, and the trainer.

Prediction, saving and loading are those of `token_tagger`, as for every network that tags tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerBase, Trainer

from pipelines.errors import DataError, UserError
from pipelines.evaluation.token_scores import tags_of
from pipelines.examples import Example, Span
from pipelines.families.token_tagger import labels_of
from pipelines.families.token_tagger.tagging import TaggerTrainer
from pipelines.families.token_tagger.units import Settings, describe_unreachable, encode, shown, unreachable
from pipelines.networks import precision, weights
from pipelines.networks.embeddings import distilled_vectors, read_vectors, unit_variance
from pipelines.networks.tagger import IGNORED, Tagger
from pipelines.networks.word_tokenizer import vocabulary, word_counts, word_tokenizer

DISTILLED = "distil:"  # before the name of an encoder
RANDOM_DIM, DISTILLED_DIM = 300, 256
logger = logging.getLogger(__name__)


def check_tags(splits: Mapping[str, Sequence[Example]], tags: Sequence[str]) -> None:
    """Makes sure that no labelled split has a type that training lacks.

    Raises:
        DataError: naming each such type, how often it occurs, and where first.
    """
    known, faults = {tag[2:] for tag in tags}, []
    for split, examples in splits.items():
        new: dict[str, list[str]] = {}
        for example in examples:
            for span in example.spans or ():
                if span.label not in known:
                    new.setdefault(span.label, []).append(example.id)
        faults += [f"{split}: the type {label!r} ({len(ids)} mentions, first in example {ids[0]}) is not among those "
                   f"of training: {', '.join(sorted(known - {''})) or 'none'}" for label, ids in new.items()]
    if faults:
        raise DataError("\n".join(faults) + "\nmend the labels, or give training examples of these types")


class Words(NamedTuple):
    """A vocabulary: its tokenizer, and the vectors of those of its words that have one from elsewhere.

    Attributes:
        dim: D of the word vectors.
        numbers: (K,) word numbers.
        vectors: (K, D).
    """

    tokenizer: PreTrainedTokenizerBase
    dim: int
    numbers: Tensor
    vectors: Tensor


def fit_words(train: Sequence[Example], others: Sequence[Example] = (), *, min_freq: int = 1, remove_frac: float = 0.0,
              lowercase: bool = False, embeddings: str = "random", embedding_dim: int | None = None,
              padding_side: str = "right", truncation_side: str = "right", progress: bool = True) -> Words:
    """Makes the vocabulary of the training texts, and finds vectors for its words.

    Args:
        others: texts to be tagged later. Their words join the vocabulary where they have a vector from elsewhere:
            nobody has to see their labels for that.
        embeddings: `random`, a text file of vectors, or `distil:` and the name of an encoder (`distil:local:minilm`).
        embedding_dim: D; of distilled vectors, the principal components that are kept.

    Raises:
        UserError: when no word is left, or there are no such vectors.
    """
    cut = {"lowercase": lowercase, "punctuation": any(example.tokens is None for example in train)}
    counts = word_counts((example.text for example in train), **cut)
    words = vocabulary(counts, min_freq=min_freq, remove_frac=remove_frac)
    if embeddings == "random":
        new: list[str] = []
        known: list[str] = []
        vectors = torch.empty(0, embedding_dim or RANDOM_DIM)
    else:
        new = sorted(word_counts((example.text for example in others), **cut).keys() - counts.keys())
        known, vectors = _vectors_from(embeddings, [*words, *new], embedding_dim, progress=progress)
    with_vector = set(known)
    words += [word for word in new if word in with_vector]
    tokenizer = word_tokenizer(words, **cut, padding_side=padding_side, truncation_side=truncation_side)
    number = tokenizer.get_vocab()
    numbers = torch.tensor([number[word] for word in known], dtype=torch.long)
    return Words(tokenizer, vectors.shape[1], numbers, vectors)


def _vectors_from(source: str, words: Sequence[str], dim: int | None, *, progress: bool) -> tuple[list[str], Tensor]:
    """The words that have a vector there, and their (K, D) vectors with numbers of variance 1."""
    if source.startswith(DISTILLED):
        name = source.removeprefix(DISTILLED)
        try:
            encoder = AutoModel.from_pretrained(weights.resolve(name), dtype=precision.choose().weights)
            tokenizer = AutoTokenizer.from_pretrained(weights.resolve(name))
        except (OSError, ValueError) as error:
            raise weights.unavailable(name, error) from error
        encoder = encoder.to(precision.choose().device).eval()
        vectors = distilled_vectors(words, encoder, tokenizer, dim=dim or DISTILLED_DIM, progress=progress)
        return list(words), unit_variance(vectors)
    if not Path(source).is_file():
        raise UserError(f"got --embeddings {source}; wanted random, a text file of vectors, or {DISTILLED} and an "
                        f"encoder, such as {DISTILLED}local:minilm")
    found = read_vectors(source, words)
    if not found:
        raise UserError(f"{source}: has a vector for none of the {len(words)} words; it may be of another language, or "
                        "want --lowercase true")
    vectors = torch.tensor(list(found.values()))
    if dim not in (None, vectors.shape[1]):
        raise UserError(f"{source}: its vectors have {vectors.shape[1]} numbers, not --embedding_dim {dim}; leave the "
                        "option out")
    return list(found), unit_variance(vectors)


def put_vectors(model: Tagger, words: Words) -> None:
    """Gives a network the vectors that come from elsewhere; the others stay random, the unknown word's small."""
    with torch.no_grad():
        model.embeddings.words.weight[words.numbers] = words.vectors.to(model.dtype)


def training_rows(examples: Sequence[Example], model: Tagger, tokenizer: PreTrainedTokenizerBase, *,
                  max_length: int | None = None) -> list[dict[str, Tensor]]:
    """Word numbers, tags and spelling of each example, in order; an example without words is left out.

    A warning names what training cannot use: mentions that tags cannot express, texts without words, and texts that
    are cut.

    Args:
        max_length: words of a row at most; of a longer one the tokenizer's truncation side is cut off.
    """
    number = {tag: place for place, tag in enumerate(labels_of(model))}
    rows = []
    lost: list[tuple[str, Span]] = []
    empty: list[str] = []
    cut: list[str] = []
    for example, text in zip(examples, encode(examples, tokenizer, Settings()), strict=True):
        tags = tags_of(example.spans or (), text.offsets)
        lost.extend((example.id, span) for span in unreachable(example, tags, text.offsets))
        if not text.windows:
            empty.append(example.id)
        for window in text.windows:
            labels = torch.full((len(window.input_ids),), IGNORED)
            labels[window.positions] = torch.tensor([number[tags[unit]] for unit in window.units])
            row = {"input_ids": torch.tensor(window.input_ids), "labels": labels,
                   **{name: torch.tensor(values) for name, values in model.extra_inputs(window.words).items()}}
            if max_length and len(labels) > max_length:
                cut.append(example.id)
                kept = slice(-max_length, None) if tokenizer.truncation_side == "left" else slice(max_length)
                row = {name: values[kept] for name, values in row.items()}
            rows.append(row)
    if lost:
        logger.warning("%s", describe_unreachable(lost))
    if empty:
        logger.warning("%d texts have no word and train nothing: %s", len(empty), shown(empty))
    if cut:
        logger.warning("%d training texts have more than --max_length %d words and were cut: %s", len(cut),
                       max_length, shown(cut))
    return rows


def collate(rows: Sequence[Mapping[str, Tensor]], *, padding_side: str = "right") -> dict[str, Tensor]:
    """Pads rows to the longest; word numbers with 0, labels with -100."""
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])[:, None]                # (B, 1)
    steps = torch.arange(int(lengths.max()))                                                # (T,)
    mask = steps < lengths if padding_side == "right" else steps >= len(steps) - lengths    # (B, T)
    batch = {"attention_mask": mask.long()}
    for name in rows[0]:
        words = torch.cat([row[name] for row in rows])                                      # (N, ...)
        batch[name] = words.new_full((*mask.shape, *words.shape[1:]), IGNORED if name == "labels" else 0)
        batch[name][mask] = words
    return batch


class WordTaggerTrainer(TaggerTrainer):
    """The taggers' trainer, with the network's own loss, and padding on the side that its tokenizer says."""

    def __init__(self, *arguments: Any, **keywords: Any):
        super().__init__(*arguments, **keywords)
        self.data_collator = partial(collate, padding_side=keywords["processing_class"].padding_side)

    def compute_loss(self, *arguments: Any, **keywords: Any) -> Any:
        return Trainer.compute_loss(self, *arguments, **keywords)
