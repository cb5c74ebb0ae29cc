"""What a `.npz`, `.npy` or pickle file holds, without running anything that the file brought."""

from __future__ import annotations

import io
import zipfile
import zlib

import numpy as np
from numpy.lib import format as npy

from pipelines.corpora import restricted_pickle
from pipelines.corpora.source import Source
from pipelines.errors import UserError

ENDINGS = (".npz", ".npy", ".pkl", ".pickle")


def arrays_in(source: Source) -> tuple[object, str]:
    """The content of the file, and its layout in words.

    Returns:
        Name -> array for `.npz`; an array for `.npy`; what was pickled.

    Raises:
        UserError: for a damaged file, and for pickles that name anything but arrays and plain
            containers.
    """
    raw = source.raw
    if source.ends_with(".npz"):
        return _members(source, raw), "arrays of an .npz file"
    if source.ends_with(".npy"):
        return _array(raw, source.path), "an array of an .npy file"
    return restricted_pickle.load(raw, source.path), "pickled arrays"


def _members(source: Source, raw: bytes) -> dict[str, object]:
    """The arrays of an `.npz` file by their names."""
    path, limit = source.path, source.max_unzipped * 2**20
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            if sum(member.file_size for member in archive.infolist()) > limit:
                raise UserError(
                    f"{path}: unpacks to more than {source.max_unzipped} MiB; --max_unzipped "
                    "allows more"
                )
            contents = {member: archive.read(member) for member in archive.namelist()}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise UserError(f"{path}: not an .npz file ({error}); write it by numpy.savez") from None
    return {
        name.removesuffix(".npy"): _array(content, f"{path}: {name}")
        for name, content in contents.items()
    }


def _array(raw: bytes, path: str) -> np.ndarray:
    """One array; of objects through the restricted unpickler, which `numpy.load` does not use."""
    stream = io.BytesIO(raw)
    try:
        version = npy.read_magic(stream)
        read_header = npy.read_array_header_1_0 if version[0] == 1 else npy.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        if not dtype.hasobject:
            stream.seek(0)
            array: np.ndarray = npy.read_array(stream, allow_pickle=False)
            return array
    except (ValueError, EOFError, MemoryError) as error:
        raise UserError(f"{path}: not an array ({error}); write it by numpy.save") from None
    value = restricted_pickle.load(stream.read(), path)
    if not isinstance(value, np.ndarray) or value.dtype != object or value.shape != shape:
        raise UserError(f"{path}: not the array that its header announces; write it by numpy.save")
    return value
