"""Models without a network, each in a file of its own.

Taggers: a dictionary of names, the most frequent tag of each word, HMM, MEMM and CRF. Classifiers
of texts: the majority class, and linear ones on n-grams. A network has to beat them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.corpora.lexicon import Lexicon
from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.evaluation.baselines import UsualTags, count_tags, predict_usual_tags
from pipelines.examples import Example, JsonObject, Prediction, Span
from pipelines.families.lexical import chains, dictionary, sizes
from pipelines.families.lexical.chains import ChainOptions
from pipelines.families.tag_units import describe_unreachable, tagged_units, unreachable
from pipelines.spans import spans_to_tags, word_units

MODEL_FILE = "lexical.json"
TAGGERS = ("dictionary", "most_frequent_tag", *chains.METHODS)
CLASSIFIERS = (
    "majority",
    "naive_bayes",
    "logistic_regression",
    "linear_svm",
)  # of bag_of_words, which loads slowly
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lexical:
    """A fitted model.

    Attributes:
        method: one of `TAGGERS` or `CLASSIFIERS`.
        model: what the method's own file fits.
    """

    method: str
    model: Any


def fit(
    train: Sequence[Example],
    *,
    method: str = "dictionary",
    options: ChainOptions | None = None,
    lexicon: Lexicon | None = None,
) -> Lexical:
    """Fits a tagger, and warns of mentions that it cannot predict.

    Args:
        options: of HMM, MEMM and CRF.
        lexicon: names for the dictionary, or for features of MEMM and CRF.

    Raises:
        UserError: for an unknown method.
    """
    if method not in TAGGERS:
        raise UserError(f"got the method {method!r}; wanted one of {', '.join(TAGGERS)}")
    lost = unreachable_mentions(train, method=method)
    if lost:
        logger.warning("%s", describe_unreachable(lost))
    if method == "dictionary":
        return Lexical(method, dictionary.fit(train, lexicon))
    if method == "most_frequent_tag":
        return Lexical(method, count_tags(train))
    return Lexical(method, chains.fit(train, method=method, options=options, lexicon=lexicon))


def unreachable_mentions(examples: Sequence[Example], *, method: str) -> list[tuple[str, Span]]:
    """Gold mentions that this method cannot predict, with the id of their example."""
    lost: list[tuple[str, Span]] = []
    for example in examples:
        # A dictionary searches the text itself, whatever the tokens of the corpus are.
        units = word_units(example.text) if method == "dictionary" else tagged_units(example)
        tags = spans_to_tags(example.spans or (), units)
        missed = unreachable(example, tags, units)
        lost.extend((example.id, span) for span in missed)
    return lost


def predict(
    loaded: Lexical,
    examples: Sequence[Example],
    *,
    batch_tokens: int | None = None,
    progress: bool = True,
) -> list[Prediction]:
    """Predicts each example by itself.

    Args:
        batch_tokens: has no effect, since there are no batches.
        progress: has no effect, since it takes little time.
    """
    del batch_tokens, progress
    if loaded.method == "dictionary":
        return dictionary.predict(loaded.model, examples)
    if loaded.method == "most_frequent_tag":
        return predict_usual_tags(loaded.model, examples)
    if loaded.method in CLASSIFIERS:
        from pipelines.families.lexical import bag_of_words

        return bag_of_words.predict(loaded.model, examples)
    return chains.predict(loaded.model, examples)


def strongest(loaded: Lexical, most: int = 20) -> dict[str, list[tuple[str, float]]]:
    """Tag or class -> the features that speak most for it, with their weights.

    Of MEMM, CRF and the linear classifiers; empty for the others.
    """
    if loaded.method in ("memm", "crf"):
        strongest: dict[str, list[tuple[str, float]]] = loaded.model.model.strongest(most)
        return strongest
    if loaded.method in CLASSIFIERS and loaded.method != "majority":
        from pipelines.families.lexical import bag_of_words

        return bag_of_words.strongest(loaded.model, most)
    return {}


def sizes_as_text(loaded: Lexical) -> str:
    """The tables that the model has learnt, and how many numbers they hold."""
    return sizes.described(loaded.method, loaded.model)


def save(folder: str | Path, loaded: Lexical) -> None:
    """Saves the model; `lexical.json` last of all: a folder without it was not saved to the end."""
    folder = Path(folder)
    if loaded.method == "dictionary":
        content = dictionary.to_json(loaded.model)
    elif loaded.method == "most_frequent_tag":
        content = {"usual": dict(loaded.model.usual), "unseen": loaded.model.unseen}
    elif loaded.method in CLASSIFIERS:
        from pipelines.families.lexical import bag_of_words

        bag_of_words.save(folder, loaded.model)
        content = {}
    else:
        content = chains.save(folder, loaded.model)
    files = {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}
    files.pop(MODEL_FILE, None)
    with replacing(folder / MODEL_FILE) as f:
        json.dump({"method": loaded.method, "files": files, **content}, f, ensure_ascii=False)


def load(folder: str | Path) -> Lexical:
    """Loads what `save` wrote.

    Raises:
        UserError: when the folder holds no such model, or a damaged one.
    """
    folder = Path(folder)
    file = folder / MODEL_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        method = content["method"]
        for name, digest in content.get("files", {}).items():
            if _sha256(folder / name) != digest:
                raise UserError(
                    f"{folder / name}: damaged or changed since it was saved; train it again"
                )
        return Lexical(method, _load(folder, method, content))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: no readable model ({type(error).__name__}: {error}); give the folder of a "
            f"run of train_tagger.py with --network {', '.join(TAGGERS)}, or of "
            f"train_text_classifier.py with --network {', '.join(CLASSIFIERS)}"
        ) from error


def _load(folder: Path, method: str, content: JsonObject) -> Any:
    if method == "dictionary":
        return dictionary.from_json(content)
    if method == "most_frequent_tag":
        return UsualTags(content["usual"], content["unseen"])
    if method in CLASSIFIERS:
        from pipelines.families.lexical import bag_of_words

        return bag_of_words.load(folder, method)
    if method in chains.METHODS:
        return chains.load(folder, method, content)
    raise ValueError(f"unknown method {method!r}")


def _sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()
