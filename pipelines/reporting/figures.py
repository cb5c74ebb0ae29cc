"""The pictures of a page as SVG files, for documents and slides."""

from __future__ import annotations

import html
import re
from functools import cache
from pathlib import Path

from pipelines.corpora.writing import replacing
from pipelines.errors import UserError

_TEMPLATES = Path(__file__).parent / "templates"
_FIGURE = re.compile(r"<figure>\s*(.*?)</figure>", re.DOTALL)
_SVG = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
_TAG = re.compile(r"<[^>]+>")
_SCALE = 4 / 3  # pixels of a point


def figures_of(page: str) -> dict[str, str]:
    """The pictures of a page that this project wrote, by file name, as SVG that stands alone.

    They are in the page's light colours on its ground, since a file has no style sheet around it.

    Args:
        page: HTML.
    """
    figures: dict[str, str] = {}
    for number, figure in enumerate(_FIGURE.findall(page), start=1):
        picture = _SVG.search(figure)
        if picture:
            title = html.unescape(_TAG.sub(" ", _SVG.sub("", figure))).strip().splitlines()
            name = re.sub(r"\W+", "-", title[0].lower()).strip("-") if title else ""
            name = name or "figure"
            figures[name if name not in figures else f"{name}-{number}"] = standalone(
                picture.group()
            )
    return figures


def standalone(picture: str) -> str:
    """The `<svg>` element of a page as a file, in the light colours on their ground."""
    box = re.search(r'viewBox="[\d.]+ [\d.]+ ([\d.]+) ([\d.]+)"', picture)
    if box:
        width, height = (round(_SCALE * float(side)) for side in box.groups())
        picture = picture.replace("<svg", f'<svg width="{width}" height="{height}"', 1)
    colours = _light_colours()
    ground = f'<rect width="100%" height="100%" fill="{colours["ground"]}"/>'
    picture = re.sub(r"(<svg\b[^>]*>)", rf"\1\n {ground}", picture, count=1)
    for name, colour in colours.items():
        picture = picture.replace(f"var(--{name})", colour)
    return picture.replace("currentColor", colours["ink"]) + "\n"


@cache
def _light_colours() -> dict[str, str]:
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    light = style[: style.index("}")]
    return dict(re.findall(r"--(\w+): (#\w+)", light))


def write_figures(page: str | Path, folder: str | Path, *, prefix: str = "") -> list[Path]:
    """Writes each picture of a page as an SVG file.

    Args:
        prefix: begins the names of the files, which otherwise are the titles of the pictures.

    Raises:
        UserError: for a page that does not exist, or has no picture.
    """
    file = Path(page)
    if not file.is_file():
        raise UserError(f"{page}: no such page; give a report.html, or what --html wrote")
    figures = figures_of(file.read_text(encoding="utf-8", errors="replace"))
    if not figures:
        raise UserError(f"{page}: has no picture; give a report.html, or what --html wrote")
    Path(folder).mkdir(parents=True, exist_ok=True)
    written = []
    for name, picture in figures.items():
        written.append(Path(folder) / f"{prefix}{name}.svg")
        with replacing(written[-1], inputs=[file]) as f:
            f.write(picture)
    return written
