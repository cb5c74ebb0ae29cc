"""What a rung will cost, from what it cost on a part of the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from pipelines.examples import Example, Fields, JsonObject

# Stages of a run whose time grows with the training texts; those of prediction grow with dev.
TRAINING = ("search", "teaching", "training", "features", "refit")
PREDICTION = "predict_"


@dataclass(frozen=True)
class Observation:
    """What a run cost, and how much it read.

    Attributes:
        train: characters of the training texts.
        dev: characters of the texts that it predicted.
        seconds: of the whole process.
        training: seconds of what grows with the training texts.
        prediction: seconds of what grows with dev, after training.
        memory: bytes at its peak.
        disk: bytes of its folder.
        source: `probe`, `part` (of a learning curve) or `finished run`.
        evaluation: seconds of evaluations within training, which grow with dev.
    """

    train: int
    dev: int
    seconds: float
    training: float
    prediction: float
    memory: float
    disk: float
    source: str
    evaluation: float = 0.0

    @property
    def fixed(self) -> float:
        """Seconds of starting, of reading the data and of what else is done once."""
        return max(0.0, self.seconds - self.training - self.evaluation - self.prediction)

    def to_json(self) -> JsonObject:
        return asdict(self)


@dataclass(frozen=True)
class Estimate:
    """Seconds of the whole process, bytes at its peak, bytes of its folder; and where from."""

    seconds: float
    memory: float
    disk: float
    source: str

    def to_json(self) -> JsonObject:
        return asdict(self)


def characters(examples: Iterable[Example]) -> int:
    """The size of texts, in which costs are measured."""
    return sum(len(example.text) + len(example.pair or "") for example in examples)


def observed(
    cost: Fields,
    log: Iterable[Fields] = (),
    *,
    seconds: float,
    train: int,
    dev: int,
    disk: float,
    source: str,
) -> Observation:
    """What a finished process cost.

    Args:
        cost: of its `report.json`.
        log: of its trainer, where it had one.
        seconds: from its start to its end.
        train: characters that it was trained on.
        dev: characters that it predicted.
        disk: bytes of its folder.
        source: see `Observation`.
    """
    stages = cost.get("seconds", {})
    training = sum(stages.get(name, 0.0) for name in TRAINING)
    prediction = sum(value for name, value in stages.items() if name.startswith(PREDICTION))
    # The clocks of stages and of the process are not the same.
    known = min(training + prediction, seconds)
    training = max(0.0, known - prediction)
    evaluation = min(training, sum(entry.get("eval_runtime", 0.0) for entry in log))
    memory = float(cost.get("peak_memory", 0.0))
    training -= evaluation
    return Observation(train, dev, seconds, training, prediction, memory, disk, source, evaluation)


def estimate(
    observations: Sequence[Observation],
    *,
    train: int,
    dev: int,
    fixed_steps: bool = False,
    reading: float = 0.0,
) -> Estimate:
    """What a run will cost that reads a number of characters.

    Seconds are those of starting and reading plus those of training, of its evaluations and of
    prediction, each in proportion to its texts. With several sizes of training data, training is a
    line through the two largest: batches have costs of their own. Memory is that of the largest
    observation, and so is disk.

    Args:
        observations: of the same rung on this machine, one or more.
        train: characters to train on.
        dev: characters to predict.
        fixed_steps: training takes as many steps on any data.
        reading: seconds by which all data take longer to be read than those of a probe.
    """
    by_size = sorted(observations, key=lambda own: own.train)
    largest = by_size[-1]
    fixed = largest.fixed + (reading if largest.source == "probe" else 0.0)
    training = largest.training if fixed_steps else _training_seconds(by_size, train)
    answering = (largest.evaluation + largest.prediction) * dev / max(1, largest.dev)
    return Estimate(
        fixed + training + answering,
        max(own.memory for own in observations),
        max(own.disk for own in observations),
        largest.source,
    )


def _training_seconds(by_size: Sequence[Observation], train: int) -> float:
    """Seconds of training on a number of characters, from observations by ascending size."""
    sizes = {own.train: own.training for own in by_size}
    points = list(sizes.items())[-2:]
    size, seconds = points[-1]
    if len(points) == 2:
        (other_size, other_seconds), _ = points
        slope = (seconds - other_seconds) / (size - other_size)
        start = seconds - slope * size
        if slope > 0 and start >= 0:
            return start + slope * train
    return seconds * train / max(1, size)
