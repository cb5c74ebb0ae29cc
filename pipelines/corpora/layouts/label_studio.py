"""Exports of Label Studio: tasks as JSON, and JSON-MIN."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pipelines.corpora.corpus import Table, Unreadable, counted, unwrap_single_classes
from pipelines.examples import Fields, JsonObject

_MIN_KEYS = ("annotator", "annotation_id", "lead_time")  # of JSON-MIN, about the annotation


def sniff(objects: Sequence[Fields]) -> bool:
    """Whether rows are tasks with `data`."""
    return any(isinstance(row.get("data"), Mapping) for row in objects)


def read(table: Table) -> Table:
    """Tasks with `data` and `annotations`; an annotation that was not cancelled is gold."""
    annotated = any(map(_annotations, table.objects))

    def reason_of(task: Fields) -> str | None:
        if not annotated or not isinstance(task.get("data"), Mapping):
            return None
        annotations = _annotations(task)
        if not annotations:
            return "never annotated"
        return "cancelled by the annotator" if all(map(_is_cancelled, annotations)) else None

    skipped: Counter[str] = Counter()
    table = table.without(reason_of).mapped(lambda task: _row(task, annotated, skipped))
    table = replace(table, layout=f"{table.layout} of Label Studio", missing_is_empty=True)
    if skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in skipped.most_common())
        table.notes.append(f"results that are neither mentions nor classes are skipped: {kinds}")
    rows: list[Any] = table.objects
    classified = [row for row in rows if "classes" in row]
    if classified and not any(row.get("entities") for row in rows):
        for row in rows:
            row.pop("entities", None)  # choices alone: nobody annotated mentions
        unwrap_single_classes(classified, "classes")
    elif classified:
        # Regions and choices: the regions are the task, unless the choices are named.
        table.notes.append(
            f"{counted(len(classified), 'row')} with choices too, which are not read; "
            "--answer label --label_column choices reads them"
        )
        for row in classified:
            row["choices"] = row.pop("classes")
        unwrap_single_classes(classified, "choices")
    return table


def _annotations(task: Fields) -> list[Fields]:
    entries = task.get("annotations", task.get("completions"))
    return [e for e in entries if isinstance(e, Mapping)] if isinstance(entries, list) else []


def _is_cancelled(annotation: Fields) -> bool:
    return bool(annotation.get("was_cancelled") or annotation.get("skipped"))


def _row(task: Fields, annotated: bool, skipped: Counter[str]) -> object:
    data = task.get("data")
    if not isinstance(data, Mapping):
        return task
    row = {key: value for key, value in data.items() if key not in ("entities", "classes")}
    row.setdefault("id", task.get("id"))
    valid = [entry.get("result") for entry in _annotations(task) if not _is_cancelled(entry)]
    results: list[list[object]] = [result if isinstance(result, list) else [] for result in valid]
    if annotated and len({json.dumps(sorted(map(_content, result))) for result in results}) > 1:
        return Unreadable(
            f"{len(results)} annotators disagree on this text (task {task.get('id')}); keep one "
            "annotation of it",
            "annotators_disagree",
        )
    entities, classes = [], []
    for result in results[0] if results else []:
        value = result.get("value") if isinstance(result, Mapping) else None
        if isinstance(value, Mapping) and isinstance(value.get("choices"), list):
            classes += value["choices"]
        elif isinstance(value, Mapping) and "start" in value and _label_key(value):
            entities += _mentions(value)
        else:
            kind = result.get("type") if isinstance(result, Mapping) else type(result).__name__
            skipped[str(kind)] += 1
    if annotated:
        row["entities"] = entities
    if classes:
        row["classes"] = classes
    return row


def _content(result: object) -> str:
    """What two annotators have to agree on: the value and its kind, not the ids."""
    if isinstance(result, Mapping):
        result = {key: result.get(key) for key in ("value", "type")}
    return json.dumps(result, sort_keys=True)


def _label_key(region: Fields) -> str | None:
    return next((key for key in ("labels", "hypertextlabels") if key in region), None)


def _mentions(region: Fields) -> list[JsonObject]:
    """One mention for each label of a region."""
    labels = region.get(_label_key(region) or "labels")
    offsets = region.get("globalOffsets")
    if not isinstance(offsets, Mapping):
        offsets = region
    start, end = offsets.get("start"), offsets.get("end")
    mention = {"start": start, "end": end, "text": region.get("text")}
    if isinstance(labels, list) and labels:
        return [mention | {"label": label} for label in labels]
    return [mention]


def sniff_min(objects: Sequence[Fields]) -> bool:
    """Whether rows have lists of regions in columns of their own."""
    columns = (value for row in objects[:1000] for value in row.values())
    return any(isinstance(value, list) and any(map(_is_region, value)) for value in columns)


def _is_region(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    return "start" in value and isinstance(value.get("labels"), list)


def read_min(table: Table) -> Table:
    """JSON-MIN, which omits the key of a text without mentions."""
    layout = f"{table.layout} of Label Studio (JSON-MIN)"
    return replace(table, layout=layout, missing_is_empty=True).mapped(_min_row)


def _min_row(row: Fields) -> JsonObject:
    plain = {}
    for key, value in row.items():
        if key in _MIN_KEYS:
            continue
        if isinstance(value, list):
            mentions: list[object] = []
            for item in value:
                is_region = isinstance(item, Mapping) and "labels" in item
                mentions += _mentions(item) if is_region else [item]
            value = mentions
        plain[key] = value
    return plain
