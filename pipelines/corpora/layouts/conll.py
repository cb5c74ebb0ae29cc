"""Columns of tokens: one token a line, its tag in one of the columns, sentences apart by blanks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise

from pipelines.corpora.corpus import ColumnNames, Columns, Table, Unreadable, counted
from pipelines.corpora.source import Source
from pipelines.corpora.tags import canonical_tags
from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.spans import TokenRange, detect_scheme, looks_like_tag, tags_to_token_ranges

MAX_TYPES = 100  # a column with more different values holds no tags
PLACEHOLDERS = {"_", "-", "-X-", "*", "-DOCSTART-"}  # instead of a tag that is not given
# Chunks of CoNLL-2000, whose tags look like those of mentions.
# fmt: off
CHUNKS = {"NP", "VP", "PP", "ADVP", "SBAR", "ADJP", "PRT", "CONJP", "INTJ", "LST", "UCP"}
# fmt: on
_COUNTER = re.compile(r"\d{1,9}([-.]\d{1,9})?")
_COLUMN_NUMBER = re.compile(r"\d{1,4}")
_STATED = re.compile(r"#\s*(?:global\.)?columns\s*[=:]\s*(.+)")
_SENTENCE_ID = re.compile(r"#\s*(?:sent_|sentence_)?id\s*[=:]?\s+(\S+)")
_DOCUMENT = re.compile(r"#\s*(?:newdoc|doc_?id|document)(?:\s+id)?\s*[=:]?\s*(\S+)")
_TOKEN_COLUMN = re.compile(r"FORM|TOKEN|WORD")
_TAG_COLUMN = re.compile(r".*(NER|TAG|ENTITY|BIO|IOB|LABEL).*")


@dataclass(slots=True)
class _Sentence:
    """Lines of one sentence with their numbers; the id and the document that comments give it."""

    lines: list[tuple[int, list[str]]] = field(default_factory=list)
    id: str | None = None
    group: str | None = None

    def column(self, column: int, width: int) -> list[str]:
        """The values of a column, in lines that have all columns."""
        return [fields[column] for _, fields in self.lines if len(fields) == width]


@dataclass(slots=True)
class _File:
    """The sentences of a file, what separates its columns, and how many columns it usually has."""

    sentences: list[_Sentence]
    separator: str | None
    width: int

    def column(self, column: int) -> set[str]:
        """The different values of a column."""
        values: set[str] = set()
        for sentence in self.sentences:
            values.update(sentence.column(column, self.width))
        return values


def sniff(source: Source) -> bool:
    """Whether lines hold tokens: a tag or placeholder last, a counter first, or one word."""
    if source.ends_with(".conll", ".conllu", ".iob", ".iob2", ".bio"):
        return True
    lines = [line for line in source.head if not line.startswith(("#", "-DOCSTART-"))]
    if not lines or source.ends_with(".csv"):
        return False
    separator = _separator(lines)
    rows = [_fields(line, separator) for line in lines]
    [(width, n_full)] = Counter(map(len, rows)).most_common(1)
    n_phrases = sum(" " in row[0].strip() for row in rows)
    if n_full < 0.9 * len(rows) or 5 * n_phrases > len(rows):
        return False
    if width == 1:
        # A comma on each line makes columns, but none of tokens.
        return not all(re.search(r"[^,],|,[^,]", line) for line in lines)
    full = [row for row in rows if len(row) == width]
    last = [row[-1] for row in full]
    if not set(last) - PLACEHOLDERS:
        return True
    n_tags = sum(map(looks_like_tag, canonical_tags([last])[0][0]))
    if 2 * n_tags >= len(rows) and ("O" in last or "o" in last):
        return True
    file = _file(source.content.split("\n")[:2000], separator)
    if _role_of_first(file.sentences, width) == "counter":
        return True
    # Words without blanks, some of them punctuation; or sentences with something like tags.
    has_blanks = any(" " in line for line in lines)
    if not has_blanks and any(re.fullmatch(r"[.,;:!?]", row[0]) for row in rows):
        return True
    columns = [set(values) for values in zip(*full, strict=True)]
    return len(file.sentences) > 1 and any(map(_holds_tags, columns[1:]))


def read(source: Source, columns: Columns) -> Table:
    """Reads columns of tokens, separated by tabs if most lines hold one, else by blanks.

    A first column that counts the tokens or names the sentence is not the token; then that is the
    next. Of several columns of tags it is the one that `--entities_column` names, that a comment
    `# columns = ID FORM NER` states, or of nested layers the outer one. `-DOCSTART-` lines and
    comments are skipped, lines of ranges (`5-6`) and of empty nodes (`8.1`) too; `# sent_id = 7`
    gives the sentence its id.

    Raises:
        UserError: when a named column does not exist, or several columns hold tags and none is
            outermost.
    """
    file = _file_of(source)
    role = _role_of_first(file.sentences, file.width)
    n_skipped = _skip_ranges(file.sentences) if role == "counter" else 0
    stated = _stated_columns(source.head, file.width)
    token = stated.get("token", int(role is not None))
    if columns.text_column:
        token = _column_number(source.path, columns.text_column, file.width, "--text_column")
    tag, inner, notes = _tag_columns(source, file, token, columns, stated.get("tag"))
    rows = [
        _row(sentence, file.width, token, tag, role == "sentence") for sentence in file.sentences
    ]
    if tag is not None and inner:
        _add_mentions(file, rows, [tag, *inner])
    separator = "tabs" if file.separator else "blanks"
    layout = f"columns of tokens ({separator}, token in column {token}"
    if inner:
        layout += f", tags in columns {', '.join(map(str, (tag, *inner)))} of {file.width})"
    else:
        layout += (
            f", tag in column {tag} of {file.width})" if tag is not None else ", no column of tags)"
        )
    if n_skipped:
        notes.append(f"{counted(n_skipped, 'line')} of ranges and empty nodes skipped")
    names = ColumnNames(
        tokens="tokens",
        entities=("mentions" if inner else "tags") if tag is not None else None,
        id="id",
        group="group" if any(sentence.group for sentence in file.sentences) else None,
    )
    table = Table(rows, layout, unit="line", column_names=names, notes=notes)
    return replace(table, ends="half-open", offsets="token") if inner else table


def n_columns(source: Source) -> int:
    """The usual number of columns of a file."""
    return _file_of(source).width


def _file_of(source: Source) -> _File:
    lines = source.content.split("\n")
    sample = [line for line in lines[:5000] if line.strip() and not line.startswith("#")]
    file = _file(lines, _separator(sample))
    if not file.sentences:
        raise UserError(f"{source.path}: comments and no tokens; wanted a token a line")
    return file


def _separator(lines: Sequence[str]) -> str | None:
    """A tab if most lines have one, else `None`: blanks."""
    return "\t" if 2 * sum("\t" in line.strip() for line in lines) > len(lines) else None


def _fields(line: str, separator: str | None) -> list[str]:
    if separator:
        return line.rstrip("\r\n").rstrip("\t").split(separator)
    # Not `split()`: a no-break space may be part of a token.
    return re.split(r"[ \t]+", line.rstrip("\r\n \t").lstrip(" \t"))


def _file(lines: Sequence[str], separator: str | None) -> _File:
    """Groups lines into sentences, without comments."""
    rows = [_fields(line, separator) if line.strip(" \t\r") else [] for line in lines]
    counts = Counter(len(fields) for fields in rows if fields and not fields[0].startswith("#"))
    width = max(counts, key=lambda n: counts[n], default=1)
    sentences, group, n_marks = [_Sentence()], None, 0
    for number, fields in enumerate(rows, start=1):
        is_mark = bool(fields) and fields[0].startswith("-DOCSTART-")
        if not fields or is_mark:
            if is_mark:
                n_marks += 1
                group = f"document {n_marks}"
            if sentences[-1].lines:
                sentences.append(_Sentence())
            sentences[-1].group = group
        elif fields[0].startswith("#") and not _is_token(fields, width):
            group = _read_comment(" ".join(fields), sentences[-1], group)
        else:
            sentences[-1].lines.append((number, fields))
    return _File([sentence for sentence in sentences if sentence.lines], separator, width)


def _read_comment(comment: str, sentence: _Sentence, group: str | None) -> str | None:
    """Gives a sentence that has not begun its id or document; returns the document from there."""
    document, id = _DOCUMENT.match(comment), _SENTENCE_ID.match(comment)
    if document:
        group = document[1]
    if not sentence.lines:
        sentence.group = group
        sentence.id = id[1] if id and not document else sentence.id
    return group


def _is_token(fields: list[str], width: int) -> bool:
    """Whether a line that begins with `#` is a token with its tag, and not a comment."""
    return len(fields) == width and (width == 1 or looks_like_tag(fields[-1]))


def _role_of_first(sentences: Sequence[_Sentence], width: int) -> str | None:
    """`counter` or `sentence` where the first column counts tokens or names sentences."""
    if width < 2:
        return None
    columns = [[fields[0] for _, fields in sentence.lines] for sentence in sentences]
    has_several = any(len(values) > 1 for values in columns)
    if all(map(_COUNTER.fullmatch, chain.from_iterable(columns))):
        counts = [[int(value) for value in values if value.isdecimal()] for values in columns]
        has_several_counts = any(len(numbers) > 1 for numbers in counts)
        if all(map(_are_consecutive, counts)):
            return "counter" if has_several_counts or width > 2 else None
    is_constant = all(len(set(values)) == 1 for values in columns)
    if is_constant and has_several and width > 2 and len(sentences) > 1:
        return "sentence"
    return None


def _are_consecutive(numbers: Sequence[int]) -> bool:
    return all(after == before + 1 for before, after in pairwise(numbers))


def _skip_ranges(sentences: Sequence[_Sentence]) -> int:
    """Removes the lines whose counter is not a number; returns how many they were."""
    n_skipped = 0
    for sentence in sentences:
        kept = [(number, fields) for number, fields in sentence.lines if fields[0].isdecimal()]
        n_skipped += len(sentence.lines) - len(kept)
        sentence.lines = kept or sentence.lines
    return n_skipped


def _stated_columns(head: Sequence[str], width: int) -> dict[str, int]:
    """The columns of token and tag that a comment names."""
    matches = filter(None, map(_STATED.match, head))
    stated = next((match[1].upper() for match in matches), "")
    names = [name.split(":")[-1] for name in re.split(r"[\s,]+", stated) if name]
    columns: dict[str, int] = {}
    if len(names) == width:
        for role, pattern in (("token", _TOKEN_COLUMN), ("tag", _TAG_COLUMN)):
            matching = [i for i, name in enumerate(names) if pattern.fullmatch(name)]
            if matching:
                columns[role] = matching[0]
    return columns


def _column_number(path: str, name: str, width: int, option: str) -> int:
    if not _COLUMN_NUMBER.fullmatch(name) or int(name) >= width:
        raise UserError(
            f"{path}: no column {name!r}; its columns are numbered from 0 to {width - 1} ({option})"
        )
    return int(name)


def _tag_columns(
    source: Source, file: _File, token: int, columns: Columns, stated: int | None
) -> tuple[int | None, list[int], list[str]]:
    """The column of tags, `None` in an unlabelled file; nested layers to read too; and notes."""
    tag, layers, notes = _tag_column(source, file, token, columns, stated)
    return (tag, layers, []) if columns.nested and layers else (tag, [], notes)


def _tag_column(
    source: Source, file: _File, token: int, columns: Columns, stated: int | None
) -> tuple[int | None, list[int], list[str]]:
    """The column of tags, `None` in an unlabelled file; nested layers; and a note on a choice."""
    named = columns.entities_column
    if named is not None:
        may_lack = not source.labelled and _COLUMN_NUMBER.fullmatch(named)
        if may_lack and int(named) >= file.width:
            return None, [], []
        return _column_number(source.path, named, file.width, "--entities_column"), [], []
    if stated is not None:
        return stated, [], []
    values = {column: file.column(column) for column in range(token + 1, file.width)}
    layers = [column for column, seen in values.items() if _holds_tags(seen)]
    with_mentions = [column for column in layers if values[column] - PLACEHOLDERS - {"O", "o"}]
    layers = with_mentions or layers[-1:]
    no_chunks = [column for column in layers if not _holds_chunks(values[column])]
    layers = no_chunks or layers
    if len(layers) < 2:
        return (layers[0] if layers else None), [], []
    outer, others = layers[0], ", ".join(map(str, layers[1:]))
    if all(_is_nested(file, outer, column) for column in layers[1:]):
        note = (
            f"column {outer} holds the outer tags, which are read; column {others} holds nested "
            "ones, which --entities_column reads instead"
        )
        return outer, layers[1:], [note]
    several = f"columns {outer} and {others} hold tags"
    if not source.labelled:
        return None, [], [f"{several}; none is read, as the file may be unlabelled"]
    raise UserError(
        f"{source.path}: {several}; name the one to read, such as --entities_column {layers[-1]}"
    )


def _holds_tags(values: set[str]) -> bool:
    given = values - PLACEHOLDERS
    if not given:
        return False
    canonical = set(canonical_tags([sorted(given)])[0][0])
    return all(map(looks_like_tag, canonical)) or ("O" in canonical and len(canonical) <= MAX_TYPES)


def _holds_chunks(values: set[str]) -> bool:
    return {tag.split("-")[-1] for tag in values} <= CHUNKS | {"O"}


def _is_nested(file: _File, outer: int, inner: int) -> bool:
    """Whether each inner mention lies within an outer one, and none is the same."""
    for sentence in file.sentences:
        around = tags_to_token_ranges(sentence.column(outer, file.width))
        within = tags_to_token_ranges(sentence.column(inner, file.width))
        if set(around) & set(within):
            return False
        if not all(any(_contains(a, b) for a in around) for b in within):
            return False
    return True


def _contains(outer: TokenRange, inner: TokenRange) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _row(
    sentence: _Sentence, width: int, token: int, tag: int | None, is_named: bool
) -> tuple[int, JsonObject | Unreadable]:
    for number, fields in sentence.lines:
        if len(fields) != width:
            shown = " ".join(fields)[:60]
            reason = f"{len(fields)} columns, where the file has {width}: {shown!r}"
            return number, Unreadable(reason)
    number, first = sentence.lines[0]
    id = sentence.id or (first[0] if is_named else None)
    row: JsonObject = {"id": id, "tokens": sentence.column(token, width)}
    if tag is not None:
        tags = sentence.column(tag, width)
        row["tags"] = None if set(tags) <= PLACEHOLDERS else tags
    if sentence.group:
        row["group"] = sentence.group
    return number, row


def _add_mentions(
    file: _File, rows: Sequence[tuple[int, JsonObject | Unreadable]], layers: Sequence[int]
) -> None:
    """Adds to each row the mentions of several columns of tags, by token offsets."""
    labelled: list[tuple[_Sentence, JsonObject]] = []
    for sentence, (_, row) in zip(file.sentences, rows, strict=True):
        if isinstance(row, Unreadable):
            continue
        row["mentions"] = None if row["tags"] is None else []
        if row["mentions"] is not None:
            labelled.append((sentence, row))
    for column in layers:
        tags, _ = canonical_tags([s.column(column, file.width) for s, _ in labelled])
        scheme = detect_scheme(tags)
        for (_, row), own in zip(labelled, tags, strict=True):
            for first, past, label in tags_to_token_ranges(own, scheme=scheme):
                row["mentions"].append({"start": first, "end": past, "type": label})
