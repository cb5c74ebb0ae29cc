"""The README of a course's package: authors, runs with their scores, parameters, and files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pipelines.evaluation.tasks import TASKS, interval_path, metric, metric_name
from pipelines.formatting import interval, score
from pipelines.runs.run import Run
from pipelines.submission.authors import Author

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~$&#])")


def package_readme(
    *,
    kind: str,
    what: str,
    runs: Sequence[Run],
    authors: Sequence[Author],
    parameters: Mapping[str, str],
    names: Sequence[str],
) -> str:
    """Markdown.

    Args:
        kind: of the package.
        what: it holds, in words.
        parameters: name of a run -> its parameter table, for a terminal.
        names: of the files in the zip.
    """
    lines = [f"# Submission package: {kind}", "", f"{what[:1].upper()}{what[1:]}.", ""]
    if authors:
        lines += ["## Authors", "", "| name | ID |", "| :-- | :-- |"]
        lines += [f"| {_cell(author.name)} | {_cell(author.id)} |" for author in authors]
        lines.append("")
    lines += ["## Runs", "", *_runs(runs), ""]
    for name, table in parameters.items():
        # A fence that no line of the table ends.
        lines += [f"## Parameters of {_cell(name)}", "", "````text", table, "````", ""]
    lines += ["## Files", "", *_files(names)]
    return "\n".join(lines) + "\n"


def _runs(runs: Sequence[Run]) -> Iterator[str]:
    yield "| run | model | split | score | 95 % interval |"
    yield "| :-- | :-- | :-- | --: | --: |"
    for run in runs:
        config, report = run.config(), run.report()
        model = config.get("network") or config.get("model_name_or_path") or ""
        cells = [run.folder.resolve().name, str(model), *_scores(report)]
        yield f"| {' | '.join(map(_cell, cells))} |"


def _scores(report: Mapping[str, object]) -> tuple[str, str, str]:
    """Split, primary metric and its interval, as the run's report has them."""
    task = TASKS.get(str(report.get("task")))
    if task is None:
        return "", "", ""
    path = task.primary_metric
    value = f"{metric_name(path)} {score(metric(report, path), task.scale)}"
    ends = interval(metric(report, interval_path(path)), task.scale)
    return str(report.get("split", "")), value, ends


def _files(names: Sequence[str]) -> Iterator[str]:
    in_source = [name for name in names if name.startswith("source/")]
    yield "- `manifest.json`: size and SHA-256 of each file"
    for name in names:
        if name not in in_source:
            yield f"- `{name}`{_meaning(name)}"
    if in_source:
        yield f"- `source/`: {len(in_source):,} files, the project that trained the runs"


def _meaning(name: str) -> str:
    if name.endswith(".csv"):
        return ": a row a type, `0-1 4-4` are inclusive ranges of token numbers"
    return ": scores, confusion and training of the runs" if name.endswith(".pdf") else ""


def _cell(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
