"""From `--config` and the command line to the dataclasses of a recipe.

Importing this module loads no deep learning library, so that `--help` answers at once.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, cast

import yaml

from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.formatting import some
from pipelines.runs.arguments import (
    AblationArguments,
    ClassArguments,
    DataArguments,
    Given,
    RunTrainingArguments,
)
from pipelines.runs.library_options import refuse_unused
from pipelines.runs.recipes import config_file
from pipelines.runs.secrets import expanded
from pipelines.runs.trackers import refuse_missing

SAMPLE_CORPUS = Path("data", "samples", "disease_ner")  # below the project's folder
# Option -> what it has to be, in words and as a test.
RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    "ema_decay": ("a number from 0 to below 1", lambda value: 0 <= value < 1),
    "label_smoothing_factor": ("a number from 0 to below 1", lambda value: 0 <= value < 1),
    "layer_decay": ("a number above 0, at most 1", lambda value: 0 < value <= 1),
    "head_rate": ("a number above 0", lambda value: value > 0),
    "focal_gamma": ("a number from 0 on", lambda value: value >= 0),
    "lora_r": ("1 or more", lambda value: value >= 1),
}


def given_files(options: DataArguments, project: Path) -> dict[str, str]:
    """Split -> file; of the sample corpus where the options name none, nor other text.

    Args:
        project: the folder of the checkout, which an installed package does not know.

    Raises:
        UserError: for files without one to train on.
    """
    named = {"train": options.train_file, "dev": options.dev_file, "test": options.test_file}
    files = {split: file for split, file in named.items() if file}
    if files and "train" not in files:
        raise UserError("got --dev_file or --test_file without --train_file; name all files to use")
    if not files and not getattr(options, "text_files", None):
        files = {split: str(project / SAMPLE_CORPUS / f"{split}.json") for split in named}
        for split, file in files.items():
            setattr(options, f"{split}_file", file)  # the run's config names what it was run on
        if isinstance(options, ClassArguments) or options.answer == "label":
            options.mention_type = options.mention_type or "Disease"
    return files


def parse(
    dataclasses: Sequence[type],
    *,
    default_config: str | Path | None = None,
    arguments: Sequence[str] | None = None,
) -> tuple[Any, ...]:
    """Parses `--config` and the command line into one instance of each dataclass.

    Args:
        default_config: YAML file where no `--config` is given.

    Raises:
        UserError: for an unknown key or option, naming the nearest; for a config file that cannot
            be read; for an option of a library that the recipe does not honour.
        SystemExit: after `--help`.
    """
    words = _split_config(sys.argv[1:] if arguments is None else arguments)
    if "--help" in words or "-h" in words:
        from pipelines.runs.usage import print_help

        print_help(dataclasses, with_libraries="all" in words)
        raise SystemExit(0)
    if default_config and "--config" not in words:
        words = ["--config", str(default_config), *words]
    config: JsonObject = {}
    for position, word in enumerate(words):
        if word == "--config":
            config = _read_config("".join(words[position + 1 : position + 2]), dataclasses)
    on_command_line = _check_names(words, dataclasses)
    groups = _instances(
        words, dataclasses, on_command_line=on_command_line, in_config=config.keys()
    )
    _check_ranges(groups)
    _check_selection(groups, on_command_line)
    for group in groups:
        if getattr(group, "batch_tokens", None) == 0:
            group.batch_tokens = None
    if isinstance(groups[0], AblationArguments):
        names = on_command_line | config.keys()
        groups[0].given = Given(tuple(dataclasses), _values_of(groups, names))
    return groups


def _values_of(groups: Sequence[Any], names: Set[str]) -> JsonObject:
    """The values of some options, as YAML can hold them."""
    values: JsonObject = {}
    for group in groups:
        for name in sorted(names & {option_.name for option_ in fields(group)}):
            value = getattr(group, name)
            values[name] = getattr(value, "value", value)
    return values


def _split_config(arguments: Sequence[str]) -> list[str]:
    """The arguments, with `--config=FILE` as two: TrlParser knows `--config FILE` only."""
    words: list[str] = []
    for argument in arguments:
        words += argument.split("=", 1) if argument.startswith("--config=") else [argument]
    for position, word in enumerate(words[:-1], start=1):
        if word == "--config":
            words[position] = config_file(words[position])
    return words


def _instances(
    words: list[str],
    dataclasses: Sequence[type],
    *,
    on_command_line: Set[str],
    in_config: Set[str],
) -> tuple[Any, ...]:
    from trl import TrlParser

    class Parser(TrlParser):
        def add_argument(self, *names: Any, group: str | None = None, **keywords: Any) -> Any:
            return super().add_argument(*names, **keywords)

        def parse_known_args(self, *arguments: Any, **keywords: Any) -> Any:
            # Before the dataclasses are built, for which the libraries set up devices.
            values, rest = super().parse_known_args(*arguments, **keywords)
            _leave_dev_out(values, on_command_line)
            refuse_unused(dataclasses, vars(values), on_command_line | in_config)
            refuse_missing(getattr(values, "report_to", None))
            return values, rest

        def error(self, message: str) -> NoReturn:
            raise UserError(f"{message}; --help lists the options")

    try:
        groups = Parser(cast(Any, dataclasses)).parse_args_and_config(args=words)
    except ValueError as error:
        raise UserError(f"the options do not fit together: {error}") from error
    for group in groups:
        _expand_home(group)
    return groups


def _leave_dev_out(values: Any, on_command_line: Set[str]) -> None:
    """`--eval_strategy no` on the command line turns off what a config or a default does with dev.

    What else stands on the command line stays, and is refused where it does not fit.
    """
    strategy = getattr(values, "eval_strategy", None)
    if "eval_strategy" not in on_command_line or getattr(strategy, "value", strategy) != "no":
        return
    for name, off in (("load_best_model_at_end", False), ("early_stopping_patience", None)):
        if hasattr(values, name) and name not in on_command_line:
            setattr(values, name, off)


def _expand_home(group: Any) -> None:
    for option_ in fields(group):
        value = getattr(group, option_.name, None)
        if type(value) is str:  # members of an enumeration are strings too
            setattr(group, option_.name, expanded(value))


def _check_names(words: Sequence[str], dataclasses: Sequence[type]) -> set[str]:
    """The names of the options on a command line.

    Raises:
        UserError: for an unknown one, naming the nearest.
    """
    names = _field_names(dataclasses) | {"config"}
    on_command_line = set()
    for word in words:
        flag = word.split("=")[0]
        if not re.match(r"--[a-zA-Z]", flag):
            continue
        name = flag.removeprefix("--").replace("-", "_")
        if name.removeprefix("no_") in names:
            name = name if name in names else name.removeprefix("no_")
        if name not in names:
            nearest = _nearest(f"--{name}", {f"--{known}" for known in names})
            raise UserError(
                f"got the unknown option {flag}{nearest or '; --help lists the options'}"
            )
        on_command_line.add(name)
    return on_command_line


def _field_names(dataclasses: Iterable[type]) -> set[str]:
    return {option_.name for dataclass_ in dataclasses for option_ in fields(dataclass_)}


def _read_config(path: str, dataclasses: Sequence[type]) -> JsonObject:
    if not Path(path).is_file():
        raise UserError(f"--config {path}: no such file; recipes/configs/ has some to start from")
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise UserError(
            f"--config {path}: got a {type(config).__name__}; wanted lines of `option: value`"
        )
    if "env" in config:
        raise UserError(
            f"--config {path}: got `env`; options set no environment variables: set them "
            "in the shell, and remove it"
        )
    names = _field_names(dataclasses)
    unknown = [f"{key!r}{_nearest(str(key), names)}" for key in config if key not in names]
    if unknown:
        raise UserError(f"--config {path}: unknown keys: {some(unknown)}")
    return config


def _nearest(name: str, names: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _check_ranges(groups: Sequence[Any]) -> None:
    """Refuses numbers that a training would take without a word, and that mean nothing there.

    Raises:
        UserError: naming all of them.
    """
    faults = []
    for group in groups:
        for name, (wanted, fits) in RANGES.items():
            value = getattr(group, name, None)
            if value is not None and not fits(value):
                faults.append(f"--{name} {value:g}; wanted {wanted}")
    if faults:
        raise UserError(f"got {', '.join(faults)}")


def _check_selection(groups: Sequence[Any], on_command_line: Set[str]) -> None:
    """Checks for how long is trained, and how the best checkpoint is chosen.

    Raises:
        UserError: for no steps, an unknown metric, or early stopping where dev is not scored. A
            config file may set a patience for all corpora: where dev is not scored it has no
            effect.
    """
    training = next((group for group in groups if isinstance(group, RunTrainingArguments)), None)
    if training is None:
        return
    if getattr(training, "max_steps", -1) == 0 and not training.may_skip_training:
        raise UserError(
            "got --max_steps 0, which trains nothing; wanted 1 or more, or -1 for whole epochs"
        )
    if not training.metrics:
        return
    metric = str(getattr(training, "metric_for_best_model", None)).removeprefix("eval_")
    if metric not in training.metrics:
        wanted = ", ".join(training.metrics)
        raise UserError(f"got --metric_for_best_model {metric}; wanted one of {wanted}")
    options = groups[0]
    patience = getattr(options, "early_stopping_patience", None)
    if patience is None:
        return
    got = f"got --early_stopping_patience {patience}"
    if patience < 1:
        raise UserError(f"{got}; wanted 1 or more")
    is_asked_for = "early_stopping_patience" in on_command_line
    if getattr(training, "eval_strategy", "no") == "no":
        if not is_asked_for:
            return
        raise UserError(
            f"{got} with --eval_strategy no, so that dev is not scored; take --eval_strategy "
            "epoch, or leave the patience out"
        )
    if not getattr(training, "load_best_model_at_end", False):
        raise UserError(
            f"{got} without a best checkpoint to go back to; add --load_best_model_at_end "
            "true, or leave the patience out"
        )
    cuts_dev = isinstance(options, ClassArguments) or options.answer == "label"
    if is_asked_for and options.train_file and not options.dev_file and not cuts_dev:
        raise UserError(
            f"{got} without --dev_file, whose scores decide when to stop; add the file, or "
            "leave the patience out"
        )
