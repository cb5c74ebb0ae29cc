"""Prompts and answers as token ids, for training and for prediction: `prompt_ids`, `answer_ids`.

A chat template writes control tokens around the turns. Three kinds need care. With a template that
takes no system turn, the instruction starts the user's turn. If a template writes an empty thinking
block before an answer, that block ends the prompt, so that only the answer is trained and
generated. A template that renders the prompt differently once an answer follows is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from pipelines.corpora.class_splits import ClassSplits
from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject, Span
from pipelines.families.causal_lm.control_tokens import MARK, rendered_ids, shield, text_ids
from pipelines.prompting import formats, prompts
from pipelines.prompting.class_formats import CLASS_FORMATS, NO_CLASS, SEPARATOR, VERDICTS
from pipelines.prompting.prompts import Shot
from pipelines.spans import are_nested

STYLES = ("auto", "chat", "plain")
ANSWER = f"{MARK}answer{MARK}"
PROBE = "A text."


@dataclass(frozen=True, slots=True)
class Prompt:
    """How a text is put to the model, and how it answers.

    Attributes:
        format: one of `formats.FORMATS`, for mentions, or of `CLASS_FORMATS`.
        labels: the entity types that are asked for, or the classes.
        style: `chat` (the tokenizer's chat template) or `plain`.
        constrained: whether answers can contain only strings of their text (if the format has a
            grammar). Answers are always among the classes.
        shots: how many training examples stand before a text.
        max_length: tokens of prompt and answer, to which a text with classes is cut.
        candidates: whether the mentions that another model found stand behind a text.
        nested: whether mentions may overlap, as those of training do.
        samples: how many answers are sampled for a text, of which one is chosen by
            `minimum_risk.least_risk`; 0: one greedy answer.
        temperature: of the samples.
        verify: whether the model is asked about each mention that it wrote, yes or no.
    """

    format: str
    labels: tuple[str, ...]
    style: str
    constrained: bool = True
    shots: int = 0
    max_length: int | None = None
    candidates: bool = False
    nested: bool = False
    samples: int = 0
    temperature: float = 1.0
    verify: bool = False

    @property
    def answer(self) -> str:
        """`spans` or `label`."""
        return "label" if self.format in CLASS_FORMATS else "spans"

    @property
    def score_margin(self) -> float:
        """How far a score of 0 or 1 is taken to be from it: half of the least step of a score."""
        return 0.5 / self.samples if self.samples and not self.verify else 5e-7

    @property
    def of_questions(self) -> Prompt:
        """How the model is asked about a mention, in the same style."""
        return Prompt("verdict", VERDICTS, self.style)


class Frame(NamedTuple):
    """What a chat template writes around an answer.

    Attributes:
        question: all up to where the answer begins.
        lead: blanks that the template puts before the answer.
        tail: what it writes between the answer and the end token.
        merged: whether the instruction had to go into the user's turn.
        thinking: the thinking block at the end of `question`, which the template writes only once
            an answer follows.
        thinking_off: whether thinking had to be switched off (`enable_thinking`).
    """

    question: str
    lead: str
    tail: str
    merged: bool
    thinking: str
    thinking_off: bool


def prompt_for(
    tokenizer: PreTrainedTokenizerBase,
    *,
    format: str,
    labels: Sequence[str],
    style: str,
    constrained: bool,
) -> Prompt:
    """Checks the settings; `auto` is the chat template where there is one.

    Raises:
        UserError: for an unknown format or style, a chat style without a template, or a template
            that is unusable for training.
    """
    if format not in CLASS_FORMATS:
        formats.prompt_format(format)
    if style not in STYLES:
        raise UserError(f"got the prompt style {style!r}; wanted one of {', '.join(STYLES)}")
    if style == "chat" and not tokenizer.chat_template:
        raise UserError("the model has no chat template; take --prompt_style plain")
    if style == "auto":
        style = "chat" if tokenizer.chat_template else "plain"
    prompt = Prompt(format, tuple(labels), style, constrained)
    if style == "chat":
        frame(tokenizer, PROBE, prompt)
    return prompt


def prompt_of_examples(
    tokenizer: PreTrainedTokenizerBase,
    train: Sequence[Example],
    classes: ClassSplits | None,
    *,
    format: str,
    style: str,
    constrained: bool,
) -> Prompt:
    """A prompt for the types of the training examples, or their classes; see `prompt_for`.

    Args:
        classes: what is known of the classes; None for mentions.
        format: of mentions.
    """
    nested = False
    if classes is not None:
        format, labels = "classes" if classes.multi_label else "class", list(classes.labels)
    else:
        mentions = [example.spans or () for example in train]
        labels = sorted({span.label for spans in mentions for span in spans}) or ["Disease"]
        nested = are_nested(mentions)
    prompt = prompt_for(
        tokenizer, format=format, labels=labels, style=style, constrained=constrained
    )
    return replace(prompt, nested=nested)


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    prompt: Prompt,
    *,
    pair: str | None = None,
    shots: Sequence[Shot] = (),
    candidates: Sequence[Span] | None = None,
) -> list[int]:
    """Token ids up to where the answer begins; control tokens in the text are read as text.

    Args:
        candidates: mentions that another model found in the text, where the prompt names them.
    """
    if candidates is not None:
        text = prompts.with_candidates(text, candidates, prompt.labels)
    if prompt.style == "plain":
        question = prompts.plain_prompt(text, prompt.format, prompt.labels, pair=pair, shots=shots)
        return text_ids(tokenizer, question)
    strings: list[str] = []

    def shielded(string: str) -> str:
        safe, replaced = shield(tokenizer, string, first=len(strings))
        strings.extend(replaced)
        return safe

    safe_shots = []
    for shot in shots:
        question, answer = shielded(shot.text), shielded(shot.answer)
        safe_shots.append(Shot(question, answer, shot.pair and shielded(shot.pair)))
    safe_text = shielded(text)
    # The template writes its own special tokens.
    around = frame(tokenizer, safe_text, prompt, pair=pair and shielded(pair), shots=safe_shots)
    return rendered_ids(tokenizer, around.question, strings)


def question_ids(
    tokenizer: PreTrainedTokenizerBase, text: str, mention: str, label: str, prompt: Prompt
) -> list[int]:
    """Token ids of the question whether a string of a text is a mention, up to its answer."""
    asked = prompts.with_question(text, mention, label)
    return prompt_ids(tokenizer, asked, prompt.of_questions)


def answer_ids(
    tokenizer: PreTrainedTokenizerBase, text: str, spans: Sequence[Span], prompt: Prompt
) -> list[int]:
    """Token ids of the answer and the end token; control tokens in a mention are read as text."""
    answer = formats.prompt_format(prompt.format).render(text, spans, prompt.labels)
    if prompt.style == "plain":
        written = text_ids(tokenizer, f" {answer}", add_special_tokens=False)
        return [*written, tokenizer.eos_token_id]
    shielded, strings = shield(tokenizer, answer)
    around = frame(tokenizer, PROBE, prompt)
    written = rendered_ids(tokenizer, around.lead + shielded + around.tail, strings)
    return [*written, tokenizer.eos_token_id]


class ClassPieces(NamedTuple):
    """The parts that an answer with classes is put together from, each tokenised by itself.

    Attributes:
        first: of each class, token ids where the answer begins with it.
        later: of each class, token ids where another class is before it.
        none: token ids of the answer of no class.
        end: token ids of what ends an answer.
    """

    first: list[list[int]]
    later: list[list[int]]
    none: list[int]
    end: list[int]


def class_pieces(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> ClassPieces:
    """The parts of an answer with classes, as token ids."""
    lead, tail = answer_lead(tokenizer, prompt), ""
    if prompt.style == "chat":
        tail = frame(tokenizer, PROBE, prompt).tail

    def ids(string: str) -> list[int]:
        return text_ids(tokenizer, string, add_special_tokens=False)

    names = list(map(formats.escaped, prompt.labels))
    return ClassPieces(
        first=[ids(f"{lead}{name}") for name in names],
        later=[ids(f"{SEPARATOR}{name}") for name in names],
        none=ids(f"{lead}{NO_CLASS}"),
        end=[*rendered_ids(tokenizer, tail, []), tokenizer.eos_token_id],
    )


def class_answer_ids(pieces: ClassPieces, indices: Sequence[int]) -> list[int]:
    """Token ids of an answer with these classes, which are indices into the labels."""
    if not indices:
        return [*pieces.none, *pieces.end]
    first, *others = sorted(indices)
    later = [id for index in others for id in pieces.later[index]]
    return [*pieces.first[first], *later, *pieces.end]


def answer_lead(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """The blanks that stand between prompt and answer."""
    return " " if prompt.style == "plain" else frame(tokenizer, PROBE, prompt).lead


def frame(
    tokenizer: PreTrainedTokenizerBase,
    text: str,
    prompt: Prompt,
    *,
    pair: str | None = None,
    shots: Sequence[Shot] = (),
) -> Frame:
    """Renders a text by the chat template, with and without an answer, and compares the two.

    Raises:
        UserError: when the template refuses both ways to put the instruction, or renders the prompt
            differently once an answer follows.
    """
    question = ""
    turns = prompts.messages(
        text, format=prompt.format, labels=prompt.labels, pair=pair, shots=shots
    )
    for thinking_off in (False, True):
        question, merged = _render(tokenizer, turns, answer=None, thinking_off=thinking_off)
        conversation, _ = _render(tokenizer, turns, answer=ANSWER, thinking_off=thinking_off)
        before, answer, after = conversation.partition(ANSWER)
        if before.startswith(question) and answer:
            break
    else:
        raise UserError(
            "the chat template renders the prompt differently once an answer follows "
            f"(its generation prompt ends in {question[-20:]!r}), so training and "
            "prediction would not see the same; take --prompt_style plain"
        )
    lead = before[len(question) :]
    end = after.find(tokenizer.eos_token)
    tail = after[:end] if end >= 0 else after
    if not lead.strip():
        return Frame(question, lead, tail, merged, "", thinking_off)
    return Frame(before, "", tail, merged, lead, thinking_off)


def _render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[dict[str, str]],
    *,
    answer: str | None,
    thinking_off: bool,
) -> tuple[str, bool]:
    """The rendered conversation, and whether the instruction is in the user's first turn."""
    system, first, *others = messages
    instruction = system["content"]
    answered = [] if answer is None else [{"role": "assistant", "content": answer}]
    merged = {"role": "user", "content": f"{instruction}\n\n{first['content']}"}
    options: JsonObject = {"enable_thinking": False} if thinking_off else {}
    reason = "it leaves the instruction out"
    for turns in ([*messages, *answered], [merged, *others, *answered]):
        try:
            rendered = tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=answer is None, **options
            )
        except (TemplateError, TypeError) as error:
            reason = str(error)
            continue
        # Some templates skip a system turn instead of refusing it.
        if instruction in rendered:
            return str(rendered), turns[0] is merged
    raise UserError(
        f"{tokenizer.name_or_path}: the chat template cannot render the prompt ({reason}); "
        "take --prompt_style plain"
    )


def prompt_hash(tokenizer: PreTrainedTokenizerBase, prompt: Prompt) -> str:
    """A hash of everything that shapes prompts and answers."""
    if prompt.verify:
        parts = [
            prompt_hash(tokenizer, replace(prompt, verify=False)),
            prompt_hash(tokenizer, prompt.of_questions),
            prompts.with_question("a", "b", "c"),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
    has_shots, template = prompt.shots > 0, tokenizer.chat_template
    if prompt.style == "plain":  # a template of the tokenizer is not used
        template = None
    shaped = prompts.format_hash(
        prompt.format,
        prompt.labels,
        shots=has_shots,
        candidates=prompt.candidates,
        chat_template=template,
    )
    if prompt.style == "plain":
        return shaped
    around = frame(tokenizer, PROBE, prompt)
    adaptation = around.merged, around.thinking, around.thinking_off
    if not any(adaptation):
        return shaped
    # Not of the rendered prompt: some templates write the date into it.
    adapted = json.dumps([shaped, *adaptation])
    return hashlib.sha256(adapted.encode()).hexdigest()[:16]
