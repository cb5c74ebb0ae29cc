"""Columns of tokens: one token a line, its tag in the last column, a blank line behind each sentence."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from pipelines.corpora.corpus import Columns, Table, Unreadable
from pipelines.errors import UserError
from pipelines.spans import looks_like_tag

MAX_TYPES = 100  # a column with more different values holds no tags


@dataclass(slots=True)
class _Sentence:
    """Lines of one sentence with their numbers, and the id that a comment gives it."""

    lines: list[tuple[int, list[str]]] = field(default_factory=list)
    id: str | None = None


def read_conll(path: str, content: str, columns: Columns = Columns(), *, labelled: bool = True) -> Table:  # noqa: B008
    """Reads columns of tokens, apart by tabs if most lines hold one, else by blanks.

    The token stands in the first column (the second, if the first counts the tokens), the tag in the last one that
    could be tags; ``columns.text`` and ``columns.entities`` name other columns by their numbers, from 0. Without a
    column of tags the file is unlabelled. ``-DOCSTART-`` lines and comments are passed over; a comment
    ``# sent_id = 7`` or ``# id = 7`` gives the sentence its id.

    Args:
        path: named in messages.
        content: the whole file, decoded.
        columns: columns by number, where they are not as above.
        labelled: whether a named column of tags has to be there.

    Raises:
        UserError: when a named column is not there.
    """
    tabs = ["\t" in line.strip() for line in content.split("\n") if line.strip() and not line.startswith("#")]
    separator = "\t" if 2 * sum(tabs) > len(tabs) else None
    lines = [line.rstrip("\r\n \t").split(separator) for line in content.split("\n")]
    sentences, width = _sentences(lines)
    good = [fields for sentence in sentences for _, fields in sentence.lines if len(fields) == width]
    token = _number(path, columns.text, width) if columns.text else _token_column(sentences, width)
    if columns.entities is None:
        tag = _tag_column(good, width, token)
    elif not labelled and columns.entities.isdigit() and int(columns.entities) >= width:
        tag = None
    else:
        tag = _number(path, columns.entities, width)
    rows = [_row(sentence, width, token, tag) for sentence in sentences]
    layout = f"columns of tokens ({'tabs' if separator else 'blanks'}, token in column {token}"
    layout += f", tag in column {tag} of {width})" if tag is not None else ", no column of tags)"
    return Table(rows, layout, unit="line")


def _sentences(lines: list[list[str]]) -> tuple[list[_Sentence], int]:
    """Groups lines into sentences, without comments; also the usual number of columns."""
    counts = Counter(len(fields) for fields in lines if any(fields) and not fields[0].startswith("#"))
    width = max(counts, key=lambda n: counts[n], default=1)
    sentences = [_Sentence()]
    for number, fields in enumerate(lines, start=1):
        if not any(fields) or fields[0] == "-DOCSTART-":
            if sentences[-1].lines:
                sentences.append(_Sentence())
        elif fields[0].startswith("#") and not _is_token(fields, width):
            named = re.match(r"#\s*(?:sent_|sentence_)?id\s*[=:]?\s+(\S+)", " ".join(fields))
            if named and not sentences[-1].lines:
                sentences[-1].id = named[1]
        else:
            sentences[-1].lines.append((number, fields))
    return [sentence for sentence in sentences if sentence.lines], width


def _is_token(fields: list[str], width: int) -> bool:
    """Whether a line that opens with ``#`` is a token with its tag, and no comment."""
    return len(fields) == width and (width == 1 or looks_like_tag(fields[-1]))


def _number(path: str, name: str, width: int) -> int:
    if not name.isdigit() or int(name) >= width:
        raise UserError(f"{path}: no column {name!r}; its columns are numbered from 0 to {width - 1}")
    return int(name)


def _token_column(sentences: list[_Sentence], width: int) -> int:
    if width < 3:
        return 0
    return int(all(fields[0] == str(i) for sentence in sentences for i, (_, fields) in enumerate(sentence.lines, 1)))


def _tag_column(lines: list[list[str]], width: int, token: int) -> int | None:
    for column in range(width - 1, token, -1):
        values = {fields[column] for fields in lines}
        if all(map(looks_like_tag, values)) or ("O" in values and len(values) <= MAX_TYPES):
            return column
    return None


def _row(sentence: _Sentence, width: int, token: int, tag: int | None) -> tuple[int, dict[str, object] | Unreadable]:
    for number, fields in sentence.lines:
        if len(fields) != width:
            reason = f"{len(fields)} columns, where the file has {width}: {' '.join(fields)[:60]!r}"
            return number, Unreadable(reason)
    row: dict[str, object] = {"id": sentence.id, "tokens": [fields[token] for _, fields in sentence.lines]}
    if tag is not None:
        row["tags"] = [fields[tag] for _, fields in sentence.lines]
    return sentence.lines[0][0], row
