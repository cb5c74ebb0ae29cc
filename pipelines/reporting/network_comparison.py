"""Networks for sequences compared: each trained with several seeds on the same examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from pipelines.corpora.predictions import read_predictions
from pipelines.evaluation.comparison import compare_counts, evaluate_runs
from pipelines.evaluation.tasks import REGRESSION
from pipelines.examples import Example, Fields, JsonObject, Prediction, joined_by_id
from pipelines.runs.run import Run

NEAR_BEST = 1.05  # of the lowest MSE on dev
ALPHA = 0.05
SPLITS = {"dev": "validation", "test": "test"}


def compare_networks(
    runs: Mapping[str, Sequence[Run]],
    splits: Mapping[str, Sequence[Example]],
    *,
    best_mse: float | None = None,
) -> JsonObject:
    """Scores networks on validation and test, and tests each pair of them.

    Args:
        runs: network -> its finished runs, one a seed.
        splits: split -> examples, `train` among them; `dev` and `test` are scored where they have
            numbers.
        best_mse: the MSE that no model can be expected to beat, where it is known.

    Returns:
        `best_mse`; `mean_mse`, for each split that of always predicting the mean of `train`;
        `networks`: of each, as means over its seeds, `parameters`, `train_mse`, `gap`
        (MSE on train − MSE on validation), `epochs`, `epochs_near_best` (until the MSE on
        validation was within 5 % of its lowest), `seconds` of training, and for each split `mse`,
        `interval`, `sd` over the seeds and `by_length`; `verdicts`: for each split one of each pair
        of networks, as `compare_counts` gives them, with Holm's `p_adjusted`.
    """
    scored = {
        split: examples
        for split, examples in splits.items()
        if split in SPLITS and examples and all(one.label is not None for one in examples)
    }
    predictions = {
        split: {name: _predictions(own, split) for name, own in runs.items()} for split in scored
    }
    networks = {name: _training(own) for name, own in runs.items()}
    for split, examples in scored.items():
        for name, answers in predictions[split].items():
            networks[name][split] = _scores(examples, answers)
    for row in networks.values():
        known = row["train_mse"] is not None and "dev" in row
        row["gap"] = row["train_mse"] - row["dev"]["mse"] if known else None
    verdicts = {
        split: _verdicts(examples, predictions[split]) for split, examples in scored.items()
    }
    return {
        "task": REGRESSION.name,
        "seeds": max(map(len, runs.values())),
        "best_mse": best_mse,
        "mean_mse": {split: _mean_mse(splits["train"], one) for split, one in scored.items()},
        "examples": {split: len(examples) for split, examples in scored.items()},
        "networks": networks,
        "verdicts": verdicts,
    }


def _predictions(runs: Sequence[Run], split: str) -> list[list[Prediction]]:
    return [read_predictions(run.predictions(split)) for run in runs]


def _scores(examples: Sequence[Example], answers: Sequence[Sequence[Prediction]]) -> JsonObject:
    """The scores of a network on a split: of one run, or the mean of several."""
    if len(answers) == 1:
        report = REGRESSION.evaluate(examples, answers[0])
        spread = {"sd": None}
    else:
        report = evaluate_runs(REGRESSION, examples, answers)
        spread = report["spread"]["mse"]
    return {
        "mse": report["mse"],
        "interval": report["mse_interval"],
        "sd": spread["sd"],
        "by_length": {name: row["mse"] for name, row in report["by_length"].items()},
    }


def _mean_mse(train: Sequence[Example], examples: Sequence[Example]) -> float:
    mean = np.mean([float(str(example.label)) for example in train])
    gold = np.array([float(str(example.label)) for example in examples])
    return float(np.mean((gold - mean) ** 2))


def _training(runs: Sequence[Run]) -> JsonObject:
    """What the trainings of a network took and reached, as means over its seeds."""
    reports = [run.report() for run in runs]
    curves = [dev_curve(run) for run in runs]
    return {
        "parameters": reports[0]["cost"].get("parameters"),
        "train_mse": _mean([metric_of(report, "train") for report in reports]),
        "epochs": _mean([report["cost"].get("epochs") for report in reports]),
        "epochs_near_best": _mean([epochs_near_best(curve) for curve in curves]),
        "seconds": _mean([report["cost"]["seconds"].get("training") for report in reports]),
    }


def metric_of(report: Fields, split: str) -> float | None:
    """The MSE on a split that a report has beside its own."""
    value = report.get(split, {}).get("mse")
    return None if value is None else float(value)


def dev_curve(run: Run) -> list[tuple[float, float]]:
    """(epoch, MSE on dev) of each evaluation of a training."""
    log = [entry for entry in run.training_log() if "eval_mse" in entry]
    return [(float(entry["epoch"]), float(entry["eval_mse"])) for entry in log]


def epochs_near_best(curve: Sequence[tuple[float, float]]) -> float | None:
    """The first epoch after which the MSE is within 5 % of the lowest; None without a curve."""
    if not curve:
        return None
    best = min(mse for _, mse in curve)
    return next(epoch for epoch, mse in curve if mse <= NEAR_BEST * best)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _verdicts(
    examples: Sequence[Example], answers: Mapping[str, Sequence[Sequence[Prediction]]]
) -> list[JsonObject]:
    """Each pair of networks, tested on the squared error of each example, the mean over seeds."""
    counts = {}
    for name, runs in answers.items():
        each = [REGRESSION.counts(joined_by_id(examples, run)) for run in runs]
        counts[name] = np.mean(each, axis=0)  # (n_examples, 2)
    verdicts: list[JsonObject] = []
    for first, second in combinations(counts, 2):
        tested = compare_counts(REGRESSION, examples, counts[first], counts[second], alpha=ALPHA)
        verdicts.append({"first": first, "second": second, **tested})
    for verdict, p in zip(verdicts, holm([one["p"] for one in verdicts]), strict=True):
        verdict["p_adjusted"] = p
        if p >= ALPHA:
            verdict["better"] = None
    return verdicts


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for their number (Holm 1979): each may be compared with alpha itself."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
