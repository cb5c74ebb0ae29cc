"""Linear classifiers on word and character n-grams, through scikit-learn; and the majority class.

Multinomial naive Bayes, logistic regression and the linear SVM all score a class by a weighted sum
of n-grams, so that one set of weights and one way to predict serve them all. Saved as coefficients
(safetensors) and vocabularies (JSON).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.svm import LinearSVC

from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.evaluation.thresholds import tune_offsets
from pipelines.examples import Example, JsonObject, Prediction
from pipelines.families.class_answers import ClassifierSettings, predictions_from

METHODS = ("majority", "naive_bayes", "logistic_regression", "linear_svm")
WEIGHTS_FILE, VOCABULARY_FILE = "bag_of_words.safetensors", "bag_of_words.json"
TEMPERATURES = np.geomspace(0.05, 20, 60)


@dataclass(frozen=True)
class NgramOptions:
    """Which n-grams are counted.

    Attributes:
        word_ngrams: longest sequence of words; 0 for none.
        char_ngrams: longest sequence of characters within a word, from two on; 0 for none.
        min_freq: texts that an n-gram has to occur in.
        lowercase: whether case is ignored.
    """

    word_ngrams: int = 2
    char_ngrams: int = 0
    min_freq: int = 1
    lowercase: bool = True

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            UserError: for options that leave no n-grams.
        """
        sizes = (self.word_ngrams, self.char_ngrams)
        if min(sizes) < 0 or not any(sizes):
            raise UserError(
                f"got --word_ngrams {self.word_ngrams} --char_ngrams {self.char_ngrams}; wanted "
                "one of them over 0"
            )
        if self.char_ngrams == 1:
            raise UserError("got --char_ngrams 1; wanted 2 or more, or 0 for none")
        if self.min_freq < 1:
            raise UserError(f"got --min_freq {self.min_freq}; wanted 1 or more")


@dataclass(frozen=True)
class BagOfWords:
    """A fitted classifier.

    Attributes:
        method: one of `METHODS`.
        labels: the C classes.
        multi_label: whether a text may have several.
        options: of the n-grams.
        vocabularies: part of the features -> its n-grams, in the order of their columns.
        idf: part -> (F_part,) weights of its n-grams; empty for naive Bayes, which counts.
        coefficients: (C, F) over all parts.
        intercepts: (C,).
        temperature: by which scores are divided before they become probabilities.
        offsets: added to the logits of the classes: each class's threshold, in log-odds.
    """

    method: str
    labels: tuple[str, ...]
    multi_label: bool
    options: NgramOptions
    vocabularies: Mapping[str, Sequence[str]]
    idf: Mapping[str, np.ndarray]
    coefficients: np.ndarray
    intercepts: np.ndarray
    temperature: float = 1.0
    offsets: tuple[float, ...] | None = None
    _vectorizers: dict[str, CountVectorizer] = field(
        default_factory=dict, repr=False, compare=False
    )

    def logits(self, examples: Sequence[Example]) -> np.ndarray:
        """(N, C) scores; their order is scikit-learn's own."""
        if not self.vocabularies:
            return np.repeat(self.intercepts[None], len(examples), axis=0)
        parts = []
        for part, names in self.vocabularies.items():
            if part not in self._vectorizers:
                columns = {name: column for column, name in enumerate(names)}
                self._vectorizers[part] = _vectorizer(part, self.options, vocabulary=columns)
            counts = self._vectorizers[part].transform(_texts(part, examples))
            parts.append(_weighted(counts, self.idf[part]) if part in self.idf else counts)
        scores: np.ndarray = hstack(parts).tocsr() @ self.coefficients.T + self.intercepts
        return scores / self.temperature


def fit(
    train: Sequence[Example],
    targets: np.ndarray,
    labels: Sequence[str],
    *,
    method: str,
    multi_label: bool = False,
    options: NgramOptions | None = None,
    c: float = 1.0,
    alpha: float = 1.0,
) -> BagOfWords:
    """Fits a classifier.

    Args:
        targets: class indices (N,), or zeros and ones (N, C) for several classes a text.
        c: inverse weight of the penalty of logistic regression and SVM.
        alpha: added to the counts of naive Bayes.

    Raises:
        UserError: for an unknown method, a number that is not positive, or texts without any
            n-gram.
    """
    if method not in METHODS:
        raise UserError(f"got the method {method!r}; wanted one of {', '.join(METHODS)}")
    for name, value in (("c", c), ("alpha", alpha)):
        if value <= 0:
            raise UserError(f"got --{name} {value:g}; wanted a number over 0")
    options = options or NgramOptions()
    if method == "majority":
        intercepts = _log_odds_of_shares(targets, len(labels))
        nothing = np.zeros((len(labels), 0))
        return BagOfWords(method, tuple(labels), multi_label, options, {}, {}, nothing, intercepts)
    vocabularies: dict[str, list[str]] = {}
    idf: dict[str, np.ndarray] = {}
    matrices = []
    for part in _parts(options, train):
        vectorizer = _vectorizer(part, options)
        try:
            counts = vectorizer.fit_transform(_texts(part, train))
        except ValueError as error:
            raise UserError(
                f"the training texts have no {part.replace('_', ' ')} that occurs in "
                f"{options.min_freq} texts; lower --min_freq or give other texts"
            ) from error
        vocabularies[part] = vectorizer.get_feature_names_out().tolist()
        if method != "naive_bayes":
            idf[part] = TfidfTransformer(sublinear_tf=True).fit(counts).idf_
        matrices.append(_weighted(counts, idf[part]) if part in idf else counts)
    matrix = hstack(matrices).tocsr()
    if multi_label:
        rows = [_linear(matrix, column, method, c, alpha) for column in targets.T]
        coefficients = np.stack([weights[1] - weights[0] for weights, _ in rows])
        intercepts = np.stack([bias[1] - bias[0] for _, bias in rows])
    else:
        coefficients, intercepts = _linear(matrix, targets, method, c, alpha)
    return BagOfWords(
        method, tuple(labels), multi_label, options, vocabularies, idf, coefficients, intercepts
    )


def _log_odds_of_shares(targets: np.ndarray, n_labels: int) -> np.ndarray:
    """(C,) logits whose probabilities are the shares of the classes among the targets."""
    marks = targets if targets.ndim == 2 else np.eye(n_labels)[targets]  # (N, C)
    shares = (marks.sum(axis=0) + 1e-9) / len(targets)
    if targets.ndim == 1:
        return np.log(shares)
    return np.log(shares / (1 - np.minimum(shares, 1 - 1e-9)))


def _linear(
    matrix: csr_matrix, targets: np.ndarray, method: str, c: float, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (C, F) and intercepts (C,) of one classifier; two rows for two classes."""
    if len(set(targets.tolist())) < 2:  # a class of several that every text has, or none
        intercepts = np.zeros(2)
        intercepts[int(targets[0])] = 30.0
        return np.zeros((2, matrix.shape[1])), intercepts
    if method == "naive_bayes":
        bayes = MultinomialNB(alpha=alpha).fit(matrix, targets)
        return bayes.feature_log_prob_, bayes.class_log_prior_
    model = LogisticRegression(C=c, max_iter=1000)
    if method == "linear_svm":
        model = LinearSVC(C=c, random_state=0)
    model.fit(matrix, targets)
    if len(model.classes_) == 2:  # scikit-learn keeps the score of the second class alone
        zeros = np.zeros_like(model.coef_)
        return np.concatenate([zeros, model.coef_]), np.concatenate([[0.0], model.intercept_])
    return model.coef_, model.intercept_


def fitted_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature that makes the probabilities of dev likeliest (Guo et al. 2017, section 4.2).

    Args:
        logits: (N, C).
        targets: class indices (N,), or zeros and ones (N, C).
    """

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        if targets.ndim == 2:
            return float(np.logaddexp(0, np.where(targets > 0, -scaled, scaled)).mean())
        largest = scaled.max(axis=1)
        total = np.log(np.exp(scaled - largest[:, None]).sum(axis=1)) + largest
        return float((total - scaled[np.arange(len(targets)), targets]).mean())

    return float(min(TEMPERATURES, key=loss))


def calibrated(
    model: BagOfWords, dev: Sequence[Example], targets: np.ndarray, *, tune_thresholds: bool
) -> BagOfWords:
    """The classifier with probabilities that fit dev; the majority class stays as it is.

    Args:
        targets: of dev, as for `fit`.
        tune_thresholds: also tune the threshold of each class, for macro F1.
    """
    if model.method == "majority":
        return model
    model = replace(model, temperature=fitted_temperature(model.logits(dev), targets))
    if tune_thresholds:
        offsets = tune_offsets(model.logits(dev), targets, "macro_f1")
        model = replace(model, offsets=tuple(offsets.tolist()))
    return model


def predict(model: BagOfWords, examples: Sequence[Example]) -> list[Prediction]:
    """Classes and probabilities of the examples."""
    settings = ClassifierSettings(model.labels, model.multi_label, 0, model.offsets)
    return predictions_from(examples, model.logits(examples), settings)


def strongest(model: BagOfWords, most: int = 20) -> dict[str, list[tuple[str, float]]]:
    """Class -> the n-grams that speak most for it.

    With their coefficients, relative to the mean of the classes.
    """
    names = [name for part in model.vocabularies.values() for name in part]
    centred = model.coefficients - model.coefficients.mean(axis=0, keepdims=True)
    ngrams = {}
    for label, row in zip(model.labels, centred, strict=True):
        best = np.argsort(-row, kind="stable")[:most]
        ngrams[label] = [(names[column], round(float(row[column]), 4)) for column in best]
    return ngrams


def _parts(options: NgramOptions, train: Sequence[Example]) -> list[str]:
    longest = {"word": options.word_ngrams, "char": options.char_ngrams}
    kinds = [kind for kind, length in longest.items() if length]
    has_pairs = any(example.pair is not None for example in train)
    fields = ["text", "pair"] if has_pairs else ["text"]
    return [f"{kind}_ngrams_of_{name}" for name in fields for kind in kinds]


def _texts(part: str, examples: Sequence[Example]) -> list[str]:
    if part.endswith("_of_pair"):
        return [example.pair or "" for example in examples]
    return [example.text for example in examples]


def _vectorizer(
    part: str, options: NgramOptions, vocabulary: Mapping[str, int] | None = None
) -> CountVectorizer:
    kind: JsonObject = {"ngram_range": (2, options.char_ngrams), "analyzer": "char_wb"}
    if part.startswith("word"):
        kind = {"ngram_range": (1, options.word_ngrams), "token_pattern": r"\w+"}
    return CountVectorizer(
        lowercase=options.lowercase, min_df=options.min_freq, vocabulary=vocabulary, **kind
    )


def _weighted(counts: csr_matrix, idf: np.ndarray) -> csr_matrix:
    """TF-IDF with 1 + log count, each row of length 1."""
    transformer = TfidfTransformer(sublinear_tf=True)
    transformer.idf_ = idf
    return transformer.transform(counts)


def save(folder: str | Path, model: BagOfWords) -> None:
    """Writes coefficients and vocabularies into a folder."""
    from safetensors.numpy import save_file

    arrays = {
        "coefficients": model.coefficients.astype(np.float32),
        "intercepts": model.intercepts,
        **{f"idf.{part}": values for part, values in model.idf.items()},
    }
    contiguous = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    save_file(contiguous, str(Path(folder) / WEIGHTS_FILE))
    content = {
        "labels": model.labels,
        "multi_label": model.multi_label,
        "options": vars(model.options),
        "temperature": model.temperature,
        "offsets": model.offsets,
        "vocabularies": model.vocabularies,
    }
    with replacing(Path(folder) / VOCABULARY_FILE) as f:
        json.dump(content, f, ensure_ascii=False)


def load(folder: str | Path, method: str) -> BagOfWords:
    """Reads what `save` wrote.

    Raises:
        UserError: when a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(str(Path(folder) / WEIGHTS_FILE))
        content = json.loads((Path(folder) / VOCABULARY_FILE).read_text(encoding="utf-8"))
        vocabularies, offsets = content["vocabularies"], content["offsets"]
        return BagOfWords(
            method,
            labels=tuple(content["labels"]),
            multi_label=content["multi_label"],
            options=NgramOptions(**content["options"]),
            vocabularies=vocabularies,
            idf={part: arrays[f"idf.{part}"] for part in vocabularies if f"idf.{part}" in arrays},
            coefficients=arrays["coefficients"],
            intercepts=arrays["intercepts"],
            temperature=content["temperature"],
            offsets=None if offsets is None else tuple(offsets),
        )
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(
            f"{folder}: not a classifier that was saved to the end ({error}); train it again"
        ) from error
