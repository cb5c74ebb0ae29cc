"""A running mean of the weights: its values step by step, what is scored and saved, and going on from a checkpoint."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed

from pipelines.families.training.averaging import WeightAveraging


class AveragingTrainer(WeightAveraging, Trainer):
    pass


class Line(nn.Module):
    """y = w x."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.0]))

    def forward(self, x, labels):
        return {"loss": ((self.w * x - labels) ** 2).mean()}


class Weights(TrainerCallback):
    """The weight after each step."""

    def __init__(self):
        self.seen = []

    def on_step_end(self, *_, model=None, **__):
        self.seen.append(model.w.item())


def trained(folder, decay, *, steps=8, resume=None, peek=None, **options):
    set_seed(0)
    rows = [
        {"x": torch.tensor([float(number)]), "labels": torch.tensor([3.0 * number])}
        for number in range(1, 5)
    ]
    watch = Weights()
    trainer = AveragingTrainer(
        model=Line(),
        train_dataset=rows,
        eval_dataset=rows,
        ema_decay=decay,
        callbacks=[watch],
        args=TrainingArguments(
            str(folder),
            **{
                "max_steps": steps,
                "per_device_train_batch_size": 2,
                "learning_rate": 0.5,
                "save_strategy": "steps",
                "lr_scheduler_type": "constant",
                "save_steps": 4,
                "use_cpu": True,
                "disable_tqdm": True,
                "report_to": "none",
                "logging_strategy": "no",
            }
            | options,
        ),
    )
    if peek:
        peek.trainer = trainer
        trainer.add_callback(peek)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, watch.seen


def by_hand(weights, decay):
    mean = weights[0]
    for number, weight in enumerate(weights[1:], start=1):
        share = min(decay, (1 + number) / (10 + number))
        mean = share * mean + (1 - share) * weight
    return mean


@pytest.mark.parametrize("decay", [0.6, 0.999])
def test_the_mean_is_what_is_left_and_saved(tmp_path, decay):
    trainer, weights = trained(tmp_path, decay)
    assert len(set(weights)) > 4
    with trainer.averaged():  # from now on there is nothing else
        assert trainer.model.w.item() == pytest.approx(by_hand(weights, decay), rel=1e-5)
    assert trainer.model.w.item() == pytest.approx(by_hand(weights, decay), rel=1e-5)
    half = load_file(tmp_path / "checkpoint-4" / "model.safetensors")["w"].item()
    assert half == pytest.approx(by_hand(weights[:4], decay), rel=1e-5)
    mean = 2 / 11 * weights[0] + 9 / 11 * weights[1]  # the first steps count little
    mean = 3 / 12 * mean + 9 / 12 * weights[2]
    assert half == pytest.approx(4 / 13 * mean + 9 / 13 * weights[3], rel=1e-5)


def test_while_the_mean_is_scored_training_keeps_its_own_weights(tmp_path):
    class Peek(TrainerCallback):
        def on_step_begin(self, arguments, state, control, model=None, **_):
            if state.global_step == 3:
                with self.trainer.averaged():
                    self.mean = model.w.item()
                self.own = model.w.item()

    peek = Peek()
    _, weights = trained(tmp_path, 0.6, peek=peek)
    assert peek.mean == pytest.approx(by_hand(weights[:3], 0.6), rel=1e-5)
    assert peek.own == weights[2]


def test_training_goes_on_as_if_it_had_not_stopped(tmp_path):
    whole, weights = trained(tmp_path / "whole", 0.9)
    again, rest = trained(tmp_path / "again", 0.9, resume=str(tmp_path / "whole" / "checkpoint-4"))
    assert rest == pytest.approx(weights[4:], rel=1e-6)
    assert again.model.w.item() == pytest.approx(whole.model.w.item(), rel=1e-6)


def test_going_on_does_not_depend_on_the_folders_name(tmp_path):
    whole, _ = trained(tmp_path / "whole", 0.9)
    (tmp_path / "whole" / "checkpoint-4").rename(tmp_path / "kept")
    again, _ = trained(tmp_path / "again", 0.9, resume=str(tmp_path / "kept"))
    assert again.model.w.item() == pytest.approx(whole.model.w.item(), rel=1e-6)


def test_the_mean_is_left_where_no_checkpoint_was_scored(tmp_path):
    trainer, weights = trained(
        tmp_path,
        0.9,
        eval_strategy="steps",
        eval_steps=4,
        eval_delay=100,
        load_best_model_at_end=True,
    )
    assert trainer.model.w.item() == pytest.approx(by_hand(weights, 0.9), rel=1e-5)


def test_without_a_decay_the_weights_are_their_own(tmp_path):
    trainer, weights = trained(tmp_path, 0.0)
    assert trainer.model.w.item() == weights[-1]
    assert not (tmp_path / "checkpoint-4" / "latest.safetensors").exists()
