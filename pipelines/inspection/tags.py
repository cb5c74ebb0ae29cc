"""One text as a tagger sees it: token, unknown or not, predicted and true tag, coloured as in the course."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from pipelines.evaluation.token_scores import tags_of
from pipelines.examples import Example
from pipelines.families.token_tagger import Encoded, Loaded, encode, labels_of, predict, read_tags, unit_logits
from pipelines.networks.tagger_ensemble import TaggerEnsemble
from pipelines.spans import split_tag

# How a token was tagged: a mark that needs no colour, its ANSI colour, its colours in HTML, and what it says.
VERDICTS = {
    "right": ("+", "32", "#d8f0dc", "#0b5a1e", "right"),
    "prefix": ("~", "33", "#fdf0c2", "#6b4e00", "right type, wrong B or I"),
    "wrong": ("x", "31", "#fbdcd9", "#8f1409", "wrong"),
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
        """A name of ``VERDICTS``; empty where there is nothing to find and nothing was found, or nothing is known."""
        if self.true is None or self.predicted == self.true == "O":
            return ""
        if self.predicted == self.true:
            return "right"
        return "prefix" if split_tag(self.predicted)[1] == split_tag(self.true)[1] != "" else "wrong"


@dataclass(frozen=True)
class Inspection:
    """The tokens of an example. In a notebook it shows itself in colours."""

    id: str
    tokens: list[Token]

    def to_text(self, *, color: bool = False) -> str:
        """One line a token: its mark, the token, ``?`` where it is unknown, predicted tag, true tag, probability."""
        widths = [max(map(len, column)) for column in zip(*self._cells(), strict=True)]
        lines = [f"example {self.id}: {len(self.tokens)} tokens"]
        for token, cells in zip(self.tokens, self._cells(), strict=True):
            line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
            ansi = VERDICTS[token.verdict][1] if color and token.verdict else ""
            lines.append(f"\033[{ansi}m{line}\033[0m" if ansi else line)
        marks = ", ".join(f"{mark} {what}" for mark, _, _, _, what in VERDICTS.values())
        return "\n".join([*lines, "", f"{marks}, ? unknown to the model"])

    def _cells(self) -> list[tuple[str, ...]]:
        return [(VERDICTS[token.verdict][0] if token.verdict else " ", token.text, "?" if token.unknown else " ",
                 token.predicted, "" if token.true is None else token.true, f"{token.probability:.3f}")
                for token in self.tokens]

    def to_html(self) -> str:
        """A table that needs no style sheet; the mark says in letters what the colour says."""
        rows = []
        for token, (mark, text, unknown, predicted, true, probability) in zip(self.tokens, self._cells(), strict=True):
            style = ""
            if token.verdict:
                _, _, ground, ink, what = VERDICTS[token.verdict]
                style = f' style="background:{ground};color:{ink}" title="{what}"'
            cells = "".join(f'<td style="padding:.1rem .7rem;text-align:left;white-space:pre-wrap">{escape(cell)}</td>'
                            for cell in (mark, text, unknown, predicted, true, probability))
            rows.append(f"<tr{style}>{cells}</tr>")
        head = "".join(f'<th scope="col" style="padding:.1rem .7rem;text-align:left;position:static">{name}</th>'
                       for name in ("", "token", "unknown", "predicted", "true", "probability"))
        legend = "; ".join(f'<span style="background:{ground};color:{ink};padding:0 .3rem">{mark}</span> {what}'
                           for mark, _, ground, ink, what in VERDICTS.values())
        return (f'<div style="overflow-x:auto"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody>'
                f"</table></div><p>{legend}; ? unknown to the model</p>")

    def _repr_html_(self) -> str:
        return f"<p>Example {escape(self.id)}</p>{self.to_html()}"


def inspect_example(loaded: Loaded, example: Example) -> Inspection:
    """Tags one example and lays its tokens beside the truth."""
    [inspection] = inspect_examples(loaded, [example])
    return inspection


def inspect_examples(loaded: Loaded, examples: Sequence[Example]) -> list[Inspection]:
    """Tags examples with the model's own decoder, or its members' votes; in the order of the examples."""
    encoded = encode(examples, loaded.tokenizer, loaded.settings)
    logits = unit_logits(loaded, encoded, batch_tokens=4096, progress=False)
    names = labels_of(loaded.model)
    if isinstance(loaded.model, TaggerEnsemble):
        voted = [[names.index(tag) for tag in tags_of(prediction.spans or (), text.offsets)] for prediction, text in
                 zip(predict(loaded, examples, progress=False), encoded, strict=True)]
        tagged = [(tags, [unit.softmax(-1)[tag].item() for unit, tag in zip(scores, tags, strict=True)])
                  for scores, tags in zip(logits, voted, strict=True)]
    else:
        tagged = read_tags(loaded.model, logits, decode=loaded.settings.decode)
    inspections = []
    for example, text, (tags, probabilities) in zip(examples, encoded, tagged, strict=True):
        true = [None] * len(tags) if example.spans is None else tags_of(example.spans, text.offsets)
        unknown = set(unknown_units(text, loaded))
        inspections.append(Inspection(example.id, [
            Token(example.text[start:end], unit in unknown, names[tag], probability, gold)
            for unit, ((start, end), tag, probability, gold) in
            enumerate(zip(text.offsets, tags, probabilities, true, strict=True))]))
    return inspections


def unknown_units(text: Encoded, loaded: Loaded) -> Iterator[int]:
    """Numbers of the units that hold a sub-word which is not in the vocabulary."""
    for window in text.windows:
        ends = [*window.positions[1:], len(window.input_ids)]
        for unit, (first, past) in zip(window.units, zip(window.positions, ends, strict=True), strict=True):
            if loaded.tokenizer.unk_token_id in window.input_ids[first:past]:
                yield unit


