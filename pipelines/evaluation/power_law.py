"""Power laws of the error against the number of training examples, fitted to many curves at once.

`error(n) = a + b · n^-c`: Hestness et al. 2017, "Deep learning scaling is predictable,
empirically"; Figueroa et al. 2012, "Predicting sample size required for classification
performance". Viering and Loog 2021, "The shape of learning curves: a review", compare it with other
laws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Measured exponents lie between 0.07 and 0.35, theory has 0.5 to 1 (Hestness et al. 2017); an error
# that is soon at its asymptote looks steeper. 0 is a flat line.
EXPONENTS = np.concatenate([[0.0], np.geomspace(0.02, 1.5, 40)])
LOGARITHM = 1e-3  # n^-c with so small an exponent is linear in log n
POWER, SHIFTED, HALF, LOGARITHMIC = "power", "shifted", "half", "logarithmic"


@dataclass(frozen=True, slots=True)
class Laws:
    """`error(n) = a + b · n^-c` of each of D curves.

    Attributes:
        a: the error that remains with any number of examples, of shape (D,); negative only where
            the law is logarithmic.
        b: of shape (D,).
        c: of shape (D,); 0 where more examples make no difference.
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray

    def errors(self, n: np.ndarray | float) -> np.ndarray:
        """The errors, between 0 and 1: of shape (D,), or (D, N) for N numbers of examples."""
        a, b, c = self.a, self.b, self.c
        if np.ndim(n):
            a, b, c = a[:, None], b[:, None], c[:, None]
        return np.clip(a + b * np.asarray(n, dtype=float) ** -c, 0, 1)

    def examples_for(self, error: float) -> np.ndarray:
        """The number of examples with this error, of shape (D,); infinite where there is none."""
        slope = (self.c > 0) & (self.b > 0) & (error > self.a)
        ratio = np.log(np.where(slope, self.b, 1)) - np.log(np.where(slope, error - self.a, 1))
        exponent = np.where(slope, ratio / np.where(slope, self.c, 1), np.inf)
        is_flat = (self.c == 0) | (self.b <= 0)
        exponent = np.where(is_flat & (self.a + self.b <= error), 0, exponent)
        return np.exp(np.minimum(exponent, 700))  # beyond that a float overflows


def fit_laws(
    n: np.ndarray, errors: np.ndarray, weights: np.ndarray, *, form: str
) -> tuple[Laws, np.ndarray]:
    """Fits a law to each curve by weighted least squares.

    For a given exponent the rest is linear, so that only the exponent is searched, over
    `EXPONENTS` (variable projection: Golub and Pereyra 1973).

    Args:
        n: numbers of examples, ascending, of shape (K,).
        errors: of shape (D, K).
        weights: of shape (K,).
        form: `power` (a = 0), `shifted` (a is fitted between 0 and the last error), `half` (a is
            half of the last error), or `logarithmic` (linear in log n).

    Returns:
        The laws, and the weighted sums of squares, of shape (D,).
    """
    exponents = np.array([0.0, LOGARITHM]) if form == LOGARITHMIC else EXPONENTS
    fits = [_fit_given_exponent(n, errors, weights, form, c) for c in exponents]
    a, b, squares = (np.stack(columns) for columns in zip(*fits, strict=True))  # (C, D) each
    best, rows = squares.argmin(axis=0), np.arange(errors.shape[0])
    laws = Laws(a[best, rows], b[best, rows], exponents[best])
    return laws, squares[best, rows]


def fit_law(n: np.ndarray, errors: np.ndarray, weights: np.ndarray, *, form: str) -> Laws:
    """Fits one curve as `fit_laws` does, with the exponent refined between its neighbours.

    Args:
        n: as in `fit_laws`, like `weights` and `form`.
        errors: of shape (K,).

    Returns:
        A single law.
    """
    from scipy.optimize import minimize_scalar

    rows = errors[None]
    coarse, _ = fit_laws(n, rows, weights, form=form)
    position = int(np.searchsorted(EXPONENTS, coarse.c[0]))
    if form == LOGARITHMIC or position == 0:
        return coarse
    bounds = EXPONENTS[max(1, position - 1)], EXPONENTS[min(position + 1, len(EXPONENTS) - 1)]

    def squares(exponent: float) -> float:
        return float(_fit_given_exponent(n, rows, weights, form, exponent)[2][0])

    found = minimize_scalar(squares, bounds=bounds, method="bounded", options={"xatol": 1e-10})
    exponent = found.x if found.fun < squares(coarse.c[0]) else coarse.c[0]
    a, b, _ = _fit_given_exponent(n, rows, weights, form, exponent)
    return Laws(a, b, np.array([exponent]))


def _fit_given_exponent(
    n: np.ndarray, errors: np.ndarray, weights: np.ndarray, form: str, exponent: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`a`, `b` and the weighted sum of squares of each curve, of shape (D,)."""
    z = (n / n[-1]) ** -exponent  # (K,): relative to the last point, for numbers of like size
    share = weights / weights.sum()
    mean_z, mean_error = share @ z, errors @ share
    if exponent == 0:
        a, b = np.zeros(len(errors)), mean_error
    elif form in (SHIFTED, LOGARITHMIC):
        slope = (
            ((errors - mean_error[:, None]) * (z - mean_z)) @ share / (share @ (z - mean_z) ** 2)
        )
        a = mean_error - slope * mean_z
        if form == SHIFTED:
            a = np.clip(a, 0, errors[:, -1])
        b = _scale_given_asymptote(z, errors, share, a) if form == SHIFTED else np.maximum(slope, 0)
        a = mean_error - b * mean_z if form == LOGARITHMIC else a
    else:
        a = errors[:, -1] / 2 if form == HALF else np.zeros(len(errors))
        b = _scale_given_asymptote(z, errors, share, a)
    residuals = errors - (a[:, None] + b[:, None] * z)  # (D, K)
    return a, b * n[-1] ** exponent, residuals**2 @ weights


def _scale_given_asymptote(
    z: np.ndarray, errors: np.ndarray, share: np.ndarray, a: np.ndarray
) -> np.ndarray:
    return np.maximum((errors - a[:, None]) @ (share * z) / (share @ z**2), 0)
