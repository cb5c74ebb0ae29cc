"""Exports of Argilla, of version 2 and before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest

from pipelines.corpora.corpus import Table, Unreadable
from pipelines.examples import Fields

# Strings of a record that are about the annotation.
_STATUS_KEYS = (
    "status",
    "_server_id",
    "external_id",
    "prediction_agent",
    "annotation_agent",
    "event_timestamp",
)


def sniff(objects: Sequence[Fields]) -> bool:
    """Whether rows are records: with responses, responses in columns, or an annotation status."""
    has_responses = any(
        isinstance(row.get("fields"), Mapping) and {"responses", "suggestions"} & row.keys()
        for row in objects
    )
    has_response_columns = any(key.endswith(".responses") for key in objects[0])
    has_status = all("status" in row and "annotation" in row for row in objects)
    return has_responses or has_response_columns or has_status


def read(table: Table) -> Table:
    """Records with submitted answers; suggestions and predictions of models are not gold."""
    annotated = any(map(_answers, table.objects))

    def reason_of(row: Fields) -> str | None:
        if str(row.get("status", "")).lower() == "discarded" or _is_discarded(row):
            return "discarded by the annotator"
        return "never annotated" if annotated and not _answers(row) else None

    table = table.without(reason_of).mapped(lambda row: _row(row, annotated))
    return replace(table, layout=f"{table.layout} of Argilla")


def _responses(row: Fields) -> list[tuple[str, object, str]]:
    """(question, value, status) of each response."""
    entries: list[tuple[str, object, str]] = []
    responses = row.get("responses")
    for question, given in responses.items() if isinstance(responses, Mapping) else ():
        for entry in given if isinstance(given, list) else [given]:
            if isinstance(entry, Mapping):
                status = entry.get("status", "submitted")
                entries.append((question, entry.get("value"), status))
    for key, values in row.items():
        if key.endswith(".responses"):
            values = values if isinstance(values, list) else []
            statuses = row.get(f"{key}.status") or ["submitted"] * len(values)
            for value, status in zip_longest(values, statuses):
                entries.append((key.removesuffix(".responses"), value, status))
    return entries


def _answers(row: Fields) -> dict[str, list[object]]:
    """Question -> submitted answers."""
    if "annotation" in row and "responses" not in row:  # before version 2
        is_valid = str(row.get("status", "")).lower() in ("validated", "edited")
        has_answer = is_valid and row["annotation"] is not None
        return {"annotation": [row["annotation"]]} if has_answer else {}
    answers: dict[str, list[object]] = {}
    for question, value, status in _responses(row):
        if status == "submitted":
            answers.setdefault(question, []).append(value)
    return answers


def _is_discarded(row: Fields) -> bool:
    statuses = [status for _, _, status in _responses(row)]
    return bool(statuses) and all(status == "discarded" for status in statuses)


def _row(row: Fields, annotated: bool) -> object:
    inputs = row.get("fields", row.get("inputs"))
    plain = dict(inputs) if isinstance(inputs, Mapping) else {}
    for key, value in row.items():
        is_text = isinstance(value, str) and "." not in key and key not in _STATUS_KEYS
        if is_text or key in ("id", "text", "tokens"):
            plain.setdefault(key, value)
    for question, values in _answers(row).items() if annotated else ():
        if len({json.dumps(value, sort_keys=True) for value in values}) > 1:
            message = f"{len(values)} annotators disagree on {question!r}; keep one response"
            return Unreadable(message, "annotators_disagree")
        plain["label" if question == "annotation" else question] = _plain_value(values[0])
    return plain


def _plain_value(value: object) -> object:
    """Spans as objects; before version 2 they were `[label, start, end]`."""
    if isinstance(value, list) and value and all(map(_is_old_span, value)):
        return [{"label": item[0], "start": item[1], "end": item[2]} for item in value]
    return value


def _is_old_span(value: object) -> bool:
    return isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str)
