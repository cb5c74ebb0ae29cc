"""Platt scaling: a map from the scores of answers to the probability that they are right.

Platt 1999, Probabilistic Outputs for Support Vector Machines; here of the logit of a score, so that
the identity is among the maps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np

from pipelines.corpora.splits.groups import groups_of
from pipelines.errors import UserError
from pipelines.evaluation import Report
from pipelines.evaluation.calibration import calibration, scored_spans
from pipelines.examples import Example, Prediction, Span

FOLDS = 5
MAX_STEPS = 100
RIDGE = 1e-9  # keeps a step finite where all scores are equal


@dataclass(frozen=True, slots=True)
class PlattScaling:
    """P(right) = 1 / (1 + exp(-(slope · logit(score) + intercept))).

    Attributes:
        slope, intercept: of the line.
        margin: scores are moved this far away from 0 and 1, where a logit is infinite.
    """

    slope: float
    intercept: float
    margin: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities of shape (n_answers,), from scores between 0 and 1 of the same shape."""
        return _sigmoid(self.slope * _logits(scores, self.margin) + self.intercept)

    def of_spans(self, predictions: Sequence[Prediction]) -> list[Prediction]:
        """The predictions with the probabilities of their spans; without a score there is none."""
        return [
            replace(prediction, spans=tuple(map(self._of_span, prediction.spans or ())))
            for prediction in predictions
        ]

    def _of_span(self, span: Span) -> Span:
        if span.score is None:
            return span
        return replace(span, score=round(float(self(np.array([span.score]))[0]), 6))


class Calibrated(NamedTuple):
    """Answers with calibrated scores.

    Attributes:
        scaling: the map, fitted on all of dev.
        answers: split -> predictions. Those of dev have scores of maps that were fitted without
            their document.
        report: `slope`, `intercept`, the number of `spans` that the map was fitted on, `folds`, and
            `ece` (see `calibration`) of each labelled split, `before` and `after`.
    """

    scaling: PlattScaling
    answers: dict[str, list[Prediction]]
    report: Report


def calibrated(
    examples: Mapping[str, Sequence[Example]],
    answers: Mapping[str, Sequence[Prediction]],
    *,
    margin: float,
) -> Calibrated:
    """Fits the map on the spans of dev, and applies it to those of all splits.

    Args:
        examples: split -> examples; `dev` has gold spans.
        answers: split -> predictions, in the order of the examples, scored as the model scores.
        margin: see `PlattScaling`.

    Raises:
        UserError: see `dev_folds`.
    """
    pairs = list(zip(examples["dev"], answers["dev"], strict=True))
    scaling = fit_spans(pairs, margin=margin)
    scaled = {split: scaling.of_spans(found) for split, found in answers.items()}
    folds = dev_folds(examples["dev"])
    scaled["dev"] = _out_of_folds(pairs, folds, margin)
    report = asdict(scaling) | {"spans": len(_scored(pairs)[0]), "folds": len(folds), "ece": {}}
    for split, found in answers.items():
        if all(example.spans is not None for example in examples[split]):
            report["ece"][split] = {
                "before": calibration_error(examples[split], found),
                "after": calibration_error(examples[split], scaled[split]),
            }
    return Calibrated(scaling, scaled, report)


def dev_folds(dev: Sequence[Example]) -> list[list[int]]:
    """Positions of dev in at most `FOLDS` parts; documents and copies of a text stay together.

    Raises:
        UserError: for less than two documents.
    """
    groups = sorted(
        groups_of(dev, seed=0) if dev else [], key=lambda group: (-len(group.positions), group.rank)
    )
    if len(groups) < 2:
        raise UserError(
            "got --calibrate true and a dev set of less than two documents; its scores come from "
            "maps that are fitted on other documents of it: give a larger --dev_file, or leave it "
            "out"
        )
    folds: list[list[int]] = [[] for _ in range(min(FOLDS, len(groups)))]
    for group in groups:
        min(folds, key=len).extend(group.positions)
    return folds


def _out_of_folds(
    pairs: Sequence[tuple[Example, Prediction]], folds: Sequence[Sequence[int]], margin: float
) -> list[Prediction]:
    """Predictions with scores of maps that were fitted on the other folds."""
    scaled = [prediction for _, prediction in pairs]
    for fold in folds:
        held_out = set(fold)
        others = [pair for position, pair in enumerate(pairs) if position not in held_out]
        own = [pairs[position][1] for position in fold]
        found = fit_spans(others, margin=margin).of_spans(own)
        for position, prediction in zip(fold, found, strict=True):
            scaled[position] = prediction
    return scaled


def calibration_error(
    examples: Sequence[Example], predictions: Sequence[Prediction]
) -> float | None:
    """The expected calibration error of spans that have a score; None where none has."""
    scores, correct = _scored(list(zip(examples, predictions, strict=True)))
    error: float | None = calibration(scores, correct)["ece"]
    return error


def fit_spans(pairs: Sequence[tuple[Example, Prediction]], *, margin: float) -> PlattScaling:
    """The map of the scores of predicted spans, which are right in the strict sense."""
    return fit(*_scored(pairs), margin=margin)


def _scored(pairs: Sequence[tuple[Example, Prediction]]) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the spans that have one, and whether each is right, (n_spans,) each."""
    kept = []
    for example, prediction in pairs:
        spans = [span for span in prediction.spans or () if span.score is not None]
        kept.append((example, replace(prediction, spans=tuple(spans))))
    found = scored_spans(kept)
    return (np.zeros(0), np.zeros(0, dtype=bool)) if found is None else found[:2]


def fit(scores: np.ndarray, correct: np.ndarray, *, margin: float) -> PlattScaling:
    """The map with the highest likelihood, by Newton's method with a line search.

    As in Platt 1999, section 2.2, right answers have the target (n⁺ + 1) / (n⁺ + 2) and wrong ones
    1 / (n⁻ + 2), so that the fit is finite where scores separate them. The map never turns an order
    around: where higher scores are right less often, all answers get one probability.

    Args:
        scores: of answers, between 0 and 1, of shape (n_answers,).
        correct: whether each is right, of shape (n_answers,).
        margin: see `PlattScaling`.

    Returns:
        The map; without any answer the identity.
    """
    if not len(scores):
        return PlattScaling(1.0, 0.0, margin)
    n_right = int(correct.sum())
    n_wrong = len(correct) - n_right
    targets = np.where(correct, (n_right + 1) / (n_right + 2), 1 / (n_wrong + 2))
    constant = np.array([0.0, _logits(targets.mean(), 0.0)])
    line = _newton(_logits(scores, margin), targets, constant)
    slope, intercept = line if line[0] > 0 else constant
    return PlattScaling(float(slope), float(intercept), margin)


def _newton(logits: np.ndarray, targets: np.ndarray, line: np.ndarray) -> np.ndarray:
    """The slope and the intercept, (2,), of the least cross-entropy to targets (n_answers,)."""
    design = np.stack([logits, np.ones_like(logits)], axis=1)  # (n_answers, 2)

    def loss(line: np.ndarray) -> float:
        values = design @ line
        return float((np.logaddexp(0.0, values) - targets * values).sum())

    for _ in range(MAX_STEPS):
        probabilities = _sigmoid(design @ line)
        gradient = design.T @ (probabilities - targets)  # (2,)
        weights = probabilities * (1 - probabilities)
        curvature = (design.T * weights) @ design + RIDGE * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        size, before = 1.0, loss(line)
        while size > 1e-6 and loss(line - size * step) > before - 1e-4 * size * gradient @ step:
            size /= 2
        if size <= 1e-6 or np.abs(step).max() < 1e-10:
            break
        line = line - size * step
    return line


def _logits(probabilities: np.ndarray, margin: float) -> np.ndarray:
    kept = np.clip(probabilities, margin, 1 - margin)
    return np.log(kept) - np.log1p(-kept)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -values))
