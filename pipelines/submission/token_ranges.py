"""The mentions of a file as inclusive ranges of token numbers, a row for each type, and back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from pipelines.errors import DataError
from pipelines.examples import Example, Prediction, joined_by_id
from pipelines.spans import spans_to_token_ranges

HEADER = ("type", "ranges")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The examples of a file, and by example id the number of each token in the file."""

    examples: list[Example]
    numbers: Mapping[str, Sequence[int]]


def numbered_tokens(file: str | Path, examples: Sequence[Example]) -> Tokens:
    """The tokens of a file with their numbers: its `index` column, or counted through the file.

    Args:
        file: where the examples are from.
        examples: all of its rows, in order.

    Raises:
        DataError: naming rows whose index does not fit their tokens, or that have no tokens.
    """
    without = [example.id for example in examples if example.tokens is None]
    if without:
        raise DataError(
            f"{file}: {len(without)} examples, such as {without[0]}, are not in tokens; a course "
            "package wants a file with tokens"
        )
    counts = [len(example.tokens or ()) for example in examples]
    index = _index_column(file)
    if index is None:
        starts = accumulate(counts, initial=0)
        numbers: list[Sequence[int]] = [
            range(start, start + count) for start, count in zip(starts, counts, strict=False)
        ]
    else:
        _check_index(file, index, counts)
        numbers = list(index)
    ids = [example.id for example in examples]
    return Tokens(list(examples), dict(zip(ids, numbers, strict=True)))


def _index_column(file: str | Path) -> list[list[int]] | None:
    """The numbers of the tokens of each row, where a file of JSON columns has them."""
    if not str(file).endswith(".json"):
        return None
    content = json.loads(Path(file).read_text(encoding="utf-8-sig"))
    index = content.get("index") if isinstance(content, dict) else None
    # Rows may have a number each in a column of this name; tokens have a list of them a row.
    if not isinstance(index, list) or not all(isinstance(row, list) for row in index):
        return None
    return index


def _check_index(file: str | Path, index: Sequence[Sequence[int]], counts: Sequence[int]) -> None:
    if len(index) != len(counts):
        raise DataError(
            f"{file}: {len(index)} rows of index, {len(counts)} rows that can be read; fix the "
            "others, as the numbers of their tokens would be lost"
        )
    wrong = [
        f"{file}, row {row}: {count} tokens, {len(numbers)} numbers in index"
        for row, (count, numbers) in enumerate(zip(counts, index, strict=True))
        if count != len(numbers)
    ]
    if wrong:
        raise DataError("\n".join(wrong))


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
        ValueError: for another header, or a range that is not `FIRST-LAST`.
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
