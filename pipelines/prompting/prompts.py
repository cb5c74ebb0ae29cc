"""Prompts: how a text is put to a language model, with or without examples before it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipelines.examples import Span
from pipelines.prompting.class_formats import CLASS_FORMATS, class_wording, render_classes
from pipelines.prompting.formats import prompt_format


class Shot(NamedTuple):
    """A text, or two, with its answer: an example that stands before the text asked about."""

    text: str
    answer: str
    pair: str | None = None


def messages(
    text: str,
    *,
    format: str,
    labels: Sequence[str],
    pair: str | None = None,
    shots: Sequence[Shot] = (),
) -> list[dict[str, str]]:
    """The conversation that asks a chat model about a text, or two; shots are earlier turns.

    The instruction is the system message, which also keeps templates from adding a longer one of
    their own.
    """
    instruction, _ = wording(format, labels)
    turns = [{"role": "system", "content": instruction}]
    for shot in shots:
        turns.append({"role": "user", "content": _both(shot.text, shot.pair)})
        turns.append({"role": "assistant", "content": shot.answer})
    return [*turns, {"role": "user", "content": _both(text, pair)}]


def plain_prompt(
    text: str,
    format: str,
    labels: Sequence[str],
    *,
    pair: str | None = None,
    shots: Sequence[Shot] = (),
) -> str:
    """The prompt of a base model, `Text: …\\nDiseases:`; the answer follows after one blank."""
    _, cue = wording(format, labels)

    def asked(text: str, pair: str | None) -> str:
        named = f"Text: {text}" if pair is None else _both(text, pair)
        return f"{named}\n{cue}"

    before = [f"{asked(shot.text, shot.pair)} {shot.answer}\n\n" for shot in shots]
    return "".join([*before, asked(text, pair)])


def _both(text: str, pair: str | None) -> str:
    return text if pair is None else f"Text 1: {text}\nText 2: {pair}"


def with_candidates(text: str, spans: Iterable[Span], labels: Sequence[str]) -> str:
    """The text, and on a line of its own the mentions that another model found in it.

    They are written as a list is answered: `a; b`, or `none`.
    """
    return f"{text}\nCandidates: {prompt_format('list').render(text, spans, labels)}"


def with_question(text: str, mention: str, label: str) -> str:
    """The text, and on a line of its own whether a string of it is a mention of a type."""
    return f"{text}\nIs `{mention}` a mention of {label}?"


def wording(format: str, labels: Sequence[str]) -> tuple[str, str]:
    """The instruction to a chat model, and what stands before the answer of a base model.

    Raises:
        UserError: for an unknown format.
    """
    if format in CLASS_FORMATS:
        return class_wording(format, labels)
    chosen = prompt_format(format)
    types = _plural(labels[0]) if len(labels) == 1 else ", ".join(labels)
    return chosen.instruction(labels), chosen.cue.format(types)


def _plural(label: str) -> str:
    return label + "s" if label[-1:].islower() and not label.endswith("s") else label


def format_hash(
    format: str,
    labels: Sequence[str],
    *,
    shots: bool = False,
    candidates: bool = False,
    chat_template: str | None = None,
) -> str:
    """A hash of all that shapes prompt and answer: the rendering of a probe, and the template.

    It hashes the outcome instead of a version number, so that no change of the code is missed.
    """
    text = 'A \\ <b>; "none" |\nend'
    probes = [Shot("a", "b", "c")] if shots else []
    shaped = [
        labels,
        messages(text, format=format, labels=labels, shots=probes),
        plain_prompt(text, format, labels, shots=probes),
        chat_template,
        *_probe_answers(format, labels, text),
    ]
    if candidates:
        spans = [Span(4, 7, labels[0]), Span(0, 1, labels[-1])]
        shaped.append(with_candidates(text, spans, labels))
    return hashlib.sha256(json.dumps(shaped).encode()).hexdigest()[:16]


def _probe_answers(format: str, labels: Sequence[str], text: str) -> list[str]:
    if format in CLASS_FORMATS:
        both = plain_prompt("a", format, labels, pair="b")
        return [render_classes((labels[0], labels[-1])), render_classes(()), both]
    spans = [Span(4, 7, labels[0]), Span(7, 17, labels[-1]), Span(0, 1, labels[-1])]
    render = prompt_format(format).render
    return [render(text, spans, labels), render(text, (), labels)]
