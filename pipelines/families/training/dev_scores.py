"""Scores at each evaluation: of dev, predicted as `predict` does, and of a sample of train."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pipelines.errors import UserError
from pipelines.evaluation.span_scores import score_spans
from pipelines.examples import Example, Prediction
from pipelines.families.training import TrainerMixin
from pipelines.networks.labels import IGNORED

TRAIN_SAMPLE = 200  # examples of train that are scored
SPAN_METRICS = ("strict_f1", "strict_precision", "strict_recall")


class DevScores(TrainerMixin):
    """Evaluates by predicting examples, and logs `eval_<metric>` and `train_<metric>`.

    Each process predicts all of dev by itself. A trainer defines `score`.

    Args:
        dev: examples that checkpoints are compared on.
        train: the training examples, of which at most `TRAIN_SAMPLE`, evenly spread, are scored
            too: a train score far above that of dev shows overfitting.
        train_sample: how many of them at most.
    """

    def __init__(
        self,
        *arguments: Any,
        dev: Sequence[Example] = (),
        train: Sequence[Example] = (),
        train_sample: int = TRAIN_SAMPLE,
        **keywords: Any,
    ):
        self.dev, self.train_sample = dev, evenly_spread(train, train_sample)
        # `Trainer` refuses to evaluate without a dataset, though only `dev` is read here.
        if dev and keywords.get("eval_dataset") is None:
            keywords["eval_dataset"] = [{}]
        super().__init__(*arguments, **keywords)

    def score(self, examples: Sequence[Example]) -> dict[str, float]:
        """Predicts labelled examples with the model as it is now.

        Returns:
            Metrics by name, and `loss`, the mean training loss, where it is known.
        """
        raise NotImplementedError

    def evaluate(
        self, *_: object, metric_key_prefix: str = "eval", **__: object
    ) -> dict[str, float]:
        """Scores dev and the sample of train, logs the scores and informs the callbacks."""
        self.accelerator.unwrap_model(self.model).eval()
        start = time.perf_counter()
        metrics = {
            f"{metric_key_prefix}_{name}": value for name, value in self.score(self.dev).items()
        }
        if self.train_sample:
            on_train = self.score(self.train_sample)
            # At the end of training `Trainer` logs the mean loss of all steps as `train_loss`.
            on_train.pop("loss", None)
            metrics |= {f"train_{name}": value for name, value in on_train.items()}
        metrics[f"{metric_key_prefix}_runtime"] = round(time.perf_counter() - start, 3)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    @torch.inference_mode()
    def mean_loss(self, rows: Any) -> float:
        """The training loss of tokenised rows with `labels`, summed first and divided once."""
        model: Any = self.model
        total, count = 0.0, 0
        for batch in self.get_eval_dataloader(rows):
            inputs = self._prepare_inputs(batch)
            labelled = int((inputs["labels"] != IGNORED).sum())
            if not labelled:
                continue
            with self.compute_loss_context_manager():
                loss: Any = self.compute_loss(model, inputs)
            total += float(loss) * labelled
            count += labelled
        return total / max(count, 1)


def evenly_spread(examples: Sequence[Example], most: int) -> list[Example]:
    """At most `most` examples, at even distances from the first one on."""
    if len(examples) <= most:
        return list(examples)
    return [examples[number * len(examples) // most] for number in range(most)]


def strict_scores(
    examples: Sequence[Example], predictions: Sequence[Prediction]
) -> dict[str, float]:
    """`SPAN_METRICS` of predicted spans against all gold spans."""
    strict = score_spans(
        [example.spans or () for example in examples],
        [prediction.spans or () for prediction in predictions],
    )["strict"]
    return {name: strict[name.removeprefix("strict_")] for name in SPAN_METRICS}


def best_score(log: Sequence[Mapping[str, object]], metric: str) -> float:
    """The best value of a metric of dev in a trainer's log; of a loss, its negative.

    Raises:
        UserError: where dev was never scored.
    """
    reached = [entry[f"eval_{metric}"] for entry in log if f"eval_{metric}" in entry]
    if not reached:
        raise UserError(
            "--search compares trials on dev, which was not scored in this one; take "
            "--eval_strategy epoch and a dev file"
        )
    values = [float(str(value)) for value in reached]
    return -min(values) if metric == "loss" else max(values)
