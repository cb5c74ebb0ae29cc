"""Readers: a file in any of the layouts of data/README.md -> Examples, and faults of its rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from pipelines.corpora.corpus import (
    ANSWERS,
    ColumnNames,
    Columns,
    Corpus,
    Fault,
    counted,
    fault_lines,
)
from pipelines.corpora.reading import read_corpora, read_corpus
from pipelines.corpora.source import Source
from pipelines.errors import DataError
from pipelines.examples import Example

__all__ = [
    "ColumnNames",
    "Columns",
    "Corpus",
    "Fault",
    "good_rows",
    "read_corpora",
    "read_corpus",
    "read_examples",
    "refuse_unlabelled",
]

logger = logging.getLogger(__name__)

_ANSWER_NAMES = {"spans": "mentions marked", "label": "a class", "value": "a number"}


def read_examples(
    source: str | Path | Source,
    *,
    columns: Columns | None = None,
    answer: str | None = None,
    labelled: bool = True,
    like: ColumnNames | None = None,
    skip_bad_rows: bool = False,
) -> list[Example]:
    """Reads a file, all rows of which have to be good unless bad ones are to be skipped.

    Args:
        source: see `read_corpora`, as for `columns`, `answer` and `like`.
        labelled: whether the answers have to be there.
        skip_bad_rows: leave bad rows out, with a warning that lists them.

    Raises:
        DataError: naming every fault with file and row (the first 50, and how many more).
        UserError: when the file as a whole cannot be read.
    """
    corpus = read_corpus(source, columns=columns, answer=answer, labelled=labelled, like=like)
    skip_bad_rows = skip_bad_rows or (columns is not None and columns.skip_bad_rows)
    examples = good_rows(corpus, skip_bad_rows=skip_bad_rows)
    if labelled and answer in ANSWERS:
        refuse_unlabelled(corpus.path, examples, answer)
    return examples


def refuse_unlabelled(path: str, examples: Sequence[Example], answer: str) -> None:
    """Requires an answer to every example.

    Raises:
        DataError: saying how many have none, and naming one of them.
    """
    field = "spans" if answer == "spans" else "label"
    unlabelled = [example.id for example in examples if getattr(example, field) is None]
    if unlabelled:
        option = "--entities_column" if answer == "spans" else "--label_column"
        raise DataError(
            f"{path}: {len(unlabelled)} of {len(examples)} examples are without "
            f"{_ANSWER_NAMES[answer]}, such as id {unlabelled[0]}; give a labelled file, or name "
            f"the column by {option}"
        )


def good_rows(corpus: Corpus, *, skip_bad_rows: bool = False) -> list[Example]:
    """The examples of a corpus without faults; with faults see `read_examples`."""
    faults = [fault for fault in corpus.faults if not fault.is_warning]
    if not faults:
        return corpus.examples
    n_bad = len({fault.row for fault in faults})
    lines = "\n".join(fault_lines(faults))
    if not skip_bad_rows:
        raise DataError(
            f"{corpus.path}: {counted(len(faults), 'fault')} in {n_bad} of "
            f"{counted(corpus.n_rows, 'row')}; fix them, or skip these rows with "
            f"--skip_bad_rows true\n{lines}"
        )
    if not corpus.examples:
        rows = counted(corpus.n_rows, "row")
        raise DataError(f"{corpus.path}: all {rows} have faults; fix them\n{lines}")
    logger.warning(
        "%s: skipped %s of %d:\n%s", corpus.path, counted(n_bad, "bad row"), corpus.n_rows, lines
    )
    return corpus.examples
