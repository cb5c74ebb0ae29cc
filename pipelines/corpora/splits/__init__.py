"""Cuts a corpus into parts: documents stay whole, classes keep their proportions.

The cut depends on the texts, their documents and labels, the sizes and the seed, and not on the
order of the rows. So recipes that cut the same file are compared on the same examples.
"""

from pipelines.corpora.corpus import classes_of
from pipelines.corpora.splits.cut import (
    parse_sizes,
    split_examples,
    stratified_folds,
    stratified_split,
)
from pipelines.corpora.splits.groups import copies, documents_in
from pipelines.corpora.splits.report import splits_as_text, write_split

__all__ = [
    "classes_of",
    "copies",
    "documents_in",
    "parse_sizes",
    "split_examples",
    "splits_as_text",
    "stratified_folds",
    "stratified_split",
    "write_split",
]
