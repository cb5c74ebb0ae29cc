"""The sashes of a window and the five ways to put them together; see `make_windows.py`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance

BARS = ((1, 1), (1, 1), (1, 1), (2, 2), (3, 2), (2, 3), (3, 3))  # glazing bars: columns, rows

Box = tuple[int, int, int, int]  # left, top, right, bottom
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


def colour(random: Random, low: int = 20, high: int = 235, *, spread: int = 40) -> Colour:
    """A colour: one brightness, and a tint of up to `spread`."""
    base = random.integers(low, high)
    red, green, blue = np.clip(base + random.integers(-spread, spread + 1, 3), 0, 255)
    return int(red), int(green), int(blue)


def shaded(tint: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, max(0, round(part * factor))) for part in tint)
    return red, green, blue


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
        across = column * size[0] / columns
        draw.line((across, 0, across, size[1]), fill=style.frame, width=2)
    for row in range(1, rows):
        down = row * size[1] / rows
        draw.line((0, down, size[0], down), fill=style.frame, width=2)
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
        for x in range(0, width, 3):
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


def draw_fixed(canvas: Image.Image, box: Box, style: Style, random: Random) -> None:
    """One pane that fills the opening."""
    left, top, right, bottom = box
    paste(canvas, sash(style, right - left, bottom - top, random), straight(*box))


def draw_hung(canvas: Image.Image, box: Box, style: Style, random: Random) -> None:
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


def draw_sliding(canvas: Image.Image, box: Box, style: Style, random: Random) -> None:
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


def draw_awning(canvas: Image.Image, box: Box, style: Style, random: Random) -> None:
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
    metal = shaded(style.frame, 0.45)
    for share in (0.2, 0.8):
        hinge = left + share * width
        draw.rectangle((hinge - 4, top - 2, hinge + 4, top + 3), fill=metal)
    handle = (left + right) / 2
    draw.rectangle((handle - 7, end - 3, handle + 7, end + 2), fill=metal)


def draw_bay(canvas: Image.Image, box: Box, style: Style, random: Random) -> None:
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


DRAW = {
    "awning": draw_awning,
    "bay": draw_bay,
    "fixed": draw_fixed,
    "horizontal_sliding": draw_sliding,
    "hung": draw_hung,
}
