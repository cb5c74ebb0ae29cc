"""Opens a picture as upright RGB, whatever its file is like, or says why that is impossible."""

from __future__ import annotations

import warnings
import zipfile
from io import BytesIO
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipelines.corpora.images.paths import archive_file, archive_of
from pipelines.errors import UserError

# Only these are decoded: Pillow runs Ghostscript for some of its other formats.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
MAX_PIXELS = 64_000_000  # of a picture, and 256 MiB when it is decoded
_EXIF_ORIENTATION = 0x0112


class PictureError(ValueError):
    """Why a picture cannot be read."""


class Picture(NamedTuple):
    """A picture in RGB, upright, and what was done to make it so, such as `grey`."""

    image: Image.Image
    changes: tuple[str, ...]


def open_picture(path: str) -> Image.Image:
    """The picture at a path, in RGB and upright.

    Raises:
        UserError: when it is missing or cannot be read.
    """
    try:
        return read_picture(path).image
    except PictureError as error:
        raise UserError(f"{path}: {error}") from None


def read_picture(path: str) -> Picture:
    """Opens and decodes a picture.

    Grey, CMYK and palette pictures become RGB; 16-bit ones keep their highest 8 bits; transparent
    ones are laid on white; of an animation the first frame is read; the orientation in the EXIF
    data is applied.

    Args:
        path: of a file, or of a file in an archive (see `inside`).

    Raises:
        PictureError: saying what is wrong with the file.
    """
    try:
        with _opened(path) as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of sizes that are checked here
            return _decoded(stream)
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError("no picture; wanted JPEG, PNG, GIF, BMP, WebP or TIFF") from None
    except Image.DecompressionBombError:
        raise PictureError(_too_large("more than 178,956,970")) from None
    except FileNotFoundError:
        raise PictureError("no such file") from None
    except IsADirectoryError:
        raise PictureError("a folder; wanted a picture") from None
    except (OSError, ValueError, SyntaxError, EOFError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(f"damaged or cut off ({reason}); copy it again") from None


def _opened(path: str) -> IO[bytes]:
    place = archive_of(path)
    if place is None:
        return open(path, "rb")
    archive, member = place
    packed = archive_file(archive)
    return BytesIO(packed.read(member))


def _decoded(stream: IO[bytes]) -> Picture:
    image: Image.Image = Image.open(stream, formats=FORMATS)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise PictureError(_too_large(f"{width:,} × {height:,}"))
    changes = []
    if getattr(image, "n_frames", 1) > 1:
        changes.append("animated: its first frame is read")
        image.seek(0)
    image.load()
    if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
        changes.append("turned as its EXIF data say")
        image = ImageOps.exif_transpose(image)
    if image.mode != "RGB":
        image, change = _as_rgb(image)
        changes.append(change)
    return Picture(image, tuple(changes))


def _as_rgb(image: Image.Image) -> tuple[Image.Image, str]:
    """A picture of another mode in RGB, and what was changed."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB"), "transparent: laid on white"
    if image.mode.startswith(("I", "F")):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB"), "16 bits or more"
    names = {"1": "black and white", "L": "grey", "P": "of a palette"}
    return image.convert("RGB"), names.get(image.mode, f"in {image.mode}")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """16-bit values without their lower half; others stretched from least to greatest."""
    if values.dtype == np.uint16 or (values.min() >= 0 and 255 < values.max() < 2**16):
        return (values.astype(np.int64) // 256).astype(np.uint8)
    low, high = float(values.min()), float(values.max())
    scaled = (values.astype(np.float64) - low) / max(high - low, 1e-9)
    return np.rint(255 * scaled).astype(np.uint8)


def _too_large(size: str) -> str:
    return f"{size} pixels, which would fill the memory; wanted at most {MAX_PIXELS:,}; reduce it"
