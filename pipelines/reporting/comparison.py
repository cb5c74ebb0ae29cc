"""A comparison of runs, as `compare_runs` makes it, for a terminal and as a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from pipelines.evaluation.tasks import TASKS, metric_name
from pipelines.examples import Fields
from pipelines.formatting import energy, interval, score, seconds, short_count, size, some
from pipelines.reporting import plots
from pipelines.reporting.compare import COSTS
from pipelines.reporting.page import Cell, Picture, Section, Table, write_page
from pipelines.reporting.run_facts import Facts
from pipelines.reporting.text import sections_as_text

Comparison = Fields
Row = Fields  # of a run, or the test of two runs

DIFFERENCES_SHOWN = 8  # options of a run in a table
# Head -> the cell of a run's row, in the table of runs.
COLUMNS: dict[str, Callable[[Row], str]] = {
    "parameters": lambda row: short_count(row["parameters"]),
    "trained": lambda row: short_count(row["trained_parameters"]),
    "training": lambda row: seconds(row["training_seconds"]),
    "tokens/s": lambda row: short_count(row["training_tokens_per_second"]),
    "ms/example": lambda row: _milliseconds(row["ms_per_example"]),
    "memory": lambda row: size(row["peak_memory"]),
    "GPU memory": lambda row: size(row["peak_gpu_memory"]),
    "energy (est.)": lambda row: energy(row.get("energy")),
    "model/": lambda row: size(row["disk"]),
    "hardware": lambda row: row["hardware"],
    "what differs": lambda row: _differences(row["differs"]),
}


def comparison_as_text(comparison: Comparison) -> str:
    """The table, the verdicts and the Pareto fronts, for a terminal."""
    table = Section("runs", "Runs", [comparison_table(comparison)])
    lines = [compared(comparison), *(f"warning: {line}" for line in _warnings(comparison))]
    lines += [*sections_as_text([table]), ""]
    lines += [verdict(comparison, pair) for pair in comparison["verdicts"]]
    fronts = {COSTS[cost].name: names for cost, names in comparison["pareto"].items() if names}
    if fronts:
        lines.append("")
    lines += [f"Pareto front, {cost}: {', '.join(names)}" for cost, names in fronts.items()]
    return "\n".join(lines)


def write_comparison(comparison: Comparison, out: str | Path) -> None:
    """Writes the comparison as one self-contained HTML file."""
    shared, sections = comparison_sections(comparison)
    write_page(
        out,
        title=f"{len(comparison['runs'])} runs compared",
        note=f"{compared(comparison)}.",
        facts=shared,
        warnings=_warnings(comparison),
        sections=sections,
    )


def comparison_sections(comparison: Comparison) -> tuple[Facts, list[Section]]:
    """What the runs share, and the sections of a page or a document about them."""
    shared, own = split_facts({row["name"]: row["facts"] for row in comparison["runs"]})
    sections = [
        Section("runs", "Runs", [comparison_table(comparison)]),
        Section("verdicts", "Are neighbours different?", list(_verdict_tables(comparison))),
        Section("cost", "Quality against cost", list(_pictures(comparison))),
        Section("options", "What differs between the runs", [own] if own.rows else []),
    ]
    return shared, [section for section in sections if section.parts]


def comparison_table(comparison: Comparison) -> Table:
    """One row a run; columns that no run has a value for are left out."""
    scale = TASKS[comparison["task"]].scale
    runs = comparison["runs"]
    named = {head: [cell(row) for row in runs] for head, cell in COLUMNS.items()}
    columns = {head: cells for head, cells in named.items() if any(cells)}
    rows = []
    for position, row in enumerate(runs):
        share = min(max(row["value"], 0), 1) if scale == 100 else None
        value = Cell(score(row["value"], scale), share=share)
        costs = (cells[position] for cells in columns.values())
        rows.append((row["name"], value, interval(row["interval"], scale), *costs))
    notes = ["Best first; times 100." if scale == 100 else "Best first; less is better."]
    if "training" in columns:
        notes.append("Training and memory are of the whole job.")
    if "model/" in columns:
        notes.append("model/ is what the run saved, an adapter without its base.")
    head = ("run", metric_name(comparison["metric"]), "95 % interval", *columns)
    return Table(head, rows, note=" ".join(notes), prose=("hardware", "what differs"))


def verdict(comparison: Comparison, pair: Row) -> str:
    """A sentence such as `A > B, Δ = 1.90 [0.40, 3.30], p = 0.01`."""
    scale = TASKS[comparison["task"]].scale
    ends = interval(pair["interval"], scale)
    return f"{_outcome(pair)}, Δ = {score(pair['delta'], scale)} {ends}, p = {pair['p']:.2g}"


def split_facts(facts: Mapping[str, Facts]) -> tuple[Facts, Table]:
    """Splits what is known of runs into what they share and a table of what differs.

    Lists, of options for example, are split item by item. The machine is left out: it has a column
    among the costs.

    Args:
        facts: run -> its facts.
    """
    runs = list(facts.values())
    names = dict.fromkeys(name for own in runs for name in own if name != "machine")
    shared: dict[str, str | list[str]] = {}
    columns = {}
    for name in names:
        items = [_items(own.get(name, ())) for own in runs]
        common = [item for item in items[0] if all(item in others for others in items[1:])]
        differing = [[item for item in own if item not in common] for own in items]
        if common:
            shared[name] = common if isinstance(runs[0][name], list) else common[0]
        if any(differing):
            columns[name] = [", ".join(own) for own in differing]
    rows = []
    for position, run in enumerate(facts):
        rows.append((run, *(cells[position] for cells in columns.values())))
    return shared, Table(("run", *columns), rows if columns else [], prose=list(columns))


def _items(fact: str | Sequence[str]) -> Sequence[str]:
    return [fact] if isinstance(fact, str) else fact


def _outcome(pair: Row) -> str:
    first, second = pair["first"], pair["second"]
    if pair["better"] is None:
        return f"{first} and {second} do not differ significantly"
    return f"{first} {'>' if pair['delta'] > 0 else '<'} {second}"


def _differences(options: Row) -> str:
    """Options and values, separated by commas; in JSON stand all of them."""
    return some([f"{name} {_plain(value)}" for name, value in options.items()], DIFFERENCES_SHOWN)


def _plain(value: object) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _milliseconds(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:.3g}" if number < 100 else f"{number:,.0f}"


def compared(comparison: Comparison) -> str:
    """What was compared, and by which test."""
    task = comparison["task"].replace("_", " ").capitalize()
    examples = f"the same {comparison['examples']:,} examples of {comparison['split']}"
    what = f"{task}: {len(comparison['runs'])} runs on {examples}"
    if not comparison["verdicts"]:
        return what
    pair = comparison["verdicts"][0]
    test = pair["test"].replace("_", " ").replace("mcnemar", "McNemar's test")
    return (
        f"{what}; neighbours are tested by {test}, intervals of the difference Δ are from a paired "
        f"bootstrap of {pair['units']} {pair['unit']}s"
    )


def _warnings(comparison: Comparison) -> list[str]:
    """The warnings of the runs' reports, each after the name of its run."""
    runs = comparison["runs"]
    return [f"{row['name']}: {sentence}" for row in runs for sentence in row["warnings"]]


def _verdict_tables(comparison: Comparison) -> Iterator[Table]:
    scale = TASKS[comparison["task"]].scale
    rows = []
    for pair in comparison["verdicts"]:
        ends = interval(pair["interval"], scale)
        rows.append((_outcome(pair), score(pair["delta"], scale), ends, f"{pair['p']:.2g}"))
    if rows:
        yield Table(("verdict", "Δ", "95 % interval", "p"), rows)


def _pictures(comparison: Comparison) -> Iterator[Picture]:
    """Quality against each cost that at least two runs know."""
    for cost, front in comparison["pareto"].items():
        known = [row for row in comparison["runs"] if row[cost] is not None]
        if len(known) > 1:
            yield _picture(comparison, cost, known, front)


def _picture(
    comparison: Comparison,
    cost: str,
    rows: Sequence[Row],
    front: Sequence[str],
) -> Picture:
    task = TASKS[comparison["task"]]
    quality = metric_name(comparison["metric"])
    unit = COSTS[cost].unit
    draw = partial(
        plots.quality_against_cost,
        cost.replace("_", "-"),
        [(row["name"], row[cost] / unit, task.scale * row["value"]) for row in rows],
        front,
        cost=COSTS[cost].name,
        quality=quality,
        greater_is_better=task.greater_is_better,
    )
    note = (
        f"On the Pareto front: {', '.join(front)}. "
        "A cross marks a run that another beats or equals in both."
    )
    title = f"{quality[0].upper()}{quality[1:]} against {COSTS[cost].name}"
    return Picture(draw, title, note)
