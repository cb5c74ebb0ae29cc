"""A causal language model that writes the mentions of a text: prompts as tokens, prediction, saving and loading.

Training and prediction render and tokenise by the same two functions, `prompt_ids` and `answer_ids`; a hash of what
they make of a probe is stored beside the weights and checked at load. Training itself is in `sft.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from pipelines import precision, prompts
from pipelines.alignment import mention_to_json
from pipelines.errors import UserError
from pipelines.examples import Example, Prediction, Span, replacing
from pipelines.families.generation import Answer, Grammar, generate
from pipelines.networks import weights
from pipelines.networks.cpu_attention import attend_plainly
from pipelines.networks.llama_layers import use_lean_layers

PROMPT_FILE = "prompt.json"
STYLES = ("auto", "chat", "plain")


@dataclass(frozen=True, slots=True)
class Prompt:
    """How a text is put to the model, and what it answers.

    Attributes:
        format: one of `prompts.FORMATS`.
        labels: the types that are asked for.
        style: `chat` (the tokenizer's chat template) or `plain`.
        constrained: whether answers can only hold strings of their text (where the format has a grammar).
    """

    format: str
    labels: tuple[str, ...]
    style: str
    constrained: bool = True


def prompt_for(tokenizer: PreTrainedTokenizerBase, *, format: str, labels: Sequence[str], style: str,
               constrained: bool) -> Prompt:
    """Checks the settings; `auto` is the chat template where there is one.

    Raises:
        UserError: for an unknown format or style, or a chat style without a template.
    """
    prompts.prompt_format(format)
    if style not in STYLES:
        raise UserError(f"got the prompt style {style!r}; wanted one of {', '.join(STYLES)}")
    if style == "chat" and not tokenizer.chat_template:
        raise UserError("the model has no chat template; take --prompt_style plain")
    if style == "auto":
        style = "chat" if tokenizer.chat_template else "plain"
    return Prompt(format, tuple(labels), style, constrained)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, text: str, prompt: Prompt) -> list[int]:
    """Token ids of the question, up to where the answer begins."""
    if prompt.style == "plain":
        return tokenizer(prompts.plain_prompt(text, prompt.format, prompt.labels))["input_ids"]
    # The template writes its own special tokens.
    return tokenizer(_chat(tokenizer, text, prompt, answer=None), add_special_tokens=False)["input_ids"]


def answer_ids(tokenizer: PreTrainedTokenizerBase, text: str, spans: Sequence[Span], prompt: Prompt) -> list[int]:
    """Token ids of the answer, its end token last."""
    answer = prompts.prompt_format(prompt.format).render(text, spans, prompt.labels)
    if prompt.style == "plain":
        written = f" {answer}"
    else:
        question = _chat(tokenizer, text, prompt, answer=None)
        conversation = _chat(tokenizer, text, prompt, answer=answer)
        if not conversation.startswith(question):
            raise UserError("the chat template writes a question otherwise once it is answered, so it cannot be "
                            "trained on; take --prompt_style plain")
        written = conversation[len(question):]
        end = written.rfind(tokenizer.eos_token)
        written = written[:end] if end >= 0 else written
    return [*tokenizer(written, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def _chat(tokenizer: PreTrainedTokenizerBase, text: str, prompt: Prompt, *, answer: str | None) -> str:
    turns = prompts.messages(text, format=prompt.format, labels=prompt.labels)
    if answer is not None:
        turns = [*turns, {"role": "assistant", "content": answer}]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=answer is None))


def prompt_hash(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    return prompts.format_hash(prompt.format, prompt.labels,
                               chat_template=tokenizer.chat_template if prompt.style == "chat" else None)


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
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.bos_token or tokenizer.eos_token
    return tokenizer


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

    A span's score is the probability of the tokens of its string, given all before them.

    Args:
        batch_tokens: at most this many prompt tokens, padding counted, at a time.
    """
    model, tokenizer, prompt = loaded
    answers = generate(model, tokenizer, [prompt_ids(tokenizer, example.text, prompt) for example in examples],
                       # A tagged answer repeats the text, and a list names a part of it.
                       limits=[2 * len(tokenizer(example.text)["input_ids"]) + 32 for example in examples],
                       grammars=[_grammar(example.text, prompt) for example in examples],
                       batch_tokens=batch_tokens, progress=progress)
    return [_prediction(example, answer, tokenizer, prompt)
            for example, answer in zip(examples, answers, strict=True)]


def _grammar(text: str, prompt: Prompt) -> Grammar | None:
    if not prompt.constrained:
        return None
    lead = " " if prompt.style == "plain" else ""
    return lambda answer: (prompts.grammar_after(prompt.format, text, prompt.labels, answer) if answer
                           else prompts.grammar(prompt.format, text, prompt.labels, lead=lead))


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
    return getattr(AutoConfig.from_pretrained(weights.resolve(name)), "max_position_embeddings", 1 << 30)
