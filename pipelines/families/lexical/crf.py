"""A linear-chain CRF on hand-made features (Lafferty et al. 2001), trained by L-BFGS through python-crfsuite.

The model file is CRFsuite's own format: numbers and strings, nothing that is executed on loading.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.errors import UserError

MODEL_FILE = "crf.crfsuite"


def fit(features: Sequence[Sequence[Sequence[str]]], tags: Sequence[Sequence[str]], path: str | Path, *,
        c1: float = 0.05, c2: float = 0.05, max_iterations: int = 100) -> None:
    """Trains a CRF and writes it to a file.

    Args:
        features: sentence -> word -> features.
        tags: sentence -> tag of each word.
        path: of the model file.
        c1: weight of the L1 penalty.
        c2: weight of the L2 penalty.
        max_iterations: of L-BFGS.
    """
    import pycrfsuite

    trainer = pycrfsuite.Trainer(algorithm="lbfgs", verbose=False)
    trainer.set_params({"c1": c1, "c2": c2, "max_iterations": max_iterations})
    for words, given in zip(features, tags, strict=True):
        if words:
            trainer.append(words, list(given))
    trainer.train(str(path))


class Crf:
    """A trained CRF.

    Args:
        path: the file that `fit` wrote.
        tags: S tags in the order of the probabilities.

    Raises:
        UserError: when the file is missing or damaged.
    """

    def __init__(self, path: str | Path, tags: Sequence[str]):
        import pycrfsuite

        self.tags = tuple(tags)
        self.tagger: Any = pycrfsuite.Tagger()
        try:
            self.tagger.open(str(path))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: not a CRF that was saved to the end ({error}); train it again") from error
        self.known = set(self.tagger.labels())

    def tag(self, features: Sequence[Sequence[str]]) -> tuple[list[int], np.ndarray]:
        """The indices of the best tags of T words, and the (T, S) probabilities of all tags."""
        self.tagger.set(features)
        best = [self.tags.index(tag) for tag in self.tagger.tag()]
        shares = [[self.tagger.marginal(tag, position) if tag in self.known else 0.0 for tag in self.tags]
                  for position in range(len(features))]
        return best, np.array(shares)

    def weights(self) -> list[tuple[str, str, float]]:
        """Feature, tag and weight, the weights of largest size first."""
        found = self.tagger.info().state_features
        return sorted(((name, tag, weight) for (name, tag), weight in found.items()), key=lambda row: -abs(row[2]))
