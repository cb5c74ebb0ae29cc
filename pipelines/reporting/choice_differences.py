"""Two runs on the same examples: mistakes side by side, and examples that only one has right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.corpora.predictions import read_predictions
from pipelines.errors import UserError
from pipelines.evaluation.counts import Pairs
from pipelines.evaluation.mistakes import KINDS, error_budget, find_mistakes
from pipelines.evaluation.reports import label_set
from pipelines.examples import Fields, Prediction, joined_by_id
from pipelines.formatting import count, score
from pipelines.reporting.browser import Row, browser
from pipelines.reporting.page import Cell, Table
from pipelines.reporting.page import Row as TableRow
from pipelines.runs.run import Run

SHOWN = 10  # examples that only one of the two has right, of each
CONFUSIONS = 12


@dataclass(frozen=True, slots=True)
class Difference:
    """An example that exactly one of two runs answers without a mistake.

    Attributes:
        id: of the example.
        right: the name of the run without a mistake.
        rows: name of a run -> the example with its answer.
    """

    id: str
    right: str
    rows: dict[str, Row]


@dataclass(frozen=True, slots=True)
class Differences:
    """What two runs answer differently on dev.

    Attributes:
        shown: some of the examples that only one has right.
        both: how many examples both have right.
        only: name -> how many examples it alone has right.
        neither: how many examples both have wrong.
    """

    shown: list[Difference]
    both: int
    only: dict[str, int]
    neither: int

    @property
    def counted(self) -> Table:
        """How many examples both, one or none has right."""
        rows = [("both", count(self.both))]
        rows += [(f"only {name}", count(number)) for name, number in self.only.items()]
        rows.append(("neither", count(self.neither)))
        return Table(("without a mistake", "examples of dev"), rows)


def read_answers(folder: Path, rungs: Sequence[Fields]) -> dict[str, Pairs]:
    """Name -> the examples of dev with the answers of a rung's run.

    Args:
        folder: of the choice, which the runs' folders are relative to.
        rungs: with a run.

    Raises:
        UserError: when a run has no answers to dev, or others than the first run's examples.
    """
    answers = {}
    for rung in rungs:
        run = Run.open(folder / str(rung["run"]))
        file = run.predictions("dev")
        if not file.is_file():
            raise UserError(f"{file}: no such file; wanted the answers to dev")
        examples = run.examples("dev")
        answers[str(rung["name"])] = joined_by_id(
            examples, read_predictions(file), allow_missing=_empty
        )
    ids = [{example.id for example, _ in pairs} for pairs in answers.values()]
    if any(own != ids[0] for own in ids):
        raise UserError(f"{' and '.join(answers)} have other examples in dev")
    return answers


def _empty(id: str) -> Prediction:
    return Prediction(id, spans=(), label=())


def differences(answers: Mapping[str, Pairs], answer: str) -> Differences:
    """Compares two runs example by example.

    Args:
        answers: of both, as `read_answers` gives them.
        answer: the field of a prediction that holds the answer: `spans` or `label`.
    """
    first, second = answers
    laid_out = {name: _rows(pairs, answer) for name, pairs in answers.items()}
    only: dict[str, list[Difference]] = {second: [], first: []}
    both = neither = 0
    for id in (example.id for example, _ in answers[first]):
        rows = {name: laid_out[name][id] for name in answers}
        right = [name for name in answers if not rows[name].kinds]
        if len(right) == 1:
            only[right[0]].append(Difference(id, right[0], rows))
        both += len(right) == 2
        neither += not right
    shown = [difference for own in only.values() for difference in own[:SHOWN]]
    return Differences(shown, both, {name: len(only[name]) for name in answers}, neither)


def _rows(pairs: Pairs, answer: str) -> dict[str, Row]:
    return {row.id: row for row in browser(pairs, answer, most=len(pairs)).rows}


def mistakes_beside(answers: Mapping[str, Pairs], answer: str) -> Table:
    """The error budgets of runs on dev, or their confusions of classes, in one table."""
    names, corpora = list(answers), list(answers.values())
    if answer == "spans":
        return _budgets(names, [_budget(pairs) for pairs in corpora])
    return _confusions(names, [_confused(pairs) for pairs in corpora])


def _budget(pairs: Pairs) -> dict[str, Fields]:
    gold = sum(len(example.spans or ()) for example, _ in pairs)
    predicted = sum(len(prediction.spans or ()) for _, prediction in pairs)
    generator = any(prediction.status is not None for _, prediction in pairs)
    strict = {"support": gold, "predicted": predicted}
    return dict(error_budget(find_mistakes(pairs), strict, generator=generator))


def _budgets(names: Sequence[str], budgets: Sequence[dict[str, Fields]]) -> Table:
    lost = {kind: [_lost(budget, kind) for budget in budgets] for kind in KINDS}
    most = max(max(values) for values in lost.values()) or 1.0
    rows: list[TableRow] = []
    for kind, values in sorted(lost.items(), key=lambda item: -max(item[1])):
        if any(values):
            cells = [Cell(score(value), share=value / most) for value in values]
            change = f"{100 * (values[1] - values[0]):+.2f}"
            rows.append((kind.replace("_", " "), *cells, change, KINDS[kind]))
    head = ("F1 lost by", *names, "difference", "meaning")
    note = "The losses of a model add up to what its strict F1 on dev lacks to 100."
    return Table(head, rows, note=note, prose=("meaning",))


def _lost(budget: dict[str, Fields], kind: str) -> float:
    return float(budget[kind]["lost"]) if kind in budget else 0.0


def _confusions(names: Sequence[str], counted: Sequence[Counter[str]]) -> Table:
    together = counted[0] + counted[1]
    frequent = [kind for kind, _ in together.most_common(CONFUSIONS)]
    most = max((max(own[kind] for own in counted) for kind in frequent), default=1)
    rows: list[TableRow] = []
    for kind in frequent:
        numbers = [own[kind] for own in counted]
        cells = [Cell(count(number), share=number / most) for number in numbers]
        rows.append((kind, *cells, f"{numbers[1] - numbers[0]:+d}"))
    note = f"Wrong answers on dev; the most frequent {len(rows)} of {len(together)} kinds."
    return Table(("gold → predicted", *names, "difference"), rows, note=note)


def _confused(pairs: Pairs) -> Counter[str]:
    """`gold → predicted` -> how often, of wrong answers."""
    counted: Counter[str] = Counter()
    for example, prediction in pairs:
        gold, predicted = label_set(example.label), label_set(prediction.label)
        if set(gold) != set(predicted):
            counted[f"{', '.join(gold) or 'none'} → {', '.join(predicted) or 'none'}"] += 1
    return counted
