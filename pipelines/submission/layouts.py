"""The kinds of answers that a competition asks for, and how each is written from a prediction."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from pipelines.errors import UserError
from pipelines.examples import Example, Prediction, Span
from pipelines.spans import looks_like_tag, spans_to_tags
from pipelines.submission.columns import tokens_of
from pipelines.submission.sample import is_number
from pipelines.submission.style import ITEMS, NO_ANSWER, Style, json_list, tag_parts

SEVERAL_CLASSES = (
    "several classes, and the sample shows no separator between two; give it with --separator"
)
SEVERAL_MENTIONS = "several mentions, and the sample shows one in each row"
NO_MENTION = (
    "no mention, and the sample does not show how that is written; give it with --no_answer"
)


class Layout(NamedTuple):
    """One kind of answer.

    Attributes:
        what: what the answer columns hold.
        rows: what a row is about: `example`, `token` or `type`.
        answer: the field of a `Prediction` that it is written from.
        columns: the answer columns: `one`, one for each of the `classes`, or one for each of the
            `parts` of a mention.
        needs: what it needs beyond predictions: `text`, `tokens` or nothing.
        options: the options that it obeys.
        valid: whether a cell can be of this kind.
        cells: writes the answer to an example, a cell for each answer column; raises `ValueError`
            with the reason where it cannot be written. None where rows are not examples.
    """

    what: str
    rows: str
    answer: str
    columns: str
    needs: str
    options: frozenset[str]
    valid: Callable[[str], bool]
    cells: Callable[[Prediction, Example, Style], list[str]] | None = None


# Mentions


def tags_of(prediction: Prediction, example: Example, style: Style) -> list[str]:
    """A tag for each token."""
    return spans_to_tags(prediction.spans or (), tokens_of(example), scheme=style.scheme)


def mention_strings(prediction: Prediction, example: Example) -> list[str]:
    """The strings of the predicted mentions, by offset."""
    return [example.text[span.start : span.end] for span in sorted(prediction.spans or ())]


def _strings(prediction: Prediction, example: Example, style: Style) -> list[str]:
    joined = (style.separator or "").join(mention_strings(prediction, example))
    return [joined or style.no_answer[0]]


def _json_strings(prediction: Prediction, example: Example, style: Style) -> list[str]:
    return [_as_json(mention_strings(prediction, example))]


def _json_objects(prediction: Prediction, example: Example, style: Style) -> list[str]:
    spans = sorted(prediction.spans or ())
    objects = []
    for span in spans:
        objects.append({key: _part(span, part, example) for key, part in style.keys.items()})
    return [_as_json(objects)]


def _json_pairs(prediction: Prediction, example: Example, style: Style) -> list[str]:
    return [_as_json([[span.start, span.end] for span in sorted(prediction.spans or ())])]


def _offsets(prediction: Prediction, example: Example, style: Style) -> list[str]:
    items = [
        style.item.format(start=span.start, end=span.end, label=span.label)
        for span in sorted(prediction.spans or ())
    ]
    return [(style.separator or "").join(items) or style.no_answer[0]]


def _tags(prediction: Prediction, example: Example, style: Style) -> list[str]:
    return [(style.separator or "").join(tags_of(prediction, example, style))]


def _json_tags(prediction: Prediction, example: Example, style: Style) -> list[str]:
    return [_as_json(tags_of(prediction, example, style))]


def _span_columns(prediction: Prediction, example: Example, style: Style) -> list[str]:
    spans = sorted(prediction.spans or ())
    if not spans and not style.shows_no_answer:
        raise ValueError(NO_MENTION)
    if len(spans) > 1 and style.separator is None:
        raise ValueError(SEVERAL_MENTIONS)
    if not spans:
        return list(style.no_answer)
    columns = [[str(_part(span, part, example)) for span in spans] for part in style.parts]
    if style.separator is None:
        return [column[0] for column in columns]
    if any(sign_of(style) in item for column in columns for item in column):
        raise ValueError(f"a mention or type that contains the separator {style.separator!r}")
    return [style.separator.join(column) for column in columns]


def _part(span: Span, part: str, example: Example) -> object:
    return example.text[span.start : span.end] if part == "text" else getattr(span, part)


def sign_of(style: Style) -> str:
    """The separator without the blanks around it, unless it is a blank."""
    separator = style.separator or ""
    return separator.strip() or separator


def _as_json(items: Sequence[object]) -> str:
    return json.dumps(items, ensure_ascii=False)


# Classes and numbers


def _label(prediction: Prediction, example: Example, style: Style) -> list[str]:
    label = prediction.label
    classes = [label] if isinstance(label, str) else list(label or ())
    if not classes:
        return [style.no_answer[0]]
    if style.as_list:
        return [_as_json(classes)]
    if len(classes) > 1 and style.separator is None:
        raise ValueError(SEVERAL_CLASSES)
    is_set = isinstance(label, tuple) and style.separator is not None
    if is_set and any(sign_of(style) in name for name in classes):
        raise ValueError(f"a class that contains the separator {style.separator!r}")
    return [(style.separator or "").join(classes)]


def _probabilities(prediction: Prediction, example: Example, style: Style) -> list[str]:
    scores = prediction.scores or {}
    absent = [name for name in style.parts if name not in scores]
    if absent:
        raise ValueError(f"no probability of {', '.join(absent)}")
    numbers = [scores[name] for name in style.parts]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= 1:
            raise ValueError(f"a score of {number!r}, which is no probability")
    return [_number(number, style) for number in numbers]


def _one_hot(prediction: Prediction, example: Example, style: Style) -> list[str]:
    label = prediction.label
    classes = {label} if isinstance(label, str) else set(label or ())
    return [style.marks[part in classes] for part in style.parts]


def _value(prediction: Prediction, example: Example, style: Style) -> list[str]:
    value = prediction.value
    if value is None or not math.isfinite(value):
        raise ValueError(f"a value of {value}")
    return [_number(value, style)]


def _number(number: float, style: Style) -> str:
    return repr(number).replace(".", style.point)


# What a cell can be


def _list_of(fits: Callable[[object], bool]) -> Callable[[str], bool]:
    def valid(cell: str) -> bool:
        items = json_list(cell)
        return items is not None and all(map(fits, items))

    return valid


def _is_pair(item: object) -> bool:
    if not isinstance(item, list | tuple) or len(item) != 2:
        return False
    return all(isinstance(number, int) for number in item)


def _is_tag(item: object) -> bool:
    return isinstance(item, str) and looks_like_tag(item)


def _items(name: str) -> Callable[[str], bool]:
    item = ITEMS[name].pattern
    pattern = re.compile(rf"(?:{item})(?:[^\w-]+(?:{item}))*")

    def valid(cell: str) -> bool:
        return cell.casefold() in ("", *NO_ANSWER) or pattern.fullmatch(cell) is not None

    return valid


def _are_tags(cell: str) -> bool:
    return json_list(cell) is None and all(map(looks_like_tag, tag_parts(cell)))


def _is_probability(cell: str) -> bool:
    return is_number(cell) and 0 <= float(cell.replace(",", ".")) <= 1


def _is_mark(cell: str) -> bool:
    return cell in ("0", "1", "0.0", "1.0") or cell.casefold() in ("false", "true")


def _anything(cell: str) -> bool:
    return True


_SEPARATED = frozenset({"separator", "no_answer"})
_NONE: frozenset[str] = frozenset()

LAYOUTS: dict[str, Layout] = {
    "strings": Layout(
        "mention strings with a separator between them",
        "example", "spans", "one", "text", _SEPARATED, _anything, _strings),
    "json_strings": Layout(
        "a JSON list of mention strings",
        "example", "spans", "one", "text", _NONE,
        _list_of(lambda item: isinstance(item, str)), _json_strings),
    "json_objects": Layout(
        'a JSON list of objects with "start" and "end"',
        "example", "spans", "one", "text", _NONE,
        _list_of(lambda item: isinstance(item, dict)), _json_objects),
    "json_pairs": Layout(
        "a JSON list of [start, end]",
        "example", "spans", "one", "", _NONE, _list_of(_is_pair), _json_pairs),
    "offsets": Layout(
        "half-open character offsets `start end;start end`, perhaps with types",
        "example", "spans", "one", "", _SEPARATED, _items("offsets"), _offsets),
    "ranges": Layout(
        "half-open character offsets `start-end start-end`",
        "example", "spans", "one", "", _SEPARATED, _items("ranges"), _offsets),
    "tags": Layout(
        "a tag for each token, with blanks or commas between them",
        "example", "spans", "one", "tokens", frozenset({"separator"}), _are_tags, _tags),
    "json_tags": Layout(
        "a JSON list with a tag for each token",
        "example", "spans", "one", "tokens", _NONE, _list_of(_is_tag), _json_tags),
    "span_columns": Layout(
        "a column each for start, end (half-open), type or string of a mention",
        "example", "spans", "parts", "text", _SEPARATED, _anything, _span_columns),
    "token_tags": Layout(
        "a row for each token: its tag",
        "token", "spans", "one", "tokens", _NONE, looks_like_tag),
    "type_ranges": Layout(
        "a row for each type: inclusive ranges `0-1 4-4` of tokens, numbered through the file",
        "type", "spans", "one", "tokens", _SEPARATED, _items("type_ranges")),
    "label": Layout(
        "the class, or several with a separator or as a JSON list",
        "example", "label", "one", "", _SEPARATED, _anything, _label),
    "probability": Layout(
        "the probability of the positive class",
        "example", "scores", "one", "", frozenset({"positive_class"}),
        _is_probability, _probabilities),
    "class_probabilities": Layout(
        "a column for each class: its probability",
        "example", "scores", "classes", "", _NONE, _is_probability, _probabilities),
    "one_hot": Layout(
        "a column for each class: 1 where it applies, else 0",
        "example", "label", "classes", "", _NONE, _is_mark, _one_hot),
    "value": Layout(
        "a number",
        "example", "value", "one", "", _NONE, is_number, _value),
}  # fmt: skip


def layout_of(name: str) -> Layout:
    """The layout of a name.

    Raises:
        UserError: when there is none.
    """
    if name not in LAYOUTS:
        raise UserError(f"got the layout {name!r}; wanted one with --format: {layout_names()}")
    return LAYOUTS[name]


def layout_names(answers: Collection[str] = ()) -> str:
    """Names of the layouts that are written from some answers, or of all."""
    return ", ".join(n for n, layout in LAYOUTS.items() if not answers or layout.answer in answers)
