"""JSON as annotation tools and data sets write it: rows in one form, annotation status honoured.

Each export is `(sniff, read)`: whether the rows are of this tool, and the table with plain columns.
Texts that were rejected, skipped or never annotated are not gold: they are left out and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pipelines.corpora.corpus import ColumnNames, Table
from pipelines.corpora.layouts import argilla, bioc, label_studio
from pipelines.examples import Fields, JsonObject

Objects = Sequence[Fields]


def with_plain_columns(table: Table) -> Table:
    """A table as it is, or in plain columns if an export of a known tool."""
    table.rows = [(number, _flattened(value)) for number, value in table.rows]
    objects = table.objects
    for sniff, read in EXPORTS:
        if objects and sniff(objects):
            return read(table)
    return table


def _flattened(value: object) -> object:
    """spaCy's `[text, {"entities": […]}]` as an object."""
    match value:
        case [str(text), dict(answers)]:
            return {"text": text, **answers}
    return value


# Prodigy

_PRODIGY_REASONS: dict[object, str | None] = {"accept": None, "reject": "rejected"}
_PRODIGY_KEYS = ("answer", "tokens", "options", "accept", "config", "meta")


def _is_prodigy(objects: Objects) -> bool:
    answers = [row["answer"] for row in objects if "answer" in row]
    are_known = all(answer in ("accept", "reject", "ignore") for answer in answers)
    return bool(answers) and are_known and 2 * len(answers) >= len(objects)


def _read_prodigy(table: Table) -> Table:
    table = table.without(
        lambda row: _PRODIGY_REASONS.get(row.get("answer"), "ignored or not answered")
    )
    table.layout += " of Prodigy"
    table.missing_is_empty = True
    return table.mapped(_prodigy_row)


def _prodigy_row(row: Fields) -> JsonObject:
    plain = {
        key: value
        for key, value in row.items()
        if key not in _PRODIGY_KEYS and not key.startswith("_")
    }
    chosen = row.get("accept")
    if isinstance(chosen, list):
        config = row.get("config")
        is_single = isinstance(config, Mapping) and config.get("choice_style") == "single"
        plain["label"] = chosen[0] if is_single and len(chosen) == 1 else chosen
    return plain


# Data sets with a form of their own


def _is_gliner(objects: Objects) -> bool:
    return all("tokenized_text" in row for row in objects)


def _read_gliner(table: Table) -> Table:
    """Training data of GLiNER: token indices, the last of which belongs to the mention."""
    has_mentions = any("ner" in row for row in table.objects)
    names = ColumnNames(tokens="tokenized_text", entities="ner" if has_mentions else None)
    layout = f"{table.layout} of GLiNER"
    return replace(table, layout=layout, column_names=names, ends="inclusive", offsets="token")


def _is_snli(objects: Objects) -> bool:
    return all({"gold_label", "sentence1", "sentence2"} <= row.keys() for row in objects)


def _read_snli(table: Table) -> Table:
    """Pairs of SNLI and MultiNLI; a pair without a majority of annotators has the label `-`."""
    table = table.without(
        lambda row: "no majority of annotators" if row["gold_label"] == "-" else None
    )
    id_name = "pairID" if all("pairID" in row for row in table.objects) else None
    names = ColumnNames("sentence1", pair="sentence2", labels=("gold_label",), id=id_name)
    return replace(table, layout=f"{table.layout}, pairs as in SNLI", column_names=names)


def _is_doccano(objects: Objects) -> bool:
    return all(isinstance(row.get("data"), str) and "text" not in row for row in objects)


def _read_doccano(table: Table) -> Table:
    """Exports of older versions of doccano, with the text in `data`."""
    table.layout += " of doccano"
    return table.mapped(
        lambda row: {"text" if key == "data" else key: value for key, value in row.items()}
    )


EXPORTS: tuple[tuple[Callable[[Objects], bool], Callable[[Table], Table]], ...] = (
    (label_studio.sniff, label_studio.read),
    (label_studio.sniff_min, label_studio.read_min),
    (_is_prodigy, _read_prodigy),
    (argilla.sniff, argilla.read),
    (_is_gliner, _read_gliner),
    (_is_snli, _read_snli),
    (bioc.sniff, bioc.read),
    (_is_doccano, _read_doccano),
)
