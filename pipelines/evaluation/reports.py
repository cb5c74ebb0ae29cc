"""The report of predictions against gold: everything in report.json, in plain JSON types.

The same answers in another order give the same report to the byte: examples keep the order of the
gold file, spans are sorted first, and every resampling is seeded.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter

import numpy as np

from pipelines.errors import DataError
from pipelines.evaluation import (
    Report,
    baselines,
    counts,
    significance,
    span_scores,
    thresholds,
    word_trigrams,
)
from pipelines.evaluation.calibration import calibration, scored_spans
from pipelines.evaluation.classification import Scores, class_scores, multilabel_scores
from pipelines.evaluation.counts import Pairs, label_set
from pipelines.evaluation.mistakes import error_budget, find_mistakes, ordered
from pipelines.evaluation.regression import perplexity, value_scores
from pipelines.evaluation.residuals import mse_by_length, residuals
from pipelines.evaluation.sanity import sanity_warnings
from pipelines.evaluation.slices import false_alarms, mention_slices, overlaps
from pipelines.evaluation.token_scores import tagged_pairs, token_scores
from pipelines.examples import Example, Prediction, Span, Steps, features_key, joined_by_id

Scored = tuple[Sequence[Example], Sequence[Prediction]]
EMPTY = {"spans": Prediction("", spans=()), "label": Prediction("", label=())}


def evaluate_spans(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    train: Sequence[Example] | None = None,
    allow_missing: bool = False,
    tuning: Scored | None = None,
) -> Report:
    """Scores predicted spans; the names are explained in docs/metrics.md.

    Args:
        examples: with gold spans.
        predictions: one for each example, in any order.
        train: the training examples; adds the baselines and the slices by what training has.
        allow_missing: count a missing answer as empty, in `missing_counted_as_empty` too.
        tuning: labelled examples and their scored predictions, to pick a score threshold on.

    Raises:
        DataError: when ids do not fit or answers are of another kind.
    """
    pairs = _pairs(examples, predictions, "spans", gold="spans", allow_missing=allow_missing)
    joined = [example for example, _ in pairs]
    gold = [ordered(example.spans) for example in joined]
    predicted = [ordered(prediction.spans) for _, prediction in pairs]
    matched = span_scores.match_spans(gold, predicted)
    units = significance.resampling_units(joined)
    report = _header("span_extraction", examples, predictions, units)
    report |= _span_scores(pairs, matched, units)
    if any(example.tokens is not None for example in joined):
        report["tokens"] = token_scores(*tagged_pairs(pairs))
    is_generator = any(prediction.status is not None for _, prediction in pairs)
    mistakes = find_mistakes(pairs)
    report["error_budget"] = error_budget(mistakes, report["strict"], generator=is_generator)
    report["slices"] = mention_slices(joined, matched, units=units, train=train)
    report["slices"]["no_mention"] = false_alarms(gold, predicted)
    if overlapping := overlaps(joined):
        report["overlaps"] = overlapping
    if train is not None:
        answers = {
            "dictionary": baselines.dictionary_predictions(train, examples),
            "most_frequent_tag": baselines.most_frequent_tag_predictions(train, examples),
        }
        report["baselines"] = {name: _strict(examples, answers[name]) for name in answers}
    scored = scored_spans(pairs)
    if scored is not None:
        report["calibration"] = calibration(scored[0], scored[1])
    if tuning is not None:
        report["threshold"] = _threshold(pairs, joined_by_id(*tuning), units)
    return report | {"warnings": sanity_warnings(report)}


def _span_scores(
    pairs: Pairs, matched: span_scores.MatchedSpans, units: significance.Units
) -> Report:
    """Span and string scores with their intervals."""
    report = span_scores.span_report(matched)
    rows = {scheme: span_scores.span_counts(matched, scheme) for scheme in span_scores.SCHEMES}
    strings = span_scores.string_counts(
        [_strings(example, example.spans) for example, _ in pairs],
        [_generated(example, prediction) for example, prediction in pairs],
    )
    for name, array in strings.items():
        report[name] = span_scores.precision_recall_f1(*array.sum(axis=0))
    rows |= strings

    def f1_of_each(sums: np.ndarray) -> np.ndarray:
        return significance.micro_f1(sums.reshape(*sums.shape[:-1], len(rows), 3))

    # (n_examples, n_scores * 3), so that all scores are resampled at once.
    stacked = np.hstack(list(rows.values()))
    intervals = significance.bootstrap_interval(stacked, f1_of_each, units)
    for name, interval in zip(rows, intervals, strict=True):
        report[name]["interval"] = interval
    return report


def _strings(example: Example, spans: Iterable[Span] | None) -> list[tuple[str, str]]:
    return [(example.text[span.start : span.end], span.label) for span in spans or ()]


def _generated(example: Example, prediction: Prediction) -> list[tuple[str, str]]:
    """What a generator wrote, in the text or not; else what the spans cover."""
    if prediction.mentions is None:
        return _strings(example, prediction.spans)
    mentions = prediction.mentions
    return [(str(mention["string"]), str(mention["label"])) for mention in mentions]


def _strict(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Report:
    sums = counts.span_f1_counts(joined_by_id(examples, predictions)).sum(axis=0)
    return span_scores.precision_recall_f1(*sums)


def _threshold(pairs: Pairs, tuning: Pairs, units: significance.Units) -> Report:
    """The threshold that is best on the tuning examples, and what it gains there and here."""
    cut, best = thresholds.best_span_threshold(tuning)
    kept = thresholds.spans_above([prediction for _, prediction in pairs], cut)
    examples = [example for example, _ in pairs]
    before = counts.span_f1_counts(pairs)
    after = counts.span_f1_counts(list(zip(examples, kept, strict=True)))
    gain = significance.paired_bootstrap(after, before, significance.micro_f1, units)
    tuning_f1 = significance.micro_f1(counts.span_f1_counts(tuning).sum(axis=0))
    return {
        "cut": cut,
        "tuning": {"before": float(tuning_f1), "after": best},
        "before": float(significance.micro_f1(before.sum(axis=0))),
        "after": float(significance.micro_f1(after.sum(axis=0))),
        "gain": gain["delta"],
        "interval": gain["interval"],
        "p": gain["p"],
    }


def evaluate_classes(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    train: Sequence[Example] | None = None,
    allow_missing: bool = False,
) -> Report:
    """Scores predicted classes; an example whose gold label is a tuple may have several.

    Args:
        examples: with gold classes.
        predictions: one for each example, in any order.
        train: the training examples; adds the baselines (which imports scikit-learn).
        allow_missing: a missing answer counts as the class "", which is wrong everywhere.

    Raises:
        DataError: when ids do not fit or answers are of another kind.
    """
    pairs = _pairs(examples, predictions, "label", gold="label", allow_missing=allow_missing)
    units = significance.resampling_units([example for example, _ in pairs])
    report = _header("sequence_classification", examples, predictions, units)
    scores = [prediction.scores for _, prediction in pairs if prediction.scores is not None]
    has_scores = len(scores) == len(pairs)
    report |= _class_scores(pairs, scores if has_scores else None)
    correct = counts.class_counts(pairs)
    interval = significance.bootstrap_interval(correct, significance.mean, units)
    report["accuracy_interval"] = interval
    report["macro"]["interval"] = _macro_f1_interval(pairs, list(report["per_class"]), units)
    labelled = [example for example in train or () if example.label is not None]
    if labelled:
        answers = {"majority": baselines.majority_predictions(labelled, examples)}
        if all(example.features is None for example in labelled):
            answers["linear_svm"] = baselines.linear_svm_predictions(labelled, examples)
        report["baselines"] = {}
        for name, predicted in answers.items():
            row = _class_scores(joined_by_id(examples, predicted), None)
            report["baselines"][name] = {
                "accuracy": row["accuracy"],
                "macro_f1": row["macro"]["f1"],
            }
    if has_scores:
        confidence = [max(row.values(), default=0.0) for row in scores]
        report["calibration"] = calibration(np.array(confidence, dtype=float), correct[:, 0] > 0)
    return report | {"warnings": sanity_warnings(report)}


def _class_scores(pairs: Pairs, scores: Scores | None) -> Report:
    gold = [label_set(example.label) for example, _ in pairs]
    predicted = [label_set(prediction.label) for _, prediction in pairs]
    if any(isinstance(example.label, tuple) for example, _ in pairs):
        return multilabel_scores(gold, predicted, scores)
    first = [row[0] if row else "" for row in predicted]
    return class_scores([row[0] for row in gold], first, scores)


def _macro_f1_interval(
    pairs: Pairs, labels: Sequence[str], units: significance.Units
) -> list[float]:
    """Bootstrap interval of the mean F1 of the classes that a resample has."""
    rows = []
    for example, prediction in pairs:
        gold, predicted = label_set(example.label), label_set(prediction.label)
        marks = [(label in gold, label in predicted) for label in labels]
        rows.append([(is_gold and is_given, is_gold, is_given) for is_gold, is_given in marks])

    def macro_f1(sums: np.ndarray) -> np.ndarray:
        by_class = sums.reshape(*sums.shape[:-1], len(labels), 3)
        present = by_class[..., 1] + by_class[..., 2] > 0
        f1 = np.where(present, significance.micro_f1(by_class), 0.0)
        return f1.sum(axis=-1) / np.maximum(present.sum(axis=-1), 1)

    flat = np.array(rows, dtype=float).reshape(len(pairs), -1)  # (n_examples, C * 3)
    return significance.bootstrap_interval(flat, macro_f1, units)


def evaluate_values(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    train: Sequence[Example] | None = None,
    allow_missing: bool = False,
) -> Report:
    """Scores predicted numbers.

    Args:
        examples: with gold numbers.
        predictions: one for each example, in any order.
        train: the training examples; adds the baseline that always answers their mean.
        allow_missing: has no effect: a missing number always raises.

    Raises:
        DataError: when ids do not fit or answers are of another kind.
    """
    pairs = _pairs(examples, predictions, "value", gold="label")
    units = significance.resampling_units([example for example, _ in pairs])
    report = _header("sequence_regression", examples, predictions, units)
    gold = counts.gold_values(pairs)
    predicted = counts.predicted_values(pairs)
    report |= value_scores(gold, predicted)
    errors = counts.squared_error_counts(pairs)
    report["mse_interval"] = significance.bootstrap_interval(errors, significance.mean, units)
    if train is not None:
        mean = np.mean([float(example.label) for example in train])  # type: ignore[arg-type]
        report["baselines"] = {"mean": value_scores(gold, np.full(len(gold), mean))}
    report["residuals"] = residuals(gold, predicted)
    report["by_length"] = mse_by_length([example for example, _ in pairs], gold, predicted)
    return report | {"warnings": sanity_warnings(report)}


def evaluate_language_model(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    train: Sequence[Example] | None = None,
    allow_missing: bool = False,
    vocabulary: word_trigrams.Words | None = None,
) -> Report:
    """Perplexity from summed nats.

    A prediction's `value` is the negative natural log-likelihood of the whole text, and its
    `scores["tokens"]` the number of tokens that it sums over; without that the words are counted.

    Args:
        examples: the texts.
        predictions: one for each example, in any order.
        train: the training texts; adds the baseline, a Kneser-Ney trigram over their words. Where
            the predictions count unknown words (`scores["unknown"]`), unknown words are one word
            for the baseline too; else it spells them.
        allow_missing: has no effect: a missing likelihood always raises.
        vocabulary: how the baseline makes words of a text; by default `word_trigrams.Words()`.

    Raises:
        DataError: when ids do not fit, or a likelihood cannot be one.
    """
    pairs = _pairs(examples, predictions, "value", gold=None)
    rows = counts.nats_counts(pairs)
    _check_nats(pairs, rows)
    units = significance.resampling_units([example for example, _ in pairs])
    nats, tokens = rows.sum(axis=0)
    words = sum(len(example.text.split()) for example, _ in pairs)
    interval = significance.bootstrap_interval(rows, significance.mean_perplexity, units)
    report = _header("language_modelling", examples, predictions, units) | {
        "nats": float(nats),
        "tokens": int(tokens),
        "words": words,
        "perplexity": _finite_perplexity(nats, tokens),
        "perplexity_per_word": _finite_perplexity(nats, words),
        "perplexity_interval": interval,
    }
    if train:
        is_closed = any("unknown" in (answer.scores or {}) for answer in predictions)
        words_of = vocabulary or word_trigrams.Words()
        baseline = word_trigrams.trigram_nats(train, examples, words=words_of, spelt=not is_closed)
        nats, tokens = baseline.sum(axis=0)
        row = {"perplexity_per_word": _finite_perplexity(nats, words)}
        if is_closed:
            row = {"perplexity": _finite_perplexity(nats, tokens)} | row
        report["baselines"] = {"kneser_ney": row}
    return report | {"warnings": sanity_warnings(report)}


def _check_nats(pairs: Pairs, rows: np.ndarray) -> None:
    nats, tokens = rows.T
    wrong = np.flatnonzero((nats < 0) | ((nats > 0) & (tokens <= 0)))
    if len(wrong):
        raise DataError(
            f"{len(wrong)} of {len(pairs)} predictions hold nats below 0 or of no token, such as "
            f'id {pairs[wrong[0]][0].id}; wanted in "value" the negative log-likelihood of the '
            'text, and in "scores" the number of its "tokens"'
        )


def _finite_perplexity(nats: float, count: int) -> float | None:
    value = perplexity(nats, max(count, 1))
    return value if math.isfinite(value) else None


def gold_sha256(examples: Iterable[Example]) -> str:
    """A fingerprint of ids, texts and gold answers: scores are comparable where it is the same."""
    offsets = attrgetter("start", "end", "label")
    rows = []
    for example in sorted(examples, key=attrgetter("id")):
        spans = None if example.spans is None else sorted(map(offsets, example.spans))
        row = [example.id, example.text, example.label, spans]
        if isinstance(example.features, Steps):  # not the path of a picture, which may be moved
            row.append(features_key(example))
        rows.append(row)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _pairs(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    kind: str,
    *,
    gold: str | None,
    allow_missing: bool = False,
) -> Pairs:
    """Joins by id, and checks that gold and answers are there and of the right kind."""

    def empty_answer(id: str) -> Prediction:
        return replace(EMPTY[kind], id=id)

    may_miss = allow_missing and kind in EMPTY
    pairs = joined_by_id(examples, predictions, allow_missing=empty_answer if may_miss else None)
    if not pairs:
        raise DataError("no gold examples; wanted at least one")
    unlabelled = [example.id for example, _ in pairs if gold and getattr(example, gold) is None]
    if unlabelled:
        raise DataError(
            f"{len(unlabelled)} of {len(pairs)} gold examples have no {gold}, such as id "
            f"{unlabelled[0]}; score against a labelled file"
        )
    other = [prediction.id for _, prediction in pairs if getattr(prediction, kind) is None]
    if other:
        raise DataError(
            f'{len(other)} predictions have no "{kind}", such as id {other[0]}; predict with a '
            "model of this task"
        )
    return pairs


def _header(
    task: str,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    units: significance.Units,
) -> Report:
    return {
        "task": task,
        "examples": len(examples),
        "missing_counted_as_empty": len(examples) - len(predictions),
        "gold_sha256": gold_sha256(examples),
        "resampling": {
            "unit": units.kind,
            "units": units.count,
            "resamples": significance.RESAMPLES,
            "confidence": 0.95,
            "seed": significance.SEED,
        },
    }
