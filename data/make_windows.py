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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from tqdm import tqdm

KINDS = ("awning", "bay", "fixed", "horizontal_sliding", "hung")
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
BARS = ((1, 1), (1, 1), (1, 1), (2, 2), (3, 2), (2, 3), (3, 3))  # glazing bars: columns, rows

Colour = tuple[int, int, int]
Point = tuple[float, float]
Quad = tuple[Point, Point, Point, Point]  # clockwise from the upper left corner
Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class Style:
    """What the sashes of one window have in common.

    Attributes:
        rail: width of a sash's frame, in pixels of the canvas.
        bars: columns and rows of panes in a sash.
        drape: `none`, `curtains`, `blinds`, `shade` or `net`.
        drape_share: how much of the glass it covers.
    """

    frame: Colour
    glass: Colour
    sky: Colour
    inside: Colour
    rail: int
    bars: tuple[int, int]
    drape: str
    drape_colour: Colour
    drape_share: float


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
    {
        "awning": draw_awning,
        "bay": draw_bay,
        "fixed": draw_fixed,
        "horizontal_sliding": draw_sliding,
        "hung": draw_hung,
    }[kind](canvas, box, style, random)
    canvas = seen_from_aside(canvas, random)
    put_in_front(canvas, random)
    return exposed(canvas, random, size)


def colour(random: Random, low: int = 20, high: int = 235, *, spread: int = 40) -> Colour:
    """A colour: one brightness, and a tint of up to `spread`."""
    base = random.integers(low, high)
    red, green, blue = np.clip(base + random.integers(-spread, spread + 1, 3), 0, 255)
    return int(red), int(green), int(blue)


def shaded(tint: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, max(0, round(part * factor))) for part in tint)
    return red, green, blue


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


def new_style(random: Random) -> Style:
    drapes = ("none", "none", "curtains", "blinds", "shade", "net")
    dark = random.random() < 0.5
    return Style(
        frame=colour(random, 170, 250, spread=12) if random.random() < 0.6 else colour(random),
        glass=colour(random, 20, 80) if dark else colour(random, 90, 200),
        sky=colour(random, 120, 240),
        inside=colour(random, 5, 60, spread=15),
        rail=int(random.integers(4, 9)),
        bars=BARS[random.integers(len(BARS))],
        drape=str(random.choice(drapes)),
        drape_colour=colour(random, 90, 250),
        drape_share=random.uniform(0.2, 0.9),
    )


def place(kind: str, random: Random) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a window on the canvas."""
    aspect = math.exp(random.uniform(*np.log(ASPECTS[kind])))
    area = random.uniform(0.14, 0.34) * CANVAS**2
    width, height = min(math.sqrt(area * aspect), 140), min(math.sqrt(area / aspect), 140)
    x, y = CANVAS / 2 + random.uniform(-22, 22, 2)
    left, top = round(x - width / 2), round(y - height / 2)
    return left, top, left + round(width), top + round(height)


def cast_shadow(canvas: Image.Image, box: tuple[int, int, int, int], random: Random) -> None:
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


def sash(style: Style, width: float, height: float, random: Random) -> Image.Image:
    """A frame with a pane of glass, what hangs behind it, and glazing bars."""
    size = max(round(width), 4), max(round(height), 4)
    image = Image.new("RGB", size, style.glass)
    draw = ImageDraw.Draw(image)
    slope = random.uniform(0.2, 0.7)
    for y in range(0, size[1], 3):  # the sky in the glass, fading downwards
        share = slope * (1 - y / size[1])
        mixed = np.array(style.glass) * (1 - share) + np.array(style.sky) * share
        draw.rectangle((0, y, size[0], y + 3), fill=tuple(int(part) for part in mixed))
    hang(draw, style, size, random)
    if random.random() < 0.4:  # a reflection
        x, lean = random.uniform(0, size[0]), random.uniform(-0.6, 0.6) * size[1]
        broad = random.uniform(0.05, 0.2) * size[0]
        points = [(x, 0), (x + broad, 0), (x + broad + lean, size[1]), (x + lean, size[1])]
        draw.polygon(points, fill=shaded(style.sky, 0.95))
    columns, rows = style.bars
    for column in range(1, columns):
        x = column * size[0] / columns
        draw.line((x, 0, x, size[1]), fill=style.frame, width=2)
    for row in range(1, rows):
        y = row * size[1] / rows
        draw.line((0, y, size[0], y), fill=style.frame, width=2)
    draw.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=style.frame, width=style.rail)
    inner = style.rail, style.rail, size[0] - 1 - style.rail, size[1] - 1 - style.rail
    if inner[2] > inner[0] and inner[3] > inner[1]:
        draw.rectangle(inner, outline=shaded(style.frame, 0.6))
    return image


def hang(draw: ImageDraw.ImageDraw, style: Style, size: tuple[int, int], random: Random) -> None:
    """Curtains, blinds, a shade or a net behind the glass."""
    width, height = size
    covered = style.drape_share
    if style.drape == "curtains":
        side = width * covered / 2
        for left, right in ((0.0, side), (width - side, float(width))):
            draw.rectangle((left, 0, right, height), fill=style.drape_colour)
            for x in np.arange(left, right, random.uniform(4, 8)):
                draw.line((x, 0, x, height), fill=shaded(style.drape_colour, 0.8), width=1)
    elif style.drape in ("blinds", "shade"):
        end = height * covered
        if style.drape == "shade":
            draw.rectangle((0, 0, width, end), fill=style.drape_colour)
            draw.line((0, end, width, end), fill=shaded(style.drape_colour, 0.6), width=2)
            return
        for y in np.arange(0, end, random.uniform(4, 7)):
            draw.rectangle((0, y, width, y + 2), fill=style.drape_colour)
    elif style.drape == "net":
        for x in np.arange(0, width, 3):
            draw.line((x, 0, x, height), fill=shaded(style.drape_colour, 0.9), width=1)


def straight(left: float, top: float, right: float, bottom: float) -> Quad:
    return (left, top), (right, top), (right, bottom), (left, bottom)


def paste(canvas: Image.Image, image: Image.Image, quad: Quad, *, light: float = 1.0) -> None:
    """Draws an image into a quadrilateral of the canvas."""
    lit = image if light == 1 else ImageEnhance.Brightness(image).enhance(light)
    width, height = image.size
    corners = straight(0, 0, width, height)
    data = perspective(quad, corners)
    warped = lit.transform(
        canvas.size, Image.Transform.PERSPECTIVE, data, Image.Resampling.BILINEAR
    )
    mask = Image.new("L", canvas.size)
    ImageDraw.Draw(mask).polygon(quad, fill=255)
    canvas.paste(warped, mask=mask)


def perspective(source: Quad, target: Quad) -> list[float]:
    """The eight coefficients that map the corners of `source` to those of `target`."""
    rows, values = [], []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return [float(part) for part in np.linalg.solve(np.array(rows), np.array(values))]


def draw_fixed(
    canvas: Image.Image, box: tuple[int, int, int, int], style: Style, random: Random
) -> None:
    """One pane that fills the opening."""
    left, top, right, bottom = box
    paste(canvas, sash(style, right - left, bottom - top, random), straight(*box))


def draw_hung(
    canvas: Image.Image, box: tuple[int, int, int, int], style: Style, random: Random
) -> None:
    """An upper sash in front of a lower one, which may be raised."""
    left, top, right, bottom = box
    ImageDraw.Draw(canvas).rectangle(box, fill=style.inside)
    middle = top + (bottom - top) * random.uniform(0.42, 0.58)
    height = bottom - middle + style.rail
    raised = random.uniform(0.15, 0.6) * height if random.random() < 0.4 else 0.0
    low = sash(style, right - left - 4, height, random)
    end = bottom - raised
    paste(canvas, low, straight(left + 2, end - height, right - 2, end), light=0.85)
    paste(
        canvas, sash(style, right - left, middle - top, random), straight(left, top, right, middle)
    )
    draw = ImageDraw.Draw(canvas)
    draw.line((left, middle + 1, right, middle + 1), fill=shaded(style.frame, 0.4), width=2)
    if random.random() < 0.5:
        x = (left + right) / 2
        draw.rectangle((x - 4, middle - 3, x + 4, middle), fill=shaded(style.frame, 0.5))


def draw_sliding(
    canvas: Image.Image, box: tuple[int, int, int, int], style: Style, random: Random
) -> None:
    """Two sashes beside each other, of which one may be slid behind the other."""
    left, top, right, bottom = box
    ImageDraw.Draw(canvas).rectangle(box, fill=style.inside)
    middle = left + (right - left) * random.uniform(0.42, 0.58)
    mirrored = random.random() < 0.5
    width = (middle - left if mirrored else right - middle) + style.rail
    slid = random.uniform(0.15, 0.6) * width if random.random() < 0.4 else 0.0
    behind = sash(style, width, bottom - top - 4, random)
    start = left + slid if mirrored else right - slid - width
    paste(canvas, behind, straight(start, top + 2, start + width, bottom - 2), light=0.85)
    front = (middle, right) if mirrored else (left, middle)
    in_front = sash(style, front[1] - front[0], bottom - top, random)
    paste(canvas, in_front, straight(front[0], top, front[1], bottom))
    draw = ImageDraw.Draw(canvas)
    x = middle - 1 if mirrored else middle + 1
    draw.line((x, top, x, bottom), fill=shaded(style.frame, 0.4), width=2)
    if random.random() < 0.5:
        y = (top + bottom) / 2
        draw.rectangle((middle - 2, y - 6, middle + 2, y + 6), fill=shaded(style.frame, 0.5))


def draw_awning(
    canvas: Image.Image, box: tuple[int, int, int, int], style: Style, random: Random
) -> None:
    """A sash that is hinged at the top and pushed out at the bottom, rarely closed."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    draw = ImageDraw.Draw(canvas)
    draw.rectangle(box, fill=style.inside)
    draw.rectangle(box, outline=shaded(style.frame, 0.8), width=3)
    opened = random.uniform(0.08, 0.3) if random.random() < 0.85 else 0.0
    out, up = width * opened * 0.5, height * opened * random.uniform(0.5, 1)
    end = bottom - 3 - up
    quad = (left + 2, top + 2), (right - 2, top + 2), (right - 2 + out, end), (left + 2 - out, end)
    if opened:
        below = [(left, end), (right + out, end), (right, bottom), (left + out, bottom)]
        draw.polygon(below, fill=shaded(style.inside, 0.6))
        for x, corner in ((left, quad[3]), (right, quad[2])):
            draw.line((x, bottom - height * 0.1, *corner), fill=shaded(style.frame, 0.5), width=2)
    light = random.uniform(1.05, 1.25) if opened else 1.0
    paste(canvas, sash(style, width, height, random), quad, light=light)
    for share in (0.2, 0.8):
        x = left + share * width
        draw.rectangle((x - 4, top - 2, x + 4, top + 3), fill=shaded(style.frame, 0.45))
    x = (left + right) / 2
    draw.rectangle((x - 7, end - 3, x + 7, end + 2), fill=shaded(style.frame, 0.45))


def draw_bay(
    canvas: Image.Image, box: tuple[int, int, int, int], style: Style, random: Random
) -> None:
    """A middle pane that stands before the wall, and two at its sides that lead back to it."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    inner = width * random.uniform(0.2, 0.3)
    back = height * random.uniform(0.06, 0.15)
    low, high = left + inner, right - inner
    draw = ImageDraw.Draw(canvas)
    roof, base = random.uniform(5, 14), random.uniform(5, 14)
    cap = colour(random, 40, 200)
    draw.polygon([(left - 3, top + back), (low, top - roof), (high, top - roof),
                  (right + 3, top + back), (high, top), (low, top)], fill=cap)  # fmt: skip
    draw.polygon([(left - 3, bottom - back), (low, bottom), (high, bottom),
                  (right + 3, bottom - back), (high, bottom + base), (low, bottom + base)],
                 fill=shaded(cap, 0.7))  # fmt: skip
    dim, bright = random.uniform(0.6, 0.85), random.uniform(0.9, 1.15)
    lights = (dim, bright) if random.random() < 0.5 else (bright, dim)
    sides = (
        ((left, top + back), (low, top), (low, bottom), (left, bottom - back)),
        ((high, top), (right, top + back), (right, bottom - back), (high, bottom)),
    )
    for quad, light in zip(sides, lights, strict=True):
        paste(canvas, sash(style, inner, height, random), quad, light=light)
    paste(canvas, sash(style, high - low, height, random), straight(low, top, high, bottom))
    if random.random() < 0.3:  # the middle one may have a rail, as a hung window has
        y = top + height * random.uniform(0.4, 0.6)
        draw.line((low, y, high, y), fill=style.frame, width=style.rail)


def seen_from_aside(canvas: Image.Image, random: Random) -> Image.Image:
    """The wall from another point of view: turned a little, and with one side farther away."""
    shift = random.uniform(0, 0.1, (4, 2)) * CANVAS
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
            y = random.uniform(0, CANVAS, 2)
            draw.line((0, y[0], CANVAS, y[1]), fill=shaded(tint, 0.4), width=2)
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
    pixels += random.normal(0, random.uniform(1, 12), pixels.shape)
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
