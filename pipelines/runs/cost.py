"""What a run costs: seconds of each stage, memory, work and energy."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pipelines.examples import Example, JsonObject
from pipelines.runs.energy import PowerMeter, energy

if TYPE_CHECKING:
    from torch import nn
    from transformers import Trainer


class CostMeter:
    """Seconds of each stage, and the peak memory of this process (and of its GPU)."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.power = PowerMeter()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def to_json(self) -> JsonObject:
        """Seconds of each stage; memory in bytes, the largest so far, of process and GPU."""
        import torch

        unit = 1 if sys.platform == "darwin" else 1024
        cost: JsonObject = {
            "seconds": {name: round(value, 4) for name, value in self.seconds.items()},
            "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        }
        if torch.cuda.is_available():
            cost["peak_gpu_memory"] = torch.cuda.max_memory_allocated()
        return cost

    def energy(self, seconds: Mapping[str, float]) -> JsonObject:
        """Estimated energy of stages that took so long, at the mean power of this process."""
        return energy(seconds, self.power.power())


def parameter_counts(model: nn.Module) -> tuple[int, int]:
    """How many parameters a model has, and how many of them are trained."""
    count = getattr(model, "get_nb_trainable_parameters", None)
    if count is not None:  # of peft, which counts packed 4-bit weights rightly
        trained, every = count()
        return every, trained
    parameters = list(model.parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


def prediction_speed(texts: Sequence[str], seconds: float) -> JsonObject:
    """Examples and words a second; empty without a text.

    Words, not tokens: with those of its own tokenizer no two models could be compared.
    """
    if not texts or not seconds:
        return {}
    words = sum(len(text.split()) for text in texts)
    speed = {"prediction_examples_per_second": round(len(texts) / seconds, 2)}
    return speed | ({"prediction_words_per_second": round(words / seconds, 1)} if words else {})


def prediction_speed_of(meter: CostMeter, examples: Mapping[str, Sequence[Example]]) -> JsonObject:
    """Of the splits that were predicted in this session."""
    seconds = {split: meter.seconds.get(f"predict_{split}", 0.0) for split in ("dev", "test")}
    predicted = [split for split in seconds if seconds[split]]
    texts = [example.text for split in predicted for example in examples.get(split, ())]
    return prediction_speed(texts, sum(seconds.values()))


def cost_of_run(
    meter: CostMeter,
    examples: Mapping[str, Sequence[Example]],
    recorded: JsonObject,
    earlier_seconds: float | None = None,
) -> JsonObject:
    """Seconds of each stage, memory, energy, and what was recorded of training.

    Args:
        examples: split -> examples; dev and test are predicted.
        recorded: `training_figures`, and `seconds` of training, summed over all sessions.
        earlier_seconds: of training, before this run was resumed; None for a new one.
    """
    figures = dict(recorded)
    seconds, tokens = figures.pop("seconds", 0.0), figures.pop("tokens", None)
    flops, peak = figures.pop("flops", None), figures.pop("peak_flops", None)
    figures.pop("steps", None)
    if tokens and seconds:
        figures["training_tokens_per_second"] = round(tokens / seconds, 1)
    if flops and peak and seconds:
        figures["training_share_of_peak"] = float(f"{flops / seconds / peak:.3g}")
    measured = meter.to_json()
    if earlier_seconds is not None:
        spent = measured["seconds"].get("training", 0.0) + earlier_seconds
        measured["seconds"] = (
            {"training": round(spent, 4)} | measured["seconds"] | {"training": round(spent, 4)}
        )
    measured |= meter.energy(measured["seconds"])
    return {**figures, **prediction_speed_of(meter, examples), **measured}


def training_figures(trainer: Trainer) -> JsonObject:
    """Parameters, epochs, tokens and operations of a trainer's training so far."""
    every, trained = parameter_counts(trainer.accelerator.unwrap_model(trainer.model))
    epochs = trainer.state.epoch or 0
    tokens = 0
    if getattr(trainer.train_dataset, "has_tokens", True):
        rows: Iterable[Mapping[str, Sequence[int]]] = trainer.train_dataset  # type: ignore[assignment]
        # Of a row of a sequence, its steps.
        tokens = sum(len(row["input_ids" if "input_ids" in row else "features"]) for row in rows)
    work = training_work(trainer, round(tokens * epochs)) if tokens else {}
    return {
        "parameters": every,
        "trained_parameters": trained,
        "epochs": round(epochs, 2),
        "tokens": round(tokens * epochs),
        **work,
    }


def training_work(trainer: Trainer, tokens: int) -> JsonObject:
    """Operations of a training on a number of tokens, and what its devices do a second at most."""
    network = trainer.accelerator.unwrap_model(trainer.model)
    # TRL's own loss and ours compute logits of answers alone, a tenth of all tokens.
    with_head = not hasattr(trainer, "answer_logits_only")
    flops = training_flops_a_token(network, with_head=with_head) * tokens
    return {"flops": flops, "peak_flops": round(matmul_peak() * trainer.args.world_size)}


def training_flops_a_token(model: nn.Module, *, with_head: bool = True) -> int:
    """Floating-point operations of training on a token, from the weights of the layers.

    Two for each weight in the forward pass, two for the gradient of what the layer read, and two
    for that of the weight itself where it is trained: 6 N for a whole model (Kaplan et al. 2020,
    section 2.1), 4 N for a frozen one with adapters. Embeddings are looked up, not multiplied;
    attention's own products are left out, and frozen layers below the first trained one counted.

    Args:
        model: a network that reads each token once.
        with_head: whether the output embeddings are computed at each token.
    """
    from torch import nn

    output = getattr(model, "get_output_embeddings", lambda: None)()
    every = trained = 0
    for module in model.modules():
        if isinstance(module, nn.Embedding) or (module is output and not with_head):
            continue
        for weight in module.parameters(recurse=False):
            if weight.dim() < 2:
                continue
            count = weight.numel()
            if isinstance(module, nn.Linear):  # 4-bit weights are packed
                count = module.in_features * module.out_features
            every += count
            trained += count * weight.requires_grad
    return 4 * every + 2 * trained


def matmul_peak(rounds: int = 3) -> float:
    """Floating-point operations a second of a square product, the best of some rounds.

    On the device and in the dtype that the machine computes fastest.
    """
    import torch

    from pipelines.networks import precision

    chosen = precision.choose()
    size = 8192 if chosen.device == "cuda" else 1024
    left = torch.ones(size, size, dtype=chosen.weights, device=chosen.device)
    right = torch.ones_like(left)
    best = 0.0
    for _ in range(rounds + 1):  # the first one prepares the kernel
        start = time.perf_counter()
        product = left @ right
        float(product[0, 0])  # waits for a GPU
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best
