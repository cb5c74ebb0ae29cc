"""Writes the parts of a split, and a table of what each has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from statistics import fmean, pstdev

from pipelines.corpora.convert.jsonl import json_row
from pipelines.corpora.corpus import classes_of
from pipelines.corpora.splits.groups import (
    copies,
    documents_in,
    mentions_of,
    values_of,
)
from pipelines.corpora.splits.unseen import training_part
from pipelines.corpora.writing import write_jsonl
from pipelines.examples import Example
from pipelines.formatting import text_table


def write_split(path: str | Path, examples: Iterable[Example]) -> None:
    """Writes examples as JSON lines, as `pipelines convert` does, and their documents.

    Paths of pictures are written relative to the folder of the file.
    """
    rows = []
    folder = Path(path).parent
    for example in examples:
        group = {} if example.group is None else {"group": example.group}
        rows.append(json_row(example, folder=folder) | group)
    write_jsonl(path, rows)


def splits_as_text(examples: Sequence[Example], parts: Mapping[str, Sequence[Example]]) -> str:
    """A table of what each part has: examples, documents, mentions, classes or types or values."""
    rows = [["examples", *(f"{len(part):,}" for part in parts.values())]]
    documents = documents_in(examples)
    if documents is not None:
        ids = [example.id for example in examples]
        document_of = dict(zip(ids, documents, strict=True))
        numbers = [len({document_of[example.id] for example in part}) for part in parts.values()]
        rows.append(["documents", *(f"{number:,}" for number in numbers)])
    rows += _count_rows("class", [_class_counts(part) for part in parts.values()])
    if values_of(examples):
        values = [values_of(part) for part in parts.values()]
        rows.append(["mean value", *(f"{fmean(part):.4g}" if part else "" for part in values)])
        rows.append(
            ["standard deviation", *(f"{pstdev(part):.4g}" if part else "" for part in values)]
        )
    if any(example.spans for part in parts.values() for example in part):
        rows += _mention_rows(parts)
    n_copies = len(examples) - len(copies(examples))
    n_unused = len(examples) - sum(map(len, parts.values()))
    return "\n".join(
        [
            *text_table(["", *parts], rows),
            f"{n_copies:,} copies of a text, each in the part of the first; {n_unused:,} of "
            f"{len(examples):,} examples in no part",
        ]
    )


def _class_counts(examples: Sequence[Example]) -> Counter[str]:
    return Counter(label for example in examples for label in classes_of(example))


def _type_counts(examples: Sequence[Example]) -> Counter[str]:
    return Counter(span.label for example in examples for span in example.spans or ())


def _count_rows(what: str, counts: Sequence[Counter[str]]) -> list[list[str]]:
    """A row for each class or type: its number in each part."""
    labels = sorted(set().union(*counts))
    return [[f"{what} {label}", *(f"{count[label]:,}" for count in counts)] for label in labels]


def _mention_rows(parts: Mapping[str, Sequence[Example]]) -> list[list[str]]:
    strings: dict[str, list[str]] = {}
    for name, part in parts.items():
        strings[name] = [*chain.from_iterable(map(mentions_of, part))]
    types = [_type_counts(part) for part in parts.values()]
    train = training_part(list(parts))
    seen = set(strings[train])
    shares = []
    for name, mentions in strings.items():
        share = sum(string in seen for string in mentions) / max(len(mentions), 1)
        shares.append("" if name == train or not mentions else f"{100 * share:.1f} %")
    return [
        ["mentions", *(f"{len(mentions):,}" for mentions in strings.values())],
        *_count_rows("type", types),
        [f"mentions seen in {train}", *shares],
    ]
