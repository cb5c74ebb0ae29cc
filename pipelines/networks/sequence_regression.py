"""Many to one: networks that read a sequence of vectors and predict a number.

Importing this module registers them, so that `from_pretrained` knows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import SequenceClassifierOutput

NETWORKS = ("shared", "truncated", "padded")
ALIGNMENTS = ("start", "end")


@strict
class SequenceRegressionConfig(PreTrainedConfig):
    """Options of the sequence regressors.

    Args:
        network: one of `NETWORKS`: `shared` uses the same weights at each step; `truncated` and
            `padded` have weights of their own for each of `steps` steps.
        input_size: D, numbers of a step.
        hidden_size: H.
        steps: K, of a network without shared weights: the shortest sequence of training for
            `truncated`, the longest for `padded`.
        align: of a network without shared weights, `start`: its first weights read the first step,
            and what is beyond K steps is not read; `end`: its last weights read the last step, and
            what is before the last K steps is not read.
        dropout: on the last state.
        input_mean, input_scale: (D,), of the steps of training, by which inputs are standardised.
        target_mean, target_scale: of the numbers of training; the loss is in units of the scale.
    """

    model_type = "sequence_regression"

    network: str = "shared"
    input_size: int = 1
    hidden_size: int = 32
    steps: int = 1
    align: str = "start"
    dropout: float = 0.0
    input_mean: list[float] | tuple[float, ...] = (0.0,)
    input_scale: list[float] | tuple[float, ...] = (1.0,)
    target_mean: float = 0.0
    target_scale: float = 1.0
    num_labels: int = 1

    def __post_init__(self, **keywords: Any) -> None:
        """Checks the options.

        Raises:
            ValueError: for an unknown network or alignment, or sizes that do not fit.
        """
        super().__post_init__(**keywords)
        for name, value, known in (
            ("network", self.network, NETWORKS),
            ("align", self.align, ALIGNMENTS),
        ):
            if value not in known:
                raise ValueError(f"got the {name} {value!r}; wanted one of {', '.join(known)}")
        if min(self.input_size, self.hidden_size, self.steps) < 1:
            raise ValueError("input_size, hidden_size and steps have to be 1 or more")
        if len(self.input_mean) != self.input_size or len(self.input_scale) != self.input_size:
            raise ValueError(f"input_mean and input_scale need {self.input_size} numbers each")

    @property
    def weight_sets(self) -> int:
        """K of a network with weights for each step, 1 where all steps share them."""
        return 1 if self.network == "shared" else self.steps


class SequenceRegressor(PreTrainedModel):
    """z_t = tanh(W_t x_t + U_t z_{t-1} + b_t), z_0 = 0, y = v z_T + c (Elman 1990).

    A `shared` network has one W, U and b for all steps, the others have K of each: K · (D H + H² +
    H) + H + 1 parameters, K = 1 where they are shared.

    Padding takes no part: where the mask is 0, a step leaves the state as it was and reads nothing,
    so that neither prediction nor loss nor gradient depends on how much padding there is, on which
    side, or what it holds.
    """

    config_class = SequenceRegressionConfig
    main_input_name = "features"

    def __init__(self, config: SequenceRegressionConfig):
        super().__init__(config)
        sets, inputs, hidden = config.weight_sets, config.input_size, config.hidden_size
        self.W = nn.Parameter(torch.empty(sets, inputs, hidden))
        self.U = nn.Parameter(torch.empty(sets, hidden, hidden))
        self.b = nn.Parameter(torch.empty(sets, hidden))
        bound = hidden**-0.5  # as in torch's layers
        for weights in (self.W, self.U, self.b):
            nn.init.uniform_(weights, -bound, bound)
        self.drop = nn.Dropout(config.dropout)
        self.output = nn.Linear(hidden, 1)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Does nothing: modules initialise themselves."""

    def forward(
        self,
        features: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> SequenceClassifierOutput:
        """Predicts the numbers of a batch.

        Args:
            features: (B, T, D).
            attention_mask: (B, T), 1 where there is a step; by default everywhere.
            labels: (B,), in the units of the data.

        Returns:
            The mean loss if there are labels, and predictions (B, 1) in the units of the data.
        """
        if attention_mask is None:
            attention_mask = torch.ones(features.shape[:2], device=features.device)
        x, mask, sets = self._placed(features, attention_mask.bool())
        mean = x.new_tensor(self.config.input_mean)  # (D,)
        scale = x.new_tensor(self.config.input_scale)
        # Before the matmul: padding may hold anything, NaN too, whose gradient would be NaN.
        x = torch.where(mask[..., None], (x - mean) / scale, 0)  # (B, T, D)
        state = self.drop(self._last_state(x, mask, sets))  # (B, H)
        config = self.config
        predictions = self.output(state) * config.target_scale + config.target_mean  # (B, 1)
        loss = None
        if labels is not None:
            errors = self.standardised(predictions[:, 0]) - self.standardised(labels)  # (B,)
            loss = (errors**2).mean()
        return SequenceClassifierOutput(loss=loss, logits=predictions)

    def standardised(self, numbers: Tensor) -> Tensor:
        """Numbers in standard deviations from the mean of those of training."""
        return (numbers - self.config.target_mean) / self.config.target_scale

    def _placed(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Sequence[int]]:
        """The steps that are read, their mask, and which weights each of them meets.

        Without shared weights the steps of each sequence are moved so that its first (`end`: its
        last) step meets the first (last) weights, wherever its padding was.
        """
        if self.config.network == "shared":
            return x, mask, [0] * x.shape[1]
        steps, from_end = self.config.steps, self.config.align == "end"
        lengths = mask.sum(dim=1, keepdim=True)  # (B, 1)
        # Steps in their order, padding behind them.
        order = (~mask).int().argsort(dim=1, stable=True)  # (B, T)
        positions = torch.arange(steps, device=x.device)[None]  # (1, K)
        if from_end:
            positions = positions - steps + lengths  # (B, K)
        placed = (positions >= 0) & (positions < lengths)  # (B, K)
        if not x.shape[1]:
            return x.new_zeros(len(x), steps, x.shape[2]), placed, range(steps)
        index = order.gather(1, positions.expand(len(x), -1).clamp(0, x.shape[1] - 1))  # (B, K)
        return x.gather(1, index[..., None].expand(-1, -1, x.shape[2])), placed, range(steps)

    def _last_state(self, x: Tensor, mask: Tensor, sets: Sequence[int]) -> Tensor:
        """(B, H), the state after the last step of each sequence."""
        state = x.new_zeros(len(x), self.config.hidden_size)
        if self.config.network == "shared":
            inputs = x @ self.W[0] + self.b[0]  # (B, T, H)
        else:
            inputs = torch.einsum("btd,tdh->bth", x, self.W) + self.b
        for step, weights in enumerate(sets):
            following = torch.tanh(inputs[:, step] + state @ self.U[weights])  # (B, H)
            state = torch.where(mask[:, step, None], following, state)
        return state


AutoConfig.register("sequence_regression", SequenceRegressionConfig)
AutoModelForSequenceClassification.register(SequenceRegressionConfig, SequenceRegressor)
