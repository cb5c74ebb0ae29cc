"""What a layout is inferred from, and what is inferred: which columns to fill, and with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pipelines.errors import UserError
from pipelines.examples import Example, Prediction
from pipelines.formatting import some
from pipelines.submission.columns import answer_columns, kept_columns, token_rows
from pipelines.submission.layouts import LAYOUTS
from pipelines.submission.sample import Sample


class Plan(NamedTuple):
    """What is written where.

    Attributes:
        layout: a name of `LAYOUTS`.
        columns: positions of the columns to fill.
        parts: for each the class, or the part of a mention, that it holds; or nothing.
        notes: what the user should know.
    """

    layout: str
    columns: tuple[int, ...]
    parts: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Inputs(NamedTuple):
    """All that a layout is inferred from; options are None where they are not given."""

    sample: Sample
    predictions: Sequence[Prediction]
    examples: Sequence[Example]
    format: str | None = None
    separator: str | None = None
    answer_column: str | None = None
    positive_class: str | None = None
    no_answer: str | None = None

    @property
    def classes(self) -> list[str]:
        """The classes of the predictions: those with scores, then those predicted."""
        names: dict[str, None] = {}
        for prediction in self.predictions:
            names |= dict.fromkeys(prediction.scores or ())
        for prediction in self.predictions:
            label = prediction.label
            names |= dict.fromkeys([label] if isinstance(label, str) else label or ())
        return list(names)

    def have(self, field: str) -> bool:
        """Whether every prediction has a field."""
        return all(getattr(prediction, field) is not None for prediction in self.predictions)

    def names(self, columns: Sequence[int]) -> list[str]:
        """The names of columns."""
        return [self.sample.name(column) for column in columns]

    def answers(self) -> list[str]:
        """The kinds of answers that every prediction has: `spans`, `label`, `value`."""
        kinds = [kind for kind in ("spans", "label", "value") if self.have(kind)]
        if "label" not in kinds and self.have("scores"):
            kinds.append("label")
        return kinds


def columns_to_fill(inputs: Inputs) -> list[int]:
    """Positions of the answer columns, where each row is an example."""
    kept = kept_columns(inputs.sample, inputs.examples)
    return answer_columns(inputs.sample, kept, inputs.answer_column)


def token_columns(inputs: Inputs) -> list[int] | None:
    """The columns to fill where each row is a token; None where it is not."""
    rows = token_rows(inputs.sample, inputs.examples)
    if rows is None:
        return None
    kept = kept_columns(inputs.sample, ()) | rows.columns
    return answer_columns(inputs.sample, kept, inputs.answer_column)


def one_column(inputs: Inputs, columns: Sequence[int], kind: str) -> int:
    """The only column to fill.

    Raises:
        UserError: when there are several.
    """
    if len(columns) == 1:
        return columns[0]
    raise UserError(
        f"{inputs.sample.path}: got several answer columns ({some(inputs.names(columns))}), "
        f"and the predictions have {kind}; name the column to fill with --answer_column, and the "
        "others stay as they are in the sample (texts are recognised with --input)"
    )


def undecided(inputs: Inputs, why: str, *layouts: str) -> UserError:
    """The error for several layouts that fit, with the option that decides."""
    options = " or ".join(f"--format {name} ({LAYOUTS[name].what})" for name in layouts)
    return UserError(f"{inputs.sample.path}: {why}; choose {options}")
