"""Dataclasses of options that several recipes share.

Importing this module loads no deep learning library, so that `--help` answers at once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar, cast

from pipelines.corpora.corpus import Columns
from pipelines.corpora.lexicon import Lexicon, check_lexicon_file, coverage, read_lexicon
from pipelines.errors import UserError
from pipelines.examples import Example, JsonObject
from pipelines.runs.secrets import PickledWithoutSecrets

T = TypeVar("T")
logger = logging.getLogger(__name__)
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


class Given(NamedTuple):
    """What the user set of a recipe's options.

    Attributes:
        dataclasses: those of the recipe.
        values: option -> value, of the options on the command line and in the config file alone.
    """

    dataclasses: tuple[type, ...]
    values: JsonObject


@dataclass
class AblationArguments:
    """What every recipe takes to vary its options; see `studies.ablation`.

    Attributes:
        given: set by `options.parse`.
        checks_only: the recipe is to end once it has checked its options.
    """

    ablate: list[str] | None = option(
        None, "vary options one at a time, as name=a,b: docs/ablations.md", group="ablation"
    )
    seeds: int = option(3, "runs of each variant; seeds count up from --seed")
    final_k: int = option(0, "score N of the variants on test, once")
    jobs: int | None = option(None, "runs at a time (default: by cores and memory)")
    given: Given | None = field(default=None, init=False, repr=False, compare=False)
    checks_only: bool = field(default=False, init=False, repr=False, compare=False)


@dataclass
class DataArguments(AblationArguments, Columns):
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
        may_skip_training: whether `--max_steps 0` means a model as it is.
    """

    trainer: ClassVar[str] = "encoder"
    may_skip_training: ClassVar[bool] = False
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
class SearchArguments:
    """What the recipes that search options take; see `runs.search`."""

    search: list[str] | None = option(
        None,
        "options to search, as name=a,b,c or name=low:high (on a logarithmic scale if it spans a "
        "factor of ten)",
        group="search",
    )
    search_trials: int = option(20, "trials of a search by TPE")
    search_sampler: str = option("tpe", "tpe, or grid: every combination")

    def searched(self) -> list[str]:
        """Names of the options to search."""
        return [part.split("=")[0] for part in self.search or ()]


@dataclass
class WordTrainingArguments(EpochTrainingArguments):
    """Defaults for small networks on words."""

    trainer: ClassVar[str] = "words"

    learning_rate: float = option(2e-3, "largest learning rate", group="training")
    warmup_steps: float = option(
        0.05, "steps, or their share below 1, in which the learning rate rises"
    )
    logging_strategy: str = option("epoch", "when the loss is logged")

    def precision_options(self) -> JsonObject:
        """Half precision gains nothing on a GPU for layers this small."""
        from pipelines.networks import precision

        chosen = precision.choose()
        return chosen.training if chosen.device == "cpu" else {"bf16": False, "fp16": False}


@dataclass
class EncoderArguments:
    """What the recipes that fine-tune an encoder take."""

    model_name_or_path: str = option(
        "local:minilm", "an encoder: a folder, a Hub id, or local:minilm", group="model"
    )
    tune: str = option(
        "full",
        "what is trained: full, lora, head (the encoder is frozen), or last_n (the head and the "
        "last layers)",
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
        "all classes alike",
    )
    focal_gamma: float = option(0.0, "focal loss with this exponent; 0: cross-entropy")
    half_copies: bool | None = option(
        None, "compute in bf16 copies of the weights (default: on a CPU that computes bf16 fast)"
    )
    ema_decay: float = option(
        0.0,
        "score and save an exponential moving average of the weights with this decay, such as "
        "0.99; 0: the weights themselves",
    )
    early_stopping_patience: int | None = option(
        None, "stop after N evaluations without a better score"
    )


@dataclass
class LexiconArguments:
    """What the recipes take that give an encoder a lexicon."""

    lexicon: str | None = option(
        None,
        "file of names, one a line, or name, type and id between tabs, gzipped or not: where they "
        "stand in a text is a feature",
        group="lexicon",
    )
    lexicon_dropout: float = option(
        0.3, "share of the matches that a training step does not see; 0: it sees all"
    )

    def check_lexicon(self) -> None:
        """Refuses a file that does not exist, a share that is none, and one without a lexicon."""
        share, default = self.lexicon_dropout, LexiconArguments.lexicon_dropout
        if not 0 <= share < 1:
            raise UserError(f"got --lexicon_dropout {share:g}; wanted a number from 0 to below 1")
        if self.lexicon is not None:
            check_lexicon_file(self.lexicon)
        elif share != default:
            raise UserError(
                f"got --lexicon_dropout {share:g} without --lexicon, whose matches it hides; give "
                "a list of names by --lexicon, or leave it out"
            )

    def read_lexicon(self, splits: Mapping[str, Sequence[Example]] | None = None) -> Lexicon | None:
        """The names of the file, if one is given.

        Args:
            splits: the log says which share of their mentions it has.
        """
        if self.lexicon is None:
            return None
        lexicon = read_lexicon(self.lexicon)
        if splits:
            logger.info("%s: %s", self.lexicon, coverage(lexicon, splits))
        return lexicon


@dataclass
class EncoderTaggerArguments(EncoderArguments, LexiconArguments):
    """What the recipes that fine-tune an encoder to find mentions take."""

    head_rate: float = option(10.0, "learning rate of the head, as a multiple of --learning_rate")
    decode: str = option("viterbi", "how mentions are scored and decoded", group="model")
    max_span_words: int | None = option(
        None,
        "with --decode spans: units of a mention at most (default: as many as all but the longest "
        "thousandth of train's mentions have)",
    )
    case_feature: bool = option(
        False, "add a vector for the case of letters, which an uncased tokenizer drops"
    )
    window: int | None = option(None, "sub-words of a window (default: as many as the model takes)")
    stride: int = option(128, "sub-words that neighbouring windows of a long text share")

    def check_span_width(self) -> None:
        """Refuses a width of spans below 1, and one without spans."""
        if self.max_span_words is None:
            return
        if self.decode != "spans":
            raise UserError("--max_span_words is of --decode spans; leave it out, or take that")
        if self.max_span_words < 1:
            raise UserError(f"got --max_span_words {self.max_span_words}; wanted 1 or more")
