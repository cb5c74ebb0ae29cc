"""The report of one set of predictions against gold: everything that stands in report.json, in plain JSON types.

The same answers in another order give the same report to the byte: examples keep the order of the gold file, spans are
put in order first, and every resampling is seeded.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import numpy as np

from pipelines.errors import DataError
from pipelines.evaluation import baselines, calibration, significance, span_scores, token_scores
from pipelines.evaluation import mistakes as errors
from pipelines.evaluation.classification import class_scores, multilabel_scores
from pipelines.evaluation.regression import perplexity, value_scores
from pipelines.evaluation.slices import false_alarms, mention_slices
from pipelines.examples import Example, Prediction, joined_by_id

Pairs = list[tuple[Example, Prediction]]


def evaluate_spans(examples: Sequence[Example], predictions: Sequence[Prediction], *,
                   train: Sequence[Example] | None = None, allow_missing: bool = False,
                   tuning: tuple[Sequence[Example], Sequence[Prediction]] | None = None) -> dict[str, Any]:
    """Scores predicted spans; the names are explained in docs/metrics.md.

    Args:
        examples: with gold spans.
        predictions: one for each example, in any order.
        train: the training examples; adds the baselines and the slices by what training has.
        allow_missing: take a missing answer for an empty one, and count it in ``missing_counted_as_empty``.
        tuning: labelled examples and their scored predictions, on which a score threshold is picked.

    Raises:
        DataError: when ids do not fit or answers are of another kind.
    """
    pairs = _pairs(examples, predictions, "spans", gold="spans", allow_missing=allow_missing)
    gold = [errors.ordered(example.spans) for example, _ in pairs]
    predicted = [errors.ordered(prediction.spans) for _, prediction in pairs]
    matched = span_scores.match_spans(gold, predicted)
    units = significance.resampling_units([example for example, _ in pairs])
    report = _header("span_extraction", examples, predictions, units) | span_scores.span_report(matched)
    counts = {scheme: span_scores.span_counts(matched, scheme) for scheme in span_scores.SCHEMES}
    strings = span_scores.string_counts([_strings(example, None) for example, _ in pairs],
                                        [_strings(example, prediction) for example, prediction in pairs])
    for name, rows in strings.items():
        report[name] = span_scores.precision_recall_f1(*rows.sum(axis=0))
    counts |= strings
    # (n_examples, n_scores * 3), so that all scores are resampled at once.
    intervals = significance.bootstrap_interval(
        np.hstack(list(counts.values())),
        lambda sums: significance.micro_f1(sums.reshape(*sums.shape[:-1], len(counts), 3)), units)
    for name, interval in zip(counts, intervals, strict=True):
        report[name]["interval"] = interval
    if any(example.tokens is not None for example, _ in pairs):
        report["tokens"] = token_scores.token_scores(*token_scores.tagged_pairs(pairs))
    generator = any(prediction.status is not None for _, prediction in pairs)
    report["error_budget"] = errors.error_budget(errors.find_mistakes(pairs), report["strict"], generator=generator)
    report["slices"] = mention_slices([example for example, _ in pairs], matched, units=units, train=train)
    report["slices"]["no_mention"] = false_alarms(gold, predicted)
    if train is not None:
        report["baselines"] = {name: _strict(examples, answers) for name, answers in (
            ("dictionary", baselines.dictionary_predictions(train, examples)),
            ("most_frequent_tag", baselines.most_frequent_tag_predictions(train, examples)))}
    scored = calibration.scored_spans(pairs)
    if scored is not None:
        report["calibration"] = calibration.calibration(scored[0], scored[1])
    if tuning is not None:
        report["threshold"] = _threshold(pairs, joined_by_id(*tuning), units)
    return report


def evaluate_classes(examples: Sequence[Example], predictions: Sequence[Prediction], *,
                     train: Sequence[Example] | None = None, allow_missing: bool = False) -> dict[str, Any]:
    """Scores predicted classes; an example whose gold label is a tuple may have several.

    Args:
        train: the training examples; adds the baselines (which imports scikit-learn).
        allow_missing: a missing answer counts as the class "", which is wrong everywhere.
    """
    pairs = _pairs(examples, predictions, "label", gold="label", allow_missing=allow_missing)
    units = significance.resampling_units([example for example, _ in pairs])
    report = _header("sequence_classification", examples, predictions, units)
    scores = [prediction.scores for _, prediction in pairs]
    given = None if any(score is None for score in scores) else [score for score in scores if score is not None]
    gold = [label_set(example.label) for example, _ in pairs]
    predicted = [label_set(prediction.label) for _, prediction in pairs]
    if any(isinstance(example.label, tuple) for example, _ in pairs):
        report |= multilabel_scores(gold, predicted, given)
    else:
        report |= class_scores([row[0] for row in gold], [row[0] if row else "" for row in predicted], given)
    report["accuracy_interval"] = significance.bootstrap_interval(class_counts(pairs), significance.mean, units)
    report["macro"]["interval"] = _macro_f1_interval(gold, predicted, list(report["per_class"]), units)
    if train is not None:
        answers = {"majority": baselines.majority_predictions(train, examples),
                   "linear_svm": baselines.linear_svm_predictions(train, examples)}
        report["baselines"] = {name: _accuracy_and_macro_f1(pairs, answers[name]) for name in answers}
    if given is not None:
        confidence = np.array([max(score.values(), default=0.0) for score in given], dtype=float)
        report["calibration"] = calibration.calibration(confidence, class_counts(pairs)[:, 0] > 0)
    return report


def evaluate_values(examples: Sequence[Example], predictions: Sequence[Prediction], *,
                    train: Sequence[Example] | None = None, allow_missing: bool = False) -> dict[str, Any]:
    """Scores predicted numbers; a missing one has no empty stand-in, so that it always raises.

    Args:
        train: the training examples; adds the baseline that always answers their mean.
    """
    pairs = _pairs(examples, predictions, "value", gold="label")
    units = significance.resampling_units([example for example, _ in pairs])
    report = _header("sequence_regression", examples, predictions, units)
    gold = np.array([float(example.label) for example, _ in pairs])  # type: ignore[arg-type]
    predicted = np.array([prediction.value for _, prediction in pairs], dtype=float)
    report |= value_scores(gold, predicted)
    report["mse_interval"] = significance.bootstrap_interval(squared_error_counts(pairs), significance.mean, units)
    if train is not None:
        mean = np.mean([float(example.label) for example in train])  # type: ignore[arg-type]
        report["baselines"] = {"mean": value_scores(gold, np.full(len(gold), mean))}
    return report


def evaluate_language_model(examples: Sequence[Example], predictions: Sequence[Prediction], *,
                            train: Sequence[Example] | None = None, allow_missing: bool = False) -> dict[str, Any]:
    """Perplexity from summed nats.

    A prediction's ``value`` is the negative natural log-likelihood of the whole text, and its ``scores["tokens"]`` the
    number of tokens that it sums over; without that the words are counted.

    Raises:
        DataError: when ids do not fit, or a likelihood cannot be one.
    """
    pairs = _pairs(examples, predictions, "value", gold=None)
    wrong = [prediction.id for (_, prediction), (nats, tokens) in zip(pairs, nats_counts(pairs), strict=True)
             if nats < 0 or (nats > 0 and tokens <= 0)]
    if wrong:
        raise DataError(f"{len(wrong)} of {len(pairs)} predictions hold nats below 0 or of no token, such as id "
                        f'{wrong[0]}; wanted in "value" the negative log-likelihood of the text, and in "scores" the '
                        'number of its "tokens"')
    units = significance.resampling_units([example for example, _ in pairs])
    counts = nats_counts(pairs)
    nats, tokens = counts.sum(axis=0)
    words = sum(len(example.text.split()) for example, _ in pairs)
    per_token, per_word = perplexity(nats, max(tokens, 1)), perplexity(nats, max(words, 1))
    return _header("language_modelling", examples, predictions, units) | {
        "nats": float(nats), "tokens": int(tokens), "words": words,
        "perplexity": per_token if math.isfinite(per_token) else None,
        "perplexity_per_word": per_word if math.isfinite(per_word) else None,
        "perplexity_interval": significance.bootstrap_interval(counts, mean_perplexity, units),
    }


# What each example adds to the sums of a task's primary metric: intervals and paired tests resample these rows.


def span_f1_counts(pairs: Pairs) -> np.ndarray:
    """(correct, gold, predicted) of strict matching, of shape (n_examples, 3)."""
    gold, predicted = [example.spans or () for example, _ in pairs], [answer.spans or () for _, answer in pairs]
    labels = span_scores.all_labels(gold, predicted)
    left, right = span_scores.columns(gold, labels), span_scores.columns(predicted, labels)
    found = left.example[span_scores.match_identical(left, right, by_label=True).gold]
    return np.stack([np.bincount(rows, minlength=len(pairs)) for rows in (found, left.example, right.example)], axis=1)


def class_counts(pairs: Pairs) -> np.ndarray:
    """(correct, 1), of shape (n_examples, 2)."""
    return np.array([[set(label_set(example.label)) == set(label_set(prediction.label)), 1]
                     for example, prediction in pairs], dtype=float)


def squared_error_counts(pairs: Pairs) -> np.ndarray:
    """(squared error, 1), of shape (n_examples, 2)."""
    return np.array([[(float(prediction.value) - float(example.label)) ** 2, 1]  # type: ignore[arg-type]
                     for example, prediction in pairs])


def nats_counts(pairs: Pairs) -> np.ndarray:
    """(nats, tokens), of shape (n_examples, 2)."""
    return np.array([[prediction.value, (prediction.scores or {}).get("tokens", len(example.text.split()))]
                     for example, prediction in pairs], dtype=float)


def mean_perplexity(sums: np.ndarray) -> np.ndarray:
    return np.exp(np.minimum(significance.mean(sums), 700.0))  # beyond that a float overflows


def label_set(label: object) -> tuple[str, ...]:
    return () if label is None else tuple(map(str, label)) if isinstance(label, tuple) else (str(label),)


def gold_sha256(examples: Iterable[Example]) -> str:
    """A fingerprint of ids, texts and gold answers: scores are comparable where it is the same."""
    offsets = attrgetter("start", "end", "label")
    rows = [[example.id, example.text, example.label,
             None if example.spans is None else sorted(map(offsets, example.spans))]
            for example in sorted(examples, key=attrgetter("id"))]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


EMPTY = {"spans": Prediction("", spans=()), "label": Prediction("", label=())}


def _pairs(examples: Sequence[Example], predictions: Sequence[Prediction], kind: str, *,
           gold: str | None, allow_missing: bool = False) -> Pairs:
    """Joins by id, and sees to it that gold and answers are there and of the wanted kind."""
    make = (lambda id: replace(EMPTY[kind], id=id)) if allow_missing and kind in EMPTY else None
    pairs = joined_by_id(examples, predictions, allow_missing=make)
    other = [prediction.id for _, prediction in pairs if getattr(prediction, kind) is None]
    unlabelled = [example.id for example, _ in pairs if gold and getattr(example, gold) is None]
    if not pairs:
        raise DataError("no gold examples; wanted at least one")
    if unlabelled:
        raise DataError(f'{len(unlabelled)} of {len(pairs)} gold examples have no {gold}, such as id {unlabelled[0]}; '
                        "score against a labelled file")
    if other:
        raise DataError(f'{len(other)} predictions have no "{kind}", such as id {other[0]}')
    return pairs


def _header(task: str, examples: Sequence[Example], predictions: Sequence[Prediction],
            units: significance.Units) -> dict[str, Any]:
    return {
        "task": task,
        "examples": len(examples),
        "missing_counted_as_empty": len(examples) - len(predictions),
        "gold_sha256": gold_sha256(examples),
        "resampling": {"unit": units.kind, "units": units.count, "resamples": significance.RESAMPLES,
                       "confidence": 0.95, "seed": significance.SEED},
    }


def _strings(example: Example, prediction: Prediction | None) -> list[tuple[str, str]]:
    """Mentions as (string, label): what a generator wrote, found in the text or not; else what the spans cover."""
    if prediction is not None and prediction.mentions is not None:
        return [(str(mention["string"]), str(mention["label"])) for mention in prediction.mentions]
    spans = example.spans if prediction is None else prediction.spans
    return [(example.text[span.start:span.end], span.label) for span in spans or ()]


def _strict(examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, Any]:
    return span_scores.precision_recall_f1(*span_f1_counts(joined_by_id(examples, predictions)).sum(axis=0))


def _accuracy_and_macro_f1(pairs: Pairs, answers: Sequence[Prediction]) -> dict[str, float]:
    gold = [" ".join(label_set(example.label)) for example, _ in pairs]
    report = class_scores(gold, [str(answer.label) for answer in answers])
    return {"accuracy": report["accuracy"], "macro_f1": report["macro"]["f1"]}


def _macro_f1_interval(gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]], labels: Sequence[str],
                       units: significance.Units) -> list[float]:
    """Bootstrap interval of the mean F1 of the classes that a resample has."""
    counts = np.array([[(label in wanted and label in given, label in wanted, label in given) for label in labels]
                       for wanted, given in zip(gold, predicted, strict=True)], dtype=float)

    def macro_f1(sums: np.ndarray) -> np.ndarray:
        by_class = sums.reshape(*sums.shape[:-1], len(labels), 3)
        there = by_class[..., 1] + by_class[..., 2] > 0
        f1 = np.where(there, significance.micro_f1(by_class), 0.0)
        return f1.sum(axis=-1) / np.maximum(there.sum(axis=-1), 1)

    return significance.bootstrap_interval(counts.reshape(len(gold), -1), macro_f1, units)


def _threshold(pairs: Pairs, tuning: Pairs, units: significance.Units) -> dict[str, Any]:
    """The cut that is best on the tuning examples, and what it gains there and here."""
    cut, best = calibration.best_threshold(tuning)
    kept = calibration.above([prediction for _, prediction in pairs], cut)
    before = span_f1_counts(pairs)
    after = span_f1_counts(list(zip((example for example, _ in pairs), kept, strict=True)))
    gain = significance.paired_bootstrap(after, before, significance.micro_f1, units)
    return {
        "cut": cut,
        "tuning": {"before": float(significance.micro_f1(span_f1_counts(tuning).sum(axis=0))), "after": best},
        "before": float(significance.micro_f1(before.sum(axis=0))),
        "after": float(significance.micro_f1(after.sum(axis=0))),
        "gain": gain["delta"], "interval": gain["interval"], "p": gain["p"],
    }
