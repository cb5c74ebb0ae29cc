"""Fine-tuning an encoder to score whole spans: its head, its rows, its loss, and the trainer.

All spans of a window up to the width that the network has are trained on, each type of each span as
a decision of its own: most are no mention. The functions have the names of those in `tagging`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from peft import LoraConfig
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
)

from pipelines.corpora.lexicon import Lexicon
from pipelines.examples import Example, Fields, JsonObject, Span
from pipelines.families.batching import chunks
from pipelines.families.tag_units import tagged_units
from pipelines.families.token_tagger import (
    BATCH_TOKENS,
    Encoded,
    TaggerSettings,
    encode,
    load_network,
)
from pipelines.families.token_tagger.inputs import word_inputs
from pipelines.families.token_tagger.span_answers import (
    collate_spans,
    row_of,
    span_logits,
    spans_from,
    whole_units,
)
from pipelines.families.token_tagger.tagging import (
    DROPOUT_OPTIONS,
    EncodedOnce,
    Rows,
    check_case_feature,
    with_lexicon,
)
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
from pipelines.families.training.losses import SummedLoss, class_loss, presence_weights
from pipelines.networks import weights
from pipelines.networks.encoder_tagger import EncoderTaggerConfig
from pipelines.networks.labels import IGNORED, follow_labels, label_map, labels_of
from pipelines.networks.span_tagger import FIRST_BIAS, SpanTagger, SpanTaggerConfig
from pipelines.spans import are_nested, spans_to_token_ranges

BESIDE = ((-1, 1), (1, -1), (0, 1), (0, -1))  # added to start and width, one end moves by a unit
GOLD = "gold"  # (G, 3) of a row: start, width - 1 and type of each mention
LONGEST = 99.9  # percentile of the mentions of train that the width admits by default


def width_for(examples: Sequence[Example]) -> int:
    """Units that all mentions but the longest thousandth have at most; 1 without mentions."""
    lengths = []
    for example in examples:
        ranges = spans_to_token_ranges(example.spans or (), tagged_units(example))
        lengths += [past - first for first, past, _ in ranges]
    return int(np.percentile(lengths, LONGEST, method="higher")) if lengths else 1


def head_for(examples: Sequence[Example], *, max_width: int | None = None) -> JsonObject:
    """What the head is made with: the width of spans, and whether they may overlap.

    Args:
        max_width: instead of `width_for`.
    """
    nested = are_nested(example.spans or () for example in examples)
    return {"max_width": max_width or width_for(examples), "nested": nested}


def describe_head(head: Fields) -> str:
    """One line on what `head_for` chose."""
    overlap, may = ("overlap", "may") if head["nested"] else ("do not overlap", "do not")
    return (
        f"spans of up to {head['max_width']} units are scored; mentions of train {overlap}, so "
        f"predicted ones {may}"
    )


def labels_for(examples: Sequence[Example]) -> list[str]:
    """The types that occur, sorted."""
    return sorted({span.label for example in examples for span in example.spans or ()})


def model_to_train(
    name: str,
    types: Sequence[str],
    *,
    tune: str,
    last_n: int,
    lora: LoraConfig,
    max_width: int,
    nested: bool,
    case_feature: bool = False,
    lexicon: Lexicon | None = None,
    lexicon_dropout: float = 0.0,
    dropout: float | None = None,
) -> NewModel:
    """A span tagger on a checkpoint, in which what `tune` says is trained.

    A checkpoint that is a span tagger of the same width keeps its head; of a tagger the encoder is
    taken.

    Args:
        max_width: units of a span at most.
        nested: whether mentions may overlap.
        lexicon: becomes a feature.
        lexicon_dropout: share of its matches that training hides.
        dropout: instead of the checkpoint's own, throughout.

    Raises:
        UserError: when the checkpoint could not be loaded, is no encoder, or does not go with a
            case feature; as `encoders.choose_trained`.
    """
    path = weights.resolve(name)
    try:
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        changed: dict[str, object] = {}
        if dropout is not None:
            changed = {key: dropout for key in DROPOUT_OPTIONS if hasattr(config, key)}
        head = {"max_width": max_width, "nested": nested}
        if config.model_type == SpanTaggerConfig.model_type:
            changed |= {"case_feature": case_feature or config.case_feature}
            made = _loaded(name, types, labels_of(config), **head, **changed)
        else:
            made = _with_new_head(
                _encoder(name, path, config, **changed),
                SpanTaggerConfig,
                case_feature=case_feature,
                dropout=0.1 if dropout is None else dropout,
                **head,
                **label_map(types),
            )
    except (OSError, ValueError) as error:
        raise weights.unavailable(name, error) from error
    check_case_feature(made.model, name)
    made = with_lexicon(made, lexicon, lexicon_dropout)
    choose_trained(made.model, tune, last_n=last_n, lora=lora)
    return made


def _loaded(name: str, types: Sequence[str], before: Sequence[str], **changed: object) -> NewModel:
    model, lacking = load_network(name, ignore_mismatched_sizes=True, **label_map(types), **changed)
    new = follow_labels(model, before, new=lacking)
    network: Any = model
    if "classifier.bias" in new:
        nn.init.constant_(network.classifier.bias, FIRST_BIAS)
    return NewModel(model, new)


def _encoder(name: str, path: str, config: Any, **changed: object) -> PreTrainedModel:
    """The encoder of a checkpoint, whatever head it has."""
    if config.model_type == EncoderTaggerConfig.model_type:
        tagger: Any = load_network(name, **changed)[0]
        encoder: PreTrainedModel = tagger.encoder
        return encoder
    return AutoModel.from_pretrained(path, dtype=torch.float32, trust_remote_code=False, **changed)


def _with_new_head(encoder: PreTrainedModel, config_class: Any, **options: object) -> NewModel:
    config = config_class(
        encoder=encoder.config, pad_token_id=encoder.config.pad_token_id, **options
    )
    model = SpanTagger(config, encoder)
    new = [key for key, _ in model.named_parameters() if not key.startswith("encoder.")]
    return NewModel(model, new)


def training_rows(
    examples: Sequence[Example],
    model: SpanTagger,
    tokenizer: PreTrainedTokenizerBase,
    settings: TaggerSettings,
) -> Rows:
    """Cuts and aligns examples; a row has the units of a window and the mentions among them.

    Its `labels` are 0 at the first sub-words of units: they count what the loss is divided by. A
    mention that cuts through a unit is trained on as the whole of it, as with tags; it counts as
    lost, and so does one that is wider than the network's width, or whole in no window.
    """
    result = Rows([], [], [], [], [])
    for example, text in zip(examples, encode(examples, tokenizer, settings), strict=True):
        gold = ranges_of(example.spans or (), text, model)
        reached: set[Span] = set()
        if len(text.windows) > 1:
            result.long.append(example.id)
        for row, inside in window_rows(model, text, gold):
            reached.update(span for span, _ in inside)
            result.rows.append({**row, GOLD: [item for _, item in inside]})
            result.ids.append(example.id)
        if not text.windows:
            result.empty.append(example.id)
        exact = {
            span
            for span, first, past, _ in gold
            if (text.offsets[first][0], text.offsets[past - 1][1]) == (span.start, span.end)
        }
        result.lost.extend(
            (example.id, span)
            for span in example.spans or ()
            if span not in reached or span not in exact
        )
    return result


def window_rows(
    model: SpanTagger, text: Encoded, ranges: Sequence[tuple[Span, int, int, int]]
) -> Iterator[tuple[JsonObject, list[tuple[Span, list[int]]]]]:
    """The windows of a text that hold a whole unit, as rows to train on.

    Args:
        ranges: from `ranges_of`.

    Yields:
        What the network reads, with `labels`; and of the spans that lie whole in the window each
        with its start, width - 1 and type, which go into `gold`.
    """
    of_words = word_inputs(model, text.words)
    for window in text.windows:
        units = whole_units(text, window)
        if not units.units:
            continue
        index = {unit: position for position, unit in enumerate(units.units)}
        labels = [IGNORED] * len(window.input_ids)
        for position in units.first:
            labels[position] = 0
        row = row_of(model, window, units, of_words)
        inside = [
            (span, [index[first], past - 1 - first, label])
            for span, first, past, label in ranges
            if first in index and past - 1 in index
        ]
        yield {**row, "labels": labels}, inside


def ranges_of(
    spans: Sequence[Span], text: Encoded, model: SpanTagger
) -> list[tuple[Span, int, int, int]]:
    """Spans of a text, each with its half-open range of units and its type's index.

    Spans of unknown types, of no unit, and of more units than the network's width are left out.
    """
    config: Any = model.config
    numbers = {label: index for index, label in enumerate(labels_of(config))}
    found = []
    for span in spans:
        for first, past, label in spans_to_token_ranges([span], text.offsets):
            if label in numbers and past - first <= config.max_width:
                found.append((span, first, past, numbers[label]))
    return found


def label_weights(rows: Sequence[Fields], model: SpanTagger, *, power: float) -> Tensor:
    """(C,) weights of being a mention against being none; see `presence_weights`."""
    config: Any = model.config
    counts = np.zeros(config.num_labels, dtype=int)
    spans = 0
    for row in rows:
        units = len(row["first"])
        widths = min(config.max_width, units)
        spans += widths * units - widths * (widths - 1) // 2
        for *_, label in row[GOLD]:
            counts[label] += 1
    return presence_weights(counts, total=spans, power=power)


def targets_of(shape: Sequence[int], real: Tensor, gold: Tensor, *, smoothing: float) -> Tensor:
    """(B, U, W, C): 1 for a gold span of a type, else 0.

    Args:
        shape: B, U, W, C.
        real: (B, U, W), from `real_spans`.
        gold: (B, G, 3), start, width - 1 and type; padded with -1.
        smoothing: the share of a gold span that goes to those that begin or end one unit beside,
            a fourth to each of them that there is (Zhu and Li 2022, section 3.2, with D = 1).
    """
    targets = torch.zeros(tuple(shape), device=gold.device)
    row, item = (gold[..., 0] >= 0).nonzero(as_tuple=True)
    start, width, label = gold[row, item].unbind(-1)  # each (N,)
    if not smoothing:
        targets[row, start, width, label] = 1
        return targets
    kept = torch.ones(len(row), device=gold.device)
    for by_start, by_width in BESIDE:
        near, size = start + by_start, width + by_width
        held = (near >= 0) & (near < shape[1]) & (size >= 0) & (size < shape[2])
        held &= real[row, near.clamp(0, shape[1] - 1), size.clamp(0, shape[2] - 1)]
        kept -= held * smoothing / 4
        where = (row[held], near[held], size[held], label[held])
        targets[where] = targets[where].clamp(min=smoothing / 4)
    targets[row, start, width, label] = kept
    return targets


def real_spans(first: Tensor, widths: int) -> Tensor:
    """(B, U, W), true where a span of 1 to W units ends at a unit that is there.

    Args:
        first: (B, U), -1 for padding.
    """
    counts = (first >= 0).sum(1)[:, None, None]  # (B, 1, 1)
    starts = torch.arange(first.shape[1], device=first.device)[None, :, None]
    offsets = torch.arange(widths, device=first.device)[None, None]
    return starts + offsets < counts


class SpanScores(EncodedOnce, DevScores, SummedLoss):
    """The loss of all spans, and strict F1 of predicted ones with the loss of the same logits."""

    def summed_loss(self, model: nn.Module, inputs: dict[str, Tensor]) -> tuple[Tensor, object]:
        """The loss of a batch, summed over spans and types, and what the model returned."""
        own = {name: value for name, value in inputs.items() if name not in ("labels", GOLD)}
        outputs = model(**own)
        logits = outputs.logits  # (B, U, W, C)
        real = real_spans(inputs["first"], logits.shape[2])
        return self._loss(logits, real, inputs[GOLD]), outputs

    @torch.inference_mode()
    def score(self, examples: Sequence[Example]) -> dict[str, float]:
        """Finds the spans of examples as `predict` does."""
        model: Any = self.accelerator.unwrap_model(self.model)
        tokenizer: Any = self.processing_class
        predictions, total, count = [], 0.0, 0
        for part, encoded in zip(chunks(examples), self.encoded(examples), strict=True):
            logits = span_logits(
                model, encoded, batch_tokens=BATCH_TOKENS, pad=tokenizer.pad_token_id or 0
            )
            predictions += spans_from(model, part, encoded, logits)
            for example, text, scores in zip(part, encoded, logits, strict=True):
                ranges = ranges_of(example.spans or (), text, model)
                gold = [(first, past - 1 - first, label) for _, first, past, label in ranges]
                held = scores[None, ..., 0] > -math.inf  # (1, U, W)
                total += float(
                    self._loss(scores[None], held, torch.tensor(gold).view(1, -1, 3).long())
                )
                count += len(text.offsets)
        return {"loss": total / max(count, 1), **strict_scores(examples, predictions)}

    def _loss(self, logits: Tensor, real: Tensor, gold: Tensor) -> Tensor:
        """The summed loss of logits (B, U, W, C), given as for `targets_of`."""
        smoothing = self.args.label_smoothing_factor
        targets = targets_of(logits.shape, real, gold, smoothing=smoothing)
        return class_loss(
            logits[real], targets[real], weight=self.weight, focal_gamma=self.focal_gamma
        )


class TaggerTrainer(
    CpuTraining, WeightAveraging, LayerRates, FrozenParts, LengthBatches, SpanScores, Trainer
):
    """Fine-tunes an encoder with a head on spans; checkpoints are compared by strict F1."""

    def __init__(self, *arguments: Any, **keywords: Any):
        pad = keywords["processing_class"].pad_token_id or 0
        super().__init__(
            *arguments, **keywords | {"data_collator": partial(collate_spans, pad=pad)}
        )
