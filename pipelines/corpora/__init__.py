"""Readers: a file in any of the layouts of data/README.md -> Examples, and what is wrong with its rows."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from pipelines.corpora.corpus import ANSWERS, Columns, Corpus, Fault, Found
from pipelines.corpora.reading import read_corpora, read_corpus
from pipelines.errors import DataError
from pipelines.examples import Example

__all__ = ["Columns", "Corpus", "Fault", "Found", "good_rows", "read_corpora", "read_corpus", "read_examples",
           "refuse_unlabelled"]

FAULTS_SHOWN = 50


def read_examples(source: str | Path, *, columns: Columns | None = None, answer: str | None = None,
                  labelled: bool = True, like: Found | None = None, skip_bad_rows: bool = False) -> list[Example]:
    """Reads a file and insists on every row, or says which ones it skips.

    Args:
        source: see ``read_corpora``, as for ``columns``, ``answer`` and ``like``.
        labelled: whether the answers have to be there.
        skip_bad_rows: leave bad rows out, and say on stderr how many and which.

    Raises:
        DataError: naming every fault with file and row (the first 50, and how many more).
        UserError: when the file as a whole cannot be read.
    """
    corpus = read_corpus(source, columns=columns, answer=answer, labelled=labelled, like=like)
    examples = good_rows(corpus, skip_bad_rows=skip_bad_rows or bool(columns and columns.skip_bad_rows))
    if labelled and answer in ANSWERS:
        refuse_unlabelled(corpus.path, examples, answer)
    return examples


def refuse_unlabelled(path: str, examples: Sequence[Example], answer: str) -> None:
    """Insists on an answer for every example.

    Raises:
        DataError: naming how many have none, and one of them.
    """
    field = "spans" if answer == "spans" else "label"
    without = [example.id for example in examples if getattr(example, field) is None]
    if without:
        named = {"spans": "mentions marked", "label": "a class", "value": "a number"}[answer]
        option = {"spans": "--entities_column"}.get(answer, "--label_column")
        raise DataError(f"{path}: {len(without)} of {len(examples)} examples are without {named}, such as id "
                        f"{without[0]}; give a labelled file, or name the column by {option}")


def good_rows(corpus: Corpus, *, skip_bad_rows: bool = False) -> list[Example]:
    """The examples of a corpus without faults; with them, see ``read_examples``."""
    source = corpus.path
    faults = [fault for fault in corpus.faults if not fault.is_warning]
    if not faults:
        return corpus.examples
    bad_rows = len({fault.row for fault in faults})
    listed = "\n".join(map(str, faults[:FAULTS_SHOWN]))
    if len(faults) > FAULTS_SHOWN:
        listed += f"\n… and {len(faults) - FAULTS_SHOWN} more"
    if not skip_bad_rows:
        raise DataError(f"{source}: {len(faults)} {'fault' if len(faults) == 1 else 'faults'} in {bad_rows} of "
                        f"{corpus.n_rows} rows; fix them, or leave these rows out with --skip_bad_rows true\n{listed}")
    if not corpus.examples:
        raise DataError(f"{source}: all {corpus.n_rows} rows have faults\n{listed}")
    print(f"{source}: skipped {bad_rows} bad {'row' if bad_rows == 1 else 'rows'} of {corpus.n_rows}:\n{listed}",
          file=sys.stderr)
    return corpus.examples
