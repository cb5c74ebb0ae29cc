"""Readers: a file in any of the layouts of data/README.md -> Examples, and what is wrong with its rows."""

from __future__ import annotations

import difflib
import gzip
import re
import sys
import zlib
from io import StringIO
from itertools import islice
from pathlib import Path

from pipelines.corpora.conll import read_conll
from pipelines.corpora.corpus import Columns, Corpus, Fault
from pipelines.corpora.disease_json import read_json
from pipelines.corpora.pubtator import PASSAGE, read_pubtator
from pipelines.corpora.records import examples_from
from pipelines.errors import DataError, UserError
from pipelines.examples import Example
from pipelines.spans import looks_like_tag

__all__ = ["FORMATS", "Columns", "Corpus", "Fault", "file_content", "good_rows", "is_dataset", "read_corpus",
           "read_examples"]

PLACEHOLDERS = {"_", "-", "-X-"}  # what stands in a column of tokens for a tag that is not given
FORMATS = ("json", "conll", "pubtator")
FAULTS_SHOWN = 50
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a]")  # bytes that text in any 8-bit encoding does without


def read_corpus(source: str | Path, *, columns: Columns = Columns(), format: str | None = None,  # noqa: B008
                labelled: bool = True) -> Corpus:
    """Reads a file, gzipped or not, in whatever layout it has; or a data set of the Hub.

    Args:
        source: a file; a folder that ``datasets`` saved; ``owner/name`` of the Hub, with ``:split`` if it has several.
        columns: names of columns, for a file that does not tell by itself.
        format: one of ``FORMATS``; by default found from the content.
        labelled: whether a named column of mentions has to be there; a test file may lack it.

    Returns:
        The good rows as examples, and a fault for everything wrong with the others.

    Raises:
        UserError: when the file as a whole cannot be read: missing, a folder, empty, cut off, a column not there.
    """
    path = str(source)
    if is_dataset(path):
        from pipelines.corpora.hub import read_dataset  # its import takes a second

        return examples_from(path, read_dataset(path), columns, labelled=labelled)
    content = file_content(Path(path))
    format = format or _format(path, content)
    if format not in FORMATS:
        raise UserError(f"got the format {format!r}; wanted one of {', '.join(FORMATS)}")
    if format == "conll":
        return examples_from(path, read_conll(path, content, columns, labelled=labelled), Columns(label=columns.label))
    return examples_from(path, (read_pubtator if format == "pubtator" else read_json)(path, content), columns,
                         labelled=labelled)


def read_examples(source: str | Path, *, skip_bad_rows: bool = False, columns: Columns = Columns(),  # noqa: B008
                  format: str | None = None, labelled: bool = True) -> list[Example]:
    """Reads a file and insists on every row, or says which ones it skips.

    Args:
        source: see ``read_corpus``, as for ``columns``, ``format`` and ``labelled``.
        skip_bad_rows: leave bad rows out, and say on stderr how many and which.

    Raises:
        DataError: naming every fault with file and row (the first 50, and how many more).
        UserError: when the file as a whole cannot be read.
    """
    return good_rows(read_corpus(source, columns=columns, format=format, labelled=labelled),
                     skip_bad_rows=skip_bad_rows)


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
                        f"{corpus.n_rows} rows; mend them, or leave these rows out with --skip_bad_rows\n{listed}")
    if not corpus.examples:
        raise DataError(f"{source}: all {corpus.n_rows} rows have faults\n{listed}")
    print(f"{source}: skipped {bad_rows} bad {'row' if bad_rows == 1 else 'rows'} of {corpus.n_rows}:\n{listed}",
          file=sys.stderr)
    return corpus.examples


def file_content(path: Path) -> str:
    """The whole file, unzipped and decoded, without a byte order mark and with plain line ends."""
    if path.is_dir():
        raise UserError(f"{path}: a folder; wanted one file, such as {path / 'train.json'}")
    if not path.exists():
        names = [neighbour.name for neighbour in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, names)
        raise UserError(f"{path}: no such file" + (f"; beside it: {', '.join(near)}" if near else ""))
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{path}: a damaged or cut off gzip file ({error}); fetch it again") from None
    if raw[:4] == b"PK\x03\x04":
        raise UserError(f"{path}: a zip archive; unpack it first, and give the file that is in it")
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        content = raw.decode(encoding)
    except UnicodeDecodeError as error:
        if _CONTROL.search(raw[:1000]):
            raise UserError(_binary(path)) from None
        line = raw[:error.start].count(b"\n") + 1
        raise UserError(f"{path}: not UTF-8 at byte {error.start} (line {line}); convert it, for instance by "
                        f"`iconv -f WINDOWS-1252 -t UTF-8 {path}`") from None
    if "\0" in content[:1000]:
        raise UserError(_binary(path))
    if not content.strip():
        raise UserError(f"{path}: empty; wanted texts, see data/README.md for the layouts")
    content = content.replace("\r\n", "\n")
    return content if "\n" in content else content.replace("\r", "\n")  # old Macs end a line so


def _binary(path: Path) -> str:
    return (f"{path}: a binary file; wanted text, see data/README.md for the layouts (UTF-16 without a byte order mark "
            f"is made such by `iconv -f UTF-16LE -t UTF-8 {path}`)")


def is_dataset(source: str) -> bool:
    folder = Path(source.split(":")[0])
    if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
        return True
    return (re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]+){0,2}", source) is not None and not Path(source).exists()
            and not folder.parent.exists() and not re.search(r"\.(json|jsonl|ndjson|conll|txt|csv|tsv|gz)$", source))


def _format(path: str, content: str) -> str:
    """Tells the format from the first lines."""
    lines = [line for line in islice(StringIO(content), 1000) if line.strip()]
    fields = lines[0].split()
    if fields[0][0] in "[{" and not (len(fields) > 1 and looks_like_tag(fields[-1])):
        return "json"
    if PASSAGE.match(lines[0]):
        return "pubtator"
    columns = [line.split() for line in lines if not line.startswith(("#", "-DOCSTART-"))]
    if 2 * sum(looks_like_tag(row[-1]) for row in columns) >= len(columns):
        return "conll"
    if re.search(r"\.(json|jsonl|ndjson)(\.gz)?$", path):
        return "json"
    if all(len(row) == 1 for row in columns) or not any(" " in line for line in lines):
        # A comma on each line makes columns, but none of tokens.
        if not all(re.search(r"[^,],|,[^,]", line) for line in lines):
            return "conll"
    elif len({len(row) for row in columns}) == 1 and {row[-1] for row in columns} <= PLACEHOLDERS:
        return "conll"
    raise UserError(f"{path}: neither JSON nor PubTator nor columns of tokens, it begins {lines[0][:60].rstrip()!r}; "
                    "see data/README.md for the layouts")
