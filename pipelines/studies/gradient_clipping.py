"""What gradient clipping does: pairs of runs on latch and parity, one of them clipped."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainingArguments, set_seed

from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.studies.latch_and_parity import (
    CELLS,
    TASKS,
    BitReader,
    BitReaderConfig,
    all_bits,
    answers,
    draw,
    latch_gru,
    latch_holds_for,
    parity_gru,
    threshold_functions,
)

Results = JsonObject  # of one run, of one kind of run, or of the units

NOT_CLIPPED = 1e30  # a norm that is never reached: the trainer still computes and logs the norm
TEST_SEQUENCES = 1000
TEST_SEED = 10_000  # far from the seeds of training
SOLVED = 0.99  # accuracy at the last bit


@dataclass(kw_only=True)
class ClippingStudy:
    """What is studied: one pair of runs for each task, network, length and seed.

    Attributes:
        tasks: of `latch`, `parity`.
        networks: of `rnn`, `gru`.
        lengths: bits of a sequence.
        max_grad_norm: the norm that one run of a pair is clipped at.
        seeds: pairs of runs of each kind.
        steps: updates of a run.
        batch_size: sequences of an update.
        hidden_size: units.
        optim: as in `transformers.TrainingArguments`.
        learning_rate: constant.
        seed: of the first pair; the others count up from it.
    """

    tasks: list[str]
    networks: list[str]
    lengths: list[int]
    max_grad_norm: float
    seeds: int
    steps: int
    batch_size: int
    hidden_size: int
    optim: str
    learning_rate: float
    seed: int

    def check(self) -> None:
        """Raises one UserError that names every option that no run can be made of."""
        faults = _unknown("tasks", self.tasks, TASKS) + _unknown("networks", self.networks, CELLS)
        whole = [("lengths", length) for length in self.lengths]
        whole += [("steps", self.steps), ("seeds", self.seeds)]
        whole += [("batch_size", self.batch_size), ("hidden_size", self.hidden_size)]
        faults += [f"--{name} got {n}; wanted at least 1" for name, n in whole if n < 1]
        reals = [("max_grad_norm", self.max_grad_norm), ("learning_rate", self.learning_rate)]
        for name, value in reals:
            if not 0 < value < math.inf:
                faults.append(f"--{name} got {value}; wanted a number over 0")
        if faults:
            raise UserError("; ".join(faults))

    def trials(self) -> list[Trial]:
        """All runs, those of a pair one after the other."""
        seeds = range(self.seed, self.seed + self.seeds)
        kinds = product(self.tasks, self.networks, self.lengths, seeds, (False, True))
        return [Trial(*kind) for kind in kinds]


def _unknown(option: str, values: Sequence[str], known: Collection[str]) -> list[str]:
    wanted = " or ".join(known)
    return [f"--{option} got {value!r}; wanted {wanted}" for value in values if value not in known]


class Trial(NamedTuple):
    """One run of the study."""

    task: str
    network: str
    length: int
    seed: int
    clipped: bool


class Batches(Dataset):
    """Whole batches as items, newly drawn for each step; the same for the same seed."""

    def __init__(self, trial: Trial, *, batch_size: int, steps: int):
        generator = torch.Generator().manual_seed(trial.seed)
        self.batches = [
            draw(trial.task, batch_size, trial.length, generator=generator) for _ in range(steps)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        bits, labels = self.batches[step]  # (B, T) each
        return {"bits": bits, "labels": labels}


def run_study(study: ClippingStudy, *, folder: Path) -> list[Results]:
    """Trains and tests all runs.

    Args:
        folder: for the trainer's own files.

    Returns:
        For each run the fields of its `Trial` and the results of `train`.
    """
    rows = []
    for trial in tqdm(study.trials(), unit="run"):
        rows.append({**trial._asdict(), **train(trial, study, folder=folder)})
    return rows


def train(trial: Trial, study: ClippingStudy, *, folder: Path) -> Results:
    """Trains one network and tests it on new sequences.

    Returns:
        `loss` and `gradient_norm` (before clipping) of each step, None where they are not finite;
        `accuracy` over all positions and `accuracy_at_the_end` at the last one.
    """
    set_seed(trial.seed)
    model = BitReader(BitReaderConfig(cell=trial.network, hidden_size=study.hidden_size))
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=study.steps,
        per_device_train_batch_size=1,
        optim=study.optim,
        learning_rate=study.learning_rate,
        lr_scheduler_type="constant",
        seed=trial.seed,
        max_grad_norm=study.max_grad_norm if trial.clipped else NOT_CLIPPED,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        remove_unused_columns=False,
        train_sampling_strategy="sequential",
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Batches(trial, batch_size=study.batch_size, steps=study.steps),
        data_collator=lambda batches: batches[0],
    )
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    trainer.train()
    steps = [row for row in trainer.state.log_history if "loss" in row]
    right = _right(model, trial)
    return {
        "loss": [_finite(row["loss"]) for row in steps],
        "gradient_norm": [_finite(row["grad_norm"]) for row in steps],
        "accuracy": right.mean().item(),
        "accuracy_at_the_end": right[:, -1].mean().item(),
    }


def _right(model: BitReader, trial: Trial) -> Tensor:
    """(N, T) of 1.0 where an answer on new sequences is right, else 0.0."""
    generator = torch.Generator().manual_seed(TEST_SEED + trial.seed)
    bits, labels = draw(trial.task, TEST_SEQUENCES, trial.length, generator=generator)
    with torch.no_grad():
        answered = model.eval()(bits).logits > 0
    return (answered == labels.bool()).float()


def _finite(number: float) -> float | None:
    """None for what JSON has no number for: a run that diverged."""
    return float(number) if math.isfinite(number) else None


def summarize(rows: Sequence[Results]) -> list[Results]:
    """One row for each kind of run, over its seeds.

    Returns:
        `task`, `network`, `length`, `clipped`, `runs`; the median `accuracy` and
        `accuracy_at_the_end`; how many runs `solved` the task or `diverged`; `median_norm` and
        `greatest_norm` of the gradients over all steps, None where none is finite.
    """
    kinds: dict[tuple[object, ...], list[Results]] = {}
    for row in rows:
        kind = row["task"], row["network"], row["length"], row["clipped"]
        kinds.setdefault(kind, []).append(row)
    return [_summary(kind, runs) for kind, runs in kinds.items()]


def _summary(kind: tuple[object, ...], runs: Sequence[Results]) -> Results:
    task, network, length, clipped = kind
    norms = [norm for norm in _all(runs, "gradient_norm") if norm is not None]
    at_the_end = [row["accuracy_at_the_end"] for row in runs]
    diverged = [None in row["loss"] or None in row["gradient_norm"] for row in runs]
    return {
        "task": task,
        "network": network,
        "length": length,
        "clipped": clipped,
        "runs": len(runs),
        "accuracy": median(row["accuracy"] for row in runs),
        "accuracy_at_the_end": median(at_the_end),
        "solved": sum(accuracy >= SOLVED for accuracy in at_the_end),
        "median_norm": median(norms) if norms else None,
        "greatest_norm": max(norms, default=None),
        "diverged": sum(diverged),
    }


def _all(runs: Sequence[Results], quantity: str) -> Iterator[float | None]:
    for row in runs:
        yield from row[quantity]


def one_unit() -> Results:
    """What single units can do, checked on every input of 1 to 12 bits.

    Returns:
        `inputs`, and how many of them `latch_gru_right` and `parity_gru_right`; `latch_holds_for`
        bits; the 16 `threshold_functions` with weights or certificate.
    """
    functions = []
    for truth, weights, certificate in threshold_functions():
        fractions = [str(weight) for weight in weights] if weights else None
        functions.append({"truth": truth, "weights": fractions, "certificate": certificate})
    return {
        "inputs": 2**13 - 2,
        "latch_gru_right": _inputs_right("latch", latch_gru()),
        "parity_gru_right": _inputs_right("parity", parity_gru()),
        "latch_holds_for": latch_holds_for(),
        "threshold_functions": functions,
    }


def _inputs_right(task: str, unit: torch.nn.GRU) -> int:
    """The number of inputs of 1 to 12 bits that a unit answers right at every position."""
    right = 0
    for bits in map(all_bits, range(1, 13)):
        with torch.no_grad():
            states = unit(bits[..., None])[0][..., 0]  # (B, T) -> (B, T, 1) -> (B, T)
        answered = (states > 0.5).float()
        right += int((answered == answers(task, bits)).all(dim=1).sum())
    return right
