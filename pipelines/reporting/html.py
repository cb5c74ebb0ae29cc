"""The page of one report: its numbers, pictures and examples, in one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.evaluation.errors import KINDS
from pipelines.examples import Example, Prediction, joined_by_id
from pipelines.reporting import plots
from pipelines.reporting.browser import browser
from pipelines.reporting.page import (
    Cell,
    Picture,
    Section,
    Table,
    count,
    hundred,
    interval,
    interval_of,
    metric_name,
    scale_of,
    seconds,
    short_count,
    size,
    write_page,
)
from pipelines.tasks import TASKS, Task, metric

SPAN_SCORES = {
    "strict": "offsets and type right",
    "exact": "offsets right",
    "partial": "overlap; half a credit where offsets differ",
    "type": "overlap and type right",
    "string_set": "distinct strings of each example",
    "string_multiset": "strings of each example, repeats counted",
}
COUNTED = ("P", "R", "F1", "gold", "predicted")
AUDIT_ROWS = 50


def write_report(report: dict[str, Any], examples: Sequence[Example], predictions: Sequence[Prediction],
                 out: str | Path, *, trainer_log: Sequence[Mapping[str, Any]] | None = None,
                 title: str | None = None) -> None:
    """Writes a page that can be read, browsed and printed without a network.

    Args:
        report: what a task's ``evaluate`` made of these examples and predictions, with ``cost`` where it is known.
        examples: with gold answers.
        predictions: in any order; a missing one is shown as empty.
        out: the HTML file.
        trainer_log: the trainer's ``log_history``; adds the learning curves.
        title: by default the task.

    Raises:
        DataError: when predictions have other ids than the examples.
    """
    task = TASKS[report["task"]]
    pairs = joined_by_id(examples, predictions, allow_missing=lambda id: Prediction(id, spans=(), label=()))
    sections = [section for section in (
        Section("scores", "Scores", list(_scores(report, task))),
        Section("training", "Training", [Picture(picture, name) for name, picture in
                                         plots.training_curves(trainer_log or ()).items()]),
        Section("errors", "Where the errors are", list(_errors(report))),
        Section("confusion", "Confusion", list(_confusion(report))),
        Section("slices", "Parts of the corpus", list(_slices(report))),
        Section("confidence", "Confidence", list(_confidence(report))),
        Section("runs", "Runs", list(_runs(report, task))),
        Section("audit", "Label audit", list(_audit(report))),
        Section("cost", "Cost", list(_cost(report))),
    ) if section.parts]
    write_page("report.html", out, title=title or report["task"].replace("_", " ").capitalize(),
               headline=headline(report, task), facts=_facts(report), sections=sections,
               browser=browser(pairs, task.answer), spans=task.answer == "spans", kinds=KINDS)


def headline(report: dict[str, Any], task: Task) -> tuple[str, str, str]:
    """Name, value and interval of the number that decides."""
    path, scale = task.primary_metric, scale_of(task)
    value = metric(report, path)
    return (metric_name(path), "" if value is None else f"{scale * value:.4g}",
            interval(interval_of(report, path), scale=scale))


def _facts(report: dict[str, Any]) -> str:
    resampling, runs = report["resampling"], report.get("runs", ())
    facts = [f"{report['examples']:,} examples" + (f" of {report['split']}" if "split" in report else ""),
             f"95 % intervals from {resampling['resamples']} resamples of {resampling['units']} {resampling['unit']}s"]
    if runs:
        facts.insert(1, f"mean of {len(runs)} runs; the examples show the first of them")
    if report["missing_counted_as_empty"]:
        facts.append(f"{count(report['missing_counted_as_empty'])} missing answers counted as empty")
    return "; ".join(facts) + "."


def _scores(report: dict[str, Any], task: Task) -> Iterator[Table | Picture | str]:
    baselines = report.get("baselines", {})
    if task.name != "span_extraction":
        yield from _numbers(report, task)
        return
    rows = [(name.replace("_", " "), report[name]) for name in SPAN_SCORES]
    hollow = [(name.replace("_", " "), row) for name, row in baselines.items()]
    yield Picture(plots.scores_with_intervals(
        [(name, row["f1"], row.get("interval"), False) for name, row in rows]
        + [(name, row["f1"], None, True) for name, row in hollow]), "F1 with 95 % intervals",
        "Baselines (hollow) are scored strictly." if hollow else "")
    yield Table(("score", *COUNTED, "95 % interval", "meaning"), [
        (name, *_counted(row), interval(row.get("interval")), SPAN_SCORES[name.replace(" ", "_")]) for name, row in rows
    ] + [(name, *_counted(row), "", "baseline, strict") for name, row in hollow],
        note="Times 100. Nothing to find and nothing predicted is 100.", prose=("meaning",))
    strict = report["strict"]
    if len(strict["per_type"]) > 1:
        yield _per_label("Strict, by type", strict["per_type"], {name: strict[name] for name in ("macro", "weighted")})
    if "tokens" in report:
        tokens = report["tokens"]
        yield _per_label("Tags", tokens["per_tag"], {name: tokens[name] for name in ("macro", "weighted")})
        yield (f"Accuracy {hundred(tokens['accuracy'])}, without O {hundred(tokens['accuracy_without_o'])}; weighted "
               f"entity F1 {hundred(tokens['weighted_entity_f1'])}; seqeval F1: default "
               f"{hundred(tokens['seqeval_default']['f1'])}, strict {hundred(tokens['seqeval_strict']['f1'])}: "
               f"{tokens['seqeval_note']}")


def _numbers(report: dict[str, Any], task: Task) -> Iterator[Table]:
    scale = scale_of(task)

    def shown(value: float | None) -> str:
        return "" if value is None else f"{scale * value:.4g}"

    yield Table(("score", "value", "95 % interval"), [
        (metric_name(path), shown(metric(report, path)),
         interval(interval_of(report, path), scale=scale)) for path in task.metrics
    ] + [(f"{name.replace('_', ' ')} (baseline): {key.replace('_', ' ').replace('f1', 'F1')}", shown(value), "")
         for name, row in report.get("baselines", {}).items() for key, value in row.items()],
        note="Times 100." if scale == 100 else "")
    if "per_class" in report:
        yield _per_label("By class", report["per_class"],
                         {name: report[name] for name in ("macro", "micro", "weighted") if name in report})


def _per_label(title: str, rows: Mapping[str, Any], means: Mapping[str, Any]) -> Table:
    return Table(("", *COUNTED), [(label, *_counted(row)) for label, row in rows.items()]
                 + [(f"{name} mean", *_counted(row)) for name, row in means.items()], title=title)


def _counted(row: Mapping[str, Any]) -> tuple[str | Cell, ...]:
    return (hundred(row["precision"]), hundred(row["recall"]), Cell(hundred(row["f1"]), share=row["f1"]),
            *(count(row[name]) if name in row else "" for name in ("support", "predicted")))


def _errors(report: dict[str, Any]) -> Iterator[Table]:
    budget = report.get("error_budget", {})
    most = max((row["lost"] for row in budget.values()), default=0)
    if most:
        yield Table(("class", "F1 lost", "F1 if mended", "gold lost", "predictions wrong", "meaning"), [
            (Cell(kind.replace("_", " "), link=f"#kind={kind}"), Cell(hundred(row["lost"]), share=row["lost"] / most),
             hundred(row["f1_if_mended"]), count(row["gold"]), count(row["predicted"]), KINDS[kind])
            for kind, row in sorted(budget.items(), key=lambda item: -item[1]["lost"]) if row["lost"]],
            note="The losses add up to what strict F1 lacks to 100. A class leads to its examples.",
            prose=("meaning",))


def _confusion(report: dict[str, Any]) -> Iterator[Table]:
    confusion = report.get("confusion") or metric(report, "tokens.confusion")
    if not confusion or "matrix" not in confusion:
        return
    labels = confusion["labels"]
    rows = [(label, *(Cell(count(number), heat=number / max(sum(row), 1)) for number in row))
            for label, row in zip(labels, confusion["matrix"], strict=True)]
    yield Table(("gold ↓ predicted →", *labels), rows, note="The deeper the colour, the larger the share of the row.")


def _slices(report: dict[str, Any]) -> Iterator[Table | str]:
    slices = report.get("slices", {})
    for name, values in slices.items():
        if name != "no_mention" and values:
            yield Table(("", *COUNTED), [(value, *_counted(row)) for value, row in values.items()],
                        title=name.replace("_", " ").capitalize())
    alarms = slices.get("no_mention", {})
    if alarms.get("examples"):
        yield (f"False alarms in {count(alarms['with_false_alarm'])} of {count(alarms['examples'])} examples without a "
               f"mention ({hundred(alarms['rate'])} %).")


def _confidence(report: dict[str, Any]) -> Iterator[Picture | str]:
    calibration, threshold = report.get("calibration", {}), report.get("threshold")
    if calibration.get("reliability"):
        yield Picture(plots.reliability_diagram(calibration["reliability"]), "Reliability",
                      f"{count(calibration['answers'])} answers; expected calibration error "
                      f"{hundred(calibration['ece'])}. On the dotted line a score means what it says; the larger the "
                      "point, the more answers.")
    if calibration.get("risk_coverage"):
        yield Picture(plots.risk_coverage_curve(calibration["risk_coverage"]), "Risk and coverage",
                      f"Area under the curve {hundred(calibration['aurc'])}.")
    if threshold and "cut" in threshold:
        tuning = threshold["tuning"]
        yield (f"Keeping scores from {threshold['cut']:.4g}: F1 {hundred(threshold['before'])} → "
               f"{hundred(threshold['after'])} here, gain {hundred(threshold['gain'])} "
               f"{interval(threshold.get('interval'))}; {hundred(tuning['before'])} → {hundred(tuning['after'])} "
               "where it was tuned.")


def _runs(report: dict[str, Any], task: Task) -> Iterator[Table]:
    scale = scale_of(task)
    rows = [(metric_name(path),
             *(f"{scale * row[name]:.4g}" for name in ("mean", "sd", "min", "max")))
            for path, row in report.get("spread", {}).items() if row]
    if rows:
        yield Table(("", "mean", "sd", "least", "greatest"), rows, title="Spread over the runs")


def _audit(report: dict[str, Any]) -> Iterator[Table]:
    entries = report.get("label_audit", ())

    def shown(span: Mapping[str, Any] | None) -> str:
        return "nothing" if span is None else f"{span['label']} “{span['string']}”"

    if entries:
        yield Table(("example", "gold", "most runs say", "runs", "F1 lost"), [
            (Cell(entry["id"], link=f"#example-{entry['id']}"), shown(entry["gold"]), shown(entry["answer"]),
             count(entry["runs"]), f"{100 * entry['cost']:.3f}") for entry in entries[:AUDIT_ROWS]],
            note=f"Candidates for wrong labels, {min(AUDIT_ROWS, len(entries))} of {len(entries):,}: mentions on which "
                 "the runs agree with one another against gold, the costliest strings first.",
            prose=("gold", "most runs say"))


def _cost(report: dict[str, Any]) -> Iterator[Table]:
    cost = report.get("cost", {})
    rows: list[tuple[str, str]] = [(what, shown) for what, shown in (
        ("parameters", short_count(cost.get("parameters"))),
        ("of these trained", short_count(cost.get("trained_parameters"))),
        ("training tokens per second", short_count(cost.get("training_tokens_per_second"))),
        ("peak memory", size(cost.get("peak_memory"))),
        ("peak GPU memory", size(cost.get("peak_gpu_memory"))),
    ) if shown]
    rows += [(stage.replace("_", " "), seconds(time)) for stage, time in cost.get("seconds", {}).items()]
    if rows:
        yield Table(("", ""), rows)
