"""Predictions as files: our own form, and answers of other systems aligned with the examples."""

from __future__ import annotations

import json
import logging
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from pipelines.corpora.corpus import Columns, fault_lines, printable
from pipelines.corpora.prediction_forms import Answer, Form, LocatedValue, read_form
from pipelines.corpora.rows import aligned_tokens
from pipelines.corpora.source import Source
from pipelines.corpora.strict_json import loads
from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Prediction, Span, prediction_from_json
from pipelines.formatting import short_repr
from pipelines.spans import Offsets, join_tokens

logger = logging.getLogger(__name__)

Pair = tuple[Answer, str, Example | None]  # (answer, its id, the example that has the id)
_WANTED = (
    "wanted one JSON object a line, such as "
    '{"id": "0", "spans": [{"start": 0, "end": 4, "label": "Disease"}]}'
)
_PIECE_MARKS = re.compile("##|[\u2581\u0120]")  # of WordPiece, SentencePiece and byte-level BPE
_UNKNOWN = re.compile(r"\[UNK\]|<unk>")


def read_predictions(path: str | Path) -> list[Prediction]:
    """Reads `predictions.jsonl`: JSON lines, gzipped or not, in UTF-8 (or UTF-16 with its mark).

    Raises:
        DataError: naming every line that is not a prediction, with its id.
        UserError: when the file is missing or empty.
    """
    source = _source(path)
    return _own_predictions(source.path, _lines(source))


def read_any_predictions(
    path: str | Path,
    examples: Sequence[Example] | None = None,
    *,
    columns: Columns | None = None,
    quiet: bool = False,
) -> list[Prediction]:
    """Reads predictions in our own form or in that of another system, and reports which one.

    Forms of other systems are the output of Hugging Face's `pipeline` for tokens and texts,
    GLiNER's lists, langextract's JSON lines, spaCy's DocBin, a folder of brat documents, and
    columns of tokens with the predicted tag last. The form that was read is logged as a warning:
    the alignment of answers without ids is an assumption.

    Args:
        examples: the texts that were answered. Answers without ids are aligned with them by their
            order, if there is one for each, and the texts and words agree, where the form has them.
            Without examples such answers get row numbers as ids.
        columns: gives the type of bare B and I tags, `default_type`.
        quiet: report nothing, where the same file is read once more with the examples.

    Raises:
        DataError: naming every row that is not an answer, or does not agree with its example.
        UserError: when the file is missing, empty, or of none of these forms, or when there are
            more or fewer answers without ids than examples.
    """
    source = _source(path, allow_folder=True)
    rows = None if _is_binary(source) else _json_rows(source)
    form = read_form(source, rows, columns or Columns())
    if form is None and rows is None:
        raise UserError(f"{source.path}: no predictions in a form that is read; {_WANTED}")
    if form is None and not rows:
        raise UserError(f"{source.path}: holds no prediction; {_WANTED}")
    if form is None:
        return _own_predictions(source.path, rows or ())
    predictions, how = _aligned(source.path, form, examples)
    if not quiet:
        summary = f"read as {form.name}, {len(predictions)} answers {how}"
        for line in (summary, *form.notes):
            logger.warning("%s", printable(f"{source.path}: {line}"))
    return predictions


def _source(path: str | Path, *, allow_folder: bool = False) -> Source:
    if not Path(path).is_file() and not (allow_folder and Path(path).is_dir()):
        raise UserError(f"{path}: no such predictions file; write one with `pipelines predict`")
    source = Source(path)
    if not source.is_folder and not source.raw.strip():
        raise UserError(f"{path}: empty; {_WANTED}")
    return source


def _is_binary(source: Source) -> bool:
    return source.is_folder or source.ends_with(".spacy")


def _lines(source: Source) -> list[tuple[str, str]]:
    return [(f"line {number}", line) for number, line in source.numbered_lines()]


def _json_rows(source: Source) -> list[LocatedValue] | None:
    """The rows of a JSON list or of JSON lines; `None` where it is not JSON.

    A line that cannot be parsed stays a string, as its fault depends on the form of the others.
    """
    content = source.content
    if content.lstrip()[0] not in "[{" and not source.ends_with(".json", ".jsonl", ".ndjson"):
        return None
    lines: list[LocatedValue] = []
    for location, line in _lines(source):
        lines.append((location, _parsed(line)))
    is_one_list = len(lines) == 1 and isinstance(lines[0][1], list)
    if not is_one_list and any(isinstance(value, dict | list) for _, value in lines[:1]):
        return lines
    try:
        value = loads(content)
    except json.JSONDecodeError:
        return lines
    except ValueError as error:
        if len(lines) > 1:
            return lines
        raise DataError(f"{source.path}: {error}") from None
    if isinstance(value, list):
        return [(f"row {number}", row) for number, row in enumerate(value)]
    return [("row 0", value)]


def _parsed(line: str) -> object:
    """The value of a line, or the line itself where it cannot be parsed."""
    try:
        return loads(line)
    except ValueError:
        return line


def _own_predictions(path: str, rows: Sequence[LocatedValue]) -> list[Prediction]:
    """Reads rows of our own form; those that are strings are lines not yet parsed."""
    predictions, faults = [], []
    for location, value in rows:
        is_line = location.startswith("line ")
        where = f"{path}:{location[5:]}" if is_line else f"{path}, {location}"
        row = value
        try:
            if isinstance(value, str):
                row = loads(value)
            predictions.append(prediction_from_json(row))
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            is_last = location == rows[-1][0]
            is_cut = isinstance(error, json.JSONDecodeError) and is_last
            cut = " (cut off in the middle?)" if is_cut else ""
            faults.append(printable(f"{where}: {_named(row)}not a prediction{cut}: {error}"))
    if faults:
        raise DataError("\n".join(fault_lines(faults)))
    return predictions


def _named(row: object) -> str:
    """`id 7: `, also for a line that could not be parsed."""
    if isinstance(row, dict):
        id = row.get("id")
    else:
        match = re.search(r'"id"\s*:\s*"([^"]{1,60})"', row) if isinstance(row, str) else None
        id = match[1] if match else None
    return f"id {id}: " if isinstance(id, str | int) else ""


def _aligned(
    path: str, form: Form, examples: Sequence[Example] | None
) -> tuple[list[Prediction], str]:
    """The answers as predictions, and in words how they got their ids."""
    answers = form.answers
    has_ids = bool(answers) and all(answer.id is not None for answer in answers)
    by_id = {example.id: example for example in examples or ()}
    pairs: list[Pair]
    if has_ids and (examples is None or any(answer.id in by_id for answer in answers)):
        pairs = [(answer, str(answer.id), by_id.get(str(answer.id))) for answer in answers]
        return _predictions(path, pairs), "by their ids"
    if examples is None:
        pairs = [(answer, str(number), None) for number, answer in enumerate(answers)]
        return _predictions(path, pairs), "without ids, which are row numbers now"
    what = f"with ids such as {answers[0].id}" if has_ids else "without ids"
    got = f"{path}: read as {form.name}, {len(answers)} answers {what} for {len(examples)} examples"
    if len(answers) != len(examples):
        raise UserError(
            f"{got}; wanted one for each, in their order, or the example's id with each answer"
        )
    if has_ids and not all(answer.text is not None or answer.tokens for answer in answers):
        raise UserError(f"{got}, with ids such as {examples[0].id}; wanted the examples' ids")
    pairs = [
        (answer, example.id, example) for answer, example in zip(answers, examples, strict=True)
    ]
    return _predictions(path, pairs), f"{what}, aligned with the examples by their order"


def _predictions(path: str, pairs: Sequence[Pair]) -> list[Prediction]:
    """Gives each answer its id; refuses those that do not agree with their example."""
    are_sets, kind = _are_sets(pairs), _kind(pairs)
    predictions, faults = [], []
    for answer, id, example in pairs:
        try:
            predictions.append(_prediction(answer, id, example, kind=kind, are_sets=are_sets))
        except ValueError as error:
            faults.append(printable(f"{path}, {answer.location}: {error}"))
    if faults:
        advice = "they answer other texts, or in another order; write the example's id with each"
        raise DataError("\n".join([*fault_lines(faults), advice]))
    return predictions


def _kind(pairs: Sequence[Pair]) -> str:
    """Whether `spans` or `label` is wanted of a form that has both: what the examples have."""
    if all(answer.classes is None for answer, _, _ in pairs):
        return "spans"
    if all(answer.spans is None for answer, _, _ in pairs):
        return "label"
    if any(example is not None and example.spans is not None for _, _, example in pairs):
        return "spans"
    has_spans = any(answer.spans for answer, _, _ in pairs)
    has_labels = any(example is not None and example.label is not None for _, _, example in pairs)
    return "spans" if has_spans and not has_labels else "label"


def _are_sets(pairs: Sequence[Pair]) -> bool:
    """Whether a text may have several classes: as in the examples, else if scores sum to over 1."""
    labels = [example.label for _, _, example in pairs if example is not None]
    known = [label for label in labels if label is not None]
    if known:
        return isinstance(known[0], tuple)
    for answer, _, _ in pairs:
        scores = (answer.classes or {}).values()
        if sum(filter(None, scores)) > 1.01:
            return True
    return False


def _prediction(
    answer: Answer, id: str, example: Example | None, *, kind: str, are_sets: bool
) -> Prediction:
    if example is not None and answer.text is not None and answer.text != example.text:
        raise ValueError(
            f"its text is {short_repr(answer.text)}, that of the example {example.id} is "
            f"{short_repr(example.text)}"
        )
    if kind == "label":
        classes = answer.classes or {}
        scores = {name: score for name, score in classes.items() if score is not None}
        if are_sets:
            label: str | tuple[str, ...] | None = tuple(
                name for name, score in classes.items() if score is None or score >= 0.5
            )
        else:
            label = next(iter(classes), None)
        return Prediction(id, label=label, scores=scores if len(scores) > 1 else None)
    spans = answer.spans or ()
    if answer.tokens is not None:
        offsets = _token_offsets(answer.tokens, example)
        spans = tuple(
            Span(offsets[first][0], offsets[past - 1][1], label)
            for first, past, label in answer.ranges
        )
    text = answer.text if example is None else example.text
    if text is not None:
        _check_words(
            spans,
            answer.words,
            text,
            "its text" if example is None else f"the example {example.id}",
        )
    return Prediction(id, spans=spans, mentions=answer.mentions)


def _token_offsets(tokens: Sequence[str], example: Example | None) -> Offsets:
    """Offsets of the tokens in the example's text, which has only blanks between them."""
    if example is None:
        return join_tokens(tokens)[1]
    offsets = aligned_tokens(tokens, example.text)
    end = offsets[-1][1] if offsets else 0
    rest = example.text[end:].lstrip()
    if len(offsets) < len(tokens):
        position = len(example.text) - len(rest)
        raise ValueError(
            f"the token {tokens[len(offsets)]!r} is not what the example {example.id} has at "
            f"{position}: {short_repr(rest[:20])}"
        )
    if rest:
        raise ValueError(
            f"its {len(tokens)} tokens end before the text of the example {example.id}, at {end}"
        )
    return offsets


def _check_words(spans: Sequence[Span], words: Sequence[str | None], text: str, whose: str) -> None:
    for span, word in zip(spans, words, strict=False):
        if word is not None and not _agree(word, text[span.start : span.end]):
            raise ValueError(
                f"{short_repr(word)} is claimed at {span.start}-{span.end}, where {whose} has "
                f"{short_repr(text[span.start : span.end])}"
            )


def _agree(word: str, covered: str) -> bool:
    """Whether a word is what the text has, but for what a tokenizer changes.

    That is case, accents, blanks and the marks of its pieces.
    """
    return word == covered or _UNKNOWN.search(word) is not None or _plain(word) == _plain(covered)


def _plain(string: str) -> str:
    decomposed = unicodedata.normalize("NFKD", _PIECE_MARKS.sub("", string)).casefold()
    return "".join(c for c in decomposed if not c.isspace() and not unicodedata.combining(c))
