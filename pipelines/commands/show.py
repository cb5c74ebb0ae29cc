"""Prints one example of a file: the row as the file has it, and what was read from it.

pipelines show train.json --id 1150-1
"""

from __future__ import annotations

import argparse
import difflib
import json
from typing import TYPE_CHECKING

from pipelines.commands.columns import add_columns, columns_of
from pipelines.errors import UserError

if TYPE_CHECKING:
    from pipelines.corpora import Corpus
    from pipelines.corpora.corpus import Table
    from pipelines.examples import Example

HELP = "print one example of a corpus: the raw row, and what was read from it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", metavar="FILE", help="a corpus in any format of data/README.md")
    parser.add_argument("--id", metavar="ID", help="of the example (default: the first one)")
    add_columns(parser)


def run(options: argparse.Namespace) -> int:
    from pipelines.corpora import read_corpus
    from pipelines.corpora.corpus import printable
    from pipelines.corpora.layouts import read_table
    from pipelines.corpora.source import Source

    columns = columns_of(options)
    source = Source(options.file, max_unzipped=columns.max_unzipped, labelled=False)
    table = read_table(source, columns)
    corpus = read_corpus(source, columns=columns, labelled=False)
    id = options.id
    if id is None and corpus.examples:
        id = corpus.examples[0].id
    examples = [example for example in corpus.examples if example.id == id]
    faults = [fault for fault in corpus.faults if id in (fault.id, str(fault.row))]
    if not examples and not faults:
        raise UserError(f"got --id {id}; {options.file} has no such example{_similar(id, corpus)}")
    print(printable(f"{options.file}: {corpus.layout}"))
    for raw in _raw_rows(str(id), corpus, table):
        print(f"\nas the file has it\n{printable(raw)}")
    for example in examples:
        print("\nas it was read")
        for line in example_lines(example):
            print(printable(line))
    if faults:
        print("\nfaults")
    for fault in faults:
        print(fault)
    return 1 if any(not fault.is_warning for fault in faults) else 0


def _similar(id: str | None, corpus: Corpus) -> str:
    ids = [example.id for example in corpus.examples]
    near = difflib.get_close_matches(str(id), ids) or ids[:3]
    return f"; it has {', '.join(near)}, …" if near else ""


def _raw_rows(id: str, corpus: Corpus, table: Table) -> list[str]:
    """The rows of the file with this id, as JSON; an example without an id is known by its row."""
    name = corpus.column_names.id if corpus.column_names else "id"
    found = []
    for position, (_, value) in enumerate(table.rows):
        row_id = value.get(name) if isinstance(value, dict) and name else None
        if row_id is None:
            row_id = position
        if str(row_id) == id:
            found.append(json.dumps(value, ensure_ascii=False, indent=1, default=str))
    return found


def example_lines(example: Example) -> list[str]:
    """All that is known of an example: a line a fact, a mention and a token."""
    lines = [f"id     {example.id}", f"text   {example.text}"]
    if example.pair is not None:
        lines.append(f"pair   {example.pair}")
    if example.group is not None:
        lines.append(f"group  {example.group}")
    if example.label is not None:
        classes = example.label if isinstance(example.label, tuple) else (example.label,)
        lines.append(f"label  {', '.join(map(str, classes)) or 'none of the classes'}")
    for span in example.spans or ():
        mention = example.text[span.start : span.end]
        lines.append(f"span   {span.start}:{span.end} {span.label}  {mention}")
    if example.spans == ():
        lines.append("span   none")
    if example.tokens is not None:
        words = [example.text[start:end] for start, end in example.tokens]
        lines.append(f"tokens {len(words)}: {' | '.join(words)}")
    return lines
