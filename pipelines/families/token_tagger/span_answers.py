"""Prediction of a network that scores whole spans: its rows, its scores, and spans from them.

Texts are cut into units and windows as for tags (`units.encode`). A span is scored in each window
that holds it whole; the window in which it has the most context counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from pipelines.examples import Example, Fields, JsonObject, Prediction, Span
from pipelines.families.batching import length_batches
from pipelines.families.token_tagger.inputs import collate, window_row, word_inputs
from pipelines.families.token_tagger.units import Encoded, Window
from pipelines.networks.labels import labels_of
from pipelines.spans import overlap

LEAST = 0.5  # a mention is more probable than none
# Without overlaps: least probability of a mention, and of what counts as an alternative to it.
LEAST_OF_ONE, FAINTEST = 0.2, 0.05


class WholeUnits(NamedTuple):
    """The units that lie whole in a window.

    Attributes:
        units: (U,), their indices in the text.
        first: (U,), the positions of their first sub-words.
        last: (U,), those of their last ones.
    """

    units: list[int]
    first: list[int]
    last: list[int]


def whole_units(text: Encoded, window: Window) -> WholeUnits:
    """The units of a text that a window holds whole."""
    ends = [end for _, end in text.offsets]
    found = WholeUnits([], [], [])
    for position, offset in enumerate(window.offsets):
        if not offset:
            continue
        unit = bisect_right(ends, offset[0])
        if unit == len(ends) or text.offsets[unit][0] >= offset[1]:
            continue
        if found.units and found.units[-1] == unit:
            found.last[-1] = position
        else:
            found.units.append(unit)
            found.first.append(position)
            found.last.append(position)
    # A window may begin or end inside a unit.
    if found.units and window is not text.windows[0]:
        starts = _characters(window, found.first[0])[0]
        if starts > text.offsets[found.units[0]][0]:
            found = WholeUnits(*(values[1:] for values in found))
    if found.units and window is not text.windows[-1]:
        stops = _characters(window, found.last[-1])[1]
        if stops < text.offsets[found.units[-1]][1]:
            found = WholeUnits(*(values[:-1] for values in found))
    return found


def _characters(window: Window, position: int) -> tuple[int, int]:
    return window.offsets[position] or (0, 0)


def row_of(
    model: Any, window: Window, units: WholeUnits, of_words: Mapping[str, Sequence[int]]
) -> JsonObject:
    """What the network reads of a window; see `window_row`."""
    row = window_row(model, window, of_words)
    return {**row, "first": units.first, "last": units.last}


def collate_spans(rows: Sequence[Fields], *, pad: int) -> dict[str, Tensor]:
    """Pads rows as `collate`; units and gold spans are padded with -1.

    Args:
        rows: of each row its inputs by name, (T,) or (T, F); `first` and `last`, (U,); of a row to
            train on also `gold`, (G, 3): start, width - 1 and type of each mention.
    """
    of_units = ("first", "last", "gold")
    per_token = [{name: row[name] for name in row if name not in of_units} for row in rows]
    batch = collate(per_token, pad=pad)
    for name in of_units:
        if name in rows[0]:
            columns = [torch.as_tensor(row[name], dtype=torch.long) for row in rows]
            if name == "gold":
                columns = [column.view(-1, 3) for column in columns]
            batch[name] = pad_sequence(columns, batch_first=True, padding_value=-1)
    return batch


@torch.inference_mode()
def span_logits(
    model: Any, encoded: Sequence[Encoded], *, batch_tokens: int, pad: int
) -> list[Tensor]:
    """Logits of the spans of each text, each from the window in which it has the most context.

    Returns:
        (U, W, C) for each text, float32 on the CPU; -inf for spans that no window holds.
    """
    model.eval()
    config: Any = model.config
    size = config.max_width, config.num_labels
    texts = [torch.full((len(text.offsets), *size), -torch.inf) for text in encoded]
    contexts = [torch.full((len(text.offsets), size[0]), -1) for text in encoded]
    rows = list(span_rows(model, encoded))
    lengths = [len(row["input_ids"]) for _, _, row in rows]
    for batch in length_batches(lengths, batch_tokens):
        inputs = collate_spans([rows[number][2] for number in batch], pad=pad)
        inputs = {name: value.to(model.device) for name, value in inputs.items()}
        logits = model(**inputs).logits.float().cpu()  # (B, U, W, C)
        for number, scores in zip(batch, logits, strict=True):
            index, units, _ = rows[number]
            _keep_best(texts[index], contexts[index], scores, units, lengths[number])
    return texts


def span_rows(
    model: Any, encoded: Sequence[Encoded]
) -> Iterator[tuple[int, WholeUnits, JsonObject]]:
    """The windows of texts that hold a whole unit.

    Yields:
        The index of the text, the units of the window, and what the network reads of it.
    """
    for index, text in enumerate(encoded):
        of_words = word_inputs(model, text.words)
        for window in text.windows:
            units = whole_units(text, window)
            if units.units:
                yield index, units, row_of(model, window, units, of_words)


def _keep_best(
    text: Tensor, context: Tensor, scores: Tensor, whole: WholeUnits, length: int
) -> None:
    """Copies the scores of spans, (U', W', C), that have more context here than in others.

    Args:
        text: (U, W, C), the scores of the text so far.
        context: (U, W), the sub-words to the nearer edge of the window that each is from.
        length: T of this window.
    """
    units, first, last = map(torch.tensor, whole)  # each (N,)
    count = len(units)
    widths = torch.arange(min(scores.shape[1], count))
    ends = torch.arange(count)[:, None] + widths  # (N, W')
    is_whole = ends < count
    before, behind = first[:, None], length - 1 - last[ends.clamp(max=count - 1)]
    room = torch.minimum(before, behind)  # (N, W')
    starts = units[:, None].expand_as(ends)
    is_better = is_whole & (room > context[starts, widths])
    rows, columns = starts[is_better], widths.expand_as(ends)[is_better]
    text[rows, columns] = scores[:count, : len(widths)][is_better]
    context[rows, columns] = room[is_better]


def spans_from(
    model: Any,
    examples: Sequence[Example],
    encoded: Sequence[Encoded],
    logits: Sequence[Tensor],
) -> list[Prediction]:
    """The mentions of each text, from the (U, W, C) logits of its spans.

    A span's score is its probability. Where mentions may overlap, each span above one half is a
    mention of that type; where they do not, as `likeliest` says.
    """
    config: Any = model.config
    labels, predictions = labels_of(config), []
    for example, text, scores in zip(examples, encoded, logits, strict=True):
        probabilities = scores.sigmoid()  # (U, W, C)
        if config.nested:
            spans = _mentions(probabilities, text.offsets, labels, above=LEAST)
        else:
            spans = likeliest(_mentions(probabilities, text.offsets, labels, above=FAINTEST))
        certainty = None
        if len(probabilities):
            certainty = round(LEAST + float((probabilities - LEAST).abs().min()), 6)
        rounded = [
            Span(span.start, span.end, span.label, round(span.score or 0.0, 6)) for span in spans
        ]
        predictions.append(
            Prediction(example.id, spans=tuple(sorted(rounded)), certainty=certainty)
        )
    return predictions


def _mentions(
    probabilities: Tensor,
    offsets: Sequence[tuple[int, int]],
    labels: Sequence[str],
    *,
    above: float,
) -> list[Span]:
    found = probabilities > above
    scores = probabilities[found].tolist()
    return [
        Span(offsets[unit][0], offsets[unit + width][1], labels[label], score)
        for (unit, width, label), score in zip(found.nonzero().tolist(), scores, strict=True)
    ]


def likeliest(spans: Sequence[Span]) -> list[Span]:
    """The mentions among spans that are alternatives where they overlap.

    In order of their scores: a span that overlaps none before it is a mention where its probability
    and those of all that overlap it add up to more than one half. Where two borders are about as
    likely, neither alone need be above one half.
    """
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (-(span.score or 0.0), span)):
        if (span.score or 0.0) < LEAST_OF_ONE or any(overlap(span, other) for other in kept):
            continue
        if sum(other.score or 0.0 for other in spans if overlap(span, other)) > LEAST:
            kept.append(span)
    return kept
