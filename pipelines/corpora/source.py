"""Where examples come from: a file, gzipped or not, a folder, standard input, or a data set."""

from __future__ import annotations

import difflib
import gzip
import re
import sys
import zlib
from functools import cached_property
from io import BytesIO
from itertools import islice
from pathlib import Path

from pipelines.errors import UserError

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a]")  # bytes that text in any 8-bit encoding does without
_FILE_NAME = re.compile(r"\.(json|jsonl|ndjson|conll|conllu|txt|csv|tsv|gz|ann|spacy)$")


class Source:
    """What a path names; its content is read once, when it is first asked for.

    Args:
        path: a file, a folder, ``owner/name`` of the Hub, or ``-`` for standard input.
        max_unzipped: MiB that a gzip file may unpack to.
        labelled: whether named columns of answers have to be there.
    """

    def __init__(self, path: str | Path, *, max_unzipped: int = 4096, labelled: bool = True):
        self.path = str(path)
        self.max_unzipped = max_unzipped
        self.labelled = labelled
        self.first_row = self.first_line = 0  # of a part of a file

    @cached_property
    def is_folder(self) -> bool:
        return self.path != "-" and Path(self.path).is_dir()

    @cached_property
    def is_dataset(self) -> bool:
        """Whether it is a folder that ``datasets`` saved, or names a data set of the Hub."""
        folder = Path(self.path.split(":")[0])
        if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
            return True
        named = re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]+){0,2}", self.path)
        return (named is not None and not Path(self.path).exists() and not folder.parent.exists()
                and not _FILE_NAME.search(self.path))

    @cached_property
    def raw(self) -> bytes:
        """The bytes of the file, unzipped.

        Raises:
            UserError: when it is missing, a folder, or a damaged or too large gzip file.
        """
        if self.path == "-":
            raw = sys.stdin.buffer.read()
        else:
            path = Path(self.path)
            if path.is_dir():
                raise UserError(f"{path}: a folder; wanted one file, such as {path / 'train.json'}")
            if not path.exists():
                names = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
                near = difflib.get_close_matches(path.name, names)
                raise UserError(f"{path}: no such file" + (f"; beside it: {', '.join(near)}" if near else ""))
            raw = path.read_bytes()
        return self._unzipped(raw) if raw[:2] == b"\x1f\x8b" else raw

    def _unzipped(self, raw: bytes) -> bytes:
        limit = self.max_unzipped * 2**20
        try:
            with gzip.GzipFile(fileobj=BytesIO(raw)) as f:
                unzipped = f.read(limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{self.path}: a damaged or cut off gzip file ({error}); fetch it again") from None
        if len(unzipped) > limit:
            raise UserError(f"{self.path}: unpacks to more than {self.max_unzipped} MiB; --max_unzipped allows more")
        return unzipped

    @cached_property
    def text(self) -> str:
        """The whole file, decoded, without a byte order mark.

        Raises:
            UserError: when it is binary, in another encoding, or empty.
        """
        raw = self.raw
        if raw[:4] == b"PK\x03\x04":
            raise UserError(f"{self.path}: a zip archive; unpack it first, and give the file that is in it")
        encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        try:
            content = raw.decode(encoding)
        except UnicodeDecodeError as error:
            if encoding == "utf-16" or _CONTROL.search(raw[:1000]):
                raise UserError(self._binary()) from None
            line = raw[:error.start].count(b"\n") + 1
            raise UserError(f"{self.path}: not UTF-8 at byte {error.start} (line {line}); convert it, for instance by "
                            f"`iconv -f WINDOWS-1252 -t UTF-8 {self.path}`") from None
        if "\0" in content[:1000]:
            raise UserError(self._binary())
        if not content.strip():
            raise UserError(f"{self.path}: empty; wanted texts, see data/README.md for the layouts")
        return content

    @cached_property
    def content(self) -> str:
        """The text with plain line ends."""
        content = self.text.replace("\r\n", "\n")
        return content if "\n" in content else content.replace("\r", "\n")  # old Macs end a line so

    def _binary(self) -> str:
        return (f"{self.path}: a binary file; wanted text, see data/README.md for the layouts (UTF-16 without a byte "
                f"order mark is converted by `iconv -f UTF-16LE -t UTF-8 {self.path}`)")

    @cached_property
    def head(self) -> list[str]:
        """The first 1,000 lines that are not blank."""
        return list(islice((line for line in _lines(self.content) if line.strip()), 1000))

    def ends_with(self, *endings: str) -> bool:
        return self.path.lower().removesuffix(".gz").endswith(endings)


def _lines(content: str):  # type: ignore[no-untyped-def]
    start = 0
    while start < len(content):
        end = content.find("\n", start)
        end = len(content) if end < 0 else end
        yield content[start:end]
        start = end + 1
