"""Unpickling of NumPy arrays and plain containers, and of nothing else.

A pickle is a program: it may name any function and have it called. This unpickler resolves a fixed
list of names and refuses the file at the first other one, before anything is called (Python's
documentation of `pickle`, "Restricting Globals"). The names stand for inert records of our own.
NumPy's own would not do: `numpy.ndarray` makes an array of objects of any bytes, which are then
taken for addresses. Arrays are made of the records at the end, of checked types alone.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines.errors import UserError

NUMBERS = re.compile(r"[biufc]\d+|[SU]\d+|[?bBhHiIlLqQefdgFDG]")
OBJECTS = re.compile(r"O\d*")


class ForbiddenName(pickle.UnpicklingError):
    """A pickle names something that is neither an array nor a plain container."""


class _Type:
    """A dtype: `numpy.dtype(code)`, whose state says the order of the bytes."""

    __slots__ = ("code", "order")

    def __init__(self, code: str, align: bool = False, copy: bool = False):
        if not (NUMBERS.fullmatch(code) or OBJECTS.fullmatch(code)):
            raise ForbiddenName(f"the dtype {code!r:.40}")
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *fields = state[:5]
        if any(part is not None for part in fields) or order not in ("<", ">", "=", "|"):
            raise ForbiddenName("a dtype with fields")
        self.order = order

    def holds_objects(self) -> bool:
        return bool(OBJECTS.fullmatch(self.code))

    def dtype(self) -> np.dtype:
        dtype = np.dtype(self.code)
        if self.order == ">":
            return dtype.newbyteorder(">")
        return dtype.newbyteorder("<") if self.order == "<" else dtype


class _Array:
    """An array: its shape and type, and its bytes or, of objects, the list of them."""

    __slots__ = ("data", "order", "shape", "type")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, is_fortran, data = state
        self.set(data, kind, shape, "F" if is_fortran else "C")

    def set(self, data: Any, kind: _Type, shape: tuple[int, ...], order: str) -> None:
        if not isinstance(kind, _Type) or order not in ("C", "F"):
            raise pickle.UnpicklingError("an array without a type")
        self.data, self.type, self.shape, self.order = data, kind, shape, order

    def array(self, read: Callable[[object], object]) -> np.ndarray:
        """The array; `read` makes each of its objects."""
        if not self.type.holds_objects():
            flat = np.frombuffer(self.data, self.type.dtype())
            return flat.reshape(self.shape, order=self.order).copy(order="K")  # type: ignore[call-overload]
        if not isinstance(self.data, list) or len(self.data) != math.prod(self.shape):
            raise pickle.UnpicklingError("an array of objects without the list of them")
        objects = np.empty(len(self.data), dtype=object)
        for index, value in enumerate(self.data):
            objects[index] = read(value)
        return objects.reshape(self.shape, order=self.order)  # type: ignore[call-overload]


class _Scalar:
    """A number of NumPy: its type and its bytes."""

    __slots__ = ("data", "type")

    def __init__(self, kind: _Type, data: bytes):
        self.type, self.data = kind, data

    def value(self) -> object:
        if self.type.holds_objects():
            raise ForbiddenName("a scalar that is an object")
        return np.frombuffer(self.data, self.type.dtype())[0]


class _Function:
    """What a pickle may call; without attributes that it could set."""

    __slots__ = ("_call",)
    _call: Callable[..., object]

    def __init__(self, call: Callable[..., object]):
        object.__setattr__(self, "_call", call)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("a function whose attributes are set")

    def __call__(self, *arguments: object) -> object:
        return self._call(*arguments)


def _encode(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, by which protocols below 3 write bytes, for that use alone."""
    if encoding != "latin1":
        raise ForbiddenName(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


def _reconstruct(kind: object, shape: tuple[int, ...], code: bytes) -> _Array:
    """`numpy._core.multiarray._reconstruct`, which begins an array; its state follows."""
    return _Array()


def _from_buffer(
    data: object, kind: _Type, shape: tuple[int, ...], order: str, axes: object = None
) -> _Array:
    """`numpy._core.numeric._frombuffer`, by which protocol 5 writes an array."""
    if axes is not None:
        raise ForbiddenName("an array whose axes are not in order; write a copy of it")
    array = _Array()
    array.set(data, kind, shape, "C" if order == "K" else order)
    return array


# What NumPy writes when it pickles an array, a scalar or a dtype, in all of its versions.
_NAMES: dict[str, tuple[tuple[str, ...], object]] = {
    "_reconstruct": (
        ("numpy.core.multiarray", "numpy._core.multiarray"),
        _Function(_reconstruct),
    ),
    "scalar": (("numpy.core.multiarray", "numpy._core.multiarray"), _Function(_Scalar)),
    "_frombuffer": (("numpy.core.numeric", "numpy._core.numeric"), _Function(_from_buffer)),
    "dtype": (("numpy",), _Function(_Type)),
    "ndarray": (("numpy",), "ndarray"),  # an argument alone, never called
    "encode": (("_codecs",), _Function(_encode)),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Gives what stands for one of the admitted names.

        Raises:
            ForbiddenName: for every other one.
        """
        modules, record = _NAMES.get(name, ((), None))
        if module in modules:
            return record
        raise ForbiddenName(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise ForbiddenName(f"the persistent object {pid!r:.40}")


class _Reader:
    """Puts arrays and numbers in place of the records of them, in plain containers."""

    def __init__(self) -> None:
        # What is named a hundred times is made once; the record is kept, so that its id stays its.
        self.made: dict[int, tuple[object, object]] = {}

    def read(self, value: object) -> object:
        if id(value) not in self.made:
            self.made[id(value)] = value, self._make(value)
        return self.made[id(value)][1]

    def _make(self, value: object) -> object:
        if isinstance(value, _Array):
            return value.array(self.read)
        if isinstance(value, _Scalar):
            return value.value()
        if isinstance(value, _Type | _Function):
            raise pickle.UnpicklingError("a type or a function that belongs to no array")
        if isinstance(value, dict):
            return {self.read(key): self.read(item) for key, item in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return type(value)(map(self.read, value))
        return value


def load(raw: bytes, path: str) -> object:
    """The object in a pickle.

    Args:
        path: of the file, for messages.

    Raises:
        UserError: for a pickle that names anything else, naming it, and a damaged one.
    """
    try:
        return _Reader().read(_Unpickler(io.BytesIO(raw)).load())
    except ForbiddenName as error:
        raise UserError(
            f"{path}: the pickle names {error}, which could run code, and was not loaded; "
            "wanted NumPy arrays, lists, tuples, dicts, numbers and strings alone. Write it again "
            "as JSON lines or by numpy.savez"
        ) from None
    except Exception as error:  # a damaged pickle raises whatever its last instruction meets
        raise UserError(
            f"{path}: a damaged pickle, or none ({type(error).__name__}: {error}); write it again"
        ) from None
