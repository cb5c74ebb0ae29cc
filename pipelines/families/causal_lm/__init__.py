"""A causal language model that writes the mentions of a text: prediction, saving and loading.

Training and prediction render and tokenise by the same two functions, `prompt_ids` and `answer_ids`; a hash of what
they make of a probe is stored beside the weights and checked at load. Training itself is in `sft.py`.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from pipelines.alignment.strings import mention_to_json
from pipelines.cpu.attention import attend_plainly
from pipelines.cpu.llama_layers import use_lean_layers
from pipelines.errors import UserError
from pipelines.examples import Example, Prediction, Span, replacing
from pipelines.families.batching import chunks, progress_bar
from pipelines.families.causal_lm.control_tokens import control_strings, text_ids
from pipelines.families.causal_lm.generation import Answer, Grammar, generate
from pipelines.families.causal_lm.prompt_tokens import (
    STYLES,
    Prompt,
    answer_ids,
    answer_lead,
    prompt_for,
    prompt_hash,
    prompt_ids,
)
from pipelines.families.causal_lm.text_windows import TextWindow, merged_prediction, text_windows
from pipelines.families.token_tagger.units import shown
from pipelines.networks import precision, weights
from pipelines.networks.encoder_config import UNLIMITED
from pipelines.prompting import formats as prompts
from pipelines.prompting import grammars

PROMPT_FILE = "prompt.json"
SHORT_ANSWER = 256  # tokens that a list of mentions is given room for, however long the text is
__all__ = ["PROMPT_FILE", "STYLES", "Loaded", "Prompt", "answer_ids", "context_length", "load", "load_network",
           "load_tokenizer", "predict", "prompt_for", "prompt_hash", "prompt_ids", "save"]
logger = logging.getLogger(__name__)


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """Loads a tokenizer that has an end token, and a padding token that is another one.

    Raises:
        UserError: when it cannot be had.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(weights.resolve(name), trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise weights.unavailable(name, error) from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"the tokenizer of {name!r} has no end token, so a model cannot learn where an answer ends")
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = _padding(tokenizer)
    return tokenizer


def _padding(tokenizer: PreTrainedTokenizerBase) -> str:
    """A token to pad with that is not the end token: another control token, else one of a byte that no text has."""
    vocabulary = tokenizer.get_vocab()
    candidates = [tokenizer.unk_token, tokenizer.bos_token, *control_strings(tokenizer), "<0x00>", "\u0100"]
    usable = [token for token in candidates
              if token in vocabulary and vocabulary[token] != tokenizer.eos_token_id]
    # Rows are padded behind the end token under a mask and without a loss, so the end token serves where nothing
    # else is there.
    return usable[0] if usable else str(tokenizer.eos_token)


def load_network(name: str, *, dtype: torch.dtype | None = None, **options: Any) -> PreTrainedModel:
    """Loads a causal language model in the number format of this machine.

    Raises:
        UserError: when it cannot be had, or is not a causal language model.
    """
    chosen = precision.choose()
    if chosen.device == "cpu":
        # Plain products: ours where they fit, see `cpu_attention`, else the library's.
        options = {"attn_implementation": "eager", **options}
    try:
        model = AutoModelForCausalLM.from_pretrained(weights.resolve(name), dtype=dtype or chosen.weights, **options)
    except (OSError, ValueError, SafetensorError) as error:
        raise weights.unavailable(name, error) from error
    if chosen.device == "cpu":
        attend_plainly(model)
    return model


class Loaded(NamedTuple):
    """A model that is ready to predict."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    prompt: Prompt


def save(folder: str | Path, *, model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase, prompt: Prompt,
         base_model: str) -> None:
    """Saves an adapter or a whole model as safetensors, with its tokenizer and its prompt.

    The prompt file is written last: a folder without it was not saved to the end.
    """
    folder = Path(folder)
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(folder)
    with replacing(folder / PROMPT_FILE) as f:
        json.dump({"base_model": base_model, **asdict(prompt), "hash": prompt_hash(tokenizer, prompt)}, f, indent=1)


def load(folder: str | Path, *, device: str | None = None) -> Loaded:
    """Loads what `save` wrote, for prediction: an adapter (merged into its base where that is not quantised) or a whole
    model.

    Raises:
        UserError: when the folder holds no such model, its base cannot be had, or this version of the code writes
            prompts otherwise than the one that trained it.
    """
    folder = Path(folder)
    if not (folder / PROMPT_FILE).is_file():
        raise UserError(f"{folder}: no {PROMPT_FILE}, so no finished model; give a run that has model/ or merged/")
    settings = json.loads((folder / PROMPT_FILE).read_text(encoding="utf-8"))
    tokenizer = load_tokenizer(str(folder))
    prompt = Prompt(settings["format"], tuple(settings["labels"]), settings["style"], settings["constrained"])
    if settings["hash"] != prompt_hash(tokenizer, prompt):
        raise UserError(f"{folder}: this model was trained on prompts that this version writes otherwise; predict with "
                        "the version that trained it (provenance.json), or train again")
    # What is added to weights and multiplied into them, is so in float32, and rounded once.
    chosen = precision.choose()
    if (folder / "adapter_config.json").is_file():
        base = load_network(settings["base_model"], dtype=torch.float32)
        model = PeftModel.from_pretrained(base, folder).merge_and_unload()
    else:
        model = load_network(str(folder), dtype=torch.float32)
    if (device or chosen.device) == "cpu":
        precision.keep_freed_memory()
        use_lean_layers(model, chosen.weights)
    for weight in model.parameters():  # not the buffers: places turn by frequencies in float32
        weight.data = weight.data.to(chosen.weights)
    model = model.to(device or chosen.device).eval()
    if model.device.type == "cpu" and model.dtype == torch.float32:
        precision.lay_out_for_few_rows(model)
    return Loaded(model, tokenizer, prompt)


def predict(loaded: Loaded, examples: Sequence[Example], *, batch_tokens: int = 1024,
            progress: bool = True) -> list[Prediction]:
    """Writes an answer for each example, greedily, and reads its spans.

    A span's score is the probability of the tokens of its string, given all before them. A text that does not fit into
    the model's context with its prompt and answer is read in overlapping windows; where even that is impossible the
    answer is empty, with the status `unparsable`. A warning names both kinds.

    Args:
        batch_tokens: at most this many prompt tokens, padding counted, at a time.
        progress: show a bar on a terminal.
    """
    predictions: list[Prediction] = []
    with progress_bar(len(examples), "generating", show=progress) as bar:
        for part in chunks(examples):
            predictions += _predict_part(loaded, part, batch_tokens=batch_tokens, bar=bar)
    return predictions


class _Asked(NamedTuple):
    """An example and what the model is asked of it: the whole text, or windows of it; nothing where none fits."""

    example: Example
    windows: list[TextWindow]
    pieces: list[Example]


def _predict_part(loaded: Loaded, examples: Sequence[Example], *, batch_tokens: int, bar: Any) -> list[Prediction]:
    model, tokenizer, prompt = loaded
    asked = _asked(loaded, examples)
    pieces = [piece for each in asked for piece in each.pieces]
    prompts_ = [prompt_ids(tokenizer, piece.text, prompt) for piece in pieces]
    context = _context(model)
    limits = [min(_answer_limit(tokenizer, piece.text), context - len(ids))
              for piece, ids in zip(pieces, prompts_, strict=True)]
    lead = answer_lead(tokenizer, prompt)
    total = bar.n + len(examples)
    # Where a text is read in several windows, the answers that are finished are no texts.
    advance = bar.update if len(pieces) == len(examples) else lambda count: None
    answers = generate(model, tokenizer, prompts_, limits=limits,
                       grammars=[_grammar(piece.text, prompt, lead) for piece in pieces],
                       batch_tokens=batch_tokens, advance=advance)
    bar.update(total - bar.n)
    read = iter([_prediction(piece, answer, tokenizer, prompt)
                 for piece, answer in zip(pieces, answers, strict=True)])
    predictions = []
    for each in asked:
        parts = [next(read) for _ in each.pieces]
        if each.windows:
            predictions.append(merged_prediction(each.example, each.windows, parts))
        elif parts:
            predictions += parts
        else:
            predictions.append(Prediction(each.example.id, spans=(), raw="", status="unparsable", mentions=()))
    return predictions


def _asked(loaded: Loaded, examples: Sequence[Example]) -> list[_Asked]:
    """What the model is asked of each example, and a warning that names texts over its context."""
    model, tokenizer, prompt = loaded
    context = _context(model)

    def needed(text: str) -> int:
        count = len(text_ids(tokenizer, text))
        room = count if prompt.format == "tagged" else min(count, SHORT_ANSWER)
        return len(prompt_ids(tokenizer, text, prompt)) + room + 32

    asked: list[_Asked] = []
    windowed: list[str] = []
    unanswered: list[str] = []
    for example in examples:
        tokens = needed(example.text)
        if tokens <= context:
            asked.append(_Asked(example, [], [example]))
            continue
        windows = text_windows(example.text, lambda text: needed(text) <= context, parts=tokens // context + 1)
        pieces = [Example(example.id, example.text[window.start:window.end]) for window in windows]
        asked.append(_Asked(example, windows, pieces))
        (windowed if windows else unanswered).append(f"{example.id} ({tokens} tokens)")
    if windowed:
        logger.warning("%d texts are longer than the model's %d tokens, prompt and answer counted, and are read in "
                       "overlapping windows: %s", len(windowed), context, shown(windowed))
    if unanswered:
        logger.warning("%d texts get an empty answer (unparsable), since not even a part of them fits into the model's "
                       "%d tokens with the prompt: %s", len(unanswered), context, shown(unanswered))
    return asked


def _answer_limit(tokenizer: PreTrainedTokenizerBase, text: str) -> int:
    # A tagged answer repeats the text, and a list names a part of it.
    return 2 * len(text_ids(tokenizer, text)) + 32


def _context(model: Any) -> int:
    """Tokens that a model takes at most."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or UNLIMITED


def _grammar(text: str, prompt: Prompt, lead: str) -> Grammar | None:
    if not prompt.constrained:
        return None
    return lambda answer: (grammars.grammar_after(prompt.format, text, prompt.labels, answer) if answer
                           else grammars.grammar(prompt.format, text, prompt.labels, lead=lead))


def _prediction(example: Example, answer: Answer, tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> Prediction:
    raw, probabilities = _text_and_probabilities(tokenizer, answer)
    parsed = prompts.prompt_format(prompt.format).parse(raw, example.text, prompt.labels, cut_off=not answer.ended)
    spans, place = [], 0
    for mention in parsed.mentions:
        mark = f"<{mention.label}>" if prompt.format == "tagged" else ""
        found = raw.find(mark + mention.string, place)
        if found >= 0:
            place = found + len(mark) + len(mention.string)
        if mention.span:
            score = None if found < 0 else _probability(probabilities, place - len(mention.string), place)
            spans.append(Span(mention.span.start, mention.span.end, mention.span.label, score))
    return Prediction(example.id, spans=tuple(sorted(spans)), raw=raw,
                      status=parsed.status if answer.ended else "cut_off",
                      mentions=tuple(map(mention_to_json, parsed.mentions)))


def _text_and_probabilities(tokenizer: PreTrainedTokenizerBase, answer: Answer) -> tuple[str, list[tuple[int, float]]]:
    """The answer as text, and for each token where it ends in it and its log-probability."""
    ends = [(len(tokenizer.decode(answer.ids[:count + 1], skip_special_tokens=True)), log_probability)
            for count, log_probability in enumerate(answer.log_probabilities[:len(answer.ids)])]
    return str(tokenizer.decode(answer.ids, skip_special_tokens=True)), ends


def _probability(ends: Sequence[tuple[int, float]], start: int, end: int) -> float:
    total, previous = 0.0, 0
    for token_end, log_probability in ends:
        if token_end > start and previous < end:
            total += log_probability
        previous = token_end
    return round(math.exp(total), 6)  # beyond that, digits change with the size of the batch


def context_length(name: str) -> int:
    """Tokens that a model takes at most."""
    config = AutoConfig.from_pretrained(weights.resolve(name)).get_text_config()
    return getattr(config, "max_position_embeddings", None) or UNLIMITED
