"""Gold answers of any kind: mentions, classes, numbers, or texts alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.corpora import Columns, read_examples
from pipelines.corpora.tables import ClassColumns, read_classes
from pipelines.errors import DataError
from pipelines.evaluation.checks import SHOWN
from pipelines.examples import Example


def read_gold(path: str | Path, answer: str, *, columns: ClassColumns | None = None,
              mention_columns: Columns = Columns(), skip_bad_rows: bool = False) -> list[Example]:  # noqa: B008
    """Reads examples with what the predictions are to be scored against.

    Args:
        answer: ``spans``: any layout of ``pipelines.corpora``. ``label``: any of ``pipelines.corpora.tables``.
            ``value``: the same with numbers for classes; texts without are scored for perplexity.
        columns: names of columns for classes and numbers, where a file does not tell by itself.
        mention_columns: the same for mentions.
        skip_bad_rows: leave bad rows out.

    Raises:
        DataError: naming every bad row, or that examples are unlabelled.
        UserError: when the file as a whole cannot be read.
    """
    if answer == "spans":
        examples = read_examples(path, columns=mention_columns, skip_bad_rows=skip_bad_rows)
    else:
        examples = read_classes(path, columns=columns or ClassColumns(), skip_bad_rows=skip_bad_rows)
    if answer == "value":
        return _numbers(path, examples)
    unlabelled = [example.id for example in examples if getattr(example, answer) is None]
    if unlabelled:
        raise DataError(f"{path}: {len(unlabelled)} of {len(examples)} gold examples have no {answer}, such as id "
                        f"{unlabelled[0]}; score against a labelled file")
    return examples


def _numbers(path: str | Path, examples: Sequence[Example]) -> list[Example]:
    values = [None if example.label is None else _number(example.label) for example in examples]
    faults = [f"{path}, id {example.id}: the label is {example.label!r}; predictions with a value want a number"
              for example, value in zip(examples, values, strict=True)
              if value is not None and not math.isfinite(value)]
    if faults:
        more = [f"{path}: and {len(faults) - SHOWN} more faults"] if len(faults) > SHOWN else []
        raise DataError("\n".join([*faults[:SHOWN], *more]))
    return [replace(example, label=value) for example, value in zip(examples, values, strict=True)]


def _number(label: object) -> float:
    try:
        return float(label)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan
