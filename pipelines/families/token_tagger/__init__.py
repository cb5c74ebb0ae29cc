"""A network that tags tokens: one tag for each unit of a text, spans from tags, saving and loading.

Any `AutoModelForTokenClassification` with BIO labels and a fast tokenizer. Training and prediction
cut and align a text by the same function, `units.encode`. Training is in `tagging.py` (encoders)
and `word_tagging.py` (networks on words).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
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
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.evaluation.voting import vote
from pipelines.examples import Example, Prediction, Span
from pipelines.families.batching import chunks, length_batches, progress_bar
from pipelines.families.tag_units import tags_for, unreachable
from pipelines.families.token_tagger import span_answers
from pipelines.families.token_tagger.inputs import (
    collate,
    extra_inputs,
    window_inputs,
    window_row,
    word_inputs,
)
from pipelines.families.token_tagger.units import (
    Encoded,
    TaggerSettings,
    Window,
    encode,
)
from pipelines.formatting import some
from pipelines.networks import (
    encoder_config,
    encoder_tagger,
    feedforward,
    onnx_network,
    precision,
    recurrent,
    span_tagger,
    tagger_ensemble,
    weights,
)
from pipelines.networks.crf import LinearChainCRF
from pipelines.networks.encoder_tokenizer import load_tokenizer
from pipelines.networks.labels import labels_of
from pipelines.spans import tags_to_token_ranges, token_ranges_to_spans

MODEL_FILE = "tagger.json"
DECODERS = ("argmax", "viterbi", "crf")  # of tags
SPANS = "spans"  # decodes a network that scores whole spans
BATCH_TOKENS = 4096  # sub-words of a batch in prediction
# Importing them registers their configs with `AutoConfig` and `AutoModelForTokenClassification`.
_OUR_NETWORKS = (encoder_tagger, feedforward, recurrent, span_tagger, tagger_ensemble)
__all__ = [
    "DECODERS",
    "MODEL_FILE",
    "SPANS",
    "Encoded",
    "Loaded",
    "TaggerSettings",
    "Window",
    "collate",
    "encode",
    "extra_inputs",
    "load",
    "load_network",
    "load_tokenizer",
    "predict",
    "read_tags",
    "save",
    "spans_from",
    "tags_for",
    "unit_logits",
    "unreachable",
    "window_inputs",
    "window_of",
]


class Loaded(NamedTuple):
    """A model ready to predict: anything with `model(input_ids=, attention_mask=).logits`."""

    model: Any
    tokenizer: PreTrainedTokenizerBase
    settings: TaggerSettings


def predict(
    loaded: Loaded,
    examples: Sequence[Example],
    *,
    batch_tokens: int = BATCH_TOKENS,
    progress: bool = True,
) -> list[Prediction]:
    """Finds the spans of each example.

    The score of a span is the least probability among the tags of its units: of each by itself, or
    given the whole text where a CRF decodes; a span tagger scores spans themselves. The taggers of
    an ensemble each find their spans, and vote (`vote`); the mean of their tags' probabilities
    would find more spans, most of them wrong.

    Args:
        batch_tokens: sub-words of a batch at most, padding included.
        progress: show a bar on a terminal.
    """
    model, tokenizer, settings = loaded
    if isinstance(model, tagger_ensemble.TaggerEnsemble):
        members = [Loaded(member, tokenizer, settings) for member in model.taggers]
        answers = [
            predict(member, examples, batch_tokens=batch_tokens, progress=progress)
            for member in members
        ]
        return vote(answers, names=[f"tagger {number + 1}" for number in range(len(answers))])
    predictions: list[Prediction] = []
    with progress_bar(len(examples), "tagging", show=progress) as bar:
        for part in chunks(examples):
            encoded = encode(part, tokenizer, settings)
            if settings.decode == SPANS:
                scores = span_answers.span_logits(
                    model, encoded, batch_tokens=batch_tokens, pad=tokenizer.pad_token_id or 0
                )
                predictions += span_answers.spans_from(model, part, encoded, scores)
            else:
                logits = unit_logits(loaded, encoded, batch_tokens=batch_tokens)
                predictions += spans_from(loaded, part, encoded, logits)
            bar.update(len(part))
    return predictions


def spans_from(
    loaded: Loaded,
    examples: Sequence[Example],
    encoded: Sequence[Encoded],
    logits: Sequence[Tensor],
) -> list[Prediction]:
    """Decodes the logits of each example, (U, C), into spans."""
    labels = labels_of(loaded.model.config)
    decoded = read_tags(loaded.model, logits, decode=loaded.settings.decode)
    predictions = []
    for example, text, (tags, probabilities) in zip(examples, encoded, decoded, strict=True):
        ranges = tags_to_token_ranges([labels[tag] for tag in tags])
        spans = []
        for span, (first, past, _) in zip(
            token_ranges_to_spans(ranges, text.offsets), ranges, strict=True
        ):
            score = round(min(probabilities[first:past]), 6)
            spans.append(Span(span.start, span.end, span.label, score))
        certainty = round(min(probabilities), 6) if probabilities else None
        predictions.append(Prediction(example.id, spans=tuple(spans), certainty=certainty))
    return predictions


@torch.inference_mode()
def unit_logits(
    loaded: Loaded, encoded: Sequence[Encoded], *, batch_tokens: int, progress: bool = False
) -> list[Tensor]:
    """Logits of the units of each text, each from the window that its unit is tagged in.

    Returns:
        (U, C) for each text, float32 on the CPU.
    """
    model, tokenizer, _ = loaded
    model.eval()
    texts = [torch.zeros(len(text.offsets), model.config.num_labels) for text in encoded]
    windows = [(index, window) for index, text in enumerate(encoded) for window in text.windows]
    of_words = [word_inputs(model, text.words) for text in encoded]
    lengths = [len(window.input_ids) for _, window in windows]
    with progress_bar(len(windows), "tagging", show=progress) as bar:
        for batch in length_batches(lengths, batch_tokens):
            rows = []
            for row in batch:
                index, window = windows[row]
                rows.append(window_row(model, window, of_words[index]))
            inputs = collate(rows, pad=tokenizer.pad_token_id or 0)
            inputs = {name: value.to(model.device) for name, value in inputs.items()}
            logits = model(**inputs).logits.float().cpu()  # (B, T, C)
            for row, scores in zip(batch, logits, strict=True):
                index, window = windows[row]
                texts[index][window.units] = scores[window.positions]
            bar.update(len(batch))
    return texts


def padded_batches(
    logits: Sequence[Tensor], device: torch.device
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Batches of texts of about one length; texts without a unit are left out.

    Yields:
        The indices of B texts, their logits (B, U, C), and a mask (B, U), true where a unit is.
    """
    texts = [index for index, scores in enumerate(logits) if len(scores)]
    for batch in length_batches([len(logits[text]) for text in texts], 1 << 14):
        indices = [texts[row] for row in batch]
        emissions = pad_sequence([logits[index] for index in indices], batch_first=True)
        lengths = torch.tensor([len(logits[index]) for index in indices])[:, None]
        mask = torch.arange(emissions.shape[1]) < lengths
        yield indices, emissions.to(device), mask.to(device)


@torch.inference_mode()
def read_tags(
    model: Any, logits: Sequence[Tensor], *, decode: str
) -> list[tuple[list[int], list[float]]]:
    """Decodes the logits of each text, (U, C).

    Args:
        decode: one of `DECODERS`.

    Returns:
        The indices of the tags of each text, and their probabilities.

    Raises:
        UserError: for `crf` where the model has none.
    """
    if decode == "crf":
        if getattr(model, "crf", None) is None:
            raise UserError(
                "--decode crf needs a model that was trained with a CRF; take --decode viterbi or "
                "argmax"
            )
        chain = model.crf
    else:
        rules = labels_of(model.config) if decode == "viterbi" else None
        chain = LinearChainCRF(model.config.num_labels, tags=rules)
    decoded: list[tuple[list[int], list[float]]] = [([], []) for _ in logits]
    for indices, emissions, mask in padded_batches(logits, chain.start.device):
        if decode == "crf":
            tags = chain.viterbi(emissions, mask)  # (B, U)
            probabilities = chain.marginals(emissions, mask)  # (B, U, C)
        else:
            probabilities = emissions.softmax(-1)
            tags = emissions.argmax(-1)
            if decode == "viterbi":
                tags = chain.viterbi(emissions.log_softmax(-1), mask)
        chosen = probabilities.gather(2, tags[..., None])[..., 0].clamp(0, 1)  # (B, U)
        for index, numbers, scores in zip(indices, tags.tolist(), chosen.tolist(), strict=True):
            length = len(logits[index])
            decoded[index] = numbers[:length], scores[:length]
    return decoded


def save(
    folder: str | Path,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    settings: TaggerSettings,
) -> None:
    """Saves model, tokenizer and settings.

    The settings are written last: a folder without them was not saved to the end.
    """
    folder = Path(folder)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(folder)
    with replacing(folder / MODEL_FILE) as f:
        json.dump({**asdict(settings), "labels": labels_of(model.config)}, f, indent=1)


def load(folder: str | Path, *, device: str | None = None) -> Loaded:
    """Loads what `save` wrote, or what was exported from it.

    Raises:
        UserError: when the folder holds no finished tagger, or weights are missing in it.
    """
    folder = Path(folder)
    try:
        content = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))
        settings = TaggerSettings(content["decode"], content["window"], content["stride"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{folder}: no readable {MODEL_FILE} ({type(error).__name__}: {error}), so no finished "
            "tagger; give the folder of a run that finished training"
        ) from error
    tokenizer = load_tokenizer(str(folder))
    if onnx_network.is_in(folder):
        return Loaded(onnx_network.OnnxNetwork(folder), tokenizer, settings)
    model, missing = load_network(str(folder))
    if missing:
        raise UserError(
            f"{folder}: the weights lack {some(missing, 3)}; the folder holds another model than "
            "its config describes, train it again"
        )
    network: Any = model.eval()
    return Loaded(network.to(device or precision.choose().device), tokenizer, settings)


def load_network(name: str, **options: object) -> tuple[PreTrainedModel, list[str]]:
    """Loads a tagger in float32.

    Args:
        options: for `from_pretrained`.

    Returns:
        The model, and the names of the weights that the checkpoint lacks or has in another shape.

    Raises:
        UserError: when it could not be loaded, or its architecture has no tagging head.
    """
    path = weights.resolve(name)
    try:
        model, report = AutoModelForTokenClassification.from_pretrained(
            path,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        if "Unrecognized configuration class" in str(error):
            kind = AutoConfig.from_pretrained(path, trust_remote_code=False).model_type
            raise UserError(
                f"{name}: a {kind} model has no head for tagging tokens; take an encoder such as "
                "distilbert-base-cased or local:minilm"
            ) from error
        raise weights.unavailable(name, error) from error
    mismatched = [key for key, *_ in report["mismatched_keys"]]
    return model, sorted({*report["missing_keys"], *mismatched})


def window_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """Sub-words that a model takes at most."""
    return encoder_config.window_of(model.config, tokenizer)
