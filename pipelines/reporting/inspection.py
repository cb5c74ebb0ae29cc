"""The page of one inspection: the tokens in colours, heat maps of activations and saliency, and the layers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from pipelines.inspection.activations import Layer, TokenMatrix, layer_cells, layer_head
from pipelines.inspection.tags import Inspection
from pipelines.reporting import plots
from pipelines.reporting.page import Fragment, Picture, Section, Table, write_page

MOST_TOKENS = 300  # of a heat map: a longer text shows its beginning
MOST_COLUMNS = 1024  # of a heat map; a wider module is averaged down
LAYER_NOTE = (
    "Sparsity (Hoyer 2004): 0 where all units of a token are equally strong, 1 where a single one is on. Fisher ratio "
    "of a unit: squared difference of its means over entity and other tokens, by the sum of its variances; the mean "
    "over the units, and the best unit. d′: how many standard deviations apart the two kinds of tokens are along the "
    "difference of their means.")


def write_inspection(out: str | Path, *, run: str, inspection: Inspection | None = None,
                     activations: tuple[str, TokenMatrix] | None = None, saliency: TokenMatrix | None = None,
                     layers: Sequence[Layer] = (), examples: int = 0) -> None:
    """Writes what was asked for as one HTML file that needs nothing else.

    Args:
        run: its folder, for the heading.
        activations: name of the module, and its activations.
        examples: over how many the layers were compared.
    """
    sections = []
    if inspection:
        sections.append(Section("tokens", "Tokens", [Fragment(inspection.to_html())]))
    if saliency:
        sections.append(Section("saliency", "What each prediction leans on", [Fragment(
            _heat_map("saliency", saliency, across=saliency.tokens, label="token it leans on"), note=(
                "In each row the score of that token's predicted tag, in the columns the tokens it leans on: gradient "
                "× input, blue for the tag, red against it." + _shown(saliency)))]))
    if activations:
        name, matrix = activations
        width = matrix.values.shape[1]
        narrowed = f", averaged to {MOST_COLUMNS} columns" if width > MOST_COLUMNS else ""
        note = f"{name}: {len(matrix.tokens)} tokens × {width} units{narrowed}; blue over 0, red under it."
        sections.append(Section("activations", "Activations", [Fragment(
            _heat_map("activations", matrix, label="unit"), note=note + _shown(matrix))]))
    if layers:
        sections.append(Section("layers", "How sharply entities stand out, layer by layer", [
            Picture(_separation(layers), "d′ between entity tokens and others"),
            Picture(_sparsity(layers), "Sparsity"),
            Table(layer_head(), list(map(layer_cells, layers)), note=LAYER_NOTE)]))
    facts = f"{run}{f'; example {inspection.id}' if inspection else ''}" \
            f"{f'; layers over {examples:,} examples' if layers else ''}."
    write_page("page.html", out, title="Looking inside", facts=facts, sections=sections)


def _heat_map(name: str, matrix: TokenMatrix, *, label: str, across: Sequence[str] | None = None) -> str:
    """Rows are tokens; colours are symmetric about 0. It scrolls where the page is narrower than it."""
    kept = [place for place, row in enumerate(matrix.rows) if row < MOST_TOKENS]
    if not kept:
        return f"<p>No entity among the first {MOST_TOKENS} tokens.</p>"
    rows = [matrix.tokens[matrix.rows[place]] for place in kept]
    across = across and across[:MOST_TOKENS]
    values = _narrowed(matrix.values[kept][:, :MOST_TOKENS] if across else matrix.values[kept])
    greatest = float(np.abs(values).max(initial=0)) or 1.0
    inches = (max(6.5, 1.6 + 0.22 * len(across)) if across else 9.5, 1.0 + 0.19 * len(rows) + (0.9 if across else 0))

    def draw(axes: Axes) -> None:
        image = axes.imshow(values, cmap="RdBu", vmin=-greatest, vmax=greatest, aspect="auto",
                            interpolation="nearest")
        axes.set_yticks(range(len(rows)), [_short(row) for row in rows], fontsize=8)
        if across:
            axes.set_xticks(range(len(across)), [_short(token) for token in across], rotation=90, fontsize=8)
        axes.set_xlabel(label)
        axes.grid(visible=False)
        axes.figure.colorbar(image, ax=axes, pad=0.01, fraction=0.05)

    picture = plots.svg(name, draw, inches=inches)
    # Text keeps its size: a map that is wider than the page scrolls.
    return f'<div class="scroll"><div style="width:{6 * inches[0]:.1f}rem">{picture}</div></div>'


def _shown(matrix: TokenMatrix) -> str:
    """What a heat map leaves out of a long text."""
    notes = []
    if len(matrix.rows) < len(matrix.tokens):
        notes.append(f"Rows: the first {len(matrix.rows)} entity tokens.")
    if len(matrix.tokens) > MOST_TOKENS:
        notes.append(f"The picture ends at token {MOST_TOKENS} of {len(matrix.tokens):,}.")
    return "".join(f" {note}" for note in notes)


def _narrowed(values: np.ndarray) -> np.ndarray:
    """At most so many columns as can be told apart: neighbours are averaged."""
    if values.shape[1] <= MOST_COLUMNS:
        return values
    pieces = np.array_split(np.arange(values.shape[1]), MOST_COLUMNS)
    return np.stack([values[:, piece].mean(1) for piece in pieces], axis=1)


def _separation(layers: Sequence[Layer]) -> str:
    def draw(axes: Axes) -> None:
        axes.barh(range(len(layers)), [layer.d_prime for layer in layers], color=plots.BLUE, height=0.7)
        _name_rows(axes, layers)
        axes.set_xlabel("d′")

    return plots.svg("separation", draw, inches=(plots.INCHES[0], 0.8 + 0.26 * len(layers)))


def _sparsity(layers: Sequence[Layer]) -> str:
    def draw(axes: Axes) -> None:
        places = range(len(layers))
        axes.plot([layer.entity_sparsity for layer in layers], places, "o", color=plots.BLUE, label="entities")
        axes.plot([layer.other_sparsity for layer in layers], places, "D", color=plots.ORANGE, markerfacecolor="none",
                  label="others")
        _name_rows(axes, layers)
        axes.set_xlim(0, 1)
        axes.set_xlabel("Hoyer's sparsity")
        axes.legend(frameon=False)

    return plots.svg("sparsity", draw, inches=(plots.INCHES[0], 0.8 + 0.26 * len(layers)))


def _name_rows(axes: Axes, layers: Sequence[Layer]) -> None:
    axes.set_yticks(range(len(layers)), [layer.name for layer in layers])
    axes.set_ylim(len(layers) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def _short(token: str) -> str:
    return token if len(token) <= 16 else f"{token[:15]}…"
