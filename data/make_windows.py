"""Draws the sample pictures: windows of five kinds, each picture with one window.

    python data/make_windows.py [--seed 0] [--out data/windows]
    python data/make_windows.py --train 600 --dev 80 --test 150 --size 96

A class is what a window does: an `awning` window is hinged at its top, a `bay` leaves the wall with
three panes, a `fixed` one does not open, of a `horizontal_sliding` one the sashes pass each other
sideways, of a `hung` one up and down. All else is drawn at random and alike for all classes: wall,
frame, size, place, point of view, glazing bars, curtains and blinds, what hangs or grows in front,
light, noise and the quality of the file. The same seed gives the same pictures, whatever the sizes
of the splits.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from tqdm import tqdm
from window_drawing import DRAW, Box, Random, colour, new_style, perspective, shaded, straight

SPLITS = ("train", "dev", "test")
COUNTS = {"train": 600, "dev": 80, "test": 150}  # pictures of each class
CANVAS = 192  # drawn at this size, then reduced
ASPECTS = {  # width by height
    "awning": (0.8, 1.7),
    "bay": (1.0, 1.8),
    "fixed": (0.6, 1.7),
    "horizontal_sliding": (0.8, 1.7),
    "hung": (0.6, 1.2),
}
KINDS = tuple(sorted(DRAW))


def picture(kind: str, random: Random, *, size: int = 96) -> Image.Image:
    """Draws a window.

    Args:
        kind: one of `KINDS`.
        size: of the square picture, in pixels.
    """
    canvas = wall(random)
    style = new_style(random)
    box = place(kind, random)
    cast_shadow(canvas, box, random)
    DRAW[kind](canvas, box, style, random)
    canvas = seen_from_aside(canvas, random)
    put_in_front(canvas, random)
    return exposed(canvas, random, size)


def wall(random: Random) -> Image.Image:
    """A wall of bricks, boards, blocks or plaster that fills the canvas."""
    base = colour(random, 50, 220, spread=28)
    canvas = Image.new("RGB", (CANVAS, CANVAS), base)
    draw = ImageDraw.Draw(canvas)
    material = random.choice(("bricks", "boards", "blocks", "plaster", "panels"))
    if material in ("bricks", "blocks"):
        height = int(random.integers(6, 11) if material == "bricks" else random.integers(18, 34))
        width = round(height * random.uniform(1.8, 3))
        for row, top in enumerate(range(-height, CANVAS, height)):
            for left in range(-width + (row % 2) * width // 2, CANVAS, width):
                tint = shaded(base, random.uniform(0.82, 1.12))
                draw.rectangle((left, top, left + width - 2, top + height - 2), fill=tint)
    elif material in ("boards", "panels"):
        step = int(random.integers(9, 20))
        for edge in range(int(random.integers(0, step)), CANVAS, step):
            line = (0, edge, CANVAS, edge) if material == "boards" else (edge, 0, edge, CANVAS)
            draw.line(line, fill=shaded(base, random.uniform(0.6, 0.8)), width=2)
    grain = random.normal(0, random.uniform(2, 9), (CANVAS // 2, CANVAS // 2, 1))
    coarse = np.repeat(np.repeat(grain, 2, axis=0), 2, axis=1)
    return Image.fromarray(np.clip(np.asarray(canvas) + coarse, 0, 255).astype(np.uint8))


def place(kind: str, random: Random) -> Box:
    """Left, top, right and bottom of a window on the canvas."""
    aspect = math.exp(random.uniform(*np.log(ASPECTS[kind])))
    area = random.uniform(0.2, 0.4) * CANVAS**2
    width, height = min(math.sqrt(area * aspect), 146), min(math.sqrt(area / aspect), 146)
    x, y = CANVAS / 2 + random.uniform(-18, 18, 2)
    left, top = round(x - width / 2), round(y - height / 2)
    return left, top, left + round(width), top + round(height)


def cast_shadow(canvas: Image.Image, box: Box, random: Random) -> None:
    """The reveal around a window, and sometimes a sill and a lintel."""
    draw = ImageDraw.Draw(canvas)
    left, top, right, bottom = box
    edge = int(random.integers(2, 9))
    trim = colour(random, 60, 245, spread=20)
    draw.rectangle((left - edge, top - edge, right + edge, bottom + edge), fill=trim)
    if random.random() < 0.5:
        over, thick = int(random.integers(4, 12)), int(random.integers(4, 9))
        sill = (left - over, bottom + edge, right + over, bottom + edge + thick)
        draw.rectangle(sill, fill=shaded(trim, 1.1))
    if random.random() < 0.3:
        lintel = (left - edge - 4, top - edge - 8, right + edge + 4, top - edge)
        draw.rectangle(lintel, fill=shaded(trim, 0.8))


def seen_from_aside(canvas: Image.Image, random: Random) -> Image.Image:
    """The wall from another point of view: turned a little, and with one side farther away."""
    shift = random.uniform(0, 0.08, (4, 2)) * CANVAS
    signs = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
    corners = np.array(straight(0, 0, CANVAS, CANVAS)) + signs * shift
    angle = math.radians(random.uniform(-7, 7))
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turned = (corners - CANVAS / 2) @ turn.T + CANVAS / 2
    first, second, third, fourth = ((float(x), float(y)) for x, y in turned)
    data = perspective(straight(0, 0, CANVAS, CANVAS), (first, second, third, fourth))
    fill = canvas.getpixel((2, 2))
    return canvas.transform(
        canvas.size, Image.Transform.PERSPECTIVE, data, Image.Resampling.BILINEAR, fillcolor=fill
    )


def put_in_front(canvas: Image.Image, random: Random) -> None:
    """A bush, a branch, a pole, wires or a railing, in two of three pictures."""
    draw = ImageDraw.Draw(canvas)
    what = random.choice(
        ("none", "bush", "branch", "pole", "wires", "railing"), p=[0.35, *[0.13] * 5]
    )
    tint = colour(random, 20, 130)
    if what == "bush":
        x, y = random.uniform(0, CANVAS), CANVAS * random.uniform(0.85, 1.05)
        for dx, dy, radius in random.normal(0, (24, 14, 4), (40, 3)):
            radius = abs(radius) + 4
            spot = (x + dx - radius, y + dy - radius, x + dx + radius, y + dy + radius)
            draw.ellipse(spot, fill=shaded(tint, random.uniform(0.7, 1.3)))
    elif what == "branch":
        start, end = random.uniform(0, CANVAS, 2), random.uniform(0, CANVAS, 2)
        draw.line((*start, *end), fill=shaded(tint, 0.6), width=3)
        for share in random.uniform(0, 1, 26):
            x, y = start + (end - start) * share + random.normal(0, 8, 2)
            leaf = (x - 5, y - 3, x + 5, y + 3)
            draw.ellipse(leaf, fill=shaded(tint, random.uniform(0.8, 1.5)))
    elif what == "pole":
        x, width = random.uniform(0, CANVAS), random.uniform(4, 13)
        draw.rectangle((x, 0, x + width, CANVAS), fill=tint)
    elif what == "wires":
        for _ in range(3):
            start, end = random.uniform(0, CANVAS, 2)
            draw.line((0, start, CANVAS, end), fill=shaded(tint, 0.4), width=2)
    elif what == "railing":
        top = CANVAS * random.uniform(0.7, 0.9)
        draw.line((0, top, CANVAS, top), fill=tint, width=4)
        for x in np.arange(0, CANVAS, random.uniform(12, 22)):
            draw.line((x, top, x, CANVAS), fill=tint, width=3)


def exposed(canvas: Image.Image, random: Random, size: int) -> Image.Image:
    """The picture that a camera takes: light and shadow, sharpness, noise, sometimes grey."""
    small = canvas.resize((size, size), Image.Resampling.BOX)
    if random.random() < 0.4:
        small = small.filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.0)))
    pixels = np.asarray(small, dtype=np.float32)
    across, down = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    slope = random.normal(0, 0.2, 2)
    light = 1 + slope[0] * across + slope[1] * down
    if random.random() < 0.4:  # the shadow of something outside the picture
        a, b, c = random.normal(0, 1, 3)
        light = np.where(
            a * across + b * down + c * 0.4 > 0, light, light * random.uniform(0.5, 0.8)
        )
    gain = random.uniform(0.5, 1.25) * random.uniform(0.9, 1.1, 3)
    pixels = pixels * light[..., None] * gain + random.uniform(0, 25)
    pixels += random.normal(0, random.uniform(1, 9), pixels.shape)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return image.convert("L") if random.random() < 0.05 else image


def write(folder: Path, counts: dict[str, int], *, seed: int = 0, size: int = 96) -> int:
    """Writes `folder/<split>/<kind>/<number>.jpg`; returns the number of pictures.

    A folder that is there already keeps its other files.
    """
    names = [
        (split, kind, number)
        for split in SPLITS
        for kind in KINDS
        for number in range(counts[split])
    ]
    for split, kind, number in tqdm(names, unit="picture", disable=not sys.stderr.isatty()):
        random = np.random.default_rng([seed, SPLITS.index(split), KINDS.index(kind), number])
        image = picture(kind, random, size=size)
        path = folder / split / kind / f"{number:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=int(random.integers(60, 96)))
    return len(names)


def main() -> None:
    parser = argparse.ArgumentParser(description="Draws pictures of windows of five kinds.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "windows")
    parser.add_argument("--size", type=int, default=96, help="of the square pictures, in pixels")
    for split, count in COUNTS.items():
        parser.add_argument(f"--{split}", type=int, default=count, help="pictures of each class")
    options = parser.parse_args()
    if not 16 <= options.size <= CANVAS:
        parser.error(f"got --size {options.size}; wanted 16 to {CANVAS}")
    counts = {split: getattr(options, split) for split in SPLITS}
    number = write(options.out, counts, seed=options.seed, size=options.size)
    print(f"{options.out}: {number} pictures of {len(KINDS)} classes")


if __name__ == "__main__":
    main()
