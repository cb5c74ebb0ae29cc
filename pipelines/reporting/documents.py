"""Scores, confusion, ablations and comparisons of runs as one document: Markdown, LaTeX or PDF.

The tables and pictures are those of the pages; no score is computed here. `markdown`, `latex` and
`pdf` write what `document_of` gathers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UserError
from pipelines.evaluation.tasks import TASKS
from pipelines.examples import JsonObject
from pipelines.reporting import plots
from pipelines.reporting.compare import compare_runs
from pipelines.reporting.comparison import compared, comparison_sections
from pipelines.reporting.page import Cell, Part, Picture, Section, Table
from pipelines.reporting.run_facts import Facts, run_facts
from pipelines.reporting.sections import headline, report_sections, scored_on
from pipelines.runs.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ABLATION = "ablation.json"  # what makes a folder an ablation
LARGEST_MATRIX = 24  # labels of a confusion matrix that is drawn


@dataclass(frozen=True, slots=True)
class Chapter:
    """What a document says of a run, an ablation or a comparison.

    Attributes:
        note: a paragraph under the title.
        facts: what was run.
        warnings: sentences of the report.
    """

    title: str
    note: str
    facts: Facts
    warnings: Sequence[str]
    sections: Sequence[Section]


@dataclass(frozen=True, slots=True)
class Document:
    """A title, authors as `NAME (ID)`, and chapters."""

    title: str
    authors: Sequence[str]
    chapters: Sequence[Chapter]


def write_document(document: Document, out: str | Path, format: str) -> list[Path]:
    """Writes a document; the file appears whole or not at all.

    Args:
        format: one of `writers()`.

    Returns:
        The file, and the folder of its pictures where it has one.
    """
    return writers()[format](document, Path(out))


def writers() -> dict[str, Callable[[Document, Path], list[Path]]]:
    """Ending of a file -> what writes it."""
    from pipelines.reporting import latex, markdown, pdf

    return {"md": markdown.write, "tex": latex.write, "pdf": pdf.write}


def document_of(
    folders: Sequence[str | Path],
    *,
    title: str | None = None,
    authors: Sequence[str] = (),
    gold: str | Path | None = None,
) -> Document:
    """Gathers a comparison for each task with several runs, the ablations, and each run.

    Args:
        folders: of finished runs, and of ablations (with `ablation.json`).
        title: by default the names of the folders.
        gold: the examples that all runs were scored on; by default the file that a run names.

    Raises:
        UserError: naming every folder that holds no scored run and no ablation; when runs of one
            task cannot be compared.
    """
    paths = [Path(folder) for folder in folders]
    ablations = [path for path in paths if (path / ABLATION).is_file()]
    runs = _runs([path for path in paths if path not in ablations])
    by_task: dict[str, list[Path]] = {}
    for run in runs:
        by_task.setdefault(run.task().name, []).append(run.folder)
    chapters = []
    for own in by_task.values():
        if len(own) > 1:
            chapters.append(_comparison(compare_runs(own, gold=gold)))
    chapters += [_ablation(path) for path in ablations]
    chapters += [_run(run) for run in runs]
    if not chapters:
        raise UserError("got no folder; wanted those of finished runs or of ablations")
    names = ", ".join(path.resolve().name for path in paths)
    return Document(title or f"Report on {names}", authors, chapters)


def _runs(paths: Sequence[Path]) -> list[Run]:
    """The runs in folders, all of them scored.

    Raises:
        UserError: with a line for each fault.
    """
    runs, faults = [], []
    for path in paths:
        try:
            run = Run.open(path)
            run.task()
        except UserError as error:
            faults.append(str(error))
            continue
        runs.append(run)
    if faults:
        raise UserError("\n".join(faults))
    return runs


def _run(run: Run) -> Chapter:
    report = run.report()
    name, value, ends = headline(report)
    task = TASKS[report["task"]].name.replace("_", " ").capitalize()
    sections = report_sections(report, trainer_log=run.training_log())
    return Chapter(
        f"Run {run.folder.resolve().name}",
        f"{task}: {name} {value} {ends}".rstrip() + f". {scored_on(report)}",
        run_facts(run.config(), run.provenance()),
        list(report.get("warnings", ())),
        [_with_matrix(section) for section in sections],
    )


def _comparison(comparison: JsonObject) -> Chapter:
    shared, sections = comparison_sections(comparison)
    title = f"Comparison of {len(comparison['runs'])} runs"
    # The warnings stand in the chapters of the runs.
    return Chapter(title, f"{compared(comparison)}.", shared, (), sections)


def _ablation(folder: Path) -> Chapter:
    # Imported here: with it come the libraries that train, which take seconds to load.
    from pipelines.reporting.ablation import ablation_sections, failures, summary

    file = folder / ABLATION
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
        note = f"{summary(results)}."
        sections = ablation_sections(results)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise UserError(f"{file}: damaged or cut off ({error!r}); run the ablation again") from None
    facts = run_facts(results["baseline"], Run(folder).provenance())
    name = folder.resolve().name
    title = f"Ablation of {results['recipe']} ({name})"
    return Chapter(title, note, facts, failures(results), sections)


def _with_matrix(section: Section) -> Section:
    """Adds a picture after each table whose cells are coloured."""
    parts: list[Part] = []
    for part in section.parts:
        parts.append(part)
        if isinstance(part, Table) and 0 < len(part.rows) <= LARGEST_MATRIX:
            heat = [[getattr(cell, "heat", None) for cell in row[1:]] for row in part.rows]
            shares = [[share for share in row if share is not None] for row in heat]
            if len(shares) == len(shares[0]):
                parts.append(_matrix(part, shares))
    return Section(section.id, section.title, parts)


def _matrix(table: Table, shares: Sequence[Sequence[float]]) -> Picture:
    labels = list(table.head[1:])
    side = 1.6 + 0.28 * len(labels)
    draw = partial(_draw_matrix, labels=labels, shares=shares)
    svg = partial(plots.svg, "confusion", draw, inches=(side, side))
    return Picture(svg, "Confusion", "Gold in rows, predicted in columns; % of the row.")


def _draw_matrix(axes: Axes, *, labels: Sequence[str], shares: Sequence[Sequence[float]]) -> None:
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
    positions = range(len(labels))
    names = [plots.shortened(label) for label in labels]
    axes.set_xticks(positions, names, rotation=90)
    axes.set_yticks(positions, names)
    axes.grid(visible=False)
    for row, numbers in enumerate(shares):
        for column, share in enumerate(numbers):
            colour = "white" if share > 0.6 else plots.INK
            if share >= 0.005:
                text = f"{100 * share:.0f}"
                axes.text(column, row, text, color=colour, ha="center", va="center", fontsize=7)


def texts(table: Table) -> list[list[str]]:
    """The cells of a table as text."""
    return [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in table.rows]


def fact_rows(facts: Facts) -> Iterator[tuple[str, str]]:
    """Name and value; a list has a row for each item, the name before the first."""
    for name, value in facts.items():
        items = [value] if isinstance(value, str) else value
        for position, item in enumerate(items):
            yield "" if position else name, item


def drawing_of(picture: Picture) -> str:
    """The `<svg>` element of a picture; a `plots.Drawing` where it can be drawn again."""
    return picture.svg if isinstance(picture.svg, str) else picture.svg()


def figures_folder(out: Path) -> Path:
    """Where the pictures of a document lie, by a name that needs no escaping."""
    return out.with_name(re.sub(r"[^A-Za-z0-9]+", "-", out.name).strip("-") + "-figures")


def column_blocks(widths: Sequence[float], available: float) -> list[list[int]]:
    """Splits the columns of a table that is too wide; the first column stands in each block.

    Args:
        widths: of the columns, with the space between them.
        available: the width of the page, in the same unit.

    Returns:
        The columns of each block.
    """
    blocks, used = [[0]], widths[0]
    for column in range(1, len(widths)):
        if used + widths[column] > available and len(blocks[-1]) > 1:
            blocks.append([0])
            used = widths[0]
        blocks[-1].append(column)
        used += widths[column]
    return blocks
