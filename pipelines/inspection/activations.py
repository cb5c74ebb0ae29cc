"""The activations of a tagger's modules, a row for each token, recorded by forward hooks."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.families.token_tagger import Encoded, Loaded, encode, window_inputs
from pipelines.formatting import some


@dataclass(frozen=True)
class TokenMatrix:
    """A number for each token and column.

    Attributes:
        tokens: (U,) strings.
        values: (R, N): of activations N units of a module; of a saliency the U tokens that each of
            R targets depends on.
        rows: (R,) indices of the tokens that the rows are of; all of them for activations.
    """

    tokens: list[str]
    values: np.ndarray
    rows: list[int]


def activations(loaded: Loaded, example: Example, module: str) -> TokenMatrix:
    """The activations of a module for each token of an example.

    Args:
        module: a name of `model.named_modules()`.

    Raises:
        UserError: where there is no such module, or it does not give one row a token.
    """
    names = [name for name, _ in loaded.model.named_modules() if name]
    if module not in names:
        near = difflib.get_close_matches(module, names, n=3, cutoff=0.3)
        raise UserError(
            f"got --activations {module}; the network has no such module; near it are "
            f"{some(near) or 'none'}; all: {some(names, most=len(names))}"
        )
    [text] = encode([example], loaded.tokenizer, loaded.settings)
    values = token_rows(loaded, text, [module]).get(module)
    if values is None:
        usable = list(token_rows(loaded, text, names))
        raise UserError(
            f"--activations {module}: it does not give one row for each token (or did not run at "
            f"all); those that do: {some(usable, most=len(usable))}"
        )
    return TokenMatrix(tokens_of(example, text), values, list(range(len(text.offsets))))


def tokens_of(example: Example, text: Encoded) -> list[str]:
    """The strings of the tokens that an example was encoded as."""
    return [example.text[start:end] for start, end in text.offsets]


def batches_of_one(loaded: Loaded, text: Encoded) -> list[dict[str, Tensor]]:
    """What the network is called with for each window of a text by itself."""
    device = loaded.model.device
    batches = []
    for row in window_inputs(loaded.model, text):
        inputs = {**row, "attention_mask": [1] * len(row["input_ids"])}
        batch = {name: torch.tensor([values], device=device) for name, values in inputs.items()}
        batches.append(batch)
    return batches


@torch.no_grad()
def token_rows(loaded: Loaded, text: Encoded, modules: Sequence[str]) -> dict[str, np.ndarray]:
    """(U, N) outputs by module, of those modules that give a row for each of the U tokens."""
    by_module: dict[str, np.ndarray] = {}
    model = loaded.model.eval()
    for window, batch in zip(text.windows, batches_of_one(loaded, text), strict=True):
        with _recorded(model, modules) as outputs:
            model(**batch)
        for module, calls in outputs.items():
            rows = _rows(calls, len(window.input_ids))  # (T, N)
            if rows is None:
                continue
            if _reads_backwards(model, module):
                rows = rows[::-1]
            if module not in by_module:
                by_module[module] = np.zeros((len(text.offsets), rows.shape[1]), rows.dtype)
            by_module[module][window.units] = rows[window.positions]
    return by_module


@contextmanager
def _recorded(model: nn.Module, modules: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """What the modules output while the body runs, call by call."""
    outputs: dict[str, list[Tensor]] = {}

    def record(module: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_: nn.Module, __: object, output: object) -> None:
            tensor = _first_tensor(output)
            if tensor is not None:
                outputs.setdefault(module, []).append(tensor.detach().float().cpu())

        return hook

    hooks = []
    try:
        for module in modules:
            hooks.append(model.get_submodule(module).register_forward_hook(record(module)))
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _first_tensor(output: object) -> Tensor | None:
    """The tensor of hidden states in what a module returns; None where there is none."""
    while isinstance(output, tuple | list) and not isinstance(output, PackedSequence) and output:
        output = output[0]
    output = getattr(output, "last_hidden_state", output)
    if isinstance(output, PackedSequence):
        output = output.data
    return output if isinstance(output, Tensor) else None


def _rows(calls: Sequence[Tensor], length: int) -> np.ndarray | None:
    """(T, N) from the outputs of one module for a text of T sub-words; None for other shapes.

    A module gives all rows at once, with or without a batch of one around them, or one row at each
    step of a loop.
    """
    last = calls[-1]
    is_step = [call.ndim == 2 and call.shape[0] == 1 for call in calls]
    if len(calls) == length > 1 and all(is_step):
        last = torch.cat(list(calls))  # T times (1, N) -> (T, N)
    elif last.ndim > 2 and last.shape[:2] == (1, length):
        last = last[0]  # (1, T, …) -> (T, …)
    if last.ndim < 2 or last.shape[0] != length:
        return None
    return last.reshape(length, -1).numpy()


def _reads_backwards(model: Any, module: str) -> bool:
    """Whether a module of ours gives its rows from the last word to the first."""
    is_backward_cell = re.match(r"layers\.\d+\.1(\.|$)", module) is not None
    return model.config.model_type == "recurrent_tagger" and is_backward_cell
