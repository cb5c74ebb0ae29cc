"""Minimum Bayes risk decoding: of several answers to a text, the one that agrees most with all.

Kumar & Byrne 2004, Minimum Bayes-Risk Decoding for Statistical Machine Translation, section 2. The
loss is 1 - F1 of exact spans, its expectation a mean over samples of the model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import replace

from pipelines.examples import Prediction, Span

DIGITS = 9  # of an expected F1; beyond them, equal ones differ by rounding


def sampling_faults(samples: int, temperature: float) -> list[str]:
    """What is wrong with these options, a phrase each."""
    faults = []
    if samples < 0 or samples == 1:
        faults.append(f"--samples {samples}; wanted 2 or more, or 0: one greedy answer")
    if not 0 < temperature < math.inf:
        faults.append(f"--temperature {temperature:g}; wanted a number above 0")
    return faults


def least_risk(greedy: Prediction, samples: Sequence[Prediction]) -> Prediction:
    """The answer with the highest expected F1, among a greedy one and samples.

    y* = argmax_y Σ_s F1(y, s) / S. Of equals the first is taken, the greedy answer before others.

    Args:
        greedy: to a text, with spans; also a candidate.
        samples: S answers to the same text, which are candidates too.

    Returns:
        The answer; the score of each span is the share of the samples that have it.
    """
    sets = Counter(frozenset(sample.spans or ()) for sample in samples)
    candidates = [greedy, *samples]
    gains = [_expected_f1(frozenset(candidate.spans or ()), sets) for candidate in candidates]
    chosen = candidates[gains.index(max(gains))]
    holders: Counter[Span] = Counter()
    for spans, count in sets.items():
        holders.update(dict.fromkeys(spans, count))
    scored = [
        replace(span, score=round(holders[span] / len(samples), 6)) for span in chosen.spans or ()
    ]
    return replace(chosen, spans=tuple(scored))


def set_f1(one: Set[Span], other: Set[Span]) -> float:
    """F1 of exact spans between two answers; two empty ones agree."""
    total = len(one) + len(other)
    return 2 * len(one & other) / total if total else 1.0


def _expected_f1(spans: Set[Span], sets: Counter[frozenset[Span]]) -> float:
    gain = math.fsum(count * set_f1(spans, other) for other, count in sets.items())
    return round(gain / sets.total(), DIGITS)
