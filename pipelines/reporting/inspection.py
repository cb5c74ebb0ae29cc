"""The page of an inspection: tokens in colours, heat maps of activations and saliency, layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.inspection import layers as layer_comparison
from pipelines.inspection.activations import TokenMatrix
from pipelines.inspection.layers import Layer
from pipelines.inspection.tags import Inspection
from pipelines.reporting import plots
from pipelines.reporting.page import Fragment, Part, Picture, Section, Table, write_page
from pipelines.reporting.run_facts import Facts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_TOKENS = 300  # of a heat map: a longer text shows its beginning
MOST_COLUMNS = 1024  # of a heat map; a wider module is averaged down
LAYER_NOTE = (
    "Sparsity (Hoyer 2004): 0 where all units of a token are equally strong, 1 where a single one "
    "is on. Fisher ratio of a unit: squared difference of its means over entity and other tokens, "
    "divided by the sum of its variances; the mean over the units, and the best unit. d′: how many "
    "standard deviations apart the two kinds of tokens are along the difference of their means."
)


@dataclass(frozen=True)
class InspectionResults:
    """What was asked of an inspection; the rest is empty.

    Attributes:
        module: the name of the module that the activations are of.
        examples: over how many the layers were compared.
    """

    inspection: Inspection | None = None
    saliency: TokenMatrix | None = None
    activations: TokenMatrix | None = None
    module: str = ""
    layers: Sequence[Layer] = ()
    examples: int = 0

    @property
    def has_pictures(self) -> bool:
        """Whether there is something that a terminal cannot show."""
        return bool(self.activations or self.saliency or self.layers)


def write_inspection(
    results: InspectionResults, out: str | Path, *, run: str, facts: Facts | None = None
) -> None:
    """Writes the results as one self-contained HTML file.

    Args:
        run: its folder.
        facts: what was run, as `run_facts` gives it, for the header.
    """
    sections = []
    note = [run]
    if results.inspection:
        note.append(f"example {results.inspection.id}")
        tokens = Fragment(results.inspection.to_html())
        sections.append(Section("tokens", "Tokens", [tokens]))
    if results.saliency:
        heading = "What each prediction depends on"
        sections.append(Section("saliency", heading, [_saliency_part(results.saliency)]))
    if results.activations:
        part = _activation_part(results.activations, results.module)
        sections.append(Section("activations", "Activations", [part]))
    if results.layers:
        note.append(f"layers over {results.examples:,} examples")
        sections.append(_layer_section(results.layers))
    title = "Inside a tagger"
    write_page(out, title=title, note=f"{'; '.join(note)}.", facts=facts, sections=sections)


def _saliency_part(matrix: TokenMatrix) -> Fragment:
    picture = _heat_map("saliency", matrix, across=matrix.tokens, label="token it depends on")
    note = (
        "Each row is the score of that token's predicted tag, each column a token it depends on: "
        "gradient × input, blue for the tag, red against it."
    )
    return Fragment(picture, note=note + _omissions(matrix))


def _activation_part(matrix: TokenMatrix, module: str) -> Fragment:
    width = matrix.values.shape[1]
    narrowed = f", averaged to {MOST_COLUMNS} columns" if width > MOST_COLUMNS else ""
    size = f"{len(matrix.tokens)} tokens × {width} units{narrowed}"
    note = f"{module}: {size}; blue over 0, red under it."
    return Fragment(_heat_map("activations", matrix, label="unit"), note=note + _omissions(matrix))


def _layer_section(layers: Sequence[Layer]) -> Section:
    height = 0.8 + 0.26 * len(layers)
    inches = (plots.INCHES[0], height)
    separation = plots.svg("separation", _draw_separation(layers), inches=inches)
    sparsity = plots.svg("sparsity", _draw_sparsity(layers), inches=inches)
    rows = [layer_comparison.layer_cells(layer) for layer in layers]
    parts: list[Part] = [
        Picture(separation, "d′ between entity tokens and others"),
        Picture(sparsity, "Sparsity"),
        Table(layer_comparison.HEAD, rows, note=LAYER_NOTE),
    ]
    return Section("layers", "How sharply entities stand out, layer by layer", parts)


def _heat_map(
    name: str, matrix: TokenMatrix, *, label: str, across: Sequence[str] | None = None
) -> str:
    """Rows are tokens; colours are symmetric about 0. It scrolls where the page is narrower.

    Args:
        across: names of the columns.
    """
    kept = [index for index, row in enumerate(matrix.rows) if row < MOST_TOKENS]
    if not kept:
        return f"<p>No entity among the first {MOST_TOKENS} tokens.</p>"
    rows = [_short(matrix.tokens[matrix.rows[index]]) for index in kept]
    columns = [_short(token) for token in (across or ())[:MOST_TOKENS]]
    values = matrix.values[kept]  # (R, N)
    values = values[:, : len(columns)] if columns else _narrowed(values)
    greatest = float(np.abs(values).max(initial=0)) or 1.0

    def draw(axes: Axes) -> None:
        image = axes.imshow(
            values,
            cmap="RdBu",
            vmin=-greatest,
            vmax=greatest,
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
        if columns:
            axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=8)
        axes.set_xlabel(label)
        axes.grid(visible=False)
        axes.figure.colorbar(image, ax=axes, pad=0.01, fraction=0.05)

    width = max(6.5, 1.6 + 0.22 * len(columns)) if columns else 9.5
    height = 1.0 + 0.19 * len(rows) + (0.9 if columns else 0)
    picture = plots.svg(name, draw, inches=(width, height))
    # Text keeps its size: a map that is wider than the page scrolls.
    return f'<div class="scroll"><div style="width:{6 * width:.1f}rem">{picture}</div></div>'


def _omissions(matrix: TokenMatrix) -> str:
    """What a heat map leaves out of a long text."""
    notes = ""
    if len(matrix.rows) < len(matrix.tokens):
        notes += f" Rows: the first {len(matrix.rows)} entity tokens."
    if len(matrix.tokens) > MOST_TOKENS:
        notes += f" The picture ends at token {MOST_TOKENS} of {len(matrix.tokens):,}."
    return notes


def _narrowed(values: np.ndarray) -> np.ndarray:
    """At most `MOST_COLUMNS` columns: neighbours are averaged."""
    if values.shape[1] <= MOST_COLUMNS:
        return values
    pieces = np.array_split(np.arange(values.shape[1]), MOST_COLUMNS)
    return np.stack([values[:, piece].mean(1) for piece in pieces], axis=1)


def _draw_separation(layers: Sequence[Layer]) -> Callable[[Axes], None]:
    d_primes = [layer.d_prime for layer in layers]

    def draw(axes: Axes) -> None:
        axes.barh(range(len(layers)), d_primes, color=plots.BLUE, height=0.7)
        _name_rows(axes, layers)
        axes.set_xlabel("d′")

    return draw


def _draw_sparsity(layers: Sequence[Layer]) -> Callable[[Axes], None]:
    rows = range(len(layers))
    entities = [layer.entity_sparsity for layer in layers]
    others = [layer.other_sparsity for layer in layers]

    def draw(axes: Axes) -> None:
        axes.plot(entities, rows, "o", color=plots.BLUE, label="entities")
        axes.plot(others, rows, "D", color=plots.ORANGE, markerfacecolor="none", label="others")
        _name_rows(axes, layers)
        axes.set_xlim(0, 1)
        axes.set_xlabel("Hoyer's sparsity")
        axes.legend(frameon=False)

    return draw


def _name_rows(axes: Axes, layers: Sequence[Layer]) -> None:
    axes.set_yticks(range(len(layers)), [layer.name for layer in layers])
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def _short(token: str) -> str:
    return token if len(token) <= 16 else f"{token[:15]}…"
