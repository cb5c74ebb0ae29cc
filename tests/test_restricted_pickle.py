"""Unpickling: arrays and plain containers of each protocol come back, anything else is refused and never called."""

import builtins
import collections
import contextlib
import os
import pickle
import random

import numpy as np
import pytest

from pipelines.corpora import restricted_pickle
from pipelines.errors import UserError

ARRAYS = np.empty(2, dtype=object)
ARRAYS[:] = [np.arange(6.0).reshape(3, 2), np.array([[1.5, -2.0]], dtype=np.float32)]
PLAIN = {"a": [1, 2.5, None, True, "text", b"bytes", (1, 2)], "b": np.float32(0.25)}


class Calls:
    """Pickled, it calls a function with arguments."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers_come_back(protocol):
    features = np.asfortranarray(np.arange(6).reshape(2, 3))
    value = {"x": ARRAYS, "y": np.array([0.5, 1.0]), "z": features}
    loaded = restricted_pickle.load(pickle.dumps(value, protocol=protocol), "f.pkl")
    assert loaded.keys() == value.keys()
    for mine, theirs in zip(loaded["x"], ARRAYS, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(loaded["y"], value["y"])
    np.testing.assert_array_equal(loaded["z"], features)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_plain_containers_come_back(protocol):
    value = PLAIN | ({"c": {1, 2}} if protocol > 3 else {})  # a call of `builtins.set` before
    assert restricted_pickle.load(pickle.dumps(value, protocol=protocol), "f.pkl") == value


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_payload_is_refused_and_never_executed(protocol, tmp_path):
    made = tmp_path / "made"
    value = [ARRAYS, Calls(os.mkdir, str(made))]
    raw = pickle.dumps(value, protocol=protocol)
    with pytest.raises(UserError, match=r"f\.pkl: the pickle names \w+\.mkdir, which could run"):
        restricted_pickle.load(raw, "f.pkl")
    assert not made.exists()
    pickle.loads(raw)  # it is one: Python's own unpickler calls it
    assert made.exists()


@pytest.mark.parametrize(
    "value",
    [
        Calls(builtins.eval, "1"),
        Calls(getattr, np.ndarray, "tofile"),
        Calls(np.load, "f"),
        Calls(np.lib.format.read_array, "f"),
        collections.OrderedDict(a=1),
        np.random.default_rng(0),
        np.ma.array([1.0]),
        ValueError("x"),
    ],
)
def test_another_name_is_refused(value):
    with pytest.raises(UserError, match="could run code, and was not loaded"):
        restricted_pickle.load(pickle.dumps(value), "f.pkl")


@pytest.mark.parametrize(
    "raw",
    [
        b"cnumpy\nndarray.tofile\n.",  # a dotted name in an old opcode
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tobytes\x93.",
        b"\x80\x04\x8c\x15numpy.core.multiarray\x8c\x08fromfile\x93.",
        b"\x80\x02P1\n.",  # a persistent id
        b"(c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00rotR.",
    ],
)
def test_roundabout_names_are_refused(raw):
    with pytest.raises(UserError):
        restricted_pickle.load(raw, "f.pkl")


@pytest.mark.parametrize(
    "value",
    [
        Calls(np.ndarray, (1,), np.dtype("O"), bytes(8)),
        Calls(np.frombuffer, bytes(8), np.dtype("O")),
        Calls(np._core.multiarray.scalar, np.dtype("O"), bytes(8)),
        Calls(np._core.numeric._frombuffer, bytes(8), np.dtype("O"), (1,), "C"),
        Calls(np.dtype, [("x", "O")]),
        np.zeros(1, dtype=[("x", "f4"), ("y", "O")]),
    ],
    ids=["ndarray", "frombuffer", "scalar", "_frombuffer", "dtype", "zeros"],
)
def test_bytes_never_become_objects(value):
    with pytest.raises(UserError):
        restricted_pickle.load(pickle.dumps(value), "f.pkl")


@pytest.mark.parametrize(
    "state",
    [
        (1, (1,), np.dtype("O"), False, bytes(8)),
        (1, (2,), np.dtype("O"), False, [1]),
        (1, (9,), np.dtype("f8"), False, bytes(8)),
        (1, (1,), "f8", False, bytes(8)),
    ],
)
def test_an_array_of_a_false_state_is_refused(state):
    class Forged:
        def __reduce__(self):
            return np._core.multiarray._reconstruct, (np.ndarray, (0,), b"b"), state

    with pytest.raises(UserError):
        restricted_pickle.load(pickle.dumps(Forged()), "f.pkl")


def test_attributes_of_what_a_pickle_may_call_cannot_be_set():
    raw = b"\x80\x02cnumpy\ndtype\nN}X\x01\x00\x00\x00aK\x01s\x86b."  # BUILD on the function
    with pytest.raises(UserError, match="attributes are set"):
        restricted_pickle.load(raw, "f.pkl")


def test_what_is_named_often_is_made_once():
    value = [np.ones(3)]
    for _ in range(60):  # 2^60 arrays, were each name read by itself
        value = [value, value]
    loaded = restricted_pickle.load(pickle.dumps(value), "f.pkl")
    assert loaded[0] is loaded[1]


def test_the_order_of_bytes_and_types_come_back():
    for dtype in (">f4", "<i2", "?", "S3", "<U2", "complex64"):
        array = np.array([0, 1]).astype(dtype)
        loaded = restricted_pickle.load(pickle.dumps([array, array[1]]), "f.pkl")
        assert loaded[0].dtype == array.dtype
        assert loaded[0].tolist() == array.tolist()
        assert loaded[1] == array[1]


def test_a_damaged_pickle_is_one_line():
    raw = pickle.dumps({"x": ARRAYS})
    rng = random.Random(0)
    for _ in range(2000):
        damaged = bytearray(raw)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        with contextlib.suppress(UserError):  # and nothing else
            restricted_pickle.load(bytes(damaged[: rng.randint(1, len(raw))]), "f.pkl")
