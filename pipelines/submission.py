"""Predictions -> a competition's CSV: infer the layout from its sample submission, write, validate, push.

The sample gives the columns, the ids, their order and how the file is written; only the answers are filled in.
``LAYOUTS`` names the kinds of answers there are.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.errors import DataError, UserError
from pipelines.examples import Example, Prediction, Span, joined_by_id, replacing
from pipelines.sample_csv import Sample, as_text, parse_sample, read_sample
from pipelines.sample_style import ITEMS, NO_MENTION, Style, json_list, style_of, tag_parts
from pipelines.spans import looks_like_tag, spans_to_tags, spans_to_token_ranges, whitespace_tokens

OFFSETS_NAME = re.compile(r"span|offset|location|position|range|start", re.IGNORECASE)


class Layout(NamedTuple):
    """One kind of answer.

    Attributes:
        what: how a cell looks.
        rows: what a row is: ``example``, ``token`` or ``type``.
        answer: the field of a Prediction it is written from.
        needs: what it needs beyond predictions: ``text``, ``tokens`` or nothing.
        valid: whether a cell can be of this kind.
        cell: writes the answer to an example; None where rows are not examples.
    """

    what: str
    rows: str
    answer: str
    needs: str
    valid: Callable[[str], bool]
    cell: Callable[[Prediction, Example, Style], str] | None = None


def write_submission(predictions: Sequence[Prediction], examples: Sequence[Example] | None = None, *,
                     sample: str | Path, out: str | Path, format: str | None = None,
                     separator: str | None = None) -> str:
    """Fills a sample submission with predictions, and validates the whole before it is written.

    Args:
        predictions: an answer to every row of the sample, in any order.
        examples: what they are about, in the order of its file; offsets and classes are written without.
        sample: the competition's sample; its columns, ids, order, delimiter, quotes and line ends are kept.
        out: the file to write; it appears whole or not at all.
        format: a name of ``LAYOUTS``; by default inferred from the sample.
        separator: what stands between two strings, tags, offsets or ranges; by default as in the sample.

    Returns:
        Name of the layout.

    Raises:
        DataError: naming the ids that are missing, extra or doubled, or whose spans are not within the text.
        UserError: when the layout cannot be told, or needs examples that were not given.
    """
    if Path(out).resolve() == Path(sample).resolve():
        raise UserError(f"{out}: this is the sample itself; choose another name for the submission")
    form = read_sample(sample, [prediction.id for prediction in predictions])
    name = format or infer_layout(form, predictions, examples)
    layout = _layout(name)
    without = [prediction.id for prediction in predictions if getattr(prediction, layout.answer) is None]
    if without:
        raise DataError(f"the layout {name} is written from {layout.answer!r}, which {len(without)} predictions do not "
                        f"have, such as that to {without[0]}; choose another with --format:\n{_layouts()}")
    if layout.needs and examples is None:
        raise UserError(f"the layout {name} needs the {layout.needs} of each example, and predictions hold offsets "
                        "only; give the test file with --input")
    _check_spans(predictions, examples or ())
    fill = {"example": _example_cells, "token": _token_cells, "type": _type_cells}[layout.rows]
    cells = fill(form, predictions, examples or (), layout,
                 style_of(form, name, separator, valid=layout.valid))
    rows = form.rows[:form.headed] + [
        [*row[:form.answer_column], cell, *row[form.answer_column + 1:]]
        for row, cell in zip(form.rows[form.headed:], cells, strict=True)]
    text = form.mark + as_text(rows, form.delimiter, form.quoting, form.line_end)
    _compare(parse_sample(text, out, delimiter=form.delimiter), form, layout)
    with replacing(out) as f:
        f.write(text)
    return name


def validate_submission(path: str | Path, sample: str | Path | Sample, *, format: str) -> None:
    """Checks that a submission has the sample's columns, ids and order, and answers of a layout.

    Raises:
        DataError: naming every fault.
        UserError: when a file cannot be read at all.
    """
    wanted = sample if isinstance(sample, Sample) else read_sample(sample)
    _compare(read_sample(path, delimiter=wanted.delimiter), wanted, _layout(format))


def _compare(got: Sample, wanted: Sample, layout: Layout) -> None:
    answer = wanted.answer_column
    faults = [] if len(got.rows) == len(wanted.rows) else [f"got {len(got.rows)} rows; wanted {len(wanted.rows)}"]
    for number, (row, model) in enumerate(zip(got.rows, wanted.rows, strict=False), start=1):
        header = wanted.headed and number == 1
        if len(row) != len(model) or any(cell != model[i] for i, cell in enumerate(row) if header or i != answer):
            faults.append(f"row {number}: got {row}; wanted {model}, but for the answer")
        elif not header and not layout.valid(row[answer]):
            faults.append(f"row {number}: got {row[answer][:80]!r}; wanted {layout.what}")
    if faults:
        raise DataError("\n".join(f"{got.path}: {fault}" for fault in faults))


def _check_spans(predictions: Sequence[Prediction], examples: Sequence[Example]) -> None:
    sizes = {example.id: len(example.text) for example in examples}
    wrong = [f"{prediction.id} ({span.start}-{span.end})" for prediction in predictions
             for span in prediction.spans or () if not 0 <= span.start < span.end <= sizes.get(prediction.id, span.end)]
    if wrong:
        more = f" and {len(wrong) - 10} more" if len(wrong) > 10 else ""
        raise DataError(f"spans that are empty or not within their text: {', '.join(wrong[:10])}{more}; give the file "
                        "that these are the predictions of")


def push(path: str | Path, competition: str, message: str) -> None:
    """Hands a submission to the official Kaggle client.

    Raises:
        UserError: when the client is missing, or fails: with its last words.
    """
    beside_python = os.path.dirname(sys.executable)  # A virtual environment need not be active.
    client = shutil.which("kaggle", path=os.pathsep.join([os.environ.get("PATH", ""), beside_python]))
    if client is None:
        raise UserError("--push needs Kaggle's client: pip install kaggle (or 'pipelines[kaggle]'), and your token in "
                        f"~/.kaggle/kaggle.json (kaggle.com, Settings, API); the submission is in {path}")
    done = subprocess.run([client, "competitions", "submit", "-c", competition, "-f", str(path), "-m", message],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = (done.stdout.strip().splitlines() or ["nothing"])[-1]
        raise UserError(f"Kaggle's client ({client}) ended with {done.returncode} and said: {said}; the submission is "
                        f"in {path}; is your token in ~/.kaggle/kaggle.json, and were the rules accepted?")
    print(done.stdout.strip())


def infer_layout(form: Sample, predictions: Sequence[Prediction], examples: Sequence[Example] | None = None) -> str:
    """Tells the layout from what the predictions are, from the ids of the sample and from the answers in it.

    Raises:
        UserError: when it cannot be told, with the layouts there are.
    """
    for answer in ("label", "value"):
        if all(getattr(prediction, answer) is not None for prediction in predictions):
            return answer
    cells = list(filter(None, form.column(form.answer_column)))
    ids, known = form.column(form.id_column), {prediction.id for prediction in predictions}
    if examples is not None and _token_order(form, examples) and all(map(LAYOUTS["token_tags"].valid, cells)):
        return "token_tags"
    if not known & set(ids):
        labels = {span.label for prediction in predictions for span in prediction.spans or ()}
        # Where nothing was predicted, rows are types if they show ranges and names: ids mostly have a digit.
        types = labels & set(ids) if labels else (
            any(re.match(r"\d+-\d+", cell) for cell in cells) and not re.search(r"\d", "".join(ids)))
        if types and all(map(LAYOUTS["type_ranges"].valid, cells)):
            return "type_ranges"
        raise UserError(f"{form.path}: its rows ({', '.join(ids[:3])}, …) are neither ids of the predictions "
                        f"({', '.join(sorted(known)[:3])}, …), nor their types, nor tokens"
                        f"{'' if examples is not None else ' (give the test file with --input for these)'}; choose the "
                        f"layout with --format:\n{_layouts()}")
    fitting = [name for name, layout in LAYOUTS.items() if name != "strings" and layout.answer == "spans"
               and layout.rows == "example" and all(map(layout.valid, cells))]
    if any("O" in (json_list(cell) or ()) for cell in cells) and "json_tags" in fitting:
        return "json_tags"
    fitting = [name for name in fitting if name != "json_tags"]
    if not fitting and any(re.search(r"[^\W\d_]", cell) for cell in cells if cell.casefold() not in NO_MENTION):
        return "strings"
    if cells and len(fitting) > 1 and not OFFSETS_NAME.search(form.answer_name):
        fitting = [name for name in fitting if name == "json_strings"]
    if cells and len(fitting) == 1:
        return fitting[0]
    raise UserError(f"{form.path}: its answers ({', '.join(map(repr, sorted(set(cells))[:3])) or 'all empty'}, column "
                    f"{form.answer_name!r}) do not tell the layout; choose it with --format:\n{_layouts()}")


# Cells


def _example_cells(form: Sample, predictions: Sequence[Prediction], examples: Sequence[Example], layout: Layout,
                   style: Style) -> list[str]:
    ids = form.column(form.id_column)
    rows = [Example(id, "") for id in ids]
    try:
        answers = [prediction for _, prediction in joined_by_id(rows, predictions)]
    except DataError as error:
        raise DataError(str(error).replace("in the gold file", f"in {form.path}")) from None
    by_id = {example.id: example for example in examples}
    if layout.needs:
        absent = [id for id in ids if id not in by_id]
        if absent:
            raise DataError(f"{len(absent)} ids of {form.path} are missing from the examples: {', '.join(absent[:10])}")
    assert layout.cell is not None
    cells = [layout.cell(answer, by_id.get(answer.id, Example(answer.id, "")), style) or style.nothing
             for answer in answers]
    if layout in (LAYOUTS["tags"], LAYOUTS["json_tags"]):
        _check_tag_counts(form, cells)
    if layout is LAYOUTS["strings"]:
        cut = sum(len(cell.split(style.separator)) > max(1, len(answer.spans or ()))
                  for cell, answer in zip(cells, answers, strict=True))
        if cut:
            print(f"note: {cut} {'row has' if cut == 1 else 'rows have'} a mention that contains the separator "
                  f"{style.separator!r}", file=sys.stderr)
    return cells


def _check_tag_counts(form: Sample, cells: Sequence[str]) -> None:
    """Compares the number of tags with the sample's, where that shows one for each token."""
    ids, shown = form.column(form.id_column), form.column(form.answer_column)
    models = [tag_parts(cell) for cell in shown]
    if any(len(model) > 1 for model in models) and all(looks_like_tag(tag) for model in models for tag in model):
        counts = [(len(tag_parts(cell)), len(model)) for cell, model in zip(cells, models, strict=True)]
        wrong = [f"{id}: {tokens} tokens, {tags} tags in the sample"
                 for id, (tokens, tags) in zip(ids, counts, strict=True) if tokens != tags]
        if wrong:
            raise DataError(f"{len(wrong)} texts are cut into other tokens than those of {form.path}; give a file with "
                            f"tokens with --input: {'; '.join(wrong[:10])}")


def _token_cells(form: Sample, predictions: Sequence[Prediction], examples: Sequence[Example], layout: Layout,
                 style: Style) -> list[str]:
    order = _token_order(form, examples)
    if order is None:
        raise DataError(f"{form.path}: got {len(form.rows) - form.headed} rows, which are not the "
                        f"{sum(len(_tokens(example)) for example in examples)} tokens of the examples; wanted as the "
                        "id of each token its running number, EXAMPLE_NUMBER, or its example's id")
    tags = [tag for example, prediction in joined_by_id(examples, predictions)
            for tag in _tags(prediction, example, style)]
    return [tags[number] for number in order]


def _token_order(form: Sample, examples: Sequence[Example]) -> list[int] | None:
    """The running number of the token of each row, or None where rows are not the tokens of the examples."""
    counts = [len(_tokens(example)) for example in examples]
    starts = [0, *accumulate(counts)]
    for column in range(len(form.rows[0])):
        values = form.column(column)
        if column != form.answer_column and len(values) == starts[-1]:
            if Counter(values) == {example.id: n for example, n in zip(examples, counts, strict=True) if n}:
                next_of = {example.id: start for example, start in zip(examples, starts, strict=False)}
                order = []
                for value in values:
                    order.append(next_of[value])
                    next_of[value] += 1
                return order
            for keys in _token_ids(examples, counts):
                numbers = {key: number for number, key in enumerate(keys)}
                if numbers.keys() == set(values) and len(numbers) == len(values):
                    return [numbers[value] for value in values]
    return None


def _token_ids(examples: Sequence[Example], counts: Sequence[int]) -> Iterator[list[str]]:
    for base in (0, 1):
        yield [str(number + base) for number in range(sum(counts))]
        for joint in "_-:.":
            yield [f"{example.id}{joint}{number + base}" for example, count in zip(examples, counts, strict=True)
                   for number in range(count)]


def _type_cells(form: Sample, predictions: Sequence[Prediction], examples: Sequence[Example], layout: Layout,
                style: Style) -> list[str]:
    types = form.column(form.id_column)
    ranges: dict[str, list[tuple[int, int]]] = {label: [] for label in types}
    start = 0
    for example, prediction in joined_by_id(examples, predictions):
        for first, past, label in spans_to_token_ranges(sorted(prediction.spans or ()), _tokens(example)):
            ranges.setdefault(label, []).append((start + first, start + past - 1))
        start += len(_tokens(example))
    extra = [label for label in ranges if label not in types]
    doubled = [label for label, count in Counter(types).items() if count > 1]
    if extra or doubled:
        raise DataError(f"{form.path}: types predicted that have no row: {', '.join(extra) or 'none'}; types with "
                        f"several rows: {', '.join(doubled) or 'none'}")
    return [style.separator.join(style.item.format(start=first, end=last)
                                 for first, last in sorted(set(ranges[label]))) or style.nothing for label in types]


def _tokens(example: Example) -> Sequence[tuple[int, int]]:
    return whitespace_tokens(example.text) if example.tokens is None else example.tokens


def _tags(prediction: Prediction, example: Example, style: Style) -> list[str]:
    """Tags of the spans that can stand side by side: of two that share a token the surer one, then the longer."""
    tokens = _tokens(example)
    kept: list[Span] = []
    taken: set[int] = set()
    for span in sorted(prediction.spans or (), key=lambda span: (-(span.score or 0), span.start - span.end, span)):
        touched = {i for first, past, _ in spans_to_token_ranges([span], tokens) for i in range(first, past)}
        if not touched & taken:
            kept.append(span)
            taken |= touched
    return spans_to_tags(kept, tokens, scheme=style.scheme)


def _strings(prediction: Prediction, example: Example) -> list[str]:
    return [example.text[span.start:span.end] for span in sorted(prediction.spans or ())]


def _joined_strings(prediction: Prediction, example: Example, style: Style) -> str:
    return style.separator.join(_strings(prediction, example))


def _json_strings(prediction: Prediction, example: Example, style: Style) -> str:
    return json.dumps(_strings(prediction, example), ensure_ascii=False)


def _json_objects(prediction: Prediction, example: Example, style: Style) -> str:
    return json.dumps([{key: example.text[span.start:span.end] if meaning == "text" else getattr(span, meaning)
                        for key, meaning in style.keys.items()} for span in sorted(prediction.spans or ())],
                      ensure_ascii=False)


def _offsets(prediction: Prediction, example: Example, style: Style) -> str:
    return style.separator.join(style.item.format(start=span.start, end=span.end, label=span.label)
                                for span in sorted(prediction.spans or ()))


def _json_pairs(prediction: Prediction, example: Example, style: Style) -> str:
    return json.dumps([[span.start, span.end] for span in sorted(prediction.spans or ())])


def _class(prediction: Prediction, example: Example, style: Style) -> str:
    return prediction.label if isinstance(prediction.label, str) else " ".join(prediction.label or ())


# The kinds of cells


def _list_of(fits: Callable[[Any], bool]) -> Callable[[str], bool]:
    return lambda cell: (items := json_list(cell)) is not None and all(map(fits, items))


def _is_pair(item: Any) -> bool:
    return isinstance(item, list | tuple) and len(item) == 2 and all(isinstance(number, int) for number in item)


def _items(name: str) -> Callable[[str], bool]:
    pattern = re.compile("(?:{0})(?:[^\\w-]+(?:{0}))*".format(ITEMS[name][0]))
    return lambda cell: cell.strip().casefold() in ("", *NO_MENTION) or pattern.fullmatch(cell.strip()) is not None


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


LAYOUTS: dict[str, Layout] = {
    "strings": Layout("mention strings with a separator between them", "example", "spans", "text", lambda cell: True,
                      _joined_strings),
    "json_strings": Layout("a JSON list of mention strings", "example", "spans", "text",
                           _list_of(lambda item: isinstance(item, str)), _json_strings),
    "json_objects": Layout('a JSON list of objects with "start" and "end"', "example", "spans", "text",
                           _list_of(lambda item: isinstance(item, dict)), _json_objects),
    "json_pairs": Layout("a JSON list of [start, end]", "example", "spans", "", _list_of(_is_pair), _json_pairs),
    "offsets": Layout("half-open offsets `start end;start end`, perhaps with types", "example", "spans", "",
                      _items("offsets"), _offsets),
    "ranges": Layout("half-open offsets `start-end start-end`", "example", "spans", "", _items("ranges"), _offsets),
    "tags": Layout("a tag for each token with blanks or commas between them", "example", "spans", "tokens",
                   lambda cell: json_list(cell) is None and all(map(looks_like_tag, tag_parts(cell))),
                   lambda prediction, example, style: style.separator.join(_tags(prediction, example, style))),
    "json_tags": Layout("a JSON list with a tag for each token", "example", "spans", "tokens",
                        _list_of(lambda item: isinstance(item, str) and looks_like_tag(item)),
                        lambda prediction, example, style: json.dumps(_tags(prediction, example, style),
                                                                         ensure_ascii=False)),
    "token_tags": Layout("one row for each token: its tag", "token", "spans", "tokens", looks_like_tag),
    "type_ranges": Layout("one row for each type: inclusive ranges `0-1 4-4` of tokens that are numbered through the "
                          "file", "type", "spans", "tokens", _items("type_ranges")),
    "label": Layout("the class", "example", "label", "", lambda cell: True, _class),
    "value": Layout("a number", "example", "value", "", _is_number,
                    lambda prediction, example, style: repr(prediction.value)),
}


def _layout(name: str) -> Layout:
    if name not in LAYOUTS:
        raise UserError(f"got the layout {name!r}; wanted one of these with --format:\n{_layouts()}")
    return LAYOUTS[name]


def _layouts() -> str:
    return "\n".join(f"  {name}: {layout.what}" for name, layout in LAYOUTS.items())
