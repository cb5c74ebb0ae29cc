"""Texts with classes -> Examples: tables (CSV, TSV, JSON), labelled lines, folders of files, and NER corpora."""

from __future__ import annotations

import csv
import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.corpora import file_content, good_rows, is_dataset, read_corpus
from pipelines.corpora.columns import ID_NAMES, TEXT_NAMES, find_columns, find_id, is_null, name_parts
from pipelines.corpora.corpus import WARNINGS, Columns, Corpus, Fault, Table, Unreadable
from pipelines.corpora.damage import find_damage
from pipelines.corpora.disease_json import read_json
from pipelines.corpora.pubtator import PASSAGE
from pipelines.errors import UserError
from pipelines.examples import Example
from pipelines.spans import looks_like_tag

NO_MENTION = "none"
CLASS_TEXT_NAMES = (*TEXT_NAMES, "review", "comment", "tweet", "message", "description", "question", "query", "premise")
CLASS_NAMES = ("label", "class", "category", "target", "topic", "sentiment", "polarity", "genre", "rating", "star",
               "score", "intent", "gold", "y")
PAIR_NAMES = (("sentence1", "sentence2"), ("text1", "text2"), ("question1", "question2"), ("text_a", "text_b"),
              ("sentence_a", "sentence_b"), ("premise", "hypothesis"), ("question", "answer"), ("question", "sentence"),
              ("query", "passage"), ("query", "document"), ("text", "text_pair"))
_REVIEW = re.compile(r"(\S+) (pos|neg) (\S+\.txt)(?: (.*))?")
_FASTTEXT = re.compile(r"((?:__label__\S+\s+)+)(.*)")


@dataclass(frozen=True, slots=True)
class ClassColumns:
    """Names of columns, for files that do not tell by themselves; ``None`` = find out.

    Attributes:
        text: column with the text. A table without a header has the columns ``0``, ``1``, …
        pair: column with the second text, where the class belongs to two.
        label: column with the class; several, separated by commas, hold 0 or 1 each for one class of several.
        id: column with the ids.
        separator: what stands between the classes of a text that may have several.
        mention: in a corpus of marked mentions the type that makes a text's class, where it has several types.
    """

    text: str | None = None
    pair: str | None = None
    label: str | None = None
    id: str | None = None
    separator: str | None = None
    mention: str | None = None


@dataclass(frozen=True, slots=True)
class ClassCorpus(Corpus):
    """A file of texts with classes as read.

    Attributes:
        labels: the columns that the classes are in, where the file itself names them.
    """

    labels: tuple[str, ...] = ()


def read_classes(source: str | Path, *, columns: ClassColumns = ClassColumns(),
                 skip_bad_rows: bool = False, labelled: bool = True) -> list[Example]:
    """Reads texts with classes and insists on every row, or says which ones it skips.

    Args:
        source: see ``read_class_corpus``, as for ``columns`` and ``labelled``.
        skip_bad_rows: leave bad rows out, and say on stderr how many and which.

    Raises:
        DataError: naming every fault with file and row.
        UserError: when the file as a whole cannot be read.
    """
    return good_rows(read_class_corpus(source, columns=columns, labelled=labelled), skip_bad_rows=skip_bad_rows)


def read_class_corpus(source: str | Path, *, columns: ClassColumns = ClassColumns(), labelled: bool = True,
                      like: Sequence[str] = ()) -> ClassCorpus:
    """Reads texts with classes from whatever holds them.

    That is CSV, TSV or JSON with a column of classes; lines of ``class pos|neg file text`` (reviews) or of
    ``__label__class text``; a folder with one folder of text files for each class; a data set of the Hub. A corpus of
    marked mentions (JSON, token columns, PubTator) without classes gives each text the type of mention that it has, or
    ``none``: "does this sentence mention a disease?"

    Args:
        source: a file, gzipped or not; a folder; ``owner/name`` of the Hub, with ``:split`` if it has several.
        columns: names of columns, for a file that does not tell by itself.
        labelled: whether a named class column has to be there; a test file may lack it.
        like: class columns of the training file, as if they had been named: a guess could find others.

    Returns:
        Examples whose label is a string, a tuple of strings where a text may have several, or None in a file without
        classes; and a fault for each bad row.

    Raises:
        UserError: when the file as a whole cannot be read, a named column is not there, or none looks like text.
    """
    path = str(source)
    if is_dataset(path):
        from pipelines.corpora.hub import read_dataset  # its import takes a second

        return _from_table(path, read_dataset(path), columns, labelled, like)
    if Path(path).is_dir():
        return _from_folders(Path(path))
    content = file_content(Path(path))
    lines = [line for line in islice(content.split("\n"), 500) if line.strip()]
    if lines[0].lstrip()[0] in "[{":
        return _from_table(path, read_json(path, content), columns, labelled, like)
    if 2 * sum(bool(_REVIEW.fullmatch(line)) for line in lines) > len(lines):
        return replace(_from_table(path, _reviews(content), columns, labelled), labels=())
    if 2 * sum(bool(_FASTTEXT.fullmatch(line)) for line in lines) > len(lines):
        return replace(_from_table(path, _fasttext(content), columns, labelled), labels=())
    if PASSAGE.match(lines[0]) or _is_conll(lines):
        return _from_mentions(path, columns)
    return _from_table(path, _delimited(path, content, columns), columns, labelled, like)


def _is_conll(lines: Sequence[str]) -> bool:
    rows = [line.split() for line in lines if not line.startswith(("#", "-DOCSTART-"))]
    return bool(rows) and 2 * sum(len(row) > 1 and looks_like_tag(row[-1]) for row in rows) >= len(rows)


def _reviews(content: str) -> Table:
    rows: list[tuple[int, Any]] = []
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            match = _REVIEW.fullmatch(line)
            names = ("class", "polarity", "file", "text")
            rows.append((number, dict(zip(names, match.groups(""), strict=True)) if match else
                         Unreadable(f"got {line[:40]!r}; wanted `class pos|neg file text`")))
    return Table(rows, "lines of class, polarity, file and text", unit="line")


def _fasttext(content: str) -> Table:
    rows: list[tuple[int, Any]] = []
    for number, line in enumerate(content.split("\n"), start=1):
        if line.strip():
            match = _FASTTEXT.fullmatch(line)
            rows.append((number, {"label": [name.removeprefix("__label__") for name in match[1].split()],
                                  "text": match[2]} if match
                         else Unreadable(f"got {line[:40]!r}; wanted `__label__class text`")))
    if all(len(row["label"]) == 1 for _, row in rows if isinstance(row, dict)):
        rows = [(number, {**row, "label": row["label"][0]} if isinstance(row, dict) else row) for number, row in rows]
    return Table(rows, "fastText lines", unit="line")


def _delimited(path: str, content: str, columns: ClassColumns) -> Table:
    """CSV and its kin: delimiter, quoting and header found from the first rows."""
    csv.field_size_limit(sys.maxsize)
    sample = content[:200_000].split("\n")[:200]
    counts = {mark: [len(row) for row in csv.reader(sample[:-1] or sample, delimiter=mark) if row] for mark in "\t,;|"}
    delimiter = max(counts, key=lambda mark: (sum(n == counts[mark][0] > 1 for n in counts[mark]), counts[mark][0]))
    rows = _records(content, delimiter, csv.QUOTE_MINIMAL)
    if delimiter == "\t":
        # Tab-separated text often holds bare quotes, which swallow line ends; quoted text that really has several lines
        # does not fit the columns when it is read without quotes.
        bare = _records(content, delimiter, csv.QUOTE_NONE)
        if len(bare) > len(rows) and len({len(row) for _, row in bare}) == 1:
            rows = bare
    if len(rows[0][1]) == 1 and not _is_header(rows[0][1], [], columns):
        raise UserError(f"{path}: one column only, it begins {content[:60].rstrip()!r}; wanted texts with classes: "
                        "CSV, TSV, JSON, review lines, or a folder of folders of text files (docs/classification.md)")
    names = rows[0][1]
    if header := _is_header(names, [row for _, row in rows[1:200]], columns):
        rows = rows[1:]
    else:
        names = [str(number) for number in range(len(names))]
    if not rows:
        raise UserError(f"{path}: a header ({', '.join(names)}) and no row")
    wrong = "{} fields where the " + ("header has" if header else "first row has") + f" {len(names)}"
    values = [(line, dict(zip(names, row, strict=True)) if len(row) == len(names) else
               Unreadable(wrong.format(len(row)) + "; quote a text that holds the separator")) for line, row in rows]
    kind = {"\t": "TSV", ",": "CSV"}.get(delimiter, f"columns between {delimiter!r}")
    return Table(values, kind if header else f"{kind} without a header", unit="line")


def _records(content: str, delimiter: str, quoting: int) -> list[tuple[int, list[str]]]:
    """(line on which it begins, fields) of each record."""
    reader = csv.reader(StringIO(content, newline=""), delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
    rows, line = [], 1
    for row in reader:
        if any(cell.strip() for cell in row):
            rows.append((line, row))
        line = reader.line_num + 1
    return rows


def _is_header(names: Sequence[str], rows: Sequence[Sequence[str]], columns: ClassColumns) -> bool:
    given = {columns.text, columns.pair, columns.id, *(columns.label or "").split(",")} - {None, ""}
    if given & set(names):
        return True
    known = {*CLASS_TEXT_NAMES, *CLASS_NAMES, *(name for pair in PAIR_NAMES for name in pair)}
    if any(name.lower() in ID_NAMES or name.lower() in known or (set(name_parts(name)) <= known and name_parts(name))
           for name in names):
        return True
    if len(set(names)) < len(names) or any(len(name) > 50 or re.fullmatch(r"-?\d+(\.\d+)?", name) for name in names):
        return False
    return len(names) > 1 and not any(name in {row[i] for row in rows if len(row) > i} for i, name in enumerate(names))


def _from_folders(folder: Path) -> ClassCorpus:
    """Text files, each in the folder of its class; files that lie in the folder itself have none."""
    files = sorted(path for path in folder.rglob("*.txt")
                   if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    if not files:
        raise UserError(f"{folder}: no .txt file in it or in a folder in it; wanted {folder}/CLASS/NAME.txt")
    rows: list[tuple[int, Any]] = []
    for number, path in enumerate(files):
        place = path.relative_to(folder)
        row: dict[str, Any] = {"id": place.as_posix(), "label": place.parts[0] if len(place.parts) > 1 else None}
        try:
            rows.append((number, row | {"text": path.read_bytes().decode("utf-8-sig").strip()}))
        except UnicodeDecodeError as error:
            rows.append((number, Unreadable(f"{place}: not UTF-8 at byte {error.start}; convert it to UTF-8")))
    return replace(_examples(str(folder), Table(rows, "a folder of text files for each class", unit="file"),
                             _Found("text", None, ("label",), "id"), ClassColumns()), labels=())


def _from_mentions(path: str, columns: ClassColumns) -> ClassCorpus:
    """A corpus of marked mentions as two classes: the type of mention, and ``none``."""
    corpus = read_corpus(path, columns=Columns(text=columns.text, id=columns.id))
    types = sorted({span.label for example in corpus.examples for span in example.spans or ()})
    if (columns.mention is None and len(types) > 1) or (columns.mention and types and columns.mention not in types):
        got = "" if columns.mention is None else f"--mention_type {columns.mention}, but "
        raise UserError(f"{path}: {got}its mentions are of the types {', '.join(types)}; name the one that makes a "
                        "text's class, by --mention_type")
    wanted = columns.mention or (types[0] if types else "Disease")
    examples = [replace(example, label=None if example.spans is None else
                        wanted if any(span.label == wanted for span in example.spans) else NO_MENTION)
                for example in corpus.examples]
    made = f"classes: {wanted} where it is mentioned, else {NO_MENTION}" if types else "no classes"
    return ClassCorpus(corpus.path, f"{corpus.layout}; {made}", examples, corpus.faults, corpus.n_rows)


@dataclass(frozen=True, slots=True)
class _Found:
    """Names of the columns in use; several labels are 0/1 columns, none = unlabelled."""

    text: str
    pair: str | None
    labels: tuple[str, ...]
    id: str | None


def _from_table(path: str, table: Table, columns: ClassColumns, labelled: bool,
                like: Sequence[str] = ()) -> ClassCorpus:
    rows = [value for _, value in table.rows if isinstance(value, Mapping)]
    if not rows:
        reason = next((value.reason for _, value in table.rows if isinstance(value, Unreadable)), "no row is an object")
        raise UserError(f"{path}: not one readable row in {table.layout} ({reason}); wanted rows such as "
                        '{"id": "1", "text": "…", "label": "…"}')
    names = list(dict.fromkeys(name for row in rows for name in row))
    given = tuple(columns.label.split(",")) if columns.label else tuple(like)
    unlabelled = not labelled and not set(given) <= set(names)
    for wanted in (columns.text, columns.pair, columns.id, *(() if unlabelled else given)):
        if wanted is not None and wanted not in names:
            near = difflib.get_close_matches(wanted, names, n=1, cutoff=0.0)
            raise UserError(f"{path}: no column {wanted!r}; it has {', '.join(names)} (nearest: {near[0]})")
    text, pair = _text_columns(path, rows, names, columns)
    if text is None:
        return _from_mentions(path, columns)  # tokens; says so where there are none either
    rest = [name for name in names if name not in (text, pair, columns.id)]
    # Without a header the column of the classes in one file is that of the texts in another.
    unlabelled = unlabelled or (not labelled and not set(given) <= set(rest))
    labels = () if unlabelled else given or _label_columns(rows, rest)
    if not labels and not given and _has_mentions(path, rows, columns):
        return _from_mentions(path, columns)
    id_column = columns.id or find_id(rows, [name for name in rest if name not in labels])
    return _examples(path, table, _Found(text, pair, labels, id_column), columns)


def _has_mentions(path: str, rows: Sequence[Mapping[str, Any]], columns: ClassColumns) -> bool:
    found = find_columns(path, rows, Columns(text=columns.text, id=columns.id))
    return found.entities is not None and any(isinstance(row.get(found.entities), list) for row in rows)


def _text_columns(path: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str],
                  columns: ClassColumns) -> tuple[str | None, str | None]:
    lower = {name.lower(): name for name in names}
    if columns.text is None and columns.pair is None:
        for first, second in PAIR_NAMES:
            if first in lower and second in lower and _is_text(rows, lower[first]) and _is_text(rows, lower[second]):
                return lower[first], lower[second]
    if columns.text:
        return columns.text, columns.pair
    texts = [name for name in names if _is_text(rows, name) and name not in (columns.pair, columns.id, columns.label)]
    for wanted in CLASS_TEXT_NAMES:
        if wanted in lower and lower[wanted] in texts:
            return lower[wanted], columns.pair
    for wanted in CLASS_TEXT_NAMES:
        for name in texts:
            if wanted in name_parts(name) and not {"id", "label", "class"} & set(name_parts(name)):
                return name, columns.pair
    if any(isinstance(value, list) for row in rows[:100] for value in row.values()) or not texts:
        if not texts and not any(isinstance(value, list) for row in rows[:100] for value in row.values()):
            raise UserError(f"{path}: no column with the text; it has {', '.join(names)}; name the right one with "
                            "--text_column")
        return None, None
    return max(texts, key=lambda name: sum(len(str(row.get(name) or "")) for row in rows[:500])), columns.pair


def _is_text(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    values = [row[name] for row in islice(rows, 500) if not is_null(row.get(name))]
    return bool(values) and 2 * sum(isinstance(value, str) and not value.replace(".", "", 1).isdigit()
                                    for value in values) > len(values)


def _label_columns(rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> tuple[str, ...]:
    """The column of the classes by its name; else several columns of 0 and 1; else the only other column."""
    held = {name: [row[name] for row in rows if not is_null(row.get(name)) and row.get(name) != ""] for name in names}
    plausible = [name for name in names if held[name] and _holds_classes(held[name])]
    for whole in (True, False):
        for wanted in CLASS_NAMES:
            for name in plausible:
                parts = name_parts(name)
                if parts == [wanted] or name.lower() == wanted or \
                        (not whole and wanted in parts and not {"id", "text", "name"} & set(parts)):
                    return (name,)
    binary = [name for name in names if held[name] and {str(value) for value in held[name]} <= {"0", "1"}]
    if len(binary) > 1:
        return tuple(binary)
    others = [name for name in plausible if name.lower() not in ID_NAMES]
    few = [name for name in others if len(set(map(str, held[name]))) <= max(2, min(50, len(rows) // 5))]
    return tuple(few) if len(few) == len(others) == 1 else ()


def _holds_classes(values: Sequence[Any]) -> bool:
    """Strings, numbers, or lists of strings that are no tags of tokens."""
    lists = [value for value in values if isinstance(value, list)]
    if lists:
        parts = [part for value in lists for part in value]
        return (len(lists) == len(values) and all(isinstance(part, str | int) for part in parts)
                and not all(looks_like_tag(str(part)) for part in parts))
    return all(isinstance(value, str | int | float) for value in values)


def _examples(path: str, table: Table, found: _Found, columns: ClassColumns) -> ClassCorpus:
    values = [row for _, row in table.rows]
    has_label = any(not is_null(row.get(name)) and row.get(name) != "" for row in values if isinstance(row, Mapping)
                    for name in found.labels)
    several = has_label and (len(found.labels) > 1 or columns.separator is not None or any(
        isinstance(row.get(found.labels[0]), list) for row in values if isinstance(row, Mapping)))
    examples, faults, seen = [], [], dict[str, int]()
    for ordinal, (number, value) in enumerate(table.rows):
        findings: list[tuple[str, str]] = []
        example = None
        if isinstance(value, Mapping):
            example = Example(_id(value, found.id, ordinal), _text(value, found.text, findings),
                              label=_label(value, found.labels, several, columns, findings) if has_label else None,
                              pair=_text(value, found.pair, findings) if found.pair else None)
            if example.id in seen:
                findings.append(("duplicate_id", f"the id {example.id} is already that of {table.unit} "
                                                 f"{seen[example.id]}; give each row an id of its own"))
            seen.setdefault(example.id, number)
        else:
            findings.append(("unreadable_row", value.reason if isinstance(value, Unreadable) else "not an object"))
        faults += [Fault(path, number, example.id if example else None, kind, message, unit=table.unit)
                   for kind, message in findings]
        if example and all(kind in WARNINGS for kind, _ in findings):
            examples.append(example)
    label = " and ".join(map(repr, found.labels)) if has_label else ""
    layout = (f"{table.layout}, text in {found.text!r}" + (f" and {found.pair!r}" if found.pair else "")
              + (f", {'classes' if several else 'class'} in {label}" if label else ", unlabelled")
              + (f", ids in {found.id!r}" if found.id else ""))
    return ClassCorpus(path, layout, examples, faults, len(table.rows), found.labels)


def _id(row: Mapping[str, Any], name: str | None, ordinal: int) -> str:
    value = row.get(name) if name else None
    return str(ordinal) if is_null(value) or value == "" else _name(value)


def _text(row: Mapping[str, Any], name: str, findings: list[tuple[str, str]]) -> str:
    value = row.get(name)
    if not is_null(value) and not isinstance(value, str | int | float):
        findings.append(("wrong_type", f"{name!r} holds a {type(value).__name__}; wanted a string"))
        return ""
    text = "" if is_null(value) else str(value)
    if not text.strip():
        findings.append(("empty_text", f"nothing in {name!r}"))
    # Odd characters spoil one word of many here, no offset: told, not refused.
    findings += [(f"unlabelled_{kind}", message) for kind, message, _ in find_damage(text)]
    return text


def _label(row: Mapping[str, Any], names: Sequence[str], several: bool, columns: ClassColumns,
           findings: list[tuple[str, str]]) -> str | tuple[str, ...] | None:
    if len(names) > 1:
        wrong = [f"{name}={row.get(name)!r}" for name in names
                 if str(row.get(name)).removesuffix(".0") not in ("0", "1")]
        if wrong:
            findings.append(("wrong_type", f"got {', '.join(wrong)}; wanted 0 or 1 in the column of each class"))
        return tuple(name for name in names if str(row.get(name)).removesuffix(".0") == "1")
    value = row.get(names[0])
    if is_null(value) or (value == "" and columns.separator is None):
        findings.append(("missing_value", f"no class in {names[0]!r}, though other rows have one"))
        return None
    if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(x, list | dict) for x in value)):
        findings.append(("wrong_type", f"{names[0]!r} holds {str(value)[:40]}; wanted a class, or a list of classes"))
        return None
    if not several:
        return _name(value)
    parts = value if isinstance(value, list) else _name(value).split(columns.separator)
    return tuple(sorted({_name(part) for part in parts if _name(part)}))


def _name(value: Any) -> str:
    """A class or id as a string: a spreadsheet's ``1.0`` is ``1``."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()
