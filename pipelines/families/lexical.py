"""What taggers have to beat, as a family: a dictionary of the training mentions, or each word's most frequent tag.

No network: `fit` counts, and the model is one JSON file of counts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import UserError
from pipelines.evaluation.baselines import (
    MentionDictionary,
    UsualTags,
    count_mentions,
    count_tags,
    predict_mentions,
    predict_usual_tags,
)
from pipelines.examples import Example, Prediction, replacing

MODEL_FILE = "lexical.json"
METHODS = ("dictionary", "most_frequent_tag")


@dataclass(frozen=True, slots=True)
class Lexical:
    """A fitted model; `counts` is what its method knows."""

    method: str
    counts: MentionDictionary | UsualTags


def fit(train: Sequence[Example], *, method: str = "dictionary") -> Lexical:
    """Counts the training examples.

    Raises:
        UserError: for an unknown method.
    """
    if method not in METHODS:
        raise UserError(f"got the method {method!r}; wanted one of {', '.join(METHODS)}")
    return Lexical(method, count_mentions(train) if method == "dictionary" else count_tags(train))


def predict(loaded: Lexical, examples: Sequence[Example], **_: object) -> list[Prediction]:
    """Answers each example; spans have no score."""
    if isinstance(loaded.counts, MentionDictionary):
        return predict_mentions(loaded.counts, examples)
    return predict_usual_tags(loaded.counts, examples)


def save(folder: str | Path, loaded: Lexical) -> None:
    if isinstance(loaded.counts, MentionDictionary):
        content: dict = {"entries": [[list(words), label] for words, label in loaded.counts.entries.items()]}
    else:
        content = {"usual": dict(loaded.counts.usual), "unseen": loaded.counts.unseen}
    with replacing(Path(folder) / MODEL_FILE) as f:
        json.dump({"method": loaded.method, **content}, f, ensure_ascii=False)


def load(folder: str | Path) -> Lexical:
    """Loads what `save` wrote.

    Raises:
        UserError: when the folder holds no such model.
    """
    file = Path(folder) / MODEL_FILE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["method"] == "dictionary":
            return Lexical("dictionary", MentionDictionary({tuple(words): label
                                                            for words, label in content["entries"]}))
        return Lexical("most_frequent_tag", UsualTags(content["usual"], content["unseen"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: no dictionary model ({type(error).__name__}: {error}); give the folder of a run of "
                        "train_tagger.py with --network dictionary or most_frequent_tag") from error
