"""Records the shapes that come out of a layer's modules, and of what attention itself computes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# Of functions that run between modules.
FUNCTIONS = ("transpose", "reshape", "matmul", "softmax", "dropout")
Shape = tuple[int, ...]


class Trace(TorchFunctionMode):
    """The shapes by place, in the order in which they came.

    A place is the name of a module in the layer, `module/function` for a function that a module
    calls between its own modules, or `input` and `output` of the layer.

    Attributes:
        dropouts: the probability of each dropout, by place.
    """

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer
        self.modules = dict(layer.named_modules())
        self.inside: list[str] = []  # the running modules of the layer, the innermost last
        self.seen: dict[str, list[Shape]] = {}
        self.dropouts: dict[str, float] = {}

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Records what runs in the block."""
        with ExitStack() as stack:
            for name, module in self.modules.items():
                enter, leave = partial(self._enter, name), partial(self._leave, name)
                stack.callback(module.register_forward_pre_hook(enter, with_kwargs=True).remove)
                stack.callback(module.register_forward_hook(leave).remove)
            stack.enter_context(self)
            yield

    def _enter(
        self, name: str, _: nn.Module, inputs: Sequence[Any], named: Mapping[str, Any]
    ) -> None:
        self.inside.append(name)
        if not name:
            self._add("input", inputs[0] if inputs else named["hidden_states"])

    def _leave(self, name: str, _: nn.Module, __: object, output: Any) -> None:
        self.inside.pop()
        self._add(name or "output", output[0] if isinstance(output, tuple) else output)

    def _add(self, where: str, value: object) -> None:
        if isinstance(value, Tensor):
            self.seen.setdefault(where, []).append(tuple(value.shape))

    def __torch_function__(
        self, function: Any, types: Any, inputs: Any = (), named: Any = None
    ) -> Any:
        output = function(*inputs, **(named or {}))
        name = getattr(function, "__name__", "")
        if name in FUNCTIONS and self.inside:
            module = self.inside[-1]
            is_module_itself = isinstance(self.modules[module], nn.Dropout)
            where = module if is_module_itself else f"{module}/{name}"
            if not is_module_itself:
                self._add(where, output)
            if name == "dropout":
                self.dropouts[where] = float((named or {})["p"])
        return output

    def take(self, where: str) -> Shape:
        """The next shape that was seen at a place.

        Raises:
            RuntimeError: when nothing ran there, so that the library's layer is another one.
        """
        shapes = self.seen.get(where)
        if not shapes:
            ran = ", ".join(self.seen)
            raise RuntimeError(f"{type(self.layer).__name__} ran no {where}, but {ran}")
        return shapes.pop(0)

    def parameters(self, where: str) -> int:
        """The parameters that the module at a place holds itself."""
        module = self.modules.get(where)
        own = [] if module is None else list(module.parameters(recurse=False))
        return sum(parameter.numel() for parameter in own)
