"""Columns of tokens: one token a line, its tag in one of the columns, a blank line behind each sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pipelines.corpora.corpus import Columns, Found, Table, Unreadable
from pipelines.corpora.source import Source
from pipelines.corpora.tags import canonical_tags
from pipelines.errors import UserError
from pipelines.spans import TokenRange, looks_like_tag, tags_to_token_ranges

MAX_TYPES = 100  # a column with more different values holds no tags
PLACEHOLDERS = {"_", "-", "-X-", "*", "-DOCSTART-"}  # what stands where a tag is not given
CHUNKS = {"NP", "VP", "PP", "ADVP", "SBAR", "ADJP", "PRT", "CONJP", "INTJ", "LST", "UCP"}  # of CoNLL-2000
_COUNTER = re.compile(r"\d{1,9}([-.]\d{1,9})?")
_STATED = re.compile(r"#\s*(?:global\.)?columns\s*[=:]\s*(.+)")
_SENTENCE_ID = re.compile(r"#\s*(?:sent_|sentence_)?id\s*[=:]?\s+(\S+)")
_DOCUMENT = re.compile(r"#\s*(?:newdoc|doc_?id|document)(?:\s+id)?\s*[=:]?\s*(\S+)")
_FORMS = ("FORM", "TOKEN", "WORD")
_TAGS = ("NER", "TAG", "ENTITY", "BIO", "IOB", "LABEL")


@dataclass(slots=True)
class _Sentence:
    """Lines of one sentence with their numbers; the id and the document that comments give it."""

    lines: list[tuple[int, list[str]]] = field(default_factory=list)
    id: str | None = None
    group: str | None = None


def sniff(source: Source) -> bool:
    """Whether lines hold tokens: a tag or a place for one in the last column, a count in the first, or one word."""
    if source.ends_with(".conll", ".conllu", ".iob", ".iob2", ".bio"):
        return True
    lines = [line for line in source.head if not line.startswith(("#", "-DOCSTART-"))]
    if not lines or source.ends_with(".csv"):
        return False
    separator = _separator(lines)
    rows = [_fields(line, separator) for line in lines]
    (width, count), = Counter(map(len, rows)).most_common(1)
    if count < 0.9 * len(rows) or 5 * sum(" " in row[0].strip() for row in rows) > len(rows):
        return False
    if width == 1:
        # A comma on each line makes columns, but none of tokens.
        return not all(re.search(r"[^,],|,[^,]", line) for line in lines)
    last = [row[-1] for row in rows if len(row) == width]
    if not set(last) - PLACEHOLDERS:
        return True
    if 2 * sum(map(looks_like_tag, canonical_tags([last])[0][0])) >= len(rows) and ("O" in last or "o" in last):
        return True
    sentences, _ = _sentences(source.content.split("\n")[:2000], separator)
    if _role_of_first(sentences, width) == "counter":
        return True
    # Words without blanks, some of them punctuation; or sentences with something like tags.
    words = [row[0] for row in rows]
    if not any(" " in line for line in lines) and any(re.fullmatch(r"[.,;:!?]", word) for word in words):
        return True
    full = [row for row in rows if len(row) == width]
    return len(sentences) > 1 and any(_is_layer({row[column] for row in full}) for column in range(1, width))


def read(source: Source, columns: Columns) -> Table:
    """Reads columns of tokens, apart by tabs if most lines hold one, else by blanks.

    A first column that counts the tokens or names the sentence is none of the text; the token stands in the next.
    Of several columns of tags the one is taken that ``--entities_column`` names, that a comment
    ``# columns = ID FORM NER`` states, or of nested layers the outer one. ``-DOCSTART-`` lines and comments are
    skipped, lines of ranges (``5-6``) and of empty nodes (``8.1``) too; ``# sent_id = 7`` gives the sentence its id.

    Raises:
        UserError: when a named column is not there, or several columns hold tags and none is outermost.
    """
    path, lines = source.path, source.content.split("\n")
    separator = _separator([line for line in lines[:5000] if line.strip() and not line.startswith("#")])
    sentences, width = _sentences(lines, separator)
    if not sentences:
        raise UserError(f"{path}: comments and no tokens")
    role = _role_of_first(sentences, width)
    skipped = _skip_ranges(sentences) if role == "counter" else 0
    stated = _stated(source.head, width)
    token = _number(path, columns.text_column, width, "--text_column") if columns.text_column else \
        stated.get("token", int(role is not None))
    tag, notes = _tag_column(source, sentences, width, token, columns, stated)
    rows = [_row(sentence, width, token, tag, role == "sentence") for sentence in sentences]
    layout = f"columns of tokens ({'tabs' if separator == chr(9) else 'blanks'}, token in column {token}"
    layout += f", tag in column {tag} of {width})" if tag is not None else ", no column of tags)"
    if skipped:
        notes.append(f"{path}: {skipped} lines of ranges and empty nodes are skipped")
    grouped = any(sentence.group for sentence in sentences)
    found = Found(tokens="tokens", entities="tags" if tag is not None else None, id="id",
                  group="group" if grouped else None)
    return Table(rows, layout, unit="line", found=found, notes=notes)


def _separator(lines: Sequence[str]) -> str | None:
    return "\t" if 2 * sum("\t" in line.strip() for line in lines) > len(lines) else None


def _fields(line: str, separator: str | None) -> list[str]:
    # Not `split()`: a no-break space may be part of a token.
    line = line.rstrip("\r\n \t") if separator is None else line.rstrip("\r\n").rstrip("\t")
    return line.split(separator) if separator else re.split(r"[ \t]+", line.lstrip(" \t"))


def _sentences(lines: Sequence[str], separator: str | None) -> tuple[list[_Sentence], int]:
    """Groups lines into sentences, without comments; also the usual number of columns."""
    split = [_fields(line, separator) if line.strip(" \t\r") else [] for line in lines]
    counts = Counter(len(fields) for fields in split if fields and not fields[0].startswith("#"))
    width = max(counts, key=lambda n: counts[n], default=1)
    sentences, group, marks = [_Sentence()], None, 0
    for number, fields in enumerate(split, start=1):
        if not fields or fields[0].startswith("-DOCSTART-"):
            if fields:
                marks += 1
                group = f"document {marks}"
            if sentences[-1].lines:
                sentences.append(_Sentence(group=group))
            sentences[-1].group = group
        elif fields[0].startswith("#") and not _is_token(fields, width):
            comment = " ".join(fields)
            if named := _DOCUMENT.match(comment):
                group = named[1]
                sentences[-1].group = group if not sentences[-1].lines else sentences[-1].group
            elif (named := _SENTENCE_ID.match(comment)) and not sentences[-1].lines:
                sentences[-1].id = named[1]
        else:
            sentences[-1].lines.append((number, fields))
    return [sentence for sentence in sentences if sentence.lines], width


def _is_token(fields: list[str], width: int) -> bool:
    """Whether a line that opens with ``#`` is a token with its tag, and no comment."""
    return len(fields) == width and (width == 1 or looks_like_tag(fields[-1]))


def _role_of_first(sentences: Sequence[_Sentence], width: int) -> str | None:
    """``counter`` or ``sentence`` where the first column numbers tokens or names sentences, else ``None``."""
    if width < 2:
        return None
    firsts = [[fields[0] for _, fields in sentence.lines] for sentence in sentences]
    if all(all(map(_COUNTER.fullmatch, values)) for values in firsts):
        counted = [[int(value) for value in values if value.isdecimal()] for values in firsts]
        if all(values == list(range(values[0], values[0] + len(values))) for values in counted if values):
            return "counter" if any(len(values) > 1 for values in counted) or width > 2 else None
    constant = all(len(set(values)) == 1 for values in firsts)
    if constant and width > 2 and any(len(values) > 1 for values in firsts) and len(sentences) > 1:
        return "sentence"
    return None


def _skip_ranges(sentences: Sequence[_Sentence]) -> int:
    skipped = 0
    for sentence in sentences:
        kept = [line for line in sentence.lines if line[1][0].isdecimal()]
        skipped += len(sentence.lines) - len(kept)
        sentence.lines = kept or sentence.lines
    return skipped


def _stated(head: Sequence[str], width: int) -> dict[str, int]:
    """The columns of token and tag that a comment names."""
    stated = next((match[1].upper() for line in head if (match := _STATED.match(line))), "")
    names = [name.split(":")[-1] for name in re.split(r"[\s,]+", stated) if name]
    if len(names) != width:
        return {}
    roles = {"token": next((i for i, name in enumerate(names) if name in _FORMS), None),
             "tag": next((i for i, name in enumerate(names) if any(tag in name for tag in _TAGS)), None)}
    return {role: number for role, number in roles.items() if number is not None}


def _number(path: str, name: str, width: int, option: str) -> int:
    if not re.fullmatch(r"\d{1,4}", name) or int(name) >= width:
        raise UserError(f"{path}: no column {name!r}; its columns are numbered from 0 to {width - 1} ({option})")
    return int(name)


def _tag_column(source: Source, sentences: Sequence[_Sentence], width: int, token: int, columns: Columns,
                stated: dict[str, int]) -> tuple[int | None, list[str]]:
    """The column of the tags, ``None`` without one, and what there is to say of it."""
    path = source.path
    if columns.entities_column is not None:
        named = columns.entities_column
        if re.fullmatch(r"\d{1,4}", named) and int(named) >= width and not source.labelled:
            return None, []
        return _number(path, named, width, "--entities_column"), []
    if "tag" in stated:
        return stated["tag"], []
    good = [fields for sentence in sentences for _, fields in sentence.lines if len(fields) == width]
    values = {column: {fields[column] for fields in good} for column in range(token + 1, width)}
    layers = [column for column, seen in values.items() if _is_layer(seen)]
    with_mentions = [column for column in layers if values[column] - PLACEHOLDERS - {"O", "o"}]
    layers = with_mentions or layers[-1:]
    chunks = [column for column in layers if {tag.split("-")[-1] for tag in values[column]} <= CHUNKS | {"O"}]
    if len(chunks) < len(layers):
        layers = [column for column in layers if column not in chunks]
    if len(layers) < 2:
        return (layers[0] if layers else None), []
    others = ", ".join(map(str, layers[1:]))
    if all(_is_nested(sentences, width, layers[0], column) for column in layers[1:]):
        return layers[0], [f"{path}: column {layers[0]} holds the outer tags, which are read; column {others} holds "
                           "nested ones, which --entities_column reads instead"]
    several = f"{path}: columns {layers[0]} and {others} hold tags"
    if not source.labelled:
        return None, [f"{several}; none is read, for the file may be unlabelled"]
    raise UserError(f"{several}; name the one to read, such as --entities_column {layers[-1]}")


def _is_layer(values: set[str]) -> bool:
    given = values - PLACEHOLDERS
    if not given:
        return False
    canonical = set(canonical_tags([sorted(given)])[0][0])
    return all(map(looks_like_tag, canonical)) or ("O" in canonical and len(canonical) <= MAX_TYPES)


def _is_nested(sentences: Sequence[_Sentence], width: int, outer: int, inner: int) -> bool:
    """Whether all mentions of the inner layer lie within mentions of the outer one, and none is the same."""
    for sentence in sentences:
        around, within = (_ranges(sentence, width, column) for column in (outer, inner))
        if set(around) & set(within):
            return False
        if not all(any(a[0] <= b[0] and b[1] <= a[1] for a in around) for b in within):
            return False
    return True


def _ranges(sentence: _Sentence, width: int, column: int) -> list[TokenRange]:
    return tags_to_token_ranges([fields[column] for _, fields in sentence.lines if len(fields) == width])


def _row(sentence: _Sentence, width: int, token: int, tag: int | None,
         named: bool) -> tuple[int, dict[str, object] | Unreadable]:
    first = sentence.lines[0][0]
    for number, fields in sentence.lines:
        if len(fields) != width:
            reason = f"{len(fields)} columns, where the file has {width}: {' '.join(fields)[:60]!r}"
            return number, Unreadable(reason)
    tokens = [fields[token] for _, fields in sentence.lines]
    row: dict[str, object] = {"id": sentence.id or (sentence.lines[0][1][0] if named else None), "tokens": tokens}
    if tag is not None:
        tags = [fields[tag] for _, fields in sentence.lines]
        row["tags"] = None if set(tags) <= PLACEHOLDERS else tags
    if sentence.group:
        row["group"] = sentence.group
    return first, row
