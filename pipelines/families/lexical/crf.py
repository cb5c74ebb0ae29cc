"""A linear-chain CRF on hand-made features (Lafferty et al. 2001), through python-crfsuite.

The model file is CRFsuite's own format: numbers and strings, nothing that is executed on loading.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.corpora.writing import replacing
from pipelines.errors import UserError

MODEL_FILE = "crf.crfsuite"


class Crf:
    """A trained CRF.

    Args:
        content: of the model file.
        tags: S tags in the order of the probabilities.

    Raises:
        UserError: for a damaged file.
    """

    def __init__(self, content: bytes, tags: Sequence[str]):
        import pycrfsuite

        # The library reads beyond the end of a file that was cut off, and the process dies.
        if content[:4] != b"lCRF" or int.from_bytes(content[4:8], "little") != len(content):
            raise UserError(f"{MODEL_FILE}: not a CRF that was saved to the end; train it again")
        self.content, self.tags = content, tuple(tags)
        self.tagger: Any = pycrfsuite.Tagger()
        self.tagger.open_inmemory(content)
        self.known = set(self.tagger.labels())

    def tag(self, features: Sequence[Sequence[str]]) -> tuple[list[int], np.ndarray]:
        """The indices of the best tags of T words, and the (T, S) probabilities of all tags."""
        self.tagger.set(features)
        best = [self.tags.index(tag) for tag in self.tagger.tag()]
        shares = np.zeros((len(features), len(self.tags)))
        for column, tag in enumerate(self.tags):
            if tag in self.known:
                shares[:, column] = [
                    self.tagger.marginal(tag, position) for position in range(len(features))
                ]
        return best, shares

    def strongest(self, most: int) -> dict[str, list[tuple[str, float]]]:
        """Tag -> the features with the largest weights, of those over 0."""
        by_tag: dict[str, list[tuple[str, float]]] = {}
        weights = self.tagger.info().state_features
        for (name, tag), weight in sorted(weights.items(), key=lambda item: (-item[1], item[0])):
            features = by_tag.setdefault(tag, [])
            if weight > 0 and len(features) < most:
                features.append((name, round(weight, 4)))
        return {tag: by_tag[tag] for tag in self.tags if by_tag.get(tag)}


def fit(
    features: Sequence[Sequence[Sequence[str]]],
    given: Sequence[Sequence[str]],
    tags: Sequence[str],
    *,
    c1: float = 0.05,
    c2: float = 0.05,
    max_iterations: int = 100,
) -> Crf:
    """Trains a CRF.

    Args:
        features: sentence -> word -> features.
        given: sentence -> tag of each word.
        tags: all that occur.
        c1: weight of the L1 penalty.
        c2: weight of the L2 penalty.
        max_iterations: of L-BFGS.
    """
    import pycrfsuite

    trainer = pycrfsuite.Trainer(algorithm="lbfgs", verbose=False)
    trainer.set_params({"c1": c1, "c2": c2, "max_iterations": max_iterations})
    for words, tagged in zip(features, given, strict=True):
        trainer.append(words, list(tagged))
    with tempfile.TemporaryDirectory() as folder:  # the library writes to a file only
        trainer.train(str(Path(folder) / MODEL_FILE))
        return Crf((Path(folder) / MODEL_FILE).read_bytes(), tags)


def save(folder: str | Path, model: Crf) -> None:
    """Writes the model file."""
    with replacing(Path(folder) / MODEL_FILE, "wb") as f:
        f.write(model.content)


def load(folder: str | Path, tags: Sequence[str]) -> Crf:
    """Reads what `save` wrote.

    Raises:
        UserError: when the file is missing or damaged.
    """
    try:
        content = (Path(folder) / MODEL_FILE).read_bytes()
    except OSError as error:
        raise UserError(f"{folder}: no {MODEL_FILE} ({error.strerror}); train it again") from error
    return Crf(content, tags)
