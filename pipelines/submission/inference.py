"""Which layout a sample asks for, by what its columns are called, its cells and the predictions.

Where two layouts are possible it is an error that names both, and the option that decides.
"""

from __future__ import annotations

from pipelines.errors import DataError, UserError
from pipelines.formatting import some
from pipelines.submission.class_layouts import class_columns, plan_classes, positive_class
from pipelines.submission.layouts import layout_names, layout_of
from pipelines.submission.plan import (
    Inputs,
    Plan,
    columns_to_fill,
    one_column,
    token_columns,
    undecided,
)
from pipelines.submission.span_layouts import plan_spans, span_columns
from pipelines.submission.style import check_numbers


def plan_submission(inputs: Inputs) -> Plan:
    """Decides what to write into which columns.

    Raises:
        UserError: where no layout fits or several do, with the option that decides.
        DataError: where predictions lack what the layout is written from.
    """
    if inputs.format is not None:
        return _plan_as_asked(inputs, inputs.format)
    readers = {"spans": plan_spans, "label": plan_classes, "value": _plan_value}
    kinds = inputs.answers()
    if not kinds:
        raise DataError(
            "the predictions have different kinds of answers; wanted spans, a label or "
            "a value in every one"
        )
    plans, errors = [], []
    for kind in kinds:
        try:
            plans.append(readers[kind](inputs))
        except UserError as error:
            errors.append(error)
    if not plans:
        raise errors[0]
    if len(plans) > 1:
        raise undecided(inputs, "the predictions hold several answers", *(p.layout for p in plans))
    return plans[0]


def _plan_as_asked(inputs: Inputs, name: str) -> Plan:
    layout = layout_of(name)
    if not inputs.have(layout.answer):
        without = [p.id for p in inputs.predictions if getattr(p, layout.answer) is None]
        raise DataError(
            f"the layout {name} is written from {layout.answer!r}, which {len(without)} "
            f"predictions do not have ({some(without, 3)}); choose another with --format: "
            f"{layout_names()}"
        )
    columns = (token_columns(inputs) if layout.rows == "token" else None) or columns_to_fill(inputs)
    if layout.columns == "classes":
        return class_columns(inputs, columns, name)
    if layout.columns == "parts":
        return span_columns(inputs, columns)
    column = one_column(inputs, columns, f"one answer in the layout {name}")
    part = positive_class(inputs, column) if name == "probability" else ""
    return Plan(name, (column,), (part,))


def _plan_value(inputs: Inputs) -> Plan:
    column = one_column(inputs, columns_to_fill(inputs), "one value each")
    check_numbers(inputs.sample, [column])
    return Plan("value", (column,), ("",))
