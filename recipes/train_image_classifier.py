"""Trains a classifier of pictures: a small network, or a checkpoint such as a ViT or ResNet.

    python recipes/train_image_classifier.py
    python recipes/train_image_classifier.py --train_file photos/ --run_dir runs/photos
    python recipes/train_image_classifier.py --train_file train.csv --test_file test.zip
    python recipes/train_image_classifier.py --model_name_or_path microsoft/resnet-18 --tune head \\
        --train_file photos.zip

Pictures are in folders of their classes (below `train`, `dev` and `test`, where there are such
folders), in a zip archive of these, or in files that a table names. Without files the recipe draws
windows of five kinds, once, into data/windows (see data/make_windows.py). Everything lands in the
run folder: config.yaml, provenance.json, model/, predictions/, report.json, report.html; of a
search of heads also grid.json.
"""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipelines.examples import JsonObject
from pipelines.runs import options as config
from pipelines.runs.arguments import (
    ClassArguments,
    EpochTrainingArguments,
    SearchArguments,
    option,
)
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

from accelerate import PartialState
from transformers import (
    BaseImageProcessor,
    PreTrainedModel,
    PrinterCallback,
    TrainingArguments,
    set_seed,
)

from pipelines import job
from pipelines.corpora.class_splits import ClassSplits
from pipelines.corpora.images.reading import log_shared, refuse_texts, split_folders
from pipelines.errors import UserError, one_line_errors
from pipelines.evaluation import thresholds
from pipelines.families import image_classifier
from pipelines.families.image_classifier import ImageSettings, Loaded, image_head, image_training
from pipelines.families.image_classifier.augmentation import Augmentation
from pipelines.families.image_classifier.linear import fit_linear
from pipelines.families.training import dev_scores, early_stopping
from pipelines.inspection.picture_saliency import saliency
from pipelines.networks.image_net import NETWORKS
from pipelines.reporting.images import image_sections
from pipelines.runs.defaults import refuse_unread
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import config_of, replacing_folder
from pipelines.runs.search import search_options

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "data" / "windows"
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")
_AUGMENTATION = {"flip", "crop", "rotation", "colour"}
_TRAINED = {*_AUGMENTATION, "early_stopping_patience", "pixel_baseline"}
_GRID = {"head_learning_rate", "head_weight_decay", "head_dropout", "head_epochs", "cache_dir"}
# The options that each way of training reads, beside those of every recipe.
READS: dict[str, set[str]] = {
    "linear": {"image_size"},
    "convolutional": {*_TRAINED, "image_size", "widths", "depth", "dropout"},
    "full": {*_TRAINED, "model_name_or_path", "tune"},
    "head": {*_GRID, "model_name_or_path", "tune", "pixel_baseline"},
}


@dataclass
class RecipeArguments(SearchArguments, ClassArguments):
    network: str = option(
        "convolutional",
        "convolutional, a small residual network, or linear, logistic regression on the pixels; "
        "read where --model_name_or_path names none",
        group="model",
    )
    model_name_or_path: str | None = option(
        None, "fine-tune this checkpoint: a folder, or a Hub id such as microsoft/resnet-18"
    )
    tune: str = option(
        "full",
        "of a checkpoint: full, or head (vectors of the frozen network are kept in a cache, and a "
        "grid of heads is trained on them)",
    )
    image_size: int | None = option(
        None, "side of the squares that pictures are reduced to (default: 64, linear 32)"
    )
    widths: list[int] = option([16, 32, 64, 128], "channels of the first layer and of each stage")
    depth: int = option(1, "residual blocks of a stage")
    dropout: float = option(0.2, "dropout on the vector of a picture")
    flip: bool = option(True, "mirror half of the pictures", group="augmentation, of train only")
    crop: float = option(0.2, "largest share of a side that is cut off")
    rotation: float = option(5.0, "largest turn, in degrees")
    colour: float = option(0.25, "largest change of brightness, contrast and tint, as a share")
    head_learning_rate: list[float] = option(
        [1e-3, 3e-3, 1e-2, 3e-2], "learning rates", group="grid of --tune head"
    )
    head_weight_decay: list[float] = option([0.01, 1.0], "decoupled weight decay")
    head_dropout: list[float] = option([0.0, 0.5], "dropout on the vectors")
    head_epochs: list[int] = option([30], "passes over the training pictures")
    cache_dir: str | None = option(
        None, "folder in which vectors are kept (default: ~/.cache/pipelines/features)"
    )
    early_stopping_patience: int | None = option(
        None, "stop after N evaluations without a better score", group="training"
    )
    pixel_baseline: bool = option(
        True, "score logistic regression on the pixels beside", group="prediction"
    )


@dataclass
class ImageTrainingArguments(EpochTrainingArguments, TrainingArguments):
    """transformers', with defaults for a small network."""

    trainer: ClassVar[str] = "images"
    metrics: ClassVar[tuple[str, ...]] = (*thresholds.OBJECTIVES, "loss")

    num_train_epochs: float = option(20, "passes over the training pictures", group="training")
    learning_rate: float = option(3e-3, "largest learning rate")
    weight_decay: float = option(0.05, "decoupled weight decay")
    warmup_steps: float = option(
        0.1, "steps, or their share below 1, in which the learning rate rises"
    )
    lr_scheduler_type: str = option("cosine", "how the learning rate falls")
    per_device_train_batch_size: int = option(32, "pictures of a batch")
    logging_strategy: str = option("epoch", "when the loss is logged")
    metric_for_best_model: str | None = option(
        "macro_f1", "score that decides which is best: macro_f1, accuracy, loss and others"
    )


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        options, training = config.parse((RecipeArguments, ImageTrainingArguments))
        run(options, training)


def run(options: RecipeArguments, training: ImageTrainingArguments) -> JsonObject:
    """The whole job; returns the report of the last labelled split."""
    way = check_options(options, training)
    find_splits(options)
    data = job.read(options, answer="label", project=ROOT, seed=training.seed)
    for split, part in data.splits.items():
        refuse_texts(data.files.get(split, data.files["train"]), part)
    log_shared(data.corpora)
    resumes = training.resume_from_checkpoint is not None
    name = options.model_name_or_path or options.network
    with job.start("image_classifier", data, options, training, model=name, resume=resumes) as work:
        if options.search:
            with work.meter.stage("search"):
                options, training = search(options, training, work)
            work.run.write_config(config_of(options, training))
        if work.trains():
            fit(work, options, training, way)
        loaded = image_classifier.load(work.run.model)
        baselines = {}
        if options.pixel_baseline and way != "linear":
            baselines["linear_pixels"] = pixel_baseline(work, loaded.settings)
        return work.finish(
            lambda part: image_classifier.predict(loaded, part),
            baselines=baselines,
            more=lambda examples, predictions: image_sections(
                examples, predictions, explain=lambda part, labels: saliency(loaded, part, labels)
            ),
        )


def check_options(options: RecipeArguments, training: ImageTrainingArguments) -> str:
    """Which entry of `READS` is asked for.

    Raises:
        UserError: for unknown names, and for options that it does not read.
    """
    known = {"network": NETWORKS, "tune": ("full", "head"), "search_sampler": ("tpe", "grid")}
    for name, values in known.items():
        if getattr(options, name) not in values:
            wanted = ", ".join(values)
            raise UserError(f"got --{name} {getattr(options, name)}; wanted one of {wanted}")
    way = options.tune if options.model_name_or_path else options.network
    if way in ("head", "linear") and options.search:
        raise UserError("got --search, which trains by epochs; --tune head searches its own grid")
    refuse_unread(
        options,
        training,
        network=way,
        reads=READS[way],
        shared=ClassArguments,
        has_trainer=way in ("full", "convolutional"),
    )
    try:
        augmentation_of(options)
    except ValueError as error:
        raise UserError(f"the augmentation is impossible: {error}") from error
    return way


def augmentation_of(options: RecipeArguments) -> Augmentation:
    return Augmentation(options.flip, options.crop, options.rotation, options.colour)


def find_splits(options: RecipeArguments) -> None:
    """Names the folders of train, dev and test, and draws the sample where no file is named."""
    named = options.train_file or options.dev_file or options.test_file
    if not named:
        with PartialState().main_process_first():
            if not SAMPLE.is_dir():
                logger.info("%s: drawing the sample pictures", SAMPLE)
                script = SAMPLE.with_name("make_windows.py")
                with replacing_folder(SAMPLE) as drawn:
                    subprocess.run([sys.executable, script, "--out", drawn], check=True)
        options.train_file = str(SAMPLE)
    if options.train_file and not (options.dev_file and options.test_file):
        for split, folder in split_folders(options.train_file).items():
            if split == "train" or not getattr(options, f"{split}_file"):
                setattr(options, f"{split}_file", folder)


def fit(
    work: job.Job, options: RecipeArguments, training: ImageTrainingArguments, way: str
) -> None:
    """Fits or trains a classifier and saves it into the run."""
    classes = work.data.classes
    assert classes is not None
    settings = ImageSettings(classes.labels)
    if way in ("full", "convolutional"):
        trainer = train(classes, options, training, work=work)
        work.record_training(trainer)
        network = trainer.accelerator.unwrap_model(trainer.model).eval()
        processor: Any = trainer.processing_class
        loaded = Loaded(network, processor, settings)
    elif way == "linear":
        with work.meter.stage("training"):
            size = {"image_size": options.image_size} if options.image_size else {}
            loaded = fit_linear(classes.usable("train"), settings, **size)
        record_parts(work, loaded, trained=loaded.model.num_parameters())
    else:
        loaded = fit_head(work, options, training, settings)
    with work.model_folder() as folder:
        image_classifier.save(
            folder, model=loaded.model, processor=loaded.processor, settings=settings
        )


def record_parts(work: job.Job, loaded: Loaded, *, trained: int) -> None:
    """Records the cost of a training without a trainer."""
    work.record(
        seconds=work.meter.seconds["training"],
        parameters=loaded.model.num_parameters(),
        trained_parameters=trained,
    )


def fit_head(
    work: job.Job,
    options: RecipeArguments,
    training: ImageTrainingArguments,
    settings: ImageSettings,
) -> Loaded:
    """Searches the head of a frozen checkpoint on dev; all else of the checkpoint stays."""
    classes = work.data.classes
    assert classes is not None
    name = str(options.model_name_or_path)
    network, _ = image_classifier.load_network(name, settings)
    loaded = Loaded(network, image_classifier.load_processor(name), settings)
    grid = {
        field: getattr(options, f"head_{field}")
        for field in ("learning_rate", "weight_decay", "dropout", "epochs")
    }
    with work.meter.stage("training"):
        found = image_head.search_head(
            loaded,
            classes.usable("train"),
            classes.usable("dev"),
            grid=grid,
            folder=work.run.folder / "search",
            cache=options.cache_dir,
            seed=training.seed,
        )
    work.run.write_json("grid.json", {"objective": "macro_f1", **found._asdict()})
    logger.info("best head of %d: %s", len(found.points), found.best)
    record_parts(
        work, loaded, trained=sum(p.numel() for p in image_head.head_of(network).parameters())
    )
    return loaded


def new_model(
    options: RecipeArguments, settings: ImageSettings
) -> tuple[PreTrainedModel, BaseImageProcessor]:
    """The network that the options name, and its image processor."""
    name = options.model_name_or_path
    if name:
        model, new = image_classifier.load_network(name, settings)
        if new:
            logger.info(
                "%s has no %s for these classes: they start at random", name, ", ".join(new)
            )
        return model, image_classifier.load_processor(name)
    try:
        return image_training.new_network(
            settings,
            image_size=options.image_size or 64,
            widths=tuple(options.widths),
            depth=options.depth,
            dropout=options.dropout,
        )
    except ValueError as error:
        raise UserError(f"the options make no network: {error}") from error


def train(
    classes: ClassSplits,
    options: RecipeArguments,
    training: ImageTrainingArguments,
    *,
    work: job.Job | None = None,
) -> image_training.ImageTrainer:
    """Trains a network; the trainer that comes back holds the best one.

    Args:
        work: the job whose checkpoints it keeps; a trial of a search keeps none, and logs nothing.
    """
    set_seed(training.seed)
    examples, dev = classes.usable("train"), classes.usable("dev")
    settings = ImageSettings(classes.labels)
    model, processor = new_model(options, settings)
    rows = image_training.PictureRows(
        examples,
        processor,
        settings,
        augmentation=augmentation_of(options),
        seed=training.seed,
    )
    callbacks = early_stopping.choose_on_dev(training, dev, options.early_stopping_patience)
    trainer = image_training.ImageTrainer(
        model=model,
        args=training,
        train_dataset=rows,
        train=examples,
        dev=dev,
        processing_class=processor,
        settings=settings,
        callbacks=[image_training.NextEpoch(rows), *callbacks, *(work.callbacks() if work else ())],
    )
    if work is None:
        trainer.remove_callback(PrinterCallback)
    checkpoint = work.checkpoint(training) if work else None
    with work.meter.stage("training") if work else contextlib.nullcontext():
        trainer.train(resume_from_checkpoint=checkpoint)
    return trainer


def pixel_baseline(work: job.Job, settings: ImageSettings) -> job.Predict:
    """Fits logistic regression on the pixels when it is first asked."""
    classes = work.data.classes
    assert classes is not None
    return lambda part: image_classifier.predict(
        fit_linear(classes.usable("train"), settings), part, progress=False
    )


def search(
    options: RecipeArguments, training: ImageTrainingArguments, work: job.Job
) -> tuple[RecipeArguments, ImageTrainingArguments]:
    """Trains with other options again and again; returns the best ones on dev."""
    classes = work.data.classes
    assert classes is not None
    metric = str(training.metric_for_best_model).removeprefix("eval_")

    def score(trial: RecipeArguments, arguments: ImageTrainingArguments) -> float:
        return dev_scores.best_score(train(classes, trial, arguments).state.log_history, metric)

    return search_options(score, options, training, work.run, metric=metric)


if __name__ == "__main__":
    main()
