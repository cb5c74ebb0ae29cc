"""What a model without a network has learnt: its tables and weights, counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipelines.formatting import text_table

HEAD = ("table", "shape", "entries")
Table = tuple[str, tuple[int, ...], int]  # what it holds, its shape, its numbers


def tables_of(method: str, model: Any) -> list[Table]:
    """The tables of numbers of a fitted model; see `Lexical`.

    Entries are what was learnt: of counts those over 0, of weights all that are kept.
    """
    if method == "dictionary":
        return [("names, each with its score", (len(model.scores),), len(model.scores))]
    if method == "most_frequent_tag":
        words = len(model.usual)
        return [("words, each with its tag", (words,), words)]
    if method in ("hmm", "memm", "crf"):
        tables: list[Table] = {"hmm": _hmm, "memm": _memm, "crf": _crf}[method](model.model)
        if model.lexicon is not None:
            tables.append(("names of the lexicon", (len(model.lexicon),), len(model.lexicon)))
        return tables
    return _bag_of_words(model)


def _array(name: str, values: np.ndarray) -> Table:
    return name, values.shape, values.size


def _hmm(model: Any) -> list[Table]:
    n_tags = len(model.tags)
    pairs = sum(len(tags) for tags in model.words.values())
    counted = int(np.count_nonzero(model.trigrams))
    return [
        ("counts of three tags in a row", model.trigrams.shape, counted),
        ("counts of words by tag", (len(model.words), n_tags), pairs),
    ]


def _memm(model: Any) -> list[Table]:
    return [
        *_by_previous("coefficients, previous tag", model.coefficients),
        *_by_previous("intercepts, previous tag", model.intercepts),
    ]


def _by_previous(name: str, arrays: Mapping[str, np.ndarray]) -> list[Table]:
    tables = []
    for previous, values in arrays.items():
        finite = int(np.isfinite(values).sum())
        tables.append((f"{name} {previous or 'none'}", values.shape, finite))
    return tables


def _crf(model: Any) -> list[Table]:
    info = model.tagger.info()
    n_tags, n_features = len(info.labels), len(info.attributes)
    return [
        ("weights of features by tag", (n_features, n_tags), len(info.state_features)),
        ("weights of two tags in a row", (n_tags, n_tags), len(info.transitions)),
    ]


def _bag_of_words(model: Any) -> list[Table]:
    tables = [
        _array("coefficients of n-grams by class", model.coefficients),
        _array("intercepts", model.intercepts),
    ]
    tables += [_array(f"idf of the {part}", values) for part, values in model.idf.items()]
    return tables


def described(method: str, model: Any) -> str:
    """One line a table, and the sum, for a terminal."""
    tables = tables_of(method, model)
    rows = []
    for name, shape, entries in tables:
        rows.append([name, "×".join(f"{size:,}" for size in shape), f"{entries:,}"])
    rows.append(["total", "", f"{sum(entries for *_, entries in tables):,}"])
    title = f"{method}: no network, so no multiply-adds of layers"
    return "\n".join([title, "", *text_table(HEAD, rows)])
