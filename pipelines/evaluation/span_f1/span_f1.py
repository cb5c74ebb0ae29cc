"""Span scores as a metric of Hugging Face evaluate, offline.

evaluate.load("pipelines/evaluation/span_f1")
"""

from __future__ import annotations

from typing import TypedDict

import datasets
import evaluate

from pipelines.evaluation.span_scores import SCHEMES, score_spans
from pipelines.examples import Span


class SpanRow(TypedDict):
    """A span: half-open character offsets and a type."""

    start: int
    end: int
    label: str


DESCRIPTION = (
    "Strict, exact, partial and type precision, recall and F1 of spans, summed over the corpus."
)
INPUTS = """
Args:
    predictions: for each example a list of {"start": int, "end": int, "label": str}, half-open
        character offsets.
    references: the same of the gold spans.

Returns:
    {"strict_precision", "strict_recall", "strict_f1", "exact_…", "partial_…", "type_…", "support",
    "predicted"}
"""
CITATION = (
    "SemEval-2013 task 9 (Segura-Bedmar, Martínez and Herrero-Zazo 2013), for partial and type."
)


class SpanF1(evaluate.Metric):
    """The same numbers as `pipelines evaluate` and report.json."""

    def _info(self) -> evaluate.MetricInfo:
        span = {
            "start": datasets.Value("int64"),
            "end": datasets.Value("int64"),
            "label": datasets.Value("string"),
        }
        spans = [span]
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": spans, "references": spans}),
        )

    def _compute(
        self, *, predictions: list[list[SpanRow]], references: list[list[SpanRow]]
    ) -> dict[str, float]:
        scores = score_spans(_spans(references), _spans(predictions))
        named = {}
        for scheme in SCHEMES:
            for name in ("precision", "recall", "f1"):
                named[f"{scheme}_{name}"] = scores[scheme][name]
        return named | {name: scores["strict"][name] for name in ("support", "predicted")}


def _spans(corpus: list[list[SpanRow]]) -> list[list[Span]]:
    return [[Span(row["start"], row["end"], row["label"]) for row in rows] for rows in corpus]
