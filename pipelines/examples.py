"""The nouns that all models share (Example, Span, Prediction), and their JSON lines."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from pipelines.errors import DataError
from pipelines.formatting import short_repr, some

STATUSES = ("ok", "cut_off", "unparsable")  # of a generator's answer; see `Prediction.status`
# Examples predicted together: the same for runs and commands, so that both give the same bytes.
BATCH = 1024
JsonObject = dict[str, Any]  # built by its writer, who alone knows its keys
# Named values that are only read: a row, a JSON object, a part of a report.
Fields = Mapping[str, Any]
_HALF_PAIR = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Half-open character offsets `text[start:end]` with a type; comparisons ignore the score."""

    start: int
    end: int
    label: str
    score: float | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Steps:
    """A sequence of vectors, as bytes, so that an example stays hashable and comparable.

    Attributes:
        values: float32, little-endian, one step after the other.
        width: numbers of a step, D.
    """

    values: bytes
    width: int

    def __len__(self) -> int:
        return len(self.values) // (4 * self.width)


@dataclass(frozen=True, slots=True)
class Example:
    """A text and what is known of it; None = not known (unlabelled), `()` = known to be empty.

    Attributes:
        id: unique within its file; a row without one gets its 0-based row number.
        text: the text; for a tokenised corpus its tokens joined by one blank.
        spans: gold mentions, sorted by offset.
        label: gold class; a tuple for a multi-label example; a number for regression.
        tokens: half-open character offsets of each token into `text`, for a tokenised corpus.
        pair: the second text, where a class or number belongs to two.
        group: the document that it belongs to, where its file has one.
        features: what there is instead of a text, which then is empty: the path of a picture, or a
            sequence of vectors.
    """

    id: str
    text: str
    spans: tuple[Span, ...] | None = None
    label: str | tuple[str, ...] | float | None = None
    tokens: tuple[tuple[int, int], ...] | None = None
    pair: str | None = None
    group: str | None = None
    features: str | Steps | None = None


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer to one example, in the example's own kind.

    Attributes:
        id: the example's id.
        spans: predicted mentions, each with a score where the model has one.
        label: predicted class (a tuple for multi-label).
        scores: probability of each class, where the model has them.
        value: predicted number, for regression.
        certainty: of a tagger, the least probability of a tag that it chose in the text, between 0
            and 1: how sure it is of the whole answer, also where that is no span.
        raw: what a generator wrote, to the letter.
        status: `ok`, `cut_off` (length limit reached) or `unparsable`, for a generator.
        mentions: for a generator, each generated string with what the aligner did to place it.
    """

    id: str
    spans: tuple[Span, ...] | None = None
    label: str | tuple[str, ...] | None = None
    scores: Mapping[str, float] | None = None
    value: float | None = None
    certainty: float | None = field(default=None, compare=False)
    raw: str | None = None
    status: str | None = None
    mentions: tuple[Fields, ...] | None = None


def prediction_to_json(prediction: Prediction) -> JsonObject:
    """The JSON object of a prediction, without what it does not have."""
    row: JsonObject = {"id": prediction.id}
    if prediction.spans is not None:
        row["spans"] = [span_to_json(span) | {"score": span.score} for span in prediction.spans]
    for name in ("label", "scores", "value", "certainty", "raw", "status", "mentions"):
        value = getattr(prediction, name)
        if value is not None:
            row[name] = value
    return row


def prediction_from_json(row: object) -> Prediction:
    """Reads one row.

    Raises:
        ValueError: saying what is wrong with it.
    """
    if not isinstance(row, dict):
        raise ValueError(f"got {short_repr(row)}; wanted one JSON object a line")
    id = _id(row)
    if not {"spans", "label", "value"} & row.keys():
        raise ValueError('none of "spans", "label", "value" is there')
    raw, status = row.get("raw"), row.get("status")
    if not isinstance(raw, str | None):
        raise ValueError(f'"raw" is {short_repr(raw)}; wanted the generated string')
    if status not in (None, *STATUSES):
        raise ValueError(f'"status" is {short_repr(status)}; wanted {", ".join(STATUSES)}')
    spans, value, certainty = _objects(row, "spans"), row.get("value"), row.get("certainty")
    return Prediction(
        id=id,
        spans=None if spans is None else tuple(map(span_from_json, spans)),
        label=_label(row.get("label")),
        scores=_scores(row.get("scores")),
        value=None if value is None else _number(value, "value"),
        certainty=None if certainty is None else _number(certainty, "certainty"),
        raw=None if raw is None else _whole_characters(raw, "raw"),
        status=status,
        mentions=_mentions(row),
    )


def _mentions(row: Fields) -> tuple[Fields, ...] | None:
    mentions = _objects(row, "mentions")
    if mentions is None:
        return None
    for mention in mentions:
        if not all(isinstance(mention.get(name), str) for name in ("string", "label")):
            raise ValueError('a mention without a "string" and a "label", both strings')
    return tuple(mentions)


def _id(row: Fields) -> str:
    id = row.get("id")
    if id is None:
        raise ValueError('no "id"')
    if isinstance(id, float) and id.is_integer():
        id = int(id)  # as pandas writes whole numbers beside gaps
    if isinstance(id, bool) or not isinstance(id, str | int):
        raise ValueError(f'"id" is {short_repr(id)}; wanted a string or a whole number')
    return _whole_characters(str(id), "id")


def _label(value: object) -> str | tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, list):
        return tuple(_name(item, "label") for item in value)
    return _name(value, "label")


def _name(value: object, what: str) -> str:
    """The name of a class or type."""
    if not isinstance(value, str):
        number = '; a number goes in "value"' if isinstance(value, int | float) else ""
        raise ValueError(f"the {what} is {short_repr(value)}; wanted a name, a string{number}")
    return _whole_characters(value, what)


def _whole_characters(string: str, what: str) -> str:
    # Half of a surrogate pair is no character: it can be neither written nor shown.
    if not string.isascii() and _HALF_PAIR.search(string):
        raise ValueError(
            f"the {what} {short_repr(string)} holds half a surrogate pair; wanted whole characters"
        )
    return string


def _scores(value: object) -> dict[str, float] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ValueError(
            f'"scores" is {short_repr(value)}; wanted an object with a number for each class'
        )
    return {
        _whole_characters(name, "class"): _number(score, f"score of {name!r}")
        for name, score in value.items()
    }


def _objects(row: Fields, name: str) -> list[JsonObject] | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise ValueError(f'"{name}" is {short_repr(value)}; wanted a list of objects')
    return value


def span_to_json(span: Span) -> JsonObject:
    """The JSON object of a span, without its score."""
    return {"start": span.start, "end": span.end, "label": span.label}


def span_from_json(row: Fields) -> Span:
    """Reads a span.

    Raises:
        ValueError: saying what is wrong with it.
    """
    for name in ("start", "end", "label"):
        if row.get(name) is None:
            raise ValueError(f'a span without "{name}": {short_repr(row)}')
    score = row.get("score")
    score = None if score is None else _number(score, "score")
    return Span(_offset(row["start"]), _offset(row["end"]), _name(row["label"], "label"), score)


def _offset(value: object) -> int:
    if type(value) is int:  # as nearly all are
        return value
    number = _number(value, "offset")
    if not number.is_integer():
        raise ValueError(f"the offset {short_repr(value)} is not a whole number")
    return int(number)


def _number(value: Any, name: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (ValueError, TypeError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"the {name} is {short_repr(value)}; wanted a number")
    return number


def features_key(example: Example) -> str:
    """What copies of the same features have in common; empty for an example of text."""
    features = example.features
    if isinstance(features, Steps):
        return f"{features.width}:{blake2b(features.values, digest_size=16).hexdigest()}"
    return features or ""


def documents_of(ids: Sequence[str]) -> list[str] | None:
    """The document of each id, or None where ids do not name documents.

    They do when 95 % of them read `<document>-<number>`, of several documents that have several
    sentences each, but not hundreds: `dev-0 … dev-59` names no documents. An id of another shape is
    a document by itself.
    """
    documents: list[str | None] = []
    for id in ids:
        head, _, tail = id.rpartition("-")
        documents.append(f"{head}-" if head and tail.isdecimal() else None)
    n_named, n_documents = len(ids) - documents.count(None), len({*documents} - {None})
    are_most = n_named >= max(1, 0.95 * len(ids))
    if not are_most or n_documents < 2 or not n_documents < n_named <= 100 * n_documents:
        return None
    return [document or id for document, id in zip(documents, ids, strict=True)]


def joined_by_id(
    examples: Iterable[Example],
    predictions: Iterable[Prediction],
    *,
    allow_missing: Callable[[str], Prediction] | None = None,
) -> list[tuple[Example, Prediction]]:
    """Pairs examples with predictions by id, in the order of the examples.

    Args:
        examples: with ids.
        predictions: in any order.
        allow_missing: makes the answer of an example that has none; by default a missing answer
            raises.

    Raises:
        DataError: naming missing, extra and duplicate ids.
    """
    examples, predictions = list(examples), list(predictions)
    by_id = {prediction.id: prediction for prediction in predictions}
    known = {example.id for example in examples}
    missing = [example.id for example in examples if example.id not in by_id]
    problems = {
        "duplicate in the gold file": _duplicates(example.id for example in examples),
        "duplicate in the predictions": _duplicates(prediction.id for prediction in predictions),
        "extra in the predictions": [id for id in by_id if id not in known],
        "missing from the predictions": [] if allow_missing else missing,
    }
    faults = [f"{len(ids)} ids {what}: {some(ids)}" for what, ids in problems.items() if ids]
    if faults:
        raise DataError("; ".join(faults))
    if allow_missing:
        by_id |= {id: allow_missing(id) for id in missing}
    return [(example, by_id[example.id]) for example in examples]


def _duplicates(ids: Iterable[str]) -> list[str]:
    return [id for id, count in Counter(ids).items() if count > 1]
