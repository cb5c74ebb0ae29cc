"""A report as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.evaluation.errors import KINDS
from pipelines.tasks import TASKS, metric

AUDIT_ROWS = 20


def report_as_text(report: dict[str, Any]) -> str:
    """The report's main numbers, in tables; scores times 100."""
    resampling = report["resampling"]
    runs = report.get("runs", [])
    lines = [f"{report['task'].replace('_', ' ')}: {report['examples']} examples"
             + (f", mean of {len(runs)} runs" if runs else "")
             + f"; 95 % intervals from {resampling['resamples']} resamples of {resampling['units']} "
             + f"{resampling['unit']}s"]
    if report["missing_counted_as_empty"]:
        lines.append(f"{report['missing_counted_as_empty']:g} missing answers are counted as empty")
    sections = _spans(report) if report["task"] == "span_extraction" else _numbers(report)
    return "\n".join([*lines, *sections, *_spread(report)])


def _spans(report: dict[str, Any]) -> Iterator[str]:
    names = ("strict", "exact", "partial", "type", "string_set", "string_multiset")
    yield from _table(("score", "P", "R", "F1", "gold", "predicted", "95 % interval"), [
        (name, *_prf(report[name]), *_counts(report[name]), _interval(report[name].get("interval"))) for name in names
    ] + [
        (f"{name} (baseline, strict)", *_prf(row), *_counts(row), "")
        for name, row in report.get("baselines", {}).items()
    ])
    strict = report["strict"]
    if len(strict["per_type"]) > 1:
        yield from _table(("strict, per type", "P", "R", "F1", "gold", "predicted"), [
            (label, *_prf(row), *_counts(row)) for label, row in strict["per_type"].items()
        ] + [(name, *_prf(strict[name]), "", "") for name in ("macro", "weighted")])
    if "tokens" in report:
        yield from _tokens(report["tokens"])
    yield from _table(("mistakes", "gold", "predicted", "F1 lost", "F1 if mended", ""), [
        (kind, _count(row["gold"]), _count(row["predicted"]), _hundred(row["lost"]), _hundred(row["f1_if_mended"]),
         KINDS[kind]) for kind, row in report["error_budget"].items() if row["gold"] or row["predicted"]])
    yield from _table(("slices, strict", "P", "R", "F1", "gold", "predicted"), [
        (f"{name}: {value}", *_prf(row), *_counts(row)) for name, values in report["slices"].items()
        if name != "no_mention" for value, row in values.items()])
    alarms = report["slices"]["no_mention"]
    if alarms["examples"]:
        yield (f"false alarms in {_count(alarms['with_false_alarm'])} of {alarms['examples']} examples without a "
               f"mention ({_hundred(alarms['rate'])} %)")
    yield from _confidence(report)
    yield from _audit(report.get("label_audit", []))


def _tokens(tokens: dict[str, Any]) -> Iterator[str]:
    yield from _table(("tags", "P", "R", "F1", "gold", "predicted"), [
        (tag, *_prf(row), *_counts(row)) for tag, row in tokens["per_tag"].items()
    ] + [(name, *_prf(tokens[name]), "", "") for name in ("macro", "weighted")])
    yield (f"accuracy {_hundred(tokens['accuracy'])}, without O {_hundred(tokens['accuracy_without_o'])}; "
           f"weighted entity F1 {_hundred(tokens['weighted_entity_f1'])}")
    yield (f"seqeval F1: default {_hundred(tokens['seqeval_default']['f1'])}, strict "
           f"{_hundred(tokens['seqeval_strict']['f1'])}: {tokens['seqeval_note']}")
    yield from _confusion(tokens.get("confusion"))


def _confusion(confusion: dict[str, Any] | None) -> Iterator[str]:
    if confusion and "matrix" in confusion and len(confusion["labels"]) <= 20:
        yield from _table(("gold \\ predicted", *confusion["labels"]),
                          [(label, *map(str, row))
                           for label, row in zip(confusion["labels"], confusion["matrix"], strict=True)])


def _confidence(report: dict[str, Any]) -> Iterator[str]:
    calibration, threshold = report.get("calibration", {}), report.get("threshold")
    if calibration.get("ece") is not None:
        yield (f"confidence of {calibration['answers']:g} answers: expected calibration error "
               f"{_hundred(calibration['ece'])}, area under risk and coverage {_hundred(calibration['aurc'])}")
    if threshold and "cut" in threshold:
        yield (f"threshold {threshold['cut']:.4g}: F1 {_hundred(threshold['before'])} -> "
               f"{_hundred(threshold['after'])} here, gain {_hundred(threshold['gain'])} "
               f"{_interval(threshold.get('interval'))}; {_hundred(threshold['tuning']['before'])} -> "
               f"{_hundred(threshold['tuning']['after'])} where it was tuned")


def _audit(entries: Sequence[dict[str, Any]]) -> Iterator[str]:
    """One row for all disagreements about the same strings."""
    def shown(span: dict[str, Any] | None) -> str:
        return "nothing" if span is None else f"{span['label']} {span['string']!r}"

    patterns: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for entry in entries:
        patterns.setdefault((shown(entry["gold"]), shown(entry["answer"])), []).append(entry)
    yield from _table((f"label audit: {len(entries)} mentions", "most runs say", "times", "F1 lost", "such as id"), [
        (gold, answer, str(len(alike)), _hundred(alike[0]["pattern_cost"]), alike[0]["id"])
        for (gold, answer), alike in list(patterns.items())[:AUDIT_ROWS]])


def _numbers(report: dict[str, Any]) -> Iterator[str]:
    task = TASKS[report["task"]]
    rows = []
    for path in task.metrics:
        value, owner = metric(report, path), path.split(".")
        interval = report.get(f"{path}_interval") or (metric(report, f"{owner[0]}.interval") if owner[1:] else None)
        scale = 100 if task.answer == "label" else 1
        rows.append((path, "" if value is None else f"{scale * value:.4g}", _interval(interval, scale)))
    yield from _table(("score", "", "95 % interval"), rows)
    yield from _table(("per class", "P", "R", "F1", "gold", "predicted"), [
        (label, *_prf(row), *_counts(row)) for label, row in report.get("per_class", {}).items()])
    yield from _confusion(report.get("confusion"))
    for name, scores in report.get("baselines", {}).items():
        yield f"baseline {name}: " + ", ".join(f"{key} {value:.4g}" for key, value in scores.items()
                                               if value is not None)
    yield from _confidence(report)


def _spread(report: dict[str, Any]) -> Iterator[str]:
    rows = [(path, f"{row['mean']:.4g}", f"{row['sd']:.2g}", f"{row['min']:.4g}", f"{row['max']:.4g}")
            for path, row in report.get("spread", {}).items() if row is not None]
    yield from _table(("over the runs", "mean", "sd", "least", "greatest"), rows)


def _prf(row: dict[str, Any]) -> tuple[str, str, str]:
    return _hundred(row["precision"]), _hundred(row["recall"]), _hundred(row["f1"])


def _counts(row: dict[str, Any]) -> tuple[str, str]:
    return _count(row["support"]), _count(row["predicted"])


def _count(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")  # a mean over runs need not be whole


def _hundred(score: float) -> str:
    return f"{100 * score:.2f}"


def _interval(ends: Sequence[float] | None, scale: int = 100) -> str:
    return f"[{scale * ends[0]:.4g}, {scale * ends[1]:.4g}]" if ends else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns that are as wide as they need be, the first to the left, numbers to the right; nothing without rows."""
    if not rows:
        return
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    yield ""
    for row in (head, *rows):
        cells = [cell.ljust(width) if i == 0 or not _is_number(rows[0][i]) else cell.rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths, strict=True))]
        yield "  ".join(cells).rstrip()


def _is_number(cell: str) -> bool:
    return cell.replace(".", "").replace("-", "").isdigit()
