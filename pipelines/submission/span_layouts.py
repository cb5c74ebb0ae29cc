"""The layout of a sample whose answers are mentions: by its rows, its columns and their cells."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipelines.errors import UserError
from pipelines.formatting import some
from pipelines.submission.columns import parts_of_columns
from pipelines.submission.layouts import LAYOUTS, layout_names
from pipelines.submission.plan import Inputs, Plan, columns_to_fill, one_column, token_columns
from pipelines.submission.style import NO_ANSWER, json_list

OFFSETS_NAME = re.compile(r"span|offset|location|position|range|start", re.IGNORECASE)
TOKENS_NAME = re.compile(r"token|word|predictionstring", re.IGNORECASE)
TAGS_NAME = re.compile(r"tag|ner\b|bio", re.IGNORECASE)


def plan_spans(inputs: Inputs) -> Plan:
    """Decides how mentions are written: rows of tokens or types, columns of parts, or one column.

    Raises:
        UserError: where the layout is undecided.
    """
    sample = inputs.sample
    of_tokens = token_columns(inputs) if inputs.examples else None
    known = {prediction.id for prediction in inputs.predictions}
    one_row_each = set(sample.ids) == known and len(sample.ids) == len(known)
    if of_tokens and not one_row_each:
        column = one_column(inputs, of_tokens, "one tag for each token")
        if all(map(LAYOUTS["token_tags"].valid, sample.answers(column))):
            return Plan("token_tags", (column,), ("",))
    columns = columns_to_fill(inputs)
    if not known & set(sample.ids):
        return _type_rows(inputs, columns)
    if len(columns) > 1:
        return span_columns(inputs, columns)
    column = columns[0]
    return Plan(_layout_of_spans(inputs, column), (column,), ("",))


def _type_rows(inputs: Inputs, columns: Sequence[int]) -> Plan:
    sample = inputs.sample
    cells = sample.answers(columns[0])
    spans = [span for prediction in inputs.predictions for span in prediction.spans or ()]
    if spans:
        has_types = bool({span.label for span in spans} & set(sample.ids))
    else:
        # Without a type to compare: ranges beside names, as ids mostly have a digit.
        has_ranges = any(re.match(r"\d+-\d+", cell) for cell in cells)
        has_types = has_ranges and not re.search(r"\d", "".join(sample.ids))
    if has_types and len(columns) == 1 and all(map(LAYOUTS["type_ranges"].valid, cells)):
        return Plan("type_ranges", (columns[0],), ("",))
    ids = [prediction.id for prediction in inputs.predictions]
    hint = "" if inputs.examples else " (give the test file with --input for these)"
    raise UserError(
        f"{sample.path}: its rows ({some(sample.ids, 3)}) are neither ids of the predictions "
        f"({some(ids, 3)}), nor their types, nor tokens{hint}; ids are matched exactly: predict "
        "the competition's own test file, with --id_column if need be"
    )


def span_columns(inputs: Inputs, columns: Sequence[int]) -> Plan:
    """A column for each part of a mention.

    Raises:
        UserError: where the names or cells of the columns are not those of parts.
    """
    sample = inputs.sample
    parts = parts_of_columns(inputs.names(columns))
    if parts is None:
        raise UserError(
            f"{sample.path}: got several answer columns ({some(inputs.names(columns))}), "
            "which are not start, end, type and string of a mention; name the column to fill with "
            "--answer_column, and the others stay as they are in the sample (texts are recognised "
            "with --input)"
        )
    for column, part in zip(columns, parts, strict=True):
        cells = [cell for cell in sample.answers(column) if cell.casefold() not in NO_ANSWER]
        numbers = [cell for cell in cells if re.fullmatch(r"-?\d+([^\w-]+\d+)*", cell)]
        is_wrong = bool(numbers) if part in ("text", "label") else len(numbers) < len(cells)
        if is_wrong:
            raise UserError(
                f"{sample.path}: column {sample.name(column)!r} holds {some(cells, 3)}, which "
                f"cannot be the {part} of a mention; name the column to fill with --answer_column"
            )
    return Plan("span_columns", tuple(columns), tuple(parts))


def _layout_of_spans(inputs: Inputs, column: int) -> str:
    """The layout of a column of mentions.

    Raises:
        UserError: where its cells fit several.
    """
    sample = inputs.sample
    name, cells = sample.name(column), sample.answers(column)
    if any("O" in (json_list(cell) or ()) for cell in cells):
        return "json_tags"
    single = [
        n for n, layout in LAYOUTS.items()
        if layout.answer == "spans" and layout.rows == "example" and layout.columns == "one"
    ]  # fmt: skip
    fitting = [n for n in single if all(map(LAYOUTS[n].valid, cells))]
    fitting = [n for n in fitting if n not in ("strings", "json_tags")]
    if "offsets" in fitting and cells:
        _check_pairs(inputs, column)
    words = [cell for cell in cells if cell.casefold() not in NO_ANSWER]
    if not fitting and any(re.search(r"[^\W\d_]", cell) for cell in words):
        return "strings"
    # Only strings want a separator to be named; the other layouts have one of their own.
    other = OFFSETS_NAME.search(name) or TAGS_NAME.search(name)
    if not cells and inputs.separator and not other:
        return "strings"
    if len(fitting) > 1 and not OFFSETS_NAME.search(name):
        fitting = [n for n in fitting if n == "json_strings"]
    if cells and len(fitting) == 1:
        return fitting[0]
    empty = "all empty" if not cells else some(sorted(set(cells)), 3)
    raise UserError(
        f"{sample.path}: its answers ({empty}, column {name!r}) do not decide the layout; choose "
        f"it with --format, and what separates two mentions with --separator: "
        f"{layout_names(['spans'])}"
    )


def _check_pairs(inputs: Inputs, column: int) -> None:
    """Refuses numbers with nothing but blanks between them, unless they are surely offsets.

    Raises:
        UserError: where they may as well be the numbers of tokens (Feedback Prize).
    """
    sample = inputs.sample
    name, cells = sample.name(column), sample.answers(column)
    numbers = [cell for cell in cells if re.fullmatch(r"\d+( +\d+)+", cell)]
    many = [cell for cell in numbers if cell.count(" ") > 1]
    paired = any(re.search(r"\d *[^\w\s-]+ *\d", cell) for cell in cells)
    named = OFFSETS_NAME.search(name) and not TOKENS_NAME.search(name)
    if numbers and (many or not (paired or named)):
        raise UserError(
            f"{sample.path}: {(many or numbers)[0][:60]!r} in column {name!r} can be the numbers "
            "of tokens, which no layout writes, or half-open character offsets; choose the latter "
            "with --format offsets"
        )
