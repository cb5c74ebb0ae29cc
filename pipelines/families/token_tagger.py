"""A network that tags tokens: texts as windows of sub-words, one tag a word, spans from tags, saving and loading.

Any `AutoModelForTokenClassification` with BIO labels and a fast tokenizer. Training and prediction cut and align a text
by the same function, `encode`. Training itself is in `tagging.py`.

A *unit* is what bears a tag: a token of a tokenised corpus, else a run of letters and digits or a single mark. Its
first sub-word carries the tag; units that one sub-word covers are one unit. Each unit is tagged in exactly one window,
the one in which it has the most context on both sides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipelines import precision
from pipelines.errors import UserError
from pipelines.examples import Example, Prediction, Span, replacing
from pipelines.families.batching import length_batches
from pipelines.networks import encoder_config, encoder_tagger, feedforward, recurrent, tagger_ensemble, weights
from pipelines.networks.crf import LinearChainCRF
from pipelines.spans import (
    Offsets,
    TokenRange,
    spans_to_token_ranges,
    tags_to_spans,
    tags_to_token_ranges,
    token_ranges_to_spans,
    token_ranges_to_tags,
)
from pipelines.voting import vote

MODEL_FILE = "tagger.json"
DECODERS = ("argmax", "viterbi", "crf")
_UNIT = re.compile(r"[^\W_]+|[^\w\s]|_")
# Importing them registers their configs with `AutoConfig` and `AutoModelForTokenClassification`.
_OUR_NETWORKS = (encoder_tagger, feedforward, recurrent, tagger_ensemble)


@dataclass(frozen=True, slots=True)
class Settings:
    """How texts are cut and tags are read.

    Attributes:
        decode: `argmax` (each unit by itself), `viterbi` (the likeliest tags that are legal BIO), `crf` (the best path
            of the model's own transition scores).
        window: sub-words of a window at most, special ones counted.
        stride: sub-words that neighbouring windows of a long text share.
    """

    decode: str = "viterbi"
    window: int = encoder_config.UNLIMITED
    stride: int = 128


class Loaded(NamedTuple):
    """A model that is ready to predict: anything that gives `model(input_ids=, attention_mask=).logits`."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    settings: Settings


class Window(NamedTuple):
    """A part of a text as sub-words.

    Attributes:
        input_ids: (T,).
        words: the string that each sub-word covers; empty for a special one. (T,)
        positions: places of the first sub-words of the units that are tagged here.
        units: the numbers of these units.
    """

    input_ids: list[int]
    words: list[str]
    positions: list[int]
    units: list[int]


class Encoded(NamedTuple):
    """A text as windows; `offsets` are the character offsets of its units, in order."""

    offsets: list[tuple[int, int]]
    windows: list[Window]


def encode(examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, settings: Settings) -> list[Encoded]:
    """Cuts texts into overlapping windows of sub-words and finds the first sub-word of each unit.

    A unit without any sub-word (a character that the tokenizer drops) is left out: no tag reaches it.
    """
    if not examples:
        return []
    room = settings.window - tokenizer.num_special_tokens_to_add()
    found = tokenizer([example.text for example in examples], truncation=True, max_length=settings.window,
                      stride=max(0, min(settings.stride, room - 1)), return_overflowing_tokens=True,
                      return_offsets_mapping=True, return_special_tokens_mask=True)
    windows: list[list[int]] = [[] for _ in examples]
    for number, example in enumerate(found["overflow_to_sample_mapping"]):
        windows[example].append(number)
    return [_encoded(example, [(found["input_ids"][number], found["offset_mapping"][number],
                                found["special_tokens_mask"][number]) for number in numbers])
            for example, numbers in zip(examples, windows, strict=True)]


def _encoded(example: Example, windows: Sequence[tuple[list[int], Offsets, list[int]]]) -> Encoded:
    touched: list[list[tuple[int, int] | None]] = [
        [None if special else offset for offset, special in zip(offsets, specials, strict=True)]
        for _, offsets, specials in windows]
    units = _units(example, [offset for offsets in touched for offset in offsets if offset])
    unit_at = [-1] * len(example.text)
    for number, (start, end) in enumerate(units):
        unit_at[start:end] = [number] * (end - start)
    # For each unit, its best place: most sub-words to the nearer edge of the window, window, position.
    best: dict[int, tuple[int, int, int]] = {}
    for number, offsets in enumerate(touched):
        seen = set()
        for position, offset in enumerate(offsets):
            unit = max(unit_at[offset[0]:offset[1]], default=-1) if offset else -1
            # A window may begin in the middle of a unit: its first sub-word is then in another one.
            if offset and unit >= 0 and unit not in seen:
                seen.add(unit)
                whole = not example.text[units[unit][0]:offset[0]].strip()
                context = min(position, len(offsets) - 1 - position) if whole else -1
                if unit not in best or context > best[unit][0]:
                    best[unit] = context, number, position
    kept = sorted(best)
    places: list[list[tuple[int, int]]] = [[] for _ in windows]
    for unit, old in enumerate(kept):
        places[best[old][1]].append((best[old][2], unit))
    return Encoded([units[old] for old in kept], [
        Window(ids, [example.text[offset[0]:offset[1]] if offset else "" for offset in offsets],
               [position for position, _ in sorted(place)], [unit for _, unit in sorted(place)])
        for (ids, _, _), offsets, place in zip(windows, touched, places, strict=True) if place])


def _units(example: Example, sub_words: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Character offsets of the units; those that one sub-word covers together are one."""
    units = [match.span() for match in _UNIT.finditer(example.text)] if example.tokens is None else [
        (start, end) for start, end in example.tokens if example.text[start:end].strip()]
    joined = [False] * len(units)  # with the unit before
    unit_at = [-1] * len(example.text)
    for number, (start, end) in enumerate(units):
        unit_at[start:end] = [number] * (end - start)
    for start, end in sub_words:
        inside = [unit for unit in unit_at[start:end] if unit >= 0]
        for number in range(inside[0] + 1, inside[-1] + 1) if inside else ():
            joined[number] = True
    merged: list[tuple[int, int]] = []
    for unit, with_last in zip(units, joined, strict=True):
        if with_last:
            merged[-1] = merged[-1][0], unit[1]
        else:
            merged.append(unit)
    return merged


def labels_of(model: Any) -> list[str]:
    """The model's tags, in order of their numbers."""
    return [model.config.id2label[number] for number in range(model.config.num_labels)]


def extra_inputs(model: Any, words: Sequence[str]) -> dict[str, list[Any]]:
    """What a model wants beside token ids: its own `extra_inputs(words)` says, T numbers or T rows of them a name."""
    wanted = getattr(model, "extra_inputs", None)
    return wanted(words) if wanted else {}


def collate(rows: Sequence[Mapping[str, Any]], *, pad: int) -> dict[str, Tensor]:
    """Pads rows on the right: token ids with `pad`, labels with -100, all else with 0; adds `attention_mask`."""
    batch = {name: pad_sequence([torch.as_tensor(row[name]) for row in rows], batch_first=True,
                                padding_value={"input_ids": pad, "labels": -100}.get(name, 0))
             for name in rows[0]}
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    batch["attention_mask"] = (torch.arange(batch["input_ids"].shape[1]) < lengths[:, None]).long()
    return batch


def predict(loaded: Loaded, examples: Sequence[Example], *, batch_tokens: int = 4096,
            progress: bool = True) -> list[Prediction]:
    """Finds the spans of each example.

    A span's score is the least probability among the tags of its units: by themselves, or given the whole text where
    a CRF reads them. Several taggers in one find theirs each, and vote (`vote`); the mean of their tags' probabilities
    would find more spans, most of them wrong.

    Args:
        batch_tokens: at most this many sub-words, padding counted, at a time.
    """
    model, tokenizer, settings = loaded
    if isinstance(model, tagger_ensemble.TaggerEnsemble):
        answers = [predict(Loaded(tagger, tokenizer, settings), examples, batch_tokens=batch_tokens, progress=progress)
                   for tagger in model.taggers]
        return vote(answers, names=[f"tagger {number}" for number in range(1, len(answers) + 1)])
    encoded = encode(examples, tokenizer, settings)
    logits = unit_logits(loaded, encoded, batch_tokens=batch_tokens, progress=progress)
    tagged = read_tags(model, logits, decode=settings.decode)
    labels = labels_of(model)
    return [_prediction(example.id, found.offsets, [labels[tag] for tag in tags], probabilities)
            for example, found, (tags, probabilities) in zip(examples, encoded, tagged, strict=True)]


def _prediction(id: str, offsets: Offsets, tags: Sequence[str], probabilities: Sequence[float]) -> Prediction:
    ranges = tags_to_token_ranges(tags)
    spans = token_ranges_to_spans(ranges, offsets)
    return Prediction(id, spans=tuple(Span(span.start, span.end, span.label, round(min(probabilities[first:past]), 6))
                                      for span, (first, past, _) in zip(spans, ranges, strict=True)))


@torch.inference_mode()
def unit_logits(loaded: Loaded, encoded: Sequence[Encoded], *, batch_tokens: int, progress: bool) -> list[Tensor]:
    """Scores of the tags of each text's units, (U, C) in float32 on the CPU, each from its unit's own window."""
    model, tokenizer, _ = loaded
    model.eval()
    texts = [torch.zeros(len(text.offsets), model.config.num_labels) for text in encoded]
    windows = [(number, window) for number, text in enumerate(encoded) for window in text.windows]
    batches = length_batches([len(window.input_ids) for _, window in windows], batch_tokens)
    for batch in tqdm(batches, desc="tagging", unit="batch", disable=not progress):
        rows = [{"input_ids": windows[row][1].input_ids, **extra_inputs(model, windows[row][1].words)}
                for row in batch]
        inputs = collate(rows, pad=tokenizer.pad_token_id or 0)
        logits = model(**{name: value.to(model.device) for name, value in inputs.items()}).logits.float().cpu()
        for row, scores in zip(batch, logits, strict=True):
            text, window = windows[row]
            texts[text][window.units] = scores[window.positions]
    return texts


@torch.inference_mode()
def read_tags(model: Any, logits: Sequence[Tensor], *, decode: str) -> list[tuple[list[int], list[float]]]:
    """Tag numbers and their probabilities for each text's (U, C) scores."""
    if decode == "crf":
        if getattr(model, "crf", None) is None:
            raise UserError("--decode crf needs a model that was trained with a CRF; take --decode viterbi or argmax")
        chain = model.crf
    else:
        chain = LinearChainCRF(model.config.num_labels, tags=labels_of(model) if decode == "viterbi" else None)
    device = chain.start.device
    read: list[tuple[list[int], list[float]]] = [([], []) for _ in logits]
    for batch in length_batches([len(scores) for scores in logits], 1 << 14):
        if not len(logits[batch[-1]]):
            continue
        emissions = pad_sequence([logits[text] for text in batch], batch_first=True).to(device)        # (B, U, C)
        lengths = torch.tensor([len(logits[text]) for text in batch], device=device)
        mask = torch.arange(emissions.shape[1], device=device) < lengths[:, None]                      # (B, U)
        if decode == "crf":
            tags, probabilities = chain.viterbi(emissions, mask), chain.marginals(emissions, mask)
        else:
            probabilities = emissions.softmax(-1)
            tags = emissions.argmax(-1) if decode == "argmax" else chain.viterbi(emissions.log_softmax(-1), mask)
        chosen = probabilities.gather(2, tags[..., None])[..., 0].clamp(0, 1)                          # (B, U)
        for text, length, numbers, scores in zip(batch, lengths.tolist(), tags.tolist(), chosen.tolist(), strict=True):
            read[text] = numbers[:length], scores[:length]
    return read


def save(folder: str | Path, *, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase,
         settings: Settings) -> None:
    """Saves model, tokenizer and settings; the settings last: a folder without them was not saved to the end."""
    folder = Path(folder)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(folder)
    with replacing(folder / MODEL_FILE) as f:
        json.dump({**asdict(settings), "labels": labels_of(model)}, f, indent=1)


def load(folder: str | Path, *, device: str | None = None) -> Loaded:
    """Loads what `save` wrote.

    Raises:
        UserError: when the folder holds no such model, or weights are missing in it.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
        settings = Settings(content["decode"], content["window"], content["stride"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder}: no readable {MODEL_FILE} ({type(error).__name__}: {error}), so no finished tagger; "
                        "give the folder of a run that finished training") from error
    tokenizer = load_tokenizer(str(folder))
    model, missing = load_network(str(folder))
    if missing:
        raise UserError(f"{folder}: the weights lack {', '.join(missing[:3])}"
                        f"{f' and {len(missing) - 3} more' if len(missing) > 3 else ''}; the folder holds another "
                        "model than its config says, train it again")
    network: Any = model.eval()
    return Loaded(network.to(device or precision.choose().device), tokenizer, settings)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """Loads a tokenizer that says which characters a token covers.

    Raises:
        UserError: when it cannot be had, or is not a fast one.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(weights.resolve(name))
    except (OSError, ValueError) as error:
        raise weights.unavailable(name, error) from error
    if not tokenizer.is_fast:
        raise UserError(f"the tokenizer of {name!r} does not tell which characters a token covers; take a model with a "
                        "fast tokenizer")
    return tokenizer


def load_network(name: str, **options: Any) -> tuple[PreTrainedModel, list[str]]:
    """Loads a tagger in float32, and names the weights that the checkpoint lacks or has in another shape.

    Raises:
        UserError: when it cannot be had, or its architecture has no tagging head.
    """
    try:
        model, report = AutoModelForTokenClassification.from_pretrained(
            weights.resolve(name), dtype=torch.float32, output_loading_info=True, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if "Unrecognized configuration class" in str(error):
            kind = AutoConfig.from_pretrained(weights.resolve(name)).model_type
            raise UserError(f"{name}: a {kind} model has no head for tagging tokens; take an encoder such as "
                            "distilbert-base-cased or local:minilm") from error
        raise weights.unavailable(name, error) from error
    return model, sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})


def window_of(model: Any, tokenizer: PreTrainedTokenizerBase) -> int:
    """Sub-words that a model takes at most."""
    return encoder_config.window_of(model.config, tokenizer)


def unreachable(example: Example, tags: Sequence[str], offsets: Offsets) -> list[Span]:
    """Gold spans that perfect tags would not give back: they overlap another or cut through a unit."""
    reached = set(tags_to_spans(tags, offsets))
    return [span for span in example.spans or () if span not in reached]


def tags_for(examples: Sequence[Example]) -> list[str]:
    """The BIO tags of the types that occur, `O` first."""
    types = sorted({span.label for example in examples for span in example.spans or ()})
    return ["O", *(f"{prefix}-{label}" for label in types for prefix in "BI")]


def gold_tags(example: Example, offsets: Offsets) -> list[str]:
    """BIO tags of the units; of spans that touch the same unit, the longest is kept."""
    kept: list[TokenRange] = []
    for span in sorted(example.spans or (), key=lambda span: (span.start - span.end, span)):
        for first, past, label in spans_to_token_ranges([span], offsets):
            if all(past <= other[0] or other[1] <= first for other in kept):
                kept.append((first, past, label))
    return token_ranges_to_tags(kept, len(offsets))
