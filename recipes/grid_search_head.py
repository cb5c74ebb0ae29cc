"""Searches the head of a classifier on a frozen encoder: features once, then a grid of heads at a time.

    python recipes/grid_search_head.py --train_file reviews.txt --run_dir runs/head      # MiniLM on a CPU
    python recipes/grid_search_head.py --config recipes/configs/head_distilbert.yaml --train_file train.csv \\
        --test_file test.csv --study sqlite:///heads.db

The encoder reads each text once, without dropout; its vectors are kept in a cache. Every point of the grid trains a
head on them, many points in one batched model, and is scored on dev. The best one is trained again on train and dev,
scored once on test, and saved as a checkpoint for `AutoModelForSequenceClassification`. In the run folder: config.yaml,
provenance.json, grid.json, grid.html, model/, predictions/, report.json, report.html.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipelines.corpora.class_splits import ClassSplits, read_class_splits, write_cut
from pipelines.corpora.predictions import read_predictions
from pipelines.corpora.splits import classes_of, stratified_folds
from pipelines.corpora.stream import batches
from pipelines.errors import UserError, one_line_errors
from pipelines.evaluation.reports import evaluate_classes
from pipelines.examples import Example, write_predictions
from pipelines.families import frozen_head, sequence_classifier
from pipelines.families.frozen_head import features, head_search
from pipelines.families.sequence_classifier import Settings
from pipelines.job import rehearse_submission, submit
from pipelines.reporting.grid import grid_as_text, write_grid
from pipelines.reporting.html import write_report
from pipelines.reporting.text import report_as_text
from pipelines.runs import options as config
from pipelines.runs.cost import CostMeter
from pipelines.runs.provenance import provenance, reading_of
from pipelines.runs.run import Run

ROOT = Path(__file__).resolve().parent.parent


@dataclass
class RecipeArguments(config.ClassArguments):
    model_name_or_path: str = field(default="distilbert-base-cased", metadata={"help": "the encoder: a Hub id, a "
                                                                                       "folder or local:minilm"})
    encoder_layers: int | None = field(default=None, metadata={"help": "read the states of this layer, and keep none "
                                                                       "above it (default: the last)"})
    max_length: int | None = field(default=None, metadata={"help": "tokens of a text (default: no text is cut, unless "
                                                                   "it is over the model's window)"})
    batch_tokens: int = field(default=8192, metadata={"help": "tokens of a batch of the encoder, padding counted"})
    cache_dir: str | None = field(default=None, metadata={"help": "where features are kept (default: "
                                                                  "~/.cache/pipelines/features)"})
    pooling: list[str] = field(default_factory=lambda: ["mean", "max", "cls"],
                               metadata={"help": "cls, mean, max: how token states become one vector; token: each "
                                                 "token is scored, and a class has the score of its best one"})
    hidden_layer: list[int] = field(default_factory=lambda: [0], metadata={"help": "widths of the head's hidden layer; "
                                                                                   "0 = none"})
    learning_rate: list[float] = field(default_factory=lambda: [1e-3, 3e-3, 1e-2, 3e-2, 1e-1],
                                       metadata={"help": "of AdamW, at the first step"})
    weight_decay: list[float] = field(default_factory=lambda: [0.01, 1.0], metadata={"help": "decoupled"})
    dropout: list[float] = field(default_factory=lambda: [0.0, 0.5], metadata={"help": "on features and hidden layer"})
    class_weight: list[str] = field(default_factory=lambda: ["none"],
                                    metadata={"help": "none, balanced: whether rare classes weigh more"})
    epochs: list[int] = field(default_factory=lambda: [30], metadata={"help": "passes over the training texts"})
    batch_size: int = field(default=64, metadata={"help": "texts of a step of the heads"})
    objective: str = field(default="macro_f1", metadata={"help": "what dev decides by: " +
                                                                 ", ".join(head_search.OBJECTIVES)})
    tune_thresholds: bool | None = field(default=None, metadata={"help": "tune each class's threshold on dev (default: "
                                                                         "where a class is rarer than half its even "
                                                                         "share)"})
    folds: int = field(default=0, metadata={"help": "decide by so many folds of train and dev together, in place of "
                                                    "dev: so many times the work, and a surer choice where a class has "
                                                    "few texts"})
    study: str | None = field(default=None, metadata={"help": "share the grid through this Optuna storage, such as "
                                                              "sqlite:///heads.db or postgresql://user@host/name"})
    seed: int = field(default=0, metadata={"help": "of the split, first weights, order and dropout"})


def main() -> None:
    with one_line_errors():
        default = "head_distilbert" if torch.cuda.is_available() else "head_minilm"
        [options] = config.parse((RecipeArguments,), default_config=ROOT / "recipes" / "configs" / f"{default}.yaml")
        run(options)


def run(options: RecipeArguments) -> dict[str, Any]:
    """The whole job; returns the report of test, or of dev where there is no labelled test."""
    meter = CostMeter()
    if options.objective not in head_search.OBJECTIVES:
        raise UserError(f"got --objective {options.objective}; wanted one of {', '.join(head_search.OBJECTIVES)}")
    if options.folds < 0 or options.folds == 1:
        raise UserError(f"got --folds {options.folds}; wanted 2 or more, or 0 for dev alone")
    points = head_search.grid(**{name: getattr(options, name) for name in frozen_head.Point.__slots__})
    files = config.given_files(options, ROOT)
    found = read_class_splits(files, columns=options.columns(), sizes=options.sizes, seed=options.seed,
                              skip_bad_rows=options.skip_bad_rows)
    rehearse_submission(found.splits, options, answer="label")
    # A class with too few texts for the folds is told before all texts are encoded.
    folds = stratified_folds([*found.usable("train"), *found.usable("dev")], options.folds,
                             seed=options.seed) if options.folds else []
    run = Run(options.run_dir or f"runs/grid_search_head-{time.strftime('%Y%m%d-%H%M%S')}")
    # A search that was stopped goes on where it was; a finished one has a report and is refused.
    run.start(resume=not run.report.exists())
    run.write_config(options)
    cut = write_cut(found, files, run.folder / "splits")
    run.write_json("provenance.json", provenance([*files.values(), *cut], model=options.model_name_or_path,
                                                          reading=reading_of(found.corpora)))

    with meter.stage("features"):
        encoder = sequence_classifier.load_encoder(options.model_name_or_path, layers=options.encoder_layers)
        tokenizer = sequence_classifier.load_tokenizer(options.model_name_or_path)
        window = sequence_classifier.window_of(options.model_name_or_path, tokenizer)
        everything = [example for part in found.splits.values() for example in part]
        max_length = min(options.max_length or sequence_classifier.length_from(everything, tokenizer, window=window),
                         window)
        vectors = {split: read_features(split, part, encoder, tokenizer, max_length, options)
                   for split, part in found.splits.items()}
    settings = Settings(found.labels, found.multi_label, max_length)
    data = search_data(found, vectors, settings, options, folds, frozen_head.activation_for(encoder.config.model_type))
    data = replace(data, origin=features.origin(encoder, tokenizer, [*found.usable("train"), *found.usable("dev")],
                                                max_length=max_length))
    print(f"{len(points)} points; decided by {f'{options.folds} folds' if data.folds else 'dev'}; "
          f"thresholds {'tuned there' if data.tune else 'as they are'}", flush=True)
    with meter.stage("search"):
        rows = search(data, points, options, run)
        best = head_search.best_row(rows, options.objective)
    run.write_json("grid.json", {"objective": options.objective, "best": best, "points": rows})
    write_grid(rows, run.folder / "grid.html", objective=options.objective, title=run.folder.name)
    print(grid_as_text(rows, objective=options.objective))

    with meter.stage("refit"):
        point = head_search.point_of(best)
        together = {split: usable_vectors(found, vectors, split, point.pooling) for split in ("train", "dev")}
        heads = head_search.refit(np.concatenate(list(together.values())),
                                  [*data.train_targets, *data.dev_targets], point, data)
        settings = replace(settings, offsets=tuple(best["offsets"]) if "offsets" in best else None)
        model = frozen_head.classifier_with(encoder, heads, 0, point, settings)
        sequence_classifier.save(run.model, model=model, tokenizer=tokenizer, settings=settings,
                                 base_model=options.model_name_or_path)
    report = predict_and_score(found, vectors, point, settings, data, run)
    report["cost"] = {"parameters": model.num_parameters(), "trained_parameters": trained_parameters(heads),
                      **meter.to_json()}
    report["grid"] = {"points": len(rows), "best": best}
    run.write_json("report.json", report)
    if options.sample_submission:
        asked = "test" if "test" in found.splits else "dev"
        submit(run, found.splits[asked], read_predictions(run.predictions(asked)), options)
    print_summary(report, run)
    return report


def read_features(split: str, examples: list[Example], encoder: Any, tokenizer: Any, max_length: int,
                  options: RecipeArguments) -> dict[str, np.ndarray]:
    """Pooling -> (n_examples, H), for `token` (n_examples, max_length, H), from the cache or the encoder."""
    kinds = {pooling == "token" for pooling in options.pooling}
    parts = [features.extract(encoder, tokenizer, examples, max_length=max_length, tokens=tokens,
                              cache=options.cache_dir, batch_tokens=options.batch_tokens) for tokens in sorted(kinds)]
    encoded, cut = max(part.encoded for part in parts), parts[0].cut
    print(f"{split}: {len(examples)} texts, {encoded} encoded now, the others from the cache", flush=True)
    if cut:
        more = "" if len(cut) <= 10 else f" and {len(cut) - 10} more"
        print(f"{split}: {len(cut)} texts are over {max_length} tokens and lose their end: id "
              f"{', '.join(cut[:10])}{more}")
    return {pooling: vectors for part in parts for pooling, vectors in part.vectors.items()}


def usable_vectors(found: ClassSplits, vectors: dict[str, dict[str, np.ndarray]], split: str,
                   pooling: str) -> np.ndarray:
    usable = {example.id for example in found.usable(split)}
    return vectors[split][pooling][[example.id in usable for example in found.splits[split]]]


def search_data(found: ClassSplits, vectors: dict[str, dict[str, np.ndarray]], settings: Settings,
                options: RecipeArguments, folds: list[list[int]], activation: str) -> head_search.SearchData:
    """What the points of the grid see: the usable texts of train and dev."""
    train, dev = found.usable("train"), found.usable("dev")
    counts = Counter(label for example in train for label in classes_of(example))
    even = len(train) / (2 if found.multi_label else len(found.labels))
    tune = min(counts.values()) < even / 2 if options.tune_thresholds is None else options.tune_thresholds
    by_pooling = {split: {pooling: usable_vectors(found, vectors, split, pooling) for pooling in options.pooling}
                  for split in ("train", "dev")}
    return head_search.SearchData(
        by_pooling["train"], by_pooling["dev"], sequence_classifier.targets(train, settings),
        sequence_classifier.targets(dev, settings), len(found.labels), activation,
        options.batch_size, options.seed, options.objective, tune, folds)


def search(data: head_search.SearchData, points: list[frozen_head.Point], options: RecipeArguments,
           run: Run) -> list[dict[str, Any]]:
    if not options.study:
        return head_search.search(data, points, run.folder / "search")
    from pipelines.families.frozen_head.head_study import search_study

    return search_study(data, points, storage=options.study)


def predict_and_score(found: ClassSplits, vectors: dict[str, dict[str, np.ndarray]], point: frozen_head.Point,
                      settings: Settings, data: head_search.SearchData, run: Run) -> dict[str, Any]:
    """Predicts dev by the head that was chosen on it and test by the saved model, refitted on both; scores test once.

    Test goes through the saved model, not through the vectors, so that `pipelines predict` gives the same bytes.
    """
    on_train = head_search.refit(data.train[point.pooling], data.train_targets, point, data)
    saved = sequence_classifier.load(run.model)
    report: dict[str, Any] = {}
    for split in [split for split in ("dev", "test") if split in found.splits]:
        examples = found.splits[split]
        if split == "dev":
            scores = on_train.scores(vectors[split][point.pooling])[0]
            predictions = sequence_classifier.predictions_from(examples, scores, settings)
        else:
            predictions = [answer for batch in batches(examples)
                           for answer in sequence_classifier.predict(saved, batch)]
        write_predictions(run.predictions(split), predictions)
        if examples and all(example.label is not None for example in examples):
            train = found.splits["train"] + (found.splits["dev"] if split == "test" else [])
            report = {"split": split, **evaluate_classes(examples, predictions, train=train)}
            write_report(report, examples, predictions, run.folder / "report.html", title=run.folder.name)
    return report


def trained_parameters(heads: frozen_head.Heads) -> int:
    return sum(part[0].numel() for layer in (heads.dense, heads.out) if layer is not None for part in layer)


def print_summary(report: dict[str, Any], run: Run) -> None:
    if "accuracy" in report:
        print(report_as_text(report))
        cost = report["cost"]
        print(f"\n{report['split']}: accuracy {report['accuracy']:.4f}, macro F1 {report['macro']['f1']:.4f}; "
              f"{sum(cost['seconds'].values()):.0f} s "
              f"({', '.join(f'{name} {seconds:.0f}' for name, seconds in cost['seconds'].items())})")
    for name, file in (("model", run.model), ("grid", run.folder / "grid.html"), ("report", run.report)):
        print(f"{name:<8} {file}")


if __name__ == "__main__":
    main()
