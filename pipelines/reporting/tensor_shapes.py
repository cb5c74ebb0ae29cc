"""The shapes in a transformer layer as a table for a terminal, and as a diagram."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from pipelines.corpora.writing import replacing
from pipelines.formatting import size, text_table
from pipelines.studies.tensor_shapes import Count, LayerShapes, StepShape

HEAD = ("step", "shape", "numbers", "parameters", "number")
PROSE = ("shape", "numbers", "parameters")
LETTERS = {
    "B": "texts",
    "T": "tokens",
    "H": "width",
    "A": "heads",
    "K": "key-value heads",
    "d": "width of a head",
    "F": "feed-forward width",
}
FLOAT32 = 4  # bytes of a number

# The diagram: pixels.
BOX, HEIGHT, GAP, MARGIN = 310, 46, 22, 40
SKIP = MARGIN / 2  # where a line leads past attention or the feed-forward network
WIDTH = 3 * BOX + 2 * GAP + 2 * MARGIN
COLUMNS = {"Q": 0, "K": 1, "V": 2}
Place = tuple[float, float]  # left and top of a box
COLORS = {
    "weights": "#dbe7f6",
    "dropout": "#fbe3cf",
    "map": "#e3f1dc",
    "plain": "#f4f4f2",
}
STYLE = (
    "text{font:13px sans-serif;fill:#1c1c1c;text-anchor:middle}"
    ".name{font-weight:600}.small{font-size:11.5px;fill:#444}.left{text-anchor:start}"
    "rect{stroke:#8a8a8a;stroke-width:1}path{stroke:#666;stroke-width:1.3;fill:none}"
)


def shapes_as_text(shapes: LayerShapes) -> str:
    """One line a step, and the sums."""
    rows = [_cells(step) for step in shapes.steps]
    lines = [_title(shapes), sizes_line(shapes), "", *text_table(HEAD, rows, prose=PROSE), ""]
    lines += [_count_line("parameters of the layer", shapes.parameters)]
    if shapes.layers > 1:
        total = shapes.layers * shapes.parameters.value
        lines.append(f"parameters of {shapes.layers} such layers: {total:,}")
    lines.append(_count_line("multiply-adds of a forward pass", shapes.multiply_adds))
    largest = shapes.sizes.value("B·A·T·T")
    lines.append(
        f"each attention map: B·A·T·T = {largest:,} numbers, {size(FLOAT32 * largest)} in float32"
    )
    if not shapes.agrees:
        lines.append("what ran is not what the formulas say: see the rows marked with !=")
    return "\n".join(lines)


def _title(shapes: LayerShapes) -> str:
    return f"one layer of {shapes.kind}, run in training mode on the meta device"


def sizes_line(shapes: LayerShapes) -> str:
    """`B = 10 (texts), T = 90 (tokens), …`."""
    values = [f"{name} = {getattr(shapes.sizes, name):,} ({of})" for name, of in LETTERS.items()]
    return ", ".join(values)


def _count_line(what: str, count: Count) -> str:
    agrees = "as counted" if count.agrees else f"!= counted {count.counted:,}"
    return f"{what}: {count.formula} = {count.value:,} ({agrees})"


def _cells(step: StepShape) -> list[str]:
    shape = _numbers(step.shape)
    if step.shape != step.formula:
        shape += f" != {_numbers(step.formula)}"
    parameters = f"{step.parameters:,}" if step.parameters else ""
    if step.parameters != step.formula_parameters:
        parameters += f" != {step.formula_parameters:,}"
    return [_name(step), _symbols(step), shape, step.step.parameters, parameters]


def _name(step: StepShape) -> str:
    if step.dropout is None:
        return step.step.name
    return f"{step.step.name}, p = {step.dropout:g}"


def _symbols(step: StepShape) -> str:
    return " × ".join(step.step.shape)


def _numbers(shape: Sequence[int]) -> str:
    return " × ".join(f"{number:,}" for number in shape)


def write_diagram(shapes: LayerShapes, out: str | Path) -> None:
    """Draws the layer from its input at the top to its output as an SVG file."""
    svg = diagram(shapes)
    with replacing(Path(out)) as f:
        f.write(svg)


def diagram(shapes: LayerShapes) -> str:
    """The layer as an `<svg>` document: the way of Q, K and V side by side, the rest below."""
    y = MARGIN / 2
    parts: list[str] = []
    for line, kind in ((_title(shapes), "name"), (sizes_line(shapes), "small")):
        y += 20
        parts.append(_text(MARGIN, y, line, f"{kind} left"))
    places = _places(shapes.steps, y + GAP)
    parts += [_box(step, *place) for step, place in zip(shapes.steps, places, strict=True)]
    parts += _lines(shapes.steps, places)
    y = places[-1][1] + HEIGHT + GAP
    for what, count in (
        ("parameters (p.) of the layer", shapes.parameters),
        ("multiply-adds of a forward pass", shapes.multiply_adds),
    ):
        y += 20
        parts.append(_text(MARGIN, y, _count_line(what, count), "small left"))
    frame = f'viewBox="0 0 {WIDTH} {y + GAP}" width="{WIDTH}" height="{y + GAP}"'
    background = '<rect width="100%" height="100%" style="fill:#fff;stroke:none"/>'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {frame}>', f"<style>{STYLE}</style>"]
    return "\n".join([*lines, background, *parts, "</svg>\n"])


def _lane(step: StepShape) -> str:
    """Q, K or V where a step is only of one of them, else nothing."""
    first = step.step.name.split(" ")[0]
    return first if first in COLUMNS else ""


def _places(steps: Sequence[StepShape], y: float) -> list[Place]:
    """Where the box of each step begins: Q, K and V side by side, all else in the middle."""
    bottoms = dict.fromkeys(COLUMNS, y)
    places: list[Place] = []
    for step in steps:
        lane = _lane(step)
        column = COLUMNS[lane] if lane else 1
        top = bottoms[lane] if lane else max(bottoms.values())
        places.append((MARGIN + column * (BOX + GAP), top))
        below = top + HEIGHT + GAP
        bottoms = bottoms | {lane: below} if lane else dict.fromkeys(COLUMNS, below)
    return places


def _lines(steps: Sequence[StepShape], places: Sequence[Place]) -> list[str]:
    """What each box reads: those before it, V further below, and what is added to it."""
    parts: list[str] = []
    last: dict[str, Place] = {}  # the lowest box of each lane; "" is the middle
    skipped = places[0]
    for step, place in zip(steps, places, strict=True):
        lane, name = _lane(step), step.step.name
        x, y = place
        if lane:
            parts.append(_bend(last.get(lane, last[""]), place))
        elif name.startswith("scores"):
            parts += [_bend(last["Q"], place), _bend(last["K"], place)]
        elif last:
            parts.append(_bend(last[""], place))
        if name == "weighted sum of V":
            from_x, from_y = last["V"]
            side = y + HEIGHT / 2
            parts.append(f'<path d="M{from_x + BOX / 2} {from_y + HEIGHT} V{side} H{x + BOX}"/>')
        if name.startswith("add"):
            above, side = skipped[1] + HEIGHT * 3 / 4, y + HEIGHT / 4
            path = f"M{skipped[0]} {above} H{SKIP} V{side} H{x}"
            parts.append(f'<path d="{path}" stroke-dasharray="5 3"/>')
            skipped = place
        last[lane] = place
    return parts


def _box(step: StepShape, x: float, y: float) -> str:
    fill = COLORS[_kind(step)]
    center = x + BOX / 2
    shape = f"{_symbols(step)} = {_numbers(step.shape)}"
    if step.parameters:
        shape += f"  ({step.parameters:,} p.)"
    return "\n".join(
        [
            f'<rect x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="5" style="fill:{fill}"/>',
            _text(center, y + 18, _name(step), "name"),
            _text(center, y + 36, shape, "small"),
        ]
    )


def _kind(step: StepShape) -> str:
    if step.dropout is not None:
        return "dropout"
    if step.step.shape[-2:] == ("T", "T"):
        return "map"
    return "weights" if step.parameters else "plain"


def _text(x: float, y: float, text: str, kind: str) -> str:
    return f'<text x="{x}" y="{y}" class="{kind}">{escape(text)}</text>'


def _bend(above: Place, below: Place) -> str:
    """A line from the bottom of a box to the top of another, straight or with a step."""
    x, y = above[0] + BOX / 2, above[1] + HEIGHT
    to_x, to_y = below[0] + BOX / 2, below[1]
    return f'<path d="M{x} {y} V{to_y - GAP / 2} H{to_x} V{to_y}"/>'
