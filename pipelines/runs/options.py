"""Options of the recipes: dataclasses, then a YAML file (`--config`), then the command line.

Importing this module loads no deep learning library, so that `--help` answers at once.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar, cast

import yaml

from pipelines.corpora.corpus import Columns
from pipelines.errors import UserError
from pipelines.examples import JsonObject
from pipelines.formatting import some
from pipelines.runs.library_options import refuse_unused
from pipelines.runs.secrets import PickledWithoutSecrets, expanded

SAMPLE_CORPUS = Path("data", "samples", "disease_ner")  # below the project's folder
T = TypeVar("T")
if TYPE_CHECKING:
    bool_or_unset = Any  # the libraries do not agree on whether None is allowed
else:
    bool_or_unset = bool


def option(default: T, help: str, *, group: str | None = None) -> T:
    """A field of a dataclass of options.

    Args:
        help: what `--help` says of it.
        group: heading in `--help` for this option and for those after it in the class.
    """
    metadata = {"help": help} | ({"group": group} if group else {})
    if isinstance(default, list):
        return cast(T, field(default_factory=default.copy, metadata=metadata))
    return cast(T, field(default=default, metadata=metadata))


@dataclass
class DataArguments(Columns):
    """What every recipe takes, beside the options on the columns of a file."""

    train_file: str | None = option(
        None,
        "training examples, in any layout of data/README.md (default: the sample corpus)",
        group="data",
    )
    dev_file: str | None = option(None, "examples on which checkpoints are compared")
    test_file: str | None = option(None, "examples to predict; scored if they are labelled")
    run_dir: str | None = option(
        None, "folder of the run (default: runs/ and the name of the recipe and the time)"
    )
    sample_submission: str | None = option(
        None,
        "the competition's sample_submission.csv, for the layout of submission.csv",
        group="submission",
    )
    submission_format: str | None = option(
        None, "layout of an answer, where the sample fits several (see `pipelines submit`)"
    )
    answer_column: str | None = option(None, "column of the sample that holds the answers")
    positive_class: str | None = option(None, "class whose probability the sample asks for")

    def columns(self) -> Columns:
        """The options on the columns of a file."""
        return Columns(**{column.name: getattr(self, column.name) for column in fields(Columns)})


@dataclass
class ClassArguments(DataArguments):
    """What every recipe for texts with classes takes."""

    dev_file: str | None = option(
        None, "texts on which models are compared (default: cut from train, stratified)"
    )
    sizes: str = option(
        "train=0.8,dev=0.1,test=0.1",
        "shares or numbers of texts where dev is cut from train; copies of a text and texts of a "
        "document stay in one split",
        group="data",
    )


@dataclass
class RunTrainingArguments(PickledWithoutSecrets):
    """Stands before transformers' `TrainingArguments` (or a subclass of it) among a recipe's bases.

    The run folder holds the checkpoints, and the precision is that of `precision.choose`.

    Attributes:
        trainer: which options of the libraries are honoured, see `library_options`.
        metrics: what `--metric_for_best_model` may be, without `eval_`.
    """

    trainer: ClassVar[str] = "encoder"
    metrics: ClassVar[tuple[str, ...]] = ()

    output_dir: str | None = option(
        None, "folder of the checkpoints (default: RUN_DIR/checkpoints)", group="training"
    )
    resume_from_checkpoint: str | None = option(
        None,
        "true: go on with an interrupted run, or train a finished one for more epochs; or a "
        "checkpoint folder",
    )
    seed: int = option(42, "seed of initial weights, batches and dropout")
    bf16: bool_or_unset = option(
        None, "train in bf16 (default: where the machine computes it fast)"
    )
    fp16: bool_or_unset = option(None, "train in fp16 (default: on a GPU without bf16)")
    gradient_checkpointing: bool_or_unset = option(
        None, "recompute activations in the backward pass: less memory, more time"
    )
    activation_checkpointing: bool | None = None  # transformers' new name of it, without a warning
    remove_unused_columns: bool = False  # rows hold what the network reads

    def __post_init__(self) -> None:
        """Sets the precision of this machine.

        Raises:
            ValueError: for an option that the machine or another option contradicts.
        """
        import torch

        # Denormal numbers, such as gradients of tags that are as good as certain, take a CPU ten
        # times as long. Now, since threads inherit the setting.
        torch.set_flush_denormal(True)
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            self._join_other_processes()
        for name, value in self.precision_options().items():
            requested = getattr(self, name)
            if name in ("bf16", "fp16") and requested not in (None, value):
                raise ValueError(
                    f"got --{name} {str(requested).lower()}, but this machine trains in "
                    f"{self._precision_name()}; leave --{name} out"
                )
            setattr(self, name, value)
        if self.activation_checkpointing is None:
            self.activation_checkpointing = bool(self.gradient_checkpointing)
        output_dir = self.output_dir
        super().__post_init__()  # type: ignore[misc]
        self.output_dir = output_dir  # not transformers' default, `trainer_output`

    def precision_options(self) -> JsonObject:
        """Arguments of `TrainingArguments` that follow from the machine."""
        from pipelines.networks import precision

        return precision.choose().training

    def _precision_name(self) -> str:
        names = [name for name in ("bf16", "fp16") if self.precision_options()[name]]
        return names[0] if names else "float32"

    def _join_other_processes(self) -> None:
        """Sets up the process group with the options for it: the choice of precision needs one."""
        import torch
        from accelerate import PartialState

        timeout = timedelta(seconds=getattr(self, "ddp_timeout", 1800))
        PartialState(
            cpu=not torch.cuda.is_available(),
            timeout=timeout,
            backend=getattr(self, "ddp_backend", None),
        )


@dataclass
class EpochTrainingArguments(RunTrainingArguments):
    """Scores dev and saves a checkpoint after each epoch, and keeps the best one."""

    eval_strategy: str = option("epoch", "when dev is predicted and scored")
    save_strategy: str = option("epoch", "when a checkpoint is written")
    load_best_model_at_end: bool = option(True, "keep the checkpoint that is best on dev")
    save_total_limit: int | None = option(2, "checkpoints kept")


@dataclass
class EncoderArguments:
    """What the recipes that fine-tune an encoder take."""

    model_name_or_path: str = option(
        "local:minilm", "an encoder: a folder, a Hub id, or local:minilm", group="model"
    )
    tune: str = option(
        "full",
        "what is trained: full, lora, head (the encoder is frozen), or last_n (the head and the "
        "last "
        "layers)",
    )
    last_n: int = option(2, "layers that --tune last_n trains")
    lora_r: int = option(16, "rank of the adapters of --tune lora")
    lora_alpha: int = option(32, "scale of the adapters, divided by their rank")
    dropout: float | None = option(None, "instead of the checkpoint's own")
    batch_tokens: int | None = option(
        None,
        "batches of rows of one length with at most N sub-words; 0: batches of "
        "per_device_train_batch_size rows",
        group="training",
    )
    layer_decay: float = option(
        1.0, "learning rate of a layer, as a multiple of that of the layer above"
    )
    head_rate: float = option(1.0, "learning rate of the head, as a multiple of --learning_rate")
    class_weight_power: float = option(
        0.0,
        "weight each class (tag) by its frequency to minus this power; 0: all examples alike, 1: "
        "all "
        "classes alike",
    )
    focal_gamma: float = option(0.0, "focal loss with this exponent; 0: cross-entropy")
    half_copies: bool | None = option(
        None, "compute in bf16 copies of the weights (default: on a CPU that computes bf16 fast)"
    )
    ema_decay: float = option(
        0.0,
        "score and save an exponential moving average of the weights with this decay, such as "
        "0.99; "
        "0: the weights themselves",
    )
    early_stopping_patience: int | None = option(
        None, "stop after N evaluations without a better score"
    )


def given_files(options: DataArguments, project: Path) -> dict[str, str]:
    """Split -> file; of the sample corpus where the options name none.

    Args:
        project: the folder of the checkout, which an installed package does not know.

    Raises:
        UserError: for files without one to train on.
    """
    named = {"train": options.train_file, "dev": options.dev_file, "test": options.test_file}
    files = {split: file for split, file in named.items() if file}
    if files and "train" not in files:
        raise UserError("got --dev_file or --test_file without --train_file; name all files to use")
    if not files:
        files = {split: str(project / SAMPLE_CORPUS / f"{split}.json") for split in named}
        for split, file in files.items():
            setattr(options, f"{split}_file", file)  # the run's config names what it was run on
        if isinstance(options, ClassArguments):
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
    groups = _instances(words, dataclasses, names=on_command_line | config.keys())
    _check_selection(groups, on_command_line)
    for group in groups:
        if getattr(group, "batch_tokens", None) == 0:
            group.batch_tokens = None
    return groups


def _split_config(arguments: Sequence[str]) -> list[str]:
    """The arguments, with `--config=FILE` as two: TrlParser knows `--config FILE` only."""
    words: list[str] = []
    for argument in arguments:
        words += argument.split("=", 1) if argument.startswith("--config=") else [argument]
    return words


def _instances(
    words: list[str], dataclasses: Sequence[type], *, names: Set[str]
) -> tuple[Any, ...]:
    from trl import TrlParser

    class Parser(TrlParser):
        def add_argument(self, *names: Any, group: str | None = None, **keywords: Any) -> Any:
            return super().add_argument(*names, **keywords)

        def parse_known_args(self, *arguments: Any, **keywords: Any) -> Any:
            # Before the dataclasses are built, for which the libraries set up devices.
            values, rest = super().parse_known_args(*arguments, **keywords)
            refuse_unused(dataclasses, vars(values), names)
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


def _check_selection(groups: Sequence[Any], on_command_line: Set[str]) -> None:
    """Checks how the best checkpoint is chosen.

    Raises:
        UserError: for an unknown metric, or early stopping where dev is not scored. A config file
            may set a patience for all corpora: without dev examples it has no effect.
    """
    training = next((group for group in groups if isinstance(group, RunTrainingArguments)), None)
    if training is None or not training.metrics:
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
    if getattr(training, "eval_strategy", "no") == "no":
        raise UserError(
            f"{got} with --eval_strategy no, so that dev is not scored; take --eval_strategy "
            "epoch, or leave the patience out"
        )
    if not getattr(training, "load_best_model_at_end", False):
        raise UserError(
            f"{got} without a best checkpoint to go back to; add --load_best_model_at_end "
            "true, or leave the patience out"
        )
    cuts_dev = isinstance(options, ClassArguments)
    if (
        "early_stopping_patience" in on_command_line
        and options.train_file
        and not options.dev_file
        and not cuts_dev
    ):
        raise UserError(
            f"{got} without --dev_file, whose scores decide when to stop; add the file, or "
            "leave the patience out"
        )
