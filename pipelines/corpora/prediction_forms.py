"""Answers of other systems in the forms that these write, not yet aligned with examples."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pipelines.alignment.strings import repair_status
from pipelines.corpora.corpus import Columns, Table, Unreadable, fault_lines, printable
from pipelines.corpora.layouts import brat, conll, docbin
from pipelines.corpora.source import Source
from pipelines.corpora.strict_json import loads
from pipelines.corpora.tags import canonical_tags
from pipelines.errors import DataError
from pipelines.examples import Fields, JsonObject, Span, span_from_json
from pipelines.formatting import short_repr
from pipelines.spans import TokenRange, detect_scheme, split_tag, tags_to_token_ranges

_TEXTS = "Hugging Face text classification"
LocatedValue = tuple[str, object]  # (where in the file, such as `line 3`, value)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a system answered to one text.

    Attributes:
        location: where it is in the file, such as `line 3`.
        id: the id that the form gives it.
        text: the text, where the form repeats it.
        spans: character offsets.
        words: what the form says that each span covers, `None` where it does not say.
        tokens, ranges: for columns of tokens, the tokens and the mentions as token ranges.
        classes: scores by class, the best first.
        mentions: every string that a generator wrote, placed or not; see `Prediction.mentions`.
    """

    location: str
    id: str | None = None
    text: str | None = None
    spans: tuple[Span, ...] | None = None
    words: tuple[str | None, ...] = ()
    tokens: tuple[str, ...] | None = None
    ranges: tuple[TokenRange, ...] = ()
    classes: Mapping[str, float | None] | None = None
    mentions: tuple[Fields, ...] | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """All answers of a file, and in words what they were read as."""

    name: str
    answers: list[Answer]
    notes: list[str] = field(default_factory=list)


def read_form(source: Source, rows: Sequence[LocatedValue] | None, columns: Columns) -> Form | None:
    """Reads the form that a file has; `None` where it is none of another system's.

    Args:
        rows: the values of a JSON or JSON lines file; `None` for any other file.

    Raises:
        DataError: naming each row that cannot be understood.
        UserError: when the file as a whole cannot be read.
    """
    if rows is not None:
        return _json_form(source.path, rows)
    if source.is_folder:
        return _read_brat(source)
    if docbin.sniff(source):
        return _read_docbin(source)
    return _read_conll(source, columns)


def _json_form(path: str, rows: Sequence[LocatedValue]) -> Form | None:
    values = [value for _, value in rows if not isinstance(value, str)]
    if not values:
        return None
    objects = [value for value in values if isinstance(value, dict)]
    lists = [value for value in values if isinstance(value, list)]
    if len(objects) == len(values):
        return _form_of_objects(path, rows, objects)
    if len(lists) < len(values):
        return None
    items = [item for value in lists for item in value]
    are_scores = [isinstance(x, dict) and x.keys() == {"label", "score"} for x in items]
    if items and all(are_scores):
        return _each(f"scores of the classes ({_TEXTS})", path, rows, _all_classes)
    return _each(_entity_name(items), path, rows, _entities)


def _form_of_objects(
    path: str, rows: Sequence[LocatedValue], objects: Sequence[JsonObject]
) -> Form | None:
    keys = {key for value in objects for key in value}
    if "extractions" in keys:
        return _each("langextract's extractions", path, rows, _langextract)
    if {"label", "score"} <= keys and not {"start", "spans", "scores", "value"} & keys:
        return _each(f"classes, whose score alone is not kept ({_TEXTS})", path, rows, _one_class)
    if _are_entities(objects) and not {"id", "spans"} & keys:
        # One flat list is the answer to one text.
        return _each(_entity_name(objects), path, [("the list", list(objects))], _entities)
    if {"entities", "ents"} & keys and not {"spans", "label", "value"} & keys:
        holders = [value.get("entities", value.get("ents")) for value in objects]
        items = [item for holder in holders if isinstance(holder, list) for item in holder]
        return _each(_entity_name(items), path, rows, _entities)
    return None


def _each(
    name: str, path: str, rows: Sequence[LocatedValue], read: Callable[[str, Any], Answer]
) -> Form:
    """Reads each row, and reports all faults at once."""
    answers, faults = [], []
    for location, value in rows:
        try:
            if isinstance(value, Unreadable):
                raise ValueError(value.reason)
            # A line that could not be parsed is parsed again for its error.
            answers.append(read(location, loads(value) if isinstance(value, str) else value))
        except (ValueError, TypeError, OverflowError) as error:
            id = value.get("id") if isinstance(value, dict) else None
            named = "" if id is None else f" (id {short_repr(id)})"
            faults.append(printable(f"{path}, {location}{named}: {error}"))
    if faults:
        raise DataError("\n".join([f"{path} was read as {name}:", *fault_lines(faults)]))
    return Form(name, answers)


def _id_of(value: Fields, key: str = "id") -> str | None:
    id = value.get(key)
    if id is None or (isinstance(id, str | int) and not isinstance(id, bool)):
        return None if id is None else str(id)
    raise ValueError(f'"{key}" is {short_repr(id)}; wanted a string or a whole number')


def _text_of(value: Fields) -> str | None:
    text = value.get("text")
    return text if isinstance(text, str) else None


def _are_entities(items: Sequence[object]) -> bool:
    return all(isinstance(item, dict) and {"start", "end"} <= item.keys() for item in items)


def _entity_name(items: Sequence[object]) -> str:
    keys = {key for item in items if isinstance(item, dict) for key in item}
    if "entity_group" in keys:
        return "entity groups (Hugging Face token classification)"
    if "entity" in keys:
        return "tagged tokens (Hugging Face token classification), joined by their B and I"
    return "mentions with their text (GLiNER)" if "text" in keys else "lists of mentions"


# Mentions


def _entities(location: str, value: object) -> Answer:
    """`[{"start", "end", "label", …}]`, or an object that holds such a list beside its id."""
    holder = value if isinstance(value, dict) else {}
    items = holder.get("entities", holder.get("ents")) if isinstance(value, dict) else value
    if not isinstance(items, list):
        raise ValueError(f"the mentions are {short_repr(items)}; wanted a list")
    id, text = _id_of(holder), _text_of(holder)
    if any(isinstance(item, dict) and "entity" in item for item in items):
        # A token is spelled as its tokenizer has it, which cannot be compared with the text.
        return Answer(location, id, text, spans=_joined_tokens(items))
    spans = tuple(_entity(item) for item in items)
    words = tuple(_word(item) for item in items)
    return Answer(location, id, text, spans=spans, words=words)


def _entity(item: object) -> Span:
    if isinstance(item, list) and len(item) == 3:
        item = dict(zip(("start", "end", "label"), item, strict=True))
    if not isinstance(item, dict):
        raise ValueError(
            f"a mention is {short_repr(item)}; wanted an object with start, end and label"
        )
    if item.get("start") is None or item.get("end") is None:
        raise ValueError(
            f"a mention without offsets: {short_repr(item)}; a slow tokenizer gives none, "
            "run the model with a fast one"
        )
    names = ("entity_group", "label", "type", "class")
    label = next((item[name] for name in names if item.get(name) is not None), None)
    score = item.get("score", item.get("confidence"))
    return span_from_json(
        {"start": item["start"], "end": item["end"], "label": label, "score": score}
    )


def _word(item: object) -> str | None:
    word = item.get("word", item.get("text")) if isinstance(item, dict) else None
    return word if isinstance(word, str) else None


def _joined_tokens(items: Sequence[object]) -> tuple[Span, ...]:
    """Joins the tokens of one mention, as `aggregation_strategy="simple"` does; mean score."""
    groups: list[list[Span]] = []
    last_index: int | None = None
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("entity"), str):
            raise ValueError(f'a tagged token without its "entity": {short_repr(item)}')
        prefix, label = split_tag(item["entity"])
        if prefix == "O":
            continue
        token = _entity({**item, "label": label or item["entity"]})
        index = item.get("index")
        is_next = last_index is not None and index == last_index + 1
        last_index = index if isinstance(index, int) else None
        opens = prefix in ("B", "S") or not groups or groups[-1][-1].label != token.label
        if opens or not is_next:
            groups.append([token])
        else:
            groups[-1].append(token)
    return tuple(_joined(group) for group in groups)


def _joined(tokens: Sequence[Span]) -> Span:
    scores = [token.score for token in tokens if token.score is not None]
    score = sum(scores) / len(scores) if scores else None
    return Span(tokens[0].start, tokens[-1].end, tokens[0].label, score)


def _langextract(location: str, value: Fields) -> Answer:
    spans: list[Span] = []
    mentions: list[JsonObject] = []
    text = _text_of(value)
    for item in value.get("extractions") or ():
        if not isinstance(item, dict) or not isinstance(item.get("extraction_text"), str):
            raise ValueError(f'an extraction without its "extraction_text": {short_repr(item)}')
        string, label = item["extraction_text"], item.get("extraction_class")
        mention = {"string": string, "label": str(label)}
        interval = item.get("char_interval") or {}
        start, end = interval.get("start_pos"), interval.get("end_pos")
        if start is None or end is None:
            mentions.append(mention | {"status": "not_in_text", "place": None})
            continue
        span = span_from_json({"start": start, "end": end, "label": label})
        covered = string if text is None else text[span.start : span.end]
        status = repair_status(string, covered) or str(item.get("alignment_status") or "fuzzy")
        mentions.append(mention | {"status": status, "place": [span.start, span.end]})
        spans.append(span)
    id = _id_of(value, "id" if "id" in value else "document_id")
    # No words to compare: a fuzzy match covers others than were generated, as its status says.
    return Answer(location, id, text, spans=tuple(spans), mentions=tuple(mentions))


# Classes


def _one_class(location: str, value: Fields) -> Answer:
    label, score = _class_and_score(value)
    return Answer(location, _id_of(value), _text_of(value), classes={label: score})


def _all_classes(location: str, value: Sequence[Fields]) -> Answer:
    scores: dict[str, float | None] = {}
    for item in value:
        label, score = _class_and_score(item)
        if label in scores:
            raise ValueError(f"the class {label!r} has two scores")
        scores[label] = score
    return Answer(location, classes=_best_first(scores))


def _best_first(scores: Mapping[str, float | None]) -> dict[str, float | None]:
    return dict(sorted(scores.items(), key=lambda pair: -(pair[1] or 0.0)))


def _class_and_score(item: Fields) -> tuple[str, float | None]:
    label = item.get("label")
    if not isinstance(label, str):
        raise ValueError(f'"label" is {short_repr(label)}; wanted the name of a class, a string')
    span = span_from_json({"start": 0, "end": 0, "label": label, "score": item.get("score")})
    return label, span.score


# Layouts of corpora


def _rows_of(table: Table) -> list[LocatedValue]:
    return [(f"{table.unit} {number}", value) for number, value in table.rows]


def _read_brat(source: Source) -> Form:
    table = brat.read(source, Columns())
    form = _each("brat documents", source.path, _rows_of(table), _brat_document)
    return replace(form, notes=table.notes)


def _brat_document(location: str, value: Fields) -> Answer:
    spans, words = [], []
    for entity in value["entities"]:
        if not isinstance(entity, dict):
            raise ValueError(
                f"{short_repr(entity)} is not a mention; wanted `T1<tab>Type start end<tab>text`"
            )
        if len(entity["offsets"]) != 1:
            raise ValueError(
                f"{entity['id']} ({short_repr(entity['text'])}) is in pieces; write it as one span"
            )
        [[start, end]] = entity["offsets"]
        spans.append(span_from_json({"start": start, "end": end, "label": entity["type"]}))
        words.append(entity["text"])
    return Answer(location, value["id"], value["text"], spans=tuple(spans), words=tuple(words))


def _read_docbin(source: Source) -> Form:
    documents = docbin.documents(source)
    has_classes = any(document.cats for document in documents)
    answers = []
    for number, document in enumerate(documents):
        spans = tuple(Span(e.start_char, e.end_char, e.label_) for e in document.ents)
        scores = {str(name): float(score) for name, score in document.cats.items()}
        classes = _best_first(scores) if has_classes else None
        location = f"document {number}"
        answers.append(Answer(location, text=document.text, spans=spans, classes=classes))
    return Form("spaCy documents", answers)


def _read_conll(source: Source, columns: Columns) -> Form | None:
    if not source.head or not conll.sniff(source):
        return None
    width = conll.n_columns(source)
    # The columns that a user names are those of the gold file.
    table = conll.read(source, Columns(entities_column=str(width - 1)))
    name = "tokens with a tag"
    if width > 2:
        name = f"tokens with a predicted tag in the last of {width} columns"
    rows = _rows_of(table)
    answers = _each(name, source.path, rows, _tagged_sentence).answers
    tags_of, _ = canonical_tags([row["tags"] for row in table.objects])
    scheme = detect_scheme(tags_of)
    read = []
    for answer, tags in zip(answers, tags_of, strict=True):
        ranges = tags_to_token_ranges(tags, scheme=scheme)
        named = tuple((first, past, label or columns.default_type) for first, past, label in ranges)
        read.append(replace(answer, ranges=named))
    return Form(name, read)


def _tagged_sentence(location: str, value: Fields) -> Answer:
    if value["tags"] is None or any(re.fullmatch(r"[_-]", tag) for tag in value["tags"]):
        raise ValueError("a token without a predicted tag")
    return Answer(location, value["id"], tokens=tuple(value["tokens"]), spans=())
