"""Random changes of training pictures that leave their class as it is, by Pillow and NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What may be changed, and by how much; 0 or False = not at all.

    Attributes:
        flip: mirror half of the pictures, left to right.
        crop: largest share of a side that is cut off.
        rotation: largest turn, in degrees, either way.
        colour: largest change of brightness and contrast, as a share; half of it of each channel.
    """

    flip: bool = True
    crop: float = 0.2
    rotation: float = 5.0
    colour: float = 0.25

    def __post_init__(self) -> None:
        """Checks the amounts.

        Raises:
            ValueError: for an amount that is impossible.
        """
        if not (0 <= self.crop < 1 and 0 <= self.colour < 1 and 0 <= self.rotation <= 180):
            raise ValueError(
                f"got crop {self.crop:g}, colour {self.colour:g} and rotation {self.rotation:g}; "
                "wanted crop and colour from 0 to below 1, rotation from 0 to 180"
            )


def augmented(
    image: Image.Image, options: Augmentation, random: np.random.Generator
) -> Image.Image:
    """A changed copy of an RGB picture, of the same size."""
    means = image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    ground: tuple[int, ...] = means if isinstance(means, tuple) else (0, 0, 0)
    if options.flip or options.rotation or options.crop:
        data = _affine(image.size, options, random)
        image = image.transform(
            image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR, fillcolor=ground
        )
    if options.colour:
        image = image.point(_recolouring(float(np.mean(ground)), options.colour, random))
    return image


def _affine(
    size: tuple[int, int], options: Augmentation, random: np.random.Generator
) -> list[float]:
    """From pixels of the new picture to those of the old: mirrored, turned, cut and enlarged."""
    share = 1 - random.uniform(0, options.crop)
    mirror = -1 if options.flip and random.random() < 0.5 else 1
    angle = math.radians(random.uniform(-options.rotation, options.rotation))
    middle = np.array(size) / 2
    moved = random.uniform(-1, 1, 2) * (1 - share) * middle
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    matrix = share * turn @ np.diag([mirror, 1])  # (2, 2)
    offset = middle + moved - matrix @ middle
    rows = np.column_stack([matrix, offset])  # (2, 3)
    return [float(value) for value in rows.ravel()]


def _recolouring(mean: float, amount: float, random: np.random.Generator) -> list[int]:
    """For each channel the new values of 0 to 255, 768 in all."""
    brightness, contrast = random.uniform(1 - amount, 1 + amount, 2)
    tint = random.uniform(1 - amount / 2, 1 + amount / 2, (3, 1))
    values = (np.arange(256) - mean) * contrast + mean
    table = np.clip(values * brightness * tint, 0, 255)  # (3, 256)
    return [int(value) for value in table.ravel()]
