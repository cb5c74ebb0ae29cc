"""Unpickling of NumPy arrays and plain containers, and of nothing else.

A pickle is a program: it may name any function and have it called. This unpickler resolves a fixed
list of names, all of which only build arrays, and refuses the file at the first other one, before
anything is called (Python's documentation of `pickle`, "Restricting Globals").
"""

from __future__ import annotations

import io
import pickle
from typing import Any, Literal

import numpy as np
from numpy._core import multiarray

from pipelines.errors import UserError


def _from_buffer(
    buffer: bytes,
    dtype: np.dtype,
    shape: tuple[int, ...],
    order: Literal["C", "F", "K"],
    axes: tuple[int, ...] | None = None,
) -> np.ndarray:
    """What `numpy._core.numeric._frombuffer` does, by which protocol 5 writes an array."""
    array = np.frombuffer(buffer, dtype=dtype)
    if order == "K":
        stored = array.reshape(shape)
        return stored if axes is None else stored.transpose(axes)
    return array.reshape(shape, order=order)


# What NumPy writes when it pickles an array, a scalar or a dtype, in all of its versions.
_ARRAYS = {
    "_reconstruct": multiarray._reconstruct,
    "scalar": multiarray.scalar,
    "_frombuffer": _from_buffer,
    "ndarray": np.ndarray,
    "dtype": np.dtype,
}
_MODULES = {
    "_reconstruct": ("numpy.core.multiarray", "numpy._core.multiarray"),
    "scalar": ("numpy.core.multiarray", "numpy._core.multiarray"),
    "_frombuffer": ("numpy.core.numeric", "numpy._core.numeric"),
    "ndarray": ("numpy",),
    "dtype": ("numpy",),
}


class ForbiddenName(pickle.UnpicklingError):
    """A pickle names something that is neither an array nor a plain container."""


def _encode(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, by which protocols below 3 write bytes, for that use alone."""
    if encoding != "latin1":
        raise ForbiddenName(f"_codecs.encode to {encoding}")
    return text.encode("latin1")


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Gives one of the admitted names.

        Raises:
            ForbiddenName: for every other one.
        """
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if module in _MODULES.get(name, ()):
            return _ARRAYS[name]
        raise ForbiddenName(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise ForbiddenName(f"the persistent object {pid!r:.40}")


def load(raw: bytes, path: str) -> object:
    """The object in a pickle.

    Args:
        path: of the file, for messages.

    Raises:
        UserError: for a pickle that names anything else, naming it, and a damaged one.
    """
    try:
        value: object = _Unpickler(io.BytesIO(raw)).load()
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
    return value
