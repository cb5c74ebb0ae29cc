"""Tasks for annotation tools: Label Studio, doccano and Prodigy.

With a model's answers the tools show them for correction. Label Studio and doccano count offsets as
JavaScript does, in UTF-16 units.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pipelines.corpora.convert.content import (
    Content,
    Losses,
    is_unlabelled,
    span_row,
    utf16_offsets,
)
from pipelines.corpora.corpus import classes_of
from pipelines.corpora.writing import replacing, write_jsonl
from pipelines.examples import Example, JsonObject


def write_label_studio(path: Path, content: Content, losses: Losses) -> None:
    """Writes tasks for a labelling config whose tags are named `label` and `text`."""
    tasks = [_label_studio_task(example, content, losses) for example in content.examples]
    with replacing(path) as f:
        json.dump(tasks, f, ensure_ascii=False, indent=1)


def _label_studio_task(example: Example, content: Content, losses: Losses) -> JsonObject:
    data = {"id": example.id, "text": example.text}
    if example.pair is not None:
        data["pair"] = example.pair
    task: JsonObject = {"data": data}
    if content.is_predicted:
        answer: JsonObject = {
            "model_version": "pipelines",
            "result": _label_studio_result(example),
        }
        if example.id in content.scores:
            answer["score"] = max(
                content.scores[example.id].get(name, 0.0) for name in classes_of(example) or ("",)
            )
            if len(content.scores[example.id]) > 1:
                losses.add(
                    "label-studio keeps the score of the answer only, others are left out",
                    example.id,
                )
        task["predictions"] = [answer]
    elif is_unlabelled(example):
        task["annotations"] = []
    else:
        if any(span.score is not None for span in example.spans or ()):
            losses.add(
                "label-studio cannot represent scores of annotations, they are left out", example.id
            )
        task["annotations"] = [{"result": _label_studio_result(example)}]
    return task


def _label_studio_result(example: Example) -> list[JsonObject]:
    names = {"from_name": "label", "to_name": "text"}
    if isinstance(example.label, int | float):
        return [{"id": "value", **names, "type": "number", "value": {"number": example.label}}]
    if example.label is not None:
        choices = list(classes_of(example))
        # Annotated, but with no class: an empty result.
        return (
            [{"id": "class", **names, "type": "choices", "value": {"choices": choices}}]
            if choices
            else []
        )
    offsets = utf16_offsets(example.text)
    result = []
    for number, span in enumerate(example.spans or ()):
        value = {
            "start": offsets[span.start],
            "end": offsets[span.end],
            "text": example.text[span.start : span.end],
            "labels": [span.label],
        }
        region: JsonObject = {"id": f"span-{number}", **names, "type": "labels", "value": value}
        if span.score is not None:
            region["score"] = span.score
        result.append(region)
    return result


def write_doccano(path: Path, content: Content, losses: Losses) -> None:
    """Writes JSON lines with mentions or classes in `label`."""
    rows = []
    for example in content.examples:
        row: JsonObject = {"id": example.id, "text": example.text}
        if example.spans is not None:
            offsets = utf16_offsets(example.text)
            row["label"] = [
                [offsets[span.start], offsets[span.end], span.label] for span in example.spans
            ]
            if example.spans and offsets[-1] > len(example.text):
                losses.add(
                    "doccano counts UTF-16 units, read this file again with --offsets utf-16",
                    example.id,
                    len(example.spans),
                )
        elif example.label is not None:
            row["label"] = (
                list(classes_of(example)) if isinstance(example.label, tuple) else example.label
            )
        rows.append(row)
    write_jsonl(path, rows)


def write_prodigy(path: Path, content: Content, losses: Losses) -> None:
    """Writes tasks of `ner.manual` or `textcat.manual`; gold ones are accepted already."""
    labels = content.labels if content.answer == "label" else []
    rows = []
    for example in content.examples:
        row: JsonObject = {"id": example.id, "text": example.text}
        if example.tokens is not None:
            row["tokens"] = _prodigy_tokens(example)
        if example.spans is not None:
            row["spans"] = [
                span_row(span) | {"text": example.text[span.start : span.end]}
                for span in example.spans
            ]
        if example.label is not None:
            row |= _prodigy_classes(example, content, labels)
        if not is_unlabelled(example) and not content.is_predicted:
            row["answer"] = "accept"
        rows.append(row)
    write_jsonl(path, rows)


def _prodigy_tokens(example: Example) -> list[JsonObject]:
    tokens = []
    for number, (start, end) in enumerate(example.tokens or ()):
        is_followed_by_blank = example.text[end : end + 1] == " "
        tokens.append(
            {
                "text": example.text[start:end],
                "start": start,
                "end": end,
                "id": number,
                "ws": is_followed_by_blank,
            }
        )
    return tokens


def _prodigy_classes(example: Example, content: Content, labels: Sequence[str]) -> JsonObject:
    scores = content.scores.get(example.id)
    if isinstance(example.label, tuple):
        row: JsonObject = {
            "options": [{"id": name, "text": name} for name in labels],
            "accept": list(example.label),
        }
    else:
        row = {"label": example.label}
        if scores:
            row["score"] = scores.get(str(example.label))
    if scores:
        row["meta"] = {"scores": dict(scores)}
    return row
