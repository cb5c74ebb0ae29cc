"""A network that tags tokens: one tag a unit of text, spans from tags, prediction, saving and loading.

Any `AutoModelForTokenClassification` with BIO labels and a fast tokenizer. Training and prediction cut and align a text
by the same function, `units.encode`. Training itself is in `tagging.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoConfig,
    AutoModelForTokenClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipelines.errors import UserError
from pipelines.evaluation.voting import vote
from pipelines.examples import Example, Prediction, Span, replacing
from pipelines.families.batching import chunks, length_batches, progress_bar
from pipelines.families.token_tagger.units import (
    Encoded,
    Settings,
    Window,
    encode,
    gold_tags,
    tags_for,
    unreachable,
)
from pipelines.networks import (
    encoder_config,
    encoder_tagger,
    feedforward,
    precision,
    recurrent,
    tagger_ensemble,
    weights,
)
from pipelines.networks.crf import LinearChainCRF
from pipelines.spans import Offsets, tags_to_token_ranges, token_ranges_to_spans

MODEL_FILE = "tagger.json"
DECODERS = ("argmax", "viterbi", "crf")
# Importing them registers their configs with `AutoConfig` and `AutoModelForTokenClassification`.
_OUR_NETWORKS = (encoder_tagger, feedforward, recurrent, tagger_ensemble)
__all__ = ["DECODERS", "MODEL_FILE", "Encoded", "Loaded", "Settings", "Window", "collate", "encode", "extra_inputs",
           "gold_tags", "labels_of", "load", "load_network", "load_tokenizer", "predict", "read_tags", "save",
           "tags_for", "unit_logits", "unreachable", "window_of"]


class Loaded(NamedTuple):
    """A model that is ready to predict: anything that gives `model(input_ids=, attention_mask=).logits`."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    settings: Settings


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
        progress: show a bar on a terminal.
    """
    model, tokenizer, settings = loaded
    if isinstance(model, tagger_ensemble.TaggerEnsemble):
        answers = [predict(Loaded(tagger, tokenizer, settings), examples, batch_tokens=batch_tokens, progress=progress)
                   for tagger in model.taggers]
        return vote(answers, names=[f"tagger {number}" for number in range(1, len(answers) + 1)])
    labels = labels_of(model)
    predictions: list[Prediction] = []
    with progress_bar(len(examples), "tagging", show=progress) as bar:
        for part in chunks(examples):
            encoded = encode(part, tokenizer, settings)
            logits = unit_logits(loaded, encoded, batch_tokens=batch_tokens)
            tagged = read_tags(model, logits, decode=settings.decode)
            for example, text, (tags, probabilities) in zip(part, encoded, tagged, strict=True):
                names = [labels[tag] for tag in tags]
                predictions.append(_prediction(example.id, text.offsets, names, probabilities))
            bar.update(len(part))
    return predictions


def _prediction(id: str, offsets: Offsets, tags: Sequence[str], probabilities: Sequence[float]) -> Prediction:
    ranges = tags_to_token_ranges(tags)
    spans = token_ranges_to_spans(ranges, offsets)
    return Prediction(id, spans=tuple(Span(span.start, span.end, span.label, round(min(probabilities[first:past]), 6))
                                      for span, (first, past, _) in zip(spans, ranges, strict=True)))


@torch.inference_mode()
def unit_logits(loaded: Loaded, encoded: Sequence[Encoded], *, batch_tokens: int,
                progress: bool = False) -> list[Tensor]:
    """Scores of the tags of each text's units, (U, C) in float32 on the CPU, each from its unit's own window."""
    model, tokenizer, _ = loaded
    model.eval()
    texts = [torch.zeros(len(text.offsets), model.config.num_labels) for text in encoded]
    windows = [(number, window) for number, text in enumerate(encoded) for window in text.windows]
    with progress_bar(len(windows), "tagging", show=progress) as bar:
        for batch in length_batches([len(window.input_ids) for _, window in windows], batch_tokens):
            rows = [{"input_ids": windows[row][1].input_ids, **extra_inputs(model, windows[row][1].words)}
                    for row in batch]
            inputs = collate(rows, pad=tokenizer.pad_token_id or 0)
            logits = model(**{name: value.to(model.device) for name, value in inputs.items()}).logits.float().cpu()
            for row, scores in zip(batch, logits, strict=True):
                text, window = windows[row]
                texts[text][window.units] = scores[window.positions]
            bar.update(len(batch))
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
