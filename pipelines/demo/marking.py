"""Answers as HTML, in which all that is not ours is escaped, and as rows of a CSV file."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from zlib import crc32

from pipelines.demo.answering import Answer, ServedRun
from pipelines.examples import Prediction, Span, prediction_to_json

N_COLOURS = 8
MOST_CLASSES = 20
CSV_HEAD = {
    "spans": ("id", "mention", "label", "start", "end", "score"),
    "label": ("id", "label", "score"),
    "value": ("id", "value"),
}
STYLE = """
.answer { overflow-wrap: anywhere; }
.answer h2 { font-size: 1.1rem; margin: 0.2rem 0 0.6rem; }
.answer .text { white-space: pre-wrap; line-height: 2; margin: 0 0 0.8rem; }
.answer mark { color: #111; padding: 0.15rem 0.1rem; border-radius: 3px; }
.answer mark.nested { box-shadow: inset 0 -3px 0 #111; }
.answer mark.other { outline: 2px dashed #b00020; }
.answer mark small { font-size: 0.7rem; font-weight: 700; margin-left: 0.25rem; }
.answer .c0 { background: #ffe08a; } .answer .c1 { background: #a8d8ff; }
.answer .c2 { background: #b9eeb5; } .answer .c3 { background: #ffc2d1; }
.answer .c4 { background: #d9c8ff; } .answer .c5 { background: #ffcf9e; }
.answer .c6 { background: #a9ece3; } .answer .c7 { background: #dddddd; }
.answer .scroll { overflow: auto; max-height: 24rem; overflow-wrap: normal; margin-bottom: 0.6rem; }
.answer table { border-collapse: collapse; width: 100%; font-size: 0.9rem; }
.answer th, .answer td { text-align: left; padding: 0.25rem 0.5rem; }
.answer tr { border-bottom: 1px solid #8886; }
.answer td.number, .answer th.number { text-align: right; font-variant-numeric: tabular-nums; }
.answer .bar { background: #8883; height: 0.9rem; min-width: 5rem; }
.answer .bar div { background: #2f6fde; height: 100%; }
.answer tr.chosen td { font-weight: 700; }
.answer a { text-decoration: underline; margin-right: 1rem; }
.answer .note, .fault { border-left: 4px solid #b06000; padding-left: 0.6rem; }
.fault { border-color: #b00020; white-space: pre-wrap; overflow-wrap: anywhere; }
.fault:empty { display: none; }
"""


def answer_html(run: ServedRun, text: str, answer: Answer, *, other: Answer | None = None) -> str:
    """What the page shows of an answer.

    Args:
        text: the text that was answered.
        other: the answer of the other model, to show where the two differ.
    """
    prediction = answer.prediction
    notes = [*answer.warnings]
    if prediction.status not in (None, "ok"):
        notes.append(f"status {prediction.status}; the model wrote: {prediction.raw or ''}")
    parts = [f"<h2>{escape(run.name)}</h2>"]
    parts += [f'<p class="note">{escape(note)}</p>' for note in notes]
    if prediction.spans is not None:
        theirs = None if other is None else other.prediction.spans
        parts.append(f'<p class="text">{marked(text, prediction.spans, run.labels, theirs)}</p>')
        parts.append(_mention_table(text, prediction.spans, theirs))
    elif prediction.label is not None:
        parts.append(_class_bars(prediction))
        if other is not None and other.prediction.label != prediction.label:
            parts.append('<p class="note">The other model gives another class.</p>')
    elif prediction.value is not None:
        parts.append(f"<p>Value: <strong>{prediction.value:.6g}</strong></p>")
    parts.append(_downloads(text, prediction))
    return f'<section class="answer">{"".join(parts)}</section>'


def fault_html(message: str) -> str:
    """An error, as text."""
    return f'<p class="fault" role="alert">{escape(message)}</p>'


def marked(
    text: str,
    spans: Sequence[Span],
    labels: Sequence[str] = (),
    theirs: Sequence[Span] | None = None,
) -> str:
    """The text with its mentions in `<mark>`, cut where one starts or ends, so they may overlap.

    Args:
        labels: known labels, each with its own colour.
        theirs: the mentions of another model; what it has not is outlined.
    """
    cuts = {0, len(text)} | {span.start for span in spans} | {span.end for span in spans}
    pieces = []
    for start, end in pairwise(sorted(cuts)):
        here = [span for span in spans if span.start <= start and end <= span.end]
        string = escape(text[start:end])
        if not here:
            pieces.append(string)
            continue
        inner = min(here, key=lambda span: span.end - span.start)
        classes = [f"c{_colour(inner.label, labels)}"]
        if len(here) > 1:
            classes.append("nested")
        if theirs is not None and any(span not in theirs for span in here):
            classes.append("other")
        title = escape("; ".join(map(_in_words, here)), quote=True)
        ending = "".join(
            f"<small>{escape(_in_words(span))}</small>" for span in here if span.end == end
        )
        pieces.append(f'<mark class="{" ".join(classes)}" title="{title}">{string}{ending}</mark>')
    return "".join(pieces)


def _colour(label: str, labels: Sequence[str]) -> int:
    position = labels.index(label) if label in labels else crc32(label.encode())
    return position % N_COLOURS


def _in_words(span: Span) -> str:
    return span.label if span.score is None else f"{span.label} {span.score:.2f}"


def _mention_table(text: str, spans: Sequence[Span], theirs: Sequence[Span] | None) -> str:
    if not spans:
        return "<p>No mentions found.</p>"
    head = "<th>mention</th><th>label</th>"
    head += "".join(f'<th class="number">{name}</th>' for name in ("start", "end", "score"))
    if theirs is not None:
        head += "<th>other model</th>"
    rows = []
    for span in spans:
        cells = [text[span.start : span.end], span.label]
        numbers = [f"{span.start}", f"{span.end}", _score(span.score)]
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        row += "".join(f'<td class="number">{number}</td>' for number in numbers)
        if theirs is not None:
            row += f"<td>{'the same' if span in theirs else 'not found'}</td>"
        rows.append(f"<tr>{row}</tr>")
    return _table("mentions", head, rows)


def _class_bars(prediction: Prediction) -> str:
    """Each class with its score as a bar, the likeliest first."""
    label = prediction.label
    chosen = set(label) if isinstance(label, tuple) else {label}
    names = ", ".join(str(name) for name in chosen) or "none of the classes"
    summary = f"<p>Class: <strong>{escape(names)}</strong></p>"
    if not prediction.scores:
        return summary
    ranked = sorted(prediction.scores.items(), key=lambda item: -item[1])
    rows = []
    for name, score in ranked[:MOST_CLASSES]:
        share = 100 * min(max(score, 0.0), 1.0)
        bar = f'<div class="bar"><div style="width:{share:.1f}%"></div></div>'
        mark = ' class="chosen"' if name in chosen else ""
        cells = f'<td>{escape(name)}</td><td class="number">{score:.4f}</td><td>{bar}</td>'
        rows.append(f"<tr{mark}>{cells}</tr>")
    table = _table("classes", '<th>class</th><th class="number">score</th><th></th>', rows)
    left_out = len(ranked) - MOST_CLASSES
    more = f"<p>{left_out} more classes are in the downloads.</p>" if left_out > 0 else ""
    return summary + table + more


def _table(name: str, head: str, rows: Sequence[str]) -> str:
    # A region that scrolls has to take the focus, or the keyboard cannot scroll it.
    opening = f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">'
    return f"{opening}<table><tr>{head}</tr>{''.join(rows)}</table></div>"


def _downloads(text: str, prediction: Prediction) -> str:
    """Links that hold the files themselves, so that none is written."""
    line = json.dumps(prediction_to_json(prediction), ensure_ascii=False) + "\n"
    table = csv_of([text], [prediction])
    return "<p>" + _link("JSON", "jsonl", line) + _link("CSV", "csv", table) + "</p>"


def _link(name: str, ending: str, content: str) -> str:
    encoded = base64.b64encode(content.encode()).decode()
    address = f"data:application/octet-stream;base64,{encoded}"
    return f'<a download="prediction.{ending}" href="{address}">Download {name}</a>'


def csv_of(texts: Sequence[str], predictions: Sequence[Prediction]) -> str:
    """A row for each mention, class or value."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    first = predictions[0]
    kind = next(name for name in CSV_HEAD if getattr(first, name) is not None)
    writer.writerow(CSV_HEAD[kind])
    for text, prediction in zip(texts, predictions, strict=True):
        writer.writerows(_csv_rows(text, prediction))
    return stream.getvalue()


def _csv_rows(text: str, prediction: Prediction) -> list[tuple[object, ...]]:
    id, label, scores = prediction.id, prediction.label, prediction.scores or {}
    if prediction.spans is not None:
        return [
            (id, text[span.start : span.end], span.label, span.start, span.end, _score(span.score))
            for span in prediction.spans
        ]
    if label is not None:
        names = label if isinstance(label, tuple) else (label,)
        return [(id, name, _score(scores.get(name))) for name in names]
    return [(id, prediction.value)]


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.4f}"
