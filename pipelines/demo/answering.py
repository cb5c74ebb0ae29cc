"""Runs that answer texts: one call of a model at a time, in batches that can be stopped."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines.corpora import ColumnNames, Columns
from pipelines.errors import UserError
from pipelines.examples import BATCH, Example, Prediction
from pipelines.formatting import short_repr, some
from pipelines.runs.run import Run

NOT_OF_TEXTS = ("image_classifier", "sequence_regressor")
SHORT, LONG = 0.5, 2.0  # seconds of a batch: larger below, smaller above
N_EXAMPLES = 6
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedRun:
    """A run that is loaded.

    Attributes:
        name: of its folder; of two runs with one name, with a number.
        answer: `spans`, `label` or `value`, where the run has recorded it.
        pairs: whether it has learnt to answer two texts together.
        labels: of its dev examples, in order.
        examples: a few of its dev examples.
        lock: held while the model answers.
    """

    name: str
    family: ModuleType
    model: Any
    columns: Columns
    like: ColumnNames | None
    answer: str | None
    pairs: bool
    labels: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class Answer:
    """A prediction, and what the model warned of."""

    prediction: Prediction
    warnings: tuple[str, ...] = ()


def open_runs(folders: Sequence[str]) -> list[ServedRun]:
    """Loads one run, or two to be compared.

    Raises:
        UserError: for more than two, runs of pictures or vectors, and what `Run.load` refuses.
    """
    if len(folders) > 2:
        raise UserError(f"got {len(folders)} runs; wanted one, or two side by side")
    names = [Path(folder).resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [f"{name} ({number})" for number, name in enumerate(names, start=1)]
    served = [_open(folder, name) for folder, name in zip(folders, names, strict=True)]
    if len({run.pairs for run in served}) > 1:
        raise UserError("one run learnt pairs of texts, the other single texts; give two of a kind")
    return served


def _open(folder: str, name: str) -> ServedRun:
    run = Run.open(folder)
    family, _ = run.model_folder()
    if family.__name__.rpartition(".")[2] in NOT_OF_TEXTS:
        raise UserError(f"{folder}: a model of pictures or vectors; wanted one that reads texts")
    answer, like = run.reading()
    labels, examples = _dev_examples(run)
    return ServedRun(
        name=name,
        family=family,
        model=run.load()[1],
        columns=run.columns(),
        like=like,
        answer=answer,
        pairs=like is not None and like.pair is not None,
        labels=labels,
        examples=examples,
    )


def _dev_examples(run: Run) -> tuple[tuple[str, ...], tuple[Example, ...]]:
    """The labels of the dev examples, and those examples that show most: none without dev."""
    try:
        dev = run.examples("dev", labelled=False)
    except UserError as error:
        logger.warning("no examples on the page: %s", error)
        return (), ()
    shown: dict[str, Example] = {}
    for example in dev:
        if example.text and example.spans != ():
            key = f"{example.label}" if example.spans is None else example.id
            shown.setdefault(key, example)
    chosen = list(shown.values())[:N_EXAMPLES]
    known = {example.id for example in chosen}
    rest = [example for example in dev if example.text and example.id not in known]
    chosen += rest[: N_EXAMPLES - len(chosen)]
    labels = {label for example in dev for label in _labels_of(example)}
    return tuple(sorted(labels)), tuple(chosen)


def _labels_of(example: Example) -> list[str]:
    if example.spans is not None:
        return [span.label for span in example.spans]
    if isinstance(example.label, tuple):
        return list(example.label)
    return [example.label] if isinstance(example.label, str) else []


def check_text(run: ServedRun, text: object, pair: object = "", *, max_chars: int) -> Example:
    """The example that a text is answered as.

    Raises:
        UserError: when a text is empty, too long or no string, or the second one is missing or too
            many.
    """
    pair = "" if pair is None else pair  # of a field that is not shown
    if not isinstance(text, str) or not isinstance(pair, str):
        wrong = text if not isinstance(text, str) else pair
        raise UserError(f"got {short_repr(wrong)}; wanted a text, a string")
    if not text.strip():
        raise UserError("got no text; paste a text, or choose an example")
    for part in (text, pair):
        if len(part) > max_chars:
            raise UserError(
                f"got a text of {len(part):,} characters; wanted at most {max_chars:,}: shorten it"
            )
    if run.pairs and not pair.strip():
        raise UserError("got one text; this run reads two together: give the second one too")
    if pair and not run.pairs:
        raise UserError("got two texts; this run reads a single one: leave the second one empty")
    try:
        f"{text}{pair}".encode()
    except UnicodeEncodeError:
        raise UserError("got half a surrogate pair; wanted whole characters") from None
    return Example("0", text, pair=pair or None)


def answered(run: ServedRun, example: Example) -> Answer:
    """Answers one text, when no other text is being answered by this model."""
    with run.lock, _warnings() as warnings:
        prediction = run.family.predict(run.model, [example], progress=False)[0]
    return Answer(prediction, tuple(warnings))


def answers_in_batches(run: ServedRun, examples: Sequence[Example]) -> Iterator[list[Prediction]]:
    """Answers examples in batches of about a second, so that single texts can come in between.

    The work ends with the batch at which the iterator is closed.
    """
    size, done = 1, 0
    while done < len(examples):
        started = time.monotonic()
        with run.lock:
            batch = run.family.predict(run.model, examples[done : done + size], progress=False)
        seconds = time.monotonic() - started
        done += len(batch)
        yield batch
        if seconds < SHORT:
            size = min(2 * size, BATCH)
        elif seconds > LONG:
            size = max(1, size // 2)


def check_texts(examples: Sequence[Example], *, max_chars: int) -> None:
    """Requires texts of a file to be there and to be short enough.

    Raises:
        UserError: naming those that are not.
    """
    if not examples:
        raise UserError("got a file without texts; wanted at least one")
    sizes = {example.id: max(len(example.text), len(example.pair or "")) for example in examples}
    too_long = [id for id, size in sizes.items() if size > max_chars]
    if too_long:
        raise UserError(
            f"{len(too_long)} of {len(examples)} texts have more than {max_chars:,} characters, of "
            f"id {some(too_long)}; shorten them, or answer the file by `pipelines predict`"
        )


class _Collected(logging.Handler):
    """Keeps the warnings of the thread that made it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.thread = threading.get_ident()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.thread:
            self.messages.append(record.getMessage())


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """The warnings of the package while the body runs, such as of a text that is cut."""
    handler, package = _Collected(), logging.getLogger("pipelines")
    package.addHandler(handler)
    try:
        yield handler.messages
    finally:
        package.removeHandler(handler)
