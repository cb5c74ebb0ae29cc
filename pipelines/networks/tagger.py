"""What word-level taggers share: packed words in, a logit for each tag out, the loss, a CRF."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import TokenClassifierOutput

from pipelines.networks.crf import LinearChainCRF
from pipelines.networks.embeddings import WordVectors
from pipelines.networks.labels import IGNORED, bio_tags_of


@strict
class TaggerConfig(PreTrainedConfig):
    """Options of all word-level taggers.

    Args:
        vocab_size: V.
        embedding_dim: D of the word vectors; a character feature adds its own.
        train_embeddings: whether word vectors are trained further.
        character_feature: `none`, `affixes` (hashed prefixes, suffixes and shape) or `cnn` (Ma and
            Hovy 2016).
        character_dim: D of the character feature.
        dropout: before each layer and the classifier.
        variational_dropout: one dropout mask a sentence instead of one a word (Gal and Ghahramani
            2016).
        word_dropout: share of the training words that are read as the unknown word, so that its
            vector is learnt.
        crf: score whole tag sequences.
        pad_token_id: the padding word.
        unk_token_id: the unknown word.
    """

    vocab_size: int = 1
    embedding_dim: int = 300
    train_embeddings: bool = True
    character_feature: str = "none"
    character_dim: int = 32
    dropout: float = 0.0
    variational_dropout: bool = False
    word_dropout: float = 0.0
    crf: bool = False
    pad_token_id: int | None = 0
    unk_token_id: int = 1


class Packed(NamedTuple):
    """The N words of a batch by step, and at each step the running sentences, longest first.

    Padding takes no part in any computation, so it changes neither loss nor gradient, on either
    side.

    Attributes:
        rows: (N,), the index of each word in the flattened (B, T) batch.
        sentence: (N,), its sentence's rank by length.
        step: (N,), its position in its sentence.
        length: (N,), the length of its sentence.
        batch_sizes: sentences that run at each step; their sum is N.
        first: (T,), where each step begins in the packed words.
        vector: (N,), which of U word vectors each word has, if equal words share one; else None.
    """

    rows: Tensor
    sentence: Tensor
    step: Tensor
    length: Tensor
    batch_sizes: list[int]
    first: Tensor
    vector: Tensor | None = None

    def spread(self, x: Tensor) -> Tensor:
        """Values of word vectors (U, …) to those of words (N, …)."""
        return x if self.vector is None else embedding(self.vector, x)

    def neighbour(self, distance: int) -> Tensor:
        """(N,), the index of the word that far to the right (negative: left); N for none."""
        step = self.step + distance
        inside = (step >= 0) & (step < self.length)
        index = self.first[step.clamp(0, len(self.first) - 1)] + self.sentence
        return torch.where(inside, index, len(self.rows))

    def mirrored(self) -> Tensor:
        """(N,), the index of each word when every sentence is reversed; its own inverse."""
        return self.first[self.length - 1 - self.step] + self.sentence


def pack(mask: Tensor) -> Packed:
    """Packs the words where a (B, T) mask is true."""
    lengths, order = mask.sum(1).sort(descending=True, stable=True)  # (B,), (B,)
    columns = (~mask).int().argsort(dim=1, stable=True)[order]  # (B, T), words first
    steps = torch.arange(mask.shape[1], device=mask.device)[:, None]  # (T, 1)
    running = steps < lengths  # (T, B)
    rows = (columns + order[:, None] * mask.shape[1]).T[running]  # (N,)
    step, sentence = running.nonzero(as_tuple=True)
    sizes = running.sum(1)  # (T,)
    batch_sizes = [size for size in sizes.tolist() if size]
    first = sizes.cumsum(0) - sizes
    return Packed(rows, sentence, step, lengths[sentence], batch_sizes, first)


class Dropout(nn.Module):
    """Dropout on packed words (N, D): a mask a word, or one a sentence (variational)."""

    def __init__(self, config: TaggerConfig):
        super().__init__()
        self.p, self.variational = config.dropout, config.variational_dropout

    def forward(self, x: Tensor, packed: Packed) -> Tensor:
        """(N, D) to (N, D)."""
        if not self.variational:
            return nn.functional.dropout(x, self.p, self.training)
        if not (self.training and self.p):
            return x
        return x * self.mask(x, packed)[packed.sentence]

    def mask(self, x: Tensor, packed: Packed) -> Tensor:
        """(sentences, D): 0 or 1 / (1 - p)."""
        ones = x.new_ones(packed.batch_sizes[0], x.shape[1])
        return nn.functional.dropout(ones, self.p, self.training)


class Tagger(PreTrainedModel):
    """x = E[word], h = hidden(x), y = softmax(V h + c): one tag a word.

    Subclasses define `build` and `hidden`.
    """

    config_class = TaggerConfig
    main_input_name = "input_ids"

    def __init__(self, config: Any):
        super().__init__(config)
        self.embeddings = WordVectors(config)
        self.drop = Dropout(config)
        self.build(config, self.embeddings.dim)
        self.classifier = nn.Linear(self.hidden_width, config.num_labels)
        tags = bio_tags_of(config)
        self.crf = LinearChainCRF(config.num_labels, tags=tags) if config.crf else None
        self.post_init()

    hidden_width: int
    word_by_word = False  # whether `hidden` sees each word by itself

    def build(self, config: Any, input_width: int) -> None:
        """Creates the layers between word vectors and classifier, and sets `hidden_width`."""
        raise NotImplementedError

    def hidden(self, x: Tensor, packed: Packed) -> Tensor:
        """Word vectors (U, D) to (N, H), or to (U, H) where `word_by_word`.

        Those of the packed words are `packed.spread(x)`.
        """
        raise NotImplementedError

    @classmethod
    def from_pretrained(cls, *arguments: Any, **keywords: Any) -> Any:
        loaded: Any = super().from_pretrained(*arguments, **keywords)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        # Loading made it trainable.
        model.embeddings.words.weight.requires_grad_(model.config.train_embeddings)
        return loaded

    def _init_weights(self, module: nn.Module) -> None:
        """Does nothing: modules initialise themselves."""

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.words

    def extra_inputs(self, words: Sequence[str]) -> dict[str, list[list[int]]]:
        """What `forward` takes beside word ids: T rows of `characters`, or nothing."""
        if self.embeddings.characters is None:
            return {}
        return {"characters": self.embeddings.characters_of(words)}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        characters: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **_: Any,
    ) -> TokenClassifierOutput:
        """Tags a batch.

        Args:
            input_ids: (B, T) word ids.
            attention_mask: (B, T), 1 where there is a word; by default everywhere.
            labels: (B, T) tag ids; -100 is left out of the loss.
            characters: (B, T, F), from `extra_inputs`, where the config has a character feature.
            num_items_in_batch: divides the summed loss; by default the number of labelled words.

        Returns:
            The loss if there are labels, and logits (B, T, C), which are emissions of a CRF; 0 at
            padding.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        mask = mask.bool()
        packed = pack(mask)
        spelling = None if characters is None else characters.flatten(0, 1)[packed.rows]  # (N, F)
        word = input_ids.flatten()[packed.rows]  # (N,)
        scores = self.packed_scores(word, spelling, packed)  # (N, C)
        index = packed.rows[:, None].expand_as(scores)
        logits = scores.new_zeros(mask.numel(), scores.shape[1]).scatter(0, index, scores)
        logits = logits.view(*mask.shape, scores.shape[1])  # (B, T, C)
        if labels is None:
            return TokenClassifierOutput(logits=logits)
        dtype = torch.promote_types(scores.dtype, torch.float32)
        labelled = labels != IGNORED
        if self.crf is not None:
            total = self.crf(logits.to(dtype), labels, mask & labelled).sum()
        else:
            total = cross_entropy(
                scores.to(dtype),
                labels.flatten()[packed.rows],
                ignore_index=IGNORED,
                reduction="sum",
            )
        count = labelled.sum() if num_items_in_batch is None else num_items_in_batch
        return TokenClassifierOutput(loss=total / count, logits=logits)

    def packed_scores(self, word: Tensor, spelling: Tensor | None, packed: Packed) -> Tensor:
        """Packed words (N,) and their spelling (N, F) to tag scores (N, C)."""
        if not packed.batch_sizes:
            return self.classifier.weight.new_zeros(0, self.classifier.out_features)
        if self.training and not (self.drop.p or self.embeddings.word_dropout):
            # Nothing is random, so equal words are read once.
            word, spelling, vector = distinct(word, spelling)
            packed = packed._replace(vector=vector)
        x = self.embeddings(word, spelling)  # (U, D)
        h = self.hidden(self.drop(x, packed), packed)  # (N, H) or (U, H)
        scores = self.classifier(self.drop(h, packed))
        return packed.spread(scores) if self.word_by_word else scores  # (N, C)


def distinct(word: Tensor, spelling: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor]:
    """Words (N,) and their spelling (N, F) without repeats.

    Returns:
        (U,) words, (U, F) spellings if there are, and (N,), which of these each word is.
    """
    if spelling is None:
        word, inverse = word.unique(return_inverse=True)
        return word, None, inverse
    # All unknown words share an id, but not their spelling.
    rows = torch.cat([word[:, None], spelling], dim=1)  # (N, 1 + F)
    rows, inverse = rows.unique(dim=0, return_inverse=True)
    return rows[:, 0], rows[:, 1:], inverse
