"""Trains a recipe again with other options, one departure from its config at a time.

Each variant and seed is an ordinary run of the recipe, in a process of its own, below the folder of
the ablation. Runs that are finished are kept when the same command is given again.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pipelines.corpora.splits import write_split
from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject
from pipelines.runs.arguments import AblationArguments, DataArguments
from pipelines.runs.defaults import changed_options
from pipelines.runs.lock import run_lock
from pipelines.runs.provenance import provenance
from pipelines.runs.resuming import make_folder
from pipelines.runs.run import Run
from pipelines.studies.ablation.plan import OptionsChecked, Plan, make_plan, write_options
from pipelines.studies.ablation.results import (
    Report,
    chosen_for_test,
    results_on_dev,
    results_on_test,
)
from pipelines.studies.ablation.training import Training
from pipelines.studies.workers import Workers, cores, default_jobs, ending_workers

logger = logging.getLogger(__name__)

RESULTS = "ablation.json"


class Examples(Protocol):
    """What an ablation needs of the data that a recipe read."""

    @property
    def answer(self) -> str:
        """`spans`, `label` or `value`."""

    @property
    def files(self) -> Mapping[str, str]:
        """Split -> file."""

    @property
    def splits(self) -> Mapping[str, Sequence[Example]]:
        """Split -> examples, some of which may be cut from train."""


def check_use(options: AblationArguments) -> None:
    """What every recipe calls before it reads its files.

    Raises:
        OptionsChecked: where the recipe was to check its options alone.
        UserError: for options that have no effect without `--ablate`, and for a launch that no
            ablation is made of.
    """
    if options.checks_only:
        raise OptionsChecked
    if not options.ablate:
        # A recipe may have seeds of its own.
        ours = {"seeds", "final_k", "jobs"} - inspect.get_annotations(type(options)).keys()
        changed = changed_options(options).keys() & ours
        if changed:
            listed = ", ".join(f"--{name}" for name in sorted(changed))
            raise UserError(f"{listed} has no effect without --ablate; leave it out")
        return
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("got --ablate under a launcher; start the recipe by python: --jobs N")


def run(options: DataArguments, data: Examples, *, report: Report) -> int:
    """Runs the ablation that the options ask for, or goes on with it.

    Args:
        options: of the recipe, as parsed.
        data: as the recipe read it.
        report: shows the results; gets them and the folder.

    Returns:
        The exit code: 1 where runs failed.

    Raises:
        UserError: before anything runs, for options that do not fit.
        SystemExit: after SIGINT or SIGTERM.
    """
    folder = Path(options.run_dir or f"runs/ablation-{time.strftime('%Y%m%d-%H%M%S')}")
    if "dev" not in data.splits:
        raise UserError("got --ablate without --dev_file, on which variants are compared; give it")
    if options.final_k and not _is_labelled(data, "test"):
        raise UserError("got --final_k without a labelled --test_file; leave one out, or give both")
    missing = data.splits.keys() - data.files.keys()
    parts = sorted({*missing, "train"}) if missing else []
    cut = {split: folder / "splits" / f"{split}.jsonl" for split in parts}
    plan = make_plan(options, data.files, folder=folder, cut=cut)
    make_folder(Run(folder), resume=False)
    with run_lock(folder):
        _begin(plan, data)
        for split, path in cut.items():
            write_split(path, data.splits[split])
        write_options(plan)
        workers = Workers(options.jobs or default_jobs())
        training = Training(plan, workers)
        with ending_workers(workers, training.state):
            _log_begin(plan, training)
            training.run()
            results = results_on_dev(training)
            results["test"] = _earlier_test(folder)
            Run(folder).write_json(RESULTS, results)
            if options.final_k and not results["test"]:
                names = chosen_for_test(results, options.final_k)
                test_file = str(cut.get("test") or data.files["test"])
                gold = data.splits["test"]
                results["test"] = results_on_test(
                    training, results, names=names, test_file=test_file, gold=gold
                )
                Run(folder).write_json(RESULTS, results)
            elif options.final_k:
                scored = results["test"]["scored"]
                logger.info("test was scored on %s; it is scored once", scored[:10])
            report(results, folder)
    for failure in results["failed"]:
        logger.error("failed: %s: %s (see %s)", *failure.values())
    return 1 if results["failed"] else 0


def _is_labelled(data: Examples, split: str) -> bool:
    name = "spans" if data.answer == "spans" else "label"
    examples = data.splits.get(split, ())
    return bool(examples) and all(getattr(e, name) is not None for e in examples)


def _begin(plan: Plan, data: Examples) -> None:
    """Writes what the ablation is made of, or compares it with what was written.

    Raises:
        UserError: when the data was changed since.
    """
    run = Run(plan.folder)
    files = list(data.files.values())
    facts = provenance(files, recipe=plan.recipe.stem, options=plan.given.values)
    before = run.provenance()
    known = before.get("data", {})
    changed = [file for file, digest in facts["data"].items() if known.get(file, digest) != digest]
    if changed:
        raise UserError(
            f"{plan.folder}: {', '.join(changed)} was changed since the ablation was started; give "
            "another --run_dir"
        )
    if not before:
        run.folder.mkdir(parents=True, exist_ok=True)
        run.write_json("provenance.json", facts)


def _log_begin(plan: Plan, training: Training) -> None:
    jobs = training.workers.jobs
    logger.info(
        "%s: %d variants, seeds %s: %d runs, %d at a time, threads of each: %d; in %s",
        plan.recipe.stem,
        len(plan.variants),
        ", ".join(map(str, plan.seeds)),
        training.total,
        jobs,
        max(1, cores() // jobs),
        plan.folder,
    )


def _earlier_test(folder: Path) -> JsonObject | None:
    """What test said, where it was scored before: once it is, no choice can go by it."""
    file = folder / RESULTS
    if not file.is_file():
        return None
    try:
        earlier: JsonObject | None = json.loads(file.read_text(encoding="utf-8"))["test"]
    except (ValueError, KeyError):
        raise UserError(f"{file} is damaged; remove it, and run the same command") from None
    return earlier
