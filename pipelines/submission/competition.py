"""Predictions -> a competition's CSV: infer the layout from its sample, fill it, validate, push.

The sample gives the columns, the ids, their order and how the file is written; only the answers
are filled in. `LAYOUTS` names the kinds of answers there are.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

from pipelines.corpora.writing import replacing
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Prediction, Span
from pipelines.formatting import some
from pipelines.spans import overlapping_pairs
from pipelines.submission.columns import answer_columns, kept_columns
from pipelines.submission.inference import plan_submission
from pipelines.submission.layouts import (
    Layout,
    layout_names,
    layout_of,
    mention_strings,
    sign_of,
)
from pipelines.submission.plan import Inputs, Plan
from pipelines.submission.rows import cells_of
from pipelines.submission.sample import Sample, is_number, parse_sample, read_sample
from pipelines.submission.style import Style, style_of

logger = logging.getLogger(__name__)

# What a spreadsheet reads as the beginning of a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Submission(NamedTuple):
    """What was written.

    Attributes:
        layout: a name of `LAYOUTS`.
        columns: names of the columns that were filled.
        first_row: the first row of answers as it is written, without its line end.
        notes: what the user should know, a line each.
    """

    layout: str
    columns: tuple[str, ...]
    first_row: str
    notes: tuple[str, ...] = ()


def write_submission(
    predictions: Sequence[Prediction],
    examples: Sequence[Example] | None = None,
    *,
    sample: str | Path,
    out: str | Path,
    format: str | None = None,
    separator: str | None = None,
    answer_column: str | None = None,
    positive_class: str | None = None,
    no_answer: str | None = None,
) -> Submission:
    """Fills a sample submission with predictions, and validates the whole before it is written.

    Logs a warning for each note: cells that a spreadsheet would run as a formula, mentions that
    contain the separator.

    Args:
        predictions: an answer to every row of the sample, in any order.
        examples: what they are about, in the order of its file; needed for strings and tokens.
        sample: the competition's sample; its columns, ids, order and form are kept.
        out: the file to write; it appears whole or not at all.
        format: a name of `LAYOUTS`; by default inferred from the sample.
        separator: between two items of a cell; by default as in the sample.
        answer_column: names of the columns to fill, with commas between them; by default all that
            are neither ids nor given by the competition.
        positive_class: the class whose probability is asked for, where one column holds it.
        no_answer: what is written where nothing is predicted; by default as in the sample.

    Returns:
        The layout, the columns that were filled, and the first row.

    Raises:
        DataError: naming the ids that are missing, extra or duplicate, or whose answers cannot be
            written.
        UserError: when the layout is undecided, or needs examples that were not given.
    """
    if Path(out).resolve() == Path(sample).resolve():
        raise UserError(f"{out}: this is the sample itself; choose another name for the submission")
    form = read_sample(sample, [prediction.id for prediction in predictions])
    options = (format, separator, answer_column, positive_class, no_answer)
    inputs = Inputs(form, predictions, examples or (), *options)
    text, written = _filled(inputs, str(out))
    with replacing(out) as f:
        f.write(text)
    for note in written.notes:
        logger.warning("note: %s", note)
    return written


def rehearse_submission(
    examples: Sequence[Example],
    sample: str | Path,
    *,
    answer: str,
    labels: Sequence[str] = (),
    counts: Sequence[int] | None = None,
    scores: bool = True,
    format: str | None = None,
    separator: str | None = None,
    answer_column: str | None = None,
    positive_class: str | None = None,
    no_answer: str | None = None,
) -> Submission:
    """Fills a sample with made-up answers, so that one that does not fit stops a run early.

    Args:
        examples: what is asked for: the test examples.
        sample: the competition's sample.
        answer: what the model will predict: `spans`, `label` or `value`.
        labels: the types or classes of the training data.
        counts: how many mentions, or classes, examples of the training data have. By default one
            mention each, or one class (not a set of classes).
        scores: whether the model will give each class a probability.
        format: as for `write_submission`; so are the other options.

    Returns:
        What would be written. Nothing is.

    Raises:
        DataError, UserError: as `write_submission`.
    """
    answers = _made_up(examples, answer, labels, counts, scores)
    form = read_sample(sample, [example.id for example in examples])
    options = (format, separator, answer_column, positive_class, no_answer)
    inputs = Inputs(form, answers, examples, *options)
    return _filled(inputs, f"{sample}, filled")[1]


def validate_submission(
    path: str | Path,
    sample: str | Path | Sample,
    *,
    format: str,
    answer_column: str | None = None,
) -> None:
    """Checks that a submission has the sample's columns, ids and order, and answers of a layout.

    Raises:
        DataError: naming every fault.
        UserError: when a file cannot be read at all.
    """
    wanted = sample if isinstance(sample, Sample) else read_sample(sample)
    columns = answer_columns(wanted, kept_columns(wanted, ()), answer_column)
    got = read_sample(path, wanted.ids, delimiter=wanted.delimiter)
    _compare(got, wanted, layout_of(format), columns)


def push(path: str | Path, competition: str, message: str) -> None:
    """Hands a submission to the official Kaggle client.

    Raises:
        UserError: when the client is missing or fails: with the last line of its output.
    """
    # A virtual environment need not be active: its client is beside its Python.
    places = [os.environ.get("PATH", ""), os.path.dirname(sys.executable)]
    client = shutil.which("kaggle", path=os.pathsep.join(places))
    if client is None:
        raise UserError(
            "--push needs Kaggle's client: pip install kaggle (or 'ner-pipelines[kaggle]'), and "
            "your token in ~/.kaggle/kaggle.json (kaggle.com, Settings, API); the submission is in "
            f"{path}"
        )
    command = [client, "competitions", "submit", "-c", competition, "-f", str(path), "-m", message]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["nothing"])[-1]
        raise UserError(
            f"Kaggle's client ({client}) ended with {done.returncode} and said: {last}; the "
            f"submission is in {path}; is your token in ~/.kaggle/kaggle.json, and were the rules "
            "accepted?"
        )
    logger.info("%s", done.stdout.strip())


def _filled(inputs: Inputs, path: str) -> tuple[str, Submission]:
    """The content of a submission, validated; the path only appears in messages."""
    sample = inputs.sample
    if inputs.separator == "":
        raise UserError("got an empty --separator; wanted what separates two items")
    _check_answers(inputs.predictions, inputs.sample)
    plan = plan_submission(inputs)
    layout = layout_of(plan.layout)
    for option in ("separator", "positive_class", "no_answer"):
        if getattr(inputs, option) is not None and option not in layout.options:
            raise UserError(
                f"--{option} has no effect in the layout {plan.layout} ({layout.what}); leave it "
                "out, or choose another layout with --format: "
                f"{layout_names([*inputs.answers(), 'scores'])}"
            )
    style = style_of(
        sample,
        plan.layout,
        plan.columns,
        plan.parts,
        classes=inputs.classes,
        separator=inputs.separator,
        no_answer=inputs.no_answer,
    )
    cells = cells_of(inputs, plan, layout, style)
    text = sample.filled(plan.columns, cells)
    got = parse_sample(text, path, sample.ids, delimiter=sample.delimiter)
    _compare(got, sample, layout, plan.columns)
    names = tuple(sample.name(column) for column in plan.columns)
    first = sample.delimiter.join(got.raw[got.has_header])
    notes = (*plan.notes, *_notes(inputs, plan, style, cells))
    return text, Submission(plan.layout, names, first, notes)


def _check_answers(predictions: Sequence[Prediction], sample: Sample) -> None:
    """Refuses classes that are NaN, empty or objects, and values that are not finite.

    Raises:
        DataError: naming the ids.
    """
    faults: dict[str, list[str]] = {}
    for prediction in predictions:
        label, value = prediction.label, prediction.value
        classes = label if isinstance(label, tuple | list) else [label]
        for name in () if label is None else classes:
            if fault := _class_fault(name):
                faults.setdefault(fault, []).append(prediction.id)
        if value is not None and not math.isfinite(value):
            faults.setdefault(f"a value of {value}", []).append(prediction.id)
    if faults:
        named = [f"{fault} (ids {some(ids)})" for fault, ids in faults.items()]
        raise DataError(
            f"the predictions for {sample.path} have {'; '.join(named)}; correct them, or predict "
            "again"
        )


def _class_fault(name: object) -> str:
    """Why something is not the name of a class; nothing where it is."""
    if not isinstance(name, str):
        return f"{name!r:.60} as a class, where a name is wanted"
    if not name.strip():
        return "a class without a name"
    if name.strip().casefold() == "nan":
        return "NaN as a class"
    if (name[0], name[-1]) in (("{", "}"), ("[", "]")):
        return "an object or list as a class, where a name is wanted"
    return ""


def _compare(got: Sample, wanted: Sample, layout: Layout, columns: Sequence[int]) -> None:
    """Compares a submission with the sample: all but the answers is the same, these are valid."""
    faults = []
    if len(got.rows) != len(wanted.rows):
        faults.append(f"got {len(got.rows)} rows; wanted {len(wanted.rows)}")
    pairs = zip(got.rows, wanted.rows, strict=False)
    for number, (row, model) in enumerate(pairs, start=1):
        is_header = wanted.has_header and number == 1
        free = set() if is_header else set(columns)
        kept = [cell for i, cell in enumerate(row) if i not in free]
        if len(row) != len(model) or kept != [c for i, c in enumerate(model) if i not in free]:
            faults.append(f"row {number}: got {row}; wanted {model}, but for the answer")
            continue
        wrong = [row[i] for i in sorted(free) if not layout.valid(row[i].strip())]
        faults += [f"row {number}: got {cell[:80]!r}; wanted {layout.what}" for cell in wrong]
    if faults:
        raise DataError("\n".join(f"{got.path}: {fault}" for fault in faults))


def _notes(inputs: Inputs, plan: Plan, style: Style, cells: Sequence[Sequence[str]]) -> list[str]:
    """What is right and may yet surprise, a line each, with the ids."""
    ids = inputs.sample.ids
    notes = []
    shown_cells = {cell for column in plan.columns for cell in inputs.sample.answers(column)}
    risky = [id for id, row in zip(ids, cells, strict=True) if _runs(row, shown_cells)]
    if risky:
        what = "row has a cell" if len(risky) == 1 else "rows have a cell"
        notes.append(
            f"{len(risky)} {what} that begins with =, +, - or @, which a spreadsheet would run as "
            f"a formula: {some(risky)}"
        )
    if plan.layout == "strings":
        by_id = {example.id: example for example in inputs.examples}
        cut = []
        for prediction in inputs.predictions:
            strings = mention_strings(prediction, by_id[prediction.id])
            if any(sign_of(style) in string for string in strings):
                cut.append(prediction.id)
        if cut:
            what = "row has" if len(cut) == 1 else "rows have"
            notes.append(
                f"{len(cut)} {what} a mention that contains the separator {style.separator!r}: "
                f"{some(cut)}"
            )
    if plan.layout in ("tags", "json_tags", "token_tags"):
        nested = [p.id for p in inputs.predictions if overlapping_pairs(p.spans or ())]
        if nested:
            what = "row has" if len(nested) == 1 else "rows have"
            notes.append(
                f"{len(nested)} {what} mentions that overlap, of which tags hold the surest: "
                f"{some(nested)}"
            )
    empty = [id for id, row in zip(ids, cells, strict=True) if not any(row)]
    if empty and not style.shows_no_answer:
        what = "row is" if len(empty) == 1 else "rows are"
        notes.append(
            f"{len(empty)} {what} left empty, as nothing is predicted and the sample does not show "
            f"how that is written (--no_answer): {some(empty)}"
        )
    return notes


def _runs(cells: Sequence[str], known: set[str]) -> bool:
    return any(
        cell.startswith(FORMULA) and cell not in known and not is_number(cell) for cell in cells
    )


def _made_up(
    examples: Sequence[Example],
    answer: str,
    labels: Sequence[str],
    counts: Sequence[int] | None,
    scores: bool,
) -> list[Prediction]:
    """Answers of the kind that a model will give, to each example."""
    names = list(labels) or ["class"]
    share = {name: round(1 / len(names), 6) for name in names} if scores else None
    turn, sizes = cycle(names), cycle(counts or [1])
    made = []
    for example in examples:
        size = next(sizes)
        if answer == "value":
            made.append(Prediction(example.id, value=0.5))
        elif answer == "label":
            some = tuple(dict.fromkeys(islice(turn, size)))
            label = next(turn) if counts is None else some
            made.append(Prediction(example.id, label=label, scores=share))
        elif answer == "spans":
            # Characters side by side, so that any number of mentions has room.
            starts = range(min(size, len(example.text)))
            spans = tuple(Span(start, start + 1, next(turn)) for start in starts)
            made.append(Prediction(example.id, spans=spans))
        else:
            raise ValueError(f"got answer {answer!r}; wanted spans, label or value")
    return made
