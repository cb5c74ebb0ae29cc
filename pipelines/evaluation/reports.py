"""The report of one set of predictions against gold: everything that stands in report.json, in plain JSON types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.evaluation import significance, span_scores
from pipelines.examples import Example, Prediction, joined_by_id


def evaluate_spans(examples: Sequence[Example], predictions: Sequence[Prediction], *,
                   train: Sequence[Example] | None = None, allow_missing: bool = False) -> dict[str, Any]:
    """Scores predicted spans against the examples' gold spans."""
    pairs = joined_by_id(examples, predictions,
                         allow_missing=(lambda id: Prediction(id, spans=())) if allow_missing else None)
    gold = [example.spans or () for example, _ in pairs]
    predicted = [prediction.spans or () for _, prediction in pairs]
    report: dict[str, Any] = {"task": "span_extraction", "examples": len(pairs)}
    report |= span_scores.score_spans(gold, predicted)
    units = significance.resampling_units([example.id for example, _ in pairs])
    labels = span_scores.labels_of(gold, predicted)
    gold_columns, predicted_columns = span_scores.columns(gold, labels), span_scores.columns(predicted, labels)
    for scheme, (matched, credit) in span_scores.credits(gold_columns, predicted_columns).items():
        rows = gold_columns.example[matched.gold], gold_columns.example, predicted_columns.example
        counts = np.stack([np.bincount(rows[0], weights=credit, minlength=len(pairs)),
                           np.bincount(rows[1], minlength=len(pairs)),
                           np.bincount(rows[2], minlength=len(pairs))], axis=1)
        report[scheme]["interval"] = significance.bootstrap_interval(counts, significance.micro_f1, units)
    return report
