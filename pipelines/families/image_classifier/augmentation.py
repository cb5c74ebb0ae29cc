"""Random changes of training pictures that leave their class as it is, by Pillow and NumPy."""

from __future__ import annotations

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
    crop: float = 0.25
    rotation: float = 5.0
    colour: float = 0.3

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
    if options.flip and random.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if options.rotation:
        angle = random.uniform(-options.rotation, options.rotation)
        ground = image.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        image = image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=ground)
    if options.crop:
        share = 1 - random.uniform(0, options.crop)
        width, height = share * image.width, share * image.height
        left, top = random.uniform(0, image.width - width), random.uniform(0, image.height - height)
        box = (left, top, left + width, top + height)
        image = image.resize(image.size, Image.Resampling.BILINEAR, box=box)
    if options.colour:
        image = _recoloured(image, options.colour, random)
    return image


def _recoloured(image: Image.Image, amount: float, random: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image, dtype=np.float32)
    brightness, contrast = random.uniform(1 - amount, 1 + amount, 2)
    tint = random.uniform(1 - amount / 2, 1 + amount / 2, 3)
    mean = pixels.mean()
    changed = ((pixels - mean) * contrast + mean) * (brightness * tint)
    return Image.fromarray(np.clip(changed, 0, 255).astype(np.uint8))
