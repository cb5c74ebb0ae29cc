"""Tiny pictures for tests: two classes that a few pixels tell apart."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("dark", "light")


def picture(label: str, number: int, *, side: int = 24) -> Image.Image:
    """A picture of random blocks, dark or light, unlike every other."""
    random = np.random.default_rng([CLASSES.index(label), number])
    blocks = random.integers(0, 100, (6, 6, 3)) + (0 if label == "dark" else 140)
    pixels = np.kron(blocks, np.ones((side // 6, side // 6, 1)))
    return Image.fromarray(pixels.astype(np.uint8))


def folder_of(folder: Path, count: int, *, first: int = 0, side: int = 24) -> Path:
    """Writes `folder/<class>/<number>.png`, `count` pictures of each class."""
    for label in CLASSES:
        (folder / label).mkdir(parents=True)
        for number in range(first, first + count):
            picture(label, number, side=side).save(folder / label / f"{number}.png")
    return folder


def zipped(folder: Path, archive: Path) -> Path:
    """The files of a folder as a zip archive, always with the same bytes."""
    with zipfile.ZipFile(archive, "w") as f:
        for path in sorted(folder.rglob("*.png")):
            info = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            f.writestr(info, path.read_bytes())
    return archive
