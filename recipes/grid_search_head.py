"""Searches the head of a classifier on a frozen encoder: features once, then a grid of heads.

    # MiniLM on a CPU
    python recipes/grid_search_head.py --train_file reviews.txt --run_dir runs/head
    python recipes/grid_search_head.py --config recipes/configs/head_distilbert.yaml \\
        --train_file train.csv --test_file test.csv --study sqlite:///heads.db

The encoder reads each text once, without dropout; its vectors are kept in a cache. Every point of
the grid trains a head on them, many points in one batched model, and is scored on dev. The best one
is trained again on train and dev, scored once on test, and saved as a checkpoint for
`AutoModelForSequenceClassification`. In the run folder: config.yaml, provenance.json, grid.json,
grid.html, model/, predictions/, report.json, report.html.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.runs import options as config
from pipelines.runs.arguments import ClassArguments, option
from pipelines.runs.usage import answer_help

if __name__ == "__main__":
    answer_help(__file__)  # before the imports below, which take seconds

import numpy as np
import torch

from pipelines import job
from pipelines.corpora.class_splits import ClassSplits
from pipelines.corpora.splits import classes_of, stratified_folds
from pipelines.errors import UserError, one_line_errors
from pipelines.evaluation import thresholds
from pipelines.examples import Example, JsonObject, Prediction
from pipelines.families import frozen_head, sequence_classifier
from pipelines.families.class_answers import ClassifierSettings, predictions_from
from pipelines.families.frozen_head import features, head_search
from pipelines.formatting import some
from pipelines.reporting.grid import grid_as_text, write_grid
from pipelines.reporting.run_facts import run_facts
from pipelines.runs.defaults import refuse_processes
from pipelines.runs.log import log_to_terminal
from pipelines.runs.run import Run, replacing_folder

ROOT = Path(__file__).resolve().parent.parent
logger = logging.getLogger(f"pipelines.recipes.{Path(__file__).stem}")


@dataclass
class RecipeArguments(ClassArguments):
    model_name_or_path: str = option(
        "distilbert-base-cased", "the encoder: a Hub id, a folder, or local:minilm", group="model"
    )
    encoder_layers: int | None = option(
        None, "read the states of this layer, and keep none above it (default: the last)"
    )
    max_length: int | None = option(
        None, "tokens of a text (default: no text is cut, unless it exceeds the model's window)"
    )
    batch_tokens: int = option(8192, "tokens of a batch of the encoder, padding counted")
    cache_dir: str | None = option(
        None, "folder in which features are kept (default: ~/.cache/pipelines/features)"
    )
    pooling: list[str] = option(
        ["mean", "max", "cls"],
        "cls, mean, max: how token states become one vector; token: each "
        "token is scored, and a class has the score of its best token",
        group="grid, of which every combination is tried",
    )
    hidden_layer: list[int] = option([0], "widths of the head's hidden layer; 0: none")
    learning_rate: list[float] = option(
        [1e-3, 3e-3, 1e-2, 3e-2, 1e-1], "learning rate of AdamW in the first step"
    )
    weight_decay: list[float] = option([0.01, 1.0], "decoupled weight decay")
    dropout: list[float] = option([0.0, 0.5], "dropout on features and hidden layer")
    class_weight: list[str] = option(["none"], "none, balanced: whether rare classes weigh more")
    epochs: list[int] = option([30], "passes over the training texts")
    batch_size: int = option(64, "texts of a step of the heads", group="search")
    objective: str = option(
        "macro_f1", "score on dev that decides: macro_f1, accuracy, micro_f1 or matthews"
    )
    tune_thresholds: bool | None = option(
        None,
        "tune each class's threshold on dev (default: if a class is rarer than half its even "
        "share)",
    )
    folds: int = option(
        0,
        "decide by N folds of train and dev together instead of by dev: N times the work, and a "
        "surer choice if a class has few texts",
    )
    study: str | None = option(
        None,
        "share the grid through this Optuna storage, such as sqlite:///heads.db or "
        "postgresql://user@host/name",
    )
    seed: int = option(0, "seed of the split, initial weights, order and dropout")


def main() -> None:
    with one_line_errors():
        log_to_terminal()
        default = "head_distilbert" if torch.cuda.is_available() else "head_minilm"
        [options] = config.parse(
            (RecipeArguments,), default_config=ROOT / "recipes" / "configs" / f"{default}.yaml"
        )
        run(options)


def run(options: RecipeArguments) -> JsonObject:
    """The whole job; returns the report of test, or of dev where there is no labelled test."""
    if options.ablate:
        raise UserError(
            "got --ablate; this recipe searches a grid: name several values of an option"
        )
    if options.objective not in thresholds.OBJECTIVES:
        raise UserError(
            f"got --objective {options.objective}; wanted one of {', '.join(thresholds.OBJECTIVES)}"
        )
    if options.folds < 0 or options.folds == 1:
        raise UserError(f"got --folds {options.folds}; wanted 2 or more, or 0 for dev alone")
    refuse_processes("the search of a head")
    points = head_search.grid(
        **{name: getattr(options, name) for name in frozen_head.Point.__slots__}
    )
    data = job.read(options, answer="label", project=ROOT, seed=options.seed)
    found = data.classes
    assert found is not None
    # A class with too few texts for the folds is reported before all texts are encoded.
    folds = (
        stratified_folds(
            [*found.usable("train"), *found.usable("dev")], options.folds, seed=options.seed
        )
        if options.folds
        else []
    )
    # A search that was stopped goes on where it was; a finished one has a report and is refused.
    with job.start(
        "grid_search_head",
        data,
        options,
        model=options.model_name_or_path,
        resume=bool(options.run_dir) and not Run(options.run_dir or "").is_finished(),
    ) as work:
        return search_and_refit(work, found, points, folds, options)


def search_and_refit(
    work: job.Job,
    found: ClassSplits,
    points: list[frozen_head.Point],
    folds: list[list[int]],
    options: RecipeArguments,
) -> JsonObject:
    """Encodes the texts, searches the heads, refits the best one and reports."""
    run, meter, name = work.run, work.meter, options.model_name_or_path
    with meter.stage("features"):
        encoder = sequence_classifier.load_encoder(name, layers=options.encoder_layers)
        tokenizer = sequence_classifier.load_tokenizer(name)
        window = sequence_classifier.window_of(name, tokenizer)
        everything = [example for part in found.splits.values() for example in part]
        asked = options.max_length or sequence_classifier.length_from(
            everything, tokenizer, window=window
        )
        max_length = min(asked, window)
    vectors = {}
    for split, part in found.splits.items():
        stage = "predict_dev" if split == "dev" else "features"
        with meter.stage(stage):
            vectors[split], encoded = read_features(
                split, part, encoder, tokenizer, max_length, options
            )
        if split == "dev" and not encoded:
            del meter.seconds[stage]  # what prediction takes is not known
        elif split == "dev":  # texts from the cache would take as long as the others
            meter.seconds[stage] *= len(part) / encoded
    settings = ClassifierSettings(found.labels, found.multi_label, max_length)
    data = search_data(found, vectors, settings, options, folds, encoder, tokenizer)
    with meter.stage("search"):
        rows = search(data, points, options, run)
        best = head_search.best_row(rows, options.objective)
    run.write_json("grid.json", {"objective": options.objective, "best": best, "points": rows})
    write_grid(
        rows,
        run.folder / "grid.html",
        objective=options.objective,
        title=run.folder.name,
        facts=run_facts(run.config(), run.provenance()),
    )
    logger.info("%s", grid_as_text(rows, objective=options.objective))

    with meter.stage("refit"):
        point = head_search.point_of(best)
        heads = refit_on_both(found, vectors, point, data)
        settings = replace(settings, offsets=tuple(best["offsets"]) if "offsets" in best else None)
        model = frozen_head.classifier_with(encoder, heads, 0, point, settings)
        with replacing_folder(run.model) as folder:
            sequence_classifier.save(
                folder, model=model, tokenizer=tokenizer, settings=settings, base_model=name
            )
    # Dev is answered by the head that was chosen on it. Test goes through the saved model, refitted
    # on both, not through the vectors, so that `pipelines predict` gives the same bytes.
    dev = answers_of_dev(found, vectors, point, settings, data)
    saved = sequence_classifier.load(run.model)
    work.trained_on["test"] = found.splits["train"] + found.splits["dev"]
    work.record(parameters=model.num_parameters(), trained_parameters=trained_parameters(heads))
    return work.finish(
        lambda part: sequence_classifier.predict(saved, part),
        known={"dev": dev},
        facts={"grid": {"points": len(rows), "best": best}},
    )


def refit_on_both(
    found: ClassSplits,
    vectors: dict[str, dict[str, np.ndarray]],
    point: frozen_head.Point,
    data: head_search.SearchData,
) -> frozen_head.Heads:
    """The head of a point, trained on train and dev."""
    both = [usable_vectors(found, vectors, split, point.pooling) for split in ("train", "dev")]
    targets = [*data.train_targets, *data.dev_targets]
    return head_search.refit(np.concatenate(both), targets, point, data)


def read_features(
    split: str,
    examples: list[Example],
    encoder: Any,
    tokenizer: Any,
    max_length: int,
    options: RecipeArguments,
) -> tuple[dict[str, np.ndarray], int]:
    """Pooling -> (N, H), for `token` (N, T, H), and how many texts were not in the cache."""
    kinds = {pooling == "token" for pooling in options.pooling}
    parts = [
        features.extract(
            encoder,
            tokenizer,
            examples,
            max_length=max_length,
            tokens=tokens,
            cache=options.cache_dir,
            batch_tokens=options.batch_tokens,
        )
        for tokens in sorted(kinds)
    ]
    encoded, cut = max(part.encoded for part in parts), parts[0].cut
    logger.info(
        "%s: %d texts, %d encoded now, the others from the cache", split, len(examples), encoded
    )
    if cut:
        logger.info(
            "%s: %d texts are over %d tokens and lose their end: id %s",
            split,
            len(cut),
            max_length,
            some(cut),
        )
    vectors = {pooling: own for part in parts for pooling, own in part.vectors.items()}
    return vectors, encoded


def usable_vectors(
    found: ClassSplits, vectors: dict[str, dict[str, np.ndarray]], split: str, pooling: str
) -> np.ndarray:
    usable = {example.id for example in found.usable(split)}
    return vectors[split][pooling][[example.id in usable for example in found.splits[split]]]


def search_data(
    found: ClassSplits,
    vectors: dict[str, dict[str, np.ndarray]],
    settings: ClassifierSettings,
    options: RecipeArguments,
    folds: list[list[int]],
    encoder: Any,
    tokenizer: Any,
) -> head_search.SearchData:
    """What the points of the grid see: the usable texts of train and dev."""
    train, dev = found.usable("train"), found.usable("dev")
    counts = Counter(label for example in train for label in classes_of(example))
    tune = options.tune_thresholds
    if tune is None:
        tune = thresholds.has_rare_class(
            counts,
            n_examples=len(train),
            n_classes=len(found.labels),
            multi_label=found.multi_label,
        )
    by_pooling = {
        split: {
            pooling: usable_vectors(found, vectors, split, pooling) for pooling in options.pooling
        }
        for split in ("train", "dev")
    }
    return head_search.SearchData(
        train=by_pooling["train"],
        dev=by_pooling["dev"],
        train_targets=sequence_classifier.targets(train, settings),
        dev_targets=sequence_classifier.targets(dev, settings),
        n_classes=len(found.labels),
        activation=frozen_head.activation_for(encoder.config.model_type),
        batch_size=options.batch_size,
        seed=options.seed,
        objective=options.objective,
        tune=tune,
        folds=folds,
        origin=features.origin(encoder, tokenizer, [*train, *dev], max_length=settings.max_length),
    )


def search(
    data: head_search.SearchData,
    points: list[frozen_head.Point],
    options: RecipeArguments,
    run: Run,
) -> list[JsonObject]:
    logger.info(
        "%d points; decided by %s; thresholds %s",
        len(points),
        f"{options.folds} folds" if data.folds else "dev",
        "tuned there" if data.tune else "as they are",
    )
    if not options.study:
        return head_search.search(data, points, run.folder / "search")
    from pipelines.families.frozen_head.head_study import search_study

    return search_study(data, points, storage=options.study)


def answers_of_dev(
    found: ClassSplits,
    vectors: dict[str, dict[str, np.ndarray]],
    point: frozen_head.Point,
    settings: ClassifierSettings,
    data: head_search.SearchData,
) -> list[Prediction]:
    """Dev's predictions by the chosen head, trained on train alone."""
    on_train = head_search.refit(data.train[point.pooling], data.train_targets, point, data)
    scores = on_train.scores(vectors["dev"][point.pooling])[0]
    return predictions_from(found.splits["dev"], scores, settings)


def trained_parameters(heads: frozen_head.Heads) -> int:
    return sum(
        part[0].numel() for layer in (heads.dense, heads.out) if layer is not None for part in layer
    )


if __name__ == "__main__":
    main()
