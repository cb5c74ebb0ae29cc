"""The text of a model card: use, data, scores, limits, options, cost, versions and licence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from pipelines.evaluation.baselines import BASELINES
from pipelines.evaluation.mistakes import KINDS
from pipelines.evaluation.sanity import COMPARED, ERRORS
from pipelines.evaluation.tasks import TASK_OF_ANSWER, TASKS, interval_path, metric, metric_name
from pipelines.examples import Example, Fields
from pipelines.formatting import (
    count,
    energy,
    interval,
    percent,
    score,
    seconds,
    short_count,
    size,
    some,
)
from pipelines.reporting.markdown import escaped, table_lines
from pipelines.reporting.run_facts import machine, run_facts
from pipelines.runs.run import PLACEHOLDER, Run
from pipelines.runs.secrets import without_folders

PURPOSES = {
    "span_extraction": "Finds mentions in a text, and gives their character offsets and types",
    "sequence_classification": "Gives a text, a pair of texts or a picture its class",
    "sequence_regression": "Predicts a number from a sequence of vectors",
    "language_modelling": "Gives each text its probability",
}
PRETRAINED = "Was pretrained on texts without labels, to be fine-tuned"
NAMES_SHOWN = 20  # of types or classes
# Families whose examples are no texts, so that the card reads them from a file.
OF_FEATURES = ("sequence_regressor", "image_classifier")


class Splits(NamedTuple):
    """What is known of each split.

    Attributes:
        reports: split -> its report, of the splits that were scored.
        examples: split -> its examples; empty where they are not at hand.
    """

    reports: Mapping[str, Fields]
    examples: Mapping[str, Sequence[Example]]


def body_of(
    run: Run, splits: Splits, *, family: str, base: str | None, licence: str | None, kind: str
) -> str:
    """The card without its metadata, as Markdown.

    Args:
        kind: of a pretrained model without a family, `CausalLM` or `MaskedLM`.
    """
    name = run.folder.resolve().name
    sections: dict[str, Iterator[str]] = {
        "How to use it": usage(name, family, kind),
        "Data": data(run, splits),
        "Scores": scores(splits.reports, run.report().get("held_out", {})),
        "Limits": limits(run, splits.reports),
        "Training": training(run),
        "Cost": cost(run),
        "Versions": versions(run.provenance()),
        "Licence": licences(licence, base, run.config().get("model_name_or_path")),
    }
    lines = [f"# {escaped(name)}", "", purpose(run, family, base), ""]
    for title, of_section in sections.items():
        lines += [f"## {title}", "", *of_section, ""]
    return "\n".join(lines).rstrip() + "\n"


def purpose(run: Run, family: str, base: str | None) -> str:
    """What the model does, and what it is."""
    report = run.report()
    answer, _ = run.reading()
    # A run that was not scored has what it was read for.
    task = report.get("task") or TASK_OF_ANSWER[answer or "text"].name
    sentence = PURPOSES[task] if family else PRETRAINED
    names = _answer_names(report)
    if names:
        sentence += f": {escaped(some(names, NAMES_SHOWN))}"
    config = run.config()
    how = "fine-tuned" if family else "pretrained further"
    recipe = config.get("network") or run.provenance().get("recipe", "")
    if base:
        kind = f"It is `{base}`, {how}"
    elif config.get("model_name_or_path"):
        kind = f"It is `{without_folders(config['model_name_or_path'])}`, {how}"
    else:
        kind = f"It is a model of the kind `{recipe}`, trained from scratch"
    return f"{sentence}. {kind}, by the package `ner-pipelines`."


def _answer_names(report: Fields) -> list[str]:
    """The types of mentions, or the classes, of a report."""
    per_type = report.get("strict", {}).get("per_type") or report.get("per_class") or {}
    return [str(name) for name in per_type if name]


def usage(name: str, family: str, kind: str) -> Iterator[str]:
    """Commands and code that load the model and predict with it."""
    yield "From the Hub, into a folder; of a run on this machine, start below it:"
    yield ""
    yield from ("```", f"hf download {PLACEHOLDER} --local-dir {name}", "```", "")
    if not family:
        recipe = "`recipes/sft_tinyllama.py`" if kind == "CausalLM" else "a recipe for encoders"
        yield f"Give the folder to {recipe} by `--model_name_or_path`, or load it:"
        yield from ("", "```python", "from pathlib import Path", "")
        yield from (f"from transformers import AutoModelFor{kind}", "")
        yield f'folder = Path("{name}")'
        yield 'folder = folder / "model" if (folder / "model").is_dir() else folder'
        yield f"model = AutoModelFor{kind}.from_pretrained(folder)"
        yield "```"
        return
    yield "With the package `ner-pipelines` installed, on a file in any layout that it reads:"
    yield ""
    yield "```"
    yield f"pipelines predict --run {name} --input texts.jsonl --output predictions.jsonl"
    yield from ("```", "", "In Python:", "", "```python")
    if family not in OF_FEATURES:
        yield from ("from pipelines import predict", "")
        yield f'for answer in predict("{name}", ["Germline mutations cause breast cancer."]):'
    else:
        yield from ("from pipelines.runs.run import Run", "", f'run = Run.open("{name}")')
        yield "family, model = run.load()"
        yield 'examples = run.read_examples("examples.jsonl", labelled=False)'
        yield "for answer in family.predict(model, examples):"
    yield from ("    print(answer)", "```")


def data(run: Run, splits: Splits) -> Iterator[str]:
    """A table of the splits: file, numbers, and the hash of the file."""
    config, digests = run.config(), dict(run.provenance().get("data", {}))
    rows: list[Sequence[str]] = []
    used: set[object] = set()
    for split in ("train", "dev", "test"):
        file = config.get(f"{split}_file")
        examples = splits.examples.get(split, ())
        if not file and not examples:
            continue
        digest = digests.get(file, "")
        used.add(file)
        name = without_folders(file) if file else "cut from train"
        numbers = f"{len(examples):,}" if examples else ""
        rows.append((split, name, numbers, _answers(examples), digest))
    head: Sequence[str] = ("split", "file", "examples", "answers", "SHA-256")
    if not splits.examples:  # of a card that is written anew
        head = (*head[:2], head[4])
        rows = [[*row[:2], row[4]] for row in rows]
    yield from table_lines(head, rows, {"file", "answers", "SHA-256"})
    others = [
        f"`{without_folders(file)}` ({digests[file]})" for file in digests if file not in used
    ]
    if others:
        yield from ("", f"Also read: {', '.join(others)}.")
    yield from ("", "The data is not part of the model.")


def _answers(examples: Sequence[Example]) -> str:
    """What is known of examples, in numbers."""
    marked = [example.spans for example in examples if example.spans is not None]
    if marked:
        mentions, empty = sum(map(len, marked)), sum(not spans for spans in marked)
        return f"{mentions:,} mentions; {empty:,} without one"
    labels = [example.label for example in examples if example.label is not None]
    numbers = [label for label in labels if isinstance(label, float)]
    if numbers:
        return f"{len(numbers):,} numbers"
    if not labels:
        return "none"
    classes = {
        name for label in labels for name in (label if isinstance(label, tuple) else [label])
    }
    return f"{len(classes)} classes"


def scores(reports: Mapping[str, Fields], held_out: Fields) -> Iterator[str]:
    """Metrics with intervals, of each split that was scored, and the baselines beside them.

    Args:
        held_out: of a run that continued pretraining: its losses on held-out text.
    """
    if "after" in held_out:
        before, after = (held_out[when]["perplexity"] for when in ("before", "after"))
        yield (
            f"Perplexity on {held_out['sub_words']:,} held-out sub-words: {before:.1f} before "
            f"pretraining, {after:.1f} after it."
        )
        return
    if not reports:
        yield "It was not scored: no labelled dev or test examples were given."
        return
    rows = []
    for split, report in reports.items():
        task = TASKS[report["task"]]
        for path in task.metrics:
            value = metric(report, path)
            if value is not None:
                within = interval(metric(report, interval_path(path)), task.scale)
                rows.append((split, metric_name(path), score(value, task.scale), within))
        for name, row in report.get("baselines", {}).items():
            for key in (key for key in COMPARED if row.get(key) is not None):
                scale = 1 if key in ERRORS else 100
                baseline = f"{COMPARED[key]} of {BASELINES.get(name, name)}"
                rows.append((split, baseline, score(row[key], scale), ""))
    yield from table_lines(("split", "metric", "score", "95 % interval"), rows, {"metric"})
    report = reports[list(reports)[-1]]
    resampling = report.get("resampling")
    notes = ["Scores between 0 and 1 are times 100."]
    if resampling:
        notes.append(
            f"Intervals of {list(reports)[-1]} come from {resampling['resamples']:,} resamples of "
            f"{resampling['units']:,} {resampling['unit']}s."
        )
    yield from ("", " ".join(notes))


def limits(run: Run, reports: Mapping[str, Fields]) -> Iterator[str]:
    """What a user should know before trusting the model, a point each."""
    config = run.config()
    split, report = list(reports.items())[-1] if reports else ("", {})
    yield from (f"- **Warning:** {escaped(text)}" for text in report.get("warnings", ()))
    if reports:
        sizes = f"{report['examples']:,} examples of {split}"
        yield f"- Measured on {sizes}, with one seed; other texts and languages were not tried."
    if _is_chosen_on_dev(run):
        what = "which its scores on dev flatter" if "dev" in reports else "which is not scored here"
        yield f"- Checkpoints, options or thresholds were chosen on dev, {what}."
    yield from _mistakes(report)
    yield from _weak_parts(report)
    length = config.get("max_length")
    if length:
        yield f"- Trained on texts of at most {length} tokens or words."
    if not reports:
        yield "- Nothing is known of its quality."


def _is_chosen_on_dev(run: Run) -> bool:
    config = run.config()
    keeps_best = bool(config.get("load_best_model_at_end")) and bool(run.training_log())
    chooses = (config.get(name) for name in ("search", "tune_thresholds", "objective"))
    return keeps_best or any(chooses)


def _mistakes(report: Fields) -> Iterator[str]:
    """The kinds of mistakes in the order of what they cost."""
    budget = report.get("error_budget", {})
    costly = sorted((kind for kind in KINDS if kind in budget), key=lambda k: -budget[k]["lost"])
    named = [
        f"{kind.replace('_', ' ')} {score(budget[kind]['lost'])} ({count(budget[kind]['gold'])} "
        f"gold, {count(budget[kind]['predicted'])} predicted)"
        for kind in costly
        if budget[kind]["lost"] > 0
    ]
    if named:
        yield f"- Strict F1 that mistakes cost, by kind: {'; '.join(named)}."


def _weak_parts(report: Fields) -> Iterator[str]:
    """Mentions that training does not have, and the class with the lowest F1."""
    seen = report.get("slices", {}).get("seen_in_train", {})
    if {"seen", "new"} <= seen.keys():
        new, old = seen["new"], seen["seen"]
        yield (
            f"- Mentions whose string training does not have: strict F1 {score(new['f1'])} "
            f"({count(new['support'])} of them); those it has: {score(old['f1'])} "
            f"({count(old['support'])})."
        )
    per_class = {
        name: row for name, row in (report.get("per_class") or {}).items() if row["support"]
    }
    if len(per_class) > 1:
        worst = min(per_class, key=lambda name: per_class[name]["f1"])
        row = per_class[worst]
        yield (
            f"- The class with the lowest F1 is {escaped(worst)}: {score(row['f1'])} "
            f"({count(row['support'])} gold)."
        )
    error = report.get("calibration", {}).get("ece")
    if error is not None:
        yield f"- Expected calibration error of its scores: {score(error)} of 100."


def training(run: Run) -> Iterator[str]:
    """The options that differ from the recipe's defaults."""
    facts = run_facts(run.config(), run.provenance())
    changed = facts.get("changed options", [])
    listed = [changed] if isinstance(changed, str) else changed
    seed = run.config().get("seed")
    recipe = run.provenance().get("recipe", "")
    yield f"Recipe `{recipe}`, seed {seed}; all options are in `config.yaml`."
    yield ""
    if not listed:
        yield "No option differs from the recipe's defaults."
        return
    yield "Options that differ from the recipe's defaults:"
    yield ""
    yield from (f"- `{without_folders(option)}`" for option in listed)


def cost(run: Run) -> Iterator[str]:
    """Seconds of each stage, memory, parameters and machine."""
    figures, provenance = run.report().get("cost", {}), run.provenance()
    if not figures:
        yield "Not recorded."
        return
    rows = [
        (stage.replace("_", " "), seconds(number))
        for stage, number in figures.get("seconds", {}).items()
    ]
    for key, write in (
        ("peak_memory", size),
        ("peak_gpu_memory", size),
        ("parameters", short_count),
        ("trained_parameters", short_count),
        ("tokens", short_count),
        ("training_tokens_per_second", count),
        ("training_share_of_peak", percent),
        ("prediction_words_per_second", count),
        ("epochs", count),
        ("energy_watt_hours", energy),
        ("energy_basis", str),
    ):
        if figures.get(key) is not None:
            rows.append((key.replace("_", " "), write(figures[key])))
    on = machine(provenance.get("hardware", {}))
    precision = provenance.get("precision", {}) if run.training_log() else {}
    rows += [("machine", on)] if on else []
    rows += [("precision", _precision(precision))] if precision else []
    yield from table_lines(("", "cost"), rows, set())


def _precision(precision: Fields) -> str:
    known = {name: value for name, value in precision.items() if value is not None}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in known.items())


def versions(provenance: Fields) -> Iterator[str]:
    """Versions of the libraries, the commit and the date."""
    libraries = {"python": provenance.get("python")} | dict(provenance.get("libraries", {}))
    listed = ", ".join(f"{name} {version}" for name, version in libraries.items() if version)
    yield f"{listed}." if listed else "Not recorded."
    if provenance.get("commit"):
        yield from ("", f"Commit {provenance['commit']} of the package.")
    if provenance.get("started"):
        yield from ("", f"Started {provenance['started']}.")


def licences(licence: str | None, base: str | None, name: str | None) -> Iterator[str]:
    """The licence of the base model, or what there is to decide."""
    if licence and base:
        yield f"`{licence}`, as the base model `{base}`; the licence of the data is not known here."
    elif licence:
        yield f"`{licence}`, as the base model's card says; the licence of the data is not known."
    elif name:
        yield (
            "Not stated: the licence of the base model is not known on the machine that trained "
            "it. Look it up, and add `license:` to the head of this file."
        )
    else:
        yield (
            "Not stated: the model was trained from scratch, so that whoever publishes it "
            "decides, by `license:` at the head of this file, as the licence of the data allows."
        )
