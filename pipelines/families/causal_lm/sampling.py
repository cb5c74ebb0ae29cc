"""Sampled answers: how a token is drawn, and a model that answers by sampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import torch
from torch import Tensor

from pipelines.errors import UserError
from pipelines.families.causal_lm.loading import Loaded
from pipelines.prompting.minimum_risk import sampling_faults


def random_numbers(prompt: Sequence[int], number: int) -> Random:
    """The random numbers of a sample, which depend on its prompt's token ids and its number."""
    return Random(f"{number} {list(prompt)}")


def draw(logits: Tensor, points: Sequence[float], temperature: float) -> Tensor:
    """Draws a token for each row, by inversion of its distribution function.

    Args:
        logits: (B, V), minus infinity where a token is ruled out.
        points: B numbers, uniform between 0 and 1.
        temperature: divides the logits.

    Returns:
        (B,) token ids.
    """
    probabilities = (logits / temperature).softmax(-1)  # (B, V)
    cumulative = probabilities.cumsum(-1)
    uniform = torch.tensor(points, dtype=cumulative.dtype, device=logits.device)
    ids = torch.searchsorted(cumulative, uniform[:, None] * cumulative[:, -1:], right=True)
    ids = ids.clamp(max=logits.shape[1] - 1)  # (B, 1)
    # Sums are rounded, on a GPU even out of order, so a step may fall on a token that is ruled out.
    is_possible = probabilities.gather(1, ids) > 0
    return torch.where(is_possible, ids, probabilities.argmax(-1, keepdim=True))[:, 0]


def with_samples(
    loaded: Loaded, *, samples: int | None = None, temperature: float | None = None
) -> Loaded:
    """A model that answers by other samples than it was saved with; None: as it was.

    Raises:
        UserError: for a model of classes, for numbers that make no sense, and where the model's
            scores were calibrated on other answers.
    """
    prompt = loaded.prompt
    if prompt.answer == "label":
        raise UserError(
            "got --samples or --temperature; this run answers with classes, whose probabilities "
            "are exact, so nothing is sampled; leave them out"
        )
    changed = replace(
        prompt,
        samples=prompt.samples if samples is None else samples,
        temperature=prompt.temperature if temperature is None else temperature,
    )
    if loaded.scaling is not None and changed != prompt:
        raise UserError(
            f"got --samples {changed.samples} --temperature {changed.temperature:g}; the scores of "
            f"this run are calibrated for --samples {prompt.samples} --temperature "
            f"{prompt.temperature:g}; leave them out, or train a run with other ones"
        )
    faults = sampling_faults(changed.samples, changed.temperature)
    if temperature is not None and not changed.samples:
        faults.append(f"--temperature {temperature:g} without --samples: nothing is sampled")
    if faults:
        raise UserError(f"got {'; got '.join(faults)}")
    return loaded._replace(prompt=changed)
