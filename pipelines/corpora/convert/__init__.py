"""Writes examples in the formats of other tools, and reports what each could not carry."""

from __future__ import annotations

import difflib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from pipelines.corpora.convert import annotation_tools, arrow, brat, conll, docbin, jsonl, tables
from pipelines.corpora.convert.content import (
    Content,
    Losses,
    are_row_numbers,
    is_unlabelled,
)
from pipelines.corpora.corpus import counted, fault_lines
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Prediction, joined_by_id
from pipelines.spans import whitespace_tokens

__all__ = [
    "FORMATS",
    "Content",
    "Format",
    "Written",
    "convert",
    "format_of",
    "gold_content",
    "predicted_content",
]

_NAMES = {"spans": "mentions", "label": "classes", "value": "numbers"}


@dataclass(frozen=True, slots=True)
class Format:
    """One format and what it can carry.

    Attributes:
        name: what `--to` calls it.
        endings: endings of the output's name that choose it without `--to`.
        write: writes the content to a path and adds what it could not carry to the losses.
        answers: the answers that it carries.
        carries: what else it carries: `ids`, `pairs`, `groups`, `scores`, `tokens`, and
            `unlabelled`, an unlabelled example among labelled ones.
        is_folder: whether the output is a folder.
    """

    name: str
    endings: tuple[str, ...]
    write: Callable[[Path, Content, Losses], None]
    answers: tuple[str, ...]
    carries: tuple[str, ...]
    is_folder: bool = False


class Written(NamedTuple):
    """What was written.

    Attributes:
        n_examples: how many of the examples.
        losses: what the format could not carry, a line for each kind of it.
    """

    n_examples: int
    losses: list[str]


_ALL = ("spans", "label", "value")
_CLASSES = ("spans", "label")
_TABLES = ("ids", "pairs", "unlabelled")
_OBJECTS = ("ids", "pairs", "scores", "unlabelled")
_CONLL = (".conll", ".iob", ".iob2", ".bio")
_FORMATS = (
    Format("jsonl", (".jsonl", ".ndjson"), jsonl.write, _ALL, _OBJECTS),
    Format("conll", _CONLL, conll.write, ("spans",), ("ids", "tokens")),
    Format("csv", (".csv",), tables.write_csv, _ALL, _TABLES),
    Format("tsv", (".tsv",), tables.write_tsv, _ALL, _TABLES),
    Format("brat", (), brat.write, ("spans",), ("ids", "unlabelled"), is_folder=True),
    Format("label-studio", (".json",), annotation_tools.write_label_studio, _ALL, _OBJECTS),
    Format("doccano", (), annotation_tools.write_doccano, _CLASSES, ("ids", "unlabelled")),
    Format(
        "prodigy",
        (),
        annotation_tools.write_prodigy,
        _CLASSES,
        ("ids", "scores", "tokens", "unlabelled"),
    ),
    Format("spacy", (".spacy",), docbin.write, _CLASSES, ("tokens", "unlabelled")),
    Format("arrow", (), arrow.write, _ALL, _OBJECTS, is_folder=True),
)
FORMATS = {format.name: format for format in _FORMATS}
# What a format does not carry -> how that is reported.
_LOSSES = {
    "pairs": "the second text of a pair, it is left out",
    "scores": "scores, they are left out",
    "groups": "the document that a text belongs to, it is left out",
    "tokens": "tokens, those not between blanks are lost",
}


def format_of(out: str | Path, to: str | None = None) -> Format:
    """The format that `to` names or, without it, the ending of the output's name.

    Raises:
        UserError: when neither names one.
    """
    if to is not None:
        if to not in FORMATS:
            near = difflib.get_close_matches(to, FORMATS, n=1)
            hint = f" (nearest: {near[0]})" if near else ""
            raise UserError(f"got --to {to}; wanted one of {', '.join(FORMATS)}{hint}")
        return FORMATS[to]
    name = str(out).lower()
    for format in FORMATS.values():
        if name.endswith(format.endings or "\0"):
            return format
    endings = ", ".join(ending for format in FORMATS.values() for ending in format.endings)
    raise UserError(
        f"{out}: its ending names no format; wanted one of {endings}, or --to with one of "
        f"{', '.join(FORMATS)}"
    )


def gold_content(examples: Sequence[Example], answer: str | None = None) -> Content:
    """The examples with what is known of them.

    Args:
        answer: `spans`, `label` or `value`; by default what the examples have.
    """
    return Content(examples, answer or _answer_of(examples))


def predicted_content(
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    path: str | Path = "the predictions",
) -> Content:
    """The examples with a model's answers instead of what is known of them.

    Args:
        path: what to call the predictions in messages.

    Raises:
        DataError: naming missing, extra and duplicate ids, and spans outside their text.
    """
    answered, scores, faults = [], {}, []
    for example, prediction in joined_by_id(examples, predictions):
        length = len(example.text)
        for span in prediction.spans or ():
            if not 0 <= span.start < span.end <= length:
                faults.append(
                    f"{path}: id {example.id}: span {span.start}-{span.end} is empty or not in the "
                    f"text, which has {counted(length, 'character')}"
                )
        label = prediction.value if prediction.label is None else prediction.label
        answered.append(replace(example, spans=prediction.spans, label=label))
        if prediction.scores:
            scores[example.id] = prediction.scores
    if faults:
        raise DataError("\n".join(fault_lines(faults)))
    return Content(answered, _answer_of(answered), is_predicted=True, scores=scores)


def _answer_of(examples: Sequence[Example]) -> str | None:
    if any(example.spans is not None for example in examples):
        return "spans"
    labels = [example.label for example in examples if example.label is not None]
    if not labels:
        return None
    return "value" if isinstance(labels[0], int | float) else "label"


def convert(content: Content, out: str | Path, *, to: str | None = None) -> Written:
    """Writes the content; the output appears whole or not at all.

    Args:
        out: a file or, for `brat` and `arrow`, a folder that does not exist yet or is empty.
        to: the name of a format; by default the ending of `out` says which.

    Raises:
        UserError: when no format is named, or when it cannot represent the answers.
    """
    out, format = Path(out), format_of(out, to)
    if content.answer is not None and content.answer not in format.answers:
        able = [name for name, other in FORMATS.items() if content.answer in other.answers]
        raise UserError(
            f"{format.name} cannot represent {_NAMES[content.answer]}, which is what was read; "
            f"wanted one of {', '.join(able)}"
        )
    with_features = [example for example in content.examples if example.features is not None]
    if format.name != "jsonl" and with_features:
        kinds = {"pictures" if isinstance(e.features, str) else "sequences" for e in with_features}
        raise UserError(
            f"{format.name} cannot represent {' and '.join(sorted(kinds))}; wanted jsonl"
        )
    losses = Losses()
    ids = {example.id for example in content.examples}
    content = _reduced(content, format, losses)
    if not content.examples:
        raise UserError(f"{out}: nothing left to write; wanted at least one example")
    if format.is_folder:
        _write_folder(format, out, content, losses)
    else:
        format.write(out, content, losses)
    return Written(len(ids - losses.left_out), losses.lines())


def _reduced(content: Content, format: Format, losses: Losses) -> Content:
    """The content without the examples that the format would change; notes all general losses."""
    ids = [example.id for example in content.examples]
    if "ids" not in format.carries and not are_row_numbers(ids):
        for id in ids:
            losses.add(f"{format.name} cannot represent ids, they become row numbers", id)
    kept = []
    for example in content.examples:
        if content.answer and is_unlabelled(example) and "unlabelled" not in format.carries:
            # It would be read back as a text without a mention.
            losses.leave_out(
                f"{format.name} cannot represent unlabelled examples among labelled ones, "
                "they are left out",
                example.id,
            )
            continue
        kept.append(example)
        _note_losses(example, content.scores, format, losses)
    return Content(kept, content.answer, content.is_predicted, content.scores)


def _note_losses(
    example: Example, scores: Mapping[str, Mapping[str, float]], format: Format, losses: Losses
) -> None:
    n_scores = sum(span.score is not None for span in example.spans or ())
    n_scores += len(scores.get(example.id, ()))
    tokens = None if example.tokens is None else tuple(example.tokens)
    counts = {
        "pairs": int(example.pair is not None),
        "scores": n_scores,
        "groups": int(example.group is not None),
        "tokens": int(tokens not in (None, tuple(whitespace_tokens(example.text)))),
    }
    for name, count in counts.items():
        if count and name not in format.carries:
            losses.add(f"{format.name} cannot represent {_LOSSES[name]}", example.id, count)


def _write_folder(format: Format, out: Path, content: Content, losses: Losses) -> None:
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out}: a folder that is not empty; wanted a new one for {format.name}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        folder = Path(temporary) / "new"
        folder.mkdir()
        format.write(folder, content, losses)
        if out.is_dir():
            out.rmdir()
        shutil.move(folder, out)
