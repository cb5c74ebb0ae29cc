"""Which arguments an optimizer takes from `--optim_args`: transformers ignores all others."""

from __future__ import annotations

from typing import Any

from pipelines.errors import UserError

# Weight decay is --weight_decay, which spares biases and norms.
ARGUMENTS: dict[str, set[str]] = {
    "adamw_torch": set(),
    "adamw_torch_fused": set(),
    "sgd": {"momentum", "dampening", "nesterov"},
    "rmsprop": {"momentum", "alpha", "eps", "centered"},
    "adagrad": {"lr_decay", "eps"},
}


def check_optimizer(training: Any) -> None:
    """Refuses arguments that the optimizer would not get; optimizers not listed here take any.

    Args:
        training: the `TrainingArguments`.

    Raises:
        UserError: naming them.
    """
    optimizer = str(getattr(training.optim, "value", training.optim))
    pairs = (training.optim_args or "").split(",")
    given = {pair.split("=")[0].strip() for pair in pairs} - {""}
    unknown = sorted(given - ARGUMENTS.get(optimizer, given))
    if unknown:
        wanted = ", ".join(sorted(ARGUMENTS[optimizer])) or "none"
        raise UserError(
            f"got --optim_args with {', '.join(unknown)}; --optim {optimizer} takes {wanted} there"
        )
