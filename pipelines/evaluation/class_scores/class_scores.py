"""Scores of classes as a metric of Hugging Face evaluate, offline.

evaluate.load("pipelines/evaluation/class_scores")
evaluate.load("pipelines/evaluation/class_scores", "multilabel")
"""

from __future__ import annotations

import datasets
import evaluate

from pipelines.evaluation import Report
from pipelines.evaluation.classification import class_scores, multilabel_scores

DESCRIPTION = (
    "Accuracy, Matthews correlation, and macro, micro and weighted precision, recall and F1 of "
    "classes by name; with the configuration `multilabel` of lists of classes, where accuracy is "
    "the share of examples whose whole list is right."
)
INPUTS = """
Args:
    predictions: the predicted class of each example, a string; `multilabel`: a list of them.
    references: the gold class of each example, likewise.

Returns:
    {"accuracy", "matthews" (of single classes), "macro_precision", "macro_recall", "macro_f1",
    "micro_…", "weighted_…"}
"""
CITATION = "Gorodkin 2004, for the Matthews correlation of several classes."


class ClassScores(evaluate.Metric):
    """The same numbers as `pipelines evaluate` and report.json."""

    def _info(self) -> evaluate.MetricInfo:
        name = datasets.Value("string")
        answers = [name] if self.config_name == "multilabel" else name
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": answers, "references": answers}),
        )

    def _compute(self, *, predictions: list, references: list) -> dict[str, float]:
        several = self.config_name == "multilabel"
        scores: Report = (multilabel_scores if several else class_scores)(references, predictions)
        named = {name: value for name, value in scores.items() if isinstance(value, float)}
        for mean in ("macro", "micro", "weighted"):
            for name in ("precision", "recall", "f1"):
                named[f"{mean}_{name}"] = scores[mean][name]
        return named
