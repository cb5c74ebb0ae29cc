"""A maximum-entropy Markov model: a logistic regression for each previous tag.

McCallum, Freitag and Pereira (2000).

Saved as coefficients (safetensors) and a vocabulary (JSON).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.families.lexical.sequences import marginals, viterbi

WEIGHTS_FILE, VOCABULARY_FILE = "memm.safetensors", "memm.json"
START = "<start>"  # the state before the first word


@dataclass(frozen=True)
class Memm:
    """Coefficients of P(tag | features, previous tag).

    Attributes:
        tags: S tags.
        vocabulary: feature -> column; F features.
        coefficients: previous tag -> (S, F) coefficients, 0 for a tag that never follows it.
        intercepts: previous tag -> (S,), minus infinity for a tag that never follows it.
    """

    tags: tuple[str, ...]
    vocabulary: Mapping[str, int]
    coefficients: Mapping[str, np.ndarray]
    intercepts: Mapping[str, np.ndarray]

    def tag(self, features: Sequence[Sequence[str]]) -> tuple[list[int], np.ndarray]:
        """The indices of the best tags of T words, and the (T, S) probabilities of all tags."""
        columns = [
            [self.vocabulary[name] for name in names if name in self.vocabulary]
            for names in features
        ]
        first = self._scores(START, columns[0])
        # (T - 1, S, S): for each previous tag the log probabilities of the next one.
        steps = np.array(
            [[self._scores(tag, active) for tag in self.tags] for active in columns[1:]]
        )
        steps = steps.reshape(len(columns) - 1, len(self.tags), len(self.tags))
        return viterbi(first, steps), marginals(first, steps)

    def strongest(self, most: int) -> dict[str, list[tuple[str, float]]]:
        """Tag -> the features with the largest coefficients.

        Of `I-X` after `B-X`, of other tags after an `O`, where most words stand; relative to the
        mean of the tags that follow there. Coefficients of 0 and less are left out.
        """
        names = list(self.vocabulary)
        by_tag = {}
        for index, tag in enumerate(self.tags):
            previous = f"B-{tag[2:]}" if tag.startswith("I-") else "O"
            follows = np.isfinite(self.intercepts[previous])
            coefficients = self.coefficients[previous]
            weights = coefficients[index] - coefficients[follows].mean(axis=0)  # (F,)
            best = [column for column in np.argsort(-weights, kind="stable") if weights[column] > 0]
            if follows[index] and best:
                weighted = [(names[column], float(weights[column])) for column in best[:most]]
                by_tag[tag] = [(name, round(weight, 4)) for name, weight in weighted]
        return by_tag

    def _scores(self, previous: str, columns: Sequence[int]) -> np.ndarray:
        """(S,) log probabilities of the tags of a word."""
        logits = self.intercepts[previous] + self.coefficients[previous][:, columns].sum(axis=1)
        largest = logits.max()
        scores: np.ndarray = logits - largest - np.log(np.exp(logits - largest).sum())
        return scores


def fit(
    features: Sequence[Sequence[Sequence[str]]],
    given: Sequence[Sequence[str]],
    tags: Sequence[str],
    *,
    regularization: float = 1.0,
    min_count: int = 2,
) -> Memm:
    """Trains the regressions.

    Args:
        features: sentence -> word -> features.
        given: sentence -> tag of each word.
        tags: all that occur.
        regularization: C of scikit-learn's `LogisticRegression`; smaller values regularise more.
        min_count: features that occur less often are left out.
    """
    from scipy.sparse import csr_matrix

    counts: dict[str, int] = {}
    for sentence in features:
        for names in sentence:
            for name in names:
                counts[name] = counts.get(name, 0) + 1
    vocabulary = {
        name: column for column, name in enumerate(n for n, c in counts.items() if c >= min_count)
    }
    by_previous: dict[str, tuple[list[list[int]], list[int]]] = {
        tag: ([], []) for tag in (START, *tags)
    }
    index = {tag: number for number, tag in enumerate(tags)}
    for sentence, sequence in zip(features, given, strict=True):
        for names, previous, tag in zip(sentence, [START, *sequence], sequence, strict=False):
            rows, targets = by_previous[previous]
            rows.append([vocabulary[name] for name in names if name in vocabulary])
            targets.append(index[tag])
    coefficients, intercepts = {}, {}
    for previous, (rows, targets) in by_previous.items():
        ends = np.cumsum([0, *map(len, rows)])
        columns = np.fromiter((column for row in rows for column in row), dtype=np.int32)
        matrix = csr_matrix(
            (np.ones(len(columns)), columns, ends), shape=(len(rows), len(vocabulary))
        )
        coefficients[previous], intercepts[previous] = _regression(
            matrix, targets, len(tags), regularization
        )
    return Memm(tuple(tags), vocabulary, coefficients, intercepts)


def _regression(
    matrix: Any, targets: Sequence[int], n_tags: int, regularization: float
) -> tuple[np.ndarray, np.ndarray]:
    """(S, F) coefficients and (S,) intercepts of one previous tag."""
    from sklearn.linear_model import LogisticRegression

    coefficients = np.zeros((n_tags, matrix.shape[1]), dtype=np.float32)
    intercepts = np.full(n_tags, -np.inf, dtype=np.float32)
    seen = sorted(set(targets))
    if len(seen) < 2:
        intercepts[seen or slice(None)] = (
            0.0  # the one tag that follows, or all alike where none was seen
        )
        return coefficients, intercepts
    model = LogisticRegression(C=regularization, max_iter=200)
    model.fit(matrix, np.array(targets))
    if len(seen) == 2:  # scikit-learn keeps the row of the second class alone
        coefficients[seen[1]], intercepts[seen] = model.coef_[0], [0.0, model.intercept_[0]]
    else:
        coefficients[seen], intercepts[seen] = model.coef_, model.intercept_
    return coefficients, intercepts


def save(folder: str | Path, model: Memm) -> None:
    """Writes coefficients and vocabulary into a folder."""
    from safetensors.numpy import save_file

    arrays = {}
    for number, previous in enumerate((START, *model.tags)):
        arrays[f"coefficients.{number}"] = model.coefficients[previous]
        arrays[f"intercepts.{number}"] = model.intercepts[previous]
    save_file(arrays, str(Path(folder) / WEIGHTS_FILE))
    with replacing(Path(folder) / VOCABULARY_FILE) as f:
        json.dump(list(model.vocabulary), f, ensure_ascii=False)


def load(folder: str | Path, tags: Sequence[str]) -> Memm:
    """Reads what `save` wrote.

    Raises:
        UserError: when a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(str(Path(folder) / WEIGHTS_FILE))
        names = json.loads((Path(folder) / VOCABULARY_FILE).read_text(encoding="utf-8"))
        previous = list(enumerate((START, *tags)))
        return Memm(
            tuple(tags),
            {name: column for column, name in enumerate(names)},
            {tag: arrays[f"coefficients.{number}"] for number, tag in previous},
            {tag: arrays[f"intercepts.{number}"] for number, tag in previous},
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(
            f"{folder}: not a MEMM that was saved to the end ({error}); train it again"
        ) from error
