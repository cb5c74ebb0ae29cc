"""Arguments of the recipes: dataclasses, then a YAML file (`--config`), then the command line."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NoReturn, cast

import torch
import yaml
from trl import TrlParser

from pipelines.corpora import Columns
from pipelines.errors import UserError
from pipelines.networks import precision

SAMPLE_CORPUS = Path("data", "samples", "disease_ner")  # below the project's folder


@dataclass
class DataArguments(Columns):
    """What every recipe takes, beside the options that say where a file holds what."""

    train_file: str | None = field(default=None, metadata={"help": "training examples, in any layout of data/README.md "
                                                                   "(default: the project's sample corpus)"})
    dev_file: str | None = field(default=None, metadata={"help": "examples for choosing the checkpoint"})
    test_file: str | None = field(default=None, metadata={"help": "examples to predict; scored if they are labelled"})
    sample_submission: str | None = field(default=None, metadata={"help": "the competition's sample_submission.csv, "
                                                                          "for the layout of submission.csv"})
    submission_format: str | None = field(default=None, metadata={"help": "layout of its answers, where the sample "
                                                                          "fits several (see `pipelines submit`)"})
    answer_column: str | None = field(default=None, metadata={"help": "column of the sample with the answers"})
    positive_class: str | None = field(default=None, metadata={"help": "class whose probability the sample asks for"})
    run_dir: str | None = field(default=None, metadata={"help": "folder of the run (default: runs/, recipe and time)"})

    def columns(self) -> Columns:
        """The options of this job that say where a file holds what."""
        return Columns(**{column.name: getattr(self, column.name) for column in fields(Columns)})


@dataclass
class ClassArguments(DataArguments):
    """What every recipe for texts with classes takes."""

    dev_file: str | None = field(default=None, metadata={"help": "texts to choose on (default: cut from train by "
                                                                 "class)"})
    sizes: str = field(default="train=0.8,dev=0.1,test=0.1", metadata={"help": "shares, or numbers of texts, where dev "
                                                                               "is cut from train; copies of a text "
                                                                               "and texts of a document stay together"})


@dataclass
class RunTrainingArguments:
    """Stands before transformers' `TrainingArguments` (or a subclass of it) among a recipe's bases.

    The run folder keeps the checkpoints, and the number format is what the machine can do (`precision.choose`). Numbers
    below 1e-38, such as the gradient of tags that are as good as certain, are flushed to zero: they take a CPU ten
    times as long.
    """

    output_dir: str | None = field(default=None, metadata={"help": "checkpoints (default: RUN_DIR/checkpoints)"})

    def __post_init__(self) -> None:
        torch.set_flush_denormal(True)  # now: threads get the setting from the one that starts them
        for name, value in self.number_format().items():
            setattr(self, name, value)
        given = self.output_dir
        super().__post_init__()  # type: ignore[misc]
        self.output_dir = given  # not transformers' `trainer_output`

    def number_format(self) -> dict[str, Any]:
        return precision.choose().training


def given_files(options: DataArguments, project: Path) -> dict[str, str]:
    """Split -> file, of the sample corpus where none is given.

    Args:
        project: the folder of the checkout, which an installed package does not know.

    Raises:
        UserError: for files without one to train on.
    """
    given = {"train": options.train_file, "dev": options.dev_file, "test": options.test_file}
    files = {split: file for split, file in given.items() if file}
    if files and "train" not in files:
        raise UserError("got --dev_file or --test_file without --train_file; give all that are to be used")
    if not files:
        files = {split: str(project / SAMPLE_CORPUS / f"{split}.json") for split in given}
        for split, file in files.items():
            setattr(options, f"{split}_file", file)  # so that the run's config names what it was run on
        if isinstance(options, ClassArguments):
            options.mention_type = options.mention_type or "Disease"
    return files


def checkpoint_of(training: Any) -> str | None:
    """The checkpoint to go on from: `--resume_from_checkpoint true` is the last whole one, if there is any.

    Raises:
        UserError: for a folder that is none.
    """
    given = training.resume_from_checkpoint
    if given is None or given.lower() in ("false", "true"):
        # The state is written last: a checkpoint without it was cut off.
        whole = [state.parent for state in Path(str(training.output_dir)).glob("checkpoint-*/trainer_state.json")]
        last = max(whole, key=lambda folder: int(folder.name.split("-")[-1]), default=None)
        return str(last) if last and given and given.lower() == "true" else None
    if not Path(given).is_dir():
        raise UserError(f"--resume_from_checkpoint {given}: no such folder; give a checkpoint-N folder, or true for "
                        "the last one of the run")
    return str(given)


def parse(dataclasses: Sequence[type], *, default_config: str | Path | None = None,
          arguments: Sequence[str] | None = None) -> tuple[Any, ...]:
    """Parses `--config` and the command line into one instance of each dataclass.

    Args:
        default_config: YAML file where no `--config` is given.

    Raises:
        UserError: for a key that no dataclass has, naming the nearest, or a config file that cannot be read.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # TrlParser knows `--config FILE` only.
    arguments = [part for argument in arguments
                 for part in (argument.split("=", 1) if argument.startswith("--config=") else [argument])]
    if default_config and "--config" not in arguments:
        arguments = ["--config", str(default_config), *arguments]
    for place, argument in enumerate(arguments):
        if argument == "--config":
            _check_config("".join(arguments[place + 1:place + 2]), dataclasses)
    names = {"--" + field.name for dataclass_ in dataclasses for field in fields(dataclass_)} | {"--config", "--help"}
    for argument in arguments:
        name = argument.split("=")[0]
        if re.match(r"--[a-zA-Z]", name) and name.replace("-", "_").replace("__", "--", 1) not in names | \
                {name.replace("--", "--no_", 1) for name in names}:
            raise UserError(f"got the option {name}; there is no such one{_nearest(name, names)}")
    parser = TrlParser(cast(Any, dataclasses))
    parser.error = _refuse  # type: ignore[method-assign]
    try:
        return parser.parse_args_and_config(args=arguments)
    except ValueError as error:
        raise UserError(f"the options do not fit together: {error}") from error


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}; --help lists every option")


def _check_config(path: str, dataclasses: Sequence[type]) -> None:
    if not Path(path).is_file():
        raise UserError(f"--config {path}: no such file; recipes/configs/ has some to start from")
    try:
        config = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--config {path}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict):
        raise UserError(f"--config {path}: got a {type(config).__name__}; wanted lines of `option: value`")
    names = {field.name for dataclass_ in dataclasses for field in fields(dataclass_)} | {"env"}
    unknown = [f"{key!r}{_nearest(str(key), names)}" for key in config if key not in names]
    if unknown:
        raise UserError(f"--config {path}: unknown keys: {'; '.join(unknown)}")


def _nearest(name: str, names: set[str]) -> str:
    near = difflib.get_close_matches(name, sorted(names), n=1)
    return f"; did you mean {near[0]}?" if near else ""
