"""Taggers without a network: a dictionary of training mentions, or each word's most frequent tag.

`fit` counts, and the model is one JSON file of counts. A network has to beat them.
"""

from __future__ import annotations

import json
import logging
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
from pipelines.examples import Example, Prediction, Span, replacing
from pipelines.families.token_tagger.units import describe_unreachable, tagged_units, unreachable
from pipelines.spans import spans_to_tags, word_units

MODEL_FILE = "lexical.json"
METHODS = ("dictionary", "most_frequent_tag")
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lexical:
    """A fitted model; `counts` are those of its method."""

    method: str
    counts: MentionDictionary | UsualTags


def fit(train: Sequence[Example], *, method: str = "dictionary") -> Lexical:
    """Counts the training examples, and warns of mentions that cannot be predicted.

    Raises:
        UserError: for an unknown method.
    """
    if method not in METHODS:
        raise UserError(f"got the method {method!r}; wanted one of {', '.join(METHODS)}")
    lost = unreachable_mentions(train, method=method)
    if lost:
        logger.warning("%s", describe_unreachable(lost))
    return Lexical(method, count_mentions(train) if method == "dictionary" else count_tags(train))


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
    """Predicts each example by itself; spans have no score.

    Args:
        batch_tokens: has no effect, since there are no batches.
        progress: has no effect, since it takes no time.
    """
    del batch_tokens, progress
    if isinstance(loaded.counts, MentionDictionary):
        return predict_mentions(loaded.counts, examples)
    return predict_usual_tags(loaded.counts, examples)


def save(folder: str | Path, loaded: Lexical) -> None:
    """Saves the counts as JSON."""
    if isinstance(loaded.counts, MentionDictionary):
        content: dict = {
            "entries": [[list(words), label] for words, label in loaded.counts.entries.items()]
        }
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
            entries = {tuple(words): label for words, label in content["entries"]}
            return Lexical("dictionary", MentionDictionary(entries))
        return Lexical("most_frequent_tag", UsualTags(content["usual"], content["unseen"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: no dictionary model ({type(error).__name__}: {error}); give the folder of a run of "
            "train_tagger.py with --network dictionary or most_frequent_tag"
        ) from error
