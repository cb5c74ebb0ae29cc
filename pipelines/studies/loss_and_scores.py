"""Written questions about losses and scores, answered by numbers that can be checked by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, nll_loss

from pipelines.evaluation.classification import class_report, count_pairs
from pipelines.examples import Fields
from pipelines.networks.recurrent import RecurrentConfig, RecurrentTagger

# The probability of "entity" for four words of which the last is one, before and after a step.
GOLD = (0, 0, 0, 1)
BEFORE, AFTER = (0.49, 0.49, 0.49, 0.51), (0.10, 0.10, 0.10, 0.45)
TAGS = {0: "O", 1: "B-X", 2: "I-X"}


@dataclass(frozen=True, slots=True)
class LossAndF1:
    """The mean cross-entropy, and F1 of the class entity, of the same probabilities."""

    loss: float
    f1: float


def loss_and_f1(probabilities: Sequence[float], gold: Sequence[int] = GOLD) -> LossAndF1:
    """Both of binary decisions: probabilities (N,) of class 1 against gold classes (N,)."""
    shares = torch.tensor(probabilities, dtype=torch.float64)
    both = torch.stack([1 - shares, shares], dim=1).log()  # (N, 2)
    targets = torch.tensor(gold)
    loss = float(nll_loss(both, targets))
    return LossAndF1(loss, f1_of((shares > 0.5).long(), targets))


def f1_of(predicted: Tensor, gold: Tensor) -> float:
    """F1 of class 1, of classes (N,)."""
    matrix = count_pairs(gold.numpy(), predicted.numpy(), 2)
    return float(class_report(matrix, ["O", "entity"])["per_class"]["entity"]["f1"])


def opposite_epochs(log: Sequence[Fields], metric: str) -> list[tuple[float, float, float]]:
    """The evaluations of a run at which the loss of dev and a score fell, or both rose.

    Args:
        log: of the trainer.
        metric: such as `strict_f1`; more is better.

    Returns:
        Epoch, change of the loss and change of the score, since the evaluation before.
    """
    keys = ("eval_loss", f"eval_{metric}")
    evaluations = [entry for entry in log if all(key in entry for key in keys)]
    found = []
    for before, now in pairwise(evaluations):
        loss, score = (float(now[key]) - float(before[key]) for key in keys)
        if loss * score > 0:
            found.append((float(now["epoch"]), loss, score))
    return found


def f1_along_a_step(points: int = 9) -> list[tuple[float, LossAndF1, float, float]]:
    """From `BEFORE` to `AFTER` in equal steps: loss and F1, and the slope of each there.

    Returns:
        The share of the way, both values, and their derivatives by central differences: that of F1
        is 0 wherever it exists.
    """

    def at(share: float) -> LossAndF1:
        mixed = [b + share * (a - b) for b, a in zip(BEFORE, AFTER, strict=True)]
        return loss_and_f1(mixed)

    rows = []
    step = 1e-4
    for index in range(points):
        share = index / (points - 1)
        low, high = at(share - step), at(share + step)
        slope_of_loss = (high.loss - low.loss) / (2 * step)
        rows.append((share, at(share), slope_of_loss, (high.f1 - low.f1) / (2 * step)))
    return rows


def f1_by_batches() -> tuple[float, list[float]]:
    """F1 of six words at once, and of each half: the mean of the halves is another number."""
    gold = torch.tensor([1, 1, 1, 0, 0, 1])
    predicted = torch.tensor([1, 1, 1, 1, 1, 0])
    halves = [f1_of(predicted[:3], gold[:3]), f1_of(predicted[3:], gold[3:])]
    return f1_of(predicted, gold), halves


@dataclass(frozen=True, slots=True)
class SoftmaxTwice:
    """One answer by cross-entropy, by its two parts, and with a softmax too many before it.

    Attributes:
        confidence: logit of the right class; all others have 0.
        cross_entropy, nll: of the logits, and NLL of their log-softmax.
        softmax_twice: cross-entropy of softmax(logits).
        gradient, softmax_twice_gradient: of the loss by the logit of the right class.
        least: what `softmax_twice` cannot fall below.
    """

    confidence: float
    cross_entropy: float
    nll: float
    softmax_twice: float
    gradient: float
    softmax_twice_gradient: float
    least: float


def softmax_twice(confidence: float, classes: int = 9) -> SoftmaxTwice:
    """Compares the losses of one answer.

    Cross-entropy is -log softmax(logits)[gold]. Of softmax(logits), which lies between 0 and 1, it
    cannot fall below -log(e / (e + C - 1)): a network that is sure and right still pays.
    """
    logits = torch.zeros(1, classes, dtype=torch.float64)
    logits[0, 0] = confidence
    logits.requires_grad_(True)
    gold = torch.tensor([0])
    plain = cross_entropy(logits, gold)
    softmax_twice = cross_entropy(logits.softmax(dim=1), gold)
    [gradient] = torch.autograd.grad(plain, logits, retain_graph=True)
    [softmax_twice_gradient] = torch.autograd.grad(softmax_twice, logits, retain_graph=True)
    return SoftmaxTwice(
        confidence,
        float(plain.detach()),
        float(nll_loss(logits.log_softmax(dim=1), gold).detach()),
        float(softmax_twice.detach()),
        float(gradient[0, 0]),
        float(softmax_twice_gradient[0, 0]),
        math.log(math.e + classes - 1) - 1,
    )


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A forward pass for evaluation.

    Attributes:
        kept: bytes of intermediate results that are kept for the backward pass.
        equal: whether the logits are those of the pass without gradients and without dropout.
    """

    mode: str
    kept: int
    equal: bool


def evaluations(*, sentences: int = 32, tokens: int = 60) -> list[Evaluation]:
    """The same sentences with and without gradients, and with dropout left on.

    Args:
        sentences, tokens: B and T.
    """
    torch.manual_seed(0)
    config = RecurrentConfig(vocab_size=1000, hidden_size=256, dropout=0.3, id2label=TAGS)
    model = RecurrentTagger(config)
    ids = torch.randint(2, 1000, (sentences, tokens))  # (B, T)
    with torch.no_grad():
        expected = model.eval()(input_ids=ids).logits
    rows = []
    for mode, training, with_gradient in (
        ("model.eval(), torch.no_grad()", False, False),
        ("model.eval() alone", False, True),
        ("torch.no_grad() alone: dropout is on", True, False),
    ):
        model.train(training)
        kept, logits = _kept_bytes(model, ids, with_gradient=with_gradient)
        rows.append(Evaluation(mode, kept, torch.equal(logits, expected)))
    return rows


def _kept_bytes(model: nn.Module, ids: Tensor, *, with_gradient: bool) -> tuple[int, Tensor]:
    """Bytes of the tensors that autograd keeps, each once, without parameters; and the logits."""
    parameters = {weight.data_ptr() for weight in model.parameters()}
    sizes: dict[int, int] = {}
    held: list[Tensor] = []  # so that no address is given away twice

    def keep(tensor: Tensor) -> Tensor:
        held.append(tensor)
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with hooks, torch.set_grad_enabled(with_gradient):
        logits = model(input_ids=ids).logits
    return sum(sizes.values()), logits.detach()
