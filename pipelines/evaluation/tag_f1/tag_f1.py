"""Scores of BIO tags as a metric of Hugging Face evaluate, offline.

evaluate.load("pipelines/evaluation/tag_f1")
"""

from __future__ import annotations

import datasets
import evaluate

from pipelines.errors import DataError
from pipelines.evaluation.token_scores import SEQEVAL_NOTE, token_scores
from pipelines.spans import looks_like_tag

DESCRIPTION = (
    "Entity precision, recall and F1 of BIO tags in both readings of seqeval, summed over the "
    f"corpus, and the accuracy of the tags. {SEQEVAL_NOTE}"
)
INPUTS = """
Args:
    predictions: for each sentence the predicted tags, such as ["O", "B-Disease", "I-Disease"].
    references: the gold tags, as many in each sentence.

Returns:
    {"default_precision", "default_recall", "default_f1", "strict_…", "weighted_entity_f1",
    "accuracy", "accuracy_without_o", "support"}
"""
CITATION = "Ramshaw and Marcus 1995, for BIO tags; Nakayama 2018, seqeval."


class TagF1(evaluate.Metric):
    """The same numbers as `tokens` in `pipelines evaluate` and report.json."""

    def _info(self) -> evaluate.MetricInfo:
        tags = [datasets.Value("string")]
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": tags, "references": tags}),
        )

    def _compute(
        self, *, predictions: list[list[str]], references: list[list[str]]
    ) -> dict[str, float]:
        for number, (gold, predicted) in enumerate(zip(references, predictions, strict=True)):
            if len(gold) != len(predicted):
                raise DataError(
                    f"sentence {number}: got {len(predicted)} predicted tags; wanted {len(gold)}, "
                    "one for each gold tag"
                )
            unknown = [tag for tag in (*gold, *predicted) if not looks_like_tag(tag)]
            if unknown:
                raise DataError(
                    f"sentence {number}: got the tag {unknown[0]!r}; wanted O, or B- or I- and a "
                    "type"
                )
        scores = token_scores(references, predictions)
        named = {}
        for reading in ("default", "strict"):
            for name in ("precision", "recall", "f1"):
                named[f"{reading}_{name}"] = scores[f"seqeval_{reading}"][name]
        for name in ("weighted_entity_f1", "accuracy", "accuracy_without_o"):
            named[name] = scores[name]
        return named | {"support": scores["seqeval_default"]["support"]}
