"""The findings of an audit as text for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from pipelines.checks.findings import Audit, Percentiles, Shared, Split, Values
from pipelines.corpora.corpus import Fault, printable
from pipelines.formatting import score, some, text_table

MOST_LINES = 5
MOST_CLASSES = 20
MOST_PAIRS = 3


def as_text(audit: Audit, *, most_warnings: int | None = None) -> str:
    """The audit as tables, with the faults below them; control characters are escaped.

    Args:
        most_warnings: of one kind in one file; the others are counted.
    """
    paths = [split.path for split in audit.splits] + [pair.against for pair in audit.shared]
    names = _names(paths)
    blocks = [_split_table(audit.splits, names)]
    blocks += [list(_described(split, names[split.path])) for split in audit.splits]
    blocks += [_carried_table(audit.splits, names), _shared_table(audit.shared, names)]
    blocks += [list(_contradictions(pair, names)) for pair in audit.shared]
    blocks += [list(_counts(split, names[split.path])) for split in audit.splits]
    of_rows = [fault for split in audit.splits for fault in split.faults]
    warnings = [fault for fault in of_rows if fault.is_warning]
    faults = [*audit.problems, *(str(fault) for fault in of_rows if not fault.is_warning)]
    if audit.warnings or warnings:
        lines = [*audit.warnings, *_first(warnings, most_warnings)]
        blocks.append(_listed("warning", lines, len(audit.warnings) + len(warnings)))
    blocks.append(_listed("fault", faults, len(faults)))
    return "\n\n".join("\n".join(map(_one_line, block)) for block in blocks if block)


def _one_line(line: str) -> str:
    return printable(line).replace("\n", "\\n")


def _listed(what: str, lines: Sequence[str], count: int) -> list[str]:
    plural = what if count == 1 else f"{what}s"
    return [f"{count} {plural}:", *lines] if lines else [f"no {plural}"]


def _first(faults: Sequence[Fault], most: int | None) -> Iterator[str]:
    """The first faults of each kind in each file, and behind them how many more there are."""
    counts = Counter((fault.path, fault.kind) for fault in faults)
    shown: Counter[tuple[str, str]] = Counter()
    for fault in faults:
        key = fault.path, fault.kind
        shown[key] += 1
        if most is None or shown[key] <= most:
            yield str(fault)
        if shown[key] == most and counts[key] > most:
            more = counts[key] - most
            yield f"{fault.path}: {more} more of {fault.kind}; `pipelines check` lists them"


def _names(paths: Sequence[str]) -> dict[str, str]:
    """The last part of each path, if all are different."""
    last = {path: path.rsplit("/", 1)[-1] for path in paths}
    return last if len(set(last.values())) == len(last) else {path: path for path in last}


def _split_table(splits: Sequence[Split], names: Mapping[str, str]) -> list[str]:
    answers = {split.answer for split in splits if split.labelled} or {"spans"}
    columns = {
        "file": [names[split.path] for split in splits],
        "rows": [str(split.rows) for split in splits],
        "bad": [str(split.bad_rows) for split in splits],
        "repeated": [str(split.repeated) for split in splits],
    }
    if "spans" in answers:
        columns["mentions"] = [_cell(split, "spans", split.mentions) for split in splits]
        columns["types"] = [_cell(split, "spans", len(split.types)) for split in splits]
        columns["no mention"] = [_share(split.no_mention) for split in splits]
    if "label" in answers:
        columns["classes"] = [_cell(split, "label", len(split.classes)) for split in splits]
        columns["no class"] = [_share(split.no_class) for split in splits]
    if "value" in answers:
        columns["min/median/max"] = [_values(split.values) for split in splits]
    has_text = any(split.characters.max for split in splits) or not any(s.words.max for s in splits)
    columns[f"{'words' if has_text else 'steps'} 50/95/max"] = [_lengths(s.words) for s in splits]
    if has_text:
        columns["characters"] = [_lengths(split.characters) for split in splits]
    if splits and splits[0].tokens:
        columns["tokens"] = [_lengths(split.tokens) for split in splits]
    return text_table(list(columns), list(zip(*columns.values(), strict=True)))


def _cell(split: Split, answer: str, count: int) -> str:
    return str(count) if split.answer == answer else "-"


def _values(values: Values | None) -> str:
    if values is None:
        return "-"
    return f"{values.min:.4g}/{values.median:.4g}/{values.max:.4g}"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _lengths(lengths: Percentiles | None) -> str:
    return "-" if lengths is None else f"{lengths.p50}/{lengths.p95}/{lengths.max}"


def _described(split: Split, name: str) -> Iterator[str]:
    yield f"{name}: {split.layout}"
    yield from (f"  {note}" for note in split.notes)
    if split.first_example:
        yield f"  first: {split.first_example}"


def _counts(split: Split, name: str) -> Iterator[str]:
    if len(split.types) > 1:
        counts = [f"{count} {label}" for label, count in split.types.items()]
        yield f"{name}: {some(counts, MOST_CLASSES)}"
    if split.classes:
        total = sum(split.classes.values())
        counts = [
            f"{label} {count} ({count / total:.1%})" for label, count in split.classes.items()
        ]
        yield f"{name}: {some(counts, MOST_CLASSES)}"
    if split.cut_off:
        cut = split.cut_off
        named = f": {some(cut.ids, 5)}" if cut.ids else ""
        yield (
            f"{name}: {cut.max_length} tokens are too few for {cut.examples} examples with "
            f"{cut.mentions} mentions{named}"
        )


def _carried_table(splits: Sequence[Split], names: Mapping[str, str]) -> list[str]:
    labelled = [split for split in splits if split.carried]
    if not labelled:
        return []
    rows = []
    for split in labelled:
        cells = [
            f"{split.mentions - carried.lost_mentions} ({score(carried.f1)})"
            for carried in split.carried.values()
        ]
        rows.append([names[split.path], *cells])
    return text_table(["mentions that come back (strict F1)", *labelled[0].carried], rows)


def _shared_table(shared: Sequence[Shared], names: Mapping[str, str]) -> list[str]:
    head = ["file", "against", "duplicates", "near", "mentions seen there", "such as"]
    rows = []
    for pair in shared:
        ids = [
            f"{id} {'=' if similarity == 1 else '~'} {other_id}"
            for id, other_id, similarity in pair.pairs[:MOST_PAIRS]
        ]
        counts = [str(pair.exact), str(pair.near)]
        seen = _share(pair.seen_mentions)
        rows.append([names[pair.path], names[pair.against], *counts, seen, ", ".join(ids)])
    if all(pair.seen_mentions is None for pair in shared):
        head.pop(4)
        rows = [row[:4] + row[5:] for row in rows]
    return text_table(head, rows, prose=("against", "such as"))


def _contradictions(pair: Shared, names: Mapping[str, str]) -> Iterator[str]:
    if not pair.contradicting:
        return
    yield (
        f"{pair.contradicting} of {pair.exact} texts of {names[pair.path]} have another class in "
        f"{names[pair.against]}:"
    )
    for id, label, other_id, other_label in pair.contradictions[:MOST_LINES]:
        yield f"  {id} {label}, there {other_id} {other_label}"
