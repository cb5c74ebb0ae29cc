"""What is to be written, and what of it a format could not carry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.alignment.word_boundaries import inside_word
from pipelines.corpora.corpus import classes_of, counted, first_described, printable
from pipelines.examples import Example, JsonObject, Span
from pipelines.formatting import some
from pipelines.spans import longest_without_overlaps, whitespace_tokens

IDS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Content:
    """Examples to write, with their gold or, instead, a model's answers.

    Attributes:
        examples: in the order of the file.
        answer: `spans`, `label` or `value`; None where nothing is labelled.
        is_predicted: whether the answers are a model's.
        scores: for each id the probability of each class, where a model gave them.
    """

    examples: Sequence[Example]
    answer: str | None
    is_predicted: bool = False
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def has_pairs(self) -> bool:
        """Whether an example has a second text."""
        return any(example.pair is not None for example in self.examples)

    @property
    def has_scores(self) -> bool:
        """Whether a span or a class has a score."""
        spans = (span for example in self.examples for span in example.spans or ())
        return bool(self.scores) or any(span.score is not None for span in spans)

    @property
    def is_multi_label(self) -> bool:
        """Whether a text may have several classes."""
        return any(isinstance(example.label, tuple) for example in self.examples)

    @property
    def labels(self) -> list[str]:
        """The types of the spans, or the classes, in alphabetical order."""
        names: set[str] = set()
        for example in self.examples:
            names.update(span.label for span in example.spans or ())
            names.update(classes_of(example))
        return sorted(names)

    def described(self) -> str:
        """What the answers are, such as `922 mentions of 3 types, 4 examples unlabelled`."""
        source = "predicted " if self.is_predicted else ""
        n_unlabelled = sum(is_unlabelled(example) for example in self.examples)
        if n_unlabelled == len(self.examples):
            return "all unlabelled"
        if self.answer == "spans":
            n_spans = sum(len(example.spans or ()) for example in self.examples)
            text = f"{source}{counted(n_spans, 'mention')} of {counted(len(self.labels), 'type')}"
        elif self.answer == "label":
            text = f"{source}{counted(len(self.labels), 'class', 'classes')}"
        else:
            text = f"{source}numbers"
        return f"{text}, {counted(n_unlabelled, 'example')} unlabelled" if n_unlabelled else text

    def first_example(self) -> str:
        """The first example that has an answer, if one has, as it was understood."""
        return first_described(self.examples)


class Losses:
    """What a format could not carry, by reason; each reason becomes one line.

    Attributes:
        left_out: ids of the examples that were not written at all.
    """

    def __init__(self) -> None:
        self.left_out: set[str] = set()
        self._counts: dict[str, dict[str, int]] = {}

    def leave_out(self, reason: str, id: str) -> None:
        """Notes an example that is not written, and why."""
        self.left_out.add(id)
        self.add(reason, id)

    def add(self, reason: str, id: str, count: int = 1) -> None:
        """Notes something that an example loses, and how often."""
        counts = self._counts.setdefault(reason, {})
        counts[id] = counts.get(id, 0) + count

    def lines(self) -> list[str]:
        """Such as `overlapping spans are left out: 3 in 2 examples (ids 4, 17)`."""
        lines = []
        for reason, counts in self._counts.items():
            where = f"{counted(len(counts), 'example')} ({'id' if len(counts) == 1 else 'ids'}"
            ids = some(counts, IDS_SHOWN)
            lines.append(printable(f"{reason}: {sum(counts.values())} in {where} {ids})"))
        return lines


def is_unlabelled(example: Example) -> bool:
    """Whether nothing is known of an example."""
    return example.spans is None and example.label is None


def span_row(span: Span) -> JsonObject:
    """`{"start", "end", "label"}`, with `score` where there is one."""
    row: JsonObject = {"start": span.start, "end": span.end, "label": span.label}
    if span.score is not None:
        row["score"] = span.score
    return row


def without_overlaps(example: Example, losses: Losses) -> list[Span]:
    """The spans without overlaps: of those that overlap the longest, which is the outer one."""
    spans = example.spans or ()
    kept = longest_without_overlaps(spans)
    for _ in range(len(spans) - len(kept)):
        losses.add("overlapping spans are left out, of each group the longest is kept", example.id)
    return kept


def words_of(text: str) -> list[tuple[int, int]]:
    """Half-open offsets of words and punctuation marks, for a text that has no tokens of its own.

    Where a token ends must not depend on the mentions: a model would learn to see them by it.
    """
    words: list[tuple[int, int]] = []
    for start, end in whitespace_tokens(text):
        first = start
        for offset in range(start + 1, end):
            if not inside_word(text, offset):
                words.append((first, offset))
                first = offset
        words.append((first, end))
    return words


def utf16_offsets(text: str) -> Sequence[int]:
    """For each offset of `text`, its end included, the same in UTF-16 units, as in JavaScript."""
    if text.isascii():
        return range(len(text) + 1)
    offsets = [0]
    for character in text:
        offsets.append(offsets[-1] + (2 if ord(character) > 0xFFFF else 1))
    return offsets


def on_one_line(text: str, *, also: str = "") -> str:
    """The text with a blank for each line end and each character of `also`: offsets stay."""
    return re.sub(f"[\r\n{re.escape(also)}]", " ", text)


def are_row_numbers(ids: Iterable[str]) -> bool:
    """Whether ids are those that rows without ids get."""
    return all(id == str(number) for number, id in enumerate(ids))
