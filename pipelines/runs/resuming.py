"""What may be done with a run folder that is there: made anew, gone on with, or refused."""

from __future__ import annotations

import json
from typing import Any

from pipelines.errors import UserError
from pipelines.examples import Fields, JsonObject
from pipelines.runs.run import Run

# Options that change where things lie, how fast they go or what is logged, not what is learnt.
HARMLESS = {
    "run_dir",
    "output_dir",
    "resume_from_checkpoint",
    "save_total_limit",
    "run_name",
    "project",
    "report_to",
    "push_to_hub",
    "disable_tqdm",
    "debug",
    "sample",
    "sample_tokens",
    "temperature",
    "top_p",
    "skip_memory_metrics",
    "local_rank",
    "ddp_timeout",
    "dataloader_num_workers",
    "dataloader_pin_memory",
    "dataloader_persistent_workers",
    "dataloader_prefetch_factor",
}
HARMLESS_BEGINNINGS = ("hub_", "log_", "logging_", "trackio_")


def make_folder(run: Run, *, resume: bool) -> None:
    """Makes the folder of a run.

    Raises:
        UserError: where it holds a trained run that is not to be resumed, or is a file.
    """
    if (run.report_file.exists() or run.model.exists()) and not resume:
        raise UserError(
            f"{run.folder} holds a trained run; give another --run_dir, or go on with this one by "
            "--resume_from_checkpoint true"
        )
    if any(run.checkpoints.glob("checkpoint-*")) and not resume:
        raise UserError(
            f"{run.folder} holds an interrupted run; give another --run_dir, or go on by "
            "--resume_from_checkpoint true"
        )
    if run.folder.is_file():
        raise UserError(f"--run_dir {run.folder} is a file; give a folder")
    run.folder.mkdir(parents=True, exist_ok=True)


def refuse_differences(run: Run, config: Fields, facts: Fields) -> None:
    """Refuses to go on with a run by another recipe, under other options or on other data.

    Args:
        facts: the provenance of the job that wants to go on.

    Raises:
        UserError: naming each difference.
    """
    before, then = run.config(), run.provenance()
    searched = _searched_options(before)
    faults = differences(
        {name: value for name, value in before.items() if name not in searched},
        {name: value for name, value in config.items() if name not in searched},
    )
    if then.get("recipe", facts["recipe"]) != facts["recipe"]:
        faults.insert(0, f"it is a run of {then['recipe']}, not of {facts['recipe']}")
    known = then.get("data", {})
    faults += [
        f"{file} was changed"
        for file, digest in facts["data"].items()
        if known.get(file, digest) != digest
    ]
    if faults:
        raise UserError(
            f"{run.folder}: the run was started otherwise: {'; '.join(faults)}; give the options "
            "and data that it was started with, or another --run_dir"
        )


def _searched_options(config: Fields) -> list[str]:
    """The options that `--search` chose: those of the config are what it found."""
    return [part.split("=")[0] for part in config.get("search") or ()]


def differences(old: Fields, new: Fields) -> list[str]:
    """The options in which a resumed run differs from how it was started, as `--name old, now new`.

    Options that do not change what is learnt may differ, and there may be more epochs or steps.
    Only options in both are compared: another version of a library has others.

    Args:
        old: option -> value, as `config.yaml` has it.
        new: the same of the command that resumes.
    """
    found = []
    # Of a language model on words, `temperature` is of texts that are only shown.
    harmless = HARMLESS - {"temperature"} if "samples" in new else HARMLESS
    for name in sorted(old.keys() & new.keys()):
        if name in harmless or name.startswith(HARMLESS_BEGINNINGS):
            continue
        before, now = _plain(old[name]), _plain(new[name])
        if before != now and not _grew(name, before, now):
            found.append(f"--{name} {before}, now {now}")
    return found


def asks_for_more(old: Fields, new: Fields) -> bool:
    """Whether new options train longer than old ones: by more steps, or by more epochs."""
    # Steps, where they are set, decide over epochs.
    name = "max_steps" if new.get("max_steps", -1) > 0 else "num_train_epochs"
    return name in old and name in new and _grew(name, old[name], new[name])


def _grew(name: str, old: Any, new: Any) -> bool:
    return name in ("num_train_epochs", "max_steps") and 0 < old < new


def _plain(value: object) -> object:
    """A value as it comes back from a file."""
    return json.loads(json.dumps(value, default=str))


def record_resumption(run: Run, config: JsonObject, facts: JsonObject, begin: str) -> None:
    """Writes what a resumed run was asked for at last, when it is done.

    Not before: were it killed while it trains for more epochs, it would not ask for them again.
    """
    found = {name: run.config()[name] for name in _searched_options(run.config())}
    run.write_config(config | found)
    resumed = {"resumed": [*facts.get("resumed", []), begin]}
    run.write_json("provenance.json", facts | resumed)
