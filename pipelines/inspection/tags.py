"""One text as a tagger sees it: each token with its predicted and true tag, in colours."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from torch import Tensor

from pipelines.examples import Example
from pipelines.families.token_tagger import (
    Encoded,
    Loaded,
    encode,
    predict,
    read_tags,
    unit_logits,
)
from pipelines.formatting import text_table
from pipelines.networks.labels import labels_of
from pipelines.networks.tagger_ensemble import TaggerEnsemble
from pipelines.spans import spans_to_tags, split_tag

HEAD = ("", "token", "unknown", "predicted", "true", "probability")
CELL_STYLE = "padding:.1rem .7rem;text-align:left"


class Verdict(NamedTuple):
    """How a token was tagged: a mark that needs no colour, its colours, and what it means."""

    mark: str
    ansi: str
    background: str
    ink: str
    meaning: str


VERDICTS = {
    "right": Verdict("+", "32", "#d8f0dc", "#0b5a1e", "right"),
    "prefix": Verdict("~", "33", "#fdf0c2", "#6b4e00", "right type, wrong B or I"),
    "wrong": Verdict("x", "31", "#fbdcd9", "#8f1409", "wrong"),
}


@dataclass(frozen=True, slots=True)
class Token:
    """A token and its tags.

    Attributes:
        unknown: whether the model has no word (or sub-word) for it.
        probability: of the predicted tag.
        true: None where the example is unlabelled.
    """

    text: str
    unknown: bool
    predicted: str
    probability: float
    true: str | None

    @property
    def verdict(self) -> str:
        """A key of `VERDICTS`; empty for an O tagged as O and for an unlabelled example."""
        if self.true is None or self.predicted == self.true == "O":
            return ""
        if self.predicted == self.true:
            return "right"
        same_type = split_tag(self.predicted)[1] == split_tag(self.true)[1] != ""
        return "prefix" if same_type else "wrong"

    @property
    def cells(self) -> tuple[str, ...]:
        """What is shown of the token below `HEAD`."""
        return (
            VERDICTS[self.verdict].mark if self.verdict else " ",
            self.text,
            "?" if self.unknown else " ",
            self.predicted,
            self.true or "",
            f"{self.probability:.3f}",
        )


@dataclass(frozen=True)
class Inspection:
    """The tokens of an example. In a notebook it displays itself in colours."""

    id: str
    tokens: list[Token]

    def to_text(self, *, color: bool = False) -> str:
        """A table with one line a token, and what its marks mean."""
        rows = [token.cells for token in self.tokens]
        lines = text_table(HEAD, rows, prose=HEAD)
        for index, token in enumerate(self.tokens, start=len(lines) - len(rows)):
            if color and token.verdict:
                lines[index] = f"\033[{VERDICTS[token.verdict].ansi}m{lines[index]}\033[0m"
        marks = ", ".join(f"{verdict.mark} {verdict.meaning}" for verdict in VERDICTS.values())
        title = f"example {self.id}: {len(self.tokens)} tokens"
        return "\n".join([title, *lines, "", f"{marks}, ? unknown to the model"])

    def to_html(self) -> str:
        """A table that needs no style sheet; the mark says without colour what the colour says."""
        head = "".join(_html_head(name) for name in HEAD)
        rows = "".join(map(_html_row, self.tokens))
        legend = "; ".join(map(_html_legend, VERDICTS.values()))
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        scrolling = f'<div style="overflow-x:auto">{table}</div>'
        return f"{scrolling}<p>{legend}; ? unknown to the model</p>"

    def _repr_html_(self) -> str:
        return f"<p>Example {escape(self.id)}</p>{self.to_html()}"


def _html_head(name: str) -> str:
    return f'<th scope="col" style="{CELL_STYLE};position:static">{name}</th>'


def _html_row(token: Token) -> str:
    style = ""
    if token.verdict:
        verdict = VERDICTS[token.verdict]
        colours = f"background:{verdict.background};color:{verdict.ink}"
        style = f' style="{colours}" title="{verdict.meaning}"'
    cell_style = f"{CELL_STYLE};white-space:pre-wrap"
    cells = "".join(f'<td style="{cell_style}">{escape(cell)}</td>' for cell in token.cells)
    return f"<tr{style}>{cells}</tr>"


def _html_legend(verdict: Verdict) -> str:
    style = f"background:{verdict.background};color:{verdict.ink};padding:0 .3rem"
    return f'<span style="{style}">{verdict.mark}</span> {verdict.meaning}'


def inspect_example(loaded: Loaded, example: Example) -> Inspection:
    """Tags one example and puts the true tags beside the predicted ones."""
    [inspection] = inspect_examples(loaded, [example])
    return inspection


def inspect_examples(loaded: Loaded, examples: Sequence[Example]) -> list[Inspection]:
    """Tags examples with the model's own decoder, or by its members' votes; in their order."""
    encoded = encode(examples, loaded.tokenizer, loaded.settings)
    logits = unit_logits(loaded, encoded, batch_tokens=4096, progress=False)
    if isinstance(loaded.model, TaggerEnsemble):
        tagged = _voted(loaded, examples, encoded, logits)
    else:
        tagged = read_tags(loaded.model, logits, decode=loaded.settings.decode)
    names = labels_of(loaded.model.config)
    inspections = []
    for example, text, (tags, probabilities) in zip(examples, encoded, tagged, strict=True):
        true: Sequence[str | None] = [None] * len(tags)
        if example.spans is not None:
            true = spans_to_tags(example.spans, text.offsets)
        unknown = set(unknown_units(text, loaded))
        tokens = []
        for unit, (start, end) in enumerate(text.offsets):
            is_unknown, predicted = unit in unknown, names[tags[unit]]
            word = example.text[start:end]
            tokens.append(Token(word, is_unknown, predicted, probabilities[unit], true[unit]))
        inspections.append(Inspection(example.id, tokens))
    return inspections


def _voted(
    loaded: Loaded, examples: Sequence[Example], encoded: Sequence[Encoded], logits: list[Tensor]
) -> list[tuple[list[int], list[float]]]:
    """Tags that the members of an ensemble vote for, and the probability of each.

    Args:
        logits: (U, C) of each example.
    """
    names = labels_of(loaded.model.config)
    predictions = predict(loaded, examples, progress=False)
    tagged = []
    for prediction, text, scores in zip(predictions, encoded, logits, strict=True):
        spans = prediction.spans or ()
        tags = [names.index(tag) for tag in spans_to_tags(spans, text.offsets)]
        probabilities = scores.softmax(-1)[range(len(tags)), tags].tolist()  # (U,)
        tagged.append((tags, probabilities))
    return tagged


def unknown_units(text: Encoded, loaded: Loaded) -> Iterator[int]:
    """Indices of the units that hold a sub-word which is not in the vocabulary."""
    for window in text.windows:
        ends = [*window.positions[1:], len(window.input_ids)]
        for unit, first, past in zip(window.units, window.positions, ends, strict=True):
            if loaded.tokenizer.unk_token_id in window.input_ids[first:past]:
                yield unit
