"""The answers of a submission, row by row: rows are examples, tokens or types."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Prediction, joined_by_id
from pipelines.formatting import some
from pipelines.spans import looks_like_tag, spans_to_token_ranges
from pipelines.submission.columns import token_rows, tokens_of
from pipelines.submission.layouts import Layout, tags_of
from pipelines.submission.plan import Inputs, Plan
from pipelines.submission.sample import Sample
from pipelines.submission.style import Style, tag_parts


def cells_of(inputs: Inputs, plan: Plan, layout: Layout, style: Style) -> list[list[str]]:
    """A cell for each answer column, for each row of the sample.

    Raises:
        DataError: naming the ids that are missing, extra or duplicate, or cannot be written.
        UserError: when texts or tokens are needed that were not given.
    """
    needs = layout.needs
    if layout.columns == "parts" and "text" not in plan.parts:
        needs = ""
    if needs and not inputs.examples:
        raise UserError(
            f"the layout {plan.layout} needs the {needs} of each example, and predictions hold "
            "offsets only; give the test file with --input"
        )
    _check_spans(inputs.predictions, inputs.examples)
    if layout.rows == "token":
        return [[tag] for tag in _token_tags(inputs, style)]
    if layout.rows == "type":
        return [[cell] for cell in _type_ranges(inputs, style)]
    return _example_cells(inputs, plan, layout, style)


def _check_spans(predictions: Sequence[Prediction], examples: Sequence[Example]) -> None:
    sizes = {example.id: len(example.text) for example in examples}
    wrong = []
    for prediction in predictions:
        size = sizes.get(prediction.id)
        for span in prediction.spans or ():
            if not 0 <= span.start < span.end or (size is not None and span.end > size):
                wrong.append(f"{prediction.id} ({span.start}-{span.end})")
    if wrong:
        raise DataError(
            f"{len(wrong)} spans are empty or not within their text: {some(wrong)}; give the "
            "file that these are the predictions of"
        )


# Rows of examples


def answers_by_row(sample: Sample, predictions: Sequence[Prediction]) -> list[Prediction]:
    """The prediction for each row of a sample, by its id to the letter.

    Raises:
        DataError: naming the ids that are missing, extra or duplicate.
    """
    by_id = {prediction.id: prediction for prediction in predictions}
    known = set(sample.ids)
    problems = {
        "duplicate in the sample": _duplicates(sample.ids),
        "duplicate in the predictions": _duplicates([p.id for p in predictions]),
        "extra in the predictions": [id for id in by_id if id not in known],
        "missing from the predictions": [id for id in sample.ids if id not in by_id],
    }
    faults = [
        f"{len(ids)} {'id' if len(ids) == 1 else 'ids'} {what}: {some(ids)}"
        for what, ids in problems.items()
        if ids
    ]
    if faults:
        raise DataError(
            f"{sample.path}: {'; '.join(faults)} (the sample has {some(sample.ids, 3)}, the "
            f"predictions have {some(list(by_id), 3)}); ids are matched exactly: predict the "
            "competition's own test file, with --id_column if need be"
        )
    return [by_id[id] for id in sample.ids]


def _duplicates(ids: Sequence[str]) -> list[str]:
    return [id for id, count in Counter(ids).items() if count > 1]


def _example_cells(inputs: Inputs, plan: Plan, layout: Layout, style: Style) -> list[list[str]]:
    sample = inputs.sample
    answers = answers_by_row(sample, inputs.predictions)
    by_id = {example.id: example for example in inputs.examples}
    absent = [id for id in sample.ids if id not in by_id] if inputs.examples else []
    if absent:
        raise DataError(
            f"{len(absent)} ids of {sample.path} are missing from the examples: "
            f"{some(absent)}; give the competition's own test file with --input"
        )
    assert layout.cells is not None
    cells: list[list[str]] = []
    faults: dict[str, list[str]] = {}
    for answer in answers:
        try:
            cells.append(layout.cells(answer, by_id.get(answer.id, Example(answer.id, "")), style))
        except ValueError as error:
            faults.setdefault(str(error), []).append(answer.id)
    if faults:
        named = [f"{reason} (ids {some(ids)})" for reason, ids in faults.items()]
        raise DataError(f"{sample.path}: predictions that cannot be written: {'; '.join(named)}")
    if plan.layout in ("tags", "json_tags"):
        _check_tag_counts(sample, plan.columns[0], [row[0] for row in cells])
    return cells


def _check_tag_counts(sample: Sample, column: int, cells: Sequence[str]) -> None:
    """Compares the number of tags with the sample's, where that shows one for each token."""
    models = [tag_parts(cell) for cell in sample.column(column)]
    if not any(len(model) > 1 for model in models):
        return
    if not all(looks_like_tag(tag) for model in models for tag in model):
        return
    wrong = []
    for id, cell, model in zip(sample.ids, cells, models, strict=True):
        tokens = len(tag_parts(cell))
        if tokens != len(model):
            wrong.append(f"{id}: {tokens} tokens, {len(model)} tags in the sample")
    if wrong:
        raise DataError(
            f"{len(wrong)} texts are cut into other tokens than those of {sample.path}; give a "
            f"file with tokens with --input: {'; '.join(wrong[:10])}"
        )


# Rows of tokens and of types


def _token_tags(inputs: Inputs, style: Style) -> list[str]:
    sample = inputs.sample
    rows = token_rows(sample, inputs.examples)
    if rows is None:
        raise DataError(
            f"{sample.path}: got {len(sample.ids)} rows, which are not the "
            f"{sum(len(tokens_of(example)) for example in inputs.examples)} tokens of the "
            "examples; wanted as the id of each token its running number, EXAMPLE_NUMBER, or a "
            "column of examples and one of numbers"
        )
    tags: list[str] = []
    for example, prediction in joined_by_id(inputs.examples, inputs.predictions):
        tags += tags_of(prediction, example, style)
    return [tags[token] for token in rows.order]


def _type_ranges(inputs: Inputs, style: Style) -> list[str]:
    types = inputs.sample.ids
    ranges: dict[str, set[tuple[int, int]]] = {label: set() for label in types}
    start = 0
    for example, prediction in joined_by_id(inputs.examples, inputs.predictions):
        tokens = tokens_of(example)
        for first, past, label in spans_to_token_ranges(prediction.spans or (), tokens):
            ranges.setdefault(label, set()).add((start + first, start + past - 1))
        start += len(tokens)
    extra = [label for label in ranges if label not in types]
    duplicates = _duplicates(types)
    if extra or duplicates:
        raise DataError(
            f"{inputs.sample.path}: types predicted that have no row: {some(extra) or 'none'};"
            f" types with several rows: {some(duplicates) or 'none'}"
        )
    cells = []
    for label in types:
        items = [style.item.format(start=first, end=last) for first, last in sorted(ranges[label])]
        cells.append((style.separator or "").join(items) or style.no_answer[0])
    return cells
