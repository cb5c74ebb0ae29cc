"""Opening pictures of any kind, and finding near duplicates."""

import io
import struct
import zlib

import numpy as np
import pytest
from pictures import picture
from PIL import Image, ImageEnhance

from pipelines.corpora.images.duplicates import (
    MAX_DISTANCE,
    fingerprint,
    in_both,
    near_duplicates,
)
from pipelines.corpora.images.paths import archive_of, inside, relative_to
from pipelines.corpora.images.pictures import (
    MAX_PIXELS,
    PictureError,
    open_picture,
    read_picture,
)
from pipelines.errors import UserError

HALVES = np.zeros((8, 12, 3), np.uint8)
HALVES[:, 6:] = (200, 40, 90)


def saved(tmp_path, image, name="a.png", **options):
    path = tmp_path / name
    image.save(path, **options)
    return str(path)


def bomb(width, height):
    """A PNG of few bytes that says it has a great many pixels."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 100)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def test_a_plain_picture_is_read_as_it_is(tmp_path):
    read = read_picture(saved(tmp_path, Image.fromarray(HALVES)))
    assert (np.asarray(read.image) == HALVES).all()
    assert read.changes == ()


def test_grey_becomes_three_equal_channels(tmp_path):
    grey = np.arange(96, dtype=np.uint8).reshape(8, 12)
    read = read_picture(saved(tmp_path, Image.fromarray(grey)))
    assert (np.asarray(read.image) == grey[..., None]).all()
    assert read.changes == ("grey",)


def test_16_bits_keep_their_upper_half(tmp_path):
    deep = (np.arange(96, dtype=np.uint16).reshape(8, 12) * 600).astype(np.uint16)
    read = read_picture(saved(tmp_path, Image.fromarray(deep)))
    assert (np.asarray(read.image)[..., 0] == deep // 256).all()
    assert read.changes == ("16 bits or more",)


def test_cmyk_becomes_rgb(tmp_path):
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))  # no cyan: red
    read = read_picture(saved(tmp_path, cmyk, "a.jpg", quality=100))
    red, green, blue = np.asarray(read.image)[4, 4]
    assert red > 200
    assert max(green, blue) < 60
    assert read.changes == ("in CMYK",)


def test_what_is_transparent_is_white(tmp_path):
    layer = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    layer.putpixel((1, 1), (10, 20, 30, 255))
    read = read_picture(saved(tmp_path, layer))
    assert read.image.getpixel((0, 0)) == (255, 255, 255)
    assert read.image.getpixel((1, 1)) == (10, 20, 30)
    assert read.changes == ("transparent: laid on white",)


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("RGB", (5, 5), colour) for colour in ("red", "blue")]
    path = saved(tmp_path, frames[0], "a.gif", save_all=True, append_images=frames[1:])
    read = read_picture(path)
    assert read.image.getpixel((2, 2)) == (255, 0, 0)
    assert "animated: its first frame is read" in read.changes


def test_a_picture_is_turned_as_its_exif_data_say(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the top is on the right
    read = read_picture(saved(tmp_path, Image.fromarray(HALVES), exif=exif.tobytes()))
    assert read.image.size == (8, 12)
    assert (np.asarray(read.image) == np.rot90(HALVES, -1)).all()
    assert read.changes == ("turned as its EXIF data say",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no picture"),
        (b"a text, whatever its name says", "no picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture"),
        (bomb(20_000, 5_000), "20,000 × 5,000 pixels"),
        (bomb(60_000, 60_000), "pixels, which would fill the memory"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, content, reason):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=reason):
        read_picture(str(path))


def test_a_cut_off_picture_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(noise).save(content, "JPEG")
    path = tmp_path / "a.jpg"
    path.write_bytes(content.getvalue()[:900])
    with pytest.raises(PictureError, match="damaged or cut off"):
        read_picture(str(path))


def test_a_missing_picture_is_named_with_its_path(tmp_path):
    with pytest.raises(UserError, match=r"gone\.png: no such file"):
        open_picture(str(tmp_path / "gone.png"))


def test_the_limit_lets_photos_through():
    assert 50_000_000 < MAX_PIXELS < Image.MAX_IMAGE_PIXELS


def test_paths_into_archives():
    path = inside("data/w.zip", "bay/1.png")
    assert path == "zip://bay/1.png::data/w.zip"
    assert archive_of(path) == ("data/w.zip", "bay/1.png")
    assert archive_of("bay/1.png") is None
    assert relative_to("data/bay/1.png", "runs/a") == "../../data/bay/1.png"
    assert relative_to(path, "data") == "zip://bay/1.png::w.zip"


def test_copies_in_another_size_quality_or_light_are_near_duplicates(tmp_path):
    image = picture("light", 1, side=96)
    worse = Image.open(saved(tmp_path, image.resize((60, 60)), "b.jpg", quality=40))
    darker = ImageEnhance.Brightness(image).enhance(0.7)
    codes = [fingerprint(one) for one in (image, worse, darker, picture("light", 2, side=96))]
    assert near_duplicates(codes) == [[0, 1, 2]]


def test_a_group_is_found_as_by_comparing_all_pairs():
    random = np.random.default_rng(3)
    codes = [random.integers(0, 256, 272, dtype=np.uint8) for _ in range(30)]
    for row in range(10):  # a copy of each, with 8 to 17 bits of the hash flipped
        bits = np.unpackbits(codes[row])
        bits[random.choice(128, row + 8, replace=False)] ^= 1
        codes.append(np.packbits(bits))
    close = [
        [first, second]
        for first in range(40)
        for second in range(first + 1, 40)
        if np.bitwise_count(codes[first][:16] ^ codes[second][:16]).sum() <= MAX_DISTANCE
    ]
    assert near_duplicates(codes) == close
    assert len(close) == 5


def test_pictures_in_both_of_two_splits():
    codes = {number: fingerprint(picture("dark", number)) for number in range(4)}
    first = {f"a{number}": codes[number] for number in (0, 1, 2)}
    second = {f"b{number}": codes[number] for number in (2, 3)}
    assert in_both(first, second) == [("a2", "b2")]
    assert in_both(first, {"b3": codes[3]}) == []
    assert near_duplicates([]) == []


def test_alike_hashes_of_other_pictures_are_no_near_duplicates():
    code = fingerprint(picture("light", 1))
    other = code.copy()
    other[16:] = np.random.default_rng(0).integers(0, 256, 256)
    assert near_duplicates([code, other]) == []
    assert near_duplicates([code, code]) == [[0, 1]]
