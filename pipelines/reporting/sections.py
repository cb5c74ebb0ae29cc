"""A report as tables and pictures, for a page and for a terminal alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from pipelines.evaluation.mistakes import KINDS
from pipelines.evaluation.tasks import TASKS, Task, interval_path, metric, metric_name
from pipelines.formatting import count, interval, score, seconds, short_count, size
from pipelines.reporting import plots
from pipelines.reporting.page import Cell, Picture, Section, Table

SPAN_SCORES = {
    "strict": "offsets and type right",
    "exact": "offsets right",
    "partial": "overlap; half a credit where offsets differ",
    "type": "overlap and type right",
    "string_set": "distinct strings of each example",
    "string_multiset": "strings of each example, repeats counted",
}
TAG_SCORES = {
    "accuracy": ("accuracy", "of all tags"),
    "accuracy_without_o": ("accuracy without O", "of the tokens whose gold tag is not O"),
    "weighted_entity_f1": ("weighted entity F1", "seqeval default, each type weighted by its gold mentions: the "
                                                 "course's leaderboard"),
    "seqeval_default": ("seqeval default F1", ""),
    "seqeval_strict": ("seqeval strict F1", ""),
}
RANKING = {"roc_auc": "ROC-AUC", "average_precision": "AP"}
COUNTED = ("P", "R", "F1", "gold", "predicted")
AUDIT_ROWS = 30


def report_sections(report: dict[str, Any], *, trainer_log: Sequence[Mapping[str, Any]] = ()) -> list[Section]:
    """All that a report holds but the examples.

    Args:
        report: what a task's ``evaluate`` or ``evaluate_runs`` made, with ``cost`` where it is known.
        trainer_log: the trainer's ``log_history``; adds the learning curves.
    """
    task = TASKS[report["task"]]
    return [section for section in (
        Section("scores", "Scores", list(_scores(report, task))),
        Section("training", "Training", [Picture(picture, name) for name, picture in
                                         plots.training_curves(trainer_log).items()]),
        Section("errors", "Where the errors are", list(_errors(report))),
        Section("confusion", "Confusion", list(_confusion(report))),
        Section("slices", "Parts of the corpus", list(_slices(report))),
        Section("confidence", "Confidence", list(_confidence(report))),
        Section("runs", "Runs", list(_runs(report, task))),
        Section("audit", "Label audit", list(_audit(report))),
        Section("cost", "Cost", list(_cost(report))),
    ) if section.parts]


def headline(report: dict[str, Any]) -> tuple[str, str, str]:
    """Name, value and interval of the number that decides."""
    task = TASKS[report["task"]]
    return (metric_name(task.primary_metric), score(metric(report, task.primary_metric), task.scale),
            interval(metric(report, interval_path(task.primary_metric)), task.scale))


def facts(report: dict[str, Any]) -> str:
    """What was scored, and how sure the intervals are meant."""
    resampling, runs, missing = report["resampling"], report.get("runs", ()), report["missing_counted_as_empty"]
    told = [f"{report['examples']:,} examples" + (f" of {report['split']}" if "split" in report else ""),
            f"95 % intervals from {resampling['resamples']:,} resamples of {resampling['units']:,} "
            f"{resampling['unit']}s"]
    if runs:
        told.insert(1, f"mean of {len(runs)} runs")
    if missing:
        told.append(f"{count(missing)} missing {'answer' if missing == 1 else 'answers'} counted as empty")
    return "; ".join(told) + "."


def _scores(report: dict[str, Any], task: Task) -> Iterator[Table | Picture]:
    if task.name != "span_extraction":
        yield from _numbers(report, task)
        return
    rows = [(name.replace("_", " "), report[name], SPAN_SCORES[name]) for name in SPAN_SCORES]
    hollow = [(name.replace("_", " "), row, "baseline, strict") for name, row in report.get("baselines", {}).items()]
    yield Picture(partial(plots.scores_with_intervals, [
        *((name, row["f1"], row.get("interval"), False) for name, row, _ in rows),
        *((name, row["f1"], None, True) for name, row, _ in hollow)]), "F1 with 95 % intervals",
        "Baselines (hollow) are scored strictly." if hollow else "")
    yield Table(("score", *COUNTED, "95 % interval", "meaning"), [
        (name, *_counted(row), interval(row.get("interval")), meaning) for name, row, meaning in (*rows, *hollow)],
        note="Times 100. Nothing to find and nothing predicted is 100.", prose=("meaning",))
    strict = report["strict"]
    if len(strict["per_type"]) > 1:
        yield _per_label("Strict, by type", strict["per_type"], {
            "macro": strict["macro"], "micro": strict, "weighted": strict["weighted"]})
    if "tokens" in report:
        tokens = report["tokens"]
        yield _per_label("Tags", tokens["per_tag"], {name: tokens[name] for name in ("macro", "weighted")})
        values = {name: tokens[name]["f1"] if name.startswith("seqeval") else tokens[name] for name in TAG_SCORES}
        yield Table(("tags and entities", "value", "meaning"), [
            (name, score(values[key]), meaning) for key, (name, meaning) in TAG_SCORES.items()],
            note=f"seqeval's {tokens['seqeval_note']}", prose=("meaning",))


def _numbers(report: dict[str, Any], task: Task) -> Iterator[Table]:
    yield Table(("score", "value", "95 % interval"), [
        (metric_name(path), score(metric(report, path), task.scale),
         interval(metric(report, interval_path(path)), task.scale)) for path in task.metrics
    ] + [(f"{metric_name(key.replace('_', '.'))} of {name.replace('_', ' ').replace('svm', 'SVM')}, baseline",
          score(value, task.scale), "")
         for name, row in report.get("baselines", {}).items() for key, value in row.items()],
        note="Times 100." if task.scale == 100 else "")
    if "per_class" in report:
        yield _per_label("By class", report["per_class"],
                         {name: report[name] for name in ("macro", "micro", "weighted")})


def _per_label(title: str, rows: Mapping[str, Any], means: Mapping[str, Any]) -> Table:
    ranking = [name for name in RANKING if any(name in row for row in rows.values())]
    named = [*rows.items(), *((f"{name} mean", row) for name, row in means.items())]
    return Table(("", *COUNTED, *(RANKING[name] for name in ranking)), [
        (label, *_counted(row), *(score(row.get(name)) for name in ranking)) for label, row in named], title=title)


def _counted(row: Mapping[str, Any]) -> tuple[str | Cell, ...]:
    return (score(row["precision"]), score(row["recall"]), Cell(score(row["f1"]), share=row["f1"]),
            *(count(row[name]) if name in row else "" for name in ("support", "predicted")))


def _errors(report: dict[str, Any]) -> Iterator[Table]:
    budget = report.get("error_budget", {})
    most = max((row["lost"] for row in budget.values()), default=0)
    if most:
        yield Table(("class", "F1 lost", "F1 if mended", "gold lost", "predictions wrong", "meaning"), [
            (Cell(kind.replace("_", " "), link=f"#kind={kind}"), Cell(score(row["lost"]), share=row["lost"] / most),
             score(row["f1_if_mended"]), count(row["gold"]), count(row["predicted"]), KINDS[kind])
            for kind, row in sorted(budget.items(), key=lambda item: -item[1]["lost"]) if row["lost"]],
            note="The losses add up to what strict F1 lacks to 100; mended is what strict F1 would be if this class "
                 "alone were mended.", prose=("meaning",))


def _confusion(report: dict[str, Any]) -> Iterator[Table]:
    confusion = report.get("confusion") or metric(report, "tokens.confusion")
    if not confusion or "matrix" not in confusion:
        return
    labels = confusion["labels"]
    rows = [(label, *(Cell(count(number), heat=number / max(sum(row), 1)) for number in row))
            for label, row in zip(labels, confusion["matrix"], strict=True)]
    yield Table(("gold ↓ predicted →", *labels), rows)


def _slices(report: dict[str, Any]) -> Iterator[Table | str]:
    slices = report.get("slices", {})
    for name, values in slices.items():
        if name != "no_mention" and values:
            yield Table(("", *COUNTED), [(value, *_counted(row)) for value, row in values.items()],
                        title=name.replace("_", " ").capitalize())
    alarms = slices.get("no_mention", {})
    if alarms.get("examples"):
        yield (f"False alarms in {count(alarms['with_false_alarm'])} of {count(alarms['examples'])} examples without a "
               f"mention ({score(alarms['rate'])} %).")


def _confidence(report: dict[str, Any]) -> Iterator[Picture | str]:
    calibration, threshold = report.get("calibration", {}), report.get("threshold")
    if calibration.get("reliability"):
        yield Picture(partial(plots.reliability_diagram, calibration["reliability"]), "Reliability",
                      "On the dotted line a score means what it says; the larger the point, the more answers.")
    if calibration.get("risk_coverage"):
        yield Picture(partial(plots.risk_coverage_curve, calibration["risk_coverage"]), "Risk and coverage")
    if calibration.get("aurc") is not None:
        ece = "" if calibration.get("ece") is None else f"expected calibration error {score(calibration['ece'])}, "
        yield (f"{count(calibration['answers'])} answers with a score: {ece}area under risk and coverage "
               f"{score(calibration['aurc'])}.")
    if threshold:
        tuning, ends = threshold["tuning"], interval(threshold.get("interval"))
        yield (f"Spans kept from score {threshold['cut']:.4g} on: strict F1 {score(threshold['before'])} → "
               f"{score(threshold['after'])} here, gain {score(threshold['gain'])}{ends and f' {ends}'}; "
               f"{score(tuning['before'])} → {score(tuning['after'])} where it was tuned.")


def _runs(report: dict[str, Any], task: Task) -> Iterator[Table]:
    rows = [(metric_name(path), *(score(row[name], task.scale) for name in ("mean", "sd", "min", "max")))
            for path, row in report.get("spread", {}).items() if row]
    if rows:
        yield Table(("score", "mean", "sd", "least", "greatest"), rows, title="Spread over the runs")


def _audit(report: dict[str, Any]) -> Iterator[Table]:
    """One row for all disagreements about the same strings."""
    def shown(span: Mapping[str, Any] | None) -> str:
        return "nothing" if span is None else f"{span['label']} “{span['string']}”"

    entries = report.get("label_audit", ())
    patterns: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for entry in entries:
        patterns.setdefault((shown(entry["gold"]), shown(entry["answer"])), []).append(entry)
    if entries:
        yield Table(("gold", "most runs say", "times", "F1 lost", "such as"), [
            (gold, answer, str(len(alike)), f"{100 * alike[0]['pattern_cost']:.3f}",
             Cell(alike[0]["id"], link=f"#example-{alike[0]['id']}"))
            for (gold, answer), alike in list(patterns.items())[:AUDIT_ROWS]],
            note=f"Candidates for wrong labels: {len(entries):,} mentions on which the runs agree with one another "
                 f"against gold; the costliest {min(AUDIT_ROWS, len(patterns))} of {len(patterns):,} patterns.",
            prose=("gold", "most runs say", "such as"))


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
