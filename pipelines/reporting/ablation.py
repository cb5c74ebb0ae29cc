"""An ablation as a table for a terminal and as a page."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.evaluation.tasks import TASKS, Task, metric_name
from pipelines.examples import Fields
from pipelines.formatting import interval, score, seconds, short_count
from pipelines.reporting import plots
from pipelines.reporting.page import Cell, Part, Picture, Row, Section, Table, write_page
from pipelines.reporting.run_facts import run_facts
from pipelines.reporting.text import sections_as_text
from pipelines.runs.run import Run
from pipelines.studies.ablation.variants import BASELINE, as_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

logger = logging.getLogger(__name__)

PAGE = "ablation.html"
LONGEST_NAME = 36  # characters, in the picture
TEST_NOTE = (
    "Δ is to the baseline; its interval and p are of a paired test by example, with the answers of "
    "all seeds together. p is adjusted for the number of variants (Holm). sd is over seeds."
)


def report_ablation(results: Fields, folder: Path) -> None:
    """Logs the table and writes the page into the folder of the ablation."""
    logger.info("%s\n", ablation_as_text(results))
    write_ablation(results, folder / PAGE)
    logger.info("%-12s %s", "results", folder / "ablation.json")
    logger.info("%-12s %s", "page", folder / PAGE)


def ablation_as_text(results: Fields) -> str:
    """The tables and the verdict on the ranking, for a terminal."""
    return "\n".join([summary(results), *sections_as_text(list(_sections(results)))])


def write_ablation(results: Fields, out: str | Path) -> None:
    """Writes the page as one self-contained HTML file.

    Args:
        results: as `studies.ablation` writes them to `ablation.json`.
    """
    run = Run(Path(out).parent)
    write_page(
        out,
        title=f"Ablation of {results['recipe']}",
        note=f"{summary(results)}.",
        facts=run_facts(results["baseline"], run.provenance()),
        warnings=failures(results),
        sections=ablation_sections(results),
    )


def ablation_sections(results: Fields) -> list[Section]:
    """The sections of a page or a document about an ablation."""
    sections = list(_sections(results))
    sections.insert(1, Section("differences", "Differences", [_picture(results)]))
    return sections


def failures(results: Fields) -> list[str]:
    """A sentence for each variant that failed."""
    return [f"{row['name']} failed: {row['reason']}" for row in results["failed"]]


def summary(results: Fields) -> str:
    """What was tried on which examples, the baseline's score and the best."""
    task = _task(results)
    best, baseline = results["variants"][0], _baseline(results)
    number = len(results["variants"]) - 1
    examples = f"{results['examples']:,} examples of dev"
    seeds = f"seeds {', '.join(map(str, results['seeds']))}"
    named = metric_name(task.primary_metric)
    what = f"{number} variants on {examples}, {seeds}"
    own = f"baseline {score(baseline['value'], task.scale)}"
    if best["name"] == BASELINE:
        return f"{what}; {named}: {own}, which none exceeds"
    return f"{what}; {named}: {own}, best {score(best['value'], task.scale)} ({best['name']})"


def _task(results: Fields) -> Task:
    return TASKS[results["task"]]


def _baseline(results: Fields) -> Fields:
    [row] = [row for row in results["variants"] if row["name"] == BASELINE]
    found: Fields = row
    return found


def _sections(results: Fields) -> Iterator[Section]:
    yield Section("variants", "Variants", [_table(results)])
    tried = _tried(results)
    if tried.rows:
        yield Section("tried", "Options tried for a variant", [tried])
    if results["test"]:
        yield Section("test", "Test", list(_on_test(results)))


def _table(results: Fields) -> Table:
    task = _task(results)
    rows: list[Row] = []
    for row in results["variants"]:
        value = Cell(score(row["value"], task.scale), share=_share(row["value"], task))
        number = f"{len(row['values'])}/{len(results['seeds'])}"
        cost = seconds(row["training_seconds"]), short_count(row["parameters"])
        rows.append((row["name"], value, _sd(row, task), number, *_test(row, task), *cost))
    sets = [_sets(row) for row in results["variants"]]
    if any(sets):
        rows = [(*row, options) for row, options in zip(rows, sets, strict=True)]
    head = (
        "variant",
        metric_name(task.primary_metric),
        "sd",
        "seeds",
        "Δ",
        "95 % interval",
        "p",
        "verdict",
        "training",
        "parameters",
        *(["sets"] if any(sets) else []),
    )
    return Table(head, rows, note=f"Best on dev first. {TEST_NOTE}", prose=("sets",))


def _sets(row: Fields) -> str:
    """The options of a variant; empty where its name says them."""
    options = [f"{name}={as_text(value)}" for name, value in row["options"].items()]
    return "" if options == [row["name"]] else ", ".join(options)


def _share(value: float, task: Task) -> float | None:
    return min(max(value, 0), 1) if task.scale == 100 else None


def _sd(row: Fields, task: Task) -> str:
    return score(row["sd"], task.scale)


def _test(row: Fields, task: Task) -> tuple[str, str, str, str]:
    """Δ, its interval, p and the verdict; empty for the baseline."""
    if "delta" not in row:
        return "", "", "", ""
    sign = "+" if row["delta"] > 0 else ""
    verdict = {"variant": "better", "baseline": "worse"}.get(row["better"] or "", "")
    delta = f"{sign}{score(row['delta'], task.scale)}"
    return delta, interval(row["interval"], task.scale), f"{row['p_holm']:.2g}", verdict


def _tried(results: Fields) -> Table:
    task = _task(results)
    rows = []
    for row in results["variants"]:
        best = max((own["value"] for own in row["tried"]), default=None)
        if not task.greater_is_better:
            best = min((own["value"] for own in row["tried"]), default=None)
        for own in row["tried"]:
            mark = "chosen" if own["value"] == best else ""
            value = score(own["value"], task.scale)
            rows.append((row["name"], own["name"], value, mark))
            best = None if mark else best
    head = ("variant", "options", metric_name(task.primary_metric), "choice")
    note = f"On dev, with seed {results['seeds'][0]}."
    return Table(head, rows, note=note, prose=("options", "choice"))


def _on_test(results: Fields) -> Iterator[Part]:
    task, test = _task(results), results["test"]
    rows = []
    for row in test["variants"]:
        value = Cell(score(row["value"], task.scale), share=_share(row["value"], task))
        dev = score(row["dev"], task.scale)
        rows.append((row["name"], dev, value, _sd(row, task), *_test(row, task)))
    named = metric_name(task.primary_metric)
    head = ("variant", f"dev {named}", f"test {named}", "sd", "Δ", "95 % interval", "p", "verdict")
    note = f"{test['examples']:,} examples, scored once on {test['scored'][:10]}; best first."
    yield Table(head, rows, note=note)
    yield ranking(test)


def ranking(test: Fields) -> str:
    """Whether the ranking of dev held on test, in a sentence or two."""
    tau = test["kendall"]
    correlation = "" if tau is None else f" (Kendall's τ = {tau:.2f})"
    on_dev = test["dev_ranking"][0]
    best = f"{on_dev} is the best of these on both" if on_dev == test["best"] else ""
    best = best or f"{on_dev} is the best of these on dev, {test['best']} on test"
    if not test["swapped"]:
        return f"Dev's ranking held on test{correlation}: {best}."
    pairs = ", ".join(f"{a} and {b}" for a, b in test["swapped"])
    return f"Dev's ranking did not hold on test{correlation}: {best}. Swapped: {pairs}."


def _picture(results: Fields) -> Picture:
    """The difference of each variant to the baseline, with its interval."""
    task = _task(results)
    rows = [row for row in results["variants"] if "delta" in row]
    title = f"Difference in {metric_name(task.primary_metric)} to the baseline"
    inches = (plots.INCHES[0] * 1.4, 0.28 * len(rows) + 0.7)
    draw = partial(_draw, rows=rows, baseline=_baseline(results), scale=task.scale)
    svg = partial(plots.svg, "differences", draw, inches=inches)
    note = (
        "Lines are 95 % intervals over examples, blue where the difference is significant; small "
        "dots are seeds."
    )
    return Picture(svg, title, note)


def _draw(axes: Axes, *, rows: Sequence[Fields], baseline: Fields, scale: int) -> None:
    for position, row in enumerate(rows):
        colour = plots.BLUE if row["better"] else plots.FAINT
        ends = [scale * end for end in row["interval"]]
        axes.plot(ends, [position, position], "|-", color=colour, markersize=9)
        axes.plot(scale * row["delta"], position, "D", color=colour, markersize=5)
        for seed in map(str, row["compared_seeds"]):
            difference = row["values"][seed] - baseline["values"][seed]
            axes.plot(scale * difference, position, ".", color=plots.INK, markersize=4)
    axes.axvline(0, color=plots.ORANGE, linewidth=1)
    axes.set_yticks(range(len(rows)), [_shortened(row["name"]) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)


def _shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
