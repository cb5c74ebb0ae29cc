"""What word-level taggers share: packed words in, a logit for each tag out, the loss, a CRF.

A word is read with the words around it (`window`), its spelling, and where it stands in a name of a
lexicon, which is saved with the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, embedding
from transformers import PreTrainedConfig
from transformers.modeling_outputs import TokenClassifierOutput

from pipelines.networks.crf import LinearChainCRF
from pipelines.networks.embeddings import WordVectors
from pipelines.networks.labels import IGNORED, bio_tags_of
from pipelines.networks.lexicon_feature import ReadsLexicon


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
        lexicon_tags: what the lexicon says of a word (`Lexicon.tags`); none without a lexicon.
        lexicon_dim: D of the lexicon feature.
        window: w; a word is read with w words to each side, so as 2w + 1 vectors.
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
    lexicon_tags: list[str] | tuple[str, ...] = ()
    lexicon_dim: int = 16
    window: int = 0
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

    def windows(self, x: Tensor, size: int) -> Tensor:
        """Word vectors (U, D) to those of each word and its neighbours, (N, (2 · size + 1) · D).

        Beyond the ends of a sentence the vector is 0.
        """
        padded = torch.cat([self.spread(x), x.new_zeros(1, x.shape[1])])  # (N + 1, D)
        distances = range(-size, size + 1)
        around = torch.stack([self.neighbour(distance) for distance in distances], dim=1)
        return padded[around].flatten(1)

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


class Tagger(ReadsLexicon):
    """x = E[word], h = hidden(x), y = softmax(V h + c): one tag a word.

    Subclasses define `build` and `hidden`.
    """

    config_class = TaggerConfig
    main_input_name = "input_ids"

    def __init__(self, config: Any):
        super().__init__(config)
        self.embeddings = WordVectors(config)
        self.input_dim = self.embeddings.dim  # D of a word with its features
        self.matches: nn.Embedding | None = None
        if config.lexicon_tags:
            self.matches = nn.Embedding(len(config.lexicon_tags), config.lexicon_dim)
            self.input_dim += config.lexicon_dim
        self.drop = Dropout(config)
        self.build(config, (2 * config.window + 1) * self.input_dim)
        self.classifier = nn.Linear(self.hidden_width, config.num_labels)
        tags = bio_tags_of(config)
        self.crf = LinearChainCRF(config.num_labels, tags=tags) if config.crf else None
        self.post_init()

    hidden_width: int
    word_by_word = False  # whether `hidden` sees each word by itself

    def build(self, config: Any, input_width: int) -> None:
        """Creates the layers between word vectors and classifier, and sets `hidden_width`.

        Args:
            input_width: of the vectors that `hidden` reads, (2w + 1) · D.
        """
        raise NotImplementedError

    def hidden(self, x: Tensor, packed: Packed) -> Tensor:
        """Inputs (U, (2w + 1) · D) to (N, H), or to (U, H) where `word_by_word`.

        Those of the packed words are `packed.spread(x)`.
        """
        raise NotImplementedError

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *arguments: Any, **keywords: Any
    ) -> Any:
        """As the library's; loads the lexicon too, and leaves fixed vectors fixed."""
        loaded: Any = super().from_pretrained(pretrained_model_name_or_path, *arguments, **keywords)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        # Loading made it trainable.
        model.embeddings.words.weight.requires_grad_(model.config.train_embeddings)
        return loaded

    def _init_weights(self, module: nn.Module) -> None:
        """Does nothing: modules initialise themselves."""

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.words

    def extra_inputs(self, words: Sequence[str]) -> dict[str, list[Any]]:
        """What `forward` takes beside word ids: T rows of `characters`, T ids of `matches`."""
        inputs: dict[str, list[Any]] = {}
        if self.embeddings.characters is not None:
            inputs["characters"] = self.embeddings.characters_of(words)
        return inputs | self.match_inputs(words)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        characters: Tensor | None = None,
        matches: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **_: Any,
    ) -> TokenClassifierOutput:
        """Tags a batch.

        Args:
            input_ids: (B, T) word ids.
            attention_mask: (B, T), 1 where there is a word; by default everywhere.
            labels: (B, T) tag ids; -100 is left out of the loss.
            characters: (B, T, F), from `extra_inputs`, where the config has a character feature.
            matches: (B, T), from `extra_inputs`, where the config has tags of a lexicon.
            num_items_in_batch: divides the summed loss; by default the number of labelled words.

        Returns:
            The loss if there are labels, and logits (B, T, C), which are emissions of a CRF; 0 at
            padding.
        """
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        mask = mask.bool()
        packed = pack(mask)
        spelling = None if characters is None else characters.flatten(0, 1)[packed.rows]  # (N, F)
        match = None if matches is None else matches.flatten()[packed.rows]  # (N,)
        word = input_ids.flatten()[packed.rows]  # (N,)
        scores = self.packed_scores(word, spelling, match, packed)  # (N, C)
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

    def packed_scores(
        self, word: Tensor, spelling: Tensor | None, match: Tensor | None, packed: Packed
    ) -> Tensor:
        """Packed words (N,), their spelling (N, F) and lexicon matches (N,) to scores (N, C)."""
        if not packed.batch_sizes:
            return self.classifier.weight.new_zeros(0, self.classifier.out_features)
        if self.training and not (self.drop.p or self.embeddings.word_dropout):
            # Nothing is random, so equal words are read once.
            word, spelling, match, vector = distinct(word, spelling, match)
            packed = packed._replace(vector=vector)
        x = self.drop(self.input_vectors(word, spelling, match), packed)  # (U, D)
        if self.config.window:
            x = packed.windows(x, self.config.window)  # (N, (2w + 1) · D)
            packed = packed._replace(vector=None)
        h = self.hidden(x, packed)  # (N, H) or (U, H)
        scores = self.classifier(self.drop(h, packed))
        return packed.spread(scores) if self.word_by_word else scores  # (N, C)

    def input_vectors(self, word: Tensor, spelling: Tensor | None, match: Tensor | None) -> Tensor:
        """(U, D) word vectors, followed by those of the character and the lexicon feature."""
        vectors = self.embeddings(word, spelling)
        if self.matches is None:
            return vectors
        if match is None:
            raise ValueError(
                "this network has a lexicon feature, and was not given the matches of its words; "
                "pass `matches`, from `extra_inputs`"
            )
        return torch.cat([vectors, self.matches(match)], dim=1)


def distinct(
    word: Tensor, spelling: Tensor | None, match: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
    """Words (N,), their spelling (N, F) and lexicon matches (N,) without repeats.

    Returns:
        (U,) words, (U, F) spellings and (U,) matches if there are, and (N,), which of these each
        word is.
    """
    if spelling is None and match is None:
        word, inverse = word.unique(return_inverse=True)
        return word, None, None, inverse
    # All unknown words share an id, but not their spelling.
    columns = [word[:, None]]
    if spelling is not None:
        columns.append(spelling)
    if match is not None:
        columns.append(match[:, None])
    rows, inverse = torch.cat(columns, dim=1).unique(dim=0, return_inverse=True)
    letters = None if spelling is None else rows[:, 1 : 1 + spelling.shape[1]]
    return rows[:, 0], letters, None if match is None else rows[:, -1], inverse
