"""Sentences about a run that has learnt nothing, or less than a baseline."""

from __future__ import annotations

import math

from pipelines.evaluation.baselines import BASELINES
from pipelines.examples import Fields
from pipelines.formatting import score

# Metrics by which a run is compared with a baseline: name in the baseline's row -> name in words.
COMPARED = {
    "f1": "strict F1",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "mse": "MSE",
    "perplexity_per_word": "perplexity per word",
}
ERRORS = ("mse", "perplexity_per_word")  # lower is better
NEXT = "give more training examples, or train longer or with another learning rate"


def sanity_warnings(report: Fields) -> list[str]:
    """What a report shows to be wrong with the run as a whole, a sentence each.

    A run is warned of that predicts no mention, that predicts one class only, or that is worse
    than a baseline: not better by any of the metrics that the baseline has, and worse by one.

    Args:
        report: what a task's `evaluate` gives, with `baselines` where training is known.
    """
    warnings = [_no_mention(report), _one_class(report), _below_baseline(report)]
    return [sentence for sentence in warnings if sentence]


def _no_mention(report: Fields) -> str:
    strict = report.get("strict", {})
    if not strict.get("support") or strict["predicted"]:
        return ""
    mentions = "mention" if strict["support"] == 1 else "mentions"
    return (
        f"no mention is predicted (every tag is O), but the gold has {strict['support']} "
        f"{mentions}; {NEXT}"
    )


def _one_class(report: Fields) -> str:
    per_class = report.get("per_class", {})
    predicted = [label for label, row in per_class.items() if row["predicted"]]
    gold = [label for label, row in per_class.items() if row["support"]]
    if len(gold) < 2 or len(predicted) > 1:
        return ""
    which = f"only the class {predicted[0]!r}" if predicted else "no class"
    return f"{which} is predicted, but the gold has {len(gold)} classes; {NEXT}"


def _below_baseline(report: Fields) -> str:
    """Names the best of the baselines that are better than the run."""
    scores = {
        "f1": report.get("strict", {}).get("f1"),
        "accuracy": report.get("accuracy"),
        "macro_f1": report.get("macro", {}).get("f1"),
        "mse": report.get("mse"),
        "perplexity_per_word": report.get("perplexity_per_word"),
    }
    better = []
    for name, row in report.get("baselines", {}).items():
        gains = {
            metric: _gain(metric, row[metric], scores[metric])
            for metric in row.keys() & COMPARED
            if row[metric] is not None and scores[metric] is not None  # a perplexity may overflow
        }
        if gains and min(gains.values()) >= 0 and max(gains.values()) > 0:
            metric = max(COMPARED, key=lambda metric: gains.get(metric, 0.0))
            better.append((gains[metric], metric, name))
    if not better:
        return ""
    _, metric, name = max(better, key=lambda item: item[0])  # the first of equals
    scale = 1 if metric in ERRORS else 100
    ours, theirs = scores[metric], report["baselines"][name][metric]
    return (
        f"{COMPARED[metric]} {score(ours, scale)} is worse than the {score(theirs, scale)} of "
        f"{BASELINES[name]}; {NEXT}"
    )


def _gain(metric: str, baseline: float, ours: float) -> float:
    if math.isclose(baseline, ours, rel_tol=1e-6):
        return 0.0  # predictions are written with six digits
    return ours - baseline if metric in ERRORS else baseline - ours
