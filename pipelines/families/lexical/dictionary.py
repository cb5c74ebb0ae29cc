"""A dictionary tagger: the longest match over the mentions of training and a lexicon.

A name that is mostly not a mention where training has it, such as the abbreviation `WAS`, is
dropped.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.corpora.lexicon import Entry, Lexicon, normalized
from pipelines.errors import UserError
from pipelines.examples import Example, Fields, JsonObject, Prediction, Span
from pipelines.spans import word_units


@dataclass(frozen=True)
class Dictionary:
    """Names to search for.

    Attributes:
        lexicon: the names that were kept, each with its type.
        scores: name -> share of its matches in training that are mentions, smoothed by one of each.
    """

    lexicon: Lexicon
    scores: Mapping[str, float]


def fit(train: Sequence[Example], lexicon: Lexicon | None = None) -> Dictionary:
    """Collects the names and drops the ambiguous ones.

    A name with several types in training gets its most frequent one. A name of the lexicon without
    a type gets the type of training.

    Raises:
        UserError: for a lexicon without types where training has none, or several.
    """
    types: dict[str, Counter[str]] = defaultdict(Counter)
    for example in train:
        for span in example.spans or ():
            types[normalized(example.text[span.start : span.end])][span.label] += 1
    types.pop("", None)
    labels = sorted({label for counts in types.values() for label in counts})
    names = dict(_with_types(lexicon, labels)) if lexicon is not None else {}
    for name, counts in types.items():
        label = min(counts, key=lambda label: (-counts[label], label))
        id = names[name].id if name in names else None
        names[name] = Entry(label, id)
    candidates = Lexicon(names)
    matched, right = _tally(candidates, train)
    kept = {name: entry for name, entry in names.items() if 2 * right[name] >= matched[name]}
    scores = {name: round((right[name] + 1) / (matched[name] + 2), 4) for name in kept}
    return Dictionary(Lexicon(kept), scores)


def _with_types(lexicon: Lexicon, labels: Sequence[str]) -> Mapping[str, Entry]:
    untyped = any(entry.label is None for entry in lexicon.names.values())
    if untyped and len(labels) != 1:
        raise UserError(
            f"--lexicon has names without a type, and training has {len(labels)} types; give "
            "lines of name, type and id between tabs"
        )
    return {
        name: Entry(entry.label or labels[0], entry.id) for name, entry in lexicon.names.items()
    }


def _tally(lexicon: Lexicon, train: Sequence[Example]) -> tuple[Counter[str], Counter[str]]:
    """How often each name matches in training, and how often the match is a mention of its type."""
    matched, right = Counter[str](), Counter[str]()
    for example in train:
        gold = {(span.start, span.end, span.label) for span in example.spans or ()}
        for span, name, _ in _found(lexicon, example.text):
            matched[name] += 1
            right[name] += (span.start, span.end, span.label) in gold
    return matched, right


def _found(lexicon: Lexicon, text: str) -> list[tuple[Span, str, Entry]]:
    offsets = word_units(text)
    words = [text[start:end] for start, end in offsets]
    found = []
    for match in lexicon.matches(words):
        name = " ".join(word.lower() for word in words[match.first : match.past])
        span = Span(offsets[match.first][0], offsets[match.past - 1][1], str(match.entry.label))
        found.append((span, name, match.entry))
    return found


def predict(model: Dictionary, examples: Sequence[Example]) -> list[Prediction]:
    """Finds the names in the texts; identifiers of the lexicon stand in `mentions`."""
    predictions = []
    for example in examples:
        spans, mentions = [], []
        for span, name, entry in _found(model.lexicon, example.text):
            spans.append(Span(span.start, span.end, span.label, model.scores[name]))
            if entry.id is not None:
                mentions.append(
                    {
                        "start": span.start,
                        "end": span.end,
                        "string": example.text[span.start : span.end],
                        "label": span.label,
                        "id": entry.id,
                    }
                )
        predictions.append(
            Prediction(example.id, spans=tuple(spans), mentions=tuple(mentions) or None)
        )
    return predictions


def to_json(model: Dictionary) -> JsonObject:
    """The names as plain values."""
    return {
        "names": [
            [name, entry.label, entry.id, model.scores[name]]
            for name, entry in model.lexicon.names.items()
        ]
    }


def from_json(content: Fields) -> Dictionary:
    """The dictionary of such values."""
    names = {name: Entry(label, id) for name, label, id, _ in content["names"]}
    return Dictionary(Lexicon(names), {name: score for name, _, _, score in content["names"]})
