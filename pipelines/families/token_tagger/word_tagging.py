"""Training a tagger on words: its vocabulary, its word vectors, its rows, and the trainer.

Prediction, saving and loading are those of `token_tagger`, as for every network that tags tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
)

from pipelines.errors import DataError, UserError
from pipelines.examples import Example
from pipelines.families.tag_units import describe_unreachable
from pipelines.families.token_tagger import TaggerSettings, collate, tagging
from pipelines.families.training.batches import LengthBatches
from pipelines.families.training.cpu_training import CpuTraining
from pipelines.families.training.encoders import LayerRates
from pipelines.formatting import some
from pipelines.networks import precision, weights
from pipelines.networks.embeddings import distilled_vectors, unit_variance
from pipelines.networks.tagger import Tagger
from pipelines.networks.vector_files import read_local_vectors, read_vectors
from pipelines.networks.word_tokenizer import (
    load_word_tokenizer,
    vocabulary,
    word_counts,
    word_tokenizer,
)

DISTILLED = "distil:"  # before the name of an encoder
RANDOM_DIM, DISTILLED_DIM = 300, 256
logger = logging.getLogger(__name__)


def check_tags(splits: Mapping[str, Sequence[Example]], tags: Sequence[str]) -> None:
    """Makes sure that no labelled split has a type that training lacks.

    Raises:
        DataError: naming each such type, how often it occurs, and where first.
    """
    known = {tag[2:] for tag in tags} - {""}
    types = ", ".join(sorted(known)) or "none"
    faults = []
    for split, examples in splits.items():
        unknown: dict[str, list[str]] = {}
        for example in examples:
            for span in example.spans or ():
                if span.label not in known:
                    unknown.setdefault(span.label, []).append(example.id)
        faults += [
            f"{split}: the type {label!r} ({len(ids)} mentions, first in example {ids[0]}) is not "
            f"among those of training: {types}"
            for label, ids in unknown.items()
        ]
    if faults:
        advice = "fix the labels, or give training examples of these types"
        raise DataError("\n".join([*faults, advice]))


class Words(NamedTuple):
    """A vocabulary: its tokenizer, and the vectors of the words that have one from elsewhere.

    Attributes:
        dim: D of the word vectors.
        ids: (K,), the token ids of the words with a vector.
        vectors: (K, D).
    """

    tokenizer: PreTrainedTokenizerBase
    dim: int
    ids: Tensor
    vectors: Tensor


def fit_words(
    train: Sequence[Example],
    others: Sequence[Example] = (),
    *,
    min_freq: int = 1,
    remove_frac: float = 0.0,
    lowercase: bool = False,
    embeddings: str = "random",
    embedding_dim: int | None = None,
    padding_side: str = "right",
    truncation_side: str = "right",
    tokenizer: str | None = None,
    progress: bool = True,
) -> Words:
    """Makes the vocabulary of the training texts, and looks up vectors for its words.

    Args:
        others: texts to be tagged later. Their words join the vocabulary where they have a vector
            from elsewhere, for which no labels are read.
        embeddings: `random`, a file of vectors, `local:glove`, or `distil:` and the name of an
            encoder (`distil:local:minilm`).
        embedding_dim: D; of distilled vectors, the principal components that are kept.
        tokenizer: the folder of one with the vocabulary, which is then taken as it is.

    Raises:
        UserError: when no word is left, or there are no such vectors.
    """
    if tokenizer is not None:
        given = load_word_tokenizer(tokenizer)
        given.padding_side, given.truncation_side = padding_side, truncation_side
        return _words_of_tokenizer(given, embeddings, embedding_dim, progress=progress)
    punctuation = any(example.tokens is None for example in train)
    split = {"lowercase": lowercase, "punctuation": punctuation}
    counts = word_counts((example.text for example in train), **split)
    words = vocabulary(counts, min_freq=min_freq, remove_frac=remove_frac)
    with_vector: list[str] = []
    vectors = torch.empty(0, embedding_dim or RANDOM_DIM)
    if embeddings != "random":
        other_counts = word_counts((example.text for example in others), **split)
        unseen = sorted(other_counts.keys() - counts.keys())
        with_vector, vectors = _vectors_from(
            embeddings, [*words, *unseen], embedding_dim, progress=progress
        )
        found = set(with_vector)
        _log_coverage(embeddings, found, words, counts)
        words += [word for word in unseen if word in found]
    fitted = word_tokenizer(
        words, **split, padding_side=padding_side, truncation_side=truncation_side
    )
    id_of = fitted.get_vocab()
    ids = torch.tensor([id_of[word] for word in with_vector], dtype=torch.long)
    return Words(fitted, vectors.shape[1], ids, vectors)


def _words_of_tokenizer(
    tokenizer: PreTrainedTokenizerBase, embeddings: str, dim: int | None, *, progress: bool
) -> Words:
    """The vocabulary of a tokenizer, and the vectors that its words have elsewhere."""
    id_of = tokenizer.get_vocab()
    words = [word for word in id_of if word not in tokenizer.all_special_tokens]
    with_vector: list[str] = []
    vectors = torch.empty(0, dim or RANDOM_DIM)
    if embeddings != "random":
        with_vector, vectors = _vectors_from(embeddings, words, dim, progress=progress)
    ids = torch.tensor([id_of[word] for word in with_vector], dtype=torch.long)
    return Words(tokenizer, vectors.shape[1], ids, vectors)


def _log_coverage(
    source: str, found: Set[str], words: Sequence[str], counts: Mapping[str, int]
) -> None:
    covered = [word for word in words if word in found]
    share = sum(counts[word] for word in covered) / sum(counts.values())
    logger.info(
        "%s: vectors for %d of the %d words of train, which are %.1f %% of its text",
        source,
        len(covered),
        len(words),
        100 * share,
    )


def _vectors_from(
    source: str, words: Sequence[str], dim: int | None, *, progress: bool
) -> tuple[list[str], Tensor]:
    """The words that have a vector there, and their (K, D) vectors, scaled to unit variance."""
    if source.startswith(DISTILLED):
        name = source.removeprefix(DISTILLED)
        vectors = _distilled(name, words, dim or DISTILLED_DIM, progress=progress)
        return list(words), unit_variance(vectors)
    if source.startswith("local:"):
        vector_of = read_local_vectors(source, words)
    elif Path(source).is_file():
        vector_of = read_vectors(source, words)
    else:
        raise UserError(
            f"got --embeddings {source}; wanted random, a text file of vectors, "
            f"{', '.join(weights.LOCAL_VECTORS)}, or {DISTILLED} and an encoder, such as "
            f"{DISTILLED}local:minilm"
        )
    if not vector_of:
        raise UserError(
            f"{source}: has a vector for none of the {len(words)} words; is it of another "
            "language, or lower-cased (--lowercase true)?"
        )
    vectors = torch.tensor(list(vector_of.values()))
    if dim not in (None, vectors.shape[1]):
        raise UserError(
            f"{source}: its vectors have {vectors.shape[1]} numbers, not --embedding_dim {dim}; "
            "leave the option out"
        )
    return list(vector_of), unit_variance(vectors)


def _distilled(name: str, words: Sequence[str], dim: int, *, progress: bool) -> Tensor:
    path, machine = weights.resolve(name), precision.choose()
    try:
        encoder = AutoModel.from_pretrained(path, dtype=machine.weights, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise weights.unavailable(name, error) from error
    encoder = encoder.to(machine.device).eval()
    return distilled_vectors(words, encoder, tokenizer, dim=dim, progress=progress)


def put_vectors(model: PreTrainedModel, words: Words) -> None:
    """Copies the vectors from elsewhere into a network; those of the other words stay random."""
    embeddings: Any = model.get_input_embeddings()
    with torch.no_grad():
        embeddings.weight[words.ids] = words.vectors.to(model.dtype)


def training_rows(
    examples: Sequence[Example],
    model: Tagger,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None = None,
) -> list[dict[str, Tensor]]:
    """Word ids, tags and spelling of each example, in order; one without words is left out.

    A warning names what training cannot use: mentions that tags cannot express, texts without
    words, and texts that are cut.

    Args:
        max_length: words of a row at most; a longer one is cut at the tokenizer's truncation side.
    """
    labelled = tagging.training_rows(examples, model, tokenizer, TaggerSettings())
    kept = slice(max_length)
    if max_length and tokenizer.truncation_side == "left":
        kept = slice(-max_length, None)
    rows, cut = [], []
    for id, row in zip(labelled.ids, labelled.rows, strict=True):
        if max_length and len(row["input_ids"]) > max_length:
            cut.append(id)
        rows.append({name: torch.tensor(values[kept]) for name, values in row.items()})
    if labelled.lost:
        logger.warning("%s", describe_unreachable(labelled.lost))
    if labelled.empty:
        empty = labelled.empty
        logger.warning("%d texts have no word and train nothing: %s", len(empty), some(empty))
    if cut:
        logger.warning(
            "%d training texts have more than --max_length %d words and were cut: %s",
            len(cut),
            max_length,
            some(cut),
        )
    return rows


class WordTaggerTrainer(CpuTraining, LayerRates, LengthBatches, tagging.TagScores, Trainer):
    """Trains a network on words; rows are padded on the side that the tokenizer says."""

    def __init__(self, *arguments: Any, **keywords: Any):
        tokenizer = keywords["processing_class"]
        pad_rows = partial(collate, pad=tokenizer.pad_token_id, padding_side=tokenizer.padding_side)
        super().__init__(*arguments, **keywords | {"data_collator": pad_rows})
