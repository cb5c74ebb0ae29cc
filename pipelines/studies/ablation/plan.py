"""What an ablation runs: variants, seeds and folders, checked before anything is trained."""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import yaml

from pipelines.corpora import Columns
from pipelines.corpora.writing import replacing
from pipelines.errors import UserError
from pipelines.examples import Fields, JsonObject
from pipelines.runs import options as config
from pipelines.runs.arguments import AblationArguments, DataArguments, Given
from pipelines.runs.resuming import HARMLESS, HARMLESS_BEGINNINGS
from pipelines.runs.run import Run
from pipelines.runs.secrets import is_secret
from pipelines.studies.ablation.variants import (
    BASELINE,
    Candidate,
    Variant,
    as_text,
    types_of,
    variants_of,
)

logger = logging.getLogger(__name__)

SUBMISSION = ("sample_submission", "submission_format", "answer_column", "positive_class")
# What a run of a variant is given anew, or not at all.
LEFT_OUT = {
    *(field.name for field in fields(AblationArguments)),
    *SUBMISSION,
    "run_dir",
    "resume_from_checkpoint",
    "seed",
    "test_file",
}
READING = {field.name for field in fields(Columns)} | {"sizes"}


class OptionsChecked(Exception):
    """A recipe has checked its options, which was all that it was asked to do."""


@dataclass(frozen=True, slots=True)
class Planned:
    """One run: a candidate of a variant with a seed, an ordinary run of the recipe."""

    variant: Variant
    candidate: Candidate
    seed: int
    run: Run

    @property
    def name(self) -> str:
        tried = f" ({self.candidate.name})" if self.candidate.name else ""
        return f"{self.variant.name}{tried}, seed {self.seed}"

    @property
    def options_file(self) -> Path:
        return self.run.folder.with_name(f"{self.run.folder.name}.yaml")

    @property
    def log(self) -> Path:
        return self.run.folder.with_name(f"{self.run.folder.name}.log")


@dataclass(frozen=True)
class Plan:
    """An ablation before it runs.

    Attributes:
        recipe: its file.
        folder: of the ablation.
        given: the recipe's dataclasses, and the options of the baseline.
        variants: the baseline first.
        seeds: of each variant's runs.
    """

    recipe: Path
    folder: Path
    given: Given
    variants: list[Variant]
    seeds: list[int]

    def run_of(self, variant: Variant, candidate: Candidate, seed: int) -> Planned:
        folder = self.folder / variant.folder(candidate) / f"seed-{seed}"
        return Planned(variant, candidate, seed, Run(folder))

    def runs(self) -> Iterator[Planned]:
        """Every run that may be needed, those of one seed together."""
        for seed in self.seeds:
            for variant in self.variants:
                for candidate in variant.candidates:
                    yield self.run_of(variant, candidate, seed)

    def options_of(self, planned: Planned) -> JsonObject:
        """The options of a run, as its config file has them."""
        own = {"seed": planned.seed, "run_dir": str(planned.run.folder)}
        return {**self.given.values, **planned.candidate.options, **own}


def make_plan(
    options: DataArguments, files: Mapping[str, str], *, folder: Path, cut: Mapping[str, Path]
) -> Plan:
    """Plans the runs of `--ablate`.

    Args:
        options: of the recipe, as parsed.
        files: split -> file, as read.
        folder: of the ablation.
        cut: split -> file, of parts that are to be cut from train, for all runs alike.

    Raises:
        UserError: naming every option that is unknown, of a wrong type, or in conflict with others.
    """
    given = options.given
    if given is None:
        raise UserError("got --ablate outside of a recipe's command line; run the recipe itself")
    _check_numbers(options)
    defaults = _defaults(given.dataclasses)
    values = _baseline(options, given, {**files, **{split: str(cut[split]) for split in cut}})
    if cut:
        values = {name: value for name, value in values.items() if name not in READING}
    seed = int(str(given.values.get("seed", defaults.get("seed", 0))))
    variants = variants_of(options.ablate, given)
    _refuse_conflicts(options, variants, READING if cut else set())
    baseline = {**defaults, **given.values}
    variants = [variant for variant in variants if not _is_baseline(variant, baseline)]
    if len(variants) < 2:
        raise UserError("--ablate: no variant differs from the baseline")
    plan = Plan(
        recipe=Path(str(sys.modules[type(options).__module__].__file__)).resolve(),
        folder=folder,
        given=Given(given.dataclasses, values),
        variants=variants,
        seeds=[seed + number for number in range(options.seeds)],
    )
    check(plan)
    return plan


def _check_numbers(options: DataArguments) -> None:
    faults = []
    if options.seeds < 1:
        faults.append(f"got --seeds {options.seeds}; wanted 1 or more")
    if options.final_k and options.final_k < 2:
        faults.append(f"got --final_k {options.final_k}; wanted 2 or more: baseline and best")
    if options.jobs is not None and options.jobs < 1:
        faults.append(f"got --jobs {options.jobs}; wanted 1 or more")
    given = options.given.values if options.given else {}
    if given.get("output_dir"):
        faults.append("got --output_dir; each run of an ablation keeps its own checkpoints")
    if given.get("models"):
        faults.append("got --models beside --ablate; take --ablate model_name_or_path=a,b")
    if given.get("push_to_hub"):
        faults.append("got --push_to_hub beside --ablate; push the run that you choose")
    if str(given.get("resume_from_checkpoint", "true")).lower() not in ("true", "none"):
        faults.append(
            "got --resume_from_checkpoint beside --ablate, which goes on by itself; leave it out"
        )
    if faults:
        raise UserError("; ".join(faults))


def _baseline(options: DataArguments, given: Given, files: Mapping[str, str]) -> JsonObject:
    """The options that all runs share: those that were set, and the files that were read."""
    kept = {
        name: value
        for name, value in given.values.items()
        if name not in LEFT_OUT and not is_secret(name)
    }
    named = {f"{split}_file": files[split] for split in ("train", "dev") if split in files}
    if options.mention_type:
        named["mention_type"] = options.mention_type
    quiet = {"disable_tqdm": True} if "disable_tqdm" in types_of(given.dataclasses) else {}
    return quiet | kept | named


def _defaults(dataclasses: tuple[type, ...]) -> JsonObject:
    found: JsonObject = {}
    for dataclass_ in dataclasses:
        for field in fields(dataclass_):
            made = field.default_factory
            value = field.default if made is MISSING else made()
            found[field.name] = getattr(value, "value", value)
    return found


def _is_baseline(variant: Variant, baseline: Fields) -> bool:
    """Whether a variant sets nothing that the baseline does not have; logged."""
    if variant.name == BASELINE or len(variant.candidates) > 1:
        return False
    options = variant.candidates[0].options
    is_same = all(baseline.get(name) == value for name, value in options.items())
    if is_same:
        logger.info("--ablate: %s is the baseline's own; left out", variant.name)
    return is_same


def _refuse_conflicts(options: DataArguments, variants: list[Variant], reading: set[str]) -> None:
    """Refuses what a search chooses, or what shapes the dev texts that all runs share."""
    searched = set(getattr(options, "searched", list)())
    faults = []
    for variant in variants:
        for name in variant.candidates[0].options:
            if name in searched:
                faults.append(f"{variant.name}: --search chooses {name}; leave one of them out")
            if name in reading or (reading and name == "train_file"):
                faults.append(f"{variant.name}: dev is cut from train once; give a --dev_file")
    if faults:
        raise UserError(f"--ablate: {'; '.join(dict.fromkeys(faults))}")


def check(plan: Plan) -> None:
    """Parses the options of each variant, and has the recipe check them.

    Raises:
        UserError: naming each variant that would be refused, and why.
    """
    faults = []
    for planned in plan.runs():
        if planned.seed != plan.seeds[0]:
            break
        try:
            _check_options(plan, planned)
        except UserError as error:
            tried = f" ({planned.candidate.name})" if planned.candidate.name else ""
            faults.append(f"{planned.variant.name}{tried}: {error}")
    if faults:
        raise UserError("--ablate: " + "; ".join(faults))


def _check_options(plan: Plan, planned: Planned) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "options.yaml")
        file.write_text(_yaml(plan.options_of(planned)), encoding="utf-8")
        groups = config.parse(plan.given.dataclasses, arguments=["--config", str(file)])
    run = getattr(sys.modules[plan.given.dataclasses[0].__module__], "run", None)
    if run is None:
        return
    groups[0].checks_only = True
    with contextlib.suppress(OptionsChecked):
        run(*groups)


def write_options(plan: Plan) -> None:
    """Writes the options of all runs, each as a file for `--config`.

    Raises:
        UserError: when a run was started with other options.
    """
    changed: dict[str, str] = {}
    for planned in plan.runs():
        if planned.options_file.is_file():
            old = yaml.safe_load(planned.options_file.read_text(encoding="utf-8")) or {}
            changed |= _changes(old, plan.options_of(planned))
    if changed:
        listed = "; ".join(changed.values())
        raise UserError(
            f"{plan.folder}: the ablation was started otherwise: {listed}; give the options that "
            "it was started with, or another --run_dir"
        )
    for planned in plan.runs():
        with replacing(planned.options_file) as f:
            f.write(_yaml(plan.options_of(planned)))


def _changes(old: Fields, new: Fields) -> dict[str, str]:
    """Option -> what changed, of the options that change what is learnt."""
    found = {}
    for name in sorted(old.keys() | new.keys()):
        if name in HARMLESS or name.startswith(HARMLESS_BEGINNINGS):
            continue
        before, now = (as_text(values[name]) if name in values else "" for values in (old, new))
        if before != now:
            found[name] = f"--{name} {before or 'not set'}, now {now or 'not set'}"
    return found


def _yaml(options: Fields) -> str:
    return yaml.safe_dump(dict(options), sort_keys=True, allow_unicode=True)
