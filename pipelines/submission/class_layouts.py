"""The layout of a sample whose answers are classes: names, probabilities, or marks of 0 and 1."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.errors import DataError, UserError
from pipelines.formatting import some
from pipelines.submission.columns import classes_of_columns
from pipelines.submission.layouts import LAYOUTS
from pipelines.submission.plan import Inputs, Plan, columns_to_fill, one_column, undecided
from pipelines.submission.sample import is_number
from pipelines.submission.style import MARKS, NO_ANSWER, check_numbers, json_list

# Names of two classes, the second of which is the one whose probability is asked for.
BINARY = ({"0", "1"}, {"false", "true"}, {"no", "yes"}, {"f", "t"}, {"n", "y"})
POSITIVE = {"1", "true", "yes", "t", "y"}
# The cells of columns of 0 and 1.
MARKED = {mark for marks in MARKS for mark in marks}


def plan_classes(inputs: Inputs) -> Plan:
    """Decides how classes are written.

    Raises:
        DataError: for probabilities without scores.
        UserError: where the layout is undecided or the columns are not the classes.
    """
    columns = columns_to_fill(inputs)
    matches = classes_of_columns(inputs.names(columns), inputs.classes)
    if matches is not None:
        return class_columns(inputs, columns, None)
    column = one_column(inputs, columns, "classes, which are not the names of these columns")
    return _one_class_column(inputs, column)


def class_columns(inputs: Inputs, columns: Sequence[int], asked: str | None) -> Plan:
    """A column for each class, by its name.

    Args:
        inputs: what is known.
        columns: positions of the columns to fill.
        asked: the layout, if the caller says so.

    Raises:
        DataError: for probabilities without scores.
        UserError: where columns and classes are not the same, or two layouts fit.
    """
    sample, names = inputs.sample, inputs.names(columns)
    matches = classes_of_columns(names, inputs.classes) or [None] * len(names)
    check_numbers(sample, columns)
    cells = {cell for column in columns for cell in sample.answers(column)}
    name = asked or _layout_of_class_columns(inputs, cells)
    has_scores = inputs.have("scores")
    if name == "class_probabilities" and not has_scores:
        raise DataError(
            f"{sample.path}: its columns ({some(names, 3)}) want a probability each, and the "
            'predictions have no "scores"; predict with a model that gives them'
        )
    unnamed = [n for n, part in zip(names, matches, strict=True) if part is None]
    # A single column is for one of two classes; the other needs none.
    left = [part for part in inputs.classes if part not in matches] if len(columns) > 1 else []
    # Without scores, nothing names the classes that were never predicted.
    unseen = unnamed if name == "one_hot" and not has_scores and cells <= MARKED else []
    if left or len(unnamed) > len(unseen) or not any(matches):
        raise UserError(
            f"{sample.path}: its columns are not the classes of the predictions: columns without a "
            f"class {some(unnamed) or 'none'}, classes without a column "
            f"{some(left) or 'none'}; name the columns of classes with --answer_column"
        )
    parts = tuple(part or n for part, n in zip(matches, names, strict=True))
    notes = (f"no prediction has {some(unseen)}",) if unseen else ()
    return Plan(name, tuple(columns), parts, notes)


def _layout_of_class_columns(inputs: Inputs, cells: set[str]) -> str:
    """Probabilities, or 0 and 1, by what the cells show and the predictions have.

    Raises:
        UserError: where both fit.
    """
    if not cells <= MARKED:
        return "class_probabilities"
    if not inputs.have("scores"):
        return "one_hot"
    if not inputs.have("label"):
        return "class_probabilities"
    why = f"its cells ({some(sorted(cells), 3) or 'all empty'}) fit two layouts"
    raise undecided(inputs, why, "class_probabilities", "one_hot")


def _one_class_column(inputs: Inputs, column: int) -> Plan:
    """One column, for the class or for the probability of one class.

    Raises:
        UserError: where both are possible, or neither.
    """
    sample = inputs.sample
    cells = set(sample.answers(column))
    shows_classes = bool(cells) and cells <= set(inputs.classes)
    numbers = [cell for cell in cells if is_number(cell)]
    has_points = any(not re.fullmatch(r"[-+]?\d+", cell) for cell in numbers)
    has_fractions = any(float(cell.replace(",", ".")) % 1 for cell in numbers)
    may_be_probability = (
        inputs.have("scores")
        and len(inputs.classes) <= 2
        and all(map(LAYOUTS["probability"].valid, cells))
    )
    must_be_probability = (has_fractions and not shows_classes) or not inputs.have("label")
    is_probability = may_be_probability and must_be_probability
    if inputs.positive_class is not None or is_probability:
        return Plan("probability", (column,), (positive_class(inputs, column),))
    if may_be_probability and not shows_classes:
        why = (
            f"its answers ({some(sorted(cells), 3) or 'all empty'}, column "
            f"{sample.name(column)!r}) fit two layouts"
        )
        raise undecided(inputs, why, "label", "probability")
    mismatch = _class_mismatch(inputs, cells, has_points and not shows_classes)
    if mismatch:
        raise UserError(f"{sample.path}: column {sample.name(column)!r} {mismatch}")
    return Plan("label", (column,), ("",), _strange_classes(inputs, cells))


def _class_mismatch(inputs: Inputs, cells: set[str], has_points: bool) -> str:
    """Why the predicted classes cannot be what the sample shows; nothing where they can."""
    classes = inputs.classes
    if not inputs.have("label"):
        return 'wants a class, and the predictions have only "scores"; give predictions with labels'
    if has_points:
        return (
            f"shows numbers ({some(sorted(cells), 3)}), and the predictions have classes "
            f'({some(classes, 3)}), not a value, nor the "scores" of two classes; write the class '
            "with --format label, or the probability of one with --positive_class"
        )
    words = {cell for cell in cells if not is_number(cell) and json_list(cell) != []}
    words = {cell for cell in words if cell.casefold() not in NO_ANSWER}
    named = [name for name in classes if not is_number(name)]
    if named and len(cells) > 1 and all(map(is_number, cells)) and not cells <= set(classes):
        return (
            f"shows numbers ({some(sorted(cells), 3)}), and the predictions have names "
            f"({some(named, 3)}); predict with these numbers, or choose --format label to write "
            "the names"
        )
    # A class that a model has scores for is one of its classes, whatever it is called.
    scored = {name for prediction in inputs.predictions for name in prediction.scores or ()}
    numbered = [name for name in classes if is_number(name) and name not in cells]
    if len(words) < 2 or named:
        numbered = [name for name in numbered if name not in scored]
    if numbered and (named or words) and not _are_listed_numbers(words):
        return (
            f"wants names ({some(sorted(words) or named, 3)}), and predictions have a number as "
            f"class ({some(numbered, 3)}); predict with names, or choose --format label to write "
            "the numbers"
        )
    return ""


def _are_listed_numbers(cells: set[str]) -> bool:
    """Whether cells list numbers: `1|2`, `[1, 2]`."""
    items = {item for cell in cells for item in re.findall(r"[\w.]+", cell)}
    return bool(items) and all(map(is_number, items))


def _strange_classes(inputs: Inputs, cells: set[str]) -> tuple[str, ...]:
    """A note where the sample shows classes, none of which is ever predicted."""
    words = {cell for cell in cells if not is_number(cell) and json_list(cell) is None}
    words = {cell for cell in words if cell.casefold() not in NO_ANSWER}
    if len(words) < 2 or any(name in cell for name in inputs.classes for cell in words):
        return ()
    return (
        f"the sample shows {some(sorted(words), 3)}, and no prediction has one of these: they have "
        f"{some(inputs.classes, 3)}",
    )


def positive_class(inputs: Inputs, column: int) -> str:
    """The class whose probability a single column is for.

    Raises:
        UserError: where nothing says which.
    """
    classes = inputs.classes
    positive = inputs.positive_class
    if positive is not None:
        if positive in classes:
            return positive
        raise UserError(f"got --positive_class {positive}; wanted one of {some(classes, 20)}")
    matches = classes_of_columns(inputs.names([column]), classes)
    if matches is not None and matches[0] is not None:
        return matches[0]
    if len(classes) == 1:
        return classes[0]
    if {name.casefold() for name in classes} in BINARY:
        return next(name for name in classes if name.casefold() in POSITIVE)
    raise UserError(
        f"{inputs.sample.path}: column {inputs.sample.name(column)!r} wants the probability of one "
        f"class, and the predictions have several ({some(classes)}); choose it with "
        "--positive_class"
    )
