"""What an ablation found on dev, and what test says of it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev

from pipelines.checks.predictions import check_predictions
from pipelines.corpora.predictions import read_predictions
from pipelines.errors import DataError, UserError
from pipelines.evaluation.comparison import compare_seeds, holm
from pipelines.evaluation.reports import gold_sha256
from pipelines.evaluation.tasks import TASKS, Task, metric
from pipelines.examples import Example, JsonObject, Prediction
from pipelines.formatting import seconds
from pipelines.runs.run import Run
from pipelines.studies.ablation.training import Outcome, Training, runs_of
from pipelines.studies.ablation.variants import BASELINE, Variant, slug
from pipelines.studies.workers import Command, reason_of_failure

logger = logging.getLogger(__name__)

ALPHA = 0.05
Answers = Sequence[Prediction]


def results_on_dev(training: Training) -> JsonObject:
    """The scores on dev of all variants, the best first, and their tests against the baseline.

    Returns:
        `recipe`, `task`, `metric`, `greater_is_better`, `split`, `examples`, `seeds`; `baseline`,
        its options; `variants` (see `_row`), each with `delta` to the baseline, `interval`, `p`,
        `p_holm` (adjusted for the number of variants) and `better` (`variant`, `baseline` or None)
        where they share seeds; `failed`, the runs that did.
    """
    plan = training.plan
    rows = list(filter(None, (_row(training, variant) for variant in plan.variants)))
    runs = {row["name"]: _chosen_runs(training, row["name"]) for row in rows}
    first = next(iter(runs[BASELINE].values()))
    task, gold = first.task(), first.examples("dev")
    answers = {
        name: {seed: _answers(run, gold) for seed, run in own.items()} for name, own in runs.items()
    }
    _add_tests(rows, task, gold, answers)
    sign = 1 if task.greater_is_better else -1
    return {
        "recipe": plan.recipe.stem,
        "task": task.name,
        "metric": task.primary_metric,
        "greater_is_better": task.greater_is_better,
        "split": "dev",
        "examples": len(gold),
        "seeds": plan.seeds,
        "baseline": plan.given.values,
        "variants": sorted(rows, key=lambda row: -sign * row["value"]),
        "failed": [_failure(outcome) for outcome in training.outcomes if outcome.value is None],
    }


def _row(training: Training, variant: Variant) -> JsonObject | None:
    """What is known of a variant without the others; None where no run of it finished."""
    candidate = training.chosen(variant)
    if candidate is None:
        return None
    runs = runs_of(training.plan, variant, candidate)
    own = [o for o in training.outcomes if o.planned.variant == variant and o.value is not None]
    values = {o.planned.seed: o.value for o in own if o.planned.candidate == candidate}
    tried = [
        {"name": o.planned.candidate.name, "value": o.value}
        for o in own
        if o.planned.seed == training.plan.seeds[0] and len(variant.candidates) > 1
    ]
    scores = [value for value in values.values() if value is not None]
    costs = [run.report()["cost"] for run in runs.values()]
    times = [cost["seconds"].get("training") for cost in costs]
    known = [own for own in times if own is not None]
    return {
        "name": variant.name,
        "options": candidate.options,
        "tried": tried,
        "folder": str(training.plan.folder / variant.folder(candidate)),
        "value": fmean(scores),
        "sd": stdev(scores) if len(scores) > 1 else None,
        "values": {str(seed): values[seed] for seed in sorted(values)},
        "training_seconds": fmean(known) if known else None,
        "parameters": costs[0].get("parameters"),
        "trained_parameters": costs[0].get("trained_parameters"),
    }


def _chosen_runs(training: Training, name: str) -> dict[int, Run]:
    [variant] = [variant for variant in training.plan.variants if variant.name == name]
    candidate = training.chosen(variant)
    assert candidate is not None
    return runs_of(training.plan, variant, candidate)


def _answers(run: Run, gold: Sequence[Example]) -> Answers:
    """A run's predictions on dev.

    Raises:
        DataError: when dev was changed since, or the predictions do not fit it.
    """
    if run.report()["gold_sha256"] != gold_sha256(gold):
        raise DataError(f"{run.folder}: dev is not what it was scored on; it was changed since")
    path = run.predictions("dev")
    predictions = read_predictions(path)
    check_predictions(predictions, gold, path=path)
    return predictions


def _add_tests(
    rows: Sequence[JsonObject],
    task: Task,
    gold: Sequence[Example],
    answers: Mapping[str, Mapping[int, Answers]],
) -> None:
    """Adds to each row its difference to the baseline, paired by example and by seed."""
    tested = []
    for row in rows:
        own, base = answers[row["name"]], answers[BASELINE]
        shared = sorted(own.keys() & base.keys())
        if row["name"] == BASELINE or not shared:
            continue
        pairs = [own[seed] for seed in shared], [base[seed] for seed in shared]
        found = compare_seeds(task, gold, *pairs, alpha=ALPHA)
        for name in ("delta", "interval", "p", "test", "unit", "units", "better"):
            row[name] = found[name]
        row["compared_seeds"] = shared
        tested.append(row)
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = p
        named = {"a": "variant", "b": "baseline"}.get(row["better"] or "")
        row["better"] = named if p < ALPHA else None


def _failure(outcome: Outcome) -> JsonObject:
    planned = outcome.planned
    return {"name": planned.name, "reason": outcome.reason, "log": str(planned.log)}


def chosen_for_test(results: JsonObject, k: int) -> list[str]:
    """The variants to score on test: the baseline, the best on dev, and the worst ones.

    Args:
        results: as `results_on_dev` gives them, the best first.
        k: how many.
    """
    names = [row["name"] for row in results["variants"]]
    others = [name for name in names if name != BASELINE]
    # The best first, then from the end: the worst, the second worst.
    wanted = [*others[:1], *reversed(others[1:])][: k - 1]
    return [name for name in names if name == BASELINE or name in wanted]


def results_on_test(
    training: Training,
    results: JsonObject,
    *,
    names: Sequence[str],
    test_file: str,
    gold: Sequence[Example],
) -> JsonObject:
    """Scores variants on test, and compares their ranking there with that on dev.

    Args:
        names: of the variants, the best on dev first.
        test_file: the file that `pipelines predict` reads.
        gold: its examples.

    Returns:
        `scored`, the time; `split`, `examples`; `dev_ranking`, the names; `variants` as on dev,
        with `dev`, the score there; `kendall`, the rank correlation tau-b of both scores;
        `swapped`, the pairs whose order is another one on test; `best`, the best on test.

    Raises:
        UserError: when a prediction fails.
    """
    task = TASKS[results["task"]]
    files = _predict(training, names, test_file)
    answers = {
        name: {seed: read_predictions(path) for seed, path in own.items()}
        for name, own in files.items()
    }
    rows = []
    for name in names:
        scored = {seed: task.evaluate(gold, found) for seed, found in answers[name].items()}
        values = [float(metric(report, task.primary_metric)) for report in scored.values()]
        [on_dev] = [row["value"] for row in results["variants"] if row["name"] == name]
        sd = stdev(values) if len(values) > 1 else None
        by_seed = {str(seed): value for seed, value in zip(scored, values, strict=True)}
        rows.append(
            {"name": name, "dev": on_dev, "value": fmean(values), "sd": sd, "values": by_seed}
        )
    _add_tests(rows, task, gold, answers)
    sign = 1 if task.greater_is_better else -1
    return {
        "scored": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "split": "test",
        "dev_ranking": list(names),
        "examples": len(gold),
        "variants": sorted(rows, key=lambda row: -sign * row["value"]),
        "kendall": rank_correlation([(row["dev"], row["value"]) for row in rows]),
        "swapped": [list(pair) for pair in swapped(rows)],
        "best": max(rows, key=lambda row: sign * row["value"])["name"],
    }


def _predict(
    training: Training, names: Sequence[str], test_file: str
) -> dict[str, dict[int, Path]]:
    """Variant -> seed -> the predictions on test, made where they are not there yet."""
    files: dict[str, dict[int, Path]] = {}
    waiting = []
    for name in names:
        files[name] = {}
        for seed, run in _chosen_runs(training, name).items():
            path = training.plan.folder / "test" / slug(name) / f"seed-{seed}.jsonl"
            files[name][seed] = path
            words = [sys.executable, "-m", "pipelines.cli", "predict", "--run", str(run.folder)]
            words += ["--input", test_file, "--output", str(path), "--resume"]
            if not path.is_file():
                waiting.append(Command(f"{name}, seed {seed}", words, path.with_suffix(".log")))
    total, done = len(waiting), 0
    logger.info("test: %d runs to predict, of %s", total, ", ".join(names))
    failed: list[str] = []
    workers = training.workers
    while waiting or workers.running:
        while waiting and workers.may_start():
            workers.start(waiting.pop(0))
        for worker in workers.wait():
            done += 1
            taken = seconds(worker.seconds)
            logger.info("[%d/%d] %s predicted, %s", done, total, worker.command.name, taken)
            code = worker.process.returncode
            if code != 0:
                reason = reason_of_failure(code, worker.command.log)
                failed.append(f"{worker.command.name}: {reason}")
    if failed:
        raise UserError(f"test: {'; '.join(failed)}; once that is fixed, run the same command")
    return files


def rank_correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Kendall's tau-b of pairs of scores (Kendall 1945); None where all of a side are equal."""
    from scipy.stats import kendalltau

    tau = float(kendalltau([a for a, _ in pairs], [b for _, b in pairs]).statistic)
    return tau if tau == tau else None


def swapped(rows: Sequence[JsonObject]) -> Iterator[tuple[str, str]]:
    """Pairs of variants of which the first is better on dev, and the second on test.

    Args:
        rows: with `name`, `dev` and `value`.
    """
    for i, a in enumerate(rows):
        for b in rows[i + 1 :]:
            if (a["dev"] - b["dev"]) * (a["value"] - b["value"]) < 0:
                yield a["name"], b["name"]


Report = Callable[[JsonObject, Path], None]
