"""Which texts of a pool help most when they are annotated next.

A text is worth annotating where models are unsure (uncertainty sampling, Lewis and Gale 1994) or
disagree (query by committee, Seung et al. 1992), and where it differs from what is chosen already:
the best of a pool are otherwise copies of one another (Settles 2009, "Active Learning Literature
Survey", section 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from statistics import fmean, pstdev
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.evaluation.label_audit import label_audit
from pipelines.evaluation.tasks import answer_kind
from pipelines.examples import Example, JsonObject, Prediction

if TYPE_CHECKING:
    import numpy as np

UNKNOWN_SCORE = 0.5  # of a span or class that a model gives no score
LEAST_WORTH = 0.01  # of a text that no model is unsure of: then what is new about it decides


def worths(answers: Sequence[Sequence[Prediction]]) -> list[float]:
    """How much each text is worth annotating, 0 or more.

    The sum of what the models are unsure of, in the mean over them, and of their disagreement, in
    the mean over pairs of them:

    - Mentions: the expected number of wrong ones, sum of 1 - score; the number of those that one
      model of a pair has and the other has not.
    - A class: 1 - score of the answer, at most 1; whether the classes differ.
    - A number: its standard deviation over the models.

    Args:
        answers: predictions of one or several models, in the same order.

    Raises:
        UserError: for answers of different kinds, or numbers of one model alone.
    """
    kind = answer_kind([prediction for model in answers for prediction in model])
    if kind == "value" and len(answers) < 2:
        raise UserError(
            "numbers have no scores, so that one run does not show what is uncertain; give several "
            "by --run"
        )
    return [_worth(row, kind) for row in zip(*answers, strict=True)]


def _worth(row: Sequence[Prediction], kind: str) -> float:
    if kind == "value":
        return pstdev(prediction.value or 0.0 for prediction in row)
    unsure = fmean(map(_expected_mistakes, row))
    pairs = [_difference(first, second) for first, second in combinations(row, 2)]
    return unsure + (fmean(pairs) if pairs else 0.0)


def _expected_mistakes(prediction: Prediction) -> float:
    if prediction.spans is not None:
        scores = [span.score for span in prediction.spans]
        return sum(1 - (UNKNOWN_SCORE if score is None else score) for score in scores)
    if prediction.scores and not isinstance(prediction.label, tuple):
        return 1 - max(prediction.scores.values())
    if prediction.scores:  # of several classes: each is right or wrong by itself
        return sum(min(score, 1 - score) for score in prediction.scores.values())
    return 1 - UNKNOWN_SCORE


def _difference(first: Prediction, second: Prediction) -> float:
    if first.spans is not None and second.spans is not None:
        return len(set(first.spans) ^ set(second.spans))
    return float(first.label != second.label)


def choose(
    examples: Sequence[Example],
    values: Sequence[float],
    count: int,
    *,
    known: Sequence[Example] = (),
) -> list[int]:
    """Positions of the texts to annotate, the most useful first.

    Greedy: the next text is the one with the greatest product of its worth and of 1 - its greatest
    cosine similarity (TF-IDF of words) to the texts that are known or chosen already.

    Args:
        examples: the pool.
        values: their worth, see `worths`.
        count: how many; fewer where the pool is smaller.
        known: texts that are annotated already.
    """
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not examples:
        return []
    vectorizer = TfidfVectorizer(token_pattern=r"\w+", sublinear_tf=True)
    pool = vectorizer.fit_transform(map(_whole_text, examples))  # (N, words), rows of length 1
    worth = np.asarray(values, dtype=float)
    worth = worth / (worth.max() or 1.0) + LEAST_WORTH
    nearest = _nearest(vectorizer, pool, known)
    chosen: list[int] = []
    for _ in range(min(count, len(examples))):
        gain = worth * np.clip(1 - nearest, 1e-9, None)
        gain[chosen] = -1.0
        best = int(gain.argmax())
        chosen.append(best)
        similarity = (pool @ pool[best].T).toarray()[:, 0]  # (N,)
        nearest = np.maximum(nearest, similarity)
    return chosen


def _nearest(vectorizer: object, pool: object, known: Sequence[Example]) -> np.ndarray:
    """The greatest similarity of each text of the pool to a known one, (N,)."""
    import numpy as np
    from scipy.sparse import csr_matrix

    rows = csr_matrix(pool)
    nearest = np.zeros(rows.shape[0])
    texts = list(map(_whole_text, known))
    for begin in range(0, len(texts), 256):  # a block of similarities at a time
        block = vectorizer.transform(texts[begin : begin + 256])  # type: ignore[attr-defined]
        nearest = np.maximum(nearest, (rows @ block.T).max(axis=1).toarray()[:, 0])
    return nearest


def _whole_text(example: Example) -> str:
    return example.text if example.pair is None else f"{example.text} {example.pair}"


def not_known(examples: Sequence[Example], known: Sequence[Example]) -> list[Example]:
    """The texts of a pool that are not annotated already, each text once."""
    seen = {(example.text, example.pair) for example in known}
    kept = []
    for example in examples:
        if (example.text, example.pair) not in seen:
            seen.add((example.text, example.pair))
            kept.append(example)
    return kept


def suspicious(
    examples: Sequence[Example], answers: Sequence[Sequence[Prediction]], count: int
) -> tuple[list[int], list[JsonObject]]:
    """Labelled texts whose gold most runs contradict alike, the costliest first.

    Returns:
        Their positions, and the entries of `label_audit` about them.

    Raises:
        UserError: for fewer than two models, or answers other than mentions.
    """
    if len(answers) < 2 or answer_kind([one for model in answers for one in model]) != "spans":
        raise UserError("--audit wants the mentions of two or more runs; give them by --run")
    position = {example.id: number for number, example in enumerate(examples)}
    entries = label_audit(examples, answers)
    ids = list(dict.fromkeys(entry["id"] for entry in entries))[:count]
    shown = [entry for entry in entries if entry["id"] in set(ids)]
    return [position[id] for id in ids], shown
