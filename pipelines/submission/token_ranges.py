"""The mentions of a file as inclusive ranges of token numbers, a row for each type, and back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.corpora import read_examples
from pipelines.errors import DataError
from pipelines.examples import Example, Prediction, joined_by_id
from pipelines.spans import join_tokens, spans_to_token_ranges

HEADER = ("type", "ranges")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The examples of a file, and by example id the number of each token in the file."""

    examples: list[Example]
    numbers: Mapping[str, Sequence[int]]


def numbered_tokens(file: str | Path, *, skip_bad_rows: bool = False) -> Tokens:
    """The tokens of a file with their numbers: its `index` column, or counted through the file.

    Args:
        file: a corpus in tokens.
        skip_bad_rows: leave out rows with faults; only where there is no `index` column.

    Raises:
        DataError: naming rows whose index does not fit their tokens, or that have no tokens.
    """
    columns: Any = None
    if str(file).endswith(".json"):
        columns = json.loads(Path(file).read_text(encoding="utf-8-sig"))
    if isinstance(columns, dict) and isinstance(columns.get("text"), list) and "index" in columns:
        return _indexed_tokens(file, columns)
    examples = read_examples(file, skip_bad_rows=skip_bad_rows)
    without = [example.id for example in examples if example.tokens is None]
    if without:
        raise DataError(
            f"{file}: {len(without)} examples, such as {without[0]}, are not in tokens; a course "
            "package wants a file with tokens"
        )
    numbers, start = {}, 0
    for example in examples:
        past = start + len(example.tokens or ())
        numbers[example.id] = range(start, past)
        start = past
    return Tokens(examples, numbers)


def _indexed_tokens(file: str | Path, columns: Mapping[str, Any]) -> Tokens:
    ids = [str(id) for id in columns.get("id", range(len(columns["text"])))]
    wrong = []
    for row, (tokens, index) in enumerate(zip(columns["text"], columns["index"], strict=True)):
        if len(tokens) != len(index):
            wrong.append(f"{file}, row {row}: {len(tokens)} tokens, {len(index)} numbers in index")
    if wrong:
        raise DataError("\n".join(wrong))
    examples = []
    for id, words in zip(ids, columns["text"], strict=True):
        text, offsets = join_tokens(words)
        examples.append(Example(id, text, tokens=offsets))
    return Tokens(examples, dict(zip(ids, columns["index"], strict=True)))


def type_ranges(
    tokens: Tokens, predictions: Sequence[Prediction], *, types: Sequence[str] = ()
) -> dict[str, list[tuple[int, int]]]:
    """For each type the inclusive ranges of its predicted mentions, in token numbers.

    Raises:
        DataError: naming ids that the file or the predictions lack.
    """
    ranges: dict[str, set[tuple[int, int]]] = {label: set() for label in types}
    for example, prediction in joined_by_id(tokens.examples, predictions):
        spans = sorted(prediction.spans or ())
        for first, past, label in spans_to_token_ranges(spans, example.tokens or ()):
            numbers = tokens.numbers[example.id]
            ranges.setdefault(label, set()).add((numbers[first], numbers[past - 1]))
    return {label: sorted(pairs) for label, pairs in sorted(ranges.items())}


def ranges_as_csv(ranges: Mapping[str, Sequence[tuple[int, int]]]) -> str:
    """`PER,0-1 4-4`: one row a type, under a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    for label, pairs in ranges.items():
        writer.writerow((label, " ".join(f"{first}-{last}" for first, last in pairs)))
    return out.getvalue()


def ranges_from_csv(content: str) -> dict[str, list[tuple[int, int]]]:
    """Reads what `ranges_as_csv` writes.

    Raises:
        ValueError: for another header, or a range that is none.
    """
    rows = list(csv.reader(io.StringIO(content)))
    if not rows or tuple(rows[0]) != HEADER:
        raise ValueError(f"got the header {rows[:1]}; wanted {','.join(HEADER)}")
    ranges = {}
    for label, cell in rows[1:]:
        pairs = [tuple(map(int, piece.split("-"))) for piece in cell.split()]
        if any(len(pair) != 2 or pair[0] > pair[1] for pair in pairs):
            raise ValueError(f"{label}: a range is not FIRST-LAST")
        ranges[label] = [(pair[0], pair[1]) for pair in pairs]
    return ranges
