"""A running mean of the weights: the mean is scored and saved, training continues from its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState

from pipelines.families.training import TrainerMixin

# In a checkpoint, beside the mean: the weights that training continues from.
LATEST_WEIGHTS = "latest.safetensors"


class WeightAveraging(TrainerMixin):
    """Scores and saves m ← d · m + (1 - d) · w after each step.

    d = min(decay, (1 + n) / (10 + n)) after n steps.

    A mean with exponentially falling weights (Polyak and Juditsky 1992; Tarvainen and Valpola 2017,
    equation 2). In a short training it is one of about the last tenth of the steps, as in
    TensorFlow's `ExponentialMovingAverage` with `num_updates`: a longer one would lag behind.

    Args:
        ema_decay: the largest d; 0 = no mean.
    """

    def __init__(self, *arguments: Any, ema_decay: float = 0.0, **keywords: Any):
        super().__init__(*arguments, **keywords)
        self.ema_decay = ema_decay
        self.mean: AveragedModel | None = None
        if ema_decay:
            self.add_callback(_AfterEachStep(self))

    def train(self, *arguments: Any, **keywords: Any) -> Any:
        """Trains; afterwards the model has the mean as its weights."""
        result = super().train(*arguments, **keywords)
        best_is_loaded = (
            self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None
        )
        if self.mean is not None and not best_is_loaded:  # the best checkpoint is a mean already
            self._swap()
        self.mean = None  # the model is the mean now
        return result

    def evaluate(self, *arguments: Any, **keywords: Any) -> dict[str, float]:
        """Evaluates the mean."""
        with self.averaged():
            return super().evaluate(*arguments, **keywords)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with the mean as its weights, if there is one."""
        if self.mean is None:
            yield
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        model, mean = self._network(), self.mean
        assert mean is not None
        for parameter, averaged in zip(model.parameters(), mean.parameters(), strict=True):
            parameter.data, averaged.data = averaged.data, parameter.data

    def _network(self) -> Any:
        return self.accelerator.unwrap_model(self.model)

    def _new_mean(self) -> AveragedModel:
        return AveragedModel(self._network(), multi_avg_fn=self._average)

    def add_step(self) -> None:
        """Takes the weights as they are now into the mean."""
        if self.mean is None:
            self.mean = self._new_mean()
        self.mean.update_parameters(self._network())

    def _average(self, means: Any, weights: Any, steps: Tensor | int) -> None:
        decay = min(self.ema_decay, (1 + int(steps)) / (10 + int(steps)))
        torch._foreach_lerp_(means, weights, 1 - decay)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves the mean; in a checkpoint, the weights that training continues from beside it."""
        with self.averaged():
            super().save_model(output_dir, _internal_call)
        if self.mean is not None and _internal_call and self.args.should_save:
            save_model(self._network(), str(Path(str(output_dir)) / LATEST_WEIGHTS))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        folder = Path(resume_from_checkpoint)
        latest, state = folder / LATEST_WEIGHTS, folder / TRAINER_STATE_NAME
        if self.ema_decay and latest.is_file() and state.is_file():
            self.mean = self._new_mean()
            self.mean.n_averaged += TrainerState.load_from_json(str(state)).global_step
            load_model(self._network(), latest)


class _AfterEachStep(TrainerCallback):
    def __init__(self, trainer: WeightAveraging):
        self.trainer = trainer

    def on_step_end(self, *_: object, **__: object) -> None:
        self.trainer.add_step()
