"""JSON as annotation tools and data sets write it: rows brought to one form, their annotation status honoured.

Each export is ``(sniff, reshape)``: whether the rows are of this tool, and their form with plain columns. Texts that
were rejected, skipped or never annotated are left out, counted and reported: they are no gold.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipelines.corpora.corpus import Found, Table, Unreadable

Rows = list[tuple[int, Any]]


def reshaped(path: str, table: Table) -> Table:
    """A table as it is, or in plain columns where a tool that is known wrote it."""
    table.rows = [(number, _flattened(value)) for number, value in table.rows]
    objects = [value for _, value in table.rows if isinstance(value, Mapping)]
    for sniff, reshape in EXPORTS:
        if objects and sniff(objects):
            return reshape(path, table)
    return table


def _flattened(value: Any) -> Any:
    """spaCy's ``[text, {"entities": […]}]`` as an object."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict):
        return {"text": value[0], **value[1]}
    return value


def _left_out(path: str, counts: Mapping[str, int]) -> list[str]:
    return [f"{path}: {count} rows left out: {reason}" for reason, count in sorted(counts.items())]


def _filtered(table: Table, status: Callable[[Any], str | None]) -> tuple[Rows, Counter[str]]:
    """The rows without a reason to be left out, and how many there are of each reason."""
    counts: Counter[str] = Counter()
    kept: Rows = []
    for number, value in table.rows:
        reason = status(value) if isinstance(value, Mapping) else None
        if reason is None:
            kept.append((number, value))
        else:
            counts[reason] += 1
    return kept, counts


# Label Studio


def _is_label_studio(rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(isinstance(row.get("data"), Mapping) for row in rows)


def _label_studio(path: str, table: Table) -> Table:
    """Tasks with ``data`` and ``annotations``; one annotation that was not cancelled is the gold of a task."""
    annotated = any(_annotations(row) for _, row in table.rows if isinstance(row, Mapping))

    def status(row: Mapping[str, Any]) -> str | None:
        if not annotated or not isinstance(row.get("data"), Mapping):
            return None
        annotations = _annotations(row)
        if not annotations:
            return "never annotated"
        return "cancelled by the annotator" if all(map(_is_cancelled, annotations)) else None

    kept, counts = _filtered(table, status)
    skipped: Counter[str] = Counter()
    rows = [(number, _task(row, annotated, skipped) if isinstance(row, Mapping) else row) for number, row in kept]
    notes = _left_out(path, counts)
    if skipped:
        kinds = ", ".join(f"{count} {kind}" for kind, count in skipped.most_common())
        notes.append(f"{path}: results that are neither mentions nor classes are skipped: {kinds}")
    fields = [row for _, row in rows if isinstance(row, dict)]
    classified = [row for row in fields if "classes" in row]
    if classified and not any(row.get("entities") for row in fields):
        for row in fields:
            row.pop("entities", None)  # choices alone: nobody looked for mentions
    elif classified:
        # Regions and choices: the regions are the task, unless the choices are named.
        notes.append(f"{path}: {len(classified)} rows have choices too, which are not read; --answer label "
                     "--label_column choices reads them")
        for row in classified:
            row["choices"] = row.pop("classes")
    name = "classes" if any("classes" in row for row in classified) else "choices"
    if all(len(row[name]) == 1 for row in classified):
        for row in classified:
            row[name] = row[name][0]
    return Table(rows, f"{table.layout} of Label Studio", unit=table.unit, missing_is_empty=True, notes=notes)


def _annotations(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given = row.get("annotations", row.get("completions"))
    return [entry for entry in given if isinstance(entry, Mapping)] if isinstance(given, list) else []


def _is_cancelled(annotation: Mapping[str, Any]) -> bool:
    return bool(annotation.get("was_cancelled") or annotation.get("skipped"))


def _task(task: Mapping[str, Any], annotated: bool, skipped: Counter[str]) -> Any:
    data = task.get("data")
    if not isinstance(data, Mapping):
        return task
    row = {key: value for key, value in data.items() if key not in ("entities", "classes")}
    row.setdefault("id", task.get("id"))
    given = [annotation.get("result") for annotation in _annotations(task) if not _is_cancelled(annotation)]
    results: list[list[Any]] = [result if isinstance(result, list) else [] for result in given]
    if annotated and len({json.dumps(sorted(map(_essence, result))) for result in results}) > 1:
        return Unreadable(f"{len(results)} annotators disagree on this text (task {task.get('id')}); keep one "
                          "annotation of it", "annotators_disagree")
    entities, classes = [], []
    for result in results[0] if results else []:
        value = result.get("value") if isinstance(result, Mapping) else None
        if isinstance(value, Mapping) and isinstance(value.get("choices"), list):
            classes += value["choices"]
        elif isinstance(value, Mapping) and {"labels", "hypertextlabels"} & value.keys() and "start" in value:
            entities += _mentions(value)
        else:
            skipped[str(result.get("type") if isinstance(result, Mapping) else type(result).__name__)] += 1
    if annotated:
        row["entities"] = entities
    return row | ({"classes": classes} if classes else {})


def _essence(result: Any) -> str:
    """What two annotators have to agree on: the value and its kind, not the ids."""
    kept = {key: result.get(key) for key in ("value", "type")} if isinstance(result, Mapping) else result
    return json.dumps(kept, sort_keys=True)


def _mentions(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One mention for each label of a region."""
    labels = value.get("labels", value.get("hypertextlabels"))
    offsets = value.get("globalOffsets")
    place = offsets if isinstance(offsets, Mapping) else value
    mention = {"start": place.get("start"), "end": place.get("end"), "text": value.get("text")}
    return [mention | {"label": label} for label in labels] if isinstance(labels, list) and labels else [mention]


def _is_label_studio_min(rows: Sequence[Mapping[str, Any]]) -> bool:
    def regions(value: Any) -> bool:
        return isinstance(value, list) and any(isinstance(x, Mapping) and "start" in x and isinstance(
            x.get("labels"), list) for x in value)

    return any(regions(value) for row in rows[:1000] for value in row.values())


def _label_studio_min(path: str, table: Table) -> Table:
    """Label Studio's JSON-MIN, which leaves the key out where a text has no mention."""
    rows = []
    for number, row in table.rows:
        if isinstance(row, Mapping):
            row = {key: [mention for region in value for mention in (_mentions(region) if isinstance(
                region, Mapping) and "labels" in region else [region])] if isinstance(value, list) else value
                for key, value in row.items() if key not in ("annotator", "annotation_id", "lead_time")}
        rows.append((number, row))
    return Table(rows, f"{table.layout} of Label Studio (JSON-MIN)", unit=table.unit, missing_is_empty=True,
                 notes=list(table.notes))


# Prodigy


def _is_prodigy(rows: Sequence[Mapping[str, Any]]) -> bool:
    answers = [row["answer"] for row in rows if "answer" in row]
    known = all(answer in ("accept", "reject", "ignore") for answer in answers)
    return bool(answers) and known and 2 * len(answers) >= len(rows)


def _prodigy(path: str, table: Table) -> Table:
    def status(row: Mapping[str, Any]) -> str | None:
        answer = row.get("answer")
        return None if answer == "accept" else "rejected" if answer == "reject" else "ignored or not answered"

    kept, counts = _filtered(table, status)
    dropped = ("answer", "tokens", "options", "accept", "config", "meta")
    rows: Rows = []
    for number, row in kept:
        if isinstance(row, Mapping):
            plain = {key: value for key, value in row.items() if key not in dropped and not key.startswith("_")}
            if isinstance(row.get("accept"), list):
                chosen = row["accept"]
                single = isinstance(row.get("config"), Mapping) and row["config"].get("choice_style") == "single"
                plain["label"] = chosen[0] if single and len(chosen) == 1 else chosen
            row = plain
        rows.append((number, row))
    return Table(rows, f"{table.layout} of Prodigy", unit=table.unit, missing_is_empty=True,
                 notes=_left_out(path, counts))


# Argilla


def _is_argilla(rows: Sequence[Mapping[str, Any]]) -> bool:
    new = any(isinstance(row.get("fields"), Mapping) and ("responses" in row or "suggestions" in row) for row in rows)
    flat = any(key.endswith(".responses") for key in rows[0])
    old = all("status" in row and "annotation" in row for row in rows)
    return new or flat or old


def _argilla(path: str, table: Table) -> Table:
    """Records of Argilla, old and new; suggestions and predictions of models are no gold."""
    annotated = any(_argilla_answers(row) for _, row in table.rows if isinstance(row, Mapping))

    def status(row: Mapping[str, Any]) -> str | None:
        if str(row.get("status", "")).lower() == "discarded" or _discarded(row):
            return "discarded by the annotator"
        return "never annotated" if annotated and not _argilla_answers(row) else None

    kept, counts = _filtered(table, status)
    rows: Rows = []
    for number, row in kept:
        rows.append((number, _argilla_row(row, annotated) if isinstance(row, Mapping) else row))
    return Table(rows, f"{table.layout} of Argilla", unit=table.unit, notes=_left_out(path, counts))


def _argilla_answers(row: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Question -> submitted answers."""
    if "annotation" in row and "responses" not in row:
        validated = str(row.get("status", "")).lower() in ("validated", "edited")
        return {"annotation": [row["annotation"]]} if validated and row["annotation"] is not None else {}
    answers: dict[str, list[Any]] = {}
    responses = row.get("responses")
    if isinstance(responses, Mapping):
        for question, given in responses.items():
            entries = given if isinstance(given, list) else [given]
            answers[question] = [entry.get("value") for entry in entries
                                 if isinstance(entry, Mapping) and entry.get("status", "submitted") == "submitted"]
    for key, given in row.items():
        if key.endswith(".responses") and isinstance(given, list):
            states = row.get(f"{key}.status") or ["submitted"] * len(given)
            answers[key.removesuffix(".responses")] = [value for value, state in zip(given, states, strict=False)
                                                       if state == "submitted"]
    return {question: values for question, values in answers.items() if values}


def _discarded(row: Mapping[str, Any]) -> bool:
    states = [state for key, given in row.items() if key.endswith(".responses.status") for state in given or ()]
    responses = row.get("responses")
    for given in responses.values() if isinstance(responses, Mapping) else ():
        states += [entry.get("status") for entry in given if isinstance(entry, Mapping)] if isinstance(
            given, list) else []
    return bool(states) and set(states) == {"discarded"}


def _argilla_row(row: Mapping[str, Any], annotated: bool) -> Any:
    inputs = row.get("fields", row.get("inputs"))
    plain = dict(inputs) if isinstance(inputs, Mapping) else {}
    for key, value in row.items():
        if key in ("id", "text", "tokens") or (isinstance(value, str) and "." not in key and key not in (
                "status", "_server_id", "external_id", "prediction_agent", "annotation_agent", "event_timestamp")):
            plain.setdefault(key, value)
    for question, values in _argilla_answers(row).items() if annotated else ():
        if len({json.dumps(value, sort_keys=True) for value in values}) > 1:
            return Unreadable(f"{len(values)} annotators disagree on {question!r}; keep one response",
                              "annotators_disagree")
        plain["label" if question == "annotation" else question] = _argilla_value(values[0])
    return plain


def _argilla_value(value: Any) -> Any:
    """Spans as objects; the old form was ``[label, start, end]``."""
    if isinstance(value, list) and value and all(isinstance(x, list) and len(x) >= 3 and isinstance(x[0], str)
                                                 for x in value):
        return [{"label": x[0], "start": x[1], "end": x[2]} for x in value]
    return value


# Data sets with a form of their own


def _is_gliner(rows: Sequence[Mapping[str, Any]]) -> bool:
    return all("tokenized_text" in row for row in rows)


def _gliner(path: str, table: Table) -> Table:
    """GLiNER's training data: mentions by token indices of which the last belongs to the mention."""
    found = Found(tokens="tokenized_text", entities="ner" if any("ner" in row for _, row in table.rows) else None)
    return Table(table.rows, f"{table.layout} of GLiNER", unit=table.unit, found=found, ends="inclusive",
                 offsets="token", notes=list(table.notes))


def _is_snli(rows: Sequence[Mapping[str, Any]]) -> bool:
    return all({"gold_label", "sentence1", "sentence2"} <= row.keys() for row in rows)


def _snli(path: str, table: Table) -> Table:
    """Pairs of SNLI and MultiNLI; a pair on which no majority agreed has the label ``-``."""
    kept, counts = _filtered(table, lambda row: "no majority of annotators" if row["gold_label"] == "-" else None)
    found = Found("sentence1", pair="sentence2", labels=("gold_label",),
                  id="pairID" if all("pairID" in row for _, row in kept if isinstance(row, Mapping)) else None)
    return Table(kept, f"{table.layout}, pairs as in SNLI", unit=table.unit, found=found,
                 notes=_left_out(path, counts))


def _is_bioc(rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(isinstance(row.get("passages"), list) for row in rows)


def _bioc(path: str, table: Table) -> Table:
    """BioC documents: the passages stand in one text at their offsets, which the mentions count from its start."""
    labelled = any(_bioc_parts(document, "annotations") for _, document in table.rows)
    rows: Rows = []
    for number, document in table.rows:
        if not isinstance(document, Mapping) or not isinstance(document.get("passages"), list):
            rows.append((number, Unreadable("no BioC document: it has no list of passages")))
            continue
        row = {"id": document.get("id"), "text": _bioc_text(document)}
        if labelled:
            row["entities"] = [_bioc_mention(entry) for entry in _bioc_parts(document, "annotations")]
        rows.append((number, row))
    found = Found("text", entities="entities" if labelled else None, id="id")
    return Table(rows, "BioC documents", found=found)


def _bioc_parts(document: Any, name: str) -> list[Mapping[str, Any]]:
    """The annotations (or texts) of passages, and of their sentences where the passages have some."""
    parts: list[Mapping[str, Any]] = []
    for passage in document.get("passages", ()) if isinstance(document, Mapping) else ():
        if isinstance(passage, Mapping):
            sentences = [inner for inner in passage.get("sentences") or () if isinstance(inner, Mapping)]
            for holder in (passage, *sentences):
                parts += [entry for entry in holder.get(name) or () if isinstance(entry, Mapping)]
    return parts


def _bioc_text(document: Mapping[str, Any]) -> str:
    text, pieces = "", []
    for passage in document["passages"]:
        if isinstance(passage, Mapping):
            inner = [part for part in passage.get("sentences") or () if isinstance(part, Mapping)]
            pieces += [passage] if isinstance(passage.get("text"), str) else inner
    for piece in pieces:
        offset = piece.get("offset")
        if isinstance(offset, int) and len(text) < offset <= len(text) + 10**6:
            text += " " * (offset - len(text))
        elif text and not isinstance(offset, int):
            text += " "
        own = piece.get("text")
        text += own if isinstance(own, str) else ""
    return text


def _bioc_mention(entry: Mapping[str, Any]) -> dict[str, Any]:
    infons = entry.get("infons")
    label = infons.get("type") if isinstance(infons, Mapping) else None
    return {"text": entry.get("text"), "type": label, "locations": entry.get("locations")}


def _is_doccano(rows: Sequence[Mapping[str, Any]]) -> bool:
    return all(isinstance(row.get("data"), str) and "text" not in row for row in rows)


def _doccano(path: str, table: Table) -> Table:
    """doccano's form with the text in ``data``."""
    rows = [(number, {"text" if key == "data" else key: value for key, value in row.items()}
             if isinstance(row, Mapping) else row) for number, row in table.rows]
    return Table(rows, f"{table.layout} of doccano", unit=table.unit, notes=list(table.notes))


EXPORTS: tuple[tuple[Callable[[Sequence[Mapping[str, Any]]], bool], Callable[[str, Table], Table]], ...] = (
    (_is_label_studio, _label_studio),
    (_is_label_studio_min, _label_studio_min),
    (_is_prodigy, _prodigy),
    (_is_argilla, _argilla),
    (_is_gliner, _gliner),
    (_is_snli, _snli),
    (_is_bioc, _bioc),
    (_is_doccano, _doccano),
)
