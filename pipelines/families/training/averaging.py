"""A running mean of the weights in training: the mean is scored and saved, and training goes on beside it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from transformers import Trainer, TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import TrainerState

LATEST = "latest.safetensors"  # in a checkpoint, beside the mean: the weights that training goes on with


class AveragingTrainer(Trainer):
    """Scores and saves m ← d · m + (1 - d) · w, with d = min(decay, n / (n + 1)) after n steps.

    A mean with exponentially falling weights (Polyak and Juditsky 1992; Tarvainen and Valpola 2017, equation 2), and a
    plain one in the first steps.

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
        result = super().train(*arguments, **keywords)
        # The best checkpoint is a mean already, if dev was scored at all.
        best = self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None
        if self.mean is not None and not best:
            self._swap()  # for good
        self.mean = None  # the model is the mean now
        return result

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
        model: Any = self.accelerator.unwrap_model(self.model)
        for parameter, mean in zip(model.parameters(), self.mean.parameters(), strict=True):  # type: ignore[union-attr]
            parameter.data, mean.data = mean.data, parameter.data

    def _add_step(self) -> None:
        model: Any = self.accelerator.unwrap_model(self.model)
        if self.mean is None:
            self.mean = AveragedModel(model, multi_avg_fn=self._average)
        self.mean.update_parameters(model)

    def _average(self, means: Any, weights: Any, steps: Tensor | int) -> None:
        decay = min(self.ema_decay, int(steps) / (int(steps) + 1))
        torch._foreach_lerp_(means, weights, 1 - decay)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        with self.averaged():
            super().save_model(output_dir, _internal_call)
        if self.mean is not None and _internal_call and self.args.should_save:
            save_model(self.accelerator.unwrap_model(self.model), str(Path(str(output_dir)) / LATEST))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        latest, state = (Path(resume_from_checkpoint) / name for name in (LATEST, TRAINER_STATE_NAME))
        if self.ema_decay and latest.is_file() and state.is_file():
            network: Any = self.accelerator.unwrap_model(self.model)
            self.mean = AveragedModel(network, multi_avg_fn=self._average)
            self.mean.n_averaged += TrainerState.load_from_json(str(state)).global_step
            load_model(network, latest)


class _AfterEachStep(TrainerCallback):
    def __init__(self, trainer: AveragingTrainer):
        self.trainer = trainer

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.trainer._add_step()
