"""What the word-level taggers share: packed words in, one score for each tag out, the loss, and a CRF on top."""

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
from pipelines.spans import looks_like_tag

IGNORED = -100


@strict
class TaggerConfig(PreTrainedConfig):
    """Options that all word-level taggers have.

    Args:
        embedding_dim: D of the word vectors; a character feature adds its own.
        train_embeddings: whether word vectors are trained on.
        character_feature: ``none``, ``affixes`` (hashed prefixes, suffixes and shape) or ``cnn`` (Ma and Hovy 2016).
        dropout: between layers, on the input of the first and of the classifier too.
        variational_dropout: one dropout mask a sentence instead of one a word (Gal and Ghahramani 2016).
        word_dropout: share of the training words whose vector is that of the unknown word, so that it is learnt.
        crf: score whole tag sequences.
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
    """Where the words of a batch stand: step by step, at each step the sentences that still run, the longest first.

    Padding takes no part in any computation, so it changes neither loss nor gradient, on whichever side it stands.

    Attributes:
        rows: (N,) place of each word in the flattened (B, T) batch.
        sentence: (N,) its sentence's rank by length.
        step: (N,) its position in its sentence.
        length: (N,) the length of its sentence.
        batch_sizes: sentences that run at each step; their sum is N.
        first: (T,) where each step begins in the packed words.
        vector: (N,) which of U word vectors each word has, where words that are the same share one; else None.
    """

    rows: Tensor
    sentence: Tensor
    step: Tensor
    length: Tensor
    batch_sizes: list[int]
    first: Tensor
    vector: Tensor | None = None

    def spread(self, x: Tensor) -> Tensor:
        """From what is known of each word vector, (U, ...), to what is known of each word, (N, ...)."""
        return x if self.vector is None else embedding(self.vector, x)

    def neighbour(self, distance: int) -> Tensor:
        """(N,) packed place of the word so far to the right (or left, if negative); N where there is none."""
        step = self.step + distance
        inside = (step >= 0) & (step < self.length)
        return torch.where(inside, self.first[step.clamp(0, len(self.first) - 1)] + self.sentence, len(self.rows))

    def mirrored(self) -> Tensor:
        """(N,) packed place of the word that stands there when every sentence is read backwards; its own inverse."""
        return self.first[self.length - 1 - self.step] + self.sentence


def pack(mask: Tensor) -> Packed:
    """Packs the words where a (B, T) mask is true."""
    lengths, order = mask.sum(1).sort(descending=True, stable=True)                         # (B,), (B,)
    places = (~mask).int().argsort(dim=1, stable=True)[order]                               # (B, T), words first
    running = torch.arange(mask.shape[1], device=mask.device)[:, None] < lengths            # (T, B)
    rows = (places + order[:, None] * mask.shape[1]).T[running]                             # (N,)
    step, sentence = running.nonzero(as_tuple=True)
    sizes = running.sum(1)                                                                  # (T,)
    return Packed(rows, sentence, step, lengths[sentence], [size for size in sizes.tolist() if size],
                  sizes.cumsum(0) - sizes)


class Dropout(nn.Module):
    """Dropout on packed words (N, D): a mask for each word, or one for each sentence (variational)."""

    def __init__(self, config: TaggerConfig):
        super().__init__()
        self.p, self.variational = config.dropout, config.variational_dropout

    def forward(self, x: Tensor, packed: Packed) -> Tensor:
        if not self.variational:
            return nn.functional.dropout(x, self.p, self.training)
        return x if not (self.training and self.p) else x * self.mask(x, packed)[packed.sentence]

    def mask(self, x: Tensor, packed: Packed) -> Tensor:
        """(sentences, D): 0 or 1 / (1 - p)."""
        ones = x.new_ones(packed.batch_sizes[0], x.shape[1])
        return nn.functional.dropout(ones, self.p, self.training)


class Tagger(PreTrainedModel):
    """x = E[word], h = hidden(x), y = softmax(V h + c): one tag a word. Subclasses give `build` and `hidden`."""

    config_class = TaggerConfig
    main_input_name = "input_ids"

    def __init__(self, config: Any):
        super().__init__(config)
        self.embeddings = WordVectors(config)
        self.drop = Dropout(config)
        self.build(config, self.embeddings.dim)
        self.classifier = nn.Linear(self.hidden_width, config.num_labels)
        tags = [config.id2label[number] for number in range(config.num_labels)]
        bio = tags if all(map(looks_like_tag, tags)) else None
        self.crf = LinearChainCRF(config.num_labels, tags=bio) if config.crf else None
        self.post_init()

    hidden_width: int
    word_by_word = False  # whether `hidden` sees each word by itself

    def build(self, config: Any, input_width: int) -> None:
        """Makes the layers between word vectors and classifier, and sets `hidden_width`."""
        raise NotImplementedError

    def hidden(self, x: Tensor, packed: Packed) -> Tensor:
        """From word vectors (U, D), those of the packed words being `packed.spread(x)`, to (N, H).

        To (U, H) where `word_by_word`.
        """
        raise NotImplementedError

    @classmethod
    def from_pretrained(cls, *arguments: Any, **keywords: Any) -> Any:
        loaded: Any = super().from_pretrained(*arguments, **keywords)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.embeddings.words.weight.requires_grad_(model.config.train_embeddings)  # loading made it trainable
        return loaded

    def _init_weights(self, module: nn.Module) -> None:
        """Modules initialise themselves; a checkpoint that lacks weights is refused where it is loaded."""

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.words

    def extra_inputs(self, words: Sequence[str]) -> dict[str, list[list[int]]]:
        """What `forward` takes of words beside their numbers: T rows of `characters`, where there is that feature."""
        spelt = self.embeddings.characters_of(words)
        return {"characters": spelt} if self.embeddings.characters is not None else {}

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, labels: Tensor | None = None,
                characters: Tensor | None = None, num_items_in_batch: Tensor | int | None = None,
                **_: Any) -> TokenClassifierOutput:
        """Tags a batch.

        Args:
            input_ids: (B, T) word numbers.
            attention_mask: (B, T), 1 where there is a word; by default everywhere.
            labels: (B, T) tag numbers; -100 is left out of the loss.
            characters: (B, T, F), what `WordVectors.characters_of` gives for the words, where the config has a
                character feature.
            num_items_in_batch: by how many words the summed loss is divided; by default those with a label.

        Returns:
            loss where labels are given, and logits (B, T, C): emission scores where there is a CRF; 0 at padding.
        """
        mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        packed = pack(mask)
        spelling = None if characters is None else characters.flatten(0, 1)[packed.rows]
        scores = self.packed_scores(input_ids.flatten()[packed.rows], spelling, packed)     # (N, C)
        places = packed.rows[:, None].expand_as(scores)
        logits = scores.new_zeros(mask.numel(), scores.shape[1]).scatter(0, places, scores)
        logits = logits.view(*mask.shape, scores.shape[1])                                  # (B, T, C)
        loss = None
        if labels is not None:
            wide = torch.promote_types(scores.dtype, torch.float32)
            if self.crf is not None:
                total = self.crf(logits.to(wide), labels, mask & (labels != IGNORED)).sum()
            else:
                total = cross_entropy(scores.to(wide), labels.flatten()[packed.rows], ignore_index=IGNORED,
                                      reduction="sum")
            loss = total / (num_items_in_batch if num_items_in_batch is not None else (labels != IGNORED).sum())
        return TokenClassifierOutput(loss=loss, logits=logits)

    def packed_scores(self, word: Tensor, spelling: Tensor | None, packed: Packed) -> Tensor:
        """(N, C) scores of the tags of the packed words; word (N,), spelling (N, F)."""
        if not packed.batch_sizes:
            return self.classifier.weight.new_zeros(0, self.classifier.out_features)
        if self.training and not (self.drop.p or self.embeddings.word_dropout):
            # Where chance has no part, a word that comes again is read once.
            word, spelling, vector = distinct(word, spelling)
            packed = packed._replace(vector=vector)
        x = self.embeddings(word, spelling)                                                 # (U, D)
        h = self.hidden(self.drop(x, packed), packed)                                       # (N, H) or (U, H)
        scores = self.classifier(self.drop(h, packed))
        return packed.spread(scores) if self.word_by_word else scores                       # (N, C)


def distinct(word: Tensor, spelling: Tensor | None) -> tuple[Tensor, Tensor | None, Tensor]:
    """Words (N,) and their spelling (N, F), if it counts, without repeats: (U,), (U, F), and (N,) which each was."""
    if spelling is None:
        word, which = word.unique(return_inverse=True)
        return word, None, which
    # All unknown words share a number, not a spelling.
    rows, which = torch.cat([word[:, None], spelling], dim=1).unique(dim=0, return_inverse=True)
    return rows[:, 0], rows[:, 1:], which
