"""Where examples come from: a file, gzipped or not, a folder, standard input, or a data set."""

from __future__ import annotations

import difflib
import gzip
import re
import sys
import zlib
from collections.abc import Iterator
from functools import cached_property
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a]")  # bytes that no 8-bit encoding of text uses
_FILE_NAME = re.compile(r"\.(json|jsonl|ndjson|conll|conllu|txt|csv|tsv|gz|ann|spacy)$")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class Source:
    """What a path names; its content is read once, when it is first needed.

    Args:
        path: a file, a folder, `owner/name` of the Hub, or `-` for standard input.
        max_unzipped: largest size of an unpacked gzip file, in MiB.
        labelled: whether the columns of answers that the user names have to exist.
        dataset: instead of what the path names, a `datasets.Dataset` in memory.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_unzipped: int = 4096,
        labelled: bool = True,
        dataset: Dataset | None = None,
    ):
        self.path = str(path)
        self.dataset = dataset
        self.max_unzipped = max_unzipped
        self.labelled = labelled
        self.first_row = self.first_line = 0  # of a part of a file

    @cached_property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.path != "-" and Path(self.path).is_dir()

    @cached_property
    def is_dataset(self) -> bool:
        """Whether it is a folder that `datasets` saved, or names a data set of the Hub."""
        if self.dataset is not None:
            return True
        folder = Path(self.path.split(":")[0])
        if (folder / "dataset_dict.json").exists() or (folder / "state.json").exists():
            return True
        is_name = re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]+){0,2}", self.path) is not None
        is_file = Path(self.path).exists() or _FILE_NAME.search(self.path) is not None
        return is_name and not is_file and not folder.parent.exists()

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
                names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
                similar = difflib.get_close_matches(path.name, names)
                hint = f"; beside it: {', '.join(similar)}" if similar else "; check the name"
                raise UserError(f"{path}: no such file{hint}")
            raw = path.read_bytes()
        return self._unzipped(raw) if raw[:2] == b"\x1f\x8b" else raw

    def _unzipped(self, raw: bytes) -> bytes:
        limit = self.max_unzipped * 2**20
        try:
            with gzip.GzipFile(fileobj=BytesIO(raw)) as f:
                unzipped = f.read(limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise damaged_gzip(self.path, error) from None
        if len(unzipped) > limit:
            raise UserError(
                f"{self.path}: unpacks to more than {self.max_unzipped} MiB; "
                "--max_unzipped allows more"
            )
        return unzipped

    @cached_property
    def text(self) -> str:
        """The whole file, decoded, without a byte order mark.

        Raises:
            UserError: when it is binary, in another encoding, or empty.
        """
        raw = self.raw
        if raw[:4] == b"PK\x03\x04":
            raise UserError(f"{self.path}: a zip archive; unpack it first, and give the file in it")
        encoding = encoding_of(raw)
        try:
            content = raw.decode(encoding)
        except UnicodeDecodeError as error:
            if encoding == "utf-16" or _CONTROL.search(raw[:1000]):
                raise self._binary() from None
            line = raw[: error.start].count(b"\n") + 1
            raise not_utf8(self.path, f"at byte {error.start} (line {line})") from None
        if "\0" in content[:1000]:
            raise self._binary()
        if not content.strip():
            raise empty_file(self.path)
        return content

    @cached_property
    def content(self) -> str:
        """The text with plain line ends."""
        content = self.text.replace("\r\n", "\n")
        # Old Macs end a line with a carriage return.
        return content if "\n" in content else content.replace("\r", "\n")

    def _binary(self) -> UserError:
        return UserError(
            f"{self.path}: a binary file; wanted text, see data/README.md for the layouts (UTF-16 "
            f"without a byte order mark is converted by `iconv -f UTF-16LE -t UTF-8 {self.path}`)"
        )

    @cached_property
    def head(self) -> list[str]:
        """The first 1,000 lines that are not blank."""
        lines = (match[0] for match in re.finditer(r"[^\n]+", self.content))
        return list(islice((line for line in lines if line.strip()), 1000))

    def numbered_lines(self) -> Iterator[tuple[int, str]]:
        """The lines that are not blank, each with its number from 1."""
        lines = enumerate(self.content.split("\n"), start=1)
        return ((number, line) for number, line in lines if line.strip())

    def ends_with(self, *endings: str) -> bool:
        """Whether the name, without `.gz`, has one of the endings."""
        return self.path.lower().removesuffix(".gz").endswith(endings)


def encoding_of(raw: bytes) -> str:
    """UTF-16 where its byte order mark says so, else UTF-8 with or without a mark."""
    return "utf-16" if raw[:2] in _UTF16_MARKS else "utf-8-sig"


def damaged_gzip(path: str, error: Exception) -> UserError:
    """The error for a gzip file that cannot be unpacked."""
    return UserError(f"{path}: a damaged or cut off gzip file ({error}); download it again")


def not_utf8(path: str, where: str) -> UserError:
    """The error for a file in another encoding."""
    return UserError(
        f"{path}: not UTF-8 {where}; convert it, for instance by "
        f"`iconv -f WINDOWS-1252 -t UTF-8 {path}`"
    )


def empty_file(path: str) -> UserError:
    """The error for a file without content."""
    return UserError(f"{path}: empty; wanted texts, see data/README.md for the layouts")
