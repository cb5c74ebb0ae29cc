"""Rows of sub-words to pretrain on: cut from documents, written to disk, weighted, held out.

A row is as much of one document as a window holds; the last row of a document is shorter. Rows of
large text lie in an Arrow file, which is mapped into memory page by page.
"""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, ClassVar, NotRequired, TypedDict

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset, Features, List, Value
from datasets.arrow_writer import ArrowWriter
from transformers import PreTrainedTokenizerBase

from pipelines.corpora.text_files import TextFile, pieces
from pipelines.corpora.writing import replacing
from pipelines.errors import DataError
from pipelines.examples import Example
from pipelines.families.batching import progress_bar
from pipelines.families.language_model.scoring import begin_of_text, end_of_text

TEXTS_AT_ONCE = 1000  # that are given to the tokenizer
ROWS_AT_ONCE = 1000  # that are written to disk
HELD_OUT_TOKENS = 50_000  # about, on which a loss is compared
CHARACTERS_OF_A_TOKEN = 4  # about
CHARACTERS_OF_A_HEAD = 1000  # of a document, by which copies are known
CHARACTERS_AT_ONCE = 10_000  # of the lines of a document that are tokenised as one text
FOLDER = "text"  # below the checkpoints: rows of files, until training is over
Piece = tuple[int, str]
logger = logging.getLogger(__name__)


class Row(TypedDict):
    """All of shape (T,), special tokens included.

    Attributes:
        starts: whether a word begins at a token, for masking.
    """

    input_ids: list[int]
    starts: NotRequired[list[bool]]


class MaskedCut:
    """Cuts documents into rows for masked language modelling, of at most `window` tokens.

    The model's own special tokens stand around each row; none crosses into another document.
    """

    features: ClassVar = Features(
        {"input_ids": List(Value("int32")), "starts": List(Value("bool"))}
    )

    def __init__(self, tokenizer: PreTrainedTokenizerBase, window: int):
        self.tokenizer = tokenizer
        marked = tokenizer("a", return_special_tokens_mask=True)
        ids, special = marked["input_ids"], marked["special_tokens_mask"]
        n_before = special.index(0)
        n_after = special[::-1].index(0)
        self.before, self.after = ids[:n_before], ids[len(ids) - n_after :]
        self.room = window - n_before - n_after

    def rows(self, texts: Iterable[Piece]) -> Iterator[Row]:
        """The rows of texts, each with the number of its document; those of a document follow."""
        ids: list[int] = []
        starts: list[bool] = []
        document = None
        for encoding, index, number in _encoded(self.tokenizer, texts):
            if number != document:
                yield from self._whole(ids, starts)
                ids, starts, document = [], [], number
            ids += encoding["input_ids"][index]
            starts += _starts(encoding.word_ids(index))
            while len(ids) > self.room:
                yield from self._whole(ids[: self.room], starts[: self.room])
                ids, starts = ids[self.room :], starts[self.room :]
        yield from self._whole(ids, starts)

    def _whole(self, ids: list[int], starts: list[bool]) -> Iterator[Row]:
        if ids:
            n_before, n_after = len(self.before), len(self.after)
            yield Row(
                input_ids=[*self.before, *ids, *self.after],
                # A window may begin inside a word: the rest of it is a word there.
                starts=[*[False] * n_before, True, *starts[1:], *[False] * n_after],
            )


class CausalCut:
    """Cuts documents into rows in which each token of a document is predicted once.

    A document stands between the token after which the model expects a text and the one that ends
    it. A row that goes on with a document repeats the last token of the row before, which is only
    read there; none crosses into another document.

    Args:
        window: tokens of a row at most, 2 or more.
    """

    features: ClassVar = Features({"input_ids": List(Value("int32"))})

    def __init__(self, tokenizer: PreTrainedTokenizerBase, window: int):
        self.tokenizer, self.window = tokenizer, window
        begin = begin_of_text(tokenizer)
        self.before, self.after = ([] if begin is None else [begin]), [end_of_text(tokenizer)]

    def rows(self, texts: Iterable[Piece]) -> Iterator[Row]:
        """The rows of texts, each with the number of its document; those of a document follow."""
        ids: list[int] = []
        document, step = None, self.window - 1
        for encoding, index, number in _encoded(self.tokenizer, joined_lines(texts)):
            if number != document:
                if document is not None:
                    yield from self._windows([*ids, *self.after])
                ids, document = list(self.before), number
            ids += encoding["input_ids"][index]
            n_full = max(0, len(ids) - 2) // step  # rows behind which the document goes on
            yield from self._windows(ids[: n_full * step + 1])
            ids = ids[n_full * step :]
        if document is not None:
            yield from self._windows([*ids, *self.after])

    def _windows(self, ids: list[int]) -> Iterator[Row]:
        for start in range(0, len(ids) - 1, self.window - 1):
            yield Row(input_ids=ids[start : start + self.window])


Cut = MaskedCut | CausalCut


def _starts(words: Sequence[int | None]) -> list[bool]:
    return [index == 0 or word != words[index - 1] for index, word in enumerate(words)]


def _encoded(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[Piece]
) -> Iterator[tuple[Any, int, int]]:
    """Of each text the encoding of a batch, its index in there, and the number of its document."""
    iterator = iter(texts)
    while batch := list(islice(iterator, TEXTS_AT_ONCE)):
        encoding = tokenizer(
            [text for _, text in batch],
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            verbose=False,
        )
        for index, (number, _) in enumerate(batch):
            yield encoding, index, number


def joined_lines(texts: Iterable[Piece]) -> Iterator[Piece]:
    """The lines of a document as one text, with line ends between them.

    A long document is several texts, so that it is never in memory as a whole: a text ends after
    the line that reaches `CHARACTERS_AT_ONCE`.
    """
    for number, document in groupby(texts, key=itemgetter(0)):
        lines: list[str] = []
        size = 0
        for _, line in document:
            if size >= CHARACTERS_AT_ONCE:
                yield number, "\n".join([*lines, ""])
                lines, size = [], 0
            lines.append(line)
            size += len(line)
        yield number, "\n".join(lines)


def rows_of_texts(texts: Iterable[str], cut: Cut) -> list[Row]:
    """Rows of each text that is not empty, once; one longer than a window is several rows."""
    distinct = dict.fromkeys(text for text in texts if text.strip())
    return list(cut.rows(enumerate(distinct)))


def held_out(texts: Iterable[Piece], *, share: float, seed: int, wanted: bool) -> Iterator[Piece]:
    """The texts of the documents that are held out, or those of all others.

    A hash of its beginning and the seed decides on a document: copies stay together, and nothing
    has to be remembered.
    """
    for _, document in groupby(texts, key=itemgetter(0)):
        head: list[Piece] = []
        size = 0
        for piece in document:
            head.append(piece)
            size += len(piece[1])
            if size >= CHARACTERS_OF_A_HEAD:
                break
        beginning = "\n".join(text for _, text in head)
        digest = blake2b(f"{seed}\0{beginning}".encode("utf-8", "surrogatepass"), digest_size=8)
        chosen = int.from_bytes(digest.digest()) < share * 2**64
        if chosen == wanted:
            yield from head
            yield from document  # noqa: B031 - the rest of it


def write_rows(
    file: Path, texts: Iterable[Piece], cut: Cut, *, n_documents: int, show: bool
) -> None:
    """Writes the rows of texts as an Arrow stream; the file appears whole or not at all.

    Args:
        n_documents: for the progress bar.
        show: the bar.
    """
    with (
        replacing(file, "wb") as f,
        progress_bar(n_documents, "tokenising", show=show) as bar,
        ArrowWriter(features=cut.features, stream=f, writer_batch_size=ROWS_AT_ONCE) as writer,
    ):
        for row in cut.rows(_counted(texts, bar)):
            writer.write(row)
        writer.finalize(close_stream=False)


def _counted(texts: Iterable[Piece], bar: Any) -> Iterator[Piece]:
    document = None
    for number, text in texts:
        bar.update(number != document)
        document = number
        yield number, text


def rows_of_files(
    folder: Path, files: Sequence[TextFile], cut: Cut, *, share: float, seed: int, show: bool
) -> tuple[Dataset, Dataset]:
    """Cuts files into rows, in a folder where a resumed run finds them.

    Args:
        share: of the documents that are held out, at most: `HELD_OUT_TOKENS` are enough.
        show: progress bars.

    Returns:
        The rows to train on, and those held out.
    """
    n_documents = sum(file.n_documents for file in files)
    n_characters = sum(file.n_characters for file in files)
    share = min(share, HELD_OUT_TOKENS * CHARACTERS_OF_A_TOKEN / max(1, n_characters))
    parts = []
    for name, expected in (("train", n_documents), ("held_out", round(share * n_documents))):
        file = folder / f"{name}.arrow"
        if not file.is_file():
            chosen = held_out(pieces(files), share=share, seed=seed, wanted=name == "held_out")
            write_rows(file, chosen, cut, n_documents=expected, show=show)
        parts.append(Dataset.from_file(str(file)))
    return parts[0], parts[1]


@dataclass
class WeightedRows(torch.utils.data.Dataset[dict[str, Any]]):
    """The rows of the task's texts, `weight` times, and those of other text, once.

    An item also holds `draw`, which decides what is masked: it depends on the row, its repetition
    and the epoch alone, so that a resumed training masks what it would have masked.

    Attributes:
        own: of the task.
        other: of other text.
        weight: how often the task's rows appear for one pass over the other text.
    """

    own: Sequence[Row]
    other: Dataset | None = None
    weight: int = 1
    epoch: int = 0
    has_tokens = False  # for `Job.record_training`: reading them all would take long

    def __post_init__(self) -> None:
        self._own_lengths = np.array([len(row["input_ids"]) for row in self.own], dtype=np.int64)
        self._other_lengths = np.zeros(0, dtype=np.int64)
        if self.other is not None:
            parts = [chunk.value_lengths().to_numpy() for chunk in self._chunks()]
            self._other_lengths = np.concatenate([self._other_lengths, *parts])

    def __len__(self) -> int:
        return self.weight * len(self.own) + len(self._other_lengths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        n_own = self.weight * len(self.own)
        if index < n_own or self.other is None:
            row: Any = self.own[index % len(self.own)]
        else:
            row = self.other[index - n_own]
        return {**row, "draw": self.epoch * 2**40 + index}

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer before each epoch."""
        self.epoch = epoch

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row."""
        repeated = np.tile(self._own_lengths, self.weight)
        lengths: list[int] = np.concatenate([repeated, self._other_lengths]).tolist()
        return lengths

    @property
    def n_tokens(self) -> int:
        """Tokens of an epoch."""
        return int(self.weight * self._own_lengths.sum() + self._other_lengths.sum())

    def token_counts(self, size: int) -> np.ndarray:
        """(V,), how often each token id occurs in an epoch."""
        ids = [one for row in self.own for one in row["input_ids"]]
        counts = self.weight * np.bincount(ids, minlength=size) if ids else np.zeros(size, int)
        for chunk in self._chunks():
            counts = counts + np.bincount(chunk.flatten().to_numpy(), minlength=size)
        counted: np.ndarray = counts
        return counted

    def _chunks(self) -> Sequence[Any]:
        """The column of token ids, as Arrow arrays of lists."""
        if self.other is None:
            return ()
        chunks: Sequence[Any] = self.other.data.column("input_ids").chunks
        return chunks


def weighted_rows(
    examples: Mapping[str, Sequence[Example]],
    files: Sequence[TextFile],
    cut: Cut,
    checkpoints: Path,
    *,
    named: Iterable[str],
    weight: int,
    share: float,
    seed: int,
) -> tuple[WeightedRows, WeightedRows | None]:
    """The rows of the task's texts, and of files of other text, which lie beside the checkpoints.

    Args:
        examples: split -> examples of the task, whose texts are read unless the weight is 0.
        files: of other text, if any; the first process cuts them, the others read the rows.
        cut: makes the rows.
        checkpoints: the folder; see `forget_rows`.
        named: files of the examples, for the error.
        weight: how often the task's rows are read for one pass over the other text.
        share: of the documents of the files that are held out, at most.
        seed: decides which.

    Returns:
        What is trained on, and what is held out; None without files.

    Raises:
        DataError: for texts without a word.
    """
    of_task = [example.text for part in examples.values() for example in part]
    own = rows_of_texts(of_task, cut) if weight else []
    rows, test = WeightedRows(own), None
    if files:
        folder, show = checkpoints / FOLDER, sys.stderr.isatty()
        with PartialState().main_process_first():
            other, held = rows_of_files(folder, files, cut, share=share, seed=seed, show=show)
        rows, test = WeightedRows(own, other, weight), WeightedRows([], held)
    if not len(rows):
        all_files = ", ".join([*named, *(file.path for file in files)])
        raise DataError(f"{all_files}: no text has a word in it; give texts")
    n_texts = len(of_task) + sum(file.n_documents for file in files)
    logger.info("%d rows of %d texts, %d sub-words", len(rows), n_texts, rows.n_tokens)
    return rows, test


def forget_rows(checkpoints: Path) -> None:
    """Removes the rows of files once training is over."""
    shutil.rmtree(checkpoints / FOLDER, ignore_errors=True)
