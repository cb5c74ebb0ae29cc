"""The answer of a choice of models: for a terminal, and as the page `choice.html`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from pipelines.errors import UserError
from pipelines.evaluation.choice import named, neighbour, paragraph
from pipelines.evaluation.tasks import TASKS, metric_name
from pipelines.examples import Fields, JsonObject
from pipelines.formatting import count, energy, interval, score, seconds, short_count, size
from pipelines.reporting.cascade import cascade_section
from pipelines.reporting.choice_differences import (
    SHOWN,
    Differences,
    differences,
    mistakes_beside,
    read_answers,
)
from pipelines.reporting.choice_pictures import learning_curves, quality_and_cost
from pipelines.reporting.page import Cell, Part, Row, Section, Table, write_page
from pipelines.reporting.text import sections_as_text
from pipelines.runs.run import Run

PAGE = "choice.html"
WHY_TEST = (
    "The best of several models on dev is partly the luckiest one there, so its dev score is too "
    "high on average. Only the chosen model, its neighbours and the baseline are scored on test, "
    "once, after the choice. Report these figures."
)


def choice_text(choice: JsonObject) -> str:
    """The paragraph and the table of rungs, for a terminal."""
    lines = [_answer(choice), *(f"note: {note}" for note in choice["notes"])]
    tables = [_summary(choice), *_unfinished(choice)]
    sections = [Section("rungs", "Models", [table]) for table in tables]
    return "\n".join([*lines, *sections_as_text(sections)])


def write_choice_page(choice: JsonObject, folder: Path) -> None:
    """Writes `choice.html` as one self-contained file into the folder of a choice.

    Args:
        choice: the content of `choice.json`.
        folder: which the runs' folders are relative to; it gives the command of its
            `provenance.json`, and the runs give their answers to dev.
    """
    found, sections = choice_sections(choice, folder)
    metric = metric_name(choice["metric"])
    goal = "" if choice["goal"] is None else f" for {metric} {score(choice['goal'])}"
    write_page(
        folder / PAGE,
        template="choice.html",
        title=f"Which model is enough{goal}?",
        answer=_answer(choice),
        note=_note(choice),
        facts=_facts(choice),
        sections=sections,
        spans=TASKS[choice["task"]].answer == "spans",
        differing=found.shown if found else [],
        number_differing=sum(found.only.values()) if found else 0,
        most=SHOWN,
    )


def choice_sections(choice: JsonObject, folder: Path) -> tuple[Differences | None, list[Section]]:
    """What two neighbours answer differently, and the sections of a page or a document."""
    beside, found = _beside(choice, folder)
    picture = quality_and_cost(choice)
    sections = [
        Section("models", "Models", [_scores(choice), *_unfinished(choice)]),
        Section("quality", "Quality against cost", [picture] if picture else []),
        Section("costs", "What they cost", [cost_table(choice), *_estimates(choice)]),
        Section("curves", "What more labels would add", list(_curves(choice))),
        *_cascade(choice),
        Section("errors", _beside_title(choice), beside),
        Section("test", "Test", list(_on_test(choice))),
        Section("repeat", "How this was made", list(_made(choice, folder))),
    ]
    return found, [section for section in sections if section.parts]


def _answer(choice: Fields) -> str:
    return str(choice["answer"].get("text") or paragraph(choice))


def _note(choice: Fields) -> str:
    """What was compared on what."""
    examples = choice["examples"]
    finished = [row for row in choice["rungs"] if row["status"] == "finished"]
    models = "1 model" if len(finished) == 1 else f"{len(finished)} models"
    parts = [f"{count(number)} of {split}" for split, number in examples.items() if number]
    task = choice["task"].replace("_", " ").capitalize()
    return f"{task}: {models} trained and compared; examples: {', '.join(parts)}. Scores times 100."


def _facts(choice: Fields) -> dict[str, str | list[str]]:
    files = [str(file) for file in choice["files"].values() if file]
    hardware = choice["machine"]
    processor = f"{hardware['cpu']}, {hardware['cores']} cores"
    budget = choice["budget_seconds"]
    price = choice["price_per_hour"]
    facts: dict[str, str | list[str]] = {
        "data": files,
        "machine": str(hardware.get("gpu") or processor),
        "seed": str(choice["seed"]),
        "time spent": seconds(choice["seconds_spent"]),
        "budget": seconds(budget),
        "price an hour": "" if price is None else f"{price:,.2f}",
    }
    return {name: value for name, value in facts.items() if value}


def _link(rung: Fields) -> Cell | str:
    """The name of a rung, with a link to the report of its run."""
    if rung["status"] != "finished" or not rung.get("run"):
        return str(rung["name"])
    return Cell(str(rung["name"]), link=f"{quote(str(rung['run']))}/report.html")


def _status(choice: Fields, rung: Fields) -> str:
    return "chosen" if rung["name"] == choice["answer"]["chosen"] else str(rung["status"])


def _finished(choice: Fields) -> list[Fields]:
    return [row for row in choice["rungs"] if row["status"] == "finished"]


def _summary(choice: Fields) -> Table:
    """The table of the terminal: all rungs with scores and costs."""
    rows = []
    for rung in choice["rungs"]:
        cost, estimate = rung.get("cost") or {}, rung.get("estimate") or {}
        within = f"{score(rung['score'])} {interval(rung['interval'])}".strip()
        times = seconds(estimate.get("seconds")), seconds(cost.get("seconds"))
        sizes = size(cost.get("memory")), size(cost.get("disk"))
        status = _status(choice, rung)
        rows.append((rung["name"], within, score(rung["unseen"]), *times, *sizes, status))
    named_metric = f"{metric_name(choice['metric'])} on dev"
    head = ("model", named_metric, "unseen", "estimated", "took", "memory", "disk", "status")
    return Table(*_without_empty(head, rows))


def _without_empty(head: Sequence[str], rows: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """The columns in which a row has something; the first is kept in any case."""
    kept = [i for i in range(len(head)) if i == 0 or any(row[i] for row in rows)]
    return [head[i] for i in kept], [[row[i] for i in kept] for row in rows]


def _scores(choice: Fields) -> Table:
    """The finished rungs with their scores and the test against the next one."""
    rows: list[Row] = []
    for rung in _finished(choice):
        value = Cell(score(rung["score"]), share=min(max(rung["score"], 0), 1))
        test = rung.get("next")
        tested = ("", "", "", "")
        if test:
            verdict = "significant" if test["significant"] else "not significant"
            delta = f"{100 * test['delta']:+.2f}"
            tested = (delta, interval(test["interval"]), f"{test['p']:.2g}", verdict)
        mark = "chosen" if rung["name"] == choice["answer"]["chosen"] else ""
        mark = "as good" if rung["name"] in choice["answer"]["tied"] else mark
        cells = interval(rung["interval"]), score(rung["unseen"])
        title = rung["title"] if rung["title"] != rung["name"] else ""
        rows.append((_link(rung), value, *cells, *tested, mark, title))
    head = (
        "model",
        metric_name(choice["metric"]),
        "95 % interval",
        "unseen",
        "next adds",
        "95 % interval",
        "p",
        "verdict",
        "choice",
        "what it is",
    )
    note = "On dev, the cheapest first. Next adds: what the next more expensive model adds, by a "
    note += "paired test."
    if any(row["unseen"] is not None for row in _finished(choice)):
        note += " Unseen: recall of mentions whose text is not in train."
    return Table(*_without_empty(head, rows), note=note, prose=("what it is",))


def _unfinished(choice: Fields) -> list[Table]:
    """The rungs that were not trained or failed, with the reason."""
    rows = []
    for rung in choice["rungs"]:
        if rung["status"] != "finished":
            estimate = (rung.get("estimate") or {}).get("seconds")
            rows.append((rung["name"], rung["status"], seconds(estimate), rung["reason"]))
    head, kept = _without_empty(("not compared", "status", "estimated", "reason"), rows)
    return [Table(head, kept, prose=("reason",))] if rows else []


def cost_table(choice: Fields) -> Table:
    """The finished rungs with what they took."""
    rows: list[Row] = []
    price = choice["price_per_hour"]
    for rung in _finished(choice):
        cost, estimate = rung.get("cost") or {}, rung.get("estimate") or {}
        times = seconds(estimate.get("seconds")), seconds(cost.get("seconds"))
        million = cost.get("seconds_per_million")
        paid = ""
        if price is not None and million is not None:
            paid = f"{million / 3600 * price:,.2f}"
        predicting = seconds(million), paid
        sizes = size(cost.get("memory")), size(cost.get("disk"))
        parameters = short_count(cost.get("parameters"))
        training = seconds(cost.get("training_seconds"))
        members = " + ".join(rung.get("members") or ())
        if rung.get("teachers"):
            members = f"taught by {', '.join(rung['teachers'])}"
        of_model = *sizes, parameters, energy(cost.get("watt_hours"))
        rows.append((rung["name"], *times, training, *predicting, *of_model, members))
    head = (
        "model",
        "estimated",
        "took",
        "training",
        "a million texts",
        "price of these",
        "memory",
        "disk",
        "parameters",
        "energy",
        "made of",
    )
    shown, kept = _without_empty(head, rows)
    note = "Took: to train and to predict dev."
    if "energy" in shown:
        note += " Energy is an estimate: seconds of the runs times power."
    return Table(shown, kept, note=note, prose=("made of",))


def _estimates(choice: Fields) -> Iterator[str]:
    """What the estimates of seconds were worth."""
    errors = choice["estimate_error"]
    if errors["median"] is not None:
        number = len(errors["rungs"])
        of = "1 model" if number == 1 else f"{number} models"
        worst = max(errors["rungs"], key=lambda name: abs(errors["rungs"][name]))
        off = f"{100 * errors['rungs'][worst]:+.0f} %"
        yield (
            f"The estimated seconds were off by {100 * errors['median']:.0f} % (median of {of}); "
            f"most for {worst} ({off})."
        )


def _curves(choice: Fields) -> Iterator[Part]:
    if choice["curves"]:
        # A page of its own, `pipelines.reporting.learning_curves`, may draw these instead.
        yield from learning_curves(choice)


def _cascade(choice: Fields) -> Iterator[Section]:
    curve = choice["cascade"]
    if curve:
        yield cascade_section(curve, curve["chosen"])


def _beside_title(choice: Fields) -> str:
    other = neighbour(choice)
    return f"Mistakes of {choice['answer']['chosen']} and {other['name']}" if other else "Mistakes"


def _beside(choice: Fields, folder: Path) -> tuple[list[Part], Differences | None]:
    """The mistakes of the chosen rung beside its neighbour's, and where they differ."""
    chosen, other = named(choice["rungs"], choice["answer"]["chosen"]), neighbour(choice)
    if chosen is None or other is None:
        return [], None
    answer = TASKS[choice["task"]].answer
    try:
        answers = read_answers(folder, (chosen, other))
    except (UserError, OSError) as error:
        return [f"Not compared: {error}"], None
    found = differences(answers, answer)
    return [mistakes_beside(answers, answer), found.counted], found


def _on_test(choice: Fields) -> Iterator[Part]:
    rows = []
    for rung in _finished(choice):
        test = rung.get("test")
        if test:
            change = f"{100 * (test['score'] - rung['score']):+.2f}"
            value = Cell(score(test["score"]), share=min(max(test["score"], 0), 1))
            ends = interval(test["interval"])
            mark = "chosen" if rung["name"] == choice["answer"]["chosen"] else ""
            rows.append((rung["name"], score(rung["score"]), value, ends, change, mark))
    if not rows:
        return
    head = ("model", "dev", "test", "95 % interval", "test − dev", "choice")
    yield Table(*_without_empty(head, rows))
    yield WHY_TEST


def _made(choice: Fields, folder: Path) -> Iterator[Part]:
    """Notes on the data, and the command that repeats the choice."""
    yield from choice["notes"]
    command = Run(folder).provenance().get("command")
    if command:
        yield f"To repeat it: python recipes/{shlex.join(command)}"
