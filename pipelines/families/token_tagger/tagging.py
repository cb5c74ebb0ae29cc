"""Fine-tuning an encoder as a token tagger: its rows, its head, its loss, and the trainer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from peft import LoraConfig
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoConfig,
    AutoModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
)

from pipelines.corpora.lexicon import Lexicon
from pipelines.errors import UserError
from pipelines.examples import Example, Fields, Span
from pipelines.families.batching import chunks
from pipelines.families.token_tagger import (
    BATCH_TOKENS,
    SPANS,
    Encoded,
    Loaded,
    TaggerSettings,
    collate,
    encode,
    load_network,
    padded_batches,
    spans_from,
    tags_for,
    unit_logits,
    unreachable,
    window_inputs,
    window_of,
)
from pipelines.families.training import TrainerMixin
from pipelines.families.training.averaging import WeightAveraging
from pipelines.families.training.batches import LengthBatches
from pipelines.families.training.cpu_training import CpuTraining
from pipelines.families.training.dev_scores import DevScores, strict_scores
from pipelines.families.training.encoders import (
    FrozenParts,
    LayerRates,
    NewModel,
    choose_trained,
)
from pipelines.families.training.losses import SummedLoss, frequency_weights
from pipelines.networks import weights
from pipelines.networks.encoder_tagger import EncoderTagger, EncoderTaggerConfig
from pipelines.networks.labels import IGNORED, follow_labels, label_map, labels_of
from pipelines.networks.span_tagger import SpanTaggerConfig
from pipelines.spans import spans_to_tags

DROPOUT_OPTIONS = (
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "dropout",
    "attention_dropout",
)


class Rows(NamedTuple):
    """Windows as token ids and labels, and what training cannot use.

    Attributes:
        rows: `input_ids`, `labels` (-100 except at the first sub-word of each unit) and the other
            inputs of the model.
        ids: of the example that each row is of.
        lost: mentions that perfect tags would not give back, with the id of their example.
        empty: ids of examples without a unit, which train nothing.
        long: ids of examples longer than a window, cut into several.
    """

    rows: list[dict[str, list[Any]]]
    ids: list[str]
    lost: list[tuple[str, Span]]
    empty: list[str]
    long: list[str]


def model_to_train(
    name: str,
    tags: Sequence[str],
    *,
    tune: str,
    last_n: int,
    lora: LoraConfig,
    case_feature: bool = False,
    lexicon: Lexicon | None = None,
    lexicon_dropout: float = 0.0,
    crf: bool = False,
    dropout: float | None = None,
) -> NewModel:
    """A tagger on a checkpoint, in which what `tune` says is trained.

    Raises:
        UserError: as `new_model` and `encoders.choose_trained`.
    """
    made = new_model(
        name,
        tags,
        case_feature=case_feature,
        lexicon=lexicon,
        lexicon_dropout=lexicon_dropout,
        crf=crf,
        dropout=dropout,
    )
    choose_trained(made.model, tune, last_n=last_n, lora=lora)
    return made


def settings_for(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    decode: str,
    window: int | None,
    stride: int,
) -> TaggerSettings:
    """How texts are cut and tags read.

    Args:
        window: sub-words; None for as many as the model takes.

    Raises:
        UserError: for a window that the model cannot take, or that has no room for a text.
    """
    largest = window_of(model, tokenizer)
    size, least = window or largest, tokenizer.num_special_tokens_to_add() + 2
    if not least <= size <= largest:
        raise UserError(f"got --window {window}; wanted {least} to {largest}, as the model has it")
    if stride < 0:
        raise UserError(f"got --stride {stride}; wanted 0 or more")
    return TaggerSettings(decode, size, min(stride, size // 2))


def training_rows(
    examples: Sequence[Example],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: TaggerSettings,
) -> Rows:
    """Cuts, aligns and labels examples.

    Mentions of types that the model does not have are tagged `O`, and count as lost.
    """
    numbers = tag_numbers(model)
    result = Rows([], [], [], [], [])
    for example, text in zip(examples, encode(examples, tokenizer, settings), strict=True):
        tags = known_tags(example, text, numbers)
        lost = unreachable(example, tags, text.offsets)
        result.lost.extend((example.id, span) for span in lost)
        if not text.windows:
            result.empty.append(example.id)
        if len(text.windows) > 1:
            result.long.append(example.id)
        for window, inputs in zip(text.windows, window_inputs(model, text), strict=True):
            labels = [IGNORED] * len(window.input_ids)
            for position, unit in zip(window.positions, window.units, strict=True):
                labels[position] = numbers[tags[unit]]
            result.rows.append({**inputs, "labels": labels})
            result.ids.append(example.id)
    return result


def tag_numbers(model: PreTrainedModel) -> dict[str, int]:
    """The index of each tag of a model."""
    return {tag: index for index, tag in enumerate(labels_of(model.config))}


def known_tags(example: Example, text: Encoded, numbers: Mapping[str, int]) -> list[str]:
    """The tags of a text's units, `O` for types that the model does not have."""
    tags = spans_to_tags(example.spans or (), text.offsets)
    return [tag if tag in numbers else "O" for tag in tags]


def new_model(
    name: str,
    tags: Sequence[str],
    *,
    case_feature: bool = False,
    lexicon: Lexicon | None = None,
    lexicon_dropout: float = 0.0,
    crf: bool = False,
    dropout: float | None = None,
    **options: object,
) -> NewModel:
    """Puts a tagging head on a checkpoint: the library's, or ours for a feature or a CRF.

    A checkpoint that has a lexicon keeps it where no other is given.

    Args:
        lexicon_dropout: share of its matches that training hides.
        dropout: instead of the checkpoint's own, throughout.
        options: for `from_pretrained`.

    Raises:
        UserError: when the checkpoint could not be loaded, is no encoder, or does not go with a
            case feature.
    """
    path = weights.resolve(name)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        changed: dict[str, object] = {}
        if dropout is not None:
            changed = {key: dropout for key in DROPOUT_OPTIONS if hasattr(config, key)}
        if config.model_type == SpanTaggerConfig.model_type:
            raise UserError(
                f"{name}: scores whole spans, and has no tags; take --decode {SPANS}, or the "
                "encoder that it was trained from"
            )
        is_ours = config.model_type == EncoderTaggerConfig.model_type
        if is_ours:
            # The parts asked for now, whatever it was trained with; but a case feature stays.
            changed |= {"crf": crf, "case_feature": case_feature or config.case_feature}
        if is_ours or not (case_feature or crf or lexicon is not None):
            model, lacking = load_network(
                name, ignore_mismatched_sizes=True, **label_map(tags), **changed, **options
            )
            check_case_feature(model, name)
            new = follow_labels(model, labels_of(config), new=lacking)
            return with_lexicon(NewModel(model, new), lexicon, lexicon_dropout)
        encoder = AutoModel.from_pretrained(
            path, dtype=torch.float32, trust_remote_code=False, **changed, **options
        )
    except (OSError, ValueError) as error:
        raise weights.unavailable(name, error) from error
    model = EncoderTagger(
        EncoderTaggerConfig(
            encoder=encoder.config,
            case_feature=case_feature,
            crf=crf,
            dropout=0.1 if dropout is None else dropout,
            pad_token_id=encoder.config.pad_token_id,
            **label_map(tags),
        ),
        encoder,
    )
    check_case_feature(model, name)
    new = [key for key, _ in model.named_parameters() if not key.startswith("encoder.")]
    return with_lexicon(NewModel(model, new), lexicon, lexicon_dropout)


def with_lexicon(made: NewModel, lexicon: Lexicon | None, dropout: float) -> NewModel:
    if lexicon is None:
        return made
    model: Any = made.model
    before = dict(model.named_parameters())
    model.use_lexicon(lexicon, dropout=dropout)
    added = [name for name, weight in model.named_parameters() if weight is not before.get(name)]
    return NewModel(model, [*made.new, *added])


def check_case_feature(model: Any, name: str) -> None:
    """Refuses a case feature where embeddings and states differ in size (ELECTRA, ALBERT)."""
    if getattr(model, "case_embeddings", None) is None:
        return
    width, hidden = model.encoder.get_input_embeddings().embedding_dim, model.config.hidden_size
    if width != hidden:
        raise UserError(
            f"got --case_feature true, which is added to embeddings and states alike; {name} has "
            f"embeddings of size {width} and states of size {hidden}; leave it out"
        )


def tag_weights(rows: Sequence[Fields], num_tags: int, *, power: float) -> Tensor:
    """(C,) weights frequency ** -power of the tags of rows; see `frequency_weights`."""
    counts = Counter(label for row in rows for label in row["labels"] if label != IGNORED)
    return frequency_weights(np.array([counts[tag] for tag in range(num_tags)]), power=power)


def label_weights(rows: Sequence[Fields], model: PreTrainedModel, *, power: float) -> Tensor:
    """(C,) weights of a model's tags; see `tag_weights`."""
    return tag_weights(rows, len(labels_of(model.config)), power=power)


class TagLoss(SummedLoss):
    """The loss of tags, at the tagged positions only; a CRF's of whole rows."""

    def summed_loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, object]:
        """The loss of a batch, summed over its tags, and what the model returned."""
        if getattr(self.accelerator.unwrap_model(model), "crf", None) is not None:
            # In the model's own forward: DDP does not know of weights that are used outside.
            outputs = model(**inputs, num_items_in_batch=1)
            return outputs.loss, outputs
        labels = inputs["labels"]  # (B, T)
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        tagged = labels != IGNORED
        return self.class_loss(outputs.logits[tagged], labels[tagged]), outputs


class EncodedOnce(TrainerMixin):
    """Cuts and aligns the examples that are scored once, for all evaluations.

    Args:
        settings: how texts are cut into windows and tags are decoded.
    """

    def __init__(self, *arguments: Any, settings: TaggerSettings, **keywords: Any):
        super().__init__(*arguments, **keywords)
        self.settings = settings
        self._encoded: dict[int, list[list[Encoded]]] = {}

    def encoded(self, examples: Sequence[Example]) -> list[list[Encoded]]:
        """The examples cut and aligned, in the chunks of `predict`."""
        if id(examples) not in self._encoded:
            tokenizer: Any = self.processing_class
            self._encoded[id(examples)] = [
                encode(part, tokenizer, self.settings) for part in chunks(examples)
            ]
        return self._encoded[id(examples)]


class TagScores(EncodedOnce, DevScores, TagLoss):
    """Strict F1 of predicted spans, and the loss of the same logits."""

    @torch.inference_mode()
    def score(self, examples: Sequence[Example]) -> dict[str, float]:
        """Tags examples as `predict` does."""
        model: Any = self.accelerator.unwrap_model(self.model)
        tokenizer: Any = self.processing_class
        loaded = Loaded(model, tokenizer, self.settings)
        numbers, predictions = tag_numbers(model), []
        all_logits: list[Tensor] = []
        all_tags: list[Tensor] = []
        for part, encoded in zip(chunks(examples), self.encoded(examples), strict=True):
            logits = unit_logits(loaded, encoded, batch_tokens=BATCH_TOKENS)
            predictions += spans_from(loaded, part, encoded, logits)
            all_logits += logits
            for example, text in zip(part, encoded, strict=True):
                tags = known_tags(example, text, numbers)
                all_tags.append(torch.tensor([numbers[tag] for tag in tags], dtype=torch.long))
        loss = self._loss(model, all_logits, all_tags)
        return {"loss": loss, **strict_scores(examples, predictions)}

    def _loss(self, model: Any, logits: Sequence[Tensor], tags: Sequence[Tensor]) -> float:
        """The mean loss of the tags, (U,) of each text, given its logits, (U, C)."""
        count = max(sum(map(len, tags)), 1)
        if getattr(model, "crf", None) is None:
            return float(self.class_loss(torch.cat(list(logits)), torch.cat(list(tags)))) / count
        total = 0.0
        for indices, emissions, mask in padded_batches(logits, model.crf.start.device):
            labels = pad_sequence([tags[index] for index in indices], batch_first=True)  # (B, U)
            total += float(model.crf(emissions, labels.to(mask.device), mask).sum())
        return total / count


class TokenTaggerTrainer(
    CpuTraining, WeightAveraging, LayerRates, FrozenParts, LengthBatches, TagScores, Trainer
):
    """Fine-tunes an encoder with a tagging head; checkpoints are compared by strict F1."""

    def __init__(self, *arguments: Any, **keywords: Any):
        pad = keywords["processing_class"].pad_token_id or 0
        super().__init__(*arguments, **keywords | {"data_collator": partial(collate, pad=pad)})


labels_for, TaggerTrainer = tags_for, TokenTaggerTrainer
