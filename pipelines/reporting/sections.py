"""A report as tables and pictures, for a page and for a terminal alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from pipelines.evaluation.mistakes import KINDS
from pipelines.evaluation.reports import Report
from pipelines.evaluation.tasks import TASKS, Task, interval_path, metric, metric_name
from pipelines.examples import Fields
from pipelines.formatting import count, energy, interval, percent, score, seconds, short_count, size
from pipelines.reporting import plots
from pipelines.reporting.guarantee import guarantee_parts
from pipelines.reporting.page import Cell, Picture, Row, Section, Table
from pipelines.reporting.values import value_parts

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
    "weighted_entity_f1": (
        "weighted entity F1",
        "seqeval default, each type weighted by its gold mentions: the course's leaderboard",
    ),
    "seqeval_default": ("seqeval default F1", ""),
    "seqeval_strict": ("seqeval strict F1", ""),
}
RANKING = {"roc_auc": "ROC-AUC", "average_precision": "AP"}
COUNTED = ("P", "R", "F1", "gold", "predicted")
AUDIT_ROWS = 30
FEATURES = 8  # of each tag or class

Entry = Fields  # a part of a report, or a row of a log


def report_sections(report: Report, *, trainer_log: Sequence[Entry] = ()) -> list[Section]:
    """All that a report holds but the examples.

    Args:
        report: what a task's `evaluate` or `evaluate_runs` made, with `cost` where it is known.
        trainer_log: the trainer's `log_history`; adds the learning curves.
    """
    task = TASKS[report["task"]]
    curves = plots.training_curves(trainer_log)
    sections = [
        Section("scores", "Scores", list(_scores(report, task))),
        Section("training", "Training", [Picture(svg, title) for title, svg in curves.items()]),
        Section("errors", "Where the errors are", [*_errors(report), *value_parts(report)]),
        Section("confusion", "Confusion", list(_confusion(report))),
        Section("slices", "Parts of the corpus", list(_slices(report))),
        Section("confidence", "Confidence", list(_confidence(report))),
        Section("guarantee", "Guarantee", list(guarantee_parts(report))),
        Section("features", "Features", list(_features(report))),
        Section("runs", "Runs", list(_runs(report, task))),
        Section("audit", "Label audit", list(_audit(report))),
        Section("cost", "Cost", list(_cost(report))),
    ]
    return [section for section in sections if section.parts]


def headline(report: Report) -> tuple[str, str, str]:
    """Name, value and interval of the primary metric."""
    task = TASKS[report["task"]]
    path = task.primary_metric
    value = score(metric(report, path), task.scale)
    return metric_name(path), value, interval(metric(report, interval_path(path)), task.scale)


def scored_on(report: Report) -> str:
    """A sentence: how many examples were scored, and where the intervals come from."""
    of_split = f" of {report['split']}" if "split" in report else ""
    clauses = [f"{report['examples']:,} examples{of_split}"]
    if report.get("runs"):
        clauses.append(f"mean of {len(report['runs'])} runs")
    resampling = report["resampling"]
    clauses.append(
        f"95 % intervals from {resampling['resamples']:,} resamples of "
        f"{resampling['units']:,} {resampling['unit']}s"
    )
    missing = report["missing_counted_as_empty"]
    if missing:
        answers = "answer" if missing == 1 else "answers"
        clauses.append(f"{count(missing)} missing {answers} counted as empty")
    return "; ".join(clauses) + "."


def _scores(report: Report, task: Task) -> Iterator[Table | Picture]:
    if task.name == "span_extraction":
        yield from _span_scores(report)
        yield from _tag_scores(report)
    else:
        yield from _numbers(report, task)


def _span_scores(report: Report) -> Iterator[Table | Picture]:
    baselines = report.get("baselines", {})
    points, rows = [], []
    for name, meaning in SPAN_SCORES.items():
        scores = report[name]
        points.append((_plain(name), scores["f1"], scores.get("interval"), False))
        rows.append((_plain(name), *_counted(scores), interval(scores.get("interval")), meaning))
    for name, scores in baselines.items():
        points.append((_plain(name), scores["f1"], None, True))
        rows.append((_plain(name), *_counted(scores), "", "baseline, strict"))
    yield Picture(
        partial(plots.scores_with_intervals, points),
        "F1 with 95 % intervals",
        "Baselines (hollow) are scored strictly." if baselines else "",
    )
    yield Table(
        ("score", *COUNTED, "95 % interval", "meaning"),
        rows,
        note=" ".join(["Times 100. Nothing to find and nothing predicted is 100.", *_held(report)]),
        prose=("meaning",),
    )
    strict = report["strict"]
    if len(strict["per_type"]) > 1:
        means = {"macro": strict["macro"], "micro": strict, "weighted": strict["weighted"]}
        yield _per_label("Strict, by type", strict["per_type"], means)


def _held(report: Report) -> Iterator[str]:
    """What answers without overlaps, such as those of tags, lack of overlapping mentions."""
    found = report.get("overlaps")
    if found:
        lost = found["mentions"] - found["without_overlaps"]
        yield (
            f"{count(found['overlapping'])} of the {count(found['mentions'])} gold mentions "
            f"overlap another: tags, which hold one mention a word, miss at least {count(lost)}."
        )


def _tag_scores(report: Report) -> Iterator[Table]:
    tokens = report.get("tokens")
    if tokens is None:
        return
    means = {name: tokens[name] for name in ("macro", "weighted")}
    yield _per_label("Tags", tokens["per_tag"], means)
    rows = []
    for key, (name, meaning) in TAG_SCORES.items():
        value = tokens[key]["f1"] if key.startswith("seqeval") else tokens[key]
        rows.append((name, score(value), meaning))
    yield Table(
        ("tags and entities", "value", "meaning"),
        rows,
        note=f"seqeval's {tokens['seqeval_note']}",
        prose=("meaning",),
    )


def _numbers(report: Report, task: Task) -> Iterator[Table]:
    rows = []
    for path in task.metrics:
        ends = metric(report, interval_path(path))
        value = score(metric(report, path), task.scale)
        rows.append((metric_name(path), value, interval(ends, task.scale)))
    for name, scores in report.get("baselines", {}).items():
        baseline = _plain(name).replace("svm", "SVM")
        for key, value in scores.items():
            title = f"{metric_name(key.replace('_', '.'))} of {baseline}, baseline"
            rows.append((title, score(value, task.scale), ""))
    note = "Times 100." if task.scale == 100 else ""
    yield Table(("score", "value", "95 % interval"), rows, note=note)
    if "per_class" in report:
        means = {name: report[name] for name in ("macro", "micro", "weighted")}
        yield _per_label("By class", report["per_class"], means)


def _per_label(title: str, per_label: Entry, means: Entry) -> Table:
    ranking = [name for name in RANKING if any(name in scores for scores in per_label.values())]
    named = {**per_label, **{f"{name} mean": scores for name, scores in means.items()}}
    rows = []
    for name, scores in named.items():
        rows.append((name, *_counted(scores), *(score(scores.get(key)) for key in ranking)))
    return Table(("", *COUNTED, *(RANKING[name] for name in ranking)), rows, title=title)


def _counted(scores: Entry) -> Row:
    """The cells below `COUNTED`."""
    f1 = Cell(score(scores["f1"]), share=scores["f1"])
    counts = (count(scores[name]) if name in scores else "" for name in ("support", "predicted"))
    return score(scores["precision"]), score(scores["recall"]), f1, *counts


def _errors(report: Report) -> Iterator[Table]:
    budget = report.get("error_budget", {})
    costly = {kind: costs for kind, costs in budget.items() if costs["lost"]}
    if not costly:
        return
    most = max(costs["lost"] for costs in costly.values())
    rows = []
    for kind, costs in sorted(costly.items(), key=lambda item: -item[1]["lost"]):
        lost = Cell(score(costs["lost"]), share=costs["lost"] / most)
        counts = count(costs["gold"]), count(costs["predicted"])
        name = Cell(_plain(kind), link=f"#kind={kind}")
        rows.append((name, lost, score(costs["f1_if_fixed"]), *counts, KINDS[kind]))
    yield Table(
        ("class", "F1 lost", "F1 if fixed", "gold lost", "predictions wrong", "meaning"),
        rows,
        note="The losses add up to what strict F1 lacks to 100. F1 if fixed: strict F1 if the "
        "mistakes of this class alone were corrected.",
        prose=("meaning",),
    )


def _confusion(report: Report) -> Iterator[Table]:
    confusion = report.get("confusion") or metric(report, "tokens.confusion")
    if not confusion or "matrix" not in confusion:
        return
    labels = confusion["labels"]
    rows = []
    for label, numbers in zip(labels, confusion["matrix"], strict=True):
        total = max(sum(numbers), 1)
        rows.append((label, *(Cell(count(number), heat=number / total) for number in numbers)))
    yield Table(("gold ↓ predicted →", *labels), rows)


def _slices(report: Report) -> Iterator[Table | str]:
    slices = report.get("slices", {})
    for name, values in slices.items():
        if name == "no_mention" or not values:
            continue
        rows = [(value, *_counted(scores)) for value, scores in values.items()]
        yield Table(("", *COUNTED), rows, title=_plain(name).capitalize())
    alarms = slices.get("no_mention", {})
    if alarms.get("examples"):
        yield (
            f"False alarms in {count(alarms['with_false_alarm'])} of {count(alarms['examples'])} "
            f"examples without a mention ({score(alarms['rate'])} %)."
        )


def _confidence(report: Report) -> Iterator[Picture | str]:
    calibration, threshold = report.get("calibration", {}), report.get("threshold")
    if calibration.get("reliability"):
        yield Picture(
            partial(plots.reliability_diagram, calibration["reliability"]),
            "Reliability",
            "On the dotted line a score of 0.8 is right 80 % of the time; "
            "the larger the point, the more answers.",
        )
    if calibration.get("risk_coverage"):
        draw = partial(plots.risk_coverage_curve, calibration["risk_coverage"])
        yield Picture(draw, "Risk and coverage")
    if calibration.get("aurc") is not None:
        figures = [f"area under risk and coverage {score(calibration['aurc'])}"]
        if calibration.get("ece") is not None:
            figures.insert(0, f"expected calibration error {score(calibration['ece'])}")
        yield f"{count(calibration['answers'])} answers with a score: {', '.join(figures)}."
    errors = report.get("platt_scaling", {}).get("ece", {})
    scaled = errors.get(report.get("split"), {})
    if scaled.get("before") is not None:
        yield (
            "Scores are calibrated on dev: expected calibration error "
            f"{score(scaled['before'])} before, {score(scaled['after'])} after."
        )
    if threshold:
        tuning = threshold["tuning"]
        gain = f"{score(threshold['gain'])} {interval(threshold.get('interval'))}".rstrip()
        yield (
            f"Spans kept from score {threshold['cut']:.4g} on: strict F1 "
            f"{score(threshold['before'])} → {score(threshold['after'])} here, gain {gain}; "
            f"{score(tuning['before'])} → {score(tuning['after'])} where it was tuned."
        )


def _features(report: Report) -> Iterator[Table]:
    """One row for each tag or class with the features that speak most for it."""
    rows = []
    for label, features in report.get("features", {}).items():
        strongest = features[:FEATURES]
        names = ", ".join(f"{name} {weight:.2f}" for name, weight in strongest if weight > 0)
        rows.append((label, names))
    if rows:
        yield Table(
            ("", "strongest features and their weights"),
            rows,
            note="Weights of a linear model: the larger, the more a feature speaks for the label.",
            prose=("strongest features and their weights",),
        )


def _runs(report: Report, task: Task) -> Iterator[Table]:
    rows = []
    for path, spread in report.get("spread", {}).items():
        if spread:
            values = (spread[name] for name in ("mean", "sd", "min", "max"))
            rows.append((metric_name(path), *(score(value, task.scale) for value in values)))
    if rows:
        head = ("score", "mean", "sd", "least", "greatest")
        yield Table(head, rows, title="Spread over the runs")


def _audit(report: Report) -> Iterator[Table]:
    """One row for all disagreements about the same strings."""
    entries = report.get("label_audit", ())
    if not entries:
        return
    patterns: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        pattern = _span_in_words(entry["gold"]), _span_in_words(entry["answer"])
        patterns.setdefault(pattern, []).append(entry)
    rows = []
    for (gold, answer), alike in list(patterns.items())[:AUDIT_ROWS]:
        first = alike[0]
        example = Cell(first["id"], link=f"#example-{first['id']}")
        rows.append((gold, answer, str(len(alike)), score(first["pattern_cost"]), example))
    yield Table(
        ("gold", "most runs say", "times", "F1 lost", "for example"),
        rows,
        note=f"Candidates for wrong labels: {len(entries):,} mentions on which the runs agree with "
        f"one another against gold; the costliest {len(rows)} of {len(patterns):,} patterns.",
        prose=("gold", "most runs say", "for example"),
    )


def _span_in_words(span: Entry | None) -> str:
    return "nothing" if span is None else f"{span['label']} “{span['string']}”"


def _cost(report: Report) -> Iterator[Table]:
    cost = report.get("cost", {})
    figures = {
        "parameters": short_count(cost.get("parameters")),
        "of these trained": short_count(cost.get("trained_parameters")),
        "training tokens per second": short_count(cost.get("training_tokens_per_second")),
        "share of the matmul peak": percent(cost.get("training_share_of_peak")),
        "prediction examples per second": short_count(cost.get("prediction_examples_per_second")),
        "prediction words per second": short_count(cost.get("prediction_words_per_second")),
        "peak memory": size(cost.get("peak_memory")),
        "peak GPU memory": size(cost.get("peak_gpu_memory")),
        "energy, estimated": energy(cost.get("energy_watt_hours")),
    }
    rows = [(name, figure) for name, figure in figures.items() if figure]
    rows += [(_plain(stage), seconds(time)) for stage, time in cost.get("seconds", {}).items()]
    note = ""
    if cost.get("energy_basis"):
        note = f"Energy is an estimate: seconds times power, of {cost['energy_basis']}."
    if rows:
        yield Table(("", ""), rows, note=note)


def _plain(name: str) -> str:
    return name.replace("_", " ")
