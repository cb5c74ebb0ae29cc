"""Silver data: what teachers answer to texts without labels, and how far they are to be trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from pipelines.evaluation.span_scores import precision_recall_f1
from pipelines.evaluation.voting import majority, proposed_spans
from pipelines.examples import (
    Example,
    JsonObject,
    Prediction,
    Span,
    prediction_to_json,
    span_to_json,
)


@dataclass(frozen=True)
class SilverText:
    """A text with the answers of its teachers.

    Attributes:
        proposals: every span that a teacher gave; its score is the mean of the teachers' scores, 0
            where a teacher does not have it, 1 where it gives no score.
        confidence: of the joint answer, see `confidence`.
        agreement: of the teachers with the joint answer, see `agreement`.
    """

    example: Example
    proposals: tuple[Span, ...]
    confidence: float
    agreement: float

    @property
    def spans(self) -> tuple[Span, ...]:
        """The joint answer."""
        return majority(self.proposals)

    def to_json(self) -> JsonObject:
        """The row of a file that every recipe for mentions trains on."""
        return {
            "id": self.example.id,
            "text": self.example.text,
            "spans": [span_to_json(span) for span in self.spans],
        }

    def votes_to_json(self) -> JsonObject:
        """A row of predictions with every proposal, and how far the answer is to be trusted."""
        proposed = [
            Span(span.start, span.end, span.label, round(span.score or 0.0, 6))
            for span in self.proposals
        ]
        certainty = round(self.confidence, 6)
        answer = Prediction(self.example.id, spans=tuple(proposed), certainty=certainty)
        return {**prediction_to_json(answer), "agreement": round(self.agreement, 6)}


def silver_text(example: Example, answers: Sequence[Sequence[Span]]) -> SilverText:
    """Joins the spans that teachers gave to a text."""
    proposed = proposed_spans(answers)
    agreed = agreement(answers, majority(proposed))
    return SilverText(example, proposed, confidence(proposed), agreed)


def confidence(proposed: Iterable[Span]) -> float:
    """How sure the least sure decision on a proposed span is: its score, or 1 minus it.

    Between 1/2 and 1; 1 where nothing was proposed.
    """
    return min((max(score, 1 - score) for score in map(_score, proposed)), default=1.0)


def _score(span: Span) -> float:
    return span.score or 0.0


def agreement(answers: Sequence[Sequence[Span]], joint: Sequence[Span]) -> float:
    """The strict F1 of the models' spans against the joint answer, over all models of a text.

    1 where no model gives a span.
    """
    own = [set(spans) for spans in answers]
    shared = sum(len(spans & set(joint)) for spans in own)
    given = sum(map(len, own))
    return float(precision_recall_f1(shared, len(own) * len(joint), given)["f1"])


def pairwise_f1(answers: Sequence[Sequence[Prediction]], names: Sequence[str]) -> list[JsonObject]:
    """The strict F1 of each two models over the same texts, which is the same both ways."""
    spans = [[set(one.spans or ()) for one in model] for model in answers]
    rows = []
    for (first, own), (second, other) in combinations(zip(names, spans, strict=True), 2):
        shared = sum(len(a & b) for a, b in zip(own, other, strict=True))
        counts = sum(map(len, own)), sum(map(len, other))
        f1 = precision_recall_f1(shared, *counts)["f1"]
        rows.append({"first": first, "second": second, "f1": f1})
    return rows
