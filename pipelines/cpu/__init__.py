"""What makes a model fast on a CPU, behind two verbs.

On another device prediction is left alone; training takes only the LoRA layers, where weights are
whole: they save passes over memory on a GPU too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from torch import Tensor, nn

from pipelines.cpu.attention import grouped_attention_during, use_grouped_attention
from pipelines.cpu.dropout import cheap_dropout
from pipelines.cpu.fused_adapters import fused_adapters
from pipelines.cpu.half_copies import compute_in_half_copies
from pipelines.cpu.memory import keep_freed_memory, lay_out_for_few_rows, return_freed_memory
from pipelines.cpu.used_embeddings import train_used_embeddings

__all__ = ["for_prediction", "training"]
# Where a layer's weights are whole only while the library's own `forward` runs.
SHARDED = DistributedType.FSDP, DistributedType.DEEPSPEED


@contextmanager
def training(
    model: nn.Module, *, used_ids: Tensor | None = None, half_copies: bool = False
) -> Iterator[None]:
    """Trains a model with attention, dropout and LoRA layers that are fast on a CPU.

    What the model computes stays the same up to rounding. Its classes, weights and attention are
    the library's again afterwards, and what is saved meanwhile is as the library saves it.

    Args:
        model: not wrapped, with its adapters if it has any.
        used_ids: (R,), all token ids that training reads: word embeddings of other tokens are left
            out of the optimizer. Only for an optimizer that leaves a weight without a gradient as
            it is (Adam without weight decay).
        half_copies: compute in bf16 copies of the weights, made anew in each step, instead of under
            autocast. What is trained and saved stays float32. For one process, without gradient
            checkpointing.
    """
    state = PartialState()
    if state.device.type != "cpu":
        with nullcontext() if state.distributed_type in SHARDED else fused_adapters(model):
            yield
        return
    with ExitStack() as stack:
        stack.enter_context(grouped_attention_during(model))
        stack.enter_context(cheap_dropout(model))
        stack.enter_context(fused_adapters(model))
        stack.enter_context(return_freed_memory(model))
        if used_ids is not None:
            stack.enter_context(train_used_embeddings(model, used_ids))
        if half_copies:
            stack.enter_context(compute_in_half_copies(model))
        yield


def for_prediction(model: nn.Module) -> None:
    """Prepares a model that only predicts from now on; call it after its last conversion."""
    weight = next(model.parameters())
    if weight.device.type != "cpu":
        return
    keep_freed_memory()
    use_grouped_attention(model)
    if weight.dtype == torch.float32:
        lay_out_for_few_rows(model)
